//! The second opinion: tally and judgement once more, in straight loops over the raw messages, from the rules alone. It shares
//! nothing with the product: no types, no code. Slow and plain on purpose.
//!
//! Where the rules leave something open, this is how they are read:
//! - the reasons why a device does not count are looked for in the order claimed_elsewhere, location, not_seen, quality, late,
//!   effective_days; a device is undeclared when this voucher does not declare it, whoever else does;
//! - one rulebook and one catalogue, those of the judged voucher, also say what earlier vouchers of the enterprise take from its cap;
//! - the pilot cap is that of the enterprise for which it is approved, whichever of its vouchers is judged;
//! - a voucher of nothing is insufficient on usage rows, too; a contract without function modules leaves its coverage unknown;
//! - several records of one line and day add up in sessions, and the largest number of devices counts; devices of several lines on a
//!   day add up; a record without a session is a record, but no connection day;
//! - whether an outcome hangs on claimed devices is judged anew with them, the comparison of the channels included.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, FixedOffset, NaiveDate, TimeDelta, Timelike, Utc};
use serde_json::{Value, json};

type At = DateTime<Utc>;

#[derive(Clone, Copy, PartialEq)]
enum Channel {
    Gateway,
    Supplier,
}

/// A reading as it was said in an accepted report.
struct Reading {
    channel: Channel,
    enterprise: String,
    device: String,
    at: At,
    received_at: At,
    normal: bool,
}

/// An action as it was said in an accepted report.
struct Action {
    channel: Channel,
    enterprise: String,
    product: String,
    function_module: String,
    user: String,
    at: At,
    received_at: At,
}

struct Session {
    enterprise: String,
    product: String,
    line: String,
    day: NaiveDate,
    sessions: u64,
    devices: Option<u64>,
}

/// Everything that was accepted, entry by entry.
pub struct Accepted {
    readings: Vec<Reading>,
    actions: Vec<Action>,
    sessions: Vec<Session>,
    /// Some report was not.
    refused: bool,
}

/// A judgement, and what it met on the way.
pub struct Opinion {
    pub said: Value,
    pub occurred: BTreeSet<&'static str>,
}

pub fn instant(value: &Value) -> At {
    DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap().to_utc()
}

fn shanghai(at: At) -> DateTime<FixedOffset> {
    at.with_timezone(&FixedOffset::east_opt(8 * 3600).unwrap())
}

fn day_of(at: At) -> NaiveDate {
    shanghai(at).date_naive()
}

fn day(value: &Value) -> NaiveDate {
    value.as_str().unwrap().parse().unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_string()
}

fn rows<'w>(world: &'w Value, list: &str) -> &'w [Value] {
    world["register"][list].as_array().map_or(&[], Vec::as_slice)
}

fn row<'w>(world: &'w Value, list: &str, id: &Value) -> &'w Value {
    rows(world, list).iter().find(|row| row["id"] == *id).unwrap()
}

/// A decimal text in units of ten to the minus `places`.
fn decimal(text: &str, places: usize) -> i128 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    assert!(part.len() <= places, "{text}");
    format!("{whole}{part:0<places$}").parse().unwrap()
}

fn fen(value: &Value) -> i128 {
    decimal(value.as_str().unwrap(), 2)
}

fn yuan(fen: i128) -> String {
    format!("{}.{:02}", fen / 100, fen % 100)
}

const ONE: i128 = 1_000_000_000_000;

/// A share, in units of 10^-12.
fn share(parameters: &Value, name: &str) -> i128 {
    decimal(parameters[name].as_str().unwrap(), 12)
}

fn count(parameters: &Value, name: &str) -> u64 {
    parameters[name].as_u64().unwrap()
}

/// R26: the newest version that was in force when the voucher was applied for, else the oldest.
fn in_force<'w>(versions: &'w Value, voucher: &Value) -> &'w Value {
    let applied_at = instant(&voucher["applied_at"]);
    let mut chosen: Option<&Value> = None;
    for version in versions.as_array().unwrap() {
        let from = instant(&version["valid_from"]);
        let later = match chosen {
            None => true,
            Some(kept) => {
                let kept_from = instant(&kept["valid_from"]);
                if kept_from > applied_at { from < kept_from || from <= applied_at } else { from <= applied_at && from > kept_from }
            }
        };
        if later {
            chosen = Some(version);
        }
    }
    chosen.unwrap()
}

/// A report with an entry from too far in the future was refused whole.
fn refused(body: &Value, received_at: At, future_skew_s_max: i64) -> bool {
    for list in ["devices", "usage"] {
        for entry in body[list].as_array().map_or(&[][..], Vec::as_slice) {
            if instant(&entry["at"]) - received_at > TimeDelta::seconds(future_skew_s_max) {
                return true;
            }
        }
    }
    false
}

pub fn accepted(world: &Value) -> Accepted {
    let mut all = Accepted { readings: Vec::new(), actions: Vec::new(), sessions: Vec::new(), refused: false };
    let skew = world["future_skew_s_max"].as_i64().unwrap();
    for message in world["messages"].as_array().unwrap() {
        let (body, received_at) = (&message["body"], instant(&message["received_at"]));
        if message["sender"]["kind"] == "carrier" {
            for record in body["records"].as_array().unwrap() {
                all.sessions.push(Session {
                    enterprise: text(&record["enterprise"]),
                    product: text(&record["product"]),
                    line: text(&record["line"]),
                    day: day(&record["day"]),
                    sessions: record["sessions"].as_u64().unwrap(),
                    devices: record["devices"].as_u64(),
                });
            }
            continue;
        }
        if refused(body, received_at, skew) {
            all.refused = true;
            continue;
        }
        let enterprise = text(&message["enterprise"]);
        let channel = if message["sender"]["kind"] == "gateway" { Channel::Gateway } else { Channel::Supplier };
        for entry in body["devices"].as_array().map_or(&[][..], Vec::as_slice) {
            all.readings.push(Reading {
                channel,
                enterprise: enterprise.clone(),
                device: text(&entry["device"]),
                at: instant(&entry["at"]),
                received_at,
                normal: entry["quality"] == "N",
            });
        }
        for entry in body["usage"].as_array().map_or(&[][..], Vec::as_slice) {
            all.actions.push(Action {
                channel,
                enterprise: enterprise.clone(),
                product: text(&entry["product"]),
                function_module: text(&entry["function_module"]),
                user: text(&entry["user"]),
                at: instant(&entry["at"]),
                received_at,
            });
        }
    }
    all
}

fn live(voucher: &Value) -> bool {
    !matches!(voucher["status"].as_str().unwrap_or("issued"), "withdrawn" | "void" | "refused" | "paid")
}

/// What the judged voucher's application time has chosen (R26).
struct Terms<'w> {
    parameters: &'w Value,
    catalogue: &'w Value,
}

impl<'w> Terms<'w> {
    fn of(world: &'w Value, voucher: &Value) -> Terms<'w> {
        Terms {
            parameters: &in_force(&world["rulebooks"], voucher)["parameters"],
            catalogue: &in_force(&world["catalogues"], voucher)["rows"],
        }
    }

    fn row(&self, product: &Value) -> &'w Value {
        &self.catalogue[product["row"].to_string()]
    }
}

/// R22–R25: rate, row cap, then what the earlier vouchers of the enterprise and period have left of its cap. All of it under the
/// rulebook and catalogue of the judged voucher: its result names no other.
fn computed(world: &Value, terms: &Terms<'_>, voucher: &Value) -> i128 {
    let product = row(world, "products", &voucher["product"]);
    let rate = share(terms.parameters, if product["class"] == "A" { "rate_a" } else { "rate_b" });
    let v0 = fen(&voucher["contract_amount"]) * rate / ONE;
    let v1 = v0.min(fen(&terms.row(product)["cap"]));
    let enterprise = row(world, "enterprises", &voucher["enterprise"]);
    let limit = match enterprise["pilot_cap"].as_str() {
        Some(approved) => decimal(approved, 2).min(fen(&terms.parameters["pilot_cap_max"])),
        _ => fen(&terms.parameters["enterprise_cap"]),
    };
    let place = |voucher: &Value| (instant(&voucher["applied_at"]), text(&voucher["id"]));
    let mut taken = 0;
    for other in rows(world, "vouchers") {
        let status = other["status"].as_str().unwrap_or("issued");
        if other["enterprise"] == voucher["enterprise"]
            && other["period"] == voucher["period"]
            && place(other) < place(voucher)
            && !matches!(status, "void" | "refused" | "withdrawn")
        {
            taken += if other["amount"].is_string() { fen(&other["amount"]) } else { computed(world, terms, other) };
        }
    }
    v1.min((limit - taken).max(0))
}

/// |a − b| ÷ max(a, b), as a fraction.
fn difference(a: u64, b: u64) -> (i128, i128) {
    (i128::from(a.abs_diff(b)), i128::from(a.max(b)).max(1))
}

/// The counted figures of one voucher.
struct Figures<'w> {
    parameters: &'w Value,
    per_device: Option<i128>,
    v: i128,
    /// Anything at all of the declared devices, or of the product.
    heard: bool,
    interface_days: u64,
    active_days: u64,
    users: u64,
    used: u64,
    contracted: u64,
    carrier: Option<(u64, Option<u64>)>,
}

struct Said {
    verdict: &'static str,
    outcomes: Vec<&'static str>,
    decided: u64,
    difference: (i128, i128),
    agree: Option<bool>,
}

impl Figures<'_> {
    /// The verdict with so many connected devices, but for what makes it conflicting.
    fn form(&self, connected: u64) -> Said {
        let parameters = self.parameters;
        let (carrier_days, carrier_devices) = self.carrier.unwrap_or_default();
        let mut worst = difference(self.interface_days, carrier_days);
        if let (Some(carrier), Some(_)) = (carrier_devices, self.per_device) {
            let other = difference(connected, carrier);
            if other.0 * worst.1 > worst.0 * other.1 {
                worst = other;
            }
        }
        let agree = self.carrier.map(|_| worst.0 * ONE <= share(parameters, "channel_tolerance") * worst.1);
        let by_carrier = agree == Some(false) && parameters["on_conflict"] == "carrier";
        let mut decided = connected;
        let mut outcomes: Vec<&str> = Vec::new();
        let word = |holds: bool| match (self.heard, holds) {
            (false, _) => "unknown",
            (true, true) => "pass",
            (true, false) => "fail",
        };
        if let Some(p) = self.per_device {
            if let (Some(carrier), true) = (carrier_devices, by_carrier) {
                decided = connected.min(carrier);
            }
            outcomes.push(if self.v == 0 { "not_applicable" } else { word(i128::from(decided) * p >= self.v) });
        } else {
            let days = if by_carrier { carrier_days } else { self.active_days };
            outcomes.push(word(days >= count(parameters, "usage_active_days_min")));
            outcomes.push(word(self.users >= count(parameters, "usage_users_min")));
            let share_used = i128::from(self.used) * ONE >= share(parameters, "function_module_coverage_min") * i128::from(self.contracted);
            outcomes.push(if self.contracted == 0 { "unknown" } else { word(share_used) });
        }
        if parameters["carrier_required"] == true {
            outcomes.push(if self.carrier.is_some() { "pass" } else { "unknown" });
        }
        let verdict = if self.v == 0 {
            "insufficient"
        } else if outcomes.contains(&"fail") {
            "not_met"
        } else if outcomes.contains(&"unknown") {
            "insufficient"
        } else {
            "met"
        };
        Said { verdict, outcomes, decided, difference: worst, agree }
    }
}

/// What the judgement of one voucher must say.
pub fn judge(world: &Value, accepted: &Accepted, voucher: &Value, as_of: At) -> Opinion {
    let mut occurred: BTreeSet<&'static str> = accepted.refused.then_some("refused for the future").into_iter().collect();
    let terms = Terms::of(world, voucher);
    let parameters = terms.parameters;
    let product = row(world, "products", &voucher["product"]);
    let row_number = product["row"].as_u64().unwrap();
    let per_device = &terms.row(product)["per_device"];

    let cut_off = match voucher["redeem_at"].as_str() {
        Some(_) if instant(&voucher["redeem_at"]) <= as_of => instant(&voucher["redeem_at"]),
        _ => as_of,
    };
    let to = day_of(cut_off);
    let from = to - Days::new(count(parameters, "window_days") - 1);
    let in_window = |at: At| at <= cut_off && day_of(at) >= from;
    let late_max = TimeDelta::days(count(parameters, "late_days_max") as i64);
    let in_time = |at: At, received_at: At| received_at - at <= late_max;

    let amount = computed(world, &terms, voucher);
    let approved = voucher["amount"].is_string().then(|| fen(&voucher["amount"]));
    let v = approved.unwrap_or(amount);

    let mut declared = BTreeMap::new();
    for device in rows(world, "devices") {
        if device["voucher"] == voucher["id"] {
            declared.insert(text(&device["device"]), device["province"].as_str().unwrap_or("").to_string());
        }
    }
    let mut claimed = BTreeSet::new();
    for device in rows(world, "devices") {
        let other = row(world, "vouchers", &device["voucher"]);
        if other["id"] != voucher["id"] && other["enterprise"] == voucher["enterprise"] && live(other) {
            claimed.insert(text(&device["device"]));
        }
    }
    let own: Vec<&Reading> = accepted.readings.iter().filter(|r| voucher["enterprise"] == r.enterprise && in_window(r.at)).collect();
    let usage: Vec<&Action> = accepted
        .actions
        .iter()
        .filter(|a| voucher["enterprise"] == a.enterprise && voucher["product"] == a.product && in_window(a.at))
        .collect();

    // R37, device by device. `reachable` would be connected but for the other voucher.
    let (mut excluded, mut connected, mut reachable) = (BTreeMap::new(), 0u64, 0u64);
    for (device, province) in &declared {
        let (mut seen, mut normal, mut counting) = (false, false, false);
        let mut hours: BTreeMap<NaiveDate, BTreeSet<u32>> = BTreeMap::new();
        for reading in own.iter().filter(|reading| reading.device == *device) {
            seen = true;
            if reading.normal {
                normal = true;
                if in_time(reading.at, reading.received_at) {
                    counting = true;
                    hours.entry(day_of(reading.at)).or_default().insert(shanghai(reading.at).hour());
                }
            }
        }
        let effective = hours.values().filter(|hours| hours.len() as u64 >= count(parameters, "effective_day_hours_min")).count() as u64;
        let enough = effective >= count(parameters, "device_effective_days_min");
        let required_here = parameters["location_required_rows"].as_array().unwrap().iter().any(|row| row.as_u64() == Some(row_number));
        let elsewhere = required_here && parameters["province_code"] != *province;
        if claimed.contains(device) {
            reachable += u64::from(enough && !elsewhere);
            excluded.insert(device.clone(), "claimed_elsewhere");
        } else if elsewhere {
            excluded.insert(device.clone(), "location");
        } else if !seen {
            excluded.insert(device.clone(), "not_seen");
        } else if !normal {
            excluded.insert(device.clone(), "quality");
        } else if !counting {
            excluded.insert(device.clone(), "late");
        } else if !enough {
            excluded.insert(device.clone(), "effective_days");
        } else {
            connected += 1;
            reachable += 1;
        }
    }
    let undeclared: BTreeSet<&str> = own.iter().map(|r| r.device.as_str()).filter(|device| !declared.contains_key(*device)).collect();

    let contracted: BTreeSet<String> = voucher["contract_modules"].as_array().unwrap().iter().map(text).collect();
    let counting: Vec<&&Action> = usage.iter().filter(|action| in_time(action.at, action.received_at)).collect();
    let active_days: BTreeSet<NaiveDate> = counting.iter().map(|action| day_of(action.at)).collect();
    let users: BTreeSet<&str> = counting.iter().map(|action| action.user.as_str()).collect();
    let modules: BTreeSet<&str> = counting.iter().map(|action| action.function_module.as_str()).collect();
    let used = contracted.iter().filter(|module| modules.contains(module.as_str())).count() as u64;

    // Channels.
    let mut interface_days = active_days.clone();
    for reading in &own {
        if reading.normal && in_time(reading.at, reading.received_at) && declared.contains_key(&reading.device) {
            interface_days.insert(day_of(reading.at));
        }
    }
    // Each door alone: its days, and the connected devices that it alone shows on enough days.
    let by_channel = |channel: Channel| {
        let mut days: BTreeSet<NaiveDate> = BTreeSet::new();
        let mut hours: BTreeMap<(&str, NaiveDate), BTreeSet<u32>> = BTreeMap::new();
        for action in counting.iter().filter(|action| action.channel == channel) {
            days.insert(day_of(action.at));
        }
        for reading in own.iter().filter(|reading| reading.channel == channel) {
            if reading.normal && in_time(reading.at, reading.received_at) && declared.contains_key(&reading.device) {
                days.insert(day_of(reading.at));
                hours.entry((&reading.device, day_of(reading.at))).or_default().insert(shanghai(reading.at).hour());
            }
        }
        let mut devices = 0u64;
        for device in declared.keys().filter(|device| !excluded.contains_key(*device)) {
            let enough = |hours: &BTreeSet<u32>| hours.len() as u64 >= count(parameters, "effective_day_hours_min");
            let days = hours.iter().filter(|((of, _), hours)| of == device && enough(hours)).count() as u64;
            devices += u64::from(days >= count(parameters, "device_effective_days_min"));
        }
        json!({"days": days.len(), "devices": per_device.is_string().then_some(devices)})
    };
    let (by_gateway, by_supplier) = (by_channel(Channel::Gateway), by_channel(Channel::Supplier));
    let lines: BTreeSet<String> =
        rows(world, "lines").iter().filter(|line| line["enterprise"] == voucher["enterprise"]).map(|line| text(&line["line"])).collect();
    let (mut carrier_rows, mut left_out) = (0, false);
    let mut carrier_days = BTreeSet::new();
    // By day and line the greatest that was said: carriers correct themselves.
    let mut sims: BTreeMap<(NaiveDate, &str), u64> = BTreeMap::new();
    for session in &accepted.sessions {
        if voucher["enterprise"] == session.enterprise && voucher["product"] == session.product && (from..=to).contains(&session.day) {
            if !lines.is_empty() && !lines.contains(&session.line) {
                left_out = true;
                continue;
            }
            carrier_rows += 1;
            if session.sessions > 0 {
                carrier_days.insert(session.day);
            }
            if let Some(devices) = session.devices {
                let kept = sims.entry((session.day, &session.line)).or_default();
                *kept = (*kept).max(devices);
            }
        }
    }
    let mut sims_of_day: BTreeMap<NaiveDate, u64> = BTreeMap::new();
    for ((day, _), devices) in &sims {
        *sims_of_day.entry(*day).or_default() += devices;
    }
    let carrier_devices = sims_of_day.values().max().copied();

    let us = TimeDelta::microseconds(1);
    let window_begins = DateTime::<Utc>::from_naive_utc_and_offset(from.and_time(chrono::NaiveTime::MIN), Utc) - TimeDelta::hours(8);
    for reading in
        accepted.readings.iter().filter(|r| voucher["enterprise"] == r.enterprise && declared.contains_key(&r.device) && r.normal)
    {
        let late_by = reading.received_at - reading.at - late_max;
        for (name, met) in [
            ("reading at the cut-off", reading.at == cut_off),
            ("reading a microsecond after the cut-off", reading.at == cut_off + us),
            ("reading at the window's first instant", reading.at == window_begins),
            ("reading a microsecond before the window", reading.at == window_begins - us),
            ("reading just not late", in_window(reading.at) && late_by.is_zero()),
            ("reading late by a microsecond", in_window(reading.at) && late_by == us),
            ("reading from the future, admitted", in_window(reading.at) && reading.received_at < reading.at),
        ] {
            if met {
                occurred.insert(name);
            }
        }
    }
    let own_product = |action: &&Action| voucher["enterprise"] == action.enterprise && voucher["product"] == action.product;
    for action in accepted.actions.iter().filter(own_product) {
        let late_by = action.received_at - action.at - late_max;
        for (name, met) in [
            ("usage at the cut-off", action.at == cut_off),
            ("usage a microsecond after the cut-off", action.at == cut_off + us),
            ("usage just not late", in_window(action.at) && late_by.is_zero()),
            ("usage late by a microsecond", in_window(action.at) && late_by == us),
        ] {
            if met {
                occurred.insert(name);
            }
        }
    }
    // Everything that may hang on the devices that another voucher claims, once without and once with them.
    let figures = Figures {
        parameters,
        per_device: per_device.as_str().map(|amount| decimal(amount, 2)),
        v,
        heard: if per_device.is_string() { own.iter().any(|reading| declared.contains_key(&reading.device)) } else { !usage.is_empty() },
        interface_days: interface_days.len() as u64,
        active_days: active_days.len() as u64,
        users: users.len() as u64,
        used,
        contracted: contracted.len() as u64,
        carrier: (carrier_rows > 0).then_some((carrier_days.len() as u64, carrier_devices)),
    };
    let said = figures.form(connected);
    let mut verdict = said.verdict;
    let with_claimed = figures.form(reachable).verdict;
    if verdict == "not_met" && per_device.is_string() && with_claimed == "met" {
        verdict = "conflicting";
    }
    if said.agree == Some(false) && parameters["on_conflict"] == "review" && matches!(verdict, "met" | "not_met") {
        verdict = "conflicting";
    }
    let twice = live(voucher)
        && rows(world, "vouchers").iter().any(|other| {
            other["id"] != voucher["id"]
                && other["enterprise"] == voucher["enterprise"]
                && other["product"] == voucher["product"]
                && live(other)
        });
    if verdict == "met" && twice && !per_device.is_string() {
        verdict = "conflicting";
    }

    let differs = said.agree == Some(false);
    let by_carrier = differs && parameters["on_conflict"] == "carrier";
    let review = differs && parameters["on_conflict"] == "review";
    let required_carrier = parameters["carrier_required"] == true;
    let days_min = count(parameters, "usage_active_days_min");
    let (carrier_days_count, active) = (carrier_days.len() as u64, active_days.len() as u64);
    let usage_row = per_device.is_null();
    let v1 = (fen(&voucher["contract_amount"]) * share(parameters, if product["class"] == "A" { "rate_a" } else { "rate_b" }) / ONE)
        .min(fen(&terms.row(product)["cap"]));
    let same_product = rows(world, "vouchers").iter().any(|other| {
        other["id"] != voucher["id"] && other["enterprise"] == voucher["enterprise"] && other["product"] == voucher["product"]
    });
    let exactly = said.difference.0 * ONE;
    let tolerated = share(parameters, "channel_tolerance") * said.difference.1;
    let coverage = share(parameters, "function_module_coverage_min") * i128::from(figures.contracted);
    for (name, met) in [
        ("channels agree", said.agree == Some(true)),
        ("channels agree, though not the same", said.agree == Some(true) && said.difference.0 > 0),
        ("channels differ by exactly the tolerance", carrier_rows > 0 && exactly == tolerated && exactly > 0),
        (
            "the carrier decides on days, against them",
            usage_row && by_carrier && figures.heard && carrier_days_count < days_min && active >= days_min,
        ),
        (
            "the carrier decides on days, for them",
            usage_row && by_carrier && figures.heard && carrier_days_count >= days_min && active < days_min,
        ),
        ("the carrier decides on devices", !usage_row && said.decided < connected),
        ("the carrier differs and has more devices", !usage_row && by_carrier && carrier_devices.is_some_and(|theirs| theirs > connected)),
        ("the carrier differs and tells no devices", !usage_row && by_carrier && carrier_devices.is_none() && connected > 0),
        (
            "devices differ more than days",
            !usage_row && carrier_rows > 0 && said.difference != difference(interface_days.len() as u64, carrier_days_count),
        ),
        ("review of a difference, otherwise met", review && said.verdict == "met"),
        ("review of a difference, otherwise not met", review && said.verdict == "not_met" && with_claimed != "met"),
        ("no carrier records", carrier_rows == 0),
        ("carrier required and missing", required_carrier && carrier_rows == 0),
        ("carrier required and there", required_carrier && carrier_rows > 0),
        ("unregistered lines left out", left_out),
        ("no line registered", carrier_rows > 0 && lines.is_empty()),
        ("hangs on claimed devices", !usage_row && said.verdict == "not_met" && with_claimed == "met"),
        ("claimed devices would not be enough", !usage_row && reachable > connected && with_claimed == "not_met"),
        ("shared usage", usage_row && said.verdict == "met" && twice),
        ("two vouchers for one product, one not live", usage_row && verdict == "met" && same_product),
        ("contract without function modules", usage_row && contracted.is_empty()),
        ("modules used outside the contract", usage_row && modules.iter().any(|module| !contracted.contains(*module))),
        ("coverage exactly at its minimum", usage_row && used > 0 && i128::from(used) * ONE == coverage),
        ("amount cut by the row's cap", v1 == fen(&terms.row(product)["cap"])),
        ("amount cut by the enterprise's cap", amount < v1),
        ("amount under a pilot's cap", row(world, "enterprises", &voucher["enterprise"])["pilot_cap"].is_string()),
        ("amount computed as nothing", amount == 0),
        ("judged at the request", voucher["redeem_at"].is_string() && cut_off != as_of),
        ("request after as_of", voucher["redeem_at"].is_string() && instant(&voucher["redeem_at"]) > as_of),
    ] {
        if met {
            occurred.insert(name);
        }
    }
    let mut required = 0;
    while figures.per_device.is_some_and(|p| i128::from(required) * p < v) {
        required += 1;
    }
    let devices = json!({
        "required": required, "connected": connected, "decided": said.decided, "declared": declared.len(),
        "undeclared": undeclared.len(), "excluded": excluded,
    });
    let usage_figures = json!({
        "active_days": active_days.len(), "users": users.len(), "function_modules_used": used,
        "function_modules_contracted": contracted.len(),
    });
    let places = (said.difference.0 * 20_000 + said.difference.1) / (2 * said.difference.1);
    let said_value = json!({
        "cut_off": cut_off.timestamp_micros(),
        "window": {"from": from, "to": to},
        "verdict": verdict,
        "amount": {
            "computed": yuan(amount), "approved": approved.map(yuan),
            "per_device": per_device.as_str(),
        },
        "devices": if per_device.is_string() { devices } else { Value::Null },
        "usage": if per_device.is_string() { Value::Null } else { usage_figures },
        "channels": {
            "interface": {"days": interface_days.len(), "devices": per_device.is_string().then_some(connected)},
            "carrier": (carrier_rows > 0).then(|| json!({"days": carrier_days.len(), "devices": carrier_devices})),
            "difference": (carrier_rows > 0).then(|| format!("{}.{:04}", places / 10_000, places % 10_000)),
            "agree": said.agree,
        },
        "by_channel": {"gateway": by_gateway, "supplier": by_supplier},
        "deciding": said.outcomes,
    });
    Opinion { said: said_value, occurred }
}
