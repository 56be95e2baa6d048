//! The fast way to read `usage`.

use compact_str::CompactString;

use crate::fields::{FieldSet, fields};
use crate::limits::{ACTIONS_MAX, ACTIVE_S_MAX};
use crate::pattern::{Mark, Pattern};
use crate::read_fast::{Instants, name};
use crate::report::{Instant, UsageEntry};
use crate::scan::Scanner;

fields! {
    UsageField {
        Product "product", FunctionModule "function_module", User "user", At "at", Actions "actions", ActiveS "active_s",
    }
}
const REQUIRED: [UsageField; 5] = [UsageField::Product, UsageField::FunctionModule, UsageField::User, UsageField::At, UsageField::Actions];

pub(crate) struct UsageReader<'a, 'i> {
    instants: &'i mut Instants<'a>,
    pattern: Pattern<'a, UsageField>,
    varying: FieldSet<UsageField>,
    /// The values of the entry being read.
    marks: Vec<Mark<UsageField>>,
}

impl<'a, 'i> UsageReader<'a, 'i> {
    pub(crate) fn new(instants: &'i mut Instants<'a>) -> Self {
        let varying = FieldSet::of(&[UsageField::User, UsageField::At, UsageField::Actions, UsageField::ActiveS]);
        UsageReader { instants, pattern: Pattern::new(), varying, marks: Vec::with_capacity(8) }
    }

    /// Adds the next entry.
    pub(crate) fn usage(&mut self, scanner: &mut Scanner<'a>, list: &mut Vec<UsageEntry>) -> Option<()> {
        let (start, entries) = (scanner.at(), list.len());
        if self.fitting(scanner, list).is_some() {
            return Some(());
        }
        scanner.back_to(start);
        list.truncate(entries);
        let entry = self.any(scanner)?;
        if list.last().is_some_and(|before| before.product != entry.product) {
            self.varying.add(UsageField::Product);
        }
        if list.last().is_some_and(|before| before.function_module != entry.function_module) {
            self.varying.add(UsageField::FunctionModule);
        }
        self.pattern.learn(scanner, start, self.marks.iter().filter(|mark| self.varying.has(mark.field)));
        list.push(entry);
        Some(())
    }

    /// An entry whose text fits the pattern of the one before.
    fn fitting(&mut self, scanner: &mut Scanner<'a>, list: &mut Vec<UsageEntry>) -> Option<()> {
        let before = list.last()?;
        let (product, function_module) = (before.product.clone(), before.function_module.clone());
        list.push(UsageEntry { product, function_module, user: CompactString::default(), ..*before });
        let entry = list.last_mut()?;
        self.pattern.follow(scanner, |scanner, field| take(field, entry, scanner, self.instants))
    }

    fn any(&mut self, scanner: &mut Scanner<'a>) -> Option<UsageEntry> {
        let [product, function_module, user] = [const { CompactString::const_new("") }; 3];
        let mut entry = UsageEntry { product, function_module, user, at: Instant::default(), actions: 0, active_s: None };
        self.marks.clear();
        let seen = scanner.object(|scanner, field| {
            let start = scanner.at();
            take(field, &mut entry, scanner, self.instants)?;
            self.marks.push(Mark { field, start, end: scanner.at() });
            Some(())
        })?;
        seen.has_all(&REQUIRED).then_some(entry)
    }
}

#[inline]
fn take<'a>(field: UsageField, entry: &mut UsageEntry, scanner: &mut Scanner<'a>, instants: &mut Instants<'a>) -> Option<()> {
    match field {
        UsageField::Product => entry.product = name(scanner)?,
        UsageField::FunctionModule => entry.function_module = name(scanner)?,
        UsageField::User => entry.user = name(scanner)?,
        UsageField::At => entry.at = instants.read(scanner)?,
        UsageField::Actions => entry.actions = scanner.unsigned().filter(|actions| (1..=ACTIONS_MAX).contains(actions))?,
        UsageField::ActiveS => entry.active_s = Some(scanner.unsigned().filter(|active_s| *active_s <= ACTIVE_S_MAX)?),
    }
    Some(())
}
