use proptest::prelude::*;

use super::*;
use crate::modbus::request::IdentityLevel;
use crate::point::{Block, Table};

fn asked(framing: Framing, request: ReadRequest) -> Asked {
    Asked { framing, unit_id: 7, transaction: 0x0102, request }
}

fn values(table: Table, quantity: u16) -> ReadRequest {
    ReadRequest::Values { table, address: 0x10, quantity }
}

fn framed(framing: Framing, pdu: &[u8]) -> Vec<u8> {
    let mut frame = match framing {
        Framing::Tcp => vec![1, 2, 0, 0, 0, pdu.len() as u8 + 1, 7],
        Framing::Rtu => vec![7],
    };
    frame.extend_from_slice(pdu);
    if framing == Framing::Rtu {
        frame.extend_from_slice(&CRC.checksum(&frame).to_le_bytes());
    }
    frame
}

fn words(words: &[u16]) -> Result<Answer, ReadTrouble> {
    Ok(Answer::Block(Block::Words(words.to_vec())))
}

#[test]
fn requests_are_the_bytes_of_the_specification() {
    let bytes = |asked: Asked| {
        let mut out = vec![];
        asked.write_to(&mut out);
        out
    };
    // The example of the serial line specification: unit 2, holding registers 108 to 110, CRC low byte first.
    let rtu = Asked {
        framing: Framing::Rtu,
        unit_id: 0x11,
        transaction: 0,
        request: ReadRequest::Values { table: Table::Holding, address: 0x6B, quantity: 3 },
    };
    assert_eq!(bytes(rtu), [0x11, 3, 0, 0x6B, 0, 3, 0x76, 0x87]);
    assert_eq!(bytes(asked(Framing::Tcp, values(Table::Input, 2))), [1, 2, 0, 0, 0, 6, 7, 4, 0, 0x10, 0, 2]);
    let identification = ReadRequest::Identification { level: IdentityLevel::Regular, object: 4 };
    assert_eq!(bytes(asked(Framing::Tcp, identification)), [1, 2, 0, 0, 0, 5, 7, 43, 14, 2, 4]);
}

#[test]
fn no_request_but_the_five_that_read_exists() {
    let tables = Table::ALL.map(|(table, _)| values(table, 1));
    let mut codes: Vec<u8> = tables.iter().map(ReadRequest::function_code).collect();
    codes.push(ReadRequest::Identification { level: IdentityLevel::Basic, object: 0 }.function_code());
    codes.sort_unstable();
    assert_eq!(codes, [1, 2, 3, 4, 43]);
}

#[test]
fn an_answer_is_found_at_its_last_byte_however_it_is_cut() {
    for framing in [Framing::Tcp, Framing::Rtu] {
        for (request, pdu, said) in [
            (values(Table::Holding, 2), vec![3, 4, 0, 1, 0xFF, 0xFE], words(&[1, 0xFFFE])),
            (values(Table::Coil, 3), vec![1, 1, 0b101], Ok(Answer::Block(Block::Bits(vec![true, false, true])))),
            (values(Table::Input, 1), vec![0x84, 2], Err(ReadTrouble::Exception(2))),
        ] {
            let asked = asked(framing, request);
            let mut bytes = framed(framing, &pdu);
            for cut in 0..bytes.len() {
                assert_eq!(asked.answered(&bytes[..cut]), Ok(None), "{framing:?} {pdu:?} {cut}");
            }
            let length = bytes.len();
            bytes.push(9);
            assert_eq!(asked.answered(&bytes), Ok(Some(Answered { length, said })));
        }
    }
}

#[test]
fn an_identity_is_as_long_as_its_objects_say() {
    let request = ReadRequest::Identification { level: IdentityLevel::Basic, object: 0 };
    let pdu = [&[43, 14, 1, 0x82, 0xFF, 2, 2, 0, 3][..], b"ABC", &[1, 2], b"M1"].concat();
    for framing in [Framing::Tcp, Framing::Rtu] {
        let bytes = framed(framing, &pdu);
        for cut in 0..bytes.len() {
            assert_eq!(asked(framing, request).answered(&bytes[..cut]), Ok(None), "{framing:?} {cut}");
        }
        let Ok(Some(Answered { said: Ok(Answer::Identity(objects)), .. })) = asked(framing, request).answered(&bytes) else { panic!() };
        assert_eq!(objects.objects, [(0, "ABC".to_string()), (1, "M1".to_string())]);
        assert_eq!((objects.regular, objects.next_object), (true, Some(2)));
    }
}

#[test]
fn what_does_not_belong_to_the_request_is_named() {
    let request = values(Table::Holding, 2);
    let pdu = [3, 4, 0, 1, 0, 2];
    let spoil = |framing, at: usize, byte: u8| {
        let mut bytes = framed(framing, &pdu);
        bytes[at] = byte;
        asked(framing, request).answered(&bytes).unwrap_err()
    };
    assert_eq!(spoil(Framing::Tcp, 1, 3), ReadTrouble::WrongTransaction);
    assert_eq!(spoil(Framing::Tcp, 3, 1), ReadTrouble::Garbage);
    assert_eq!(spoil(Framing::Tcp, 4, 1), ReadTrouble::Garbage);
    assert_eq!(spoil(Framing::Tcp, 5, 9), ReadTrouble::WrongLength { expected: 6, answered: 8 });
    assert_eq!(spoil(Framing::Tcp, 6, 8), ReadTrouble::WrongUnit { asked: 7, answered: 8 });
    assert_eq!(spoil(Framing::Tcp, 7, 4), ReadTrouble::WrongFunction { asked: 3, answered: 4 });
    assert_eq!(spoil(Framing::Tcp, 8, 2), ReadTrouble::WrongLength { expected: 4, answered: 2 });
    assert_eq!(spoil(Framing::Rtu, 0, 8), ReadTrouble::WrongUnit { asked: 7, answered: 8 });
    assert_eq!(spoil(Framing::Rtu, 1, 0x84), ReadTrouble::WrongFunction { asked: 3, answered: 0x84 });
    assert_eq!(spoil(Framing::Rtu, 2, 200), ReadTrouble::WrongLength { expected: 4, answered: 200 });
    assert_eq!(spoil(Framing::Rtu, 4, 9), ReadTrouble::Crc);
    assert_eq!(spoil(Framing::Rtu, 8, 9), ReadTrouble::Crc);
}

fn any_request() -> impl Strategy<Value = ReadRequest> {
    let table = prop::sample::select(Table::ALL.map(|(table, _)| table).to_vec());
    prop_oneof![
        (table, 1_u16..=2000).prop_map(|(table, quantity)| values(table, quantity.min(table.quantity_max()))),
        (0_u8..=255).prop_map(|object| ReadRequest::Identification { level: IdentityLevel::Basic, object }),
    ]
}

proptest! {
    /// Whatever comes, only the one frame that answers the request gives values; and nothing panics.
    #[test]
    fn random_bytes_are_never_values(
        request in any_request(),
        rtu in any::<bool>(),
        head in 0_usize..9,
        tail in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let framing = if rtu { Framing::Rtu } else { Framing::Tcp };
        let asked = asked(framing, request);
        // A plausible beginning, so that the later checks are reached too.
        let expected = request.answer_length(&[0]).ok().flatten().unwrap_or(9);
        let mut bytes = match framing {
            Framing::Tcp => vec![1, 2, 0, 0, 0, (expected + 2) as u8, 7, request.function_code(), (expected - 1) as u8],
            Framing::Rtu => vec![7, request.function_code(), (expected - 1) as u8],
        };
        bytes.truncate(head);
        bytes.extend(tail);
        if let Ok(Some(Answered { length, said: Ok(Answer::Block(block)) })) = asked.answered(&bytes) {
            let ReadRequest::Values { table, quantity, .. } = request else { panic!("no values were asked for") };
            let quantity = usize::from(quantity);
            let (got, count) = match block {
                Block::Bits(bits) => (bits.len(), quantity.div_ceil(8)),
                Block::Words(words) => (words.len(), 2 * quantity),
            };
            prop_assert_eq!(got, quantity);
            let pdu = [&[request.function_code(), count as u8][..], &bytes[length - count - if rtu { 2 } else { 0 }..][..count]].concat();
            prop_assert_eq!(&framed(framing, &pdu)[..], &bytes[..length], "{:?} {:?}", table, framing);
        }
    }
}
