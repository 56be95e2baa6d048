//! Signed reports, made beforehand: CBOR in COSE_Sign1, so that while measuring only the service pays for signatures.

use chrono::{DateTime, Utc};
use ed25519_dalek::SigningKey;
use wire::cose;
use wire::json::Json;
use wire::topic::GatewayTopic;

use super::packets::Protocol;
use super::reports::{GatewayReports, Reports};

/// The key of the gateway with this number. Nobody keeps anything secret with it.
pub(super) fn signing_key(number: usize) -> SigningKey {
    let mut seed = [0x5A; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    SigningKey::from_bytes(&seed)
}

/// PUBLISH packets of one gateway, in their order.
pub(super) struct Signed {
    /// Each with the place of its packet id.
    packets: std::vec::IntoIter<(Vec<u8>, usize)>,
    report_bytes: usize,
}

impl Signed {
    pub(super) fn make(count: usize, protocol: Protocol, gateway: &str, number: usize, mut reports: GatewayReports) -> Signed {
        let (key, topic, now) = (signing_key(number), GatewayTopic::Report.of(gateway), Utc::now());
        let mut report_bytes = 0;
        let packet = |_| {
            let json = Json::read(reports.next_body(now)).unwrap_or(Json::Null);
            let body = cose::seal(&json.to_cbor(), gateway, &key);
            report_bytes = body.len();
            protocol.publish(&topic, &body)
        };
        let packets: Vec<_> = (0..count).map(packet).collect();
        Signed { packets: packets.into_iter(), report_bytes }
    }
}

impl Reports for Signed {
    fn append(&mut self, out: &mut Vec<u8>, packet_id: u16, _: DateTime<Utc>) -> bool {
        let Some((mut packet, id_at)) = self.packets.next() else { return false };
        packet[id_at..id_at + 2].copy_from_slice(&packet_id.to_be_bytes());
        out.extend_from_slice(&packet);
        true
    }

    fn report_bytes(&self) -> usize {
        self.report_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::packets::first_packet;
    use super::super::reports::Entries;
    use super::*;
    use wire::cose::Signed as Envelope;

    #[test]
    fn each_report_is_signed_with_the_gateways_key_and_there_are_as_many_as_were_made() {
        let reports = GatewayReports::new(Protocol::V5, "g", "b", Entries::new(20, 0..20, 1));
        let mut signed = Signed::make(2, Protocol::V5, "g", 3, reports);
        let mut out = Vec::new();
        assert!(signed.append(&mut out, 5, Utc::now()));
        let (_, rest, length) = first_packet(&out).unwrap();
        let body = &rest[2 + 20 + 2 + 1..];
        let envelope = Envelope::read(body).unwrap();
        assert!(envelope.verify(&(&signing_key(3)).into()) && !envelope.verify(&(&signing_key(4)).into()));
        assert_eq!(length, out.len());
        assert!(body.len() < 2_000, "CBOR is shorter than JSON: {}", body.len());
        assert!(signed.append(&mut out, 6, Utc::now()) && !signed.append(&mut out, 7, Utc::now()));
    }
}
