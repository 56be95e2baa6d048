//! MQTT 3.1.1 and 5 behind one set of packets.

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};
use rmqtt_codec::error::{DecodeError, EncodeError};
use rmqtt_codec::types::{Publish, QoS};
use rmqtt_codec::{v3, v5};
use tokio::time::Instant;
use tokio_util::codec::{Decoder, Encoder};

use super::ending::Ending;
use super::frame::Frame;
use super::inbound::{inbound_v3, inbound_v5};
use super::packet::{AckReason, Connect, ConnectRefusal, Inbound, SubscribeAnswer, UnsubscribeAnswer};
use super::session::{Message, MessageProperties, Outgoing};

/// What a client is told at CONNACK.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) session_present: bool,
    pub(crate) receive_maximum: NonZeroU16,
    pub(crate) packet_bytes_max: u32,
    /// Told only if they differ from what the client asked.
    pub(crate) server_keep_alive_s: Option<u16>,
    pub(crate) expiry_s: Option<u32>,
}

/// Encodes and decodes the packets of one connection.
pub(crate) struct Codec {
    version: VersionCodec,
    /// Of what the client may send.
    bytes_max: usize,
}

enum VersionCodec {
    V3(v3::Codec),
    V5(v5::Codec),
}

impl Codec {
    pub(crate) fn v3(bytes_max: usize) -> Codec {
        Codec { version: VersionCodec::V3(v3::Codec::new(0)), bytes_max }
    }

    pub(crate) fn v5(bytes_max: usize) -> Codec {
        Codec { version: VersionCodec::V5(v5::Codec::new(0, 0)), bytes_max }
    }

    pub(crate) fn version_5(&self) -> bool {
        matches!(self.version, VersionCodec::V5(_))
    }

    /// The largest packet that the client takes; words that do not fit into it are left out.
    pub(crate) fn set_client_bytes_max(&mut self, bytes_max: usize) {
        if let VersionCodec::V5(codec) = &mut self.version {
            codec.set_max_outbound_size(u32::try_from(bytes_max).unwrap_or(u32::MAX));
        }
    }

    /// The next packet; `None` while it has not come whole.
    pub(crate) fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Inbound>, Ending> {
        let Some(frame) = Frame::at_front(input, self.bytes_max)? else { return Ok(None) };
        frame.check(input, self.version_5())?;
        match &mut self.version {
            VersionCodec::V3(codec) => codec.decode(input).map_err(ending_of)?.map(|(packet, _)| inbound_v3(packet)).transpose(),
            VersionCodec::V5(codec) => codec.decode(input).map_err(ending_of)?.map(|(packet, _)| inbound_v5(packet)).transpose(),
        }
    }

    /// The CONNECT at the front, which has come whole.
    pub(crate) fn decode_connect(&mut self, input: &mut BytesMut) -> Result<Connect, ConnectRefusal> {
        match self.decode(input) {
            Ok(Some(Inbound::Connect(connect))) => Ok(*connect),
            Err(Ending::NoClientId) => Err(ConnectRefusal::ClientId),
            Err(Ending::Malformed) => Err(ConnectRefusal::Malformed),
            _ => Err(ConnectRefusal::Protocol),
        }
    }

    pub(crate) fn connack(&mut self, out: &mut BytesMut, terms: &Terms) -> Result<(), TooLarge> {
        match &mut self.version {
            VersionCodec::V3(codec) => {
                let return_code = v3::ConnectAckReason::ConnectionAccepted;
                let connack = v3::ConnectAck { return_code, session_present: terms.session_present };
                written(codec.encode(v3::Packet::ConnectAck(connack), out))
            }
            VersionCodec::V5(codec) => {
                let connack = v5::ConnectAck {
                    session_present: terms.session_present,
                    session_expiry_interval_secs: terms.expiry_s,
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
                written(codec.encode(v5::Packet::ConnectAck(Box::new(connack)), out))
            }
        }
    }

    pub(crate) fn refuse_connect(&mut self, out: &mut BytesMut, refusal: ConnectRefusal) {
        // Who takes no packet of this size is refused unheard.
        let _ = match &mut self.version {
            VersionCodec::V3(codec) => refusal.return_code().map_or(Ok(()), |return_code| {
                let connack = v3::ConnectAck { return_code, session_present: false };
                written(codec.encode(v3::Packet::ConnectAck(connack), out))
            }),
            VersionCodec::V5(codec) => {
                let reason_code = refusal.reason_code();
                let connack = v5::ConnectAck { reason_code, reason_string: Some(refusal.said().into()), ..v5::ConnectAck::default() };
                written(codec.encode(v5::Packet::ConnectAck(Box::new(connack)), out))
            }
        };
    }

    /// `said`: why it was refused, in words.
    pub(crate) fn puback(
        &mut self,
        out: &mut BytesMut,
        packet_id: NonZeroU16,
        reason: AckReason,
        said: Option<String>,
    ) -> Result<(), TooLarge> {
        match &mut self.version {
            VersionCodec::V3(codec) => written(codec.encode(v3::Packet::PublishAck { packet_id }, out)),
            VersionCodec::V5(codec) => {
                let reason_code = match reason {
                    AckReason::Success => v5::PublishAckReason::Success,
                    AckReason::PayloadInvalid => v5::PublishAckReason::PayloadFormatInvalid,
                    AckReason::NotAuthorised => v5::PublishAckReason::NotAuthorized,
                    AckReason::QuotaExceeded => v5::PublishAckReason::QuotaExceeded,
                };
                let ack = v5::PublishAck { packet_id, reason_code, properties: Vec::new(), reason_string: said.map(Into::into) };
                written(codec.encode(v5::Packet::PublishAck(ack), out))
            }
        }
    }

    /// One entry per filter, in order.
    pub(crate) fn suback(&mut self, out: &mut BytesMut, packet_id: NonZeroU16, answers: &[SubscribeAnswer]) -> Result<(), TooLarge> {
        match &mut self.version {
            VersionCodec::V3(codec) => {
                let status = answers.iter().map(|answer| return_code(*answer)).collect();
                written(codec.encode(v3::Packet::SubscribeAck { packet_id, status }, out))
            }
            VersionCodec::V5(codec) => {
                let refused = answers.contains(&SubscribeAnswer::NotAuthorised);
                let said = "a gateway subscribes below shangyun/v1/<gateway id>/ and to shangyun/v1/verdicts/<city>";
                let ack = v5::SubscribeAck {
                    packet_id,
                    properties: Vec::new(),
                    reason_string: refused.then(|| said.into()),
                    status: answers.iter().map(|answer| reason_code(*answer)).collect(),
                };
                written(codec.encode(v5::Packet::SubscribeAck(ack), out))
            }
        }
    }

    pub(crate) fn unsuback(&mut self, out: &mut BytesMut, packet_id: NonZeroU16, answers: &[UnsubscribeAnswer]) -> Result<(), TooLarge> {
        match &mut self.version {
            VersionCodec::V3(codec) => written(codec.encode(v3::Packet::UnsubscribeAck { packet_id }, out)),
            VersionCodec::V5(codec) => {
                let code = |answer: &UnsubscribeAnswer| match answer {
                    UnsubscribeAnswer::Done => v5::UnsubscribeAckReason::Success,
                    UnsubscribeAnswer::NoneThere => v5::UnsubscribeAckReason::NoSubscriptionExisted,
                    UnsubscribeAnswer::FilterInvalid => v5::UnsubscribeAckReason::TopicFilterInvalid,
                };
                let status = answers.iter().map(code).collect();
                let ack = v5::UnsubscribeAck { packet_id, properties: Vec::new(), reason_string: None, status };
                written(codec.encode(v5::Packet::UnsubscribeAck(ack), out))
            }
        }
    }

    pub(crate) fn ping_response(&mut self, out: &mut BytesMut) -> Result<(), TooLarge> {
        match &mut self.version {
            VersionCodec::V3(codec) => written(codec.encode(v3::Packet::PingResponse, out)),
            VersionCodec::V5(codec) => written(codec.encode(v5::Packet::PingResponse, out)),
        }
    }

    /// A message to the client.
    pub(crate) fn publish(&mut self, out: &mut BytesMut, outgoing: Outgoing, now: Instant) -> Result<(), TooLarge> {
        let Outgoing { packet_id, duplicate, retain, message } = outgoing;
        let publish = Publish {
            dup: duplicate,
            retain,
            qos: if packet_id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce },
            topic: String::from(&*message.topic).into(),
            packet_id,
            payload: message.payload.clone(),
            properties: self.version_5().then(|| publish_properties(&message, now)),
        };
        match &mut self.version {
            VersionCodec::V3(codec) => written(codec.encode(v3::Packet::Publish(Box::new(publish)), out)),
            VersionCodec::V5(codec) => written(codec.encode(v5::Packet::Publish(Box::new(publish)), out)),
        }
    }

    /// MQTT 5 says why; 3.1.1 has no word for it.
    pub(crate) fn disconnect(&mut self, out: &mut BytesMut, ending: Ending) {
        if let (VersionCodec::V5(codec), Some(reason_code)) = (&mut self.version, ending.reason_code()) {
            let disconnect = v5::Disconnect {
                reason_code,
                session_expiry_interval_secs: None,
                server_reference: None,
                reason_string: Some(ending.said().into()),
                user_properties: Vec::new(),
            };
            // Who takes no packet of this size is left without it.
            let _ = written(codec.encode(v5::Packet::Disconnect(disconnect), out));
        }
    }
}

/// The client takes no packet of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Our own packets are sound; one that is not would be a mistake of ours and is not sent.
fn written(encoded: Result<(), EncodeError>) -> Result<(), TooLarge> {
    match encoded {
        Err(EncodeError::OverMaxPacketSize { .. }) => Err(TooLarge),
        Err(error) => {
            tracing::error!(%error, "a packet of ours could not be encoded");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn ending_of(error: DecodeError) -> Ending {
    match error {
        DecodeError::MaxSizeExceeded { .. } => Ending::PacketTooLarge,
        DecodeError::Io(_) => Ending::Lost,
        DecodeError::InvalidTopicFilter => Ending::Protocol,
        DecodeError::InvalidTopicName => Ending::TopicInvalid,
        DecodeError::InvalidClientId => Ending::NoClientId,
        _ => Ending::Malformed,
    }
}

fn return_code(answer: SubscribeAnswer) -> v3::SubscribeReturnCode {
    match answer {
        SubscribeAnswer::Granted(0) => v3::SubscribeReturnCode::Success(QoS::AtMostOnce),
        SubscribeAnswer::Granted(_) => v3::SubscribeReturnCode::Success(QoS::AtLeastOnce),
        _ => v3::SubscribeReturnCode::Failure,
    }
}

fn reason_code(answer: SubscribeAnswer) -> v5::SubscribeAckReason {
    match answer {
        SubscribeAnswer::Granted(0) => v5::SubscribeAckReason::GrantedQos0,
        SubscribeAnswer::Granted(_) => v5::SubscribeAckReason::GrantedQos1,
        SubscribeAnswer::NotAuthorised => v5::SubscribeAckReason::NotAuthorized,
        SubscribeAnswer::FilterInvalid => v5::SubscribeAckReason::TopicFilterInvalid,
        SubscribeAnswer::TooMany => v5::SubscribeAckReason::QuotaExceeded,
        SubscribeAnswer::Shared => v5::SubscribeAckReason::SharedSubscriptionNotSupported,
        SubscribeAnswer::Identified => v5::SubscribeAckReason::SubscriptionIdentifiersNotSupported,
    }
}

fn publish_properties(message: &Message, now: Instant) -> v5::PublishProperties {
    // A message that expires says how much of its time is left.
    let left_s = message.expires_at.map(|at| u32::try_from(at.saturating_duration_since(now).as_secs()).unwrap_or(u32::MAX).max(1));
    let message_expiry_interval = left_s.and_then(std::num::NonZeroU32::new);
    let Some(properties) = &message.properties else {
        return v5::PublishProperties { message_expiry_interval, ..v5::PublishProperties::default() };
    };
    let MessageProperties { text, content_type, response_topic, correlation, user } = &**properties;
    v5::PublishProperties {
        message_expiry_interval,
        is_utf8_payload: *text,
        content_type: content_type.clone().map(Into::into),
        response_topic: response_topic.clone().map(Into::into),
        correlation_data: correlation.as_deref().map(Bytes::copy_from_slice),
        user_properties: user.iter().map(|(name, value)| (name.clone().into(), value.clone().into())).collect(),
        ..v5::PublishProperties::default()
    }
}
