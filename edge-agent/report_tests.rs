use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn clock(text: &str, monotonic_ms: u64) -> ClockState {
    ClockState { now: at(text), synchronised: Some(true), monotonic_ms }
}

fn entry(device: &str) -> Entry {
    Entry {
        device: device.into(),
        at: at("2019-11-05T00:00:00Z"),
        quality: Quality::Normal,
        state: Some(State::Running),
        readings: vec![("功率_kw".into(), Value::Number(4.2)), ("计数".into(), Value::Number(7.0)), ("on".into(), Value::Flag(true))],
        identity: Identity { vendor: Some("海天".into()), ..Identity::default() },
    }
}

#[test]
fn a_report_has_exactly_the_shape_of_the_contract() {
    let mut builder = Builder::new("b7".into(), Some("91440300708461136T".into()), 50);
    builder.event(at("2019-11-04T23:59:59Z"), EventKind::Start, "");
    builder.push(entry("SN-0001"));
    builder.push(Entry {
        quality: Quality::Communication,
        state: Some(State::Offline),
        readings: vec![],
        identity: Identity::default(),
        ..entry("SN-0002")
    });
    let built = builder.build(clock("2019-11-05T00:01:02Z", 123_456)).unwrap().unwrap();
    assert_eq!(
        String::from_utf8(built.body).unwrap(),
        concat!(
            r#"{"v":1,"id":"r-000001","boot":"b7","seq":1,"enterprise":"91440300708461136T","sent_at":"2019-11-05T08:01:02.000+08:00","#,
            r#""clock":{"synchronised":true,"monotonic_ms":123456},"#,
            r#""events":[{"at":"2019-11-05T07:59:59.000+08:00","event":"start"}],"#,
            r#""devices":[{"device":"SN-0001","at":"2019-11-05T08:00:00.000+08:00","quality":"N","state":"running","#,
            r#""readings":{"功率_kw":4.2,"计数":7,"on":true},"identity":{"vendor":"海天"}},"#,
            r#"{"device":"SN-0002","at":"2019-11-05T08:00:00.000+08:00","quality":"B","state":"offline"}]}"#,
        )
    );
}

#[test]
fn the_service_reads_a_report_without_a_fault_or_an_unknown_field() {
    use wire::{AdmittedBefore, Door, ReadContext};
    let mut builder = Builder::new("b7".into(), Some("91440300708461136T".into()), 50);
    for kind in [EventKind::Start, EventKind::Stop, EventKind::ClockJump, EventKind::Dropped] {
        builder.event(at("2019-11-04T23:59:59Z"), kind, "b7:1-4");
    }
    // A machine may say of itself, twice, three times 256 characters.
    let detail = format!("SN-1:\t{}", "海".repeat(1_500));
    builder.push(Item::Event(Event { at: at("2019-11-04T23:59:59Z"), event: EventKind::IdentityChanged, detail }));
    for quality in Quality::ALL {
        builder.push(Entry { quality: *quality, ..entry("SN-1") });
    }
    for state in [State::Idle, State::Stopped, State::Fault, State::Offline] {
        builder.push(Entry { state: Some(state), ..entry("SN-2") });
    }
    let usage = UsageEntry {
        product: "P-1".into(),
        function_module: "设备OEE分析".into(),
        user: "7f3a".into(),
        at: at("2019-11-05T00:00:10Z"),
        actions: 3,
        active_s: Some(120),
    };
    let sent = clock("2019-11-05T00:01:02Z", 123_456);
    let of_usage = builder.build_usage(sent, &[usage]).unwrap();
    let built = builder.build(sent).unwrap().unwrap();
    let context =
        ReadContext { door: Door::Gateway, received_at: at("2019-11-05T00:01:03Z"), future_skew_s_max: 300, admission: &AdmittedBefore };
    for (built, counts) in [(built, (0, 12, 0, 5)), (of_usage, (0, 0, 1, 0))] {
        let readout = wire::read_report(&built.body, &context);
        let report = readout.report.unwrap();
        assert_eq!((readout.unknown_fields, report.devices.len(), report.usage.len(), report.events.len()), counts);
        assert_eq!((report.boot.as_deref(), report.seq), (Some("b7"), Some(1)));
    }
}

#[test]
fn numbers_rise_by_one_and_only_when_a_report_was_taken() {
    let mut builder = Builder::new("b7".into(), None, 2);
    (0..5).for_each(|i| builder.push(entry(&format!("SN-{i}"))));
    let first = builder.build(clock("2019-11-05T00:00:00Z", 0)).unwrap().unwrap();
    assert_eq!(builder.build(clock("2019-11-05T00:00:00Z", 0)).unwrap().unwrap(), first);
    let mut seqs = vec![];
    while let Some(built) = builder.build(clock("2019-11-05T00:00:00Z", 0)).unwrap() {
        seqs.push((built.key.seq, built.entry_count));
        builder.taken(&built);
    }
    assert_eq!(seqs, [(1, 2), (2, 2), (3, 1)]);
}

#[test]
fn a_report_never_exceeds_the_byte_limit() {
    let mut builder = Builder::new("b7".into(), None, 1000);
    let long = "功".repeat(64);
    for _ in 0..100 {
        builder.push(Entry {
            readings: (0..64).map(|i| (format!("{long}{i}").into(), Value::Number(0.123_456_789))).collect(),
            ..entry("SN")
        });
    }
    let mut entry_count = 0;
    while let Some(built) = builder.build(clock("2019-11-05T00:00:00Z", 0)).unwrap() {
        assert!(built.body.len() <= limits::REPORT_BYTES_MAX);
        entry_count += built.entry_count;
        builder.taken(&built);
    }
    assert_eq!(entry_count, 100);
}

#[test]
fn a_jump_of_the_wall_clock_is_said() {
    let mut builder = Builder::new("b7".into(), None, 50);
    assert!(builder.build(clock("2019-11-05T00:00:00Z", 1_000)).unwrap().is_none());
    assert!(builder.build(clock("2019-11-05T00:01:00Z", 61_000)).unwrap().is_none());
    let built = builder.build(clock("2019-11-05T00:00:00Z", 62_000)).unwrap().unwrap();
    assert!(String::from_utf8(built.body).unwrap().contains(r#""event":"clock_jump","detail":"-61000 ms""#));
}

#[test]
fn entries_that_could_not_wait_are_counted_and_said() {
    let mut builder = Builder::new("b7".into(), None, 50);
    (0..WAITING_MAX + 3).for_each(|_| builder.push(entry("SN")));
    let built = builder.build(clock("2019-11-05T00:00:00Z", 0)).unwrap().unwrap();
    assert!(String::from_utf8(built.body).unwrap().contains(r#""event":"dropped","detail":"entries:3""#));
}
