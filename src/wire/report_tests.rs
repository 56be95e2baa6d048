use super::*;
use crate::read::read_report;
use crate::test_reports::{choices, context, written};
use proptest::prelude::*;

fn read(body: &str) -> Report {
    read_report(body.as_bytes(), &context(crate::Door::Gateway)).report.unwrap()
}

fn devices(readings: &[&str]) -> Report {
    let entries =
        readings.iter().map(|readings| format!(r#"{{"device":"d","at":"2019-11-05T00:00:00Z","quality":"N","readings":{readings}}}"#));
    read(&format!(r#"{{"v":1,"boot":"b","seq":1,"devices":[{}]}}"#, entries.collect::<Vec<_>>().join(",")))
}

/// What the digest stands for: readings by name, -0.0 like 0.0, and a clock that says nothing like none.
fn content(report: &Report) -> String {
    let readings = |entry: &DeviceEntry| {
        let mut readings: Vec<_> = report
            .readings
            .of(entry.readings)
            .map(|(name, reading)| match reading {
                Reading::Number(number) => (name.to_string(), Reading::Number(number + 0.0)),
                flag => (name.to_string(), flag),
            })
            .collect();
        readings.sort_by(|a, b| a.0.cmp(&b.0));
        readings
    };
    let plain = |entry: &DeviceEntry| DeviceEntry { readings: ReadingsOf::default(), ..entry.clone() };
    let devices: Vec<_> = report.devices.iter().map(|entry| (plain(entry), readings(entry))).collect();
    let clock = report.clock.clone().filter(|clock| *clock != Clock { synchronised: None, monotonic_ms: None });
    format!("{devices:?} {:?}", Report { clock, sent_at: None, devices: Vec::new(), readings: Readings::default(), ..report.clone() })
}

#[test]
fn the_order_in_which_points_are_written_does_not_matter() {
    let digest = devices(&[r#"{"a":1,"b":true}"#, r#"{"a":2,"b":true}"#, r#"{"a":3}"#]).digest();
    assert_eq!(devices(&[r#"{"b":true,"a":1}"#, r#"{"a":2,"b":true}"#, r#"{"a":3}"#]).digest(), digest);
    assert_eq!(devices(&[r#"{"b":true,"a":1}"#, r#"{"b":true,"a":2}"#, r#"{"a":3}"#]).digest(), digest);
}

#[test]
fn readings_of_other_points_values_or_devices_are_other_contents() {
    let all = [
        &[r#"{"a":1,"b":true}"#, r#"{"a":2,"b":true}"#][..],
        &[r#"{"a":1,"b":true}"#, r#"{"a":2,"b":false}"#],
        &[r#"{"a":1,"b":true}"#, r#"{"a":2,"c":true}"#],
        &[r#"{"a":1,"b":true}"#, r#"{"a":2}"#],
        &[r#"{"a":1,"b":true}"#, r#"{"a":true,"b":2}"#],
        &[r#"{"a":1,"b":true}"#, r#"{}"#, r#"{"a":2,"b":true}"#],
        &[r#"{"a":1,"b":true}"#, r#"{"a":2,"b":true}"#, r#"{}"#],
        &[r#"{"a":1}"#, r#"{"a":2,"b":true}"#],
    ];
    let digests: std::collections::BTreeSet<_> = all.iter().map(|readings| devices(readings).digest()).collect();
    assert_eq!(digests.len(), all.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn digests_are_equal_exactly_when_contents_are(choices in choices(), at in any::<prop::sample::Index>(), choice in any::<u16>()) {
        let mut others = choices.clone();
        if !others.is_empty() {
            *at.get_mut(&mut others) = choice;
        }
        let read = |choices| {
            let (body, door) = written(choices, 0);
            read_report(body.as_bytes(), &context(door)).report.ok()
        };
        if let (Some(report), Some(other)) = (read(choices), read(others)) {
            prop_assert_eq!(report.digest() == other.digest(), content(&report) == content(&other));
        }
    }
}
