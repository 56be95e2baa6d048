use super::*;

fn holding(value_type: ValueType) -> Point {
    Point::new("p", Table::Holding, 0, value_type)
}

fn decoded(value_type: ValueType, word_order: WordOrder, words: &[u16]) -> Result<Value, DecodeError> {
    Point { word_order, ..holding(value_type) }.decode(&Block::Words(words.to_vec()), 0)
}

#[test]
fn every_type_is_decoded() {
    use ValueType::*;
    for (value_type, words, expected) in [
        (Bool, vec![0], Value::Flag(false)),
        (Bool, vec![2], Value::Flag(true)),
        (U16, vec![0xFFFF], Value::Number(65535.0)),
        (I16, vec![0xFFFF], Value::Number(-1.0)),
        (U32, vec![0x0001, 0x0002], Value::Number(65538.0)),
        (I32, vec![0xFFFF, 0xFFFE], Value::Number(-2.0)),
        (U64, vec![0, 0, 1, 2], Value::Number(65538.0)),
        (I64, vec![0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE], Value::Number(-2.0)),
        (F32, vec![0x4086, 0x6666], Value::Number(4.2)),
        (F64, vec![0x4010, 0xCCCC, 0xCCCC, 0xCCCD], Value::Number(4.2)),
        (Bcd16, vec![0x1234], Value::Number(1234.0)),
        (Bcd32, vec![0x0012, 0x3456], Value::Number(123_456.0)),
        (Bcd64, vec![0x0012, 0x3456, 0x7890, 0x1234], Value::Number(12_345_678_901_234.0)),
    ] {
        assert_eq!(decoded(value_type, WordOrder::Abcd, &words), Ok(expected), "{value_type:?}");
    }
}

#[test]
fn every_word_order_gives_the_same_value_in_every_length() {
    for (order, two, four, one) in [
        (WordOrder::Abcd, [0x0A0B, 0x0C0D], [0x0102, 0x0304, 0x0506, 0x0708], 0x0A0B),
        (WordOrder::Cdab, [0x0C0D, 0x0A0B], [0x0708, 0x0506, 0x0304, 0x0102], 0x0A0B),
        (WordOrder::Badc, [0x0B0A, 0x0D0C], [0x0201, 0x0403, 0x0605, 0x0807], 0x0B0A),
        (WordOrder::Dcba, [0x0D0C, 0x0B0A], [0x0807, 0x0605, 0x0403, 0x0201], 0x0B0A),
    ] {
        assert_eq!(decoded(ValueType::U32, order, &two), Ok(Value::Number(f64::from(0x0A0B_0C0D_u32))), "{order:?}");
        assert_eq!(decoded(ValueType::U16, order, &[one]), Ok(Value::Number(f64::from(0x0A0B_u16))), "{order:?}");
        assert_eq!(decoded(ValueType::U64, order, &four), Ok(Value::Whole(0x0102_0304_0506_0708)), "{order:?}");
    }
}

#[test]
fn a_bit_of_a_register_is_read_alone() {
    let bit = |bit| Point { bit: Some(bit), ..holding(ValueType::Bool) }.decode(&Block::Words(vec![0b1000_0000_0000_0100]), 0);
    assert_eq!([0, 2, 15].map(|number| bit(number).unwrap()), [Value::Flag(false), Value::Flag(true), Value::Flag(true)]);
    let swapped = Point { bit: Some(0), word_order: WordOrder::Badc, ..holding(ValueType::Bool) };
    assert_eq!(swapped.decode(&Block::Words(vec![0x0100]), 0), Ok(Value::Flag(true)));
}

#[test]
fn scale_and_offset_apply_without_binary_noise() {
    let scaled = Point { scale: 0.1, offset: -40.0, ..holding(ValueType::U16) };
    assert_eq!(scaled.decode(&Block::Words(vec![423]), 0), Ok(Value::Number(2.3)));
    let tenth = Point { scale: 0.1, ..scaled };
    assert_eq!(Point { offset: 0.0, ..tenth }.decode(&Block::Words(vec![3]), 0), Ok(Value::Number(0.3)));
}

#[test]
fn a_short_answer_and_a_number_that_is_none_are_told_apart() {
    assert_eq!(decoded(ValueType::U32, WordOrder::Abcd, &[1]), Err(DecodeError::Short));
    assert_eq!(Point::new("c", Table::Coil, 0, ValueType::Bool).decode(&Block::Bits(vec![]), 0), Err(DecodeError::Short));
    assert_eq!(decoded(ValueType::F32, WordOrder::Abcd, &[0x7FC0, 0]), Err(DecodeError::NotFinite));
    assert_eq!(decoded(ValueType::F64, WordOrder::Abcd, &[0x7FF0, 0, 0, 0]), Err(DecodeError::NotFinite));
    assert_eq!(decoded(ValueType::Bcd16, WordOrder::Abcd, &[0x12A4]), Err(DecodeError::NotDecimal));
}

#[test]
fn a_counter_of_64_bits_is_written_exactly() {
    let largest = decoded(ValueType::U64, WordOrder::Abcd, &[0xFFFF; 4]).unwrap();
    assert_eq!(serde_json::to_string(&largest).unwrap(), u64::MAX.to_string());
    let lowest = decoded(ValueType::I64, WordOrder::Abcd, &[0x8000, 0, 0, 1]).unwrap();
    assert_eq!(serde_json::to_string(&lowest).unwrap(), (i64::MIN + 1).to_string());
}

#[test]
fn what_is_encoded_is_decoded_again() {
    for (value_type, _) in ValueType::ALL {
        for (word_order, _) in WordOrder::ALL {
            let point = Point { word_order, scale: 0.5, ..holding(value_type) };
            let value = if value_type == ValueType::Bool { Value::Flag(true) } else { Value::Number(1234.5) };
            let words = point.encode(value);
            assert_eq!(words.len(), usize::from(value_type.quantity()));
            let bit = Point { bit: Some(11), ..point.clone() };
            assert_eq!(point.decode(&Block::Words(words), 0), Ok(value), "{value_type:?} {word_order:?}");
            if value_type == ValueType::Bool {
                assert_eq!(bit.decode(&Block::Words(bit.encode(Value::Flag(true))), 0), Ok(Value::Flag(true)), "{word_order:?}");
            }
        }
    }
    let counter = holding(ValueType::I64);
    assert_eq!(
        counter.decode(&Block::Words(counter.encode(Value::Whole(-9_007_199_254_740_993))), 0),
        Ok(Value::Whole(-9_007_199_254_740_993))
    );
}

#[test]
fn texts_end_at_the_first_nul_and_lose_their_padding() {
    assert_eq!(text(&[0x4D41, 0x3136, 0x3030, 0x2000, 0x5858], WordOrder::Abcd), "MA1600");
    assert_eq!(text(&[0x414D, 0x3631], WordOrder::Badc), "MA16");
    assert_eq!(text(&[0x3136, 0x4D41], WordOrder::Cdab), "MA16");
    assert_eq!(text(&[], WordOrder::Abcd), "");
}

#[test]
fn references_are_written_as_handbooks_do() {
    let references = [(Table::Holding, 9_998u16), (Table::Holding, 9_999), (Table::Input, 0), (Table::Discrete, 65_535), (Table::Coil, 0)];
    assert_eq!(references.map(|(table, address)| table.reference(address)), ["49999", "410000", "30001", "165536", "00001"]);
}
