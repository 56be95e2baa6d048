use clap::Parser;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: ProbeArgs,
}

fn planned(words: &[&str]) -> Result<Plan, WrongUse> {
    plan(&Cli::parse_from([&["probe"], words].concat()).args)
}

#[test]
fn unit_ids_and_ranges_and_values_are_read_as_people_write_them() {
    let plan = planned(&["tcp://h", "--unit-id", "3,7-9", "--expect", "230.1", "-4.2", "--expect-name", "电压=231.0", "--tolerance", "1%"]);
    let wish = plan.map(|plan| plan.wish).map_err(|WrongUse(why)| why).unwrap();
    assert_eq!(wish.unit_ids, [3, 7, 8, 9]);
    let values: Vec<(&str, f64)> = wish.expected.iter().map(|expected| (expected.name.as_str(), expected.value)).collect();
    assert_eq!(values, [("value_1", 230.1), ("value_2", -4.2), ("电压", 231.0)]);
    assert_eq!((wish.tables, wish.bounds, wish.tolerance), (vec![Table::Holding, Table::Input], 0..ADDRESSES, 0.01));
}

#[test]
fn a_serial_line_is_asked_slowly_and_never_as_a_whole() {
    let plan = planned(&["rtu:///dev/ttyUSB0"]).map_err(|WrongUse(why)| why).unwrap();
    assert_eq!((plan.manners.pause, plan.manners.questions_max), (Duration::from_millis(50), 3_000));
    assert!(!plan.wish.unit_ids.contains(&0) && plan.wish.unit_ids.len() == 247);
}

#[test]
fn the_unit_ids_that_an_address_takes_are_said() {
    let said = |words: &[&str]| planned(words).map(|_| ()).map_err(|WrongUse(why)| why).unwrap_err();
    assert!(said(&["tcp://h", "--unit-id", "256"]).contains("--unit-id takes 0 to 255 here"));
    assert!(said(&["rtu+tcp://h", "--unit-id", "0"]).contains("--unit-id takes 1 to 247 here"));
}

#[test]
fn wrong_words_are_wrong_use() {
    for wrong in [
        &["10.0.0.5"][..],
        &["tcp://h", "--expect", "0"],
        &["tcp://h", "--expect", "12kW"],
        &["tcp://h", "--expect-name", "230.1"],
        &["tcp://h", "--unit-id", "9-3"],
        &["rtu+tcp://h", "--unit-id", "0"],
        &["tcp://h", "--table", "registers"],
        &["tcp://h", "--from", "10", "--to", "9"],
        &["tcp://h", "--tolerance", "50%"],
        &["tcp://h", "--parity", "mark"],
    ] {
        assert!(planned(wrong).is_err(), "{wrong:?}");
    }
}
