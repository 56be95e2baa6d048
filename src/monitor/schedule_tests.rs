use policy::calendar::read_instant;
use policy::register::{DeclaredDevice, Enterprise, EnterpriseKind, IssuancePeriod, VoucherStatus};

use super::*;

fn at(text: &str) -> Instant {
    read_instant(text).unwrap()
}

const MORNING: &str = "2019-11-05T09:00:00+08:00";
const EVERY: Duration = Duration::from_secs(60);

/// Enterprises E-1 … E-3, each with one voucher V-1 … V-3; V-3 asks for redemption on the 6th.
fn register() -> Register {
    let mut register = Register::default();
    for number in 1..=3 {
        let (enterprise, id) = (format!("E-{number}"), format!("V-{number}"));
        register.enterprises.insert(
            enterprise.clone(),
            Enterprise {
                id: enterprise.clone(),
                name: "厂".into(),
                city: "440100".into(),
                kind: EnterpriseKind::Manufacturer,
                pilot_cap: None,
                conformance: None,
                conformance_funded: None,
            },
        );
        let voucher = serde_json::from_value(serde_json::json!({
            "id": id, "enterprise": enterprise, "product": "P-1", "contract_no": "HT", "contract_signed_on": "2019-06-01",
            "contract_total": "1.00", "contract_amount": "1.00", "contract_modules": [], "applied_at": "2019-07-01T09:00:00+08:00",
        }));
        register.vouchers.insert(id, voucher.unwrap());
    }
    register.vouchers.get_mut("V-3").unwrap().redeem_at = Some(at("2019-11-06T10:00:00+08:00"));
    register
}

fn schedule(register: Register) -> Schedule {
    Schedule::new(Arc::new(register), EVERY, at(MORNING))
}

fn judge(vouchers: &[&str]) -> Vec<Effect> {
    vec![Effect::Judge(vouchers.iter().map(|voucher| (*voucher).to_string()).collect())]
}

fn evidence(enterprises: &[&str]) -> Event {
    Event::Evidence(enterprises.iter().map(|enterprise| (*enterprise).to_string()).collect())
}

fn ended(failed: &[&str]) -> Event {
    Event::Ended { failed: failed.iter().map(|voucher| (*voucher).to_string()).collect() }
}

/// A schedule whose first round has ended, and the instant at which the next may begin.
fn settled(register: Register) -> (Schedule, Instant) {
    let mut schedule = schedule(register);
    assert_eq!(schedule.apply(Event::Time, at(MORNING)), judge(&["V-1", "V-2", "V-3"]));
    assert_eq!(schedule.apply(ended(&[]), at(MORNING)), []);
    (schedule, at(MORNING) + TimeDelta::seconds(60))
}

#[test]
fn it_begins_with_everything_because_rulebook_and_catalogue_may_be_others() {
    settled(register());
}

#[test]
fn evidence_concerns_the_vouchers_of_its_enterprise_and_nobody_else() {
    let (mut schedule, later) = settled(register());
    assert_eq!(schedule.apply(evidence(&["E-2", "E-9"]), later), judge(&["V-2"]));
}

#[test]
fn a_burst_is_judged_once_and_not_before_its_time() {
    let (mut schedule, later) = settled(register());
    let soon = later - TimeDelta::seconds(1);
    for enterprise in ["E-1", "E-2", "E-1"] {
        assert_eq!(schedule.apply(evidence(&[enterprise]), soon), []);
    }
    assert_eq!(schedule.wake_at(), later);
    assert_eq!(schedule.apply(Event::Time, later), judge(&["V-1", "V-2"]));
    assert_eq!(schedule.apply(evidence(&["E-3"]), later + TimeDelta::hours(1)), [], "one round at a time");
    assert_eq!(schedule.apply(ended(&[]), later + TimeDelta::hours(1)), judge(&["V-3"]));
}

#[test]
fn what_could_not_be_judged_is_due_again() {
    let (mut schedule, later) = settled(register());
    assert_eq!(schedule.apply(evidence(&["E-1", "E-2"]), later), judge(&["V-1", "V-2"]));
    assert_eq!(schedule.apply(ended(&["V-2"]), later), []);
    assert_eq!(schedule.apply(Event::Time, later + TimeDelta::seconds(60)), judge(&["V-2"]));
}

#[test]
fn a_cut_off_is_judged_when_it_is_reached() {
    let (mut schedule, _) = settled(register());
    schedule.apply(Event::Time, at("2019-11-06T00:00:00+08:00"));
    schedule.apply(ended(&[]), at("2019-11-06T00:00:00+08:00"));
    let cut_off = at("2019-11-06T10:00:00+08:00");
    assert_eq!(schedule.wake_at(), cut_off);
    assert_eq!(schedule.apply(Event::Time, cut_off - TimeDelta::microseconds(1)), []);
    assert_eq!(schedule.apply(Event::Time, cut_off), judge(&["V-3"]));
}

#[test]
fn at_midnight_in_shanghai_every_live_voucher_is_judged() {
    let mut register = register();
    register.vouchers.get_mut("V-1").unwrap().redeem_at = Some(at("2019-11-01T00:00:00+08:00"));
    register.vouchers.get_mut("V-2").unwrap().status = VoucherStatus::Paid;
    let (mut schedule, _) = settled(register);
    let midnight = at("2019-11-05T16:00:00Z");
    assert_eq!(schedule.wake_at(), midnight);
    assert_eq!(schedule.apply(Event::Time, midnight - TimeDelta::microseconds(1)), []);
    assert_eq!(schedule.apply(Event::Time, midnight), judge(&["V-1", "V-3"]));
}

#[test]
fn the_instants_after_claiming_and_redemption_have_ended_are_judged() {
    let mut register = register();
    let (from, to) = (at("2019-08-01T00:00:00+08:00"), at("2019-11-05T17:00:00+08:00"));
    let claim_to = at("2019-11-05T12:00:00+08:00");
    let period = IssuancePeriod { id: "2019".into(), claim_from: from, claim_to, redeem_from: from, redeem_to: to, announced_at: None };
    register.periods.insert("2019".into(), period);
    register.vouchers.get_mut("V-1").unwrap().period = Some("2019".into());
    let (mut schedule, _) = settled(register);
    assert_eq!(schedule.apply(Event::Time, claim_to + TimeDelta::seconds(59)), []);
    let claimed = claim_to + TimeDelta::seconds(60);
    assert_eq!(schedule.wake_at(), claimed);
    assert_eq!(schedule.apply(Event::Time, claimed), judge(&["V-1"]));
    schedule.apply(ended(&[]), claimed);
    assert_eq!(schedule.apply(Event::Time, to), []);
    assert_eq!(schedule.apply(Event::Time, schedule.wake_at()), judge(&["V-1"]));
}

#[test]
fn a_change_of_the_register_concerns_what_looks_at_the_row() {
    let (mut schedule, later) = settled(register());
    let mut changed = register();
    changed.enterprises.get_mut("E-1").unwrap().pilot_cap = Some("500000.00".parse().unwrap());
    assert_eq!(schedule.apply(Event::Register(Arc::new(changed.clone())), later), judge(&["V-1"]));
    schedule.apply(ended(&[]), later);
    changed.vouchers.remove("V-2");
    changed.vouchers.get_mut("V-3").unwrap().status = VoucherStatus::Redeeming;
    assert_eq!(schedule.apply(Event::Register(Arc::new(changed)), later + TimeDelta::seconds(60)), judge(&["V-3"]));
}

#[test]
fn a_device_declared_anew_concerns_who_declares_the_same_name_elsewhere() {
    let device = |voucher: &str, device: &str| DeclaredDevice {
        voucher: voucher.into(),
        device: device.into(),
        name: None,
        model: None,
        template: None,
        province: None,
    };
    let mut before = register();
    before.devices.insert(("V-1".into(), "SN-1".into()), device("V-1", "SN-1"));
    before.devices.insert(("V-3".into(), "SN-3".into()), device("V-3", "SN-3"));
    let mut now = before.clone();
    now.devices.insert(("V-2".into(), "SN-1".into()), device("V-2", "SN-1"));
    assert_eq!(concerned(&before, &now), ["V-1".to_string(), "V-2".to_string()].into());
    assert_eq!(concerned(&now, &before), ["V-1".to_string(), "V-2".to_string()].into());
    assert_eq!(concerned(&now, &now), BTreeSet::new());
}

#[test]
fn a_quota_is_shared_by_the_city_and_so_is_what_a_voucher_takes_from_it() {
    let mut before = register();
    before.enterprises.get_mut("E-3").unwrap().city = "440600".into();
    before.vouchers.values_mut().for_each(|voucher| voucher.period = Some("2019".into()));
    let mut now = before.clone();
    now.vouchers.get_mut("V-1").unwrap().status = VoucherStatus::Void;
    assert_eq!(concerned(&before, &now), ["V-1".to_string(), "V-2".to_string()].into());
}
