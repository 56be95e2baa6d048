//! Random worlds: a register, rulebooks, catalogues, and what was said to the doors and when; plain JSON, all of it from one seed.
//! Whatever can lie at an edge is put there often: one microsecond before, on, and after it.

use chrono::{DateTime, Days, FixedOffset, NaiveDate, SecondsFormat, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

type At = DateTime<Utc>;

/// Rows of the printed catalogue: cap and per-device amount.
const ROWS: [(u64, &str, Option<&str>); 25] = [
    (1, "80000.00", None),
    (2, "180000.00", None),
    (3, "50000.00", None),
    (4, "150000.00", None),
    (5, "100000.00", Some("1500.00")),
    (6, "200000.00", None),
    (7, "250000.00", None),
    (8, "150000.00", None),
    (9, "50000.00", None),
    (10, "250000.00", None),
    (11, "50000.00", None),
    (12, "100000.00", None),
    (13, "250000.00", None),
    (14, "150000.00", None),
    (15, "200000.00", None),
    (16, "250000.00", None),
    (17, "30000.00", None),
    (18, "50000.00", None),
    (19, "30000.00", None),
    (20, "50000.00", None),
    (21, "50000.00", None),
    (22, "250000.00", Some("1500.00")),
    (23, "100000.00", Some("800.00")),
    (24, "300000.00", None),
    (25, "300000.00", None),
];
/// What the second catalogue says otherwise.
const CHANGED: [(u64, &str, Option<&str>); 4] =
    [(5, "4500.00", Some("1000.00")), (12, "2000.00", None), (23, "2400.00", Some("799.99")), (9, "6000.00", Some("1500.01"))];
pub const SECOND_VALID_FROM: &str = "2019-08-01T00:00:00+08:00";
const FIRST_VALID_FROM: &str = "2018-03-20T00:00:00+08:00";
const MODULES: [&str; 5] = ["设备OEE分析", "报警", "工单", "看板", "能耗"];
const DEVICES: [&str; 9] = ["SN-1", "SN-2", "SN-3", "SN-4", "SN-5", "机床-6", "SN-1x", "SN-8", "sn-8"];
const US: TimeDelta = TimeDelta::microseconds(1);

/// The credit code of the n-th enterprise, with a right check character.
fn credit_code(n: u64) -> String {
    let first_17 = format!("91440101MA5{:06}", n % 1_000_000);
    format!("{first_17}{}", char::from(wire::credit_code::check_character(first_17.as_bytes()).unwrap()))
}

fn midnight(day: NaiveDate) -> At {
    day.and_time(chrono::NaiveTime::MIN).and_utc() - TimeDelta::hours(8)
}

fn day_of(at: At) -> NaiveDate {
    (at + TimeDelta::hours(8)).date_naive()
}

struct Maker {
    random: StdRng,
    as_of: At,
    parameters: Value,
    sent: u32,
    messages: Vec<Value>,
}

pub fn world(seed: u64) -> Value {
    let mut random = StdRng::seed_from_u64(seed);
    let day = NaiveDate::from_ymd_opt(2019, 11, 5).unwrap() + Days::new(random.random_range(0..30));
    let as_of = edge_of_day(&mut random, day);
    let parameters = parameters(&mut random);
    let mut maker = Maker { random, as_of, parameters: parameters.clone(), sent: 0, messages: Vec::new() };
    let mut register = json!({"v": 1, "rulebook": "gd-2019"});
    for list in ["enterprises", "suppliers", "products", "periods", "pilots", "vouchers", "devices", "gateways", "lines", "carriers"] {
        register[list] = json!([]);
    }
    let period = |id: &str| json!({"id": id, "claim_from": "2019-01-01T00:00:00+08:00", "claim_to": "2019-12-31T23:59:00+08:00", "redeem_from": "2019-01-01T00:00:00+08:00", "redeem_to": "2020-03-31T23:59:00+08:00"});
    register["periods"] = json!([period("2019-1"), period("2019-2")]);
    register["carriers"] = json!([{"id": "C-1", "name": "运营商"}]);
    register["suppliers"] = json!([{"id": "S-1", "name": "供应商", "city": "440100"}]);
    let enterprises = maker.random.random_range(1..=2);
    let products = maker.products();
    for n in 0..enterprises {
        maker.enterprise(&mut register, credit_code(seed * 2 + n), n, &products);
    }
    register["products"] = json!(products);
    let pilots: Vec<&Value> = register["enterprises"].as_array().unwrap().iter().map(|row| &row["id"]).collect();
    register["pilots"] = json!([{"id": "T-1", "members": ["S-1"], "enterprises": pilots, "benchmark": "标杆"}]);
    let Maker { mut random, mut messages, .. } = maker;
    messages.shuffle(&mut random);
    let mut rulebooks = vec![json!({"valid_from": FIRST_VALID_FROM, "parameters": parameters})];
    if random.random_bool(0.3) {
        let other = self::parameters(&mut random);
        rulebooks.push(json!({"valid_from": SECOND_VALID_FROM, "parameters": other}));
    }
    let catalogue = |valid_from: &str, changed: &[(u64, &str, Option<&str>)]| {
        let rows: Map<String, Value> = ROWS
            .iter()
            .map(|row| changed.iter().find(|other| other.0 == row.0).unwrap_or(row))
            .map(|(row, cap, per_device)| (row.to_string(), json!({"cap": cap, "per_device": per_device})))
            .collect();
        json!({"valid_from": valid_from, "rows": rows})
    };
    let mut catalogues = vec![catalogue(FIRST_VALID_FROM, &[])];
    if random.random_bool(0.3) {
        catalogues.push(catalogue(SECOND_VALID_FROM, &CHANGED));
    }
    json!({
        "seed": seed, "as_of": show(&mut random, as_of), "future_skew_s_max": parameters["future_skew_s_max"], "rulebooks": rulebooks,
        "catalogues": catalogues, "register": register, "messages": messages,
    })
}

/// RFC 3339, in some zone: zones never matter.
fn show(random: &mut StdRng, at: At) -> String {
    let offset_h = *[8, 8, 0, 9, -5].choose(random).unwrap();
    at.with_timezone(&FixedOffset::east_opt(offset_h * 3600).unwrap()).to_rfc3339_opts(SecondsFormat::AutoSi, false)
}

/// Midnight and about, an hour and about, or anything.
fn edge_of_day(random: &mut StdRng, day: NaiveDate) -> At {
    let near = *[-US, TimeDelta::zero(), US].choose(random).unwrap();
    let begin = midnight(day);
    match random.random_range(0..4) {
        0 => begin + near,
        1 => begin + TimeDelta::hours(random.random_range(1..24)) + near,
        2 => begin + TimeDelta::microseconds(random.random_range(0..86_400_000_000)),
        _ => begin + TimeDelta::hours(23) + TimeDelta::minutes(30),
    }
}

fn parameters(random: &mut StdRng) -> Value {
    let mut of = |list: &[Value]| list.choose(random).unwrap().clone();
    let all_but_services: Vec<u64> = (1..=25).filter(|row| *row != 22 && *row != 23).collect();
    let mut parameters = json!({
        "window_days": of(&[json!(1), json!(2), json!(3), json!(5), json!(7), json!(30)]),
        "late_days_max": of(&[json!(0), json!(1), json!(2), json!(7)]),
        "future_skew_s_max": of(&[json!(0), json!(120), json!(120)]),
        "effective_day_hours_min": of(&[json!(1), json!(2), json!(2), json!(3), json!(4)]),
        "device_effective_days_min": of(&[json!(1), json!(1), json!(2), json!(3)]),
        "usage_active_days_min": of(&[json!(0), json!(1), json!(1), json!(2), json!(3)]),
        "usage_users_min": of(&[json!(0), json!(1), json!(2), json!(2), json!(3)]),
        "function_module_coverage_min": of(&[json!("0"), json!("0.25"), json!("0.333333333333"), json!("0.333333333334"), json!("0.5"), json!("0.6"), json!("1")]),
        "channel_tolerance": of(&[json!("0"), json!("0.07"), json!("0.25"), json!("0.333333333333"), json!("0.333333333334"), json!("0.5"), json!("1")]),
        "on_conflict": of(&[json!("carrier"), json!("carrier"), json!("review")]),
        "location_required_rows": of(&[json!(all_but_services), json!(all_but_services), json!([5, 22, 23]), json!([])]),
        "carrier_required": of(&[json!(false), json!(false), json!(false), json!(true)]),
        "rate_a": of(&[json!("0.8"), json!("0.8"), json!("0.75")]),
        "rate_b": of(&[json!("0.4"), json!("0.4"), json!("0.333333333333")]),
        "enterprise_cap": of(&[json!("300000.00"), json!("7500.00"), json!("9000.01"), json!("4000.00")]),
        "pilot_cap_max": of(&[json!("1000000.00"), json!("8000.00")]),
        "province_code": of(&[json!("44"), json!("44"), json!("44"), json!("44"), json!("44"), json!("44"), json!("44"), json!("45")]),
    });
    // Mostly days that the window has.
    for name in ["device_effective_days_min", "usage_active_days_min"] {
        if random.random_bool(0.9) {
            parameters[name] = json!(parameters[name].as_u64().min(parameters["window_days"].as_u64()));
        }
    }
    parameters
}

impl Maker {
    fn count(&self, name: &str) -> i64 {
        self.parameters[name].as_i64().unwrap()
    }

    fn chance(&mut self, share: f64) -> bool {
        self.random.random_bool(share)
    }

    fn one<T: Clone>(&mut self, list: &[T]) -> T {
        list.choose(&mut self.random).unwrap().clone()
    }

    fn show(&mut self, at: At) -> String {
        show(&mut self.random, at)
    }

    /// As many as asked for, or, where it need not be well, one more or less, never below zero.
    fn about(&mut self, count: i64, well: bool) -> i64 {
        let more = if well { self.one(&[0, 0, 1]) } else { self.one(&[-1, -1, -1, 0, 1, 2]) };
        (count + more).max(0)
    }

    fn some(&mut self, list: &[&str], count: i64) -> Vec<String> {
        let mut list: Vec<String> = list.iter().map(ToString::to_string).collect();
        list.shuffle(&mut self.random);
        list.truncate(count.max(0) as usize);
        list
    }

    fn products(&mut self) -> Vec<Value> {
        let count = self.random.random_range(1..=3);
        let product = |maker: &mut Maker, n: usize| {
            let row = maker.one(&[5, 5, 22, 23, 23, 9, 12, 12, 17, 24]);
            let class = maker.one(&["A", "B"]);
            let modules = maker.random.random_range(2..=5);
            let modules = maker.some(&MODULES, modules);
            json!({"id": format!("P-{n}"), "supplier": "S-1", "name": format!("产品{n}"), "class": class, "row": row, "function_modules": modules})
        };
        (0..count).map(|n| product(self, n)).collect()
    }

    fn enterprise(&mut self, register: &mut Value, id: String, n: u64, products: &[Value]) {
        let mut row = json!({"id": id, "name": format!("第{n}机械厂"), "city": "440600", "kind": "manufacturer"});
        if self.chance(0.3) {
            row["pilot_cap"] = self.one(&[json!("9000.00"), json!("1000000.00"), json!("3000.00"), json!("0.00")]);
        }
        push(register, "enterprises", row);
        let gateway = format!("gw-{n}");
        push(register, "gateways", json!({"id": gateway, "enterprise": id, "token": "a-token-of-a-gateway"}));
        let mut anchors = Vec::new();
        let mut bought = Vec::new();
        // What the devices are told apart by, and when redemption is asked for, mostly alike for all of them.
        let mut free = self.some(&DEVICES, 9);
        let redeem_at = self.redeem_at();
        for v in 0..self.one(&[1, 1, 2, 2, 3, 4]) {
            let product = self.one(products);
            let redeem_at = if self.chance(0.7) { redeem_at } else { self.redeem_at() };
            let voucher = self.voucher(&id, &format!("V-{n}{v}"), &product, redeem_at);
            anchors.push(voucher.1);
            bought.push(product["id"].as_str().unwrap().to_string());
            let declared = self.random.random_range(0..=6);
            let mut devices = free.split_off(free.len().saturating_sub(declared));
            if self.chance(0.35) {
                devices = self.some(&DEVICES, declared as i64);
            }
            for device in devices {
                let mut row = json!({"voucher": voucher.0["id"], "device": device});
                let province = self.one(&["44", "44", "44", "44", "44", "44", "44", "44", "44", "45", "45", ""]);
                if !province.is_empty() {
                    row["province"] = json!(province);
                }
                push(register, "devices", row);
            }
            push(register, "vouchers", voucher.0);
        }
        let senders = [json!({"kind": "gateway", "id": gateway}), json!({"kind": "supplier", "id": "S-1"})];
        for device in DEVICES {
            if self.chance(0.92) {
                let anchor = self.one(&anchors);
                self.device(&id, &senders, device, anchor);
            }
        }
        bought.sort();
        bought.dedup();
        for product in products.iter().filter(|product| bought.contains(&product["id"].as_str().unwrap().to_string())) {
            let anchor = self.one(&anchors);
            if self.chance(0.85) {
                self.usage(&id, &senders, product, anchor);
            }
            if self.chance(0.7) {
                self.carrier(register, &id, n, product, anchor);
            }
        }
    }

    /// A voucher, and the cut-off that it will be judged at.
    fn voucher(&mut self, enterprise: &str, id: &str, product: &Value, redeem_at: Option<At>) -> (Value, At) {
        let per_device = product["row"].as_u64().and_then(|row| ROWS[row as usize - 1].2).map_or(100_000, fen);
        let (numerator, denominator) = if product["class"] == "A" { (5, 4) } else { (5, 2) };
        let wanted = match self.random.random_range(0..10) {
            // As much as so many devices support, to the fen.
            0..=6 => self.one(&[1, 2, 2, 3, 3, 4, 6]) * per_device + self.one(&[-1, 0, 0, 0, 1, 40_000]),
            // About a row's cap.
            7 => fen(ROWS[product["row"].as_u64().unwrap() as usize - 1].1) + self.one(&[-1, 0, 1, 5_000_000]),
            8 => self.random.random_range(0..40_000_000),
            _ => 0,
        };
        let contract = wanted * numerator / denominator + self.one(&[0, 0, 0, 1, 2]);
        let contracted: Vec<&str> = product["function_modules"].as_array().unwrap().iter().map(|module| module.as_str().unwrap()).collect();
        let modules = self.random.random_range(1..=contracted.len() as i64);
        let modules = if self.chance(0.03) { Vec::new() } else { self.some(&contracted, modules) };
        let applied_at = self.one(&[
            "2019-07-31T23:59:59.999999+08:00",
            "2019-08-01T00:00:00+08:00",
            "2019-07-31T16:00:00Z",
            "2019-06-03T09:00:00+08:00",
            "2019-09-02T09:00:00+08:00",
            "2019-09-02T09:00:00.000001+08:00",
        ]);
        let mut row = json!({
            "id": id, "enterprise": enterprise, "product": product["id"], "contract_no": format!("C-{id}"), "contract_signed_on": "2019-06-01",
            "contract_total": yuan(contract), "contract_amount": yuan(contract), "contract_modules": modules, "applied_at": applied_at,
        });
        let status = self.one(&[
            "",
            "",
            "",
            "",
            "issued",
            "issued",
            "issued",
            "redeeming",
            "approved",
            "applied",
            "returned",
            "refused",
            "void",
            "withdrawn",
            "paid",
        ]);
        if !status.is_empty() {
            row["status"] = json!(status);
        }
        let period = self.one(&["", "2019-1", "2019-1", "2019-2"]);
        if !period.is_empty() {
            row["period"] = json!(period);
        }
        if self.chance(0.25) {
            row["pilot"] = json!("T-1");
        }
        if self.chance(0.35) {
            let approved = self.one(&[0, 1, 2, 3, 3, 4, 5]) * per_device + self.one(&[0, 0, 1]);
            row["amount"] = json!(yuan(approved));
        }
        let mut cut_off = self.as_of;
        if let Some(redeem_at) = redeem_at {
            row["redeem_at"] = json!(self.show(redeem_at));
            if redeem_at <= self.as_of {
                cut_off = redeem_at;
            }
        }
        (row, cut_off)
    }

    fn redeem_at(&mut self) -> Option<At> {
        let day = day_of(self.as_of) - Days::new(self.random.random_range(0..10));
        match self.random.random_range(0..10) {
            0..=2 => None,
            3 => Some(self.as_of),
            4 => Some(self.as_of + US),
            5 => Some(self.as_of - US),
            6 => Some(self.as_of + TimeDelta::days(2)),
            _ => Some(edge_of_day(&mut self.random, day)),
        }
    }

    /// Days of a window, the last and the first of them before others, now and then one outside.
    fn days(&mut self, cut_off: At, count: i64) -> Vec<NaiveDate> {
        let (to, window) = (day_of(cut_off), self.count("window_days"));
        let mut days: Vec<i64> = (0..window).collect();
        days.shuffle(&mut self.random);
        if self.chance(0.5) {
            days.sort_by_key(|ago| *ago != 0 && *ago != window - 1);
        } else {
            // The cut-off's own day may have hardly begun.
            days.sort_by_key(|ago| *ago == 0);
        }
        days.truncate(count as usize);
        if self.chance(0.3) {
            days.push(window);
        }
        if self.chance(0.2) {
            days.push(-1);
        }
        days.into_iter().map(|ago| if ago < 0 { to + Days::new(1) } else { to - Days::new(ago as u64) }).collect()
    }

    /// How long something takes to reach us.
    fn delay(&mut self, well: bool) -> TimeDelta {
        let late = TimeDelta::days(self.count("late_days_max"));
        let early = TimeDelta::seconds(-self.count("future_skew_s_max"));
        if well {
            return self.one(&[late, late - US, TimeDelta::milliseconds(700).min(late), TimeDelta::zero(), early]);
        }
        match self.random.random_range(0..12) {
            0 => late,
            1 => late + US,
            2 => late - US,
            3 => late + TimeDelta::days(1),
            4 => TimeDelta::zero(),
            5 => early,
            6 if self.chance(0.2) => early - US,
            _ => TimeDelta::milliseconds(self.random.random_range(0..4_000)),
        }
    }

    /// An instant within a clock hour: its first or last microsecond, the cut-off and about it if it lies there, or any.
    fn within(&mut self, hour: At, cut_off: At) -> At {
        let last = hour + TimeDelta::hours(1) - US;
        let near = cut_off + self.one(&[-US, TimeDelta::zero(), TimeDelta::zero(), US]);
        match self.random.random_range(0..7) {
            0 => hour,
            1 => last,
            2..=4 if (hour..=last).contains(&near) => near,
            _ => hour + TimeDelta::microseconds(self.random.random_range(0..3_600_000_000)),
        }
    }

    fn device(&mut self, enterprise: &str, senders: &[Value], device: &str, cut_off: At) {
        let well = self.chance(0.75);
        let days = self.count("device_effective_days_min");
        let days = self.about(days, well);
        let stray = (!well && self.chance(0.3)).then(|| self.one(&["F", "M", "S", "D", "C", "T", "B"]));
        for day in self.days(cut_off, days) {
            let hours = self.count("effective_day_hours_min");
            let hours = self.about(hours, well);
            let quality = if let Some(quality) = stray {
                quality
            } else if !well && self.chance(0.12) {
                self.one(&["F", "M", "S", "D", "C", "T", "B"])
            } else {
                "N"
            };
            // The whole day in one report, or each reading by itself.
            let delay = self.chance(0.4).then(|| self.delay(well));
            let mut entries = Vec::new();
            let mut clock_hours: Vec<i64> = (0..24).collect();
            clock_hours.shuffle(&mut self.random);
            if day == day_of(cut_off) && self.chance(0.7) {
                // What lies before the cut-off, from its own hour back.
                clock_hours.sort_by_key(|hour| (midnight(day) + TimeDelta::hours(*hour) > cut_off, -hour));
            }
            for hour in clock_hours.into_iter().take(hours as usize) {
                let at = self.within(midnight(day) + TimeDelta::hours(hour), cut_off);
                let quality = if !well && self.chance(0.05) { "D" } else { quality };
                entries.push((at, json!({"device": device, "at": self.show(at), "quality": quality, "readings": {"功率_kw": 4.2}})));
                if self.chance(0.3) {
                    // And once more within the hour: the cut-off may lie between the two.
                    let at = self.within(midnight(day) + TimeDelta::hours(hour), cut_off);
                    let again = json!({"device": device, "at": self.show(at), "quality": quality, "readings": {"功率_kw": 4.3}});
                    entries.push((at, again));
                }
                if self.chance(0.1) {
                    // The same hour again, otherwise late.
                    let (at, again) = entries.last().unwrap().clone();
                    let received_at = at + self.delay(false);
                    self.report(enterprise, senders, received_at, vec![again], Vec::new());
                }
            }
            match (delay, entries.is_empty()) {
                (_, true) => {}
                (Some(delay), _) => {
                    let first = entries.iter().map(|entry| entry.0).min().unwrap();
                    let last = entries.iter().map(|entry| entry.0).max().unwrap();
                    let base = if self.chance(0.5) { first } else { last };
                    let base = if well { first } else { base };
                    let received_at = (base + delay).max(last - TimeDelta::seconds(self.count("future_skew_s_max")));
                    self.report(enterprise, senders, received_at, entries.into_iter().map(|entry| entry.1).collect(), Vec::new());
                }
                (None, _) => {
                    for (at, entry) in entries {
                        let received_at = at + self.delay(well);
                        self.report(enterprise, senders, received_at, vec![entry], Vec::new());
                    }
                }
            }
        }
    }

    fn usage(&mut self, enterprise: &str, senders: &[Value], product: &Value, cut_off: At) {
        let listed: Vec<&str> = product["function_modules"].as_array().unwrap().iter().map(|module| module.as_str().unwrap()).collect();
        let well = self.chance(0.5);
        let modules = self.random.random_range(1..=listed.len() as i64);
        let modules = self.some(&listed, modules);
        let users = self.count("usage_users_min");
        let users = self.about(users, well).max(1);
        let days = self.count("usage_active_days_min");
        let days = self.about(days, well).max(i64::from(well));
        for day in self.days(cut_off, days) {
            for _ in 0..self.one(&[1, 2, 3, 5]) {
                let mut hour = midnight(day) + TimeDelta::hours(self.random.random_range(0..24));
                if day == day_of(cut_off) && self.chance(0.6) {
                    hour = hour.min(midnight(day) + TimeDelta::hours((cut_off - midnight(day)).num_hours()));
                }
                let at = self.within(hour, cut_off);
                let user = self.random.random_range(0..users);
                let user = self.one(&[format!("u{user}"), format!("u{user}"), format!("u{user}"), format!("U{user}")]);
                let entry = json!({"product": product["id"], "function_module": self.one(&modules), "user": user, "at": self.show(at), "actions": 3});
                let received_at = at + self.delay(well);
                self.report(enterprise, senders, received_at, Vec::new(), vec![entry]);
            }
        }
    }

    fn report(&mut self, enterprise: &str, senders: &[Value], received_at: At, devices: Vec<Value>, usage: Vec<Value>) {
        self.sent += 1;
        let (sender, n) = (self.one(senders), self.sent);
        let mut body = json!({"v": 1, "devices": devices, "usage": usage});
        if sender["kind"] == "gateway" {
            body["boot"] = json!("b1");
            body["seq"] = json!(n);
        } else {
            body["id"] = json!(format!("r-{n}"));
            body["enterprise"] = json!(enterprise);
        }
        let received_at = self.show(received_at);
        self.messages.push(json!({"sender": sender, "enterprise": enterprise, "received_at": received_at, "body": body}));
    }

    fn carrier(&mut self, register: &mut Value, enterprise: &str, n: u64, product: &Value, cut_off: At) {
        let lines = [format!("L-{n}1"), format!("L-{n}2")];
        let registered = self.random.random_range(0..=2);
        for line in &lines[..registered] {
            let row = json!({"enterprise": enterprise, "line": line, "kind": "sim"});
            if !register["lines"].as_array().unwrap().contains(&row) {
                push(register, "lines", row);
            }
        }
        let days = self.one(&["device_effective_days_min", "usage_active_days_min"]);
        let days = self.count(days);
        let well = self.chance(0.4);
        let days = self.about(days, well).max(i64::from(well));
        let with_devices = self.chance(0.6);
        for day in self.days(cut_off, days) {
            let mut records = Vec::new();
            for _ in 0..self.one(&[1, 1, 2]) {
                let mut record = json!({"enterprise": enterprise, "line": self.one(&lines), "product": product["id"], "day": day.to_string(),
                    "sessions": self.one(&[0, 1, 2, 2, 2, 9]), "bytes": 1_000});
                if with_devices && self.chance(0.8) {
                    record["devices"] = json!(self.one(&[0, 1, 1, 2, 2, 3, 4, 6]));
                }
                records.push(record);
            }
            self.sent += 1;
            let body = json!({"v": 1, "id": format!("c-{}", self.sent), "records": records});
            let received_at = midnight(day) + TimeDelta::hours(40);
            let received_at = self.show(received_at);
            self.messages.push(
                json!({"sender": {"kind": "carrier", "id": "C-1"}, "enterprise": enterprise, "received_at": received_at, "body": body}),
            );
        }
    }
}

fn push(register: &mut Value, list: &str, row: Value) {
    register[list].as_array_mut().unwrap().push(row);
}

fn fen(yuan: &str) -> i64 {
    yuan.replace('.', "").parse().unwrap()
}

fn yuan(fen: i64) -> String {
    let fen = fen.max(0);
    format!("{}.{:02}", fen / 100, fen % 100)
}
