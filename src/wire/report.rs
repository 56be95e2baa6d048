//! A report after parsing, and the digest that tells whether two reports are equal.

use chrono::{DateTime, Utc};
use compact_str::CompactString;

use crate::content::Content;
pub use crate::readings::{Reading, Readings, ReadingsOf};

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
    /// Of all devices.
    pub readings: Readings,
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
    pub readings: ReadingsOf,
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
    /// Digests are kept: the order of `Quality` and of `State` is part of them.
    pub fn digest(&self) -> ContentDigest {
        let mut out = Content::new();
        out.text(self.id.as_deref());
        out.text(self.boot.as_deref());
        out.number(self.seq);
        out.text(self.enterprise.as_deref());
        out.number(self.clock.as_ref().and_then(|clock| clock.synchronised).map(u64::from));
        out.number(self.clock.as_ref().and_then(|clock| clock.monotonic_ms));
        out.whole(self.events.len() as u64);
        for event in &self.events {
            out.instant(event.at);
            out.text(Some(&event.event));
            out.text(event.detail.as_deref());
        }
        out.whole(self.devices.len() as u64);
        let mut readings = self.readings.canonical();
        for entry in &self.devices {
            out.text(Some(&entry.device));
            out.instant(entry.at);
            out.byte(entry.quality as u8);
            out.byte(entry.state.map_or(0, |state| state as u8 + 1));
            readings.write(entry.readings, &mut out);
            out.whole(entry.identity.len() as u64);
            for (name, value) in &entry.identity {
                out.text(Some(name));
                out.text(Some(value));
            }
        }
        out.whole(self.usage.len() as u64);
        let (mut product_before, mut function_module_before) = ("", "");
        for entry in &self.usage {
            out.text_after(&mut product_before, &entry.product);
            out.text_after(&mut function_module_before, &entry.function_module);
            out.text(Some(&entry.user));
            out.instant(entry.at);
            out.whole(entry.actions);
            out.number(entry.active_s);
        }
        out.short_sha256()
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
