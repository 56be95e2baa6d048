//! The door's decoder by itself, for the tests that feed it damaged bytes.

use bytes::BytesMut;

use super::codec::Codec;

/// What the decoder makes of a client's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttDecoded {
    /// Each packet, as its fields show themselves.
    pub packets: Vec<String>,
    /// Why the connection would end; `None` while more may come.
    pub ending: Option<String>,
}

/// Decodes bytes that arrive in these pieces, packets of at most `bytes_max`.
pub fn mqtt_decoded<'a>(version_5: bool, bytes_max: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> MqttDecoded {
    let mut codec = if version_5 { Codec::v5(bytes_max) } else { Codec::v3(bytes_max) };
    let (mut packets, mut input) = (Vec::new(), BytesMut::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match codec.decode(&mut input) {
                Ok(Some(packet)) => packets.push(format!("{packet:?}")),
                Ok(None) => break,
                Err(ending) => return MqttDecoded { packets, ending: Some(format!("{ending:?}")) },
            }
        }
    }
    MqttDecoded { packets, ending: None }
}
