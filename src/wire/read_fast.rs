//! The fast way to read a report: straight from the text, as long as everything is plainly sound. At the first thing that is not, it
//! gives up, and the exact way in `read.rs` reads the report from the start and says what is wrong. What the fast way gives is what
//! the exact way would give.

use chrono::TimeDelta;
use compact_str::CompactString;

use crate::credit_code;
use crate::fields::fields;
use crate::instant::{read_instant, read_plain_instant};
use crate::limits::{ENTRIES_MAX, EVENTS_MAX, NAME_CHARS_MAX};
use crate::read::{Door, Label, ReadContext, Readout, name_valid, text_valid};
use crate::read_fast_devices::DeviceReader;
use crate::read_fast_usage::UsageReader;
use crate::report::{Clock, EVENTS, Event, Instant, Report};
use crate::scan::Scanner;

fields! {
    ReportField {
        Version "v", Id "id", Boot "boot", Sequence "seq", Enterprise "enterprise", SentAt "sent_at", Clock "clock", Events "events",
        Devices "devices", Usage "usage",
    }
}
fields! { ClockField { Synchronised "synchronised", MonotonicMs "monotonic_ms", } }
fields! { EventField { At "at", Event "event", Detail "detail", } }

/// `None`: the exact way has to decide.
pub(crate) fn read_fast(body: &[u8], context: &ReadContext<'_>) -> Option<Readout> {
    let latest = context.received_at.checked_add_signed(TimeDelta::seconds(i64::from(context.future_skew_s_max)))?;
    let mut scanner = Scanner::new(body);
    let report = report(&mut scanner, &mut Instants { latest, before: None })?;
    scanner.end()?;
    complete(&report, context)?;
    let label = Label { id: report.id.clone(), boot: report.boot.clone(), seq: report.seq };
    Some(Readout { report: Ok(report), unknown_fields: 0, label })
}

fn report<'a>(scanner: &mut Scanner<'a>, instants: &mut Instants<'a>) -> Option<Report> {
    let mut report = Report::default();
    let seen = scanner.object(|scanner, field| {
        match field {
            ReportField::Version if scanner.unsigned()? == 1 => {}
            ReportField::Version => return None,
            ReportField::Id => report.id = Some(name(scanner)?),
            ReportField::Boot => report.boot = Some(name(scanner)?),
            ReportField::Sequence => report.seq = Some(scanner.unsigned().filter(|seq| *seq >= 1)?),
            ReportField::Enterprise => report.enterprise = Some(scanner.string()?.into()),
            ReportField::SentAt => report.sent_at = Some(read_instant(&scanner.string()?)?),
            ReportField::Clock => report.clock = Some(clock(scanner)?),
            ReportField::Events => {
                report.events = scanner.list(EVENTS_MAX, |scanner, list| event(scanner, instants).map(|event| list.push(event)))?
            }
            ReportField::Devices => {
                let mut reader = DeviceReader::new(instants);
                report.devices = scanner.list(ENTRIES_MAX, |scanner, list| reader.device(scanner, list))?;
                report.readings = reader.into_readings();
            }
            ReportField::Usage => {
                let mut reader = UsageReader::new(instants);
                report.usage = scanner.list(ENTRIES_MAX, |scanner, list| reader.usage(scanner, list))?;
            }
        }
        Some(())
    })?;
    seen.has(ReportField::Version).then_some(report)
}

fn clock(scanner: &mut Scanner<'_>) -> Option<Clock> {
    let mut clock = Clock { synchronised: None, monotonic_ms: None };
    scanner.object(|scanner, field| {
        match field {
            ClockField::Synchronised => clock.synchronised = Some(scanner.flag()?),
            ClockField::MonotonicMs => clock.monotonic_ms = Some(scanner.unsigned()?),
        }
        Some(())
    })?;
    Some(clock)
}

fn event<'a>(scanner: &mut Scanner<'a>, instants: &mut Instants<'a>) -> Option<Event> {
    let (mut at, mut event, mut detail) = (None, None, None);
    scanner.object(|scanner, field| {
        match field {
            EventField::At => at = Some(instants.read(scanner)?),
            EventField::Event => event = Some(scanner.string().filter(|event| EVENTS.contains(&&**event))?.into()),
            EventField::Detail => detail = Some(free_text(scanner)?),
        }
        Some(())
    })?;
    Some(Event { at: at?, event: event?, detail })
}

/// What the report as a whole needs, and what the register says.
fn complete(report: &Report, context: &ReadContext<'_>) -> Option<()> {
    let named = match context.door {
        Door::Gateway => report.boot.is_some() && report.seq.is_some(),
        Door::Supplier => report.id.is_some() && report.enterprise.is_some(),
    };
    if !named || (report.events.is_empty() && report.devices.is_empty() && report.usage.is_empty()) {
        return None;
    }
    if let Some(enterprise) = &report.enterprise {
        credit_code::check(enterprise).ok()?;
        context.admission.enterprise(enterprise).ok()?;
    }
    let mut before = None;
    for entry in &report.usage {
        let names = Some((&entry.product, &entry.function_module));
        if names != before {
            context.admission.product(report.enterprise.as_deref(), &entry.product).ok()?;
            context.admission.function_module(&entry.product, &entry.function_module).ok()?;
        }
        before = names;
    }
    Some(())
}

/// Reads every `at`; those of one report are often the same.
pub(crate) struct Instants<'a> {
    /// None may be later.
    latest: Instant,
    before: Option<(&'a [u8], Instant)>,
}

impl<'a> Instants<'a> {
    pub(crate) fn read(&mut self, scanner: &mut Scanner<'a>) -> Option<Instant> {
        if let Some((text, at)) = self.before
            && scanner.literal(text).is_some()
        {
            return Some(at);
        }
        let start = scanner.at();
        let at = match scanner.printable().and_then(read_plain_instant) {
            Some(at) => at,
            None => {
                scanner.back_to(start);
                read_instant(&scanner.string()?)?
            }
        };
        if at > self.latest {
            return None;
        }
        self.before = Some((scanner.text(start, scanner.at()), at));
        Some(at)
    }
}

#[inline]
pub(crate) fn name(scanner: &mut Scanner<'_>) -> Option<CompactString> {
    if let Some(name) = scanner.printable() {
        return CompactString::from_utf8(name).ok().filter(|name| (1..=NAME_CHARS_MAX).contains(&name.len()));
    }
    let name = scanner.string()?;
    name_valid(&name).is_ok().then(|| name.into())
}

pub(crate) fn free_text(scanner: &mut Scanner<'_>) -> Option<String> {
    let text = scanner.string()?;
    text_valid(&text).then(|| text.into_owned())
}

#[cfg(test)]
#[path = "read_fast_tests.rs"]
mod tests;
