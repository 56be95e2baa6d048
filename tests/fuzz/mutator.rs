//! Makes damaged inputs from sound ones. What it makes follows from its seed alone.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Numbers at which lengths and counts go wrong.
const EDGES: [u64; 14] = [0, 1, 0x17, 0x18, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, i64::MAX as u64, u64::MAX];
/// Nothing grows beyond this: more than any decoder takes.
const BYTES_MAX: usize = 300 << 10;

pub struct Mutator<'a> {
    rng: StdRng,
    seeds: &'a [Vec<u8>],
    words: &'a [&'a [u8]],
}

impl<'a> Mutator<'a> {
    /// `words` stand in the inputs' language.
    pub fn new(seed: u64, seeds: &'a [Vec<u8>], words: &'a [&'a [u8]]) -> Mutator<'a> {
        Mutator { rng: StdRng::seed_from_u64(seed), seeds, words }
    }

    /// One of the sound inputs, changed in one to eight places; now and then nothing but noise.
    pub fn input(&mut self) -> Vec<u8> {
        if self.rng.random_ratio(1, 64) {
            return self.noise(256);
        }
        let mut input = self.seed().to_vec();
        for _ in 0..1 << self.rng.random_range(0..4) {
            self.change(&mut input);
        }
        input.truncate(BYTES_MAX);
        input
    }

    /// Changes something.
    pub fn change(&mut self, input: &mut Vec<u8>) {
        match self.rng.random_range(0..12) {
            0 | 1 => self.flip_a_bit(input),
            2 => self.set_a_byte(input),
            3 | 4 => self.put_a_word(input),
            5 => self.put_a_number(input),
            6 => self.edge_a_digit(input),
            7 => self.cut(input),
            8 => self.remove(input),
            9 => self.repeat(input),
            10 => self.splice(input),
            _ => self.swap(input),
        }
    }

    fn seed(&mut self) -> &'a [u8] {
        let at = self.rng.random_range(0..self.seeds.len());
        &self.seeds[at]
    }

    fn noise(&mut self, most: usize) -> Vec<u8> {
        let length = self.rng.random_range(0..=most);
        (0..length).map(|_| self.rng.random()).collect()
    }

    /// A place in the input, its end included.
    fn place(&mut self, input: &[u8]) -> usize {
        self.rng.random_range(0..=input.len())
    }

    /// A piece of the input, mostly a short one.
    fn piece(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let start = self.place(input);
        let most = if self.rng.random_ratio(1, 8) { input.len() } else { 16 };
        let length = self.rng.random_range(0..=most);
        start..input.len().min(start + length)
    }

    fn flip_a_bit(&mut self, input: &mut [u8]) {
        let at = self.place(input);
        if let Some(byte) = input.get_mut(at) {
            *byte ^= 1 << self.rng.random_range(0..8);
        }
    }

    fn set_a_byte(&mut self, input: &mut [u8]) {
        let at = self.place(input);
        if let Some(byte) = input.get_mut(at) {
            *byte = self.rng.random();
        }
    }

    /// In the place of what stands there, or between.
    fn put(&mut self, input: &mut Vec<u8>, bytes: &[u8]) {
        let at = self.place(input);
        let over = if self.rng.random_bool(0.5) { bytes.len() } else { 0 };
        let end = input.len().min(at + over);
        input.splice(at..end, bytes.iter().copied());
    }

    fn put_a_word(&mut self, input: &mut Vec<u8>) {
        if self.words.is_empty() {
            return self.set_a_byte(input);
        }
        let word = self.words[self.rng.random_range(0..self.words.len())];
        self.put(input, word);
    }

    /// An edge, near one, or the length of the input: in 1, 2, 4 or 8 bytes of either order.
    fn put_a_number(&mut self, input: &mut Vec<u8>) {
        let edge = if self.rng.random_ratio(1, 4) { input.len() as u64 } else { EDGES[self.rng.random_range(0..EDGES.len())] };
        let number = edge.wrapping_add(self.rng.random_range(0..3)).wrapping_sub(1);
        let width = 1 << self.rng.random_range(0..4);
        let bytes =
            if self.rng.random_bool(0.5) { number.to_be_bytes()[8 - width..].to_vec() } else { number.to_le_bytes()[..width].to_vec() };
        self.put(input, &bytes);
    }

    /// A digit becomes a number at an edge, written out.
    fn edge_a_digit(&mut self, input: &mut Vec<u8>) {
        let digits: Vec<usize> = input.iter().enumerate().filter(|(_, byte)| byte.is_ascii_digit()).map(|(at, _)| at).collect();
        if digits.is_empty() {
            return self.set_a_byte(input);
        }
        let at = digits[self.rng.random_range(0..digits.len())];
        let edge = EDGES[self.rng.random_range(0..EDGES.len())];
        let written = match self.rng.random_range(0..4) {
            0 => format!("-{edge}"),
            1 => format!("{edge}.5"),
            2 => format!("{}", edge % 10),
            _ => edge.to_string(),
        };
        input.splice(at..=at, written.bytes());
    }

    fn cut(&mut self, input: &mut Vec<u8>) {
        let at = self.place(input);
        input.truncate(at);
    }

    fn remove(&mut self, input: &mut Vec<u8>) {
        let piece = self.piece(input);
        input.drain(piece);
    }

    /// A piece several times over, now and then so often that bounds and depths are reached.
    fn repeat(&mut self, input: &mut Vec<u8>) {
        let piece = self.piece(input);
        let most = if self.rng.random_ratio(1, 8) { 2000 } else { 4 };
        let times = self.rng.random_range(1..most);
        let copies = input[piece.clone()].repeat(times);
        input.splice(piece.end..piece.end, copies.into_iter().take(BYTES_MAX));
    }

    /// The end of another sound input, or a piece of it in between.
    fn splice(&mut self, input: &mut Vec<u8>) {
        let other = self.seed();
        if self.rng.random_bool(0.5) {
            let (at, from) = (self.place(input), self.place(other));
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        } else {
            let piece = self.piece(other);
            self.put(input, &other[piece]);
        }
    }

    /// Two pieces change places.
    fn swap(&mut self, input: &mut Vec<u8>) {
        let (one, other) = (self.piece(input), self.piece(input));
        let (first, second) = if one.start <= other.start { (one, other) } else { (other, one) };
        if first.end <= second.start {
            let (moved, kept) = (input[first.clone()].to_vec(), input[second.clone()].to_vec());
            input.splice(second, moved);
            input.splice(first, kept);
        }
    }
}
