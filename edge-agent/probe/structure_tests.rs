use super::*;
use crate::point::Table;

fn best(words: Vec<u16>, index: usize, order: WordOrder) -> Cell {
    let region = Region::new(1, Table::Holding, 100, words);
    let structure = Structure::of(&[&region]);
    let of = |cell: &&Cell| structure.probability(Held { region: 0, index, cell: **cell, order, fit: Fit::default() });
    *CELLS.iter().max_by(|a, b| of(a).total_cmp(&of(b))).unwrap()
}

fn floats(values: &[f32], low_first: bool) -> Vec<u16> {
    let halves = |value: &f32| {
        let bits = value.to_bits();
        let (high, low) = ((bits >> 16) as u16, bits as u16);
        if low_first { [low, high] } else { [high, low] }
    };
    values.iter().flat_map(halves).collect()
}

#[test]
fn empty_high_words_between_values_show_that_they_are_long() {
    assert_eq!(best(vec![0, 2301, 0, 2318, 0, 2290, 0, 412], 2, WordOrder::Abcd), Cell::Double);
    assert_eq!(best(vec![2301, 2318, 2290, 412, 399, 407], 2, WordOrder::Abcd), Cell::Word);
    assert_eq!(best(vec![0, 0, 0, 2301, 0, 0, 0, 2318, 0, 0, 0, 2290], 4, WordOrder::Abcd), Cell::Quad);
}

#[test]
fn the_ends_of_a_row_of_floats_show_which_half_comes_first() {
    let values = [230.17, 231.42, 229.93, 4.117];
    for (low_first, order, other) in [(false, WordOrder::Abcd, WordOrder::Cdab), (true, WordOrder::Cdab, WordOrder::Abcd)] {
        let region = Region::new(1, Table::Input, 0, floats(&values, low_first));
        let structure = Structure::of(&[&region]);
        let float = |index, order| structure.probability(Held { region: 0, index, cell: Cell::F32, order, fit: Fit::default() });
        let right = float(2, order);
        let shifted = float(if low_first { 3 } else { 1 }, other);
        assert!(right > 0.7 && shifted < 0.2, "{order:?} {right} {shifted}");
    }
}

#[test]
fn the_kinds_that_may_cover_a_register_share_one() {
    let words = vec![0, 2301, 0x4366, 0x2B85, 17, 0, 0, 0x4142];
    let region = Region::new(1, Table::Holding, 0, words);
    let (_, beginnings) = Chain::of(WordOrder::Abcd, Style::Floats).beginnings(&emitted(WordOrder::Abcd, &region));
    for register in 0..region.words.len() {
        let covering = CELLS.iter().enumerate().flat_map(|(kind, cell)| {
            let first = (register + 1).saturating_sub(cell.width());
            (first..=register).map(|start| beginnings[start][kind]).collect::<Vec<_>>()
        });
        let sum: f64 = covering.sum();
        assert!((sum - 1.0).abs() < 1e-9, "register {register}: {sum}");
    }
}

#[test]
fn what_is_held_together_is_as_probable_as_alone_and_less_if_it_contradicts_itself() {
    let region = Region::new(1, Table::Holding, 0, vec![0, 2301, 0, 2318, 0, 2290, 17, 40_000]);
    let structure = Structure::of(&[&region]);
    let held = |index, cell| Held { region: 0, index, cell, order: WordOrder::Abcd, fit: Fit::default() };
    let alone = structure.probability(held(2, Cell::Double)).ln();
    assert!((structure.log_probability_of_all(&[held(2, Cell::Double)]) - alone).abs() < 1e-6);
    let alike = structure.log_probability_of_all(&[held(0, Cell::Double), held(2, Cell::Double)]);
    let mixed = structure.log_probability_of_all(&[held(1, Cell::Word), held(2, Cell::Double)]);
    let overlapping = structure.log_probability_of_all(&[held(1, Cell::Double), held(2, Cell::Double)]);
    assert!(alike > mixed + 1.0 && mixed > overlapping, "{alike} {mixed} {overlapping}");
}
