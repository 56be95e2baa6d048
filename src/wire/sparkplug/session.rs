//! One edge node over one connection: which births are in force, what comes next, and what each message becomes.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use compact_str::CompactString;

use super::births::Births;
use super::payload::{self, Payload};
use super::report::{Draft, Ignored, Origin, instant};
use super::topic::{Kind, Place};
use crate::fault::{Fault, FaultCode};
use crate::limits::{SPARKPLUG_DEVICES_MAX, SPARKPLUG_METRICS_MAX};
use crate::read::name_valid;
use crate::report::Instant;

/// A rebirth is asked for again after this long at the earliest; twice as long each time, up to the most, where the last one was in vain.
pub const REBIRTH_WAIT_S_MIN: i64 = 5;
pub const REBIRTH_WAIT_S_MAX: i64 = 640;

const SEQ_MAX: u64 = 255;

/// What a message led to.
#[derive(Debug, Default)]
pub struct Applied {
    /// The message as a report of version 1, in JSON; sound, unless the register objects.
    pub report: Option<Vec<u8>>,
    pub change: Option<Change>,
    /// Send [`super::rebirth_request`] to the edge node, on [`super::command_topic`].
    pub rebirth: bool,
    /// Without a report: why the message is refused. With one: what of the message was left out, or is wrong beside it.
    pub faults: Vec<Fault>,
    pub ignored: Ignored,
}

/// Who is connected now, and was not before, or the other way round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    NodeBorn,
    NodeDied,
    DeviceBorn(CompactString),
    DeviceDied(CompactString),
}

/// Lives as long as the connection: every connection begins with an NBIRTH.
#[derive(Debug)]
pub struct Session {
    enterprise: CompactString,
    gateway: CompactString,
    future_skew_s_max: u32,
    /// The bdSeq of the connection's will, as far as there is a will.
    will: Option<Option<u64>>,
    birth: Option<Birth>,
    /// Messages refused since something was lost.
    refused: u64,
    rebirth_asked_at: Option<Instant>,
    rebirth_wait_s: i64,
}

/// What an NBIRTH began.
#[derive(Debug)]
struct Birth {
    at_ms: u64,
    bd_seq: Option<u64>,
    seq_next: u64,
    /// Not after a gap: then nothing is believed but a death.
    unbroken: bool,
    /// The `seq` of the newest report.
    reports: u64,
    node: Births,
    devices: BTreeMap<CompactString, Births>,
    metric_count: usize,
}

struct Message<'a> {
    topic: &'a str,
    bytes: &'a [u8],
    kind: Kind,
    device: &'a str,
    payload: Payload,
    received_at: Instant,
}

impl Session {
    /// `will` is the payload of the connection's will, if it is an NDEATH.
    pub fn new(enterprise: &str, gateway: &str, future_skew_s_max: u32, will: Option<&[u8]>) -> Session {
        Session {
            enterprise: enterprise.into(),
            gateway: gateway.into(),
            future_skew_s_max,
            will: will.map(|will| payload::read(will).ok().and_then(|will| will.bd_seq())),
            birth: None,
            refused: 0,
            rebirth_asked_at: None,
            rebirth_wait_s: REBIRTH_WAIT_S_MIN,
        }
    }

    /// Takes a message of the edge node, or its will when the connection is lost.
    pub fn apply(&mut self, topic: &str, payload: &[u8], received_at: Instant) -> Applied {
        let mut applied = Applied::default();
        let Some(place) = Place::of(topic).filter(|place| place.belongs_to(&self.enterprise, &self.gateway)) else {
            applied.faults.push(Fault::new(FaultCode::NotAuthorised, "", "it is no topic of this edge node"));
            return applied;
        };
        match payload::read(payload) {
            Ok(read) => {
                let device = place.device.unwrap_or_default();
                self.take(&Message { topic, bytes: payload, kind: place.kind, device, payload: read, received_at }, &mut applied);
            }
            Err(fault) => {
                if place.kind == Kind::NodeBirth {
                    self.birth = None;
                }
                applied.faults.push(fault);
            }
        }
        applied
    }

    fn take(&mut self, message: &Message<'_>, applied: &mut Applied) {
        match message.kind {
            Kind::NodeBirth => self.node_birth(message, applied),
            Kind::NodeDeath => self.node_death(message, applied),
            Kind::NodeData if self.in_order(message, applied) => self.node_data(message, applied),
            Kind::DeviceBirth if self.in_order(message, applied) => self.device_birth(message, applied),
            Kind::DeviceData if self.in_order(message, applied) => self.device_data(message, applied),
            Kind::DeviceDeath if self.in_order(message, applied) => self.device_death(message, applied),
            Kind::NodeData | Kind::DeviceBirth | Kind::DeviceData | Kind::DeviceDeath => {}
        }
    }

    fn node_birth(&mut self, message: &Message<'_>, applied: &mut Applied) {
        let before = self.birth.take();
        let bd_seq = message.payload.bd_seq();
        if bd_seq.is_none() {
            applied.faults.push(Fault::new(FaultCode::SparkplugBdSeq, "/metrics", "an NBIRTH has a bdSeq"));
        } else if self.will.is_some_and(|will| will != bd_seq) {
            applied.faults.push(Fault::new(FaultCode::SparkplugBdSeq, "/metrics", "it is not the bdSeq of the will"));
        }
        let (at_ms, at) = match (message.payload.timestamp, message.payload.timestamp.and_then(instant)) {
            (Some(at_ms), Some(at)) => (at_ms, at),
            (Some(at_ms), None) => return applied.faults.push(Fault::new(FaultCode::Instant, "/timestamp", format!("{at_ms} ms"))),
            (None, _) => return applied.faults.push(Fault::new(FaultCode::Sparkplug, "/timestamp", "an NBIRTH has a timestamp")),
        };
        let Some(seq) = message.payload.seq.filter(|seq| *seq <= SEQ_MAX) else {
            return applied.faults.push(Fault::new(FaultCode::SparkplugSeq, "/seq", "an NBIRTH has a seq from 0 to 255"));
        };
        let (node, faults) = Births::read(&message.payload.metrics);
        applied.faults.extend(faults);
        let mut draft = Draft::new(message.received_at, self.future_skew_s_max);
        draft.refuse_future("/timestamp", at);
        draft.event(at, "start", format!("NBIRTH, bdSeq {}", bd_seq.map_or("none".into(), |bd_seq| bd_seq.to_string())));
        if self.refused > 0 {
            draft.event(at, "dropped", format!("{} messages refused before this birth", self.refused));
            self.refused = 0;
        }
        draft.readings(&self.gateway, &node, &message.payload);
        // A second birth of the same millisecond has the same boot.
        let reports = before.filter(|before| before.at_ms == at_ms).map_or(0, |before| before.reports);
        let mut birth = Birth {
            at_ms,
            bd_seq,
            seq_next: after(seq),
            unbroken: true,
            reports,
            metric_count: node.len(),
            node,
            devices: BTreeMap::new(),
        };
        birth.settle(message, draft, applied);
        self.birth = Some(birth);
        applied.change = Some(Change::NodeBorn);
    }

    /// A death that belongs to the birth in force ends it, whatever was lost between.
    fn node_death(&mut self, message: &Message<'_>, applied: &mut Applied) {
        let Some(birth) = &self.birth else { return };
        let bd_seq = message.payload.bd_seq();
        if bd_seq != birth.bd_seq {
            return applied.faults.push(Fault::new(FaultCode::SparkplugBdSeq, "/metrics", "it is not the bdSeq of the NBIRTH in force"));
        }
        let Some(mut birth) = self.birth.take() else { return };
        let at = message.received_at;
        let mut draft = Draft::new(at, self.future_skew_s_max);
        draft.event(at, "stop", format!("NDEATH, bdSeq {}", bd_seq.map_or("none".into(), |bd_seq| bd_seq.to_string())));
        if birth.node.any_reading() {
            draft.offline(&self.gateway, at);
        }
        for device in birth.devices.keys() {
            draft.offline(device, at);
        }
        birth.settle(message, draft, applied);
        applied.change = Some(Change::NodeDied);
    }

    /// Does the message come after a birth, and next?
    fn in_order(&mut self, message: &Message<'_>, applied: &mut Applied) -> bool {
        let fault = match &mut self.birth {
            None => Fault::new(FaultCode::BirthMissing, "", "the edge node was not born on this connection"),
            Some(birth) if !birth.unbroken => Fault::new(FaultCode::BirthMissing, "", "no birth since a message was lost"),
            Some(birth) if message.payload.seq == Some(birth.seq_next) => {
                birth.seq_next = after(birth.seq_next);
                return true;
            }
            Some(birth) => {
                birth.unbroken = false;
                let found = message.payload.seq.map_or("none".into(), |seq| seq.to_string());
                Fault::new(FaultCode::SparkplugSeq, "/seq", format!("expected {}, found {found}", birth.seq_next))
            }
        };
        applied.faults.push(fault);
        self.refused += 1;
        self.ask_for_rebirth(message.received_at, applied);
        false
    }

    fn ask_for_rebirth(&mut self, now: Instant, applied: &mut Applied) {
        let wait = TimeDelta::seconds(self.rebirth_wait_s);
        self.rebirth_wait_s = match self.rebirth_asked_at.map(|asked| (now - asked).abs()) {
            Some(since) if since < wait => return,
            Some(since) if since <= wait * 2 => (self.rebirth_wait_s * 2).min(REBIRTH_WAIT_S_MAX),
            _ => REBIRTH_WAIT_S_MIN,
        };
        self.rebirth_asked_at = Some(now);
        applied.rebirth = true;
    }

    fn node_data(&mut self, message: &Message<'_>, applied: &mut Applied) {
        let Some(birth) = &mut self.birth else { return };
        let mut draft = Draft::new(message.received_at, self.future_skew_s_max);
        draft.readings(&self.gateway, &birth.node, &message.payload);
        birth.settle(message, draft, applied);
        if applied.ignored.unknown > 0 {
            self.ask_for_rebirth(message.received_at, applied);
        }
    }

    fn device_birth(&mut self, message: &Message<'_>, applied: &mut Applied) {
        let Some(birth) = &mut self.birth else { return };
        birth.forget(message.device);
        let (device, faults) = Births::read(&message.payload.metrics);
        let bound = if let Err(detail) = name_valid(message.device) {
            Some(Fault::new(FaultCode::Text, "", format!("the device's name: {detail}")))
        } else if birth.devices.len() >= SPARKPLUG_DEVICES_MAX {
            Some(Fault::new(FaultCode::Bound, "", format!("more than {SPARKPLUG_DEVICES_MAX} devices")))
        } else if birth.metric_count + device.len() > SPARKPLUG_METRICS_MAX {
            Some(Fault::new(FaultCode::Bound, "/metrics", format!("more than {SPARKPLUG_METRICS_MAX} metrics in all")))
        } else {
            None
        };
        if let Some(fault) = bound {
            return applied.faults.push(fault);
        }
        applied.faults.extend(faults);
        let mut draft = Draft::new(message.received_at, self.future_skew_s_max);
        draft.readings(message.device, &device, &message.payload);
        birth.metric_count += device.len();
        birth.devices.insert(message.device.into(), device);
        birth.settle(message, draft, applied);
        applied.change = Some(Change::DeviceBorn(message.device.into()));
    }

    fn device_data(&mut self, message: &Message<'_>, applied: &mut Applied) {
        let Some(birth) = &mut self.birth else { return };
        let Some(device) = birth.devices.get(message.device) else { return self.device_unborn(message, applied) };
        let mut draft = Draft::new(message.received_at, self.future_skew_s_max);
        draft.readings(message.device, device, &message.payload);
        birth.settle(message, draft, applied);
        if applied.ignored.unknown > 0 {
            self.ask_for_rebirth(message.received_at, applied);
        }
    }

    fn device_death(&mut self, message: &Message<'_>, applied: &mut Applied) {
        let Some(birth) = &mut self.birth else { return };
        if !birth.forget(message.device) {
            return self.device_unborn(message, applied);
        }
        applied.change = Some(Change::DeviceDied(message.device.into()));
        let Some(at) = message.payload.timestamp.and_then(instant) else {
            return applied.faults.push(Fault::new(FaultCode::Sparkplug, "/timestamp", "a DDEATH has a timestamp"));
        };
        let mut draft = Draft::new(message.received_at, self.future_skew_s_max);
        draft.refuse_future("/timestamp", at);
        draft.offline(message.device, at);
        birth.settle(message, draft, applied);
    }

    fn device_unborn(&mut self, message: &Message<'_>, applied: &mut Applied) {
        applied.faults.push(Fault::new(FaultCode::BirthMissing, "", "the device was not born"));
        self.refused += 1;
        self.ask_for_rebirth(message.received_at, applied);
    }
}

impl Birth {
    /// Numbers what a message says, and makes it a report or says why not.
    fn settle(&mut self, message: &Message<'_>, mut draft: Draft, applied: &mut Applied) {
        if !draft.says_nothing() {
            self.reports += 1;
            if draft.refusals.is_empty() {
                let boot = format!("spb-{}", self.at_ms);
                let origin = Origin { boot: &boot, seq: self.reports, topic: message.topic, payload: message.bytes };
                match draft.write(&origin) {
                    Ok(report) => applied.report = Some(report),
                    Err(fault) => draft.refusals.push(fault),
                }
            }
        }
        applied.faults.append(&mut draft.refusals);
        applied.faults.append(&mut draft.remarks);
        applied.ignored = draft.ignored;
    }

    /// The device is as if it had never been born. Was it?
    fn forget(&mut self, device: &str) -> bool {
        let Some(births) = self.devices.remove(device) else { return false };
        self.metric_count -= births.len();
        true
    }
}

fn after(seq: u64) -> u64 {
    (seq + 1) % (SEQ_MAX + 1)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
