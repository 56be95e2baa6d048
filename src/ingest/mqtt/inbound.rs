//! Packets of either version, as the codec reads them, in the door's own words.

use rmqtt_codec::types::Publish as CodecPublish;
use rmqtt_codec::{v3, v5};

use super::ending::Ending;
use super::packet::{Connect, Inbound, Publish};
use super::session::{MessageProperties, RetainHandling, Subscription};
use super::will::Will;

/// Many clients take no more than 10 KiB unless told otherwise.
const CLIENT_PACKET_BYTES: usize = 8 << 10;
/// Larger messages than this are of no use to a gateway.
const CLIENT_PACKET_BYTES_MAX: usize = 256 << 10;
/// MQTT 3.1.1 clients cannot say how many messages they take at once.
const RECEIVE_MAXIMUM_3: u16 = 20;
/// However many a client would take.
const RECEIVE_MAXIMUM_MAX: u16 = 1_000;

pub(super) fn inbound_v3(packet: v3::Packet) -> Result<Inbound, Ending> {
    Ok(match packet {
        v3::Packet::Connect(connect) => Inbound::Connect(Box::new(connect_v3(*connect))),
        v3::Packet::Publish(publish) => Inbound::Publish(publish_sound(*publish)?),
        v3::Packet::PublishAck { packet_id } => Inbound::Puback(packet_id),
        v3::Packet::Subscribe { packet_id, topic_filters } => {
            let subscriptions = topic_filters.into_iter().map(|(filter, qos)| subscription_v3(filter.to_string(), qos.value())).collect();
            Inbound::Subscribe { packet_id, identified: false, subscriptions }
        }
        v3::Packet::Unsubscribe { packet_id, topic_filters } => {
            Inbound::Unsubscribe { packet_id, filters: topic_filters.iter().map(ToString::to_string).collect() }
        }
        v3::Packet::PingRequest => Inbound::Ping,
        v3::Packet::Disconnect => Inbound::Disconnect { with_will: false, expiry_s: None },
        v3::Packet::PublishReceived { .. } | v3::Packet::PublishRelease { .. } | v3::Packet::PublishComplete { .. } => {
            Inbound::Unexpected("a packet of QoS 2")
        }
        v3::Packet::ConnectAck(_) | v3::Packet::SubscribeAck { .. } | v3::Packet::UnsubscribeAck { .. } | v3::Packet::PingResponse => {
            Inbound::Unexpected("a server's packet")
        }
    })
}

pub(super) fn inbound_v5(packet: v5::Packet) -> Result<Inbound, Ending> {
    Ok(match packet {
        v5::Packet::Connect(connect) => Inbound::Connect(Box::new(connect_v5(*connect))),
        v5::Packet::Publish(publish) => Inbound::Publish(publish_sound(*publish)?),
        // Whatever it says of the message, the client has it.
        v5::Packet::PublishAck(ack) => Inbound::Puback(ack.packet_id),
        v5::Packet::Subscribe(subscribe) => Inbound::Subscribe {
            packet_id: subscribe.packet_id,
            identified: subscribe.id.is_some(),
            subscriptions: subscribe
                .topic_filters
                .into_iter()
                .map(|(filter, options)| subscription_v5(filter.to_string(), options))
                .collect(),
        },
        v5::Packet::Unsubscribe(unsubscribe) => Inbound::Unsubscribe {
            packet_id: unsubscribe.packet_id,
            filters: unsubscribe.topic_filters.iter().map(ToString::to_string).collect(),
        },
        v5::Packet::PingRequest => Inbound::Ping,
        v5::Packet::Disconnect(disconnect) => Inbound::Disconnect {
            with_will: disconnect.reason_code != v5::DisconnectReasonCode::NormalDisconnection,
            expiry_s: disconnect.session_expiry_interval_secs,
        },
        v5::Packet::Auth(_) => Inbound::Unexpected("AUTH"),
        v5::Packet::PublishReceived(_) | v5::Packet::PublishRelease(_) | v5::Packet::PublishComplete(_) => {
            Inbound::Unexpected("a packet of QoS 2")
        }
        v5::Packet::ConnectAck(_) | v5::Packet::SubscribeAck(_) | v5::Packet::UnsubscribeAck(_) | v5::Packet::PingResponse => {
            Inbound::Unexpected("a server's packet")
        }
    })
}

fn connect_v3(connect: v3::Connect) -> Connect {
    let will = connect.last_will.map(|will| Will {
        topic: will.topic.to_string(),
        payload: will.message,
        qos: will.qos.value(),
        retain: will.retain,
        delay_s: 0,
        expiry_s: None,
        properties: MessageProperties::default(),
    });
    Connect {
        client_id: connect.client_id.to_string(),
        user_name: connect.username.map(|name| name.to_string()),
        password: connect.password,
        keep_alive_s: connect.keep_alive,
        clean_start: connect.clean_session,
        // A session that is not clean has no end of its own.
        expiry_s: if connect.clean_session { 0 } else { u32::MAX },
        will,
        authentication_method: false,
        packet_bytes_max: CLIENT_PACKET_BYTES,
        receive_maximum: RECEIVE_MAXIMUM_3,
    }
}

fn connect_v5(connect: v5::Connect) -> Connect {
    let will = connect.last_will.map(|will| Will {
        topic: will.topic.to_string(),
        payload: will.message,
        qos: will.qos.value(),
        retain: will.retain,
        delay_s: will.will_delay_interval_sec.unwrap_or(0),
        expiry_s: will.message_expiry_interval.map(u32::from),
        properties: MessageProperties {
            text: will.is_utf8_payload.unwrap_or(false),
            content_type: will.content_type.map(|text| text.to_string()),
            response_topic: will.response_topic.map(|topic| topic.to_string()),
            correlation: will.correlation_data,
            user: will.user_properties.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        },
    });
    Connect {
        client_id: connect.client_id.to_string(),
        user_name: connect.username.map(|name| name.to_string()),
        password: connect.password,
        keep_alive_s: connect.keep_alive,
        clean_start: connect.clean_start,
        expiry_s: connect.session_expiry_interval_secs,
        will,
        authentication_method: connect.auth_method.is_some() || connect.auth_data.is_some(),
        packet_bytes_max: connect
            .max_packet_size
            .map_or(CLIENT_PACKET_BYTES, |size| usize::try_from(size.get()).unwrap_or(usize::MAX).min(CLIENT_PACKET_BYTES_MAX)),
        receive_maximum: connect.receive_max.map_or(u16::MAX, u16::from).min(RECEIVE_MAXIMUM_MAX),
    }
}

fn subscription_v3(filter: String, qos: u8) -> Subscription {
    Subscription { filter, qos: qos.min(1), no_local: false, retain_as_published: false, retained: RetainHandling::Always }
}

fn subscription_v5(filter: String, options: v5::SubscriptionOptions) -> Subscription {
    Subscription {
        filter,
        qos: options.qos.value().min(1),
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        retained: match options.retain_handling {
            v5::RetainHandling::AtSubscribe => RetainHandling::Always,
            v5::RetainHandling::AtSubscribeNew => RetainHandling::IfNew,
            v5::RetainHandling::NoAtSubscribe => RetainHandling::Never,
        },
    }
}

/// Subscription identifiers are the server's, and a response topic has no wildcards.
fn publish_sound(publish: CodecPublish) -> Result<Publish, Ending> {
    let properties = publish.properties.unwrap_or_default();
    let answered_everywhere = properties.response_topic.is_some_and(|topic| topic.contains(['+', '#']));
    if !properties.subscription_ids.is_empty() || answered_everywhere {
        return Err(Ending::Protocol);
    }
    Ok(Publish {
        topic: publish.topic.to_string(),
        qos: publish.qos.value(),
        retain: publish.retain,
        alias: properties.topic_alias.is_some(),
        packet_id: publish.packet_id,
        payload: publish.payload,
    })
}
