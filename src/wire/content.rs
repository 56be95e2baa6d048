//! A message's content as bytes, so that different contents give different bytes; and their short SHA-256.

use sha2::{Digest as _, Sha256};

use crate::report::Instant;

/// The first 16 bytes of a SHA-256.
pub(crate) type ShortSha256 = [u8; 16];

const BUFFER_BYTES: usize = 256;

/// Every field can be read back from the bytes: texts carry their length, what may be absent is tagged.
pub(crate) struct Content {
    hasher: Sha256,
    buffer: [u8; BUFFER_BYTES],
    filled: usize,
    instant_before: Instant,
}

impl Content {
    pub(crate) fn new() -> Content {
        Content { hasher: Sha256::new(), buffer: [0; BUFFER_BYTES], filled: 0, instant_before: Instant::UNIX_EPOCH }
    }

    #[inline]
    pub(crate) fn byte(&mut self, byte: u8) {
        if self.filled == BUFFER_BYTES {
            self.flush();
        }
        self.buffer[self.filled] = byte;
        self.filled += 1;
    }

    /// Seven bits to a byte, lowest first; the highest bit says that more follow.
    #[inline]
    pub(crate) fn whole(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    pub(crate) fn number(&mut self, number: Option<u64>) {
        self.byte(u8::from(number.is_some()));
        if let Some(number) = number {
            self.whole(number);
        }
    }

    pub(crate) fn decimal(&mut self, number: f64) {
        // Adding zero makes -0.0 and 0.0 the same.
        self.bytes(&(number + 0.0).to_bits().to_le_bytes());
    }

    pub(crate) fn text(&mut self, text: Option<&str>) {
        self.whole(text.map_or(0, |text| text.len() as u64 + 1));
        self.bytes(text.unwrap_or_default().as_bytes());
    }

    /// A text that is mostly the same as the one before.
    pub(crate) fn text_after<'t>(&mut self, before: &mut &'t str, text: &'t str) {
        self.text((text != *before).then_some(text));
        *before = text;
    }

    /// As the distance from the instant before; the lowest bit is its sign.
    #[inline]
    pub(crate) fn instant(&mut self, at: Instant) {
        if at == self.instant_before {
            return self.byte(0);
        }
        let distance_us = at.timestamp_micros().wrapping_sub(self.instant_before.timestamp_micros());
        self.instant_before = at;
        self.whole((distance_us << 1 ^ distance_us >> 63) as u64);
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        if self.filled + bytes.len() > BUFFER_BYTES {
            self.flush();
        }
        match self.buffer.get_mut(self.filled..self.filled + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.filled += bytes.len();
            }
            None => self.hasher.update(bytes),
        }
    }

    #[cold]
    fn flush(&mut self) {
        self.hasher.update(&self.buffer[..self.filled]);
        self.filled = 0;
    }

    pub(crate) fn short_sha256(&mut self) -> ShortSha256 {
        self.flush();
        let full = self.hasher.finalize_reset();
        std::array::from_fn(|i| full[i])
    }
}
