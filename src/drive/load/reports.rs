//! Reports as machines would send them: one form, values that vary as measured ones do, so that nothing compresses better than in
//! reality. Only what varies is written anew for each, which costs next to nothing.

use std::ops::Range;

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use wire::topic::GatewayTopic;

use super::packets::Protocol;

/// One device in a report. Places of fixed width are filled for each report.
const ENTRY: &str = r#"{"device":"D0000000","at":"0000-00-00T00:00:00+08:00","quality":"N","readings":{"功率_kw":00.00,"on":true}}"#;
const DEVICE: Range<usize> = 12..19;
const AT: Range<usize> = 27..52;
const POWER: Range<usize> = 92..97;
/// An entry and its comma.
const STRIDE: usize = ENTRY.len() + 1;

/// A gateway asks one machine after the other: a report's readings are up to this old.
const POLL_SECONDS: usize = 10;

/// The entries of report after report.
pub(super) struct Entries {
    count: usize,
    /// Numbers of the devices that take turns.
    devices: Range<u64>,
    next: u64,
    random: u64,
    /// By seconds ago, as of `told_at`.
    instants: [Vec<u8>; POLL_SECONDS],
    told_at: i64,
}

impl Entries {
    /// `devices`: at least as many as one report has. Another `seed` gives other values.
    pub(super) fn new(count: u16, devices: Range<u64>, seed: u64) -> Entries {
        let random = 0x9E37_79B9_7F4A_7C15 ^ (seed + 1).wrapping_mul(0xD1B5_4A32_D192_ED03);
        Entries { count: usize::from(count), next: devices.start, devices, random, instants: Default::default(), told_at: i64::MIN }
    }

    /// The entries' text, its places not filled.
    pub(super) fn text(&self) -> String {
        vec![ENTRY; self.count].join(",")
    }

    /// Fills the places of the entries that begin where `text` does.
    pub(super) fn fill(&mut self, text: &mut [u8], now: DateTime<Utc>) {
        self.tell_instants(now);
        for entry in text.chunks_mut(STRIDE).take(self.count) {
            let device = self.next;
            self.next = if device + 1 == self.devices.end { self.devices.start } else { device + 1 };
            let random = self.random();
            entry[AT].copy_from_slice(&self.instants[random as usize % POLL_SECONDS]);
            write_number(&mut entry[DEVICE], device);
            // Each machine draws its own power, give or take what its work and the measuring bring.
            let usual = 2_000 + device.wrapping_mul(2_654_435_761) % 7_000;
            let power = usual + (random >> 32) % 256;
            write_number(&mut entry[POWER.start..POWER.start + 2], power / 100);
            write_number(&mut entry[POWER.end - 2..POWER.end], power % 100);
        }
    }

    fn tell_instants(&mut self, now: DateTime<Utc>) {
        if now.timestamp() == self.told_at {
            return;
        }
        self.told_at = now.timestamp();
        for (ago, told) in self.instants.iter_mut().enumerate() {
            let at = now - TimeDelta::seconds(ago as i64);
            let text = FixedOffset::east_opt(8 * 3600).map_or_else(|| at.to_rfc3339(), |shanghai| seconds_of(at.with_timezone(&shanghai)));
            *told = text.into_bytes();
        }
    }

    /// xorshift64
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

fn seconds_of(at: DateTime<FixedOffset>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, false)
}

/// Right-aligned, with zeros before.
fn write_number(places: &mut [u8], mut number: u64) {
    for place in places.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Where a sender's packets come from.
pub(super) trait Reports: Send {
    /// Appends the next report as a PUBLISH with this packet id; `false`: there is none left.
    fn append(&mut self, out: &mut Vec<u8>, packet_id: u16, now: DateTime<Utc>) -> bool;
    fn report_bytes(&self) -> usize;
}

/// A gateway's reports in JSON, as many as are asked for.
pub(super) struct GatewayReports {
    protocol: Protocol,
    gateway: String,
    boot: String,
    seq: u64,
    entries: Entries,
    /// The last packet; the next one is written over it.
    packet: Vec<u8>,
    id_at: usize,
    seq_at: Range<usize>,
    body_at: usize,
    entries_at: usize,
}

impl GatewayReports {
    pub(super) fn new(protocol: Protocol, gateway: &str, boot: &str, entries: Entries) -> GatewayReports {
        let mut reports = GatewayReports {
            protocol,
            gateway: gateway.to_string(),
            boot: boot.to_string(),
            seq: 0,
            entries,
            packet: Vec::new(),
            id_at: 0,
            seq_at: 0..0,
            body_at: 0,
            entries_at: 0,
        };
        reports.lay_out(1);
        reports
    }

    /// The packet for numbers of so many digits.
    fn lay_out(&mut self, digits: usize) {
        let head = format!(r#"{{"v":1,"boot":"{}","seq":"#, self.boot);
        let between = r#","devices":["#;
        let body = format!("{head}{}{between}{}]}}", "0".repeat(digits), self.entries.text());
        (self.packet, self.id_at) = self.protocol.publish(&GatewayTopic::Report.of(&self.gateway), body.as_bytes());
        self.body_at = self.packet.len() - body.len();
        self.seq_at = self.body_at + head.len()..self.body_at + head.len() + digits;
        self.entries_at = self.seq_at.end + between.len();
    }

    /// The next report's body.
    pub(super) fn next_body(&mut self, now: DateTime<Utc>) -> &[u8] {
        self.seq += 1;
        let digits = self.seq.ilog10() as usize + 1;
        if digits != self.seq_at.len() {
            self.lay_out(digits);
        }
        write_number(&mut self.packet[self.seq_at.clone()], self.seq);
        self.entries.fill(&mut self.packet[self.entries_at..], now);
        &self.packet[self.body_at..]
    }
}

impl Reports for GatewayReports {
    fn append(&mut self, out: &mut Vec<u8>, packet_id: u16, now: DateTime<Utc>) -> bool {
        self.next_body(now);
        self.packet[self.id_at..self.id_at + 2].copy_from_slice(&packet_id.to_be_bytes());
        out.extend_from_slice(&self.packet);
        true
    }

    fn report_bytes(&self) -> usize {
        self.packet.len() - self.body_at
    }
}

/// A supplier's report of one enterprise.
pub(super) fn supplier_report(id: u64, enterprise: &str, entries: &mut Entries, now: DateTime<Utc>) -> Vec<u8> {
    let head = format!(r#"{{"v":1,"id":"r-{id:09}","enterprise":"{enterprise}","devices":["#);
    let mut body = format!("{head}{}]}}", entries.text()).into_bytes();
    entries.fill(&mut body[head.len()..], now);
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn reports(devices: Range<u64>) -> GatewayReports {
        GatewayReports::new(Protocol::V5, "g", "b", Entries::new(20, devices, 1))
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_572_940_800, 0).unwrap()
    }

    #[test]
    fn bodies_are_sound_reports_of_2200_bytes_that_count_up_and_vary() {
        let mut reports = reports(100..120);
        let mut powers = BTreeSet::new();
        for seq in 1..=1200u64 {
            let body = reports.next_body(now()).to_vec();
            assert!((2_150..2_350).contains(&body.len()), "{}", body.len());
            let json: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(json["seq"], seq);
            let devices = json["devices"].as_array().unwrap();
            assert_eq!(
                (devices.len(), devices[0]["device"].as_str(), devices[19]["device"].as_str()),
                (20, Some("D0000100"), Some("D0000119"))
            );
            for device in devices {
                let at = DateTime::parse_from_rfc3339(device["at"].as_str().unwrap()).unwrap();
                assert!((0..10).contains(&(now() - at.to_utc()).num_seconds()));
                assert!((20.0..100.0).contains(&device["readings"]["功率_kw"].as_f64().unwrap()));
            }
            powers.insert(devices[3]["readings"].to_string());
        }
        assert!(powers.len() > 200, "{}", powers.len());
    }

    #[test]
    fn every_device_of_the_share_has_its_turn() {
        let mut reports = reports(0..1000);
        let mut seen = BTreeSet::new();
        for _ in 0..50 {
            let json: Value = serde_json::from_slice(reports.next_body(now())).unwrap();
            seen.extend(json["devices"].as_array().unwrap().iter().map(|device| device["device"].to_string()));
        }
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn each_packet_bears_its_id() {
        let mut reports = reports(0..20);
        let mut out = Vec::new();
        assert!(reports.append(&mut out, 0x1234, now()) && reports.append(&mut out, 0x0001, now()));
        let first = super::super::packets::first_packet(&out).unwrap();
        assert_eq!(first.1[2 + 20..][..2], [0x12, 0x34], "after the topic shangyun/v1/g/report");
        assert_eq!(first.2 * 2, out.len());
    }

    #[test]
    fn a_suppliers_report_is_sound() {
        let body = supplier_report(7, "914400000000000001", &mut Entries::new(3, 0..3, 1), now());
        let json: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((json["id"].as_str(), json["devices"].as_array().map(Vec::len)), (Some("r-000000007"), Some(3)));
    }
}
