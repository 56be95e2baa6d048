//! What keeps a gateway from its broker, in words that say what to do: each kind has a name that stays.

use std::fmt;
use std::io;

use rumqttc::TlsError;
use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError};
use rustls::{AlertDescription, CertificateError, Error as RustlsError};

/// One trouble, with what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerTrouble {
    pub kind: TroubleKind,
    /// As the system, TLS or the broker said it.
    pub detail: String,
}

macro_rules! troubles {
    ($($variant:ident = $name:literal, $zh:literal, $en:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum TroubleKind {
            $($variant,)*
        }

        impl TroubleKind {
            pub const ALL: &[TroubleKind] = &[$(TroubleKind::$variant,)*];

            /// Scripts may rely on it.
            pub fn name(self) -> &'static str {
                match self {
                    $(TroubleKind::$variant => $name,)*
                }
            }

            pub fn zh(self) -> &'static str {
                match self {
                    $(TroubleKind::$variant => $zh,)*
                }
            }

            pub fn en(self) -> &'static str {
                match self {
                    $(TroubleKind::$variant => $en,)*
                }
            }
        }
    };
}

troubles! {
    NameUnknown = "broker_name_unknown",
        "解析不到服务器名称；请核对 broker.url 中的名称与本机的 DNS 设置",
        "the host name is not known; check the name in broker.url and this machine's DNS";
    ConnectionRefused = "broker_connection_refused",
        "服务器拒绝连接该端口；请核对 broker.url 的端口、服务是否在运行",
        "nothing listens at this address; check the port in broker.url and whether the broker runs";
    Unreachable = "broker_unreachable",
        "到服务器没有网络通路；请检查网线、网关、路由与防火墙",
        "no way through the network; check cable, default route and firewall";
    Timeout = "broker_timeout",
        "服务器在时限内没有应答；请检查防火墙，网络很慢时加大 broker.connect_timeout_s",
        "no answer in time; check the firewall, or enlarge broker.connect_timeout_s on a slow network";
    NotTls = "broker_not_tls",
        "该端口不使用 TLS；请核对端口，或把 mqtts:// 改为 mqtt://",
        "this port does not speak TLS; check the port, or write mqtt:// instead of mqtts://";
    NotMqtt = "broker_not_mqtt",
        "对方没有按 MQTT 5 应答；请核对端口；若该端口使用 TLS，请写 mqtts://",
        "the answer is not MQTT 5; check the port, and write mqtts:// if the port speaks TLS";
    UnknownCa = "broker_ca_unknown",
        "不信任服务器证书的签发者；请把 broker.ca_file 指向签发该证书的 CA 证书",
        "the broker's certificate is from an authority that is not trusted; set broker.ca_file to that authority's certificate";
    WrongName = "broker_name_mismatch",
        "服务器证书不属于该名称；请在 broker.url 中写证书上的名称",
        "the broker's certificate is for another name; write the name of the certificate in broker.url";
    Expired = "broker_certificate_expired",
        "服务器证书已过期；请更换服务器证书，并核对本机时钟",
        "the broker's certificate has expired; renew it at the broker, and check this machine's clock";
    NotYetValid = "broker_certificate_not_yet_valid",
        "服务器证书尚未生效；多半是本机时钟落后，请校时",
        "the broker's certificate is not valid yet; most likely this machine's clock is behind";
    CertificateBad = "broker_certificate_invalid",
        "服务器证书无效；请让服务器管理员检查证书",
        "the broker's certificate is not valid; have the broker's administrator check it";
    TlsFailed = "broker_tls_failed",
        "TLS 握手失败；请核对双方的 TLS 版本与证书",
        "the TLS handshake failed; compare TLS versions and certificates of both sides";
    OwnCertificateRefused = "client_certificate_refused",
        "服务器不接受本网关的客户端证书；请核对 broker.client_cert_file 是否由其信任的 CA 签发、是否过期",
        "the broker does not take this gateway's certificate; check that broker.client_cert_file is from an authority it trusts, and not expired";
    FileUnusable = "broker_file_unusable",
        "证书或密钥文件无法使用；请核对路径、权限与格式（PEM）",
        "a certificate or key file cannot be used; check path, permissions and format (PEM)";
    NotAdmitted = "broker_not_admitted",
        "服务器不接纳本网关：编号或令牌不对；请与登记核对 gateway.id 与 gateway.token",
        "the broker does not admit this gateway: id or token is wrong; check gateway.id and gateway.token against the register";
    ClientIdRefused = "broker_client_id_refused",
        "服务器不接受该客户端标识；请核对 gateway.id",
        "the broker does not take this client id; check gateway.id";
    TakenOver = "broker_session_taken_over",
        "另一台网关用同一编号连接了服务器；每台网关须有自己的编号",
        "another gateway has connected with the same id; each gateway needs its own";
    Busy = "broker_busy",
        "服务器繁忙或超出配额，稍后自动重试",
        "the broker is busy or over its quota; it is tried again later";
    ShuttingDown = "broker_shutting_down",
        "服务器正在停机，稍后自动重试",
        "the broker shuts down; it is tried again later";
    Refused = "broker_refused",
        "服务器拒绝了连接",
        "the broker refuses the connection";
    Closed = "broker_closed",
        "服务器关闭了连接",
        "the broker closed the connection";
    Silent = "broker_silent",
        "服务器不再应答，连接已作废重建",
        "the broker no longer answers; the connection is given up and made anew";
    Unacknowledged = "report_unacknowledged",
        "报告在时限内未得到确认，连接已作废重建",
        "a report was not acknowledged in time; the connection is given up and made anew";
    SubscriptionRefused = "subscription_refused",
        "服务器不允许订阅本网关的主题；请在服务器的权限规则中放行 shangyun/v1/<网关编号>/#",
        "the broker does not let this gateway subscribe to its topics; allow shangyun/v1/<gateway id>/# in the broker's rules";
    Spool = "spool_failed",
        "本机暂存读写失败；请检查磁盘",
        "the spool fails; check the disk";
}

impl BrokerTrouble {
    pub fn new(kind: TroubleKind, detail: impl Into<String>) -> BrokerTrouble {
        BrokerTrouble { kind, detail: detail.into() }
    }

    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    pub fn zh(&self) -> String {
        format!("{}（{}）", self.kind.zh(), self.detail)
    }
}

/// In English.
impl fmt::Display for BrokerTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.kind.en(), self.detail)
    }
}

impl std::error::Error for BrokerTrouble {}

impl From<&ConnectionError> for BrokerTrouble {
    fn from(error: &ConnectionError) -> BrokerTrouble {
        let kind = match error {
            ConnectionError::Timeout(_) => TroubleKind::Timeout,
            ConnectionError::Io(error) => return BrokerTrouble::of_io(error),
            ConnectionError::Tls(TlsError::Io(error)) => {
                let trouble = BrokerTrouble::of_io(error);
                // What knows no TLS hangs up on the first packet of it.
                let kind = if trouble.kind == TroubleKind::Closed { TroubleKind::NotTls } else { trouble.kind };
                return BrokerTrouble { kind, ..trouble };
            }
            ConnectionError::Tls(TlsError::TLS(error)) => return BrokerTrouble::of_tls(error),
            ConnectionError::Tls(_) => TroubleKind::TlsFailed,
            ConnectionError::ConnectionRefused(code) => of_connack(*code),
            ConnectionError::NotConnAck(_) => TroubleKind::NotMqtt,
            ConnectionError::RequestsDone => TroubleKind::Closed,
            ConnectionError::MqttState(error) => return BrokerTrouble::of_state(error),
        };
        BrokerTrouble::new(kind, error.to_string())
    }
}

impl BrokerTrouble {
    fn of_state(error: &StateError) -> BrokerTrouble {
        let kind = match error {
            StateError::Io(error) | StateError::Deserialization(PacketError::Io(error)) => return BrokerTrouble::of_io(error),
            StateError::AwaitPingResp | StateError::CollisionTimeout => TroubleKind::Silent,
            StateError::ConnectionAborted => TroubleKind::Closed,
            StateError::ConnFail { reason } => of_connack(*reason),
            StateError::ServerDisconnect { reason_code, .. } => of_disconnect(*reason_code),
            _ => TroubleKind::NotMqtt,
        };
        BrokerTrouble::new(kind, error.to_string())
    }

    fn of_io(error: &io::Error) -> BrokerTrouble {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>()) {
            return BrokerTrouble::of_tls(tls);
        }
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => TroubleKind::ConnectionRefused,
            io::ErrorKind::TimedOut => TroubleKind::Timeout,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => TroubleKind::Unreachable,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::NotConnected => TroubleKind::Closed,
            // What the resolver says has a kind of its own that cannot be named, and no number of the system.
            _ if error.raw_os_error().is_none() && error.to_string().contains("lookup address") => TroubleKind::NameUnknown,
            io::ErrorKind::InvalidInput => TroubleKind::NameUnknown,
            _ => TroubleKind::Unreachable,
        };
        BrokerTrouble::new(kind, error.to_string())
    }

    fn of_tls(error: &RustlsError) -> BrokerTrouble {
        let kind = match error {
            RustlsError::InvalidCertificate(certificate) => match certificate {
                CertificateError::UnknownIssuer => TroubleKind::UnknownCa,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => TroubleKind::WrongName,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => TroubleKind::Expired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TroubleKind::NotYetValid,
                _ => TroubleKind::CertificateBad,
            },
            RustlsError::AlertReceived(
                AlertDescription::CertificateRequired
                | AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::AccessDenied,
            ) => TroubleKind::OwnCertificateRefused,
            RustlsError::InvalidMessage(_) => TroubleKind::NotTls,
            _ => TroubleKind::TlsFailed,
        };
        BrokerTrouble::new(kind, error.to_string())
    }
}

fn of_connack(code: ConnectReturnCode) -> TroubleKind {
    match code {
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized | ConnectReturnCode::Banned => TroubleKind::NotAdmitted,
        ConnectReturnCode::ClientIdentifierNotValid | ConnectReturnCode::BadClientId => TroubleKind::ClientIdRefused,
        ConnectReturnCode::ServerBusy | ConnectReturnCode::QuotaExceeded | ConnectReturnCode::ConnectionRateExceeded => TroubleKind::Busy,
        ConnectReturnCode::ServerUnavailable | ConnectReturnCode::ServiceUnavailable => TroubleKind::ShuttingDown,
        ConnectReturnCode::RefusedProtocolVersion | ConnectReturnCode::UnsupportedProtocolVersion => TroubleKind::NotMqtt,
        _ => TroubleKind::Refused,
    }
}

fn of_disconnect(code: DisconnectReasonCode) -> TroubleKind {
    match code {
        DisconnectReasonCode::SessionTakenOver => TroubleKind::TakenOver,
        DisconnectReasonCode::NotAuthorized => TroubleKind::NotAdmitted,
        DisconnectReasonCode::ServerBusy
        | DisconnectReasonCode::QuotaExceeded
        | DisconnectReasonCode::MessageRateTooHigh
        | DisconnectReasonCode::ConnectionRateExceeded => TroubleKind::Busy,
        DisconnectReasonCode::ServerShuttingDown => TroubleKind::ShuttingDown,
        DisconnectReasonCode::KeepAliveTimeout => TroubleKind::Silent,
        _ => TroubleKind::Closed,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_trouble_has_a_name_of_its_own_and_says_what_to_do_in_two_languages() {
        let names: BTreeSet<&str> = TroubleKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), TroubleKind::ALL.len());
        for kind in TroubleKind::ALL {
            assert!(kind.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", kind.name());
            assert!(!kind.zh().is_ascii() && kind.en().is_ascii(), "{}", kind.name());
        }
        let trouble = BrokerTrouble::new(TroubleKind::Timeout, "deadline has elapsed");
        assert!(trouble.zh().ends_with("（deadline has elapsed）") && trouble.to_string().ends_with("(deadline has elapsed)"));
    }

    #[test]
    fn what_the_broker_answers_is_named() {
        for (code, expected) in [
            (ConnectReturnCode::BadUserNamePassword, "broker_not_admitted"),
            (ConnectReturnCode::NotAuthorized, "broker_not_admitted"),
            (ConnectReturnCode::ClientIdentifierNotValid, "broker_client_id_refused"),
            (ConnectReturnCode::ServerBusy, "broker_busy"),
            (ConnectReturnCode::UnsupportedProtocolVersion, "broker_not_mqtt"),
            (ConnectReturnCode::UseAnotherServer, "broker_refused"),
        ] {
            assert_eq!(BrokerTrouble::from(&ConnectionError::ConnectionRefused(code)).name(), expected);
        }
        for (reason_code, expected) in [
            (DisconnectReasonCode::SessionTakenOver, "broker_session_taken_over"),
            (DisconnectReasonCode::ServerShuttingDown, "broker_shutting_down"),
            (DisconnectReasonCode::QuotaExceeded, "broker_busy"),
            (DisconnectReasonCode::KeepAliveTimeout, "broker_silent"),
        ] {
            let said = StateError::ServerDisconnect { reason_code, reason_string: None };
            assert_eq!(BrokerTrouble::from(&ConnectionError::MqttState(said)).name(), expected);
        }
    }

    #[test]
    fn a_client_that_hangs_on_a_packet_id_or_a_ping_is_named_silent() {
        for hung in [StateError::AwaitPingResp, StateError::CollisionTimeout] {
            assert_eq!(BrokerTrouble::from(&ConnectionError::MqttState(hung)).name(), "broker_silent");
        }
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_told_from_a_network_that_is_down() {
        let error = tokio::net::TcpStream::connect("no-such-host.invalid:1883").await.unwrap_err();
        assert_eq!(BrokerTrouble::from(&ConnectionError::Io(error)).name(), "broker_name_unknown");
        let error = io::Error::from(io::ErrorKind::NetworkUnreachable);
        assert_eq!(BrokerTrouble::from(&ConnectionError::Io(error)).name(), "broker_unreachable");
    }
}
