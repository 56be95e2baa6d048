//! The worked test vectors of the rules, and the caps (R22–R27, R36).

use crate::amount::{AmountWorking, devices_required, devices_suffice, supported, work_out};
use crate::register::{Voucher, VoucherStatus};
use crate::test_case::{World, at, voucher, yuan};

fn worked(world: &World, voucher: &Voucher) -> AmountWorking {
    work_out(&world.register, &world.rulebook, &world.catalogue, voucher).unwrap()
}

fn computed(product: &str, contract_amount: &str) -> AmountWorking {
    let mut voucher = voucher("V-1", product);
    voucher.contract_amount = yuan(contract_amount);
    worked(&World::new(), &voucher)
}

#[test]
fn vector_row_5_class_a_floors_to_the_fen_and_needs_54() {
    let amount = computed("P-5", "100000.01");
    assert_eq!((amount.share, amount.computed), (yuan("80000.00"), yuan("80000.00")));
    assert_eq!(devices_required(amount.computed, yuan("1500")), 54);
}

#[test]
fn vector_row_22_class_a_needs_167() {
    let amount = computed("P-22", "312500");
    assert_eq!(amount.computed, yuan("250000.00"));
    assert_eq!(devices_required(amount.computed, yuan("1500")), 167);
    assert_eq!(supported(166, yuan("1500")).unwrap(), yuan("249000").decimal());
    assert!(!devices_suffice(166, yuan("1500"), amount.computed) && devices_suffice(167, yuan("1500"), amount.computed));
}

#[test]
fn vector_row_23_class_a_needs_125_exactly() {
    let amount = computed("P-23", "125000");
    assert_eq!(amount.computed, yuan("100000.00"));
    assert_eq!(devices_required(amount.computed, yuan("800")), 125);
    assert!(!devices_suffice(124, yuan("800"), amount.computed) && devices_suffice(125, yuan("800"), amount.computed));
}

#[test]
fn vector_the_second_voucher_is_cut_to_what_the_cap_leaves() {
    let mut world = World::new();
    let mut first = voucher("V-1", "P-22");
    first.contract_amount = yuan("312500");
    let mut second = voucher("V-2", "P-5");
    second.contract_amount = yuan("125000");
    second.applied_at = at("2019-07-01T09:00:01+08:00");
    world.add(first.clone());
    world.add(second.clone());
    let amount = worked(&world, &second);
    assert_eq!((amount.after_row_cap, amount.taken_before, amount.computed), (yuan("100000"), yuan("250000"), yuan("50000.00")));
    assert_eq!(devices_required(amount.computed, yuan("1500")), 34);
    assert_eq!(worked(&world, &first).computed, yuan("250000.00"));
    // At the same instant the id decides.
    second.applied_at = first.applied_at;
    world.add(second.clone());
    assert_eq!(worked(&world, &second).computed, yuan("50000.00"));
    second.id = "V-0".to_string();
    world.register.vouchers.remove("V-2");
    world.add(second.clone());
    assert_eq!((worked(&world, &second).computed, worked(&world, &first).computed), (yuan("100000.00"), yuan("200000.00")));
}

#[test]
fn required_devices_are_the_ceiling_of_the_policy() {
    for (amount, per_device, required) in [
        ("100000", "1500", 67),
        ("250000", "1500", 167),
        ("100000", "800", 125),
        ("0", "1500", 0),
        ("0.01", "1500", 1),
        ("1500.00", "1500", 1),
        ("1500.01", "1500", 2),
    ] {
        assert_eq!(devices_required(yuan(amount), yuan(per_device)), required, "{amount} / {per_device}");
        assert!(devices_suffice(required, yuan(per_device), yuan(amount)));
        assert!(required == 0 || !devices_suffice(required - 1, yuan(per_device), yuan(amount)));
    }
    assert!(devices_suffice(u64::MAX, yuan("1000000000000"), yuan("1000000000000")));
}

#[test]
fn earlier_vouchers_take_their_approved_amount_and_dead_ones_nothing() {
    let mut world = World::new();
    let mut first = voucher("V-1", "P-22");
    first.contract_amount = yuan("312500");
    first.amount = Some(yuan("120000"));
    let mut second = voucher("V-2", "P-24");
    second.contract_amount = yuan("1000000");
    second.applied_at = at("2019-08-01T00:00:00+08:00");
    world.add(first.clone());
    world.add(second.clone());
    assert_eq!(worked(&world, &second).computed, yuan("180000"));
    for (status, left) in [
        (VoucherStatus::Applied, "180000"),
        (VoucherStatus::Paid, "180000"),
        (VoucherStatus::Returned, "180000"),
        (VoucherStatus::Void, "300000"),
        (VoucherStatus::Refused, "300000"),
        (VoucherStatus::Withdrawn, "300000"),
    ] {
        first.status = status;
        world.add(first.clone());
        assert_eq!(worked(&world, &second).computed, yuan(left), "{status:?}");
    }
    first.status = VoucherStatus::Issued;
    first.period = Some("2019-2".to_string());
    world.add(first);
    assert_eq!(worked(&world, &second).computed, yuan("300000"), "another period");
}

#[test]
fn a_pilot_cap_is_the_enterprises_needs_a_value_and_never_passes_a_million() {
    let mut world = World::new();
    let mut first = voucher("V-1", "P-24");
    first.contract_amount = yuan("1000000");
    let mut second = first.clone();
    second.id = "V-2".to_string();
    second.applied_at = at("2019-08-01T00:00:00+08:00");
    world.add(first);
    world.add(second.clone());
    assert_eq!(worked(&world, &second).computed, yuan("0"));
    second.pilot = Some("T-1".to_string());
    assert_eq!(worked(&world, &second).computed, yuan("0"), "no approved value");
    let set = |world: &mut World, cap: &str| world.register.enterprises.get_mut("E-1").unwrap().pilot_cap = Some(yuan(cap));
    set(&mut world, "550000");
    assert_eq!((worked(&world, &second).enterprise_cap, worked(&world, &second).computed), (yuan("550000"), yuan("250000")));
    set(&mut world, "2000000");
    assert_eq!(worked(&world, &second).enterprise_cap, yuan("1000000"));
    second.pilot = None;
    set(&mut world, "550000");
    assert_eq!(worked(&world, &second).computed, yuan("250000"), "the cap of the enterprise, not of vouchers under a pilot");
}

#[test]
fn the_conformance_award_is_shown_both_ways() {
    let mut world = World::new();
    let mut voucher = voucher("V-1", "P-22");
    voucher.contract_amount = yuan("312500");
    assert_eq!(worked(&world, &voucher).bonus, None);
    let enterprise = world.register.enterprises.get_mut("E-1").unwrap();
    (enterprise.conformance, enterprise.conformance_funded) = (Some(true), Some(false));
    let bonus = worked(&world, &voucher).bonus.unwrap();
    assert_eq!((bonus.outside_cap, bonus.inside_cap, bonus.due), (yuan("100000"), yuan("50000"), yuan("100000")));
    world.set("bonus_in_limit", "true");
    assert_eq!(worked(&world, &voucher).bonus.unwrap().due, yuan("50000"));
    world.register.enterprises.get_mut("E-1").unwrap().conformance_funded = Some(true);
    assert_eq!(worked(&world, &voucher).bonus, None);
}

#[test]
fn the_award_inside_the_cap_gets_what_all_vouchers_of_the_period_leave() {
    let mut world = World::new();
    let enterprise = world.register.enterprises.get_mut("E-1").unwrap();
    (enterprise.conformance, enterprise.conformance_funded) = (Some(true), Some(false));
    let mut first = voucher("V-1", "P-22");
    first.amount = Some(yuan("200000"));
    let mut later = voucher("V-2", "P-22");
    later.amount = Some(yuan("60000"));
    later.applied_at = at("2019-08-01T00:00:00+08:00");
    world.add(first.clone());
    world.add(later.clone());
    let inside = |world: &World| {
        let whole = worked(world, &first).bonus.unwrap().inside_cap;
        let judged = world.judge("V-1").explanation.amount.unwrap().bonus.unwrap().inside_cap;
        assert_eq!(whole, judged, "from the whole register and from the slice");
        whole
    };
    assert_eq!(inside(&world), yuan("40000"), "300000 - 200000 - 60000");
    later.amount = Some(yuan("100000"));
    world.add(later.clone());
    assert_eq!(inside(&world), yuan("0"));
    later.status = VoucherStatus::Void;
    world.add(later);
    assert_eq!(inside(&world), yuan("100000"));
}
