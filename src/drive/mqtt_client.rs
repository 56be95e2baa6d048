//! A small MQTT 5 client for load and for the demo's history: publishes with QoS 1, many in flight, and knows what became of each.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rmqtt_codec::types::{Publish, QoS};
use rmqtt_codec::v5::{Codec, Connect, ConnectAckReason, Packet, PublishAckReason, PublishProperties};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::codec::{Decoder, Encoder};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

pub struct MqttClient {
    stream: TcpStream,
    codec: Codec,
    input: BytesMut,
    out: BytesMut,
}

/// What the door said to one publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    pub packet_id: NonZeroU16,
    pub accepted: bool,
}

impl MqttClient {
    pub async fn connect(address: SocketAddr, gateway: &str, client_id: &str, token: &str) -> io::Result<MqttClient> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut client = MqttClient { stream, codec: Codec::default(), input: BytesMut::with_capacity(1 << 16), out: BytesMut::new() };
        let connect = Connect {
            clean_start: true,
            keep_alive: 300,
            client_id: client_id.into(),
            username: Some(gateway.into()),
            password: Some(Bytes::copy_from_slice(token.as_bytes())),
            ..Connect::default()
        };
        client.encode(Packet::Connect(Box::new(connect)))?;
        client.flush().await?;
        match client.packet().await? {
            Packet::ConnectAck(answer) if answer.reason_code == ConnectAckReason::Success => Ok(client),
            other => Err(io::Error::other(format!("the connection was refused: {other:?}"))),
        }
    }

    /// Queues a publish; `flush` sends what is queued.
    pub fn publish(&mut self, topic: &str, packet_id: NonZeroU16, payload: Bytes) -> io::Result<()> {
        let publish = Publish {
            dup: false,
            retain: false,
            qos: QoS::AtLeastOnce,
            topic: topic.into(),
            packet_id: Some(packet_id),
            payload,
            properties: Some(PublishProperties::default()),
        };
        self.encode(Packet::Publish(Box::new(publish)))
    }

    pub async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    /// Waits for at least one acknowledgement and gives all that have come.
    pub async fn acknowledgements(&mut self) -> io::Result<Vec<Acknowledgement>> {
        let mut all = Vec::new();
        while all.is_empty() {
            let mut packet = Some(self.packet().await?);
            while let Some(come) = packet {
                match come {
                    Packet::PublishAck(ack) => {
                        all.push(Acknowledgement { packet_id: ack.packet_id, accepted: ack.reason_code == PublishAckReason::Success });
                    }
                    Packet::Disconnect(disconnect) => {
                        return Err(io::Error::other(format!("the door ended the connection: {:?}", disconnect.reason_code)));
                    }
                    _ => {}
                }
                packet = self.decode()?;
            }
        }
        Ok(all)
    }

    async fn packet(&mut self) -> io::Result<Packet> {
        loop {
            if let Some(packet) = self.decode()? {
                return Ok(packet);
            }
            let read = tokio::time::timeout(ANSWER_TIMEOUT, self.stream.read_buf(&mut self.input)).await;
            match read.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the door does not answer"))?? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the door closed the connection")),
                _ => self.input.reserve(1 << 12),
            }
        }
    }

    fn decode(&mut self) -> io::Result<Option<Packet>> {
        Ok(self.codec.decode(&mut self.input).map_err(io::Error::other)?.map(|(packet, _)| packet))
    }

    fn encode(&mut self, packet: Packet) -> io::Result<()> {
        self.codec.encode(packet, &mut self.out).map_err(io::Error::other)
    }
}
