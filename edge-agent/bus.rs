//! Buses: where devices answer, and what is set once for all devices behind one address.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use toml::Table as TomlTable;

use crate::broker::split_address;
use crate::fault::{Fault, FaultCode};
use crate::table::Reader;

const MODBUS_PORT: u16 = 502;
/// Of Modbus/TCP security.
const MODBUS_TLS_PORT: u16 = 802;

/// Where devices answer. Devices of one address share one connection, and are asked one after another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    Tcp {
        host: String,
        port: u16,
    },
    /// Modbus/TCP security: TLS around Modbus/TCP.
    Tls {
        host: String,
        port: u16,
    },
    /// Modbus RTU frames over TCP, as serial servers pass them on.
    RtuOverTcp {
        host: String,
        port: u16,
    },
    Rtu {
        port: String,
    },
}

impl Address {
    pub fn read(text: &str) -> Option<Address> {
        let (scheme, rest) = text.split_once("://")?;
        match scheme {
            "tcp" => split_address(rest, MODBUS_PORT).map(|(host, port)| Address::Tcp { host, port }),
            "tls" => split_address(rest, MODBUS_TLS_PORT).map(|(host, port)| Address::Tls { host, port }),
            "rtu+tcp" => split_address(rest, MODBUS_PORT).map(|(host, port)| Address::RtuOverTcp { host, port }),
            "rtu" => rest.starts_with('/').then(|| Address::Rtu { port: rest.to_string() }),
            _ => None,
        }
    }

    /// In RTU frames 0 speaks to all machines of a line, and none answers; over Modbus/TCP it is an id like others.
    pub fn unit_id_first(&self) -> u8 {
        u8::from(self.rtu_frames())
    }

    /// Frames carry no transaction number: an answer that comes late looks like the answer to the next request.
    pub fn rtu_frames(&self) -> bool {
        matches!(self, Address::Rtu { .. } | Address::RtuOverTcp { .. })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Address::Rtu { port } => return write!(f, "rtu://{port}"),
            Address::Tcp { host, port } => ("tcp", host, port),
            Address::Tls { host, port } => ("tls", host, port),
            Address::RtuOverTcp { host, port } => ("rtu+tcp", host, port),
        };
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    None,
    Even,
    Odd,
}

impl Parity {
    pub const ALL: [(Parity, &str); 3] = [(Parity::None, "none"), (Parity::Even, "even"), (Parity::Odd, "odd")];
}

#[derive(Clone, Debug, PartialEq)]
pub struct BusSettings {
    pub baud: u32,
    pub parity: Parity,
    pub data_bits: u8,
    pub stop_bits: u8,
    /// Silence that is kept after each answer before the next request; without it what the baud rate asks for.
    pub turnaround: Option<Duration>,
    /// TLS: whom to trust, and who we are.
    pub ca_file: Option<PathBuf>,
    pub client_cert_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
    /// The name in the server's certificate, where it is not the host of the address.
    pub server_name: Option<String>,
}

impl Default for BusSettings {
    fn default() -> BusSettings {
        BusSettings {
            baud: 9600,
            parity: Parity::None,
            data_bits: 8,
            stop_bits: 1,
            turnaround: None,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            server_name: None,
        }
    }
}

/// Reads the key `address`; `None` after a fault.
pub(crate) fn read_address(reader: &mut Reader<'_>) -> Option<Address> {
    let present = reader.has("address");
    let text = reader.required_text(
        "address",
        "设备的地址，例如 tcp://192.168.1.20:502",
        "where the device answers, such as tcp://192.168.1.20:502",
    );
    let address = Address::read(&text);
    if present && address.is_none() {
        reader.fault(
            "address",
            FaultCode::AddressInvalid,
            format!("“{text}”不是地址；应为 tcp://主机:端口、rtu+tcp://主机:端口、tls://主机:端口 或 rtu:///dev/ttyUSB0"),
            format!("`{text}` must look like tcp://HOST:PORT, rtu+tcp://HOST:PORT, tls://HOST:PORT or rtu:///dev/ttyUSB0"),
        );
    }
    address
}

pub(crate) fn read(mut reader: Reader<'_>) -> Option<(Address, BusSettings)> {
    let address = read_address(&mut reader);
    let defaults = BusSettings::default();
    let serial_keys = ["baud", "parity", "data_bits", "stop_bits"];
    let tls_keys = ["ca_file", "client_cert_file", "client_key_file", "server_name"];
    for (keys, belongs, zh, en) in [
        (&serial_keys, matches!(address, None | Some(Address::Rtu { .. })), "串口（rtu://）", "serial ports (rtu://)"),
        (&tls_keys, matches!(address, None | Some(Address::Tls { .. })), " tls:// 地址", "tls:// addresses"),
    ] {
        for key in keys.iter().filter(|key| !belongs && reader.has(key)).copied().collect::<Vec<_>>() {
            reader.fault(key, FaultCode::KeysConflict, format!("此项只用于{zh}"), format!("is only for {en}"));
        }
    }
    let path = |text: Option<String>| text.map(PathBuf::from);
    let settings = BusSettings {
        baud: reader.integer_or("baud", 300..=4_000_000, defaults.baud),
        parity: reader.word("parity", &Parity::ALL).unwrap_or(defaults.parity),
        data_bits: reader.integer_or("data_bits", 7..=8, defaults.data_bits),
        stop_bits: reader.integer_or("stop_bits", 1..=2, defaults.stop_bits),
        turnaround: reader.number("turnaround_ms", 0.0..=1000.0).map(|ms| Duration::from_secs_f64(ms / 1000.0)),
        ca_file: path(reader.text("ca_file")),
        client_cert_file: path(reader.text("client_cert_file")),
        client_key_file: path(reader.text("client_key_file")),
        server_name: reader.text("server_name"),
    };
    if settings.data_bits != defaults.data_bits {
        reader.fault(
            "data_bits",
            FaultCode::ValueRange,
            "Modbus RTU 的字符须为 8 位数据位；7 位是 Modbus ASCII，本程序不支持",
            "must be 8 in Modbus RTU; 7 is Modbus ASCII, which is not spoken here",
        );
    }
    if matches!(address, Some(Address::Tls { .. })) && settings.ca_file.is_none() {
        reader.fault(
            "ca_file",
            FaultCode::KeyMissing,
            "缺少此项；tls:// 地址须给出签发设备证书的 CA 文件（PEM）",
            "is missing; a tls:// address needs the CA (PEM) that has issued the device's certificate",
        );
    }
    if settings.client_cert_file.is_some() != settings.client_key_file.is_some() {
        reader.fault(
            "client_cert_file",
            FaultCode::KeysConflict,
            "client_cert_file 与 client_key_file 须同时给出",
            "and client_key_file go together; give both or neither",
        );
    }
    reader.finish();
    Some((address?, settings))
}

/// Faults of a list of buses as a whole are found by the caller; a bus is a table of the list `[[bus]]`.
pub(crate) fn read_all(tables: Vec<TomlTable>, faults: &mut Vec<Fault>) -> Vec<(usize, Address, BusSettings)> {
    let mut out = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        if let Some((address, settings)) = read(Reader::new(format!("bus[{index}]"), table, faults)) {
            out.push((index, address, settings));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_alike() {
        for text in ["tcp://10.0.0.5:502", "tcp://[::1]:1502", "tls://press-3:802", "rtu+tcp://10.0.0.6:4001", "rtu:///dev/ttyUSB0"] {
            assert_eq!(Address::read(text).map(|address| address.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Address::read("tls://h"), Some(Address::Tls { host: "h".into(), port: 802 }));
        for wrong in ["10.0.0.5:502", "udp://h:1", "rtu://COM3", "tcp://", "tcp://h:0"] {
            assert_eq!(Address::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn characters_of_seven_bits_are_refused() {
        let faults = |data_bits: u8| {
            let mut faults = vec![];
            let table = format!("address = \"rtu:///dev/ttyS1\"\ndata_bits = {data_bits}").parse().unwrap();
            read(Reader::new("bus[0]", table, &mut faults));
            faults.into_iter().map(|fault| (fault.code, fault.place)).collect::<Vec<_>>()
        };
        assert_eq!(faults(8), []);
        assert_eq!(faults(7), [(FaultCode::ValueRange, "bus[0].data_bits".into())]);
    }
}
