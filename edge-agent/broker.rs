//! The section [broker] of the configuration: where the reports go, and how patiently.

use std::time::Duration;

use crate::config::seconds;
use crate::fault::FaultCode;
use crate::table::Reader;

const MQTT_PORT: u16 = 1883;

#[derive(Clone, Debug)]
pub struct Broker {
    pub host: String,
    pub port: u16,
    /// Reports sent and not yet acknowledged.
    pub in_flight_max: u16,
    pub retry_max: Duration,
    /// A report without acknowledgement for so long ends the connection.
    pub acknowledge_timeout: Duration,
}

pub(crate) fn read(mut reader: Reader<'_>) -> Broker {
    let url = reader.text("url").unwrap_or_else(|| "mqtt://127.0.0.1:1883".to_string());
    let address = url.strip_prefix("mqtt://").and_then(|rest| split_address(rest, MQTT_PORT));
    let (host, port) = address.unwrap_or_else(|| {
        reader.fault(
            "url",
            FaultCode::AddressInvalid,
            format!("“{url}”应为 mqtt://主机:端口"),
            format!("`{url}` must look like mqtt://HOST:PORT"),
        );
        Default::default()
    });
    let broker = Broker {
        host,
        port,
        in_flight_max: reader.integer_or("in_flight_max", 1..=1000, 20),
        retry_max: seconds(reader.number("retry_s_max", 0.1..=3600.0), 60.0),
        acknowledge_timeout: seconds(reader.number("acknowledge_timeout_s", 1.0..=3600.0), 60.0),
    };
    reader.finish();
    broker
}

/// `host`, `host:port`, `[::1]:port`.
pub(crate) fn split_address(text: &str, port_default: u16) -> Option<(String, u16)> {
    let text = text.trim_end_matches('/');
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, port_default),
        Some((host, rest)) => (host, rest.strip_prefix(':')?.parse().ok()?),
        None => match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, port_default),
        },
    };
    let plain = !host.is_empty() && host.chars().all(|c| c.is_alphanumeric() || ".-_:%".contains(c));
    (plain && port != 0).then(|| (host.to_string(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_into_host_and_port() {
        for (text, expected) in [
            ("10.0.0.1:1502", Some(("10.0.0.1", 1502))),
            ("plc-7", Some(("plc-7", 502))),
            ("[::1]:502", Some(("::1", 502))),
            ("[::1]", Some(("::1", 502))),
            ("", None),
            ("h:99999", None),
            ("h:0", None),
            ("user@h", None),
        ] {
            assert_eq!(split_address(text, 502), expected.map(|(host, port)| (host.to_string(), port)), "{text}");
        }
    }
}
