//! A report after parsing, and the digest that tells whether two reports are equal.

use chrono::{DateTime, Utc};
use compact_str::CompactString;
use sha2::{Digest as _, Sha256};

pub type Instant = DateTime<Utc>;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub id: Option<CompactString>,
    pub boot: Option<CompactString>,
    pub seq: Option<u64>,
    pub enterprise: Option<CompactString>,
    /// When the sender's clock says it was sent; no part of the content.
    pub sent_at: Option<Instant>,
    pub clock: Option<Clock>,
    pub events: Vec<Event>,
    pub devices: Vec<DeviceEntry>,
    pub usage: Vec<UsageEntry>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Clock {
    pub synchronised: Option<bool>,
    pub monotonic_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub at: Instant,
    pub event: CompactString,
    pub detail: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DeviceEntry {
    pub device: CompactString,
    pub at: Instant,
    pub quality: Quality,
    pub state: Option<State>,
    /// Ascending by name.
    pub readings: Vec<(CompactString, Reading)>,
    /// Ascending by name: vendor, model, serial.
    pub identity: Vec<(CompactString, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct UsageEntry {
    pub product: CompactString,
    pub function_module: CompactString,
    pub user: CompactString,
    pub at: Instant,
    pub actions: u64,
    pub active_s: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    Number(f64),
    Flag(bool),
}

macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($variant:ident $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($variant,)* }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            pub fn read(text: &str) -> Option<$name> {
                match text { $($text => Some($name::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// Data flags as in HJ 212: normal, stopped, maintenance, entered by hand, fault, calibration, over range, communication error.
    Quality { Normal "N", Stopped "F", Maintenance "M", Manual "S", Fault "D", Calibration "C", OverRange "T", Communication "B", }
}
words! {
    State { Running "running", Idle "idle", Stopped "stopped", Fault "fault", Offline "offline", }
}

pub const EVENTS: [&str; 5] = ["start", "stop", "clock_jump", "dropped", "identity_changed"];

/// The first 16 bytes of the SHA-256 of a report's content: everything but `sent_at` and unknown fields.
pub type ContentDigest = [u8; 16];

impl Report {
    pub fn digest(&self) -> ContentDigest {
        let mut out = Content(Vec::with_capacity(64 + self.devices.len() * 96 + self.usage.len() * 128));
        out.text(self.id.as_deref());
        out.text(self.boot.as_deref());
        out.number(self.seq);
        out.text(self.enterprise.as_deref());
        out.number(self.clock.as_ref().and_then(|clock| clock.synchronised).map(u64::from));
        out.number(self.clock.as_ref().and_then(|clock| clock.monotonic_ms));
        out.length(self.events.len());
        for event in &self.events {
            out.instant(event.at);
            out.text(Some(&event.event));
            out.text(event.detail.as_deref());
        }
        out.length(self.devices.len());
        for entry in &self.devices {
            out.text(Some(&entry.device));
            out.instant(entry.at);
            out.text(Some(entry.quality.as_str()));
            out.text(entry.state.map(State::as_str));
            out.length(entry.readings.len());
            for (name, reading) in &entry.readings {
                out.text(Some(name));
                match reading {
                    // Adding zero makes -0.0 and 0.0 the same reading.
                    Reading::Number(number) => out.number(Some((number + 0.0).to_bits())),
                    Reading::Flag(flag) => out.flag(*flag),
                }
            }
            out.length(entry.identity.len());
            for (name, value) in &entry.identity {
                out.text(Some(name));
                out.text(Some(value));
            }
        }
        out.length(self.usage.len());
        for entry in &self.usage {
            out.text(Some(&entry.product));
            out.text(Some(&entry.function_module));
            out.text(Some(&entry.user));
            out.instant(entry.at);
            out.number(Some(entry.actions));
            out.number(entry.active_s);
        }
        short_sha256(&out.0)
    }
}

pub(crate) fn short_sha256(content: &[u8]) -> ContentDigest {
    let full = Sha256::digest(content);
    std::array::from_fn(|i| full[i])
}

/// Writes fields so that different contents give different bytes: each is tagged and carries its length.
pub(crate) struct Content(pub(crate) Vec<u8>);

impl Content {
    pub(crate) fn text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => {
                self.0.push(1);
                self.length(text.len());
                self.0.extend_from_slice(text.as_bytes());
            }
            None => self.0.push(0),
        }
    }

    pub(crate) fn number(&mut self, number: Option<u64>) {
        match number {
            Some(number) => {
                self.0.push(2);
                self.0.extend_from_slice(&number.to_le_bytes());
            }
            None => self.0.push(0),
        }
    }

    fn flag(&mut self, flag: bool) {
        self.0.extend_from_slice(&[3, u8::from(flag)]);
    }

    fn instant(&mut self, at: Instant) {
        self.0.extend_from_slice(&at.timestamp_micros().to_le_bytes());
    }

    pub(crate) fn length(&mut self, length: usize) {
        self.0.extend_from_slice(&(length as u64).to_le_bytes());
    }
}
