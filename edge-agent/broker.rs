//! The sections [broker] and [delivery] of the configuration: where the reports go, and when one counts as delivered.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::seconds;
use crate::fault::FaultCode;
use crate::table::Reader;

const MQTT_PORT: u16 = 1883;
const MQTTS_PORT: u16 = 8883;

#[derive(Clone, Debug)]
pub struct Broker {
    /// Tried in turn.
    pub addresses: Vec<Address>,
    /// Whom to trust; without it, whom this machine's system trusts.
    pub ca_file: Option<PathBuf>,
    pub client_certificate: Option<ClientCertificate>,
    pub keep_alive: Duration,
    /// For TCP, TLS and the broker's answer together.
    pub connect_timeout: Duration,
    /// Reports sent and not yet acknowledged.
    pub in_flight_max: u16,
    pub retry_max: Duration,
    /// A report without acknowledgement for so long ends the connection.
    pub acknowledge_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub tls: bool,
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryConfig {
    pub confirm: Confirm,
    /// How fast reports of before the connection follow.
    pub backlog_reports_per_s: f64,
}

/// What a report must have before it leaves the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// The broker's acknowledgement: the broker is the service's own door.
    Puback,
    /// The service's signed receipt: the broker is somebody else's.
    Receipt {
        /// The service's public keys (a JWK set).
        keys_file: PathBuf,
        /// A report without receipt for so long is sent again.
        timeout: Duration,
    },
}

pub(crate) fn read(mut reader: Reader<'_>) -> Broker {
    let urls = match (reader.text("url"), reader.texts("urls")) {
        (None, Some(urls)) => urls,
        (Some(url), None) => vec![url],
        (None, None) => vec!["mqtt://127.0.0.1:1883".to_string()],
        (Some(_), Some(_)) => {
            reader.fault("url", FaultCode::KeysConflict, "url 与 urls 只留一个", "and urls are both set; keep one of them");
            Vec::new()
        }
    };
    let mut addresses = Vec::new();
    for url in urls {
        match address(&url) {
            Some(address) => addresses.push(address),
            None => reader.fault(
                "url",
                FaultCode::AddressInvalid,
                format!("“{url}”应为 mqtt://主机:端口 或 mqtts://主机:端口"),
                format!("`{url}` must look like mqtt://HOST:PORT or mqtts://HOST:PORT"),
            ),
        }
    }
    let client_certificate = match (file(&mut reader, "client_cert_file"), file(&mut reader, "client_key_file")) {
        (Some(cert_file), Some(key_file)) => Some(ClientCertificate { cert_file, key_file }),
        (None, None) => None,
        (Some(_), None) => {
            let zh = "缺少此项；客户端证书须有密钥";
            reader.fault("client_key_file", FaultCode::KeyMissing, zh, "is missing; a client certificate needs its key");
            None
        }
        (None, Some(_)) => {
            let zh = "缺少此项；密钥须配客户端证书";
            reader.fault("client_cert_file", FaultCode::KeyMissing, zh, "is missing; the key belongs to a client certificate");
            None
        }
    };
    let broker = Broker {
        addresses,
        ca_file: file(&mut reader, "ca_file"),
        client_certificate,
        keep_alive: seconds(reader.number("keep_alive_s", 5.0..=3600.0), 30.0),
        connect_timeout: seconds(reader.number("connect_timeout_s", 1.0..=300.0), 10.0),
        in_flight_max: reader.integer_or("in_flight_max", 1..=1000, 20),
        retry_max: seconds(reader.number("retry_s_max", 0.1..=3600.0), 60.0),
        acknowledge_timeout: seconds(reader.number("acknowledge_timeout_s", 1.0..=3600.0), 60.0),
    };
    reader.finish();
    broker
}

pub(crate) fn read_delivery(mut reader: Reader<'_>) -> DeliveryConfig {
    let by_receipt = reader.word("confirm", &[(false, "puback"), (true, "receipt")]).unwrap_or(false);
    let keys_file = file(&mut reader, "receipt_keys_file");
    let timeout = seconds(reader.number("receipt_timeout_s", 1.0..=86_400.0), 120.0);
    let confirm = match (by_receipt, keys_file) {
        (false, _) => Confirm::Puback,
        (true, Some(keys_file)) => Confirm::Receipt { keys_file, timeout },
        (true, None) => {
            reader.fault(
                "receipt_keys_file",
                FaultCode::KeyMissing,
                "缺少此项；confirm = \"receipt\" 须有平台公钥文件（取自 /api/v1/keys）",
                "is missing; confirm = \"receipt\" needs the service's public keys, as /api/v1/keys gives them",
            );
            Confirm::Puback
        }
    };
    let delivery =
        DeliveryConfig { confirm, backlog_reports_per_s: reader.number("backlog_reports_per_s", 0.1..=10_000.0).unwrap_or(50.0) };
    reader.finish();
    delivery
}

fn file(reader: &mut Reader<'_>, key: &'static str) -> Option<PathBuf> {
    reader.text(key).map(PathBuf::from)
}

fn address(url: &str) -> Option<Address> {
    let (tls, rest) = match url.strip_prefix("mqtts://") {
        Some(rest) => (true, rest),
        None => (false, url.strip_prefix("mqtt://")?),
    };
    let (host, port) = split_address(rest, if tls { MQTTS_PORT } else { MQTT_PORT })?;
    Some(Address { tls, host, port })
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

    fn read_text<T>(text: &str, read: impl FnOnce(Reader<'_>) -> T) -> Result<T, String> {
        let mut faults = Vec::new();
        let read = read(Reader::new("x", text.parse().unwrap(), &mut faults));
        if faults.is_empty() { Ok(read) } else { Err(faults.iter().map(|fault| format!("{}: {}\n", fault.place, fault.en)).collect()) }
    }

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

    #[test]
    fn brokers_are_listed_in_the_order_in_which_they_are_tried() {
        let shown = |text: &str| read_text(text, read).map(|broker| broker.addresses.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(shown(""), Ok(vec!["mqtt://127.0.0.1:1883".to_string()]));
        assert_eq!(shown("url = \"mqtts://a\""), Ok(vec!["mqtts://a:8883".to_string()]));
        let two = shown("urls = [\"mqtts://b:1\", \"mqtt://[::1]\"]");
        assert_eq!(two, Ok(vec!["mqtts://b:1".to_string(), "mqtt://[::1]:1883".to_string()]));
        assert_eq!(shown("urls = \"mqtts://b:1, mqtt://c\""), Ok(vec!["mqtts://b:1".to_string(), "mqtt://c:1883".to_string()]));
        for (text, expected) in [
            ("url = \"mqtt://a\"\nurls = [\"mqtt://b\"]", "both set"),
            ("urls = [\"mqtt://a\", \"tcp://b\"]", "`tcp://b` must look like"),
            ("urls = []", "a list of at least one text"),
            ("urls = [1]", "a list of at least one text"),
        ] {
            let faults = shown(text).unwrap_err();
            assert!(faults.contains(expected), "{text}: {faults}");
        }
    }

    #[test]
    fn a_client_certificate_is_given_whole_or_not_at_all() {
        let given = |text: &str| read_text(text, read).map(|broker| broker.client_certificate);
        let both = ClientCertificate { cert_file: "c".into(), key_file: "k".into() };
        assert_eq!(given("client_cert_file = \"c\"\nclient_key_file = \"k\""), Ok(Some(both)));
        assert!(given("client_cert_file = \"c\"").unwrap_err().contains("client_key_file: is missing"));
        assert!(given("client_key_file = \"k\"").unwrap_err().contains("client_cert_file: is missing"));
    }

    #[test]
    fn receipts_are_only_asked_for_with_the_keys_to_verify_them() {
        assert_eq!(read_text("", read_delivery), Ok(DeliveryConfig { confirm: Confirm::Puback, backlog_reports_per_s: 50.0 }));
        let confirm = read_text("confirm = \"receipt\"\nreceipt_keys_file = \"keys.json\"", read_delivery).unwrap().confirm;
        assert_eq!(confirm, Confirm::Receipt { keys_file: "keys.json".into(), timeout: Duration::from_secs(120) });
        assert!(read_text("confirm = \"receipt\"", read_delivery).unwrap_err().contains("receipt_keys_file: is missing"));
    }
}
