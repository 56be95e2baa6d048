//! Answers that are still owed on a bus whose frames carry no transaction number.
//!
//! On RTU a late answer looks like the answer to the next request of the same shape (unit, function, length). So before a unit is asked
//! for a shape that it owes, it is asked something of a shape that nothing owed has. A machine answers in the order in which it is asked:
//! once that answer is there, nothing from before it can come any more. Where the question stays unanswered, because the machine knows
//! no request but the one of its handbook, it is time that settles the debt.

use std::time::Duration;

use tokio::time::Instant;

use super::request::ReadRequest;

/// No machine answers later than this.
const OWED_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    unit_id: u8,
    function_code: u8,
    /// Bytes of values.
    length: u16,
}

impl Shape {
    /// `None` for an answer that cannot be taken for values.
    fn of(unit_id: u8, request: &ReadRequest) -> Option<Shape> {
        let ReadRequest::Values { table, quantity, .. } = *request else { return None };
        let length = if table.holds_bits() { quantity.div_ceil(8) } else { quantity.saturating_mul(2) };
        Some(Shape { unit_id, function_code: request.function_code(), length })
    }
}

#[derive(Debug, Default)]
pub(super) struct Overdue {
    owed: Vec<(Shape, Instant)>,
}

impl Overdue {
    pub fn add(&mut self, unit_id: u8, request: &ReadRequest, now: Instant) {
        let Some(shape) = Shape::of(unit_id, request) else { return };
        self.owed.retain(|(owed, since)| *owed != shape && now.duration_since(*since) < OWED_MAX);
        self.owed.push((shape, now));
    }

    /// Whether any answer is owed, by whichever unit.
    pub fn any(&self, now: Instant) -> bool {
        self.owed.iter().any(|(_, since)| now.duration_since(*since) < OWED_MAX)
    }

    /// The unit has answered a question that could not be mistaken.
    pub fn answered(&mut self, unit_id: u8) {
        self.owed.retain(|(shape, _)| shape.unit_id != unit_id);
    }

    /// What to ask the unit before `request`, if an answer is owed that could be taken for its own: near the same place, but of a shape
    /// of its own. That a question stays unanswered puts off no request but those of the question's shape.
    pub fn question(&self, unit_id: u8, request: &ReadRequest, now: Instant) -> Option<ReadRequest> {
        let ReadRequest::Values { table, address, quantity } = *request else { return None };
        let asked = Shape::of(unit_id, request)?;
        let owes = |(shape, since): &&(Shape, Instant)| *shape == asked && now.duration_since(*since) < OWED_MAX;
        self.owed.iter().find(owes)?;
        let step = if table.holds_bits() { 8 } else { 1 };
        // Fewer than asked for are surely there; if they are all taken, more.
        let fewer = (1..quantity).step_by(step);
        let more = (quantity..=table.quantity_max()).step_by(step);
        // Within the table: from the last address on there is room for one.
        let question = |quantity: u16| ReadRequest::Values { table, address: address.min(u16::MAX - (quantity - 1)), quantity };
        let own = |question: &ReadRequest| {
            let shape = Shape::of(unit_id, question);
            shape != Some(asked) && !self.owed.iter().any(|(owed, _)| Some(*owed) == shape)
        };
        fewer.chain(more).map(question).find(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::Table;

    fn values(quantity: u16) -> ReadRequest {
        ReadRequest::Values { table: Table::Holding, address: 65_535, quantity }
    }

    #[test]
    fn a_unit_that_owes_an_answer_is_asked_for_another_number_of_registers_than_anything_owed() {
        let now = Instant::now();
        let mut overdue = Overdue::default();
        assert_eq!(overdue.question(1, &values(3), now), None);
        overdue.add(1, &values(3), now);
        assert_eq!(overdue.question(2, &values(3), now), None, "another unit owes nothing");
        assert_eq!(overdue.question(1, &values(3), now), Some(ReadRequest::Values { table: Table::Holding, address: 65_535, quantity: 1 }));
        overdue.add(1, &values(1), now);
        overdue.add(1, &values(2), now);
        assert_eq!(
            overdue.question(1, &values(3), now),
            Some(ReadRequest::Values { table: Table::Holding, address: 65_532, quantity: 4 }),
            "neither owed nor what is asked next, and within the table"
        );
        assert_eq!(overdue.question(1, &values(5), now), None, "nothing owed could be taken for its answer");
        overdue.answered(1);
        assert_eq!(overdue.question(1, &values(3), now), None);
    }

    #[test]
    fn unanswered_questions_put_off_the_request_itself_no_longer_than_its_own_debt_lasts() {
        let begun = Instant::now();
        let mut overdue = Overdue::default();
        overdue.add(1, &values(3), begun);
        let asked_at: Vec<u64> = (0..120)
            .filter(|second| {
                let now = begun + Duration::from_secs(*second);
                let question = overdue.question(1, &values(3), now);
                question.iter().for_each(|question| overdue.add(1, question, now));
                question.is_none()
            })
            .collect();
        assert_eq!(asked_at, (OWED_MAX.as_secs()..120).collect::<Vec<_>>());
    }

    #[test]
    fn bits_are_told_apart_by_whole_bytes_and_old_debts_are_forgotten() {
        let coils = |quantity| ReadRequest::Values { table: Table::Coil, address: 0, quantity };
        let now = Instant::now();
        let mut overdue = Overdue::default();
        overdue.add(1, &coils(4), now);
        assert_eq!(overdue.question(1, &coils(7), now), Some(coils(15)));
        assert!(overdue.any(now));
        assert_eq!(overdue.question(1, &coils(7), now + OWED_MAX), None);
        assert!(!overdue.any(now + OWED_MAX));
    }
}
