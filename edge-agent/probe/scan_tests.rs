// A machine with one range of registers is meant.
#![allow(clippy::single_range_in_vec_init)]

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::super::asker::Manners;
use super::super::units;
use super::*;

/// A machine in memory: registers, the most it gives at once, and its way to say no.
struct Machine {
    registers: BTreeMap<u32, u16>,
    quantity_max: u16,
    no: Trouble,
    asked: Vec<Instant>,
}

impl Machine {
    fn with(ranges: &[Range<u32>]) -> Machine {
        let registers = ranges.iter().cloned().flatten().map(|address| (address, (address % 60_000) as u16 + 1)).collect();
        Machine { registers, quantity_max: 125, no: Trouble::Exception(2), asked: Vec::new() }
    }
}

impl Reader for Machine {
    async fn read(&mut self, unit_id: u8, _: Table, address: u16, quantity: u16, limit: Duration) -> Result<Block, Trouble> {
        self.asked.push(Instant::now());
        if unit_id != 1 {
            sleep(limit).await;
            return Err(Trouble::Silent);
        }
        let start = u32::from(address);
        let words: Option<Vec<u16>> = (start..start + u32::from(quantity)).map(|address| self.registers.get(&address).copied()).collect();
        match words {
            Some(words) if quantity <= self.quantity_max => Ok(Block::Words(words)),
            _ => Err(self.no.clone()),
        }
    }

    async fn identify(&mut self, _: u8, _: Duration) -> Result<Vec<(u8, String)>, Trouble> {
        Err(Trouble::Exception(1))
    }
}

const MANNERS: Manners = Manners {
    timeout: Duration::from_secs(1),
    pause: Duration::from_millis(50),
    questions_max: 20_000,
    time_max: Duration::from_secs(100_000),
};

async fn scanned(machine: Machine, manners: Manners) -> (TableScan, Asker<Machine>) {
    let mut asker = Asker::new(machine, manners);
    let mut scan = TableScan::new(1, Table::Holding, 0..END);
    for level in 0..LEVELS {
        scan.look(&mut asker, level).await;
    }
    (scan, asker)
}

#[tokio::test(start_paused = true)]
async fn ranges_are_found_with_their_exact_ends_wherever_they_lie() {
    let ranges = [0..7, 8..9, 100..225, 1003..1040, 4096..4500, 33_007..33_040, 65_500..65_536];
    let (scan, _) = scanned(Machine::with(&ranges), MANNERS).await;
    assert_eq!(scan.ranges(), ranges);
    assert_eq!(scan.words(1003..1006), [1004, 1005, 1006]);
    assert!(!scan.limited);
}

#[tokio::test(start_paused = true)]
async fn the_most_that_one_request_may_ask_for_is_found() {
    for quantity_max in [1, 2, 10, 32, 100, 123] {
        let machine = Machine { quantity_max, ..Machine::with(&[200..500]) };
        let (scan, _) = scanned(machine, MANNERS).await;
        assert_eq!(scan.ranges(), [200..500], "{quantity_max}");
        assert_eq!((scan.limited, scan.quantity_max()), (true, quantity_max));
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_answers_everything_is_read_whole_with_large_requests() {
    let mut machine = Machine::with(&[]);
    machine.registers = (0..END).map(|address| (address, u16::from(address == 12_345))).collect();
    let (scan, asker) = scanned(machine, MANNERS).await;
    assert_eq!((scan.ranges(), scan.words(12_344..12_347)), (vec![0..END], &[0, 1, 0][..]));
    assert!(asker.asked() < 1_300, "{}", asker.asked());
}

#[tokio::test(start_paused = true)]
async fn questions_are_bounded_and_keep_their_distance() {
    let (scan, asker) = scanned(Machine::with(&[0..50]), Manners { questions_max: 300, ..MANNERS }).await;
    assert_eq!((asker.asked(), scan.stop), (300, Some(Stop::Spent)));
    let asked = asker.into_reader().asked;
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= MANNERS.pause));
}

#[tokio::test(start_paused = true)]
async fn a_function_code_that_is_not_known_ends_the_table_at_once() {
    let machine = Machine { no: Trouble::Exception(1), ..Machine::with(&[]) };
    let (scan, asker) = scanned(machine, MANNERS).await;
    assert_eq!((scan.stop, asker.asked()), (Some(Stop::NoTable), 1));
}

#[tokio::test(start_paused = true)]
async fn silent_unit_ids_are_waited_for_no_longer_than_those_that_answer_need() {
    let mut asker = Asker::new(Machine::with(&[0..1]), MANNERS);
    let began = Instant::now();
    let found = units::find(&mut asker, &units::order(true), false, |_, _| {}).await;
    assert_eq!((found.present, found.any), (vec![1], false));
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
}
