//! What a gateway may say and why it is sent away, whatever the version of MQTT.

use std::num::NonZeroU16;

use bytes::Bytes;
use rmqtt_codec::{v3, v5};

use super::session::Subscription;
use super::will::Will;

/// Packets that a client may send, of either version.
#[derive(Debug)]
pub(crate) enum Inbound {
    Connect(Box<Connect>),
    Publish(Publish),
    Puback(NonZeroU16),
    Subscribe {
        packet_id: NonZeroU16,
        /// With a subscription identifier, which the door has said it does not know.
        identified: bool,
        subscriptions: Vec<Subscription>,
    },
    Unsubscribe {
        packet_id: NonZeroU16,
        filters: Vec<String>,
    },
    Ping,
    Disconnect {
        with_will: bool,
        expiry_s: Option<u32>,
    },
    /// Of the server only, or of QoS 2.
    Unexpected(&'static str),
}

#[derive(Debug)]
pub(crate) struct Connect {
    pub(crate) client_id: String,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<Bytes>,
    pub(crate) keep_alive_s: u16,
    pub(crate) clean_start: bool,
    /// How long the session is to outlive the connection.
    pub(crate) expiry_s: u32,
    pub(crate) will: Option<Will>,
    /// MQTT 5's extended authentication.
    pub(crate) authentication_method: bool,
    /// The largest message that the client takes, as it says or as clients usually do.
    pub(crate) packet_bytes_max: usize,
    /// QoS 1 messages that the client takes before it has acknowledged them.
    pub(crate) receive_maximum: u16,
}

#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) alias: bool,
    pub(crate) packet_id: Option<NonZeroU16>,
    pub(crate) payload: Bytes,
}

/// Why a connection is refused at CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectRefusal {
    BadCredentials,
    ClientId,
    Will,
    WillQos,
    WillRetain,
    WillTooLarge,
    Version,
    AuthenticationMethod,
    Busy,
    /// MQTT 5 is told what is wrong with the packet itself.
    Malformed,
    Protocol,
}

impl ConnectRefusal {
    /// The label of the metric.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ConnectRefusal::BadCredentials => "bad_credentials",
            ConnectRefusal::ClientId => "client_id",
            ConnectRefusal::Will | ConnectRefusal::WillQos | ConnectRefusal::WillRetain | ConnectRefusal::WillTooLarge => "will",
            ConnectRefusal::Version => "protocol_version",
            ConnectRefusal::AuthenticationMethod => "authentication_method",
            ConnectRefusal::Busy => "unavailable",
            ConnectRefusal::Malformed => "malformed",
            ConnectRefusal::Protocol => "protocol",
        }
    }

    /// For the technician at the other end.
    pub(crate) fn said(self) -> &'static str {
        match self {
            ConnectRefusal::BadCredentials => "the user name is no gateway of the register, or its token or certificate is another",
            ConnectRefusal::ClientId => "the client id is the gateway id, or lies below it: <gateway id>/...",
            ConnectRefusal::Will => "a will lies below shangyun/v1/<gateway id>/, on no topic of the service",
            ConnectRefusal::WillQos => "a will has QoS 0 or 1",
            ConnectRefusal::WillRetain => "nothing that a gateway sends is retained",
            ConnectRefusal::WillTooLarge => "a will has at most 4 KiB with its topic and properties",
            ConnectRefusal::Version => "MQTT 3.1.1 or 5 is spoken here",
            ConnectRefusal::AuthenticationMethod => "no authentication method is known here: send user name and token",
            ConnectRefusal::Busy => "the service cannot look into its register now; try again",
            ConnectRefusal::Malformed => "the CONNECT is not formed as the standard says",
            ConnectRefusal::Protocol => "the CONNECT is none that the standard allows",
        }
    }

    /// `None` where MQTT 3.1.1 has no word for it.
    pub(crate) fn return_code(self) -> Option<v3::ConnectAckReason> {
        match self {
            ConnectRefusal::BadCredentials => Some(v3::ConnectAckReason::BadUserNameOrPassword),
            ConnectRefusal::ClientId => Some(v3::ConnectAckReason::IdentifierRejected),
            ConnectRefusal::Version => Some(v3::ConnectAckReason::UnacceptableProtocolVersion),
            ConnectRefusal::Busy => Some(v3::ConnectAckReason::ServiceUnavailable),
            ConnectRefusal::Malformed | ConnectRefusal::Protocol => None,
            _ => Some(v3::ConnectAckReason::NotAuthorized),
        }
    }

    pub(crate) fn reason_code(self) -> v5::ConnectAckReason {
        match self {
            ConnectRefusal::BadCredentials => v5::ConnectAckReason::BadUserNameOrPassword,
            ConnectRefusal::ClientId => v5::ConnectAckReason::ClientIdentifierNotValid,
            ConnectRefusal::Will => v5::ConnectAckReason::NotAuthorized,
            ConnectRefusal::WillQos => v5::ConnectAckReason::QosNotSupported,
            ConnectRefusal::WillRetain => v5::ConnectAckReason::RetainNotSupported,
            ConnectRefusal::WillTooLarge => v5::ConnectAckReason::QuotaExceeded,
            ConnectRefusal::Version => v5::ConnectAckReason::UnsupportedProtocolVersion,
            ConnectRefusal::AuthenticationMethod => v5::ConnectAckReason::BadAuthenticationMethod,
            ConnectRefusal::Busy => v5::ConnectAckReason::ServerBusy,
            ConnectRefusal::Malformed => v5::ConnectAckReason::MalformedPacket,
            ConnectRefusal::Protocol => v5::ConnectAckReason::ProtocolError,
        }
    }
}

/// The reason of a PUBACK; MQTT 3.1.1 cannot tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckReason {
    Success,
    PayloadInvalid,
    NotAuthorised,
    QuotaExceeded,
}

/// What becomes of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubscribeAnswer {
    Granted(u8),
    NotAuthorised,
    FilterInvalid,
    TooMany,
    Shared,
    Identified,
}

/// What becomes of a subscription that is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnsubscribeAnswer {
    Done,
    NoneThere,
    FilterInvalid,
}
