use super::*;
use crate::point::{Table, ValueType, WordOrder};

fn region(start: u16, words: Vec<u16>) -> Region {
    Region::new(1, Table::Holding, start, words)
}

fn floats(values: &[f32]) -> Vec<u16> {
    values.iter().flat_map(|value| [(value.to_bits() >> 16) as u16, value.to_bits() as u16]).collect()
}

fn found(values: &[&str], regions: &[Region]) -> Vec<Found> {
    let expected: Vec<Expected> = values.iter().map(|text| Expected::read(text, text).unwrap()).collect();
    find(&expected, 0.005, regions)
}

/// (address, type, order, scale) of the best candidates.
fn best(found: &[Found]) -> Vec<(u16, ValueType, WordOrder, f64)> {
    let candidates = found.iter().map(|found| &found.ranked[0].candidate);
    candidates
        .map(|candidate| (candidate.address, candidate.encoding.value_type, candidate.encoding.word_order, candidate.encoding.scale))
        .collect()
}

#[test]
fn the_nearest_of_three_alike_is_meant() {
    let regions = [region(100, floats(&[230.114, 231.083, 229.772, 4.207, 4.318, 3.977, 49.984]))];
    let wanted = |address| (address, ValueType::F32, WordOrder::Abcd, 1.0);
    assert_eq!(best(&found(&["231.1"], &regions)), [wanted(102)]);
    assert_eq!(best(&found(&["229.8", "230.1", "49.98"], &regions)), [wanted(104), wanted(100), wanted(112)]);
}

#[test]
fn the_order_that_explains_all_values_is_taken() {
    let swapped: Vec<u16> = floats(&[411.27, 18.413, 0.9137]).chunks(2).flat_map(|pair| [pair[1], pair[0]]).collect();
    let regions = [region(0, [vec![3, 9600], swapped, vec![1, 2]].concat())];
    let wanted = |address| (address, ValueType::F32, WordOrder::Cdab, 1.0);
    assert_eq!(best(&found(&["411.3", "18.41", "0.914"], &regions)), [wanted(2), wanted(4), wanted(6)]);
}

#[test]
fn scale_offset_decimal_digits_and_sign_are_found() {
    let regions = [region(0, vec![7, 2317, 9600, 4512, 65_494, 1, 0x2356, 0x0871, 0x0494])];
    let wanted = |address, value_type, scale| (address, value_type, WordOrder::Abcd, scale);
    assert_eq!(best(&found(&["231.7", "45.12"], &regions)), [wanted(1, ValueType::U16, 0.1), wanted(3, ValueType::U16, 0.01)]);
    assert_eq!(best(&found(&["-4.2"], &regions)), [wanted(4, ValueType::I16, 0.1)]);
    assert_eq!(best(&found(&["235.6", "87.1"], &regions)), [wanted(6, ValueType::Bcd16, 0.1), wanted(7, ValueType::Bcd16, 0.1)]);
    let moved = [region(0, vec![7, 9600, 6334, 1, 52])];
    let found = found(&["23.34"], &moved);
    assert_eq!((found[0].ranked[0].candidate.address, found[0].ranked[0].candidate.encoding.offset), (2, -40.0));
}

#[test]
fn what_the_data_cannot_tell_is_said() {
    let found = found(&["231.7"], &[region(10, vec![0, 2317, 0, 2301, 0, 2322])]);
    let ranked = &found[0].ranked;
    let best = &ranked[0].candidate;
    assert_eq!((best.address, best.encoding.value_type, best.signed_alike), (10, ValueType::U32, Some(ValueType::I32)));
    let word = ranked.iter().find(|ranked| ranked.candidate.encoding.value_type == ValueType::U16).unwrap();
    assert!(best.reads_the_same_as(&word.candidate), "{ranked:#?}");
    assert!(ranked.iter().map(|ranked| ranked.share).sum::<f64>() < 1.0 + 1e-9);
}

#[test]
fn a_value_that_leaves_is_not_the_one_that_stays() {
    let mut regions = [region(0, vec![501, 0, 0, 0, 0, 500])];
    assert_eq!(best(&found(&["50.0"], &regions))[0].0, 5);
    regions[0].later = [900, 1700, 200].map(|later| [501, 0, 0, 0, 0, later].map(Some).to_vec()).to_vec();
    assert_eq!(best(&found(&["50.0"], &regions))[0].0, 0);
}

#[test]
fn what_stands_nowhere_is_not_found() {
    assert!(found(&["231.7"], &[region(0, vec![1, 2, 3, 9600, 17, 40_000])])[0].ranked.is_empty());
    assert!(found(&["231.7"], &[])[0].ranked.is_empty());
}

#[test]
fn the_search_ends_when_all_is_found_near_each_other_and_not_for_one_value() {
    let regions = [region(100, floats(&[230.114, 231.083, 4.207, 49.984]))];
    assert!(settled(&found(&["230.1", "49.98"], &regions)));
    assert!(!settled(&found(&["230.1"], &regions)));
    assert!(!settled(&found(&["230.1", "777.7"], &regions)));
}

#[test]
fn alike_values_are_taken_in_the_order_in_which_they_were_given() {
    let found = found(&["41.8", "41.8", "63.2"], &[region(100, vec![418, 418, 632])]);
    assert_eq!(best(&found).iter().map(|best| best.0).collect::<Vec<u16>>(), [100, 101, 102]);
}

#[test]
fn one_count_among_single_registers_takes_the_empty_one_beside_it() {
    let found = found(&["0.743", "96.3", "10259"], &[region(1000, vec![743, 963, 10_259, 0, 14_158, 13_956, 13_744])]);
    let kinds: Vec<(u16, ValueType)> = best(&found).iter().map(|best| (best.0, best.1)).collect();
    assert_eq!(kinds, [(1000, ValueType::U16), (1001, ValueType::U16), (1002, ValueType::U32)]);
}
