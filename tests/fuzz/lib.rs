//! A fuzz target for every decoder of bytes from outside: what must hold for any input at all, not only that nothing panics.
#![allow(clippy::unwrap_used)]

mod carrier;
mod cbor;
mod cose;
mod crc32c;
mod faults;
mod log;
mod memory;
mod mqtt;
mod register;
mod report;
mod sparkplug;
mod written;

/// One decoder.
pub struct Target {
    pub name: &'static str,
    /// Panics if something does not hold.
    pub run: fn(&[u8]),
    /// Sound inputs, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words of the inputs' language.
    pub words: &'static [&'static [u8]],
}

pub const TARGETS: &[Target] =
    &[report::TARGET, carrier::TARGET, cbor::TARGET, cose::TARGET, log::TARGET, sparkplug::TARGET, register::TARGET, mqtt::TARGET];
