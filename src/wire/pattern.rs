//! The text of a list's entry, cut at the values that vary from entry to entry. The next entry mostly fits: the same text between
//! such values. Then only those are read, and the rest is as in the entry before.

use crate::scan::Scanner;

pub(crate) struct Pattern<'a, F> {
    /// Each varying value, with the text before it.
    values: Vec<(&'a [u8], F)>,
    tail: &'a [u8],
}

/// The value of a field, and where it stands.
pub(crate) struct Mark<F> {
    pub(crate) field: F,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl<'a, F: Copy> Pattern<'a, F> {
    pub(crate) fn new() -> Self {
        Pattern { values: Vec::new(), tail: &[] }
    }

    /// Becomes the pattern of the entry that began at `start` and ends where the scanner stands.
    pub(crate) fn learn<'m>(&mut self, scanner: &Scanner<'a>, start: usize, varying: impl Iterator<Item = &'m Mark<F>>)
    where
        F: 'm,
    {
        self.values.clear();
        let mut from = start;
        for mark in varying {
            self.values.push((scanner.text(from, mark.start), mark.field));
            from = mark.end;
        }
        self.tail = scanner.text(from, scanner.at());
    }

    /// Walks over an entry that fits; `take` takes each varying value. `None`: it does not fit.
    #[inline]
    pub(crate) fn follow(&self, scanner: &mut Scanner<'a>, mut take: impl FnMut(&mut Scanner<'a>, F) -> Option<()>) -> Option<()> {
        for (text, field) in &self.values {
            scanner.literal(text)?;
            take(scanner, *field)?;
        }
        scanner.literal(self.tail)
    }
}
