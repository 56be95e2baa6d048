//! Why a request was not answered with what was asked for.

use std::fmt;
use std::io;

use crate::point::ValueType;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// The host's name is not known.
    Dns,
    Refused,
    /// Nothing came back in time.
    Timeout,
    /// There is no way to that network or host.
    NoRoute,
    /// The certificates or the handshake, or a file that belongs to them.
    Tls(String),
    PortMissing,
    PortDenied,
    /// Another program has the serial port.
    PortBusy,
    /// Not tried, because it failed just now.
    Waiting,
    Other(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadTrouble {
    Unreachable(Unreachable),
    Timeout,
    /// Not asked, because it was silent just now and others wait on the same bus.
    Waiting,
    /// The answer stopped before its end.
    Short,
    /// The other side closed the connection.
    Closed,
    Broken(String),
    /// The machine's own refusal.
    Exception(u8),
    WrongUnit {
        asked: u8,
        answered: u8,
    },
    /// The answer is to another request.
    WrongTransaction,
    WrongFunction {
        asked: u8,
        answered: u8,
    },
    /// The answer holds another number of bytes than asked for.
    WrongLength {
        expected: usize,
        answered: usize,
    },
    Crc,
    /// What came is no Modbus.
    Garbage,
    /// The registers of a point were answered, and hold no number of its type.
    NoNumber(ValueType),
}

impl Unreachable {
    pub(super) fn of(error: &io::Error) -> Unreachable {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Unreachable::Refused,
            io::ErrorKind::TimedOut => Unreachable::Timeout,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => Unreachable::NoRoute,
            _ => Unreachable::Other(error.to_string()),
        }
    }

    fn texts(&self) -> (String, String) {
        let (zh, en) = match self {
            Unreachable::Dns => ("主机名无法解析；请核对地址或改用 IP", "the host's name is not known; check the address, or write its IP"),
            Unreachable::Refused => {
                ("连接被拒绝；请核对端口，并确认设备已启用 Modbus/TCP", "refused; check the port, and that Modbus/TCP is enabled there")
            }
            Unreachable::Timeout => {
                ("连接无应答；请核对 IP、网线、网段与防火墙", "no answer to connecting; check IP, cable, subnet and firewall")
            }
            Unreachable::NoRoute => {
                ("没有到该网络的路由；请核对网关机的网络设置", "no route to that network; check this gateway's network settings")
            }
            Unreachable::PortMissing => (
                "没有此串口；请核对名称，以及 USB 转换器是否插好",
                "no such serial port; check its name, and that the USB adapter is plugged in",
            ),
            Unreachable::PortDenied => (
                "无权打开此串口；请把运行用户加入 dialout 组",
                "not allowed to open the serial port; add the agent's user to the group dialout",
            ),
            Unreachable::PortBusy => ("串口被其他程序占用", "another program has the serial port"),
            Unreachable::Waiting => ("刚才连接失败，稍后再试", "connecting failed just now, it is tried again soon"),
            Unreachable::Tls(reason) => return (format!("TLS 失败：{reason}"), format!("TLS failed: {reason}")),
            Unreachable::Other(reason) => return (format!("无法连接：{reason}"), format!("cannot connect: {reason}")),
        };
        (zh.into(), en.into())
    }
}

impl ReadTrouble {
    /// Nobody answers there; else somebody does, though not with readings.
    pub fn offline(&self) -> bool {
        match self {
            // 10 and 11 come from a gateway that cannot reach the machine behind it.
            ReadTrouble::Exception(code) => matches!(code, 10 | 11),
            ReadTrouble::NoNumber(_) => false,
            _ => true,
        }
    }

    /// Asking again at once may help: the answer was spoilt on its way, or the machine was busy.
    pub(super) fn passing(&self) -> bool {
        match self {
            ReadTrouble::Exception(code) => matches!(code, 5 | 6),
            ReadTrouble::Unreachable(_) | ReadTrouble::Timeout | ReadTrouble::Waiting | ReadTrouble::Short | ReadTrouble::NoNumber(_) => {
                false
            }
            _ => true,
        }
    }

    pub fn zh(&self) -> String {
        self.texts().0
    }

    pub fn en(&self) -> String {
        self.texts().1
    }

    fn texts(&self) -> (String, String) {
        let (zh, en) = match self {
            ReadTrouble::Unreachable(reason) => return reason.texts(),
            ReadTrouble::Timeout => ("没有应答；请核对单元号、接线与设备电源", "no answer; check unit id, wiring and the machine's power"),
            ReadTrouble::Waiting => (
                "刚才无应答，为不影响同一总线上的设备，稍后再问",
                "silent just now; asked again soon, so that others on the bus need not wait",
            ),
            ReadTrouble::Short => ("应答中断", "the answer stopped before its end"),
            ReadTrouble::Closed => ("对方关闭了连接", "the other side closed the connection"),
            ReadTrouble::WrongTransaction => ("应答的事务号不符", "the answer is to another request"),
            ReadTrouble::Crc => {
                ("校验（CRC）错误；请核对波特率、校验位、终端电阻与接线", "checksum error; check baud rate, parity, termination and wiring")
            }
            ReadTrouble::Garbage => ("收到的不是 Modbus 应答", "what came is no Modbus answer"),
            ReadTrouble::Broken(reason) => return (format!("连接中断：{reason}"), format!("the connection broke: {reason}")),
            ReadTrouble::Exception(code) => {
                let (zh, en) = exception(*code);
                return (format!("设备答复异常码 {code}：{zh}"), format!("exception {code}: {en}"));
            }
            ReadTrouble::NoNumber(value_type) => {
                let value_type = value_type.name();
                return (
                    format!("寄存器内容不是 {value_type} 数值；请核对地址、type 与 word_order"),
                    format!("the registers hold no {value_type}; check address, type and word_order"),
                );
            }
            ReadTrouble::WrongUnit { asked, answered } => {
                return (format!("问的是单元 {asked}，答的是单元 {answered}"), format!("unit {asked} was asked, unit {answered} answered"));
            }
            ReadTrouble::WrongFunction { asked, answered } => {
                return (format!("功能码不符：问 {asked}，答 {answered}"), format!("function {asked} was asked, {answered} answered"));
            }
            ReadTrouble::WrongLength { expected, answered } => {
                return (
                    format!("应答长度不符：应为 {expected} 字节，实为 {answered} 字节"),
                    format!("{answered} bytes answered where {expected} were asked for"),
                );
            }
        };
        (zh.into(), en.into())
    }
}

fn exception(code: u8) -> (&'static str, &'static str) {
    match code {
        1 => ("不支持此功能；请核对数据区（table）", "illegal function; check the table"),
        2 => ("地址不存在；请核对地址是否从零起", "illegal data address; check that it counts from zero"),
        3 => ("数量不允许；请减小 registers_max", "illegal data value; make registers_max smaller"),
        4 => ("设备内部故障", "the machine has failed"),
        5 => ("已受理，尚未完成", "accepted, not yet done"),
        6 => ("设备忙", "the machine is busy"),
        7 => ("拒绝执行", "not executed"),
        8 => ("存储校验错误", "memory parity error"),
        10 => ("网关没有通往该设备的路径", "the gateway has no path to the machine"),
        11 => ("网关后的设备没有应答；请核对单元号", "the machine behind the gateway does not answer; check the unit id"),
        _ => ("未知异常码", "of no known meaning"),
    }
}

impl fmt::Display for ReadTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.en())
    }
}

impl std::error::Error for ReadTrouble {}

impl From<Unreachable> for ReadTrouble {
    fn from(reason: Unreachable) -> ReadTrouble {
        ReadTrouble::Unreachable(reason)
    }
}
