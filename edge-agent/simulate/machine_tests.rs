use chrono::Duration;

use super::*;
use crate::template::{TEMPLATES, Template};

fn device(id: &str) -> Device {
    let mut faults = vec![];
    let text = format!("name = \"SN-1\"\naddress = \"tcp://h\"\ntemplate = \"{id}\"");
    let device = crate::device::read(0, text.parse().unwrap(), &mut faults);
    assert_eq!(faults, []);
    device.unwrap()
}

fn machine(id: &str, seed: u64) -> Machine {
    Machine::new(&device(id), Template::find(id).unwrap().simulation.as_ref(), id, seed)
}

fn begin() -> DateTime<Utc> {
    "2026-03-02T08:00:00+08:00".parse().unwrap()
}

#[test]
fn the_same_seed_and_instant_give_the_same_values_and_others_do_not() {
    for (id, _) in TEMPLATES {
        let values = |seed: u64, shift_ms: i64| {
            let machine = machine(id, seed);
            let instants = (0..8).map(|eighth| begin() + Duration::milliseconds(shift_ms + eighth * machine.cycle_ms() / 8));
            instants.map(|at| machine.values(at)).collect::<Vec<_>>()
        };
        assert_eq!(values(5, 1234), values(5, 1234));
        assert_ne!(values(5, 1234), values(6, 1234), "{id}");
        assert_ne!(values(5, 1234), values(5, 18_234), "{id}");
    }
}

#[test]
fn counters_never_go_back_until_their_registers_end() {
    for (id, _) in TEMPLATES {
        let machine = machine(id, 2);
        let counters: Vec<usize> = (0..machine.points.len()).filter(|index| machine.points[*index].1.counts_per_h.is_some()).collect();
        for index in counters {
            let (point, _) = &machine.points[index];
            let narrow = matches!(point.value_type, ValueType::U16 | ValueType::Bcd16);
            let number = |second| machine.value(index, begin() + Duration::seconds(second)).number().unwrap();
            let numbers: Vec<f64> = (0..machine.cycle_ms() / 500).map(|step| number(step * 7)).chain([number(86_400)]).collect();
            let back = numbers.windows(2).filter(|pair| pair[1] < pair[0]).count();
            assert!(back == 0 || (narrow && back == 1), "{id} {}: back {back} times", point.name);
            assert!(numbers.iter().any(|number| *number > numbers[0]), "{id} {} stands still", point.name);
        }
    }
}

/// Each request that the agent makes is answered with registers that mean the values, as near as the registers hold them.
#[test]
fn the_registers_mean_the_values() {
    for (id, _) in TEMPLATES {
        let (device, machine) = (device(id), machine(id, 4));
        for second in (0..machine.cycle_ms() / 1000).step_by(7) {
            let at = begin() + Duration::seconds(second);
            for request in requests(&device.points, &device.limits) {
                let block = machine.read(request.table, request.address, request.quantity, at).unwrap();
                for (index, start) in request.points {
                    let point = &device.points[index];
                    let (read, meant) = (point.decode(&block, start).unwrap(), machine.value(index, at));
                    match (read.number(), meant.number()) {
                        (Some(read), Some(meant)) => {
                            let whole = !matches!(point.value_type, ValueType::F32 | ValueType::F64);
                            let step = if whole { 0.5001 * point.scale.abs() } else { 1e-6 * meant.abs() };
                            assert!((read - meant).abs() <= step + 1e-9, "{id} {}: {read} for {meant}", point.name);
                        }
                        _ => assert_eq!(read, meant, "{id} {}", point.name),
                    }
                }
            }
        }
    }
}

#[test]
fn a_counter_begins_anew_where_its_registers_end() {
    let point = Point { scale: 0.1, ..Point::new("n", Table::Holding, 0, ValueType::U16) };
    assert_eq!(point.decode(&Block::Words(point.encode(Value::Number(wrapped(&point, 6553.7)))), 0), Ok(Value::Number(0.1)));
    let digits = Point::new("n", Table::Holding, 0, ValueType::Bcd16);
    assert_eq!(wrapped(&digits, 10_003.9).round() as i64, 3);
}

#[test]
fn only_what_the_template_has_is_readable_and_only_so_much_at_once() {
    let machine = machine("inverter", 1);
    let read = |address, quantity| machine.read(Table::Holding, address, quantity, begin());
    assert!(read(0x2100, 7).is_ok() && read(0x210E, 2).is_ok());
    for (address, quantity) in [(0x20FF, 1), (0x2106, 2), (0x2100, 15), (0x2110, 1), (65_535, 1)] {
        assert_eq!(read(address, quantity), Err(Refusal::IllegalAddress), "{address:#x} {quantity}");
    }
    assert_eq!(read(0x2100, 0), Err(Refusal::IllegalQuantity));
    assert_eq!(read(0x2100, 21), Err(Refusal::IllegalQuantity), "the template's registers_max is 20");
    assert_eq!(machine.read(Table::Input, 0x2100, 1, begin()), Err(Refusal::IllegalAddress));
}

#[test]
fn gaps_that_the_agent_reads_along_are_readable() {
    let machine = machine("cnc-gateway", 1);
    assert!(machine.read(Table::Holding, 100, 22, begin()).is_ok());
}

#[test]
fn identity_points_say_that_the_machine_is_simulated() {
    for (id, _) in TEMPLATES {
        let (device, machine) = (device(id), machine(id, 42));
        for point in &device.identity_points {
            let Ok(Block::Words(words)) = machine.read(point.table, point.address, point.quantity, begin()) else { panic!("{id}") };
            let said = point.decode(&words).unwrap().unwrap();
            let expected = match (point.field, point.value_type) {
                (_, Some(_)) => "42",
                (IdentityField::Vendor, None) => VENDOR,
                (IdentityField::Model, None) => id,
                (IdentityField::Serial, None) => "SIM00042",
            };
            assert!(expected.starts_with(&said) && said.len() >= expected.len().min(2 * usize::from(point.quantity)), "{id}: {said}");
        }
    }
}
