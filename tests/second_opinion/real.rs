//! The product's own way from the same world: register import, wire parsing, the fold in any order and in stretches, the store's
//! checkpoints and its reading, and the judgement.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use policy::catalogue::{CATALOGUE_2019, Catalogue};
use policy::in_force::Versions;
use policy::judge::{Case, judge};
use policy::register::Register;
use policy::rulebook::{RULEBOOK_2019, Rulebook};
use policy::window::window;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use store::{Checkpoint, LogPosition, RowMap, Store, Tail, check_register};
use tally::{Facts, Origin};
use wire::carrier::read_carrier_message;
use wire::identity::Sender;
use wire::{AdmittedBefore, Door, ReadContext, read_report};

/// A store that takes in one world after another: their enterprises differ.
pub struct Bench {
    runtime: tokio::runtime::Runtime,
    store: Store,
    blocks: u64,
    _dir: tempfile::TempDir,
}

fn instant(value: &Value) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap().to_utc()
}

fn rows<K: Ord, T: DeserializeOwned>(rows: &[(&str, Value)], list: &str, key: impl Fn(&T) -> K) -> BTreeMap<K, T> {
    let of_list = rows.iter().filter(|(of, _)| *of == list);
    of_list.map(|(_, row)| serde_json::from_value::<T>(row.clone()).unwrap()).map(|row| (key(&row), row)).collect()
}

/// The register as the import takes it in.
pub fn register(world: &Value) -> Register {
    let changes = check_register(&[world["register"].clone().into()], &RowMap::new(), &|_| true)
        .unwrap_or_else(|faults| panic!("{faults:?}"))
        .changes;
    let all: Vec<(&str, Value)> = changes.into_iter().map(|((list, _), row)| (list, Value::Object(row.unwrap()))).collect();
    Register {
        enterprises: rows(&all, "enterprises", |row: &policy::register::Enterprise| row.id.clone()),
        suppliers: rows(&all, "suppliers", |row: &policy::register::Supplier| row.id.clone()),
        products: rows(&all, "products", |row: &policy::register::Product| row.id.clone()),
        periods: rows(&all, "periods", |row: &policy::register::IssuancePeriod| row.id.clone()),
        pilots: rows(&all, "pilots", |row: &policy::register::Pilot| row.id.clone()),
        vouchers: rows(&all, "vouchers", |row: &policy::register::Voucher| row.id.clone()),
        devices: rows(&all, "devices", |row: &policy::register::DeclaredDevice| (row.voucher.clone(), row.device.clone())),
        lines: rows(&all, "lines", |row: &policy::register::Line| (row.enterprise.clone(), row.line.clone())),
        ..Register::default()
    }
}

/// `name = value` stands alone on its line in a rulebook.
fn with_line(text: &str, name: &str, value: &str) -> String {
    let begin = text.find(&format!("\n{name} = ")).unwrap_or_else(|| panic!("{name} has no line")) + 1;
    let end = begin + text[begin..].find('\n').unwrap();
    format!("{}{name} = {value}{}", &text[..begin], &text[end..])
}

fn rulebook(number: usize, version: &Value) -> Rulebook {
    let mut text = RULEBOOK_2019.split_once("\n[about.").unwrap().0.to_string() + "\n";
    text = with_line(&text, "id", &format!("\"r-{number}\""));
    text = with_line(&text, "valid_from", &version["valid_from"].to_string());
    for (name, value) in version["parameters"].as_object().unwrap() {
        let bare = name == "function_module_coverage_min" || name == "channel_tolerance";
        let value = if bare { value.as_str().unwrap().to_string() } else { value.to_string() };
        text = with_line(&text, name, &value);
    }
    Rulebook::read(&text).unwrap_or_else(|faults| panic!("{faults:?}\n{text}"))
}

/// The first is the printed one; of a later one, its rows stand in the world.
fn catalogue(number: usize, version: &Value) -> Catalogue {
    if number == 0 {
        return Catalogue::read(CATALOGUE_2019).unwrap();
    }
    let mut text = format!("id = \"c-{number}\"\nvalid_from = {}\n", version["valid_from"]);
    for (row, terms) in version["rows"].as_object().unwrap() {
        text += &format!("[[rows]]\nrow = {row}\ndomain = \"d\"\ncategory = \"c\"\ncap = {}\n", terms["cap"]);
        if terms["per_device"].is_string() {
            text += &format!("per_device_amount = {}\n", terms["per_device"]);
        }
    }
    Catalogue::read(&text).unwrap()
}

fn apply(facts: &mut Facts, world: &Value, message: &Value) {
    let (received_at, body) = (instant(&message["received_at"]), message["body"].to_string());
    let id = message["sender"]["id"].as_str().unwrap();
    let sender = Sender::of_kind(message["sender"]["kind"].as_str().unwrap(), id).unwrap();
    let door = match sender {
        Sender::Carrier(_) => {
            let read = read_carrier_message(body.as_bytes(), policy::calendar::day_of(received_at), &AdmittedBefore).1;
            return facts.apply_carrier(&read.unwrap());
        }
        Sender::Gateway(_) => Door::Gateway,
        Sender::Supplier(_) => Door::Supplier,
        Sender::Operator(_) => unreachable!("operators send nothing"),
    };
    let future_skew_s_max = world["future_skew_s_max"].as_u64().unwrap() as u32;
    let context = ReadContext { door, received_at, future_skew_s_max, admission: &AdmittedBefore };
    match read_report(body.as_bytes(), &context).report {
        Ok(report) => {
            let enterprise = message["enterprise"].as_str().unwrap().into();
            facts.apply_report(&Origin { sender, enterprise, received_at }, &report);
        }
        Err(faults) => assert!(faults.iter().all(|fault| fault.code == wire::FaultCode::Future), "{faults:?} {body}"),
    }
}

/// Some messages folded, as it happens in one piece or in pieces put together.
fn folded(random: &mut StdRng, world: &Value, messages: &[&Value]) -> Facts {
    let mut facts = Facts::default();
    for message in messages {
        apply(&mut facts, world, message);
        if random.random_bool(0.02) {
            let mut before = facts.hand_over();
            apply(&mut facts, world, message);
            std::mem::swap(&mut facts, &mut before);
            facts.merge(before);
        }
    }
    facts
}

impl Bench {
    pub fn new() -> Bench {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let store = runtime.block_on(Store::open(dir.path())).unwrap();
        Bench { runtime, store, blocks: 0, _dir: dir }
    }

    /// Every voucher's result, by its id. `order` says in which order the messages come, and in which stretches.
    pub fn results(&mut self, world: &Value, order: u64) -> BTreeMap<String, Value> {
        let mut random = StdRng::seed_from_u64(order);
        let register = register(world);
        let rulebooks = world["rulebooks"].as_array().unwrap().iter().enumerate();
        let rulebooks = Versions::new(rulebooks.map(|(number, version)| rulebook(number, version)).collect()).unwrap();
        let catalogues = world["catalogues"].as_array().unwrap().iter().enumerate();
        let catalogues = Versions::new(catalogues.map(|(number, version)| catalogue(number, version)).collect()).unwrap();
        let mut messages: Vec<&Value> = world["messages"].as_array().unwrap().iter().collect();
        messages.shuffle(&mut random);
        let stretches = random.random_range(0..=2);
        for _ in 0..stretches {
            let rest = messages.split_off(random.random_range(0..=messages.len()));
            let facts = folded(&mut random, world, &messages);
            messages = rest;
            self.blocks += 1;
            let mut position = LogPosition { byte: self.blocks, ..LogPosition::default() };
            position.frontier.push(&self.blocks.to_le_bytes());
            let checkpoint = Checkpoint { facts, identities: Vec::new(), position, audited: Vec::new() };
            self.runtime.block_on(self.store.write_checkpoint(&checkpoint)).unwrap();
        }
        let tail = Arc::new(Tail::of(&folded(&mut random, world, &messages)));
        let as_of = instant(&world["as_of"]);
        let mut results = BTreeMap::new();
        for voucher in register.vouchers.values() {
            let (rulebook, catalogue) = (rulebooks.in_force(voucher.applied_at), catalogues.in_force(voucher.applied_at));
            let window = window(voucher, rulebook, as_of);
            let facts = self.store.voucher_facts(&voucher.enterprise, &voucher.product, (window.from, window.to), Some(tail.clone()));
            let facts = self.runtime.block_on(facts).unwrap().0;
            let judged = judge(&Case { register: &register, rulebook, catalogue, voucher, as_of, facts: &facts }).result;
            results.insert(voucher.id.clone(), serde_json::to_value(judged).unwrap());
        }
        results
    }
}

/// What the second opinion speaks of.
pub fn deciding_part(result: &Value) -> Value {
    let mut devices = result["devices"].clone();
    if let Some(excluded) = devices["excluded"].as_array() {
        let map: BTreeMap<&str, &str> =
            excluded.iter().map(|device| (device["device"].as_str().unwrap(), device["reason"].as_str().unwrap())).collect();
        assert_eq!(map.len(), excluded.len(), "each device once: {result}");
        assert_eq!(devices["declared"].as_u64(), devices["connected"].as_u64().map(|n| n + excluded.len() as u64), "{result}");
        devices["excluded"] = json!(map);
    }
    let deciding: Vec<&Value> =
        result["checks"].as_array().unwrap().iter().filter(|check| check["group"] == "deciding").map(|check| &check["outcome"]).collect();
    let figures =
        |figures: &Value| if figures.is_null() { Value::Null } else { json!({"days": figures["days"], "devices": figures["devices"]}) };
    let channels = &result["channels"];
    json!({
        "cut_off": instant(&result["cut_off"]).timestamp_micros(),
        "window": result["window"],
        "verdict": result["verdict"],
        "amount": {
            "computed": result["amount"]["computed"], "approved": result["amount"]["approved"], "per_device": result["amount"]["per_device"],
        },
        "devices": devices,
        "usage": result["usage"],
        "channels": {
            "interface": figures(&channels["interface"]), "carrier": figures(&channels["carrier"]), "difference": channels["difference"],
            "agree": channels["agree"],
        },
        "by_channel": result["by_channel"],
        "deciding": deciding,
    })
}
