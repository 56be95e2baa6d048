//! Messages written anew from what was read of them, as JSON text or as the tree that JSON and CBOR share.

use std::borrow::Cow;

use chrono::SecondsFormat;
use wire::Report;
use wire::carrier::CarrierMessage;
use wire::json::Json;
use wire::report::{DeviceEntry, Event, Instant, Reading, State, UsageEntry};

type Field<'a> = (&'static str, Option<Json<'a>>);

/// `None` where something stands in it that JSON cannot say.
pub(crate) fn json_text(json: &Json<'_>) -> Option<String> {
    let mut out = String::new();
    write(&mut out, json).then_some(out)
}

fn write(out: &mut String, json: &Json<'_>) -> bool {
    match json {
        Json::Null => out.push_str("null"),
        Json::Bool(flag) => out.push_str(&flag.to_string()),
        Json::Unsigned(number) => out.push_str(&number.to_string()),
        Json::Signed(number) => out.push_str(&number.to_string()),
        Json::Float(number) if number.is_finite() => out.push_str(&serde_json::to_string(number).unwrap()),
        Json::Float(_) => return false,
        Json::Text(text) => out.push_str(&serde_json::to_string(text).unwrap()),
        Json::List(list) => {
            out.push('[');
            for (n, item) in list.iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                if !write(out, item) {
                    return false;
                }
            }
            out.push(']');
        }
        Json::Object(fields) => {
            out.push('{');
            for (n, (name, value)) in fields.iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                out.push_str(&serde_json::to_string(name).unwrap());
                out.push(':');
                if !write(out, value) {
                    return false;
                }
            }
            out.push('}');
        }
    }
    true
}

pub(crate) fn report(report: &Report) -> Json<'_> {
    let clock = report.clock.as_ref().map(|clock| {
        object([("synchronised", clock.synchronised.map(Json::Bool)), ("monotonic_ms", clock.monotonic_ms.map(Json::Unsigned))])
    });
    object([
        ("v", Some(Json::Unsigned(1))),
        ("id", report.id.as_deref().map(text)),
        ("boot", report.boot.as_deref().map(text)),
        ("seq", report.seq.map(Json::Unsigned)),
        ("enterprise", report.enterprise.as_deref().map(text)),
        ("clock", clock),
        ("events", Some(Json::List(report.events.iter().map(event).collect()))),
        ("devices", Some(Json::List(report.devices.iter().map(|entry| device(report, entry)).collect()))),
        ("usage", Some(Json::List(report.usage.iter().map(usage).collect()))),
    ])
}

fn event(event: &Event) -> Json<'_> {
    object([("at", Some(instant(event.at))), ("event", Some(text(&event.event))), ("detail", event.detail.as_deref().map(text))])
}

fn device<'r>(report: &'r Report, entry: &'r DeviceEntry) -> Json<'r> {
    let reading = |reading: Reading| match reading {
        Reading::Number(number) => Json::Float(number),
        Reading::Flag(flag) => Json::Bool(flag),
    };
    let readings = report.readings.of(entry.readings).map(|(name, value)| (Cow::from(name), reading(value))).collect();
    let identity = entry.identity.iter().map(|(name, value)| (Cow::from(name.as_str()), text(value))).collect();
    object([
        ("device", Some(text(&entry.device))),
        ("at", Some(instant(entry.at))),
        ("quality", Some(text(entry.quality.as_str()))),
        ("state", entry.state.map(State::as_str).map(text)),
        ("readings", Some(Json::Object(readings))),
        ("identity", Some(Json::Object(identity))),
    ])
}

fn usage(entry: &UsageEntry) -> Json<'_> {
    object([
        ("product", Some(text(&entry.product))),
        ("function_module", Some(text(&entry.function_module))),
        ("user", Some(text(&entry.user))),
        ("at", Some(instant(entry.at))),
        ("actions", Some(Json::Unsigned(entry.actions))),
        ("active_s", entry.active_s.map(Json::Unsigned)),
    ])
}

pub(crate) fn carrier_message(message: &CarrierMessage) -> Json<'_> {
    let records = message.records.iter().map(|record| {
        object([
            ("enterprise", Some(text(&record.enterprise))),
            ("line", Some(text(&record.line))),
            ("product", Some(text(&record.product))),
            ("day", Some(Json::Text(record.day.to_string().into()))),
            ("sessions", Some(Json::Unsigned(record.sessions))),
            ("bytes", Some(Json::Unsigned(record.bytes))),
            ("devices", record.devices.map(Json::Unsigned)),
        ])
    });
    object([("v", Some(Json::Unsigned(1))), ("id", Some(text(&message.id))), ("records", Some(Json::List(records.collect())))])
}

fn object<'a>(fields: impl IntoIterator<Item = Field<'a>>) -> Json<'a> {
    Json::Object(fields.into_iter().filter_map(|(name, value)| Some((name.into(), value?))).collect())
}

fn text(text: &str) -> Json<'_> {
    Json::Text(text.into())
}

fn instant(at: Instant) -> Json<'static> {
    Json::Text(at.to_rfc3339_opts(SecondsFormat::AutoSi, true).into())
}
