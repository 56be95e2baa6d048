use super::*;
use crate::rule::Test;

fn device(text: &str) -> Device {
    let mut faults = vec![];
    let text = format!("name = \"SN-1\"\naddress = \"tcp://h\"\n{text}");
    let device = read(0, text.parse().unwrap(), &mut faults);
    assert_eq!(faults, []);
    device.unwrap()
}

const POINTS: &str = r#"
[[point]]
name = "kw"
table = "holding"
address = 0
max = 100
[[point]]
name = "alarm"
table = "coil"
address = 0
"#;

fn readings(kw: f64, alarm: bool) -> Vec<(Arc<str>, Value)> {
    vec![("kw".into(), Value::Number(kw)), ("alarm".into(), Value::Flag(alarm))]
}

#[test]
fn the_first_rule_that_holds_gives_the_state() {
    let rule = |point: &str, test| Rule { point: point.into(), test };
    let device = Device {
        rules: vec![
            (State::Fault, rule("alarm", Test::Is(true))),
            (State::Running, rule("kw", Test::Above(0.5))),
            (State::Stopped, rule("kw", Test::Below(0.01))),
        ],
        ..device(POINTS)
    };
    assert_eq!(device.state(&readings(4.0, true)), Some(State::Fault));
    assert_eq!(device.state(&readings(4.0, false)), Some(State::Running));
    assert_eq!(device.state(&readings(0.2, false)), Some(State::Idle));
    assert_eq!(device.state(&readings(0.0, false)), Some(State::Stopped));
    assert_eq!(device.state(&[]), None);
}

#[test]
fn quality_is_what_a_rule_says_then_over_range_then_normal() {
    let rules = "quality_rule = [{ quality = \"M\", point = \"alarm\", is = true }, { quality = \"C\", point = \"kw\", equals = 7 }]\n";
    let device = device(&format!("{rules}{POINTS}"));
    for (kw, alarm, expected) in [
        (101.0, true, Quality::Maintenance),
        (7.0, false, Quality::Calibration),
        (100.5, false, Quality::OverRange),
        (100.0, false, Quality::Normal),
    ] {
        assert_eq!(device.quality(&readings(kw, alarm)), expected, "{kw} {alarm}");
    }
}

#[test]
fn points_that_share_part_of_their_registers_are_a_fault_and_the_same_registers_are_not() {
    let found = |other: &str| {
        let mut faults = vec![];
        let text = format!(
            "name = \"SN-1\"\naddress = \"tcp://h\"\n[[point]]\nname = \"a\"\ntable = \"holding\"\naddress = 10\ntype = \"f32\"\n[[point]]\nname = \"b\"\n{other}"
        );
        read(0, text.parse().unwrap(), &mut faults);
        faults.iter().map(|fault| fault.code).collect::<Vec<_>>()
    };
    assert_eq!(found("table = \"holding\"\naddress = 11"), [FaultCode::PointsOverlap]);
    assert_eq!(found("table = \"holding\"\naddress = 9\ntype = \"u32\""), [FaultCode::PointsOverlap]);
    for fine in
        ["table = \"holding\"\naddress = 12", "table = \"input\"\naddress = 11", "table = \"holding\"\naddress = 10\ntype = \"u32\""]
    {
        assert_eq!(found(fine), [], "{fine}");
    }
}

#[test]
fn one_machine_under_two_names_is_a_fault_and_two_machines_behind_one_unit_are_not() {
    let one = device(POINTS);
    let mut faults = vec![];
    let other = Device { name: "SN-2".into(), ..one.clone() };
    check_units(&[one.clone(), other.clone()], &mut faults);
    assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), [FaultCode::UnitTwice]);
    faults.clear();
    let elsewhere = Device { points: vec![Point { address: 100, ..one.points[0].clone() }], ..other.clone() };
    check_units(&[one.clone(), elsewhere, Device { unit_id: 2, ..other }], &mut faults);
    assert_eq!(faults, []);
}

fn faults(text: &str) -> Vec<(FaultCode, String)> {
    let mut faults = vec![];
    read(0, text.parse().unwrap(), &mut faults);
    faults.into_iter().map(|fault| (fault.code, fault.place)).collect()
}

#[test]
fn unit_id_0_is_a_machine_over_modbus_tcp_and_none_in_rtu_frames() {
    let at = |address: &str| faults(&format!("name = \"SN\"\naddress = \"{address}\"\nunit_id = 0\n{POINTS}"));
    assert_eq!(at("tcp://h"), []);
    assert_eq!(at("tls://h"), []);
    let refused = vec![(FaultCode::ValueRange, "device[0] (SN).unit_id".to_string())];
    assert_eq!(at("rtu+tcp://h"), refused);
    assert_eq!(at("rtu:///dev/ttyS1"), refused);
}

#[test]
fn what_tells_the_identity_fits_into_one_request() {
    let with = |registers_max: u16, point: &str| {
        let point = format!("[[identity_point]]\nfield = \"serial\"\ntable = \"holding\"\naddress = 200\n{point}");
        faults(&format!("name = \"SN\"\naddress = \"tcp://h\"\nregisters_max = {registers_max}\n{POINTS}\n{point}"))
    };
    assert_eq!(with(16, "quantity = 16"), []);
    let refused = vec![(FaultCode::KeysConflict, "device[0] (SN).identity_point[0].quantity".to_string())];
    assert_eq!(with(10, "quantity = 16"), refused);
    assert_eq!(with(1, "type = \"u32\""), refused);
}
