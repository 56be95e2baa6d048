use proptest::prelude::*;

use super::*;

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

fn text(text: &str) -> Json<'_> {
    Json::Text(text.into())
}

fn refused(hex: &str) -> String {
    Json::read_cbor(&bytes(hex)).unwrap_err().to_string()
}

/// RFC 8949, appendix A: what JSON knows of it.
#[test]
fn the_examples_of_the_rfc_are_read() {
    use Json::{Bool, Float, List, Null, Object, Signed, Unsigned};
    for (hex, expected) in [
        ("00", Unsigned(0)),
        ("17", Unsigned(23)),
        ("1818", Unsigned(24)),
        ("1903e8", Unsigned(1000)),
        ("1a000f4240", Unsigned(1_000_000)),
        ("1bffffffffffffffff", Unsigned(u64::MAX)),
        ("20", Signed(-1)),
        ("3863", Signed(-100)),
        ("3903e7", Signed(-1000)),
        ("3b7fffffffffffffff", Signed(i64::MIN)),
        ("f90000", Float(0.0)),
        ("f93e00", Float(1.5)),
        ("f97bff", Float(65504.0)),
        ("f90001", Float(5.960_464_477_539_063e-8)),
        ("f9c400", Float(-4.0)),
        ("fa47c35000", Float(100_000.0)),
        ("fb3ff199999999999a", Float(1.1)),
        ("fb7e37e43c8800759c", Float(1.0e300)),
        ("f97c00", Float(f64::INFINITY)),
        ("faff800000", Float(f64::NEG_INFINITY)),
        ("f4", Bool(false)),
        ("f5", Bool(true)),
        ("f6", Null),
        ("60", text("")),
        ("62225c", text("\"\\")),
        ("63e6b0b4", text("水")),
        ("80", List(vec![])),
        ("8301820203820405", List(vec![Unsigned(1), List(vec![Unsigned(2), Unsigned(3)]), List(vec![Unsigned(4), Unsigned(5)])])),
        ("a0", Object(vec![])),
        ("a26161016162820203", Object(vec![("a".into(), Unsigned(1)), ("b".into(), List(vec![Unsigned(2), Unsigned(3)]))])),
        ("7f657374726561646d696e67ff", text("streaming")),
        ("9fff", List(vec![])),
        ("9f018202039f0405ffff", List(vec![Unsigned(1), List(vec![Unsigned(2), Unsigned(3)]), List(vec![Unsigned(4), Unsigned(5)])])),
        ("bf6346756ef563416d7421ff", Object(vec![("Fun".into(), Bool(true)), ("Amt".into(), Signed(-2))])),
        ("bf7f61416161fff66142f4ff", Object(vec![("Aa".into(), Null), ("B".into(), Bool(false))])),
    ] {
        assert_eq!(Json::read_cbor(&bytes(hex)), Ok(expected), "{hex}");
    }
    assert!(matches!(Json::read_cbor(&bytes("f97e00")), Ok(Float(number)) if number.is_nan()));
}

#[test]
fn what_json_does_not_know_is_refused_with_its_place() {
    for (hex, expected) in [
        ("3bffffffffffffffff", "at byte 0: a whole number below -2^63"),
        ("c249010000000000000000", "at byte 0: a tag"),
        ("8201c11a514b67b0", "at byte 2: a tag"),
        ("4401020304", "at byte 0: a byte string"),
        ("a1617841ff", "at byte 3: a byte string"),
        ("5f42010243030405ff", "at byte 0: a byte string of indefinite length"),
        ("f7", "at byte 0: undefined"),
        ("f0", "at byte 0: a simple value"),
        ("f818", "at byte 0: a simple value"),
        ("a10102", "at byte 1: a key that is a whole number"),
        ("a1f602", "at byte 1: a key that is null"),
        ("bfff00", "at byte 2: 1 bytes too many"),
    ] {
        assert_eq!(refused(hex), expected, "{hex}");
    }
}

#[test]
fn what_is_not_well_formed_is_refused_with_its_place() {
    for (hex, expected) in [
        ("", "at byte 0: the end of the input within an item"),
        ("a2617801", "at byte 4: the end of the input within an item"),
        ("19ff", "at byte 0: the end of the input within an item"),
        ("7bffffffffffffffff00", "at byte 0: the end of the input within an item"),
        ("9bffffffffffffffff00", "at byte 10: the end of the input within an item"),
        ("bbffffffffffffffff", "at byte 9: the end of the input within an item"),
        ("1c", "at byte 0: a byte 0x1c that begins no item"),
        ("a1617bfc", "at byte 3: a byte 0xfc that begins no item"),
        ("ff", "at byte 0: a break"),
        ("81ff", "at byte 1: a break"),
        ("bf6161ff", "at byte 3: a break"),
        ("a26161ff", "at byte 3: a break"),
        ("62c328", "at byte 0: text that is not UTF-8"),
        ("7f61c361a9ff", "at byte 1: text that is not UTF-8"),
        ("7f616100ff", "at byte 3: an item of another kind within a text"),
        ("0000", "at byte 1: 1 bytes too many"),
    ] {
        assert_eq!(refused(hex), expected, "{hex}");
    }
}

#[test]
fn text_is_borrowed_and_repeated_keys_are_kept() {
    let input = bytes("a2616b616c616b7f616d616eff");
    let Ok(Json::Object(fields)) = Json::read_cbor(&input) else { panic!("not an object") };
    assert!(matches!(&fields[0], (Cow::Borrowed("k"), Json::Text(Cow::Borrowed("l")))));
    assert!(matches!(&fields[1], (Cow::Borrowed("k"), Json::Text(Cow::Owned(text))) if text == "mn"));
}

#[test]
fn cbor_goes_as_deep_as_json() {
    for (depth, sound) in [(DEPTH_MAX, true), (DEPTH_MAX + 1, false), (100_000, false)] {
        let json = "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(Json::read(json.as_bytes()).is_ok(), sound, "JSON, {depth}");
        for list in [vec![0x81; depth - 1], vec![0x9f; depth - 1]] {
            let ends = if list.first() == Some(&0x9f) { depth - 1 } else { 0 };
            let input = [&list[..], &[0x80], &vec![0xff; ends]].concat();
            assert_eq!(Json::read_cbor(&input).is_ok(), sound, "CBOR, {depth}");
        }
    }
    assert_eq!(refused(&"81".repeat(128)), "at byte 127: a list or an object in 127 others");
}

#[test]
fn numbers_are_written_short_and_lose_nothing() {
    for (json, hex) in [
        (Json::Unsigned(23), "17"),
        (Json::Unsigned(256), "190100"),
        (Json::Signed(-1), "20"),
        (Json::Float(1.5), "fa3fc00000"),
        (Json::Float(4.2), "fb4010cccccccccccd"),
        (Json::Float(-0.0), "fa80000000"),
        (Json::Float(1e300), "fb7e37e43c8800759c"),
        (Json::Object(vec![("水".into(), Json::List(vec![Json::Null, Json::Bool(true), text("a")]))]), "a163e6b0b483f6f56161"),
    ] {
        assert_eq!(json.to_cbor(), bytes(hex));
        assert_eq!(Json::read_cbor(&bytes(hex)), Ok(json));
    }
}

fn any_json() -> impl Strategy<Value = Json<'static>> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<u64>().prop_map(Json::Unsigned),
        (i64::MIN..0).prop_map(Json::Signed),
        any::<f64>().prop_map(Json::Float),
        any::<f32>().prop_map(|number| Json::Float(number.into())),
        ".{0,40}".prop_map(|text| Json::Text(text.into())),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..40).prop_map(Json::List),
            prop::collection::vec((".{0,8}".prop_map(Cow::from), inner), 0..8).prop_map(Json::Object),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(json in any_json()) {
        let written = json.to_cbor();
        prop_assert_eq!(Json::read_cbor(&written), Ok(json));
    }

    #[test]
    fn no_bytes_make_reading_panic(input in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(json) = Json::read_cbor(&input) {
            prop_assert_eq!(json.type_name(), Json::read_cbor(&json.to_cbor()).unwrap().type_name());
        }
    }

    #[test]
    fn no_damage_makes_reading_panic(json in any_json(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut input = json.to_cbor();
        let at = at.index(input.len());
        input[at] = byte;
        if cut {
            input.truncate(at);
        }
        if let Err(error) = Json::read_cbor(&input) {
            prop_assert!(error.at <= input.len());
        }
    }
}
