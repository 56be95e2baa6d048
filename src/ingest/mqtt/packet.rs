//! MQTT 3.1.1 and 5 behind one set of packets: what a gateway may send, and what the door answers.

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};
use rmqtt_codec::error::DecodeError;
use rmqtt_codec::types::{Publish, QoS};
use rmqtt_codec::version::{ProtocolVersion, VersionCodec};
use rmqtt_codec::{v3, v5};
use tokio_util::codec::{Decoder, Encoder};

/// Packets that a client may send, of either version.
#[derive(Debug)]
pub(crate) enum Inbound {
    Connect(Box<Connect>),
    Publish {
        topic: String,
        qos: u8,
        retain: bool,
        alias: bool,
        packet_id: Option<NonZeroU16>,
        payload: Bytes,
    },
    Subscribe {
        packet_id: NonZeroU16,
        filters: Vec<String>,
    },
    Unsubscribe {
        packet_id: NonZeroU16,
        filters: Vec<String>,
    },
    Ping,
    Disconnect {
        with_will: bool,
    },
    /// Acknowledges something that we never send with QoS 1 or 2, or is of the server only.
    Unexpected(&'static str),
}

#[derive(Debug)]
pub(crate) struct Connect {
    pub(crate) client_id: String,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<Bytes>,
    pub(crate) keep_alive_s: u16,
    pub(crate) will: Option<(String, Bytes)>,
    pub(crate) version_3_1: bool,
    /// The largest packet that the client takes, as it says or as clients usually do.
    pub(crate) packet_bytes_max: usize,
}

/// Many clients take no more than 10 KiB unless told otherwise.
const CLIENT_PACKET_BYTES: usize = 8 << 10;
/// Larger messages than this are of no use to a gateway.
const CLIENT_PACKET_BYTES_MAX: usize = 256 << 10;

/// Why a connection is refused at CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectRefusal {
    BadCredentials,
    ClientId,
    Will,
    Version,
    Busy,
}

/// Why the door ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client said goodbye.
    Disconnected,
    /// The client went away without one.
    Lost,
    Malformed,
    PacketTooLarge,
    Protocol,
    ForeignTopic,
    QosUnsupported,
    RetainUnsupported,
    ReceiveMaximum,
    KeepAlive,
    TakenOver,
    SlowReader,
    GatewayRemoved,
    Unavailable,
    ShuttingDown,
}

impl Ending {
    /// The label of the metric.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Ending::Disconnected => "disconnected",
            Ending::Lost => "lost",
            Ending::Malformed => "malformed",
            Ending::PacketTooLarge => "packet_too_large",
            Ending::Protocol => "protocol",
            Ending::ForeignTopic => "foreign_topic",
            Ending::QosUnsupported => "qos_unsupported",
            Ending::RetainUnsupported => "retain_unsupported",
            Ending::ReceiveMaximum => "receive_maximum",
            Ending::KeepAlive => "keep_alive",
            Ending::TakenOver => "taken_over",
            Ending::SlowReader => "slow_reader",
            Ending::GatewayRemoved => "gateway_removed",
            Ending::Unavailable => "unavailable",
            Ending::ShuttingDown => "shutting_down",
        }
    }

    /// MQTT 5's reason code of the DISCONNECT that says so; `None` where there is nobody to tell.
    fn reason_code(self) -> Option<v5::DisconnectReasonCode> {
        use v5::DisconnectReasonCode as Code;
        match self {
            Ending::Disconnected | Ending::Lost => None,
            Ending::Malformed => Some(Code::MalformedPacket),
            Ending::PacketTooLarge => Some(Code::PacketTooLarge),
            Ending::Protocol => Some(Code::ProtocolError),
            Ending::ForeignTopic | Ending::GatewayRemoved => Some(Code::NotAuthorized),
            Ending::QosUnsupported => Some(Code::QosNotSupported),
            Ending::RetainUnsupported => Some(Code::RetainNotSupported),
            Ending::ReceiveMaximum => Some(Code::ReceiveMaximumExceeded),
            Ending::KeepAlive => Some(Code::KeepAliveTimeout),
            Ending::TakenOver => Some(Code::SessionTakenOver),
            Ending::SlowReader => Some(Code::QuotaExceeded),
            Ending::Unavailable => Some(Code::ServerBusy),
            Ending::ShuttingDown => Some(Code::ServerShuttingDown),
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

/// What a client is told at CONNACK.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) receive_maximum: NonZeroU16,
    pub(crate) packet_bytes_max: u32,
    /// Told only if it differs from what the client asked.
    pub(crate) server_keep_alive_s: Option<u16>,
}

pub(crate) enum Codec {
    V3(v3::Codec),
    V5(v5::Codec),
}

impl Codec {
    /// Finds the version in the first bytes; `None` while there are too few.
    pub(crate) fn detect(input: &mut BytesMut, packet_bytes_max: u32) -> Result<Option<Codec>, Ending> {
        Ok(VersionCodec.decode(input).map_err(ending_of)?.map(|version| match version {
            ProtocolVersion::MQTT3 => Codec::V3(v3::Codec::new(packet_bytes_max)),
            ProtocolVersion::MQTT5 => Codec::V5(v5::Codec::new(packet_bytes_max, 0)),
        }))
    }

    pub(crate) fn version_5(&self) -> bool {
        matches!(self, Codec::V5(_))
    }

    pub(crate) fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Inbound>, Ending> {
        match self {
            Codec::V3(codec) => Ok(codec.decode(input).map_err(ending_of)?.map(|(packet, _)| inbound_v3(packet))),
            Codec::V5(codec) => Ok(codec.decode(input).map_err(ending_of)?.map(|(packet, _)| inbound_v5(packet))),
        }
    }

    pub(crate) fn connack(&mut self, out: &mut BytesMut, terms: &Terms) {
        match self {
            Codec::V3(codec) => {
                let return_code = v3::ConnectAckReason::ConnectionAccepted;
                written(codec.encode(v3::Packet::ConnectAck(v3::ConnectAck { return_code, session_present: false }), out));
            }
            Codec::V5(codec) => {
                let connack = v5::ConnectAck {
                    session_expiry_interval_secs: Some(0),
                    receive_max: terms.receive_maximum,
                    max_qos: QoS::AtLeastOnce,
                    max_packet_size: Some(terms.packet_bytes_max),
                    topic_alias_max: 0,
                    retain_available: false,
                    subscription_identifiers_available: false,
                    shared_subscription_available: false,
                    server_keepalive_sec: terms.server_keep_alive_s,
                    ..v5::ConnectAck::default()
                };
                written(codec.encode(v5::Packet::ConnectAck(Box::new(connack)), out));
            }
        }
    }

    pub(crate) fn refuse_connect(&mut self, out: &mut BytesMut, refusal: ConnectRefusal) {
        match self {
            Codec::V3(codec) => {
                let return_code = match refusal {
                    ConnectRefusal::BadCredentials => v3::ConnectAckReason::BadUserNameOrPassword,
                    ConnectRefusal::ClientId => v3::ConnectAckReason::IdentifierRejected,
                    ConnectRefusal::Will => v3::ConnectAckReason::NotAuthorized,
                    ConnectRefusal::Version => v3::ConnectAckReason::UnacceptableProtocolVersion,
                    ConnectRefusal::Busy => v3::ConnectAckReason::ServiceUnavailable,
                };
                written(codec.encode(v3::Packet::ConnectAck(v3::ConnectAck { return_code, session_present: false }), out));
            }
            Codec::V5(codec) => {
                let reason_code = match refusal {
                    ConnectRefusal::BadCredentials => v5::ConnectAckReason::BadUserNameOrPassword,
                    ConnectRefusal::ClientId => v5::ConnectAckReason::ClientIdentifierNotValid,
                    ConnectRefusal::Will => v5::ConnectAckReason::NotAuthorized,
                    ConnectRefusal::Version => v5::ConnectAckReason::UnsupportedProtocolVersion,
                    ConnectRefusal::Busy => v5::ConnectAckReason::ServerBusy,
                };
                written(codec.encode(v5::Packet::ConnectAck(Box::new(v5::ConnectAck { reason_code, ..v5::ConnectAck::default() })), out));
            }
        }
    }

    pub(crate) fn puback(&mut self, out: &mut BytesMut, packet_id: NonZeroU16, reason: AckReason) {
        match self {
            Codec::V3(codec) => written(codec.encode(v3::Packet::PublishAck { packet_id }, out)),
            Codec::V5(codec) => {
                let reason_code = match reason {
                    AckReason::Success => v5::PublishAckReason::Success,
                    AckReason::PayloadInvalid => v5::PublishAckReason::PayloadFormatInvalid,
                    AckReason::NotAuthorised => v5::PublishAckReason::NotAuthorized,
                    AckReason::QuotaExceeded => v5::PublishAckReason::QuotaExceeded,
                };
                let ack = v5::PublishAck { packet_id, reason_code, properties: Vec::new(), reason_string: None };
                written(codec.encode(v5::Packet::PublishAck(ack), out));
            }
        }
    }

    /// One entry per filter, in order: granted (always QoS 0) or refused.
    pub(crate) fn suback(&mut self, out: &mut BytesMut, packet_id: NonZeroU16, granted: &[bool]) {
        match self {
            Codec::V3(codec) => {
                let code = |granted: &bool| match granted {
                    true => v3::SubscribeReturnCode::Success(QoS::AtMostOnce),
                    false => v3::SubscribeReturnCode::Failure,
                };
                written(codec.encode(v3::Packet::SubscribeAck { packet_id, status: granted.iter().map(code).collect() }, out));
            }
            Codec::V5(codec) => {
                let code = |granted: &bool| match granted {
                    true => v5::SubscribeAckReason::GrantedQos0,
                    false => v5::SubscribeAckReason::NotAuthorized,
                };
                let status = granted.iter().map(code).collect();
                let ack = v5::SubscribeAck { packet_id, properties: Vec::new(), reason_string: None, status };
                written(codec.encode(v5::Packet::SubscribeAck(ack), out));
            }
        }
    }

    pub(crate) fn unsuback(&mut self, out: &mut BytesMut, packet_id: NonZeroU16, existed: &[bool]) {
        match self {
            Codec::V3(codec) => written(codec.encode(v3::Packet::UnsubscribeAck { packet_id }, out)),
            Codec::V5(codec) => {
                let code = |existed: &bool| match existed {
                    true => v5::UnsubscribeAckReason::Success,
                    false => v5::UnsubscribeAckReason::NoSubscriptionExisted,
                };
                let status = existed.iter().map(code).collect();
                let ack = v5::UnsubscribeAck { packet_id, properties: Vec::new(), reason_string: None, status };
                written(codec.encode(v5::Packet::UnsubscribeAck(ack), out));
            }
        }
    }

    pub(crate) fn ping_response(&mut self, out: &mut BytesMut) {
        match self {
            Codec::V3(codec) => written(codec.encode(v3::Packet::PingResponse, out)),
            Codec::V5(codec) => written(codec.encode(v5::Packet::PingResponse, out)),
        }
    }

    /// A message to the gateway, always QoS 0.
    pub(crate) fn publish(&mut self, out: &mut BytesMut, topic: &str, payload: Bytes, retain: bool) {
        let publish = Publish {
            dup: false,
            retain,
            qos: QoS::AtMostOnce,
            topic: topic.into(),
            packet_id: None,
            payload,
            properties: self.version_5().then(v5::PublishProperties::default),
        };
        match self {
            Codec::V3(codec) => written(codec.encode(v3::Packet::Publish(Box::new(publish)), out)),
            Codec::V5(codec) => written(codec.encode(v5::Packet::Publish(Box::new(publish)), out)),
        }
    }

    /// MQTT 5 says why; 3.1.1 has no word for it.
    pub(crate) fn disconnect(&mut self, out: &mut BytesMut, ending: Ending) {
        if let (Codec::V5(codec), Some(reason_code)) = (self, ending.reason_code()) {
            let disconnect = v5::Disconnect {
                reason_code,
                session_expiry_interval_secs: None,
                server_reference: None,
                reason_string: None,
                user_properties: Vec::new(),
            };
            written(codec.encode(v5::Packet::Disconnect(disconnect), out));
        }
    }
}

/// Our own packets are small and sound; one that is not would be a mistake of ours and is not sent.
fn written(encoded: Result<(), rmqtt_codec::error::EncodeError>) {
    if let Err(error) = encoded {
        tracing::error!(%error, "a packet of ours could not be encoded");
    }
}

fn ending_of(error: DecodeError) -> Ending {
    match error {
        DecodeError::MaxSizeExceeded { .. } => Ending::PacketTooLarge,
        DecodeError::Io(_) => Ending::Lost,
        DecodeError::InvalidTopicFilter | DecodeError::InvalidTopicName | DecodeError::InvalidClientId => Ending::Protocol,
        _ => Ending::Malformed,
    }
}

fn inbound_v3(packet: v3::Packet) -> Inbound {
    match packet {
        v3::Packet::Connect(connect) => Inbound::Connect(Box::new(Connect {
            client_id: connect.client_id.to_string(),
            user_name: connect.username.map(|name| name.to_string()),
            password: connect.password,
            keep_alive_s: connect.keep_alive,
            will: connect.last_will.map(|will| (will.topic.to_string(), will.message)),
            version_3_1: connect.protocol.0 == 3,
            packet_bytes_max: CLIENT_PACKET_BYTES,
        })),
        v3::Packet::Publish(publish) => inbound_publish(*publish),
        v3::Packet::Subscribe { packet_id, topic_filters } => {
            Inbound::Subscribe { packet_id, filters: topic_filters.into_iter().map(|(filter, _)| filter.to_string()).collect() }
        }
        v3::Packet::Unsubscribe { packet_id, topic_filters } => {
            Inbound::Unsubscribe { packet_id, filters: topic_filters.iter().map(ToString::to_string).collect() }
        }
        v3::Packet::PingRequest => Inbound::Ping,
        v3::Packet::Disconnect => Inbound::Disconnect { with_will: false },
        v3::Packet::PublishAck { .. } => Inbound::Unexpected("PUBACK"),
        v3::Packet::PublishReceived { .. } | v3::Packet::PublishRelease { .. } | v3::Packet::PublishComplete { .. } => {
            Inbound::Unexpected("a packet of QoS 2")
        }
        v3::Packet::ConnectAck(_) | v3::Packet::SubscribeAck { .. } | v3::Packet::UnsubscribeAck { .. } | v3::Packet::PingResponse => {
            Inbound::Unexpected("a server's packet")
        }
    }
}

fn inbound_v5(packet: v5::Packet) -> Inbound {
    match packet {
        v5::Packet::Connect(connect) => Inbound::Connect(Box::new(Connect {
            client_id: connect.client_id.to_string(),
            user_name: connect.username.map(|name| name.to_string()),
            password: connect.password,
            keep_alive_s: connect.keep_alive,
            will: connect.last_will.map(|will| (will.topic.to_string(), will.message)),
            version_3_1: false,
            packet_bytes_max: connect
                .max_packet_size
                .map_or(CLIENT_PACKET_BYTES, |size| usize::try_from(size.get()).unwrap_or(usize::MAX).min(CLIENT_PACKET_BYTES_MAX)),
        })),
        v5::Packet::Publish(publish) => inbound_publish(*publish),
        v5::Packet::Subscribe(subscribe) => Inbound::Subscribe {
            packet_id: subscribe.packet_id,
            filters: subscribe.topic_filters.into_iter().map(|(filter, _)| filter.to_string()).collect(),
        },
        v5::Packet::Unsubscribe(unsubscribe) => Inbound::Unsubscribe {
            packet_id: unsubscribe.packet_id,
            filters: unsubscribe.topic_filters.iter().map(ToString::to_string).collect(),
        },
        v5::Packet::PingRequest => Inbound::Ping,
        v5::Packet::Disconnect(disconnect) => {
            Inbound::Disconnect { with_will: disconnect.reason_code == v5::DisconnectReasonCode::DisconnectWithWillMessage }
        }
        v5::Packet::PublishAck(_) => Inbound::Unexpected("PUBACK"),
        v5::Packet::Auth(_) => Inbound::Unexpected("AUTH"),
        v5::Packet::PublishReceived(_) | v5::Packet::PublishRelease(_) | v5::Packet::PublishComplete(_) => {
            Inbound::Unexpected("a packet of QoS 2")
        }
        v5::Packet::ConnectAck(_) | v5::Packet::SubscribeAck(_) | v5::Packet::UnsubscribeAck(_) | v5::Packet::PingResponse => {
            Inbound::Unexpected("a server's packet")
        }
    }
}

fn inbound_publish(publish: Publish) -> Inbound {
    let alias = publish.properties.is_some_and(|properties| properties.topic_alias.is_some());
    Inbound::Publish {
        topic: publish.topic.to_string(),
        qos: publish.qos.value(),
        retain: publish.retain,
        alias,
        packet_id: publish.packet_id,
        payload: publish.payload,
    }
}
