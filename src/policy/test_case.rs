//! A small world for tests: one enterprise, products of several rows, one supplier, and readings on demand.

use chrono::TimeDelta;

use crate::calendar::{self, Day, Instant, day_of, hour_of};
use crate::catalogue::Catalogue;
use crate::facts::{CarrierDay, Channel, Seen, UsageKey, VoucherFacts};
use crate::in_force::Versions;
use crate::index::Indexed;
use crate::judge::{Case, Judgement, judge};
use crate::money::Yuan;
use crate::reasons::{Group, Outcome};
use crate::register::*;
use crate::result::Check;
use crate::rulebook::Rulebook;

pub fn at(text: &str) -> Instant {
    calendar::read_instant(text).unwrap()
}

pub fn day(text: &str) -> Day {
    calendar::read_day(text).unwrap()
}

pub fn yuan(text: &str) -> Yuan {
    text.parse().unwrap()
}

/// A class A voucher of the enterprise E-1 over a contract of 100,000.00 yuan; the product `P-5` is of row 5.
pub fn voucher(id: &str, product: &str) -> Voucher {
    Voucher {
        id: id.to_string(),
        enterprise: "E-1".to_string(),
        product: product.to_string(),
        contract_no: format!("HT-{id}"),
        contract_signed_on: day("2019-06-01"),
        contract_total: yuan("1000000.00"),
        contract_amount: yuan("100000.00"),
        contract_modules: vec!["甲".to_string(), "乙".to_string(), "丙".to_string(), "丁".to_string(), "戊".to_string()],
        applied_at: at("2019-07-01T09:00:00+08:00"),
        period: None,
        status: VoucherStatus::Issued,
        status_at: None,
        void_cause: None,
        amount: None,
        pilot: None,
        redeem_at: None,
        paid: None,
        invoiced: None,
        payment_proofs: None,
        accepted_modules: None,
        cost_lines: None,
        supplement_signed_on: None,
        supplier_confirmed_at: None,
        objection: None,
    }
}

pub fn enterprise(id: &str) -> Enterprise {
    Enterprise {
        id: id.to_string(),
        name: format!("企业 {id}"),
        city: "440100".to_string(),
        kind: EnterpriseKind::Manufacturer,
        pilot_cap: None,
        conformance: None,
        conformance_funded: None,
    }
}

pub fn product(id: &str, class: ProductClass, row: u8) -> Product {
    Product {
        id: id.to_string(),
        supplier: "S-1".to_string(),
        name: format!("产品 {id}"),
        aliases: Vec::new(),
        class,
        row,
        function_modules: ["甲", "乙", "丙", "丁", "戊", "己"].map(str::to_string).to_vec(),
    }
}

/// Claiming from July to the end of 2019, redemption until the end of March.
pub fn period(id: &str) -> IssuancePeriod {
    IssuancePeriod {
        id: id.to_string(),
        claim_from: at("2019-07-01T00:00:00+08:00"),
        claim_to: at("2019-12-31T18:00:00+08:00"),
        redeem_from: at("2019-09-01T00:00:00+08:00"),
        redeem_to: at("2020-03-31T18:00:00+08:00"),
        announced_at: Some(at("2019-06-20T10:00:00+08:00")),
    }
}

pub fn pilot(id: &str, members: &[&str], enterprises: &[String]) -> Pilot {
    let members = members.iter().map(|member| (*member).to_string()).collect();
    Pilot { id: id.to_string(), members, enterprises: enterprises.to_vec(), benchmark: "示范点".to_string() }
}

pub fn declared(voucher: &str, device: &str, province: Option<&str>) -> DeclaredDevice {
    DeclaredDevice {
        voucher: voucher.to_string(),
        device: device.to_string(),
        name: None,
        model: None,
        template: None,
        province: province.map(str::to_string),
    }
}

/// The world of one test. Judged at 2019-11-05 18:00, so that the window is 2019-10-07 to 2019-11-05.
pub struct World {
    pub register: Register,
    pub rulebook: Rulebook,
    pub catalogue: Catalogue,
    pub facts: VoucherFacts,
    pub as_of: Instant,
}

impl World {
    pub fn new() -> World {
        let mut register = Register::default();
        register.enterprises.insert("E-1".to_string(), enterprise("E-1"));
        register
            .suppliers
            .insert("S-1".to_string(), Supplier { id: "S-1".to_string(), name: "供应商".to_string(), city: "440300".to_string() });
        for row in 1..=25 {
            for (class, prefix) in [(ProductClass::A, "P"), (ProductClass::B, "B")] {
                let id = format!("{prefix}-{row}");
                register.products.insert(id.clone(), product(&id, class, row));
            }
        }
        World {
            register,
            rulebook: Rulebook::default_2019(),
            catalogue: Catalogue::default_2019(),
            facts: VoucherFacts::default(),
            as_of: at("2019-11-05T18:00:00+08:00"),
        }
    }

    pub fn add(&mut self, voucher: Voucher) {
        self.register.vouchers.insert(voucher.id.clone(), voucher);
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.rulebook = self.rulebook.with(name, value).unwrap();
    }

    pub fn declare(&mut self, voucher: &str, device: &str, province: Option<&str>) {
        self.register.devices.insert((voucher.to_string(), device.to_string()), declared(voucher, device, province));
    }

    /// Declares `SN-0` to `SN-<count - 1>` in Guangdong and lets each have `days` effective days.
    pub fn connect(&mut self, voucher: &str, count: usize, days: u32) {
        for device in (0..count).map(|n| format!("SN-{n}")) {
            self.declare(voucher, &device, Some("44"));
            self.run(&device, days);
        }
    }

    /// Effective days, 8:00 to 11:00, from 2019-10-10 on.
    pub fn run(&mut self, device: &str, days: u32) {
        for n in 0..days {
            for hour in 8..12 {
                let occurred_at = at("2019-10-10T00:30:00+08:00") + TimeDelta::days(i64::from(n)) + TimeDelta::hours(hour);
                self.reading(device, occurred_at, 0);
            }
        }
    }

    pub fn reading(&mut self, device: &str, occurred_at: Instant, days_late: u32) {
        self.reading_by(device, occurred_at, days_late, Channel::Gateway, true);
    }

    pub fn reading_by(&mut self, device: &str, occurred_at: Instant, days_late: u32, channel: Channel, normal: bool) {
        let of_day = self.facts.devices.entry(device.to_string()).or_default().entry(day_of(occurred_at)).or_default();
        let hour = of_day.hours.entry((hour_of(occurred_at), channel)).or_default();
        let seen = Seen::new(occurred_at, days_late);
        if normal {
            hour.normal.add(seen);
            hour.counts.add(0, 1);
        } else {
            hour.other.add(seen);
            hour.counts.add(4, 1);
        }
    }

    pub fn action(&mut self, user: &str, function_module: &str, occurred_at: Instant, days_late: u32) {
        let key = UsageKey {
            day: day_of(occurred_at),
            user: user.to_string(),
            function_module: function_module.to_string(),
            channel: Channel::Supplier,
        };
        let usage = self.facts.usage.entry(key).or_default();
        usage.seen.add(Seen::new(occurred_at, days_late));
        usage.actions += 1;
    }

    /// `days` days from 2019-10-10 on with both users and the modules given.
    pub fn use_product(&mut self, days: u32, users: &[&str], modules: &[&str]) {
        for n in 0..days {
            let occurred_at = at("2019-10-10T09:00:00+08:00") + TimeDelta::days(i64::from(n));
            for user in users {
                modules.iter().for_each(|module| self.action(user, module, occurred_at, 0));
            }
        }
    }

    /// `days` days from 2019-10-10 on with sessions on this line.
    pub fn carry(&mut self, line: &str, days: u32, devices: Option<u64>) {
        for n in 0..days {
            let day = day_of(at("2019-10-10T09:00:00+08:00") + TimeDelta::days(i64::from(n)));
            self.facts.carrier.insert((day, line.to_string()), CarrierDay { sessions: 3, bytes: 10, devices });
        }
    }

    pub fn register_line(&mut self, line: &str) {
        let row = Line { enterprise: "E-1".to_string(), line: line.to_string(), kind: LineKind::Ip };
        self.register.lines.insert(("E-1".to_string(), line.to_string()), row);
    }

    pub fn indexed(&self) -> Indexed<&Register> {
        Indexed::of(&self.register, &Versions::of(self.rulebook.clone()), &Versions::of(self.catalogue.clone()))
    }

    pub fn slice(&self, voucher: &str) -> Register {
        self.indexed().slice(&self.register.vouchers[voucher])
    }

    /// The same world, for another turn of events.
    pub fn again(&self) -> World {
        World {
            register: self.register.clone(),
            rulebook: self.rulebook.clone(),
            catalogue: self.catalogue.clone(),
            facts: self.facts.clone(),
            as_of: self.as_of,
        }
    }

    pub fn judge(&self, voucher: &str) -> Judgement {
        judge(&Case {
            register: &self.register,
            rulebook: &self.rulebook,
            catalogue: &self.catalogue,
            voucher: &self.register.vouchers[voucher],
            as_of: self.as_of,
            facts: &self.facts,
        })
    }
}

/// The checks of one rule and group.
pub fn checks<'a>(judgement: &'a Judgement, group: Group, rule: &str) -> Vec<&'a Check> {
    judgement.result.checks.iter().filter(|check| check.group == group && check.rule == rule).collect()
}

pub fn outcome(judgement: &Judgement, group: Group, rule: &str) -> Outcome {
    let found = checks(judgement, group, rule);
    assert_eq!(found.len(), 1, "one check of {rule}");
    found[0].outcome
}
