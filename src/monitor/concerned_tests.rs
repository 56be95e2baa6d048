//! Random changes of random registers: wherever the hash of a voucher's slice is another afterwards, the voucher must be concerned.
//! A missed one keeps a result that nobody could recompute.

use std::sync::LazyLock;

use policy::calendar::{Instant, read_day, read_instant};
use policy::catalogue::Catalogue;
use policy::in_force::Versions;
use policy::index::Indexed;
use policy::money::Yuan;
use policy::register::*;
use policy::rulebook::Rulebook;
use policy::slice::register_hash;
use proptest::prelude::*;

use super::*;

/// One row put in the place of what was there, or taken away.
#[derive(Clone, Debug)]
enum Change {
    Enterprise(String, Option<Enterprise>),
    Supplier(String, Option<Supplier>),
    Product(String, Option<Product>),
    Period(String, Option<IssuancePeriod>),
    Quota((String, String), Option<Quota>),
    Pilot(String, Option<Pilot>),
    Voucher(String, Box<Option<Voucher>>),
    Device((String, String), Option<DeclaredDevice>),
    Gateway(String, Option<Gateway>),
    Line((String, String), Option<Line>),
}

fn put<K: Ord, V>(rows: &mut BTreeMap<K, V>, key: K, row: Option<V>) {
    match row {
        Some(row) => drop(rows.insert(key, row)),
        None => drop(rows.remove(&key)),
    }
}

fn apply(register: &mut Register, change: Change) {
    match change {
        Change::Enterprise(key, row) => put(&mut register.enterprises, key, row),
        Change::Supplier(key, row) => put(&mut register.suppliers, key, row),
        Change::Product(key, row) => put(&mut register.products, key, row),
        Change::Period(key, row) => put(&mut register.periods, key, row),
        Change::Quota(key, row) => put(&mut register.quotas, key, row),
        Change::Pilot(key, row) => put(&mut register.pilots, key, row),
        Change::Voucher(key, row) => put(&mut register.vouchers, key, *row),
        Change::Device(key, row) => put(&mut register.devices, key, row),
        Change::Gateway(key, row) => put(&mut register.gateways, key, row),
        Change::Line(key, row) => put(&mut register.lines, key, row),
    }
}

fn instant(text: &str) -> Instant {
    read_instant(text).unwrap()
}

/// A name out of a few, so that rows refer to each other.
fn name(prefix: &'static str, count: u8) -> impl Strategy<Value = String> {
    (0..count).prop_map(move |number| format!("{prefix}-{number}"))
}

fn yuan(least: u32, most: u32) -> impl Strategy<Value = Yuan> {
    (least..most).prop_map(Yuan::whole)
}

const CITIES: [&str; 3] = ["440100", "440106", "440600"];

fn city() -> impl Strategy<Value = String> {
    prop::sample::select(CITIES.to_vec()).prop_map(str::to_string)
}

prop_compose! {
    fn enterprise()(
        id in name("E", 4), city in city(), pilot_cap in prop::option::weighted(0.3, yuan(1, 500_000)),
        conformance in prop::option::of(any::<bool>()),
    ) -> Enterprise {
        let (name, kind) = ("厂".to_string(), EnterpriseKind::Manufacturer);
        Enterprise { id, name, city, kind, pilot_cap, conformance, conformance_funded: Some(false) }
    }
}

prop_compose! {
    fn product()(
        id in name("P", 4), supplier in name("S", 2), a in any::<bool>(), row in prop::sample::select(vec![5u8, 9, 22]),
    ) -> Product {
        let class = if a { ProductClass::A } else { ProductClass::B };
        Product { id, supplier, name: "产品".to_string(), aliases: Vec::new(), class, row, function_modules: vec!["甲".to_string()] }
    }
}

prop_compose! {
    fn period()(id in name("T", 2), year in 2019..2022, days in 1i64..3) -> IssuancePeriod {
        let from = instant(&format!("{year}-07-01T10:00:00+08:00"));
        let after = |months: i64| from + chrono::TimeDelta::days(30 * months + days);
        let (claim_to, redeem_from, redeem_to) = (after(2), after(3), after(6));
        IssuancePeriod { id, claim_from: from, claim_to, redeem_from, redeem_to, announced_at: None }
    }
}

prop_compose! {
    fn pilot()(
        id in name("C", 2), members in prop::collection::vec(name("S", 2), 1..3), enterprises in prop::collection::vec(name("E", 4), 0..4),
    ) -> Pilot {
        Pilot { id, members, enterprises, benchmark: "示范点".to_string() }
    }
}

prop_compose! {
    fn quota()(
        party in prop_oneof![city(), name("S", 2), name("C", 2)], period in name("T", 2), amount in yuan(0, 900_000),
    ) -> Quota {
        Quota { party, period, amount }
    }
}

prop_compose! {
    fn voucher()(
        id in name("V", 12), enterprise in name("E", 4), product in name("P", 4), contract_amount in yuan(1, 400_000),
        minute in 0i64..20, period in prop::option::weighted(0.9, name("T", 2)), pilot in prop::option::weighted(0.4, name("C", 2)),
        status in prop::sample::select(VoucherStatus::ALL.to_vec()), amount in prop::option::weighted(0.2, yuan(0, 300_000)),
    ) -> Voucher {
        Voucher {
            contract_no: id.clone(), id, enterprise, product, contract_signed_on: read_day("2019-06-01").unwrap(),
            contract_total: Yuan::whole(1_000_000), contract_amount, contract_modules: vec!["甲".to_string()],
            applied_at: instant("2019-07-10T09:00:00+08:00") + chrono::TimeDelta::minutes(minute), period, status, status_at: None,
            void_cause: None, amount, pilot, redeem_at: None, paid: None, invoiced: None, payment_proofs: None, accepted_modules: None,
            cost_lines: None, supplement_signed_on: None, supplier_confirmed_at: None, objection: None,
        }
    }
}

prop_compose! {
    fn device()(voucher in name("V", 12), device in name("SN", 4), province in prop::option::of(Just("44".to_string()))) -> DeclaredDevice {
        DeclaredDevice { voucher, device, name: None, model: None, template: None, province }
    }
}

prop_compose! {
    fn gateway()(id in name("G", 6), enterprise in name("E", 4), public_key in prop::option::of(name("K", 3))) -> Gateway {
        Gateway { id, enterprise, token_sha256: None, public_key, sparkplug: false }
    }
}

prop_compose! {
    fn line()(
        enterprise in name("E", 4), line in name("L", 3), kind in prop::sample::select(vec![LineKind::Ip, LineKind::Broadband, LineKind::Sim]),
    ) -> Line {
        Line { enterprise, line, kind }
    }
}

/// Sets a row, or takes it away.
fn change() -> impl Strategy<Value = Change> {
    let keep = || prop::bool::weighted(0.8);
    prop_oneof![
        2 => (enterprise(), keep()).prop_map(|(row, keep)| Change::Enterprise(row.id.clone(), keep.then_some(row))),
        1 => name("S", 2).prop_map(|id| {
            Change::Supplier(id.clone(), Some(Supplier { id, name: "供应商".to_string(), city: CITIES[0].to_string() }))
        }),
        3 => (product(), keep()).prop_map(|(row, keep)| Change::Product(row.id.clone(), keep.then_some(row))),
        2 => (period(), keep()).prop_map(|(row, keep)| Change::Period(row.id.clone(), keep.then_some(row))),
        2 => (quota(), keep()).prop_map(|(row, keep)| Change::Quota((row.party.clone(), row.period.clone()), keep.then_some(row))),
        2 => (pilot(), keep()).prop_map(|(row, keep)| Change::Pilot(row.id.clone(), keep.then_some(row))),
        5 => (voucher(), keep()).prop_map(|(row, keep)| Change::Voucher(row.id.clone(), Box::new(keep.then_some(row)))),
        3 => (device(), keep()).prop_map(|(row, keep)| Change::Device((row.voucher.clone(), row.device.clone()), keep.then_some(row))),
        2 => (gateway(), keep()).prop_map(|(row, keep)| Change::Gateway(row.id.clone(), keep.then_some(row))),
        2 => (line(), keep()).prop_map(|(row, keep)| Change::Line((row.enterprise.clone(), row.line.clone()), keep.then_some(row))),
    ]
}

/// A pilot of this small world keeps its title with two enterprises.
static RULEBOOKS: LazyLock<Versions<Rulebook>> = LazyLock::new(|| {
    let rulebook = Rulebook::default_2019().with("pilot_enterprises_min", "2").unwrap();
    Versions::of(rulebook.with("pilot_joint_enterprises_min", "0").unwrap())
});
static CATALOGUES: LazyLock<Versions<Catalogue>> = LazyLock::new(|| Versions::of(Catalogue::default_2019()));

/// By voucher: the hash of everything in the register that its judgement rests on.
fn hashes(register: &Register) -> BTreeMap<String, String> {
    let index = Indexed::of(register, &RULEBOOKS, &CATALOGUES);
    register.vouchers.values().map(|voucher| (voucher.id.clone(), register_hash(&index.slice(voucher)))).collect()
}

/// The chain is too long to be met by chance: E-0 gives up, the pilot loses its title, its other voucher its turn at S-0, and there an
/// ordinary voucher of a third enterprise comes before it.
#[test]
fn a_title_that_is_lost_elsewhere_concerns_who_waits_for_the_same_quota() {
    let product = |number: u8| Product {
        id: format!("P-{number}"),
        supplier: format!("S-{number}"),
        name: "产品".to_string(),
        aliases: Vec::new(),
        class: ProductClass::A,
        row: [5, 9][usize::from(number)],
        function_modules: vec!["甲".to_string()],
    };
    let voucher = |number: u8, product: &str, pilot: Option<&str>| -> Voucher {
        let row = serde_json::json!({
            "id": format!("V-{number}"), "enterprise": format!("E-{number}"), "product": product, "contract_no": "HT",
            "contract_signed_on": "2019-06-01", "contract_total": "9000.00", "contract_amount": "9000.00", "contract_modules": ["甲"],
            "applied_at": "2019-07-10T09:00:00+08:00", "period": "T-0", "status": "applied", "pilot": pilot,
        });
        serde_json::from_value(row).unwrap()
    };
    let mut before = Register::default();
    before.products.extend([product(0), product(1)].map(|row| (row.id.clone(), row)));
    let (claim_from, claim_to) = (instant("2019-07-01T10:00:00+08:00"), instant("2019-08-01T10:00:00+08:00"));
    let (id, announced_at) = ("T-0".to_string(), None);
    let period = IssuancePeriod { id, claim_from, claim_to, redeem_from: claim_to, redeem_to: claim_to, announced_at };
    before.periods.insert(period.id.clone(), period);
    let (members, enterprises) = (vec!["S-0".to_string(), "S-1".to_string()], vec!["E-0".to_string(), "E-2".to_string()]);
    let pilot = Pilot { id: "C-0".to_string(), members, enterprises, benchmark: "示范点".to_string() };
    before.pilots.insert(pilot.id.clone(), pilot);
    let vouchers = [voucher(0, "P-1", Some("C-0")), voucher(1, "P-0", None), voucher(2, "P-0", Some("C-0"))];
    before.vouchers.extend(vouchers.map(|row| (row.id.clone(), row)));
    let mut now = before.clone();
    now.vouchers.get_mut("V-0").unwrap().status = VoucherStatus::Withdrawn;
    assert_ne!(hashes(&before)["V-1"], hashes(&now)["V-1"]);
    assert!(concerned(&before, &now).contains("V-1"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn whatever_a_change_of_the_register_changes_for_a_voucher_the_voucher_is_concerned(
        built in prop::collection::vec(change(), 20..90), changes in prop::collection::vec(change(), 1..3),
    ) {
        let mut before = Register::default();
        built.into_iter().for_each(|change| apply(&mut before, change));
        let mut now = before.clone();
        changes.iter().cloned().for_each(|change| apply(&mut now, change));
        let (hashes_before, hashes_now) = (hashes(&before), hashes(&now));
        let concerned = concerned(&before, &now);
        for (voucher, hash) in &hashes_now {
            if hashes_before.get(voucher) != Some(hash) {
                prop_assert!(concerned.contains(voucher), "{} after {:?}", voucher, changes);
            }
        }
    }
}
