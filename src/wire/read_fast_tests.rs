use super::*;
use crate::read::read_exact;
use crate::test_reports::{CODE, choices, context, written};
use proptest::prelude::*;

/// The fast way's answer is the exact way's; and there is one for every sound report without unknown fields.
fn agree(body: &[u8], door: Door) -> Result<(), TestCaseError> {
    let exact = read_exact(body, &context(door));
    let plain = exact.report.is_ok() && exact.unknown_fields == 0;
    let Some(fast) = read_fast(body, &context(door)) else {
        prop_assert!(!plain, "given up: {}", String::from_utf8_lossy(body));
        return Ok(());
    };
    prop_assert_eq!(&fast.report, &exact.report);
    // Also the sign of zero, which == does not see.
    prop_assert_eq!(format!("{:?}", fast.report), format!("{:?}", exact.report));
    prop_assert_eq!((fast.label, fast.unknown_fields), (exact.label, exact.unknown_fields));
    Ok(())
}

fn assert_fast(body: &str, door: Door) {
    assert!(read_fast(body.as_bytes(), &context(door)).is_some(), "{body}");
    agree(body.as_bytes(), door).unwrap();
}

fn device(name: &str, rest: &str) -> String {
    format!(r#"{{"device":"{name}","at":"2019-11-05T00:00:00.123Z","quality":"N","state":"running",{rest}}}"#)
}

fn gateway(devices: &[String]) -> String {
    format!(r#"{{"v":1,"boot":"b","seq":1,"devices":[{}]}}"#, devices.join(","))
}

#[test]
fn reports_as_the_load_generator_sends_them_are_read_the_fast_way() {
    let devices: Vec<_> = (0..20)
        .map(|i| device(&format!("L003-{i:04}"), &format!(r#""readings":{{"功率_kw":{:.2},"on":true}}"#, f64::from(i) * 0.37 + 1.5)))
        .collect();
    assert_fast(&gateway(&devices), Door::Gateway);
}

#[test]
fn the_contracts_example_is_read_the_fast_way() {
    let body = format!(
        r#"{{"v":1, "id":"r-000001", "boot":"b7", "seq":1, "enterprise":"{CODE}", "sent_at":"2019-11-05T08:01:02+08:00",
 "clock":{{"synchronised":true,"monotonic_ms":123456}}, "events":[{{"at":"2019-11-05T07:59:00+08:00","event":"clock_jump","detail":"…"}}],
 "devices":[{{"device":"SN-0001","at":"2019-11-05T08:00:00+08:00","quality":"N","state":"running","readings":{{"功率_kw":4.2,"on":true}},"identity":{{"vendor":"…","model":"…","serial":"…"}}}}],
 "usage":[{{"product":"P-1","function_module":"报表","user":"7f3a…","at":"2019-11-05T08:00:10+08:00","actions":3,"active_s":120}}]}}"#
    );
    assert_fast(&body, Door::Gateway);
    assert_fast(&body, Door::Supplier);
}

#[test]
fn white_space_escapes_any_order_and_any_number_are_read_the_fast_way() {
    let body = r#"
    { "devices" : [ { "quality" : "N", "at" : "2019-11-05 00:00:00z", "de\u0076ice" : "\u673a\u5e8a \"1\"\\",
        "readings" : { "\u529f\u7387_kw" : 4.2E+1, "a" : -0, "b" : 0.1234567890123456789, "c" : 123456789012345678901, "d" : 1e-320 } } ],
      "seq" : 1 ,	"boot":"b\/",
      "v" : 1 }
    "#;
    assert_fast(body, Door::Gateway);
}

#[test]
fn entries_that_differ_in_anything_are_read_the_fast_way() {
    let devices = [
        device("a", r#""readings":{"p":1,"on":true}"#),
        device("b", r#""readings":{"p":-2.5e3,"on":false}"#),
        device("c", r#""readings":{"p":1,"on":true}"#).replace("\"N\"", "\"D\""),
        device("d", r#""readings":{"p":1,"on":true}"#).replace("running", "idle"),
        device("e", r#""readings":{"p":1,"on":true}"#).replace(".123", ".124"),
        device("f", r#""readings":{"on":true,"p":1}"#),
        device("g", r#""readings":{}"#),
        device("h", r#""readings":{"p":1}"#),
        device("i", r#""identity":{"serial":"1"}"#),
        device("j", r#""identity":{"serial":"2"}"#),
        device("k", r#""readings":{"p":1},"identity":{"serial":"3"}"#),
        device("l", r#""readings":{"p":2},"identity":{"serial":"4"}"#),
    ];
    assert_fast(&gateway(&devices), Door::Gateway);
}

#[test]
fn what_is_not_plainly_sound_is_left_to_the_exact_way() {
    let sound = gateway(&[device("a", r#""readings":{"p":1}"#), device("b", r#""readings":{"p":1}"#)]);
    assert_fast(&sound, Door::Gateway);
    for (from, to) in [
        (r#""v":1"#, r#""v":1.0"#),
        (r#""v":1"#, r#""v":1,"v":1"#),
        (r#""v":1"#, r#""v":1,"x":1"#),
        (r#""seq":1"#, r#""seq":01"#),
        (r#""seq":1"#, r#""seq":0"#),
        (r#""b","at""#, r#""","at""#),
        (r#""b","at""#, r#""b\u0000","at""#),
        (r#""b","at""#, r#""\ud800","at""#),
        (r#"{"p":1}}]"#, r#"{"p":1,"\u0070":1}}]"#),
        (r#"{"p":1}}]"#, r#"{"p":1.}}]"#),
        (r#"{"p":1}}]"#, r#"{"p":1e999}}]"#),
        (r#"{"p":1}}]"#, r#"{"p":01}}]"#),
        (r#"{"p":1}}]"#, r#"{"p":-}}]"#),
        (r#"{"p":1}}]"#, r#"{"p":truee}}]"#),
        (r#"{"p":1}}]"#, r#"{"p":1},}]"#),
        (r#"{"p":1}}]"#, r#"{"p":1}},]"#),
        (r#"{"p":1}}]}"#, r#"{"p":1}}]}}"#),
        (r#"{"p":1}}]}"#, r#"{"p":1}}]"#),
        ("00:00:00.123Z", "00:02:00.001Z"),
        ("00:00:00.123Z", "00:00:00.123"),
    ] {
        let body = sound.replacen(from, to, 2);
        assert_ne!(body, sound, "{from}");
        assert!(read_fast(body.as_bytes(), &context(Door::Gateway)).is_none(), "{body}");
        agree(body.as_bytes(), Door::Gateway).unwrap();
    }
}

#[test]
fn an_instant_too_far_in_the_future_is_left_to_the_exact_way_wherever_it_stands() {
    let at = |second: &str| device("a", r#""readings":{}"#).replace("00.123", second);
    for devices in [vec!["00", "01", "02", "59"], vec!["00", "00", "59", "59"]] {
        let body = gateway(&devices.into_iter().map(at).collect::<Vec<_>>()).replace("00:00:59", "00:02:01");
        assert!(read_fast(body.as_bytes(), &context(Door::Gateway)).is_none(), "{body}");
        agree(body.as_bytes(), Door::Gateway).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_fast_way_agrees_with_the_exact_way(choices in choices()) {
        let (body, door) = written(choices, 0);
        agree(body.as_bytes(), door)?;
    }

    #[test]
    fn the_fast_way_agrees_on_reports_changed_anywhere(choices in choices(), mutations in 1usize..4) {
        let (body, door) = written(choices, mutations);
        agree(body.as_bytes(), door)?;
    }

    #[test]
    fn the_fast_way_agrees_on_damaged_reports(
        choices in choices(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0u8..3, prop_oneof![any::<u8>(), prop::sample::select(&b"\"\\{}[],:01.e- aN"[..])]), 1..4),
    ) {
        let (body, door) = written(choices, 0);
        let mut body = body.into_bytes();
        for (at, kind, byte) in damage {
            let at = at.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => drop(body.remove(at)),
            }
        }
        agree(&body, door)?;
    }
}
