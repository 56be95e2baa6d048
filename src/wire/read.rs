//! Reads a report whole and says everything that is wrong with it, each fault with its place.

use std::borrow::Cow;

use chrono::TimeDelta;
use compact_str::CompactString;

use crate::credit_code;
use crate::fault::{Fault, FaultCode};
use crate::instant::read_instant;
use crate::json::Json;
use crate::limits::{
    ACTIONS_MAX, ACTIVE_S_MAX, ENTRIES_MAX, EVENTS_MAX, FAULTS_MAX, NAME_CHARS_MAX, READINGS_MAX, REPORT_BYTES_MAX, TEXT_CHARS_MAX,
};
use crate::open::Format;
use crate::read_fast::read_fast;
use crate::readings::{Reading, Readings, ReadingsOf};
use crate::report::{Clock, DeviceEntry, EVENTS, Event, Instant, Quality, Report, State, UsageEntry};

/// Through which door a report comes; it decides which fields are required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Gateway,
    Supplier,
}

/// What the register has to say about a report's names.
pub trait Admission {
    /// May the sender report for this enterprise?
    fn enterprise(&self, credit_code: &str) -> Result<(), (FaultCode, String)>;
    /// May the sender report usage of this product? `enterprise` is what the report names, if that is sound.
    fn product(&self, enterprise: Option<&str>, product: &str) -> Result<(), (FaultCode, String)>;
    /// Is the function module listed for the product?
    fn function_module(&self, product: &str, function_module: &str) -> Result<(), (FaultCode, String)>;
}

pub struct ReadContext<'a> {
    pub door: Door,
    pub received_at: Instant,
    pub future_skew_s_max: u32,
    pub admission: &'a dyn Admission,
}

/// A sound report, or every fault; and what was ignored.
pub struct Readout {
    pub report: Result<Report, Vec<Fault>>,
    pub unknown_fields: u32,
    pub label: Label,
}

/// By what a report calls itself, as far as it could be read: for the answer, also when it is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    pub id: Option<CompactString>,
    pub boot: Option<CompactString>,
    pub seq: Option<u64>,
}

pub fn read_report(body: &[u8], context: &ReadContext<'_>) -> Readout {
    if body.len() > REPORT_BYTES_MAX {
        return refused(Fault::new(FaultCode::Size, "", format!("{} bytes", body.len())));
    }
    read_fast(body, context).unwrap_or_else(|| read_exact(body, context))
}

/// Lists every fault.
pub(crate) fn read_exact(body: &[u8], context: &ReadContext<'_>) -> Readout {
    let json = match Format::of(body) {
        Some(Format::Cbor) => Json::read_cbor(body).map_err(|error| Fault::new(FaultCode::Cbor, "", error.to_string())),
        _ => Json::read(body).map_err(|error| Fault::new(FaultCode::Json, "", error.to_string())),
    };
    match json {
        Err(fault) => refused(fault),
        Ok(json @ Json::Object(_)) => {
            let mut reader = Reader {
                faults: Vec::new(),
                faults_beyond: 0,
                unknown_fields: 0,
                path: String::new(),
                readings: Readings::default(),
                context,
            };
            let report = reader.report(&json);
            let label = Label { id: report.id.clone(), boot: report.boot.clone(), seq: report.seq };
            if reader.faults_beyond > 0 {
                let detail = format!("and {} more faults", reader.faults_beyond);
                reader.faults.push(Fault::new(FaultCode::Bound, "", detail));
            }
            let report = if reader.faults.is_empty() { Ok(report) } else { Err(reader.faults) };
            Readout { report, unknown_fields: reader.unknown_fields, label }
        }
        Ok(other) => refused(Fault::new(FaultCode::Json, "", format!("it is {}", other.type_name()))),
    }
}

/// Where nothing of the report can be read.
fn refused(fault: Fault) -> Readout {
    Readout { report: Err(vec![fault]), unknown_fields: 0, label: Label::default() }
}

/// An object's known fields, in the order in which `fields` was asked for them.
type Fields<'j, 'a, const N: usize> = [Option<&'j Json<'a>>; N];

struct Reader<'c> {
    faults: Vec<Fault>,
    /// Counted, not listed.
    faults_beyond: usize,
    unknown_fields: u32,
    /// JSON Pointer of where we are.
    path: String,
    /// Of the devices read so far.
    readings: Readings,
    context: &'c ReadContext<'c>,
}

impl Reader<'_> {
    fn report(&mut self, json: &Json<'_>) -> Report {
        let names = ["v", "id", "boot", "seq", "enterprise", "sent_at", "clock", "events", "devices", "usage"];
        let Some([v, id, boot, seq, enterprise, sent_at, clock, events, devices, usage]) = self.fields(json, &names) else {
            return Report::default();
        };
        let gateway = self.context.door == Door::Gateway;
        match v {
            None => self.missing("v"),
            Some(Json::Unsigned(1)) => {}
            Some(_) => self.fault_at("v", FaultCode::Version, "v is not 1"),
        }
        let mut report = Report {
            id: self.name("id", id, !gateway),
            boot: self.name("boot", boot, gateway),
            seq: self.sequence(seq, gateway),
            enterprise: self.enterprise(enterprise, !gateway),
            sent_at: sent_at.and_then(|sent_at| self.at("sent_at", |reader| reader.instant(sent_at))),
            clock: clock.and_then(|clock| self.at("clock", |reader| reader.clock(clock))),
            ..Report::default()
        };
        report.events = self.list("events", events, EVENTS_MAX, |reader, entry| reader.event(entry));
        report.devices = self.list("devices", devices, ENTRIES_MAX, |reader, entry| reader.device(entry));
        report.readings = std::mem::take(&mut self.readings);
        let enterprise = report.enterprise.clone();
        let mut product_before = ProductBefore::default();
        report.usage =
            self.list("usage", usage, ENTRIES_MAX, |reader, entry| reader.usage(entry, enterprise.as_deref(), &mut product_before));
        let filled = |list: Option<&Json<'_>>| list.is_some_and(|list| !matches!(list, Json::List(entries) if entries.is_empty()));
        if !filled(devices) && !filled(usage) && !filled(events) {
            self.fault(FaultCode::Empty, "no devices, no usage and no events");
        }
        report
    }

    fn sequence(&mut self, seq: Option<&Json<'_>>, required: bool) -> Option<u64> {
        match seq {
            Some(Json::Unsigned(seq)) if *seq >= 1 => Some(*seq),
            Some(_) => {
                self.fault_at("seq", FaultCode::Sequence, "seq is not a whole number from 1");
                None
            }
            None if required => {
                self.missing("seq");
                None
            }
            None => None,
        }
    }

    fn enterprise(&mut self, enterprise: Option<&Json<'_>>, required: bool) -> Option<CompactString> {
        let code = self.text_field("enterprise", enterprise, required)?;
        let sound = credit_code::check(code)
            .map_err(|error| (FaultCode::CreditCode, error.to_string()))
            .and_then(|()| self.context.admission.enterprise(code));
        match sound {
            Ok(()) => Some(CompactString::from(code)),
            Err((fault, detail)) => {
                self.fault_at("enterprise", fault, detail);
                None
            }
        }
    }

    fn clock(&mut self, clock: &Json<'_>) -> Option<Clock> {
        let [synchronised, monotonic_ms] = self.fields(clock, &["synchronised", "monotonic_ms"])?;
        let synchronised = synchronised.and_then(|flag| match flag {
            Json::Bool(flag) => Some(*flag),
            other => self.wrong_type("synchronised", "a boolean", other),
        });
        let monotonic_ms = monotonic_ms.and_then(|ms| match ms {
            Json::Unsigned(ms) => Some(*ms),
            other => self.wrong_type("monotonic_ms", "a whole number from 0", other),
        });
        Some(Clock { synchronised, monotonic_ms })
    }

    fn event(&mut self, entry: &Json<'_>) -> Option<Event> {
        let [at, event, detail] = self.fields(entry, &["at", "event", "detail"])?;
        let at = self.entry_instant(at);
        let event = self.text_field("event", event, true).map(|event| {
            if !EVENTS.contains(&event) {
                self.fault_at("event", FaultCode::Event, format!("{:?}", cut(event)));
            }
            CompactString::from(event)
        });
        let detail = detail.and_then(|detail| self.free_text("detail", detail));
        Some(Event { at: at?, event: event?, detail })
    }

    fn device(&mut self, entry: &Json<'_>) -> Option<DeviceEntry> {
        let [device, at, quality, state, readings, identity] =
            self.fields(entry, &["device", "at", "quality", "state", "readings", "identity"])?;
        let device = self.name("device", device, true);
        let at = self.entry_instant(at);
        let quality = self.word("quality", quality, true, FaultCode::Quality, Quality::read);
        let state = self.word("state", state, false, FaultCode::State, State::read);
        let readings = readings.map(|readings| self.at("readings", |reader| reader.readings(readings))).unwrap_or_default();
        let identity = identity.map(|identity| self.at("identity", |reader| reader.identity(identity))).unwrap_or_default();
        Some(DeviceEntry { device: device?, at: at?, quality: quality?, state, readings, identity })
    }

    fn readings(&mut self, json: &Json<'_>) -> ReadingsOf {
        let Json::Object(fields) = json else {
            self.fault(FaultCode::Type, format!("expected an object, found {}", json.type_name()));
            return ReadingsOf::default();
        };
        if fields.len() > READINGS_MAX {
            self.fault(FaultCode::Bound, format!("{} readings", fields.len()));
            return ReadingsOf::default();
        }
        let mut readings = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            if let Err(detail) = name_valid(name) {
                self.fault_at(name, FaultCode::Text, detail);
            }
            let reading = match value {
                Json::Unsigned(number) => Reading::Number(*number as f64),
                Json::Signed(number) => Reading::Number(*number as f64),
                Json::Float(number) if number.is_finite() => Reading::Number(*number),
                // CBOR can say it, JSON cannot.
                Json::Float(number) => {
                    self.fault_at(name, FaultCode::Reading, format!("it is {number}"));
                    continue;
                }
                Json::Bool(flag) => Reading::Flag(*flag),
                other => {
                    self.fault_at(name, FaultCode::Reading, format!("it is {}", other.type_name()));
                    continue;
                }
            };
            readings.push((name.clone(), reading));
        }
        let mut names: Vec<&str> = readings.iter().map(|(name, _)| name.as_ref()).collect();
        names.sort_unstable();
        for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
            self.fault_at(pair[0], FaultCode::DuplicateField, "the point stands twice");
        }
        self.readings.add(&readings)
    }

    fn identity(&mut self, json: &Json<'_>) -> Vec<(CompactString, String)> {
        let names = ["model", "serial", "vendor"];
        let Some(values) = self.fields(json, &names) else { return Vec::new() };
        let mut identity = Vec::new();
        for (name, value) in names.iter().zip(values) {
            if let Some(text) = value.and_then(|value| self.free_text(name, value)) {
                identity.push((CompactString::from(*name), text));
            }
        }
        identity
    }

    fn usage(&mut self, entry: &Json<'_>, enterprise: Option<&str>, before: &mut ProductBefore) -> Option<UsageEntry> {
        let names = ["product", "function_module", "user", "at", "actions", "active_s"];
        let [product, function_module, user, at, actions, active_s] = self.fields(entry, &names)?;
        let product = self.name("product", product, true);
        let function_module = self.name("function_module", function_module, true);
        let user = self.name("user", user, true);
        let at = self.entry_instant(at);
        let actions = self.bounded("actions", actions, true, 1, ACTIONS_MAX, FaultCode::Actions);
        let active_s = self.bounded("active_s", active_s, false, 0, ACTIVE_S_MAX, FaultCode::ActiveS);
        if let Some(product) = &product {
            let admitted = match before {
                ProductBefore { name, admitted } if name == product => admitted.clone(),
                _ => self.context.admission.product(enterprise, product),
            };
            *before = ProductBefore { name: product.clone(), admitted: admitted.clone() };
            match (admitted, &function_module) {
                (Err((code, detail)), _) => self.fault_at("product", code, detail),
                (Ok(()), Some(function_module)) => {
                    if let Err((code, detail)) = self.context.admission.function_module(product, function_module) {
                        self.fault_at("function_module", code, detail);
                    }
                }
                (Ok(()), None) => {}
            }
        }
        Some(UsageEntry { product: product?, function_module: function_module?, user: user?, at: at?, actions: actions?, active_s })
    }

    fn bounded(&mut self, name: &str, value: Option<&Json<'_>>, required: bool, min: u64, max: u64, code: FaultCode) -> Option<u64> {
        match value {
            Some(Json::Unsigned(number)) if (min..=max).contains(number) => Some(*number),
            Some(_) => {
                self.fault_at(name, code, format!("{name} is not a whole number from {min} to {max}"));
                None
            }
            None if required => {
                self.missing(name);
                None
            }
            None => None,
        }
    }

    /// The required `at` of an entry: an instant, not too far in the future.
    fn entry_instant(&mut self, at: Option<&Json<'_>>) -> Option<Instant> {
        let Some(at) = at else {
            self.missing("at");
            return None;
        };
        self.at("at", |reader| {
            let at = reader.instant(at)?;
            let ahead = at - reader.context.received_at;
            if ahead > TimeDelta::seconds(i64::from(reader.context.future_skew_s_max)) {
                let detail = format!("{} s after receipt, at most {} s", ahead.num_seconds(), reader.context.future_skew_s_max);
                reader.fault(FaultCode::Future, detail);
            }
            Some(at)
        })
    }

    fn instant(&mut self, json: &Json<'_>) -> Option<Instant> {
        let Json::Text(text) = json else {
            self.fault(FaultCode::Type, format!("expected a text, found {}", json.type_name()));
            return None;
        };
        let at = read_instant(text);
        if at.is_none() {
            self.fault(FaultCode::Instant, format!("{:?}", cut(text)));
        }
        at
    }

    fn word<T>(&mut self, name: &str, value: Option<&Json<'_>>, required: bool, code: FaultCode, read: fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text_field(name, value, required)?;
        let word = read(text);
        if word.is_none() {
            self.fault_at(name, code, format!("{:?}", cut(text)));
        }
        word
    }

    fn name(&mut self, name: &str, value: Option<&Json<'_>>, required: bool) -> Option<CompactString> {
        let text = self.text_field(name, value, required)?;
        match name_valid(text) {
            Ok(()) => Some(CompactString::from(text)),
            Err(detail) => {
                self.fault_at(name, FaultCode::Text, detail);
                None
            }
        }
    }

    fn free_text(&mut self, name: &str, value: &Json<'_>) -> Option<String> {
        let text = self.text_field(name, Some(value), false)?;
        if !text_valid(text) {
            self.fault_at(name, FaultCode::Text, "longer than 256 characters, or with control characters");
            return None;
        }
        Some(text.to_string())
    }

    fn text_field<'j>(&mut self, name: &str, value: Option<&'j Json<'_>>, required: bool) -> Option<&'j str> {
        match value {
            Some(Json::Text(text)) => Some(text),
            Some(other) => self.wrong_type(name, "a text", other),
            None => {
                if required {
                    self.missing(name);
                }
                None
            }
        }
    }

    fn list<T>(
        &mut self,
        name: &str,
        value: Option<&Json<'_>>,
        max: usize,
        mut entry: impl FnMut(&mut Self, &Json<'_>) -> Option<T>,
    ) -> Vec<T> {
        let entries = match value {
            None => return Vec::new(),
            Some(Json::List(entries)) => entries,
            Some(other) => {
                self.wrong_type::<()>(name, "a list", other);
                return Vec::new();
            }
        };
        if entries.len() > max {
            self.fault_at(name, FaultCode::Bound, format!("{} entries", entries.len()));
            return Vec::new();
        }
        let before = self.enter(name);
        let mut list = Vec::with_capacity(entries.len());
        for (index, item) in entries.iter().enumerate() {
            let outer = self.enter_index(index);
            list.extend(entry(self, item));
            self.path.truncate(outer);
        }
        self.path.truncate(before);
        list
    }

    /// Takes the known fields of an object; counts unknown ones, faults repeated ones.
    fn fields<'j, 'a, const N: usize>(&mut self, json: &'j Json<'a>, names: &[&str; N]) -> Option<Fields<'j, 'a, N>> {
        let Json::Object(fields) = json else {
            self.fault(FaultCode::Type, format!("expected an object, found {}", json.type_name()));
            return None;
        };
        let mut found = [None; N];
        for (key, value) in fields {
            match names.iter().position(|name| name == key) {
                None => self.unknown_fields += 1,
                Some(slot) if found[slot].is_some() => self.fault_at(key, FaultCode::DuplicateField, "the field stands twice"),
                Some(slot) => found[slot] = Some(value),
            }
        }
        Some(found)
    }

    fn at<T>(&mut self, name: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.enter(name);
        let done = work(self);
        self.path.truncate(before);
        done
    }

    fn enter(&mut self, name: &str) -> usize {
        let before = self.path.len();
        self.path.push('/');
        self.path.push_str(&pointer_escaped(name));
        before
    }

    fn enter_index(&mut self, index: usize) -> usize {
        use std::fmt::Write as _;
        let before = self.path.len();
        // Writing to a String cannot fail.
        let _ = write!(self.path, "/{index}");
        before
    }

    fn fault(&mut self, code: FaultCode, detail: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault::new(code, self.path.clone(), detail));
        } else {
            self.faults_beyond += 1;
        }
    }

    fn fault_at(&mut self, name: &str, code: FaultCode, detail: impl Into<String>) {
        self.at(name, |reader| reader.fault(code, detail));
    }

    fn missing(&mut self, name: &str) {
        self.fault_at(name, FaultCode::Missing, format!("{name} is required"));
    }

    fn wrong_type<T>(&mut self, name: &str, expected: &str, found: &Json<'_>) -> Option<T> {
        self.fault_at(name, FaultCode::Type, format!("expected {expected}, found {}", found.type_name()));
        None
    }
}

/// Entries of one report mostly name one product: its admission is asked once.
struct ProductBefore {
    name: CompactString,
    admitted: Result<(), (FaultCode, String)>,
}

impl Default for ProductBefore {
    fn default() -> Self {
        ProductBefore { name: CompactString::default(), admitted: Ok(()) }
    }
}

/// The rule for names: 1 to 64 characters of any script, no control characters.
pub(crate) fn name_valid(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > NAME_CHARS_MAX && name.chars().count() > NAME_CHARS_MAX {
        return Err("more than 64 characters");
    }
    if name.chars().any(char::is_control) { Err("it holds a control character") } else { Ok(()) }
}

/// The rule for free text.
pub(crate) fn text_valid(text: &str) -> bool {
    text.chars().count() <= TEXT_CHARS_MAX && !text.chars().any(char::is_control)
}

/// RFC 6901: `~` and `/` are escaped.
pub(crate) fn pointer_escaped(name: &str) -> Cow<'_, str> {
    if name.contains(['~', '/']) { Cow::Owned(name.replace('~', "~0").replace('/', "~1")) } else { Cow::Borrowed(name) }
}

/// The start of a text, for messages.
fn cut(text: &str) -> &str {
    text.char_indices().nth(NAME_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
