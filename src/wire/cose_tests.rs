use proptest::prelude::*;

use super::*;

/// RFC 8032, 7.1, test 1.
const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const PUBLIC_KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// Sealed by cwt 3.3.0 and cbor2 5.9.0 (tests/support/cose_client.py without a host); pycose 1.1.0 gives the same bytes.
const SEALED_JSON: &str = "d28449a20127044467772d31a058937b2276223a312c22626f6f74223a226237222c22736571223a312c2264657669636573223a5b7b22646576696365223a22e69cbae5ba8a2d31222c226174223a22323031392d31312d30355430383a30303a30302b30383a3030222c227175616c697479223a224e222c2272656164696e6773223a7b22e58a9fe78e875f6b77223a342e322c226f6e223a747275657d7d5d7d584052c18046ca23795ff018c631f1aa28393b7c6ff80dc5329526ac503461114cc567d8a2a6f2de69439230e3a3981f74c5ecbe4722eb5113e111c4ef30a52a7c07";
const SEALED_CBOR: &str = "d28449a20127044467772d31a05874a461760164626f6f746262376373657101676465766963657381a46664657669636568e69cbae5ba8a2d316261747819323031392d31312d30355430383a30303a30302b30383a3030677175616c697479614e6872656164696e6773a269e58a9fe78e875f6b77fb4010cccccccccccd626f6ef558405096a9280a94e76f4cac33fa7135c3834dd7b3b7071928b94d26227ed376c3a0be256ce5387891379bd73929078354d72c42ac6e4770d6e802dd98e71231cf03";
const JSON: &str = r#"{"v":1,"boot":"b7","seq":1,"devices":[{"device":"机床-1","at":"2019-11-05T08:00:00+08:00","quality":"N","readings":{"功率_kw":4.2,"on":true}}]}"#;
/// By pycose 1.1.0.
const SIG_STRUCTURE: &str = "846a5369676e61747572653149a20127044467772d314058937b2276223a312c22626f6f74223a226237222c22736571223a312c2264657669636573223a5b7b22646576696365223a22e69cbae5ba8a2d31222c226174223a22323031392d31312d30355430383a30303a30302b30383a3030222c227175616c697479223a224e222c2272656164696e6773223a7b22e58a9fe78e875f6b77223a342e322c226f6e223a747275657d7d5d7d";

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&hex::decode(SEED).unwrap().try_into().unwrap())
}

fn public_key() -> PublicKey {
    PublicKey::read(PUBLIC_KEY).unwrap()
}

#[test]
fn what_others_have_sealed_is_read_and_verified_and_sealed_to_the_same_bytes() {
    let cbor = crate::json::Json::read(JSON.as_bytes()).unwrap().to_cbor();
    for (sealed, payload) in [(SEALED_JSON, JSON.as_bytes()), (SEALED_CBOR, &cbor)] {
        let body = hex::decode(sealed).unwrap();
        let signed = Signed::read(&body).unwrap();
        assert_eq!((signed.kid, signed.payload), (&b"gw-1"[..], payload));
        assert_eq!(signed.signature[..], body[body.len() - 64..]);
        assert!(signed.verify(&public_key()));
        assert_eq!(hex::encode(seal(payload, "gw-1", &signing_key())), sealed);
    }
    assert_eq!(hex::encode(Signed::read(&hex::decode(SEALED_JSON).unwrap()).unwrap().to_be_signed()), SIG_STRUCTURE);
}

/// An envelope of these parts, each in hexadecimal.
fn envelope(protected: &str, unprotected: &str, payload: &str, signature: &str) -> Vec<u8> {
    hex::decode(format!("d284{protected}{unprotected}{payload}{signature}")).unwrap()
}

fn fault(body: &[u8]) -> String {
    Signed::read(body).map_err(|error| error.to_string()).expect_err("it was read")
}

const PROTECTED: &str = "46a20127044131";

fn signature() -> String {
    "5840".to_string() + &"5a".repeat(64)
}

#[test]
fn only_the_canonical_protected_header_with_alg_and_kid_is_read() {
    for (protected, expected) in [
        ("40", "at byte 3: a header that is no map of definite length"),
        ("41a0", "at byte 3: a protected header without alg"),
        ("43a10127", "at byte 3: a protected header without kid"),
        ("44a1044131", "at byte 3: a protected header without alg"),
        ("46a20126044131", "at byte 5: an alg other than EdDSA (-8)"),
        ("48a2016127044131", "at byte 5: an alg other than EdDSA (-8)"),
        ("46a20127046131", "at byte 7: a text where the kid stands, a byte string of definite length"),
        ("46a20441310127", "at byte 7: a protected parameter twice, or not in ascending order"),
        ("48a301270127044131", "at byte 6: a protected parameter twice, or not in ascending order"),
        ("49a3012702810a044131", "at byte 7: critical parameters, of which none is known"),
        ("47bf0127044131ff", "at byte 3: a header that is no map of definite length"),
        ("47b8020127044131", "at byte 3: a protected header that is not in its shortest form"),
        ("47a2012718044131", "at byte 3: a protected header that is not in its shortest form"),
        ("47a2013807044131", "at byte 3: a protected header that is not in its shortest form"),
        ("47a2012704580131", "at byte 3: a protected header that is not in its shortest form"),
        ("47a2012704413100", "at byte 9: 1 bytes too many"),
        ("46a30127044131", "at byte 9: the end of the input within an item"),
        ("48a3012704413140", "at byte 9: a parameter without a label"),
        ("a20127044131", "at byte 2: a map where the protected header stands, a byte string of definite length"),
        (
            "5f46a20127044131ff",
            "at byte 2: a byte string of indefinite length where the protected header stands, a byte string of definite length",
        ),
    ] {
        assert_eq!(fault(&envelope(protected, "a0", "41aa", &signature())), expected, "{protected}");
    }
}

#[test]
fn parameters_that_are_not_critical_are_ignored() {
    // content type in text, and in a parameter by name a list, a map, a tag, a float and null
    let protected = "58 1f a4 0127 03 6a 6170706c2f6a736f6e6e 044131 61 78 85 80 a10102 c10a f93c00 f6";
    let unprotected = "a3 03 00 1821 82 4101 4102 6179 a16161 9818 000102030405060708090a0b0c0d0e0f1011121314151617";
    let body = envelope(&protected.replace(' ', ""), &unprotected.replace(' ', ""), "41aa", &signature());
    assert_eq!(Signed::read(&body).map(|signed| (signed.kid, signed.payload)), Ok((&b"1"[..], &b"\xaa"[..])));
}

#[test]
fn the_unprotected_header_says_nothing_that_matters() {
    for (unprotected, expected) in [
        ("a10127", "at byte 10: alg, crit or kid in the unprotected header"),
        ("a1028101", "at byte 10: alg, crit or kid in the unprotected header"),
        ("a1044131", "at byte 10: alg, crit or kid in the unprotected header"),
        ("a118044131", "at byte 10: alg, crit or kid in the unprotected header"),
        ("bfff", "at byte 9: a header that is no map of definite length"),
        ("80", "at byte 9: a header that is no map of definite length"),
        ("f6", "at byte 9: a header that is no map of definite length"),
        ("a103ff", "at byte 11: a break"),
        ("a103fc", "at byte 11: a byte 0xfc that begins no item"),
        ("a1039fff", "at byte 11: a list of indefinite length"),
        ("a1037f6161ff", "at byte 11: a text of indefinite length"),
        ("a103bbffffffffffffffff", "at byte 88: the end of the input within an item"),
    ] {
        let body = envelope(PROTECTED, unprotected, "41aa", &signature());
        assert_eq!(fault(&body), expected, "{unprotected}");
    }
    let nested = |depth: usize| envelope(PROTECTED, &format!("a103{}00", "81".repeat(depth)), "41aa", &signature());
    assert!(Signed::read(&nested(16)).is_ok());
    assert_eq!(fault(&nested(17)), "at byte 27: a parameter nested deeper than 16");
}

#[test]
fn the_rest_of_the_envelope_is_read_strictly() {
    let whole = |payload: &str, signature: &str| fault(&envelope(PROTECTED, "a0", payload, signature));
    assert_eq!(whole("f6", &signature()), "at byte 10: null where the payload stands, a byte string of definite length");
    assert_eq!(whole("61aa", &signature()), "at byte 10: a text where the payload stands, a byte string of definite length");
    assert_eq!(whole("41aa", &format!("583f{}", "5a".repeat(63))), "at byte 12: a signature of 63 bytes, not 64");
    assert_eq!(whole("41aa", &format!("5841{}", "5a".repeat(65))), "at byte 12: a signature of 65 bytes, not 64");
    assert_eq!(whole("41aa", "5840"), "at byte 12: the end of the input within an item");
    assert_eq!(whole("41aa", &(signature() + "00")), "at byte 78: 1 bytes too many");
    let sound = envelope(PROTECTED, "a0", "41aa", &signature());
    for head in ["d183", "d2a4", "d283", "d285", "d29f", "d1d284", "d8128484"] {
        let body = [&hex::decode(head).unwrap(), &sound[2..]].concat();
        assert!(Signed::read(&body).is_err(), "{head}");
    }
    assert!(Signed::read(&[]).is_err());
    assert!(Signed::read(&sound).is_ok());
}

/// Besides S a signature could carry S + L, L the order of the group: one signature would have two forms.
#[test]
fn a_signature_has_one_form_only() {
    const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let mut body = seal(b"{}", "gw-1", &signing_key());
    let start = body.len() - 32;
    let mut carry = 0;
    for (byte, add) in body[start..].iter_mut().zip(hex::decode(ORDER).unwrap()) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    assert!(!Signed::read(&body).unwrap().verify(&public_key()));
}

/// With R the neutral element and S = H(R, A, M) a the equation of Ed25519 holds, and shows nothing about a nonce.
#[test]
fn a_signature_with_a_weak_point_is_refused() {
    const WEAK: &str =
        "01000000000000000000000000000000000000000000000000000000000000000d1a855dc833afb1183a53370568b1d8976f653f96af53d84d4b2c8c4a7a0904";
    let mut body = seal(b"{}", "gw-1", &signing_key());
    let start = body.len() - 64;
    body[start..].copy_from_slice(&hex::decode(WEAK).unwrap());
    let signed = Signed::read(&body).unwrap();
    assert!(
        ed25519_dalek::Verifier::verify(&public_key().0, &signed.to_be_signed(), &ed25519_dalek::Signature::from_bytes(signed.signature))
            .is_ok()
    );
    assert!(!signed.verify(&public_key()));
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    let body = seal(JSON.as_bytes(), "gw-1", &signing_key());
    for bit in 0..body.len() * 8 {
        let mut body = body.clone();
        body[bit / 8] ^= 1 << (bit % 8);
        assert!(!Signed::read(&body).is_ok_and(|signed| signed.verify(&public_key())), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn what_is_sealed_is_read_and_verified(seed: [u8; 32], other: [u8; 32], kid in "[A-Za-z0-9._-]{1,64}", payload in prop::collection::vec(any::<u8>(), 0..3000)) {
        let body = seal(&payload, &kid, &SigningKey::from_bytes(&seed));
        let signed = Signed::read(&body).unwrap();
        prop_assert_eq!((signed.kid, signed.payload), (kid.as_bytes(), &payload[..]));
        prop_assert!(signed.verify(&PublicKey::from(&SigningKey::from_bytes(&seed))));
        prop_assert!(!signed.verify(&PublicKey::from(&SigningKey::from_bytes(&other))));
        prop_assert!(body.len() <= payload.len() + crate::limits::ENVELOPE_BYTES_MAX);
    }

    #[test]
    fn no_bytes_make_reading_panic(rest in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Signed::read(&rest);
        let _ = Signed::read(&[&[0xD2, 0x84], &rest[..]].concat());
        let _ = Signed::read(&[&hex::decode(format!("d284{PROTECTED}a9")).unwrap(), &rest[..]].concat());
    }

    #[test]
    fn no_damage_makes_reading_panic(at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..9)) {
        let mut body = seal(b"{}", "gw-1", &signing_key());
        let at = at.index(body.len());
        body.splice(at..(at + 4).min(body.len()), bytes);
        let _ = Signed::read(&body);
    }
}
