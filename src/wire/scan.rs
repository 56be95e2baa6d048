//! Walks over JSON text without building anything, as long as it is plain. `None` says only that it is not, or not understood:
//! never that it is wrong.

use std::borrow::Cow;

use crate::json::Json;

/// Whole numbers of so many digits are exact as f64, and so are powers of ten: one division then gives the nearest f64.
const DIGITS_EXACT: usize = 15;
const POWERS_OF_TEN: [f64; DIGITS_EXACT + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
/// Whole numbers of so many digits fit a u64.
const DIGITS_U64: usize = 19;

/// ASCII characters that stand for themselves in a text.
const PRINTABLE: [bool; 256] = {
    let mut printable = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        printable[byte as usize] = byte != b'"' && byte != b'\\';
        byte += 1;
    }
    printable
};

pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Scanner<'a> {
        Scanner { text, at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn back_to(&mut self, at: usize) {
        self.at = at;
    }

    pub(crate) fn text(&self, start: usize, end: usize) -> &'a [u8] {
        &self.text[start..end]
    }

    /// How often what began at `start` and ends here fits into all that is left, itself included.
    pub(crate) fn room_for_like(&self, start: usize) -> usize {
        (self.text.len() - start).div_ceil(self.at - start)
    }

    /// Goes to what follows white space.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    fn take(&mut self, expected: u8) -> Option<()> {
        (self.peek()? == expected).then(|| self.at += 1)
    }

    /// Takes exactly this.
    #[inline]
    pub(crate) fn literal(&mut self, literal: &[u8]) -> Option<()> {
        self.text.get(self.at..)?.starts_with(literal).then(|| self.at += literal.len())
    }

    /// Nothing but white space is left.
    pub(crate) fn end(&mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    /// Walks over an object; `value` gets each name and takes the value, before which the scanner stands.
    pub(crate) fn members(&mut self, mut value: impl FnMut(&mut Self, Cow<'a, str>) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        if self.peek()? == b'}' {
            return self.take(b'}');
        }
        loop {
            self.peek()?;
            let name = self.string()?;
            self.take(b':')?;
            self.peek()?;
            value(self, name)?;
            match self.peek()? {
                b',' => self.at += 1,
                _ => return self.take(b'}'),
            }
        }
    }

    /// A list of at most `max` items; `item` adds each to those before it.
    pub(crate) fn list<T>(&mut self, max: usize, mut item: impl FnMut(&mut Self, &mut Vec<T>) -> Option<()>) -> Option<Vec<T>> {
        let mut list = Vec::new();
        self.take(b'[')?;
        if self.peek()? == b']' {
            return self.take(b']').map(|()| list);
        }
        while list.len() < max {
            let start = self.at;
            item(self, &mut list)?;
            if list.len() == 1 {
                list.reserve_exact(self.room_for_like(start).min(max));
            }
            match self.peek()? {
                b',' => self.at += 1,
                _ => return self.take(b']').map(|()| list),
            }
        }
        None
    }

    /// The bytes of a text, if they are printable ASCII characters only.
    #[inline]
    pub(crate) fn printable(&mut self) -> Option<&'a [u8]> {
        let text = self.text.get(self.at..)?.strip_prefix(b"\"")?;
        let length = text.iter().position(|byte| !PRINTABLE[usize::from(*byte)])?;
        (text[length] == b'"').then(|| self.at += length + 2)?;
        Some(&text[..length])
    }

    pub(crate) fn string(&mut self) -> Option<Cow<'a, str>> {
        self.literal(b"\"")?;
        let start = self.at;
        self.at += special(&self.text[start..])?;
        match self.text[self.at] {
            b'"' => {
                self.at += 1;
                std::str::from_utf8(&self.text[start..self.at - 1]).ok().map(Cow::Borrowed)
            }
            b'\\' => self.escaped(start - 1).map(Cow::Owned),
            _ => None,
        }
    }

    /// A text with escapes, of which the first is here.
    #[cold]
    fn escaped(&mut self, start: usize) -> Option<String> {
        loop {
            match self.text[self.at] {
                b'\\' => self.at += 2,
                b'"' => {
                    self.at += 1;
                    return serde_json::from_slice(&self.text[start..self.at]).ok();
                }
                _ => return None,
            }
            self.at += special(self.text.get(self.at..)?)?;
        }
    }

    #[inline]
    pub(crate) fn flag(&mut self) -> Option<bool> {
        let flag = self.text.get(self.at) == Some(&b't');
        self.literal(if flag { b"true" } else { b"false" })?;
        Some(flag)
    }

    /// A whole number from 0.
    pub(crate) fn unsigned(&mut self) -> Option<u64> {
        let (number, digits) = self.whole()?;
        let fraction = matches!(self.text.get(self.at), Some(b'.' | b'e' | b'E'));
        (digits < DIGITS_U64 && !fraction).then_some(number)
    }

    #[inline]
    pub(crate) fn number(&mut self) -> Option<f64> {
        let start = self.at;
        let negative = self.literal(b"-").is_some();
        let (mut number, mut digits) = self.whole()?;
        let mut places = 0;
        if self.literal(b".").is_some() {
            (number, places) = self.digits(number);
            digits += places;
        }
        let dotted = self.text[self.at - 1] == b'.';
        if dotted || digits > DIGITS_EXACT || matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            return self.long_number(start);
        }
        let number = number as f64 / POWERS_OF_TEN[places];
        Some(if negative { -number } else { number })
    }

    /// Digits without a needless zero before them; and how many.
    #[inline]
    fn whole(&mut self) -> Option<(u64, usize)> {
        let (number, digits) = self.digits(0);
        let plain = digits == 1 || (digits > 1 && self.text[self.at - digits] != b'0');
        plain.then_some((number, digits))
    }

    /// Appends the digits that stand here to a number, and says how many they are; with too many of them the number is useless.
    #[inline]
    fn digits(&mut self, mut number: u64) -> (u64, usize) {
        let start = self.at;
        while let Some(digit @ b'0'..=b'9') = self.text.get(self.at) {
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        (number, self.at - start)
    }

    /// A number of any form.
    #[cold]
    fn long_number(&mut self, start: usize) -> Option<f64> {
        let rest = &self.text[start..];
        let end = rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))?;
        self.at = start + end;
        match Json::read(&rest[..end]).ok()? {
            Json::Unsigned(number) => Some(number as f64),
            Json::Signed(number) => Some(number as f64),
            Json::Float(number) => Some(number),
            _ => None,
        }
    }
}

/// Where the first quote, backslash or control character stands.
fn special(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    // Marks bytes below `bound`, by their highest bit; marks above the first one are not to be trusted.
    let below = |bytes: u64, bound: u8| bytes.wrapping_sub(ONES * u64::from(bound)) & !bytes;
    let mut at = 0;
    while let Some(bytes) = text[at..].first_chunk::<8>() {
        let bytes = u64::from_le_bytes(*bytes);
        let [quote, backslash] = [b'"', b'\\'].map(|byte| below(bytes ^ (ONES * u64::from(byte)), 1));
        let marked = (below(bytes, b' ') | quote | backslash) & (ONES << 7);
        if marked != 0 {
            return Some(at + marked.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    text[at..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).map(|found| at + found)
}
