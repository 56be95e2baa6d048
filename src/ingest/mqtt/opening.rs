//! A connection before its CONNECT is accepted.

use std::net::IpAddr;
use std::time::Duration;

use bytes::BytesMut;
use store::{GatewayEntry, Vouched};
use tokio::time::{Instant, timeout};
use wire::identity::Sender;
use wire::topic;

use super::codec::{Codec, Terms};
use super::connection::Connection;
use super::door::Door;
use super::edge_node::EdgeNode;
use super::ending::Ending;
use super::frame::{Frame, Version};
use super::handshake::Trust;
use super::packet::{Connect, ConnectRefusal};
use super::reports::Reports;
use super::sessions::Entrance;
use super::stream::{self, Stream};
use super::watch::Watch;

/// Nothing larger is kept of somebody who is not known yet.
const CONNECT_BYTES_MAX: usize = 16 << 10;
/// MQTT 3.1.1 cannot be told of a keep alive of ours.
const SILENCE_MAX: Duration = Duration::from_secs(3600);

pub(super) struct Opening<'d> {
    door: &'d Door,
    stream: Stream,
    address: IpAddr,
    /// In the client's certificate, if it has shown one.
    trust: Option<Trust>,
    input: BytesMut,
    out: BytesMut,
}

impl<'d> Opening<'d> {
    pub(super) fn new(door: &'d Door, stream: Stream, address: IpAddr, trust: Option<Trust>) -> Opening<'d> {
        Opening { door, stream, address, trust, input: BytesMut::new(), out: BytesMut::new() }
    }

    /// The connection once it is accepted, or the label under which its end is counted.
    pub(super) async fn run(mut self) -> Result<Box<Connection<'d>>, &'static str> {
        let (mut codec, connect) = match timeout(self.door.options.connect_timeout, self.connect()).await {
            Err(_) => return Err("connect_timeout"),
            Ok(Err(refused)) => return Err(refused),
            Ok(Ok(connect)) => connect,
        };
        codec.set_client_bytes_max(connect.packet_bytes_max);
        let (gateway, admitted) = match admit(self.door, &connect, self.trust.as_ref(), codec.version_5()).await {
            Ok(gateway) => gateway,
            Err(refusal) => return Err(self.refuse(&mut codec, refusal).await),
        };
        let options = &self.door.options;
        let keep_alive_s = match connect.keep_alive_s {
            0 => options.keep_alive_max_s,
            asked_s => asked_s.min(options.keep_alive_max_s),
        };
        let expiry_s = connect.expiry_s.min(options.session_expiry_max_s);
        let edge_node = EdgeNode::new(&gateway, &admitted, connect.will.as_ref(), self.door);
        let entrance = Entrance {
            client_id: &connect.client_id,
            gateway: &gateway,
            enterprise: &admitted.enterprise,
            clean_start: connect.clean_start,
            expiry: Duration::from_secs(expiry_s.into()),
            will: connect.will.filter(|_| edge_node.is_none()),
        };
        let (membership, session_present) = self.door.sessions.enter(entrance, Instant::now());
        let terms = Terms {
            session_present,
            receive_maximum: options.receive_maximum,
            packet_bytes_max: options.packet_bytes_max(),
            server_keep_alive_s: (keep_alive_s != connect.keep_alive_s).then_some(keep_alive_s),
            expiry_s: (expiry_s != connect.expiry_s).then_some(expiry_s),
        };
        let idle_max = idle_max(keep_alive_s, connect.keep_alive_s, codec.version_5());
        if codec.connack(&mut self.out, &terms).is_err() {
            return Err(Ending::PacketTooLarge.as_str());
        }
        let now = Instant::now();
        Ok(Box::new(Connection {
            door: self.door,
            stream: self.stream,
            input: self.input,
            out: self.out,
            codec,
            packet_bytes_max: connect.packet_bytes_max,
            window: usize::from(connect.receive_maximum),
            session_outlives: expiry_s > 0,
            sender: Sender::Gateway(gateway.as_str().into()),
            reports: Reports::new(gateway, if self.trust.is_some() { Vouched::Certificate } else { Vouched::Token }),
            edge_node: edge_node.map(Box::new),
            admitted,
            trust: self.trust,
            membership,
            watch: Watch::new(idle_max, options.stall_timeout, now),
            address: self.address,
            note_at: now,
            ending: None,
            with_will: true,
            expiry: None,
        }))
    }

    /// Reads the CONNECT; one that cannot be served is told so where the standard knows how.
    async fn connect(&mut self) -> Result<(Codec, Connect), &'static str> {
        let frame = loop {
            if let Some(frame) = Frame::at_front(&self.input, CONNECT_BYTES_MAX).map_err(Ending::as_str)? {
                break frame;
            }
            match stream::read(&mut self.stream, &mut self.input).await {
                Ok(0) | Err(_) => return Err(Ending::Lost.as_str()),
                Ok(_) => {}
            }
        };
        let bytes_max = self.door.options.packet_bytes_max() as usize;
        let mut codec = match frame.version(&self.input).map_err(Ending::as_str)? {
            Version::V3 => Codec::v3(bytes_max),
            Version::V5 => Codec::v5(bytes_max),
            Version::Other => {
                let mut codec = Codec::v3(bytes_max);
                return Err(self.refuse(&mut codec, ConnectRefusal::Version).await);
            }
        };
        match codec.decode_connect(&mut self.input) {
            Ok(connect) => Ok((codec, connect)),
            Err(refusal) => Err(self.refuse(&mut codec, refusal).await),
        }
    }

    async fn refuse(&mut self, codec: &mut Codec, refusal: ConnectRefusal) -> &'static str {
        codec.refuse_connect(&mut self.out, refusal);
        // It is refused whether or not it still hears so.
        let _ = stream::write(&mut self.stream, &mut self.out, self.door.options.connect_timeout).await;
        stream::close(&mut self.stream).await;
        refusal.as_str()
    }
}

/// The gateway that this is, or why it is not let in: by its token, or by a certificate in place of it.
async fn admit(door: &Door, connect: &Connect, trust: Option<&Trust>, version_5: bool) -> Result<(String, GatewayEntry), ConnectRefusal> {
    if connect.authentication_method {
        return Err(ConnectRefusal::AuthenticationMethod);
    }
    if let Err(error) = door.intake.register().refresh().await {
        tracing::error!(%error, "the register cannot be read");
        return Err(ConnectRefusal::Busy);
    }
    let directory = door.intake.register().directory();
    // With a certificate the user name may be left out: the client id names the gateway then.
    let named = match (&connect.user_name, trust) {
        (Some(user_name), _) => user_name.as_str(),
        (None, Some(_)) => connect.client_id.split('/').next().unwrap_or(""),
        (None, None) => return Err(ConnectRefusal::BadCredentials),
    };
    let entry = directory.gateway(named).ok_or(ConnectRefusal::BadCredentials)?;
    let vouched = match trust {
        Some(trust) => trust.certificate.is(named),
        None => token(connect).is_some_and(|token| entry.token_matches(token)),
    };
    if !vouched {
        Err(ConnectRefusal::BadCredentials)
    } else if !topic::client_id_valid(&connect.client_id, named) {
        Err(ConnectRefusal::ClientId)
    } else if let Some(refusal) = connect.will.as_ref().and_then(|will| will.refusal(named, entry, version_5)) {
        Err(refusal)
    } else {
        Ok((named.to_string(), entry.clone()))
    }
}

fn token(connect: &Connect) -> Option<&str> {
    connect.password.as_deref().and_then(|password| std::str::from_utf8(password).ok())
}

/// How long a client may be silent: one and a half times its keep alive, as the standard says. MQTT 3.1.1 cannot be told of a shorter
/// one, so what it asked for holds; where it asked for none, silence is bounded all the same.
fn idle_max(told_s: u16, asked_s: u16, version_5: bool) -> Duration {
    match asked_s {
        0 if !version_5 => SILENCE_MAX,
        asked_s if !version_5 => Duration::from_millis(u64::from(asked_s) * 1500),
        _ => Duration::from_millis(u64::from(told_s) * 1500),
    }
}
