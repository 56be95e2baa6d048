//! One seeded run: senders, a network that repeats, reorders and cuts, a disk and a database that fail, a clock that jumps.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ingest::core::{Core, CoreOptions, read};
use ingest::{Outcome, RawMessage, Replay};
use observe::{Health, Metrics, Part};
use policy::register::{Enterprise, Gateway, Product, Register, Supplier};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use store::{Checkpoint, Directory, LogOptions, LogPosition, Scanned, StoreError, prepare_segment, scan, seal_next};
use wire::identity::Sender;

use crate::disk::{SimDisk, Weather};
use crate::ledger::SimLedger;
use crate::model::{CARRIER, ENTERPRISE, GATEWAYS, Identity, MODULE, PRODUCT, SUPPLIER, Sent, base, expected, found};

const SEGMENT_BYTES: u64 = 8 << 10;
const OPTIONS: CoreOptions = CoreOptions { log: LogOptions { segment_bytes: SEGMENT_BYTES, grow_bytes: 1 << 10 }, free_bytes_min: 1 << 20 };
const DIR: &str = "/log";
/// The service looks at the free space at least that often.
const SPACE_LOOK_MAX: Duration = Duration::from_millis(500);

pub struct World {
    rng: StdRng,
    disk: SimDisk,
    ledger: SimLedger,
    core: Option<Core<SimDisk, SimLedger>>,
    directory: Directory,
    metrics: Metrics,
    health: Health,
    /// A checkpoint that was handed over and has not ended.
    running: Option<Checkpoint>,
    now: Duration,
    wall: DateTime<Utc>,
    next_number: BTreeMap<Sender, u64>,
    boot: u64,
    /// Sent or to be sent, and not yet answered.
    outstanding: Vec<Sent>,
    /// Answered "accepted" at least in the log's own eyes.
    accepted: BTreeMap<Identity, Sent>,
    /// Not written as far as the process knows; the next start may find it in the log all the same.
    unsettled: Vec<Sent>,
    /// Accepted or not: so it was left by a process that is gone.
    in_doubt: Vec<Sent>,
    /// Since when there has been too little space.
    scarce_since: Option<Duration>,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut world = World {
            rng: StdRng::seed_from_u64(seed),
            disk: SimDisk::new(seed ^ 0x5eed),
            ledger: SimLedger::default(),
            core: None,
            directory: directory(),
            metrics: Metrics::new(),
            health: Health::default(),
            running: None,
            now: Duration::ZERO,
            wall: base() + TimeDelta::hours(2),
            next_number: BTreeMap::new(),
            boot: 0,
            outstanding: Vec::new(),
            accepted: BTreeMap::new(),
            unsettled: Vec::new(),
            in_doubt: Vec::new(),
            scarce_since: None,
        };
        world.start();
        world
    }

    pub fn run(mut self, steps: u32) {
        for _ in 0..steps {
            match self.rng.random_range(0..100) {
                0..60 => self.commit(),
                60..67 => self.hand_over(),
                67..75 => self.end_checkpoint(),
                75..78 => prepare(&self.disk),
                78..81 => seal(&self.disk),
                81..84 => self.crash(),
                84..87 => self.crash_while_committing(),
                87..88 => self.crash_beside(),
                88..91 => self.flip_bits_of_a_copy(),
                91..96 => self.change_weather(),
                _ => self.jump(),
            }
        }
        self.finish();
    }

    fn start(&mut self) {
        while self.rng.random_bool(0.2) {
            self.start_in_vain();
        }
        let (core, scanned) = self.open().unwrap_or_else(|error| panic!("the service does not start: {error}"));
        assert_eq!(scanned.damaged, [], "a crash is no damage");
        self.core = Some(core);
        self.boot += 1;
        // A gateway may start anew too; its old reports are still on their way.
        if self.rng.random_bool(0.5) {
            self.next_number.clear();
        } else {
            self.boot -= 1;
        }
    }

    fn open(&self) -> Result<(Core<SimDisk, SimLedger>, Scanned), StoreError> {
        Core::open(self.disk.clone(), Path::new(DIR), self.ledger.clone(), OPTIONS, self.metrics.clone(), self.health.clone())
    }

    /// A start that ends at any point, or fails on a bad disk.
    fn start_in_vain(&mut self) {
        if self.rng.random_bool(0.5) {
            self.disk.die_after(self.rng.random_range(0..15));
        } else {
            self.disk.set_weather(Weather { sync_fails: 30, write_fails: 10, rest_fails: 10, ..calm() });
        }
        drop(self.open());
        self.end_process();
    }

    /// The process ends, by a kill or with the power; whoever starts it anew has seen to disk and database.
    fn end_process(&mut self) {
        self.core = None;
        if self.rng.random_bool(0.6) {
            self.disk.cut_power();
        }
        self.disk.end_process();
        self.disk.set_weather(calm());
        self.ledger.set_failing(false);
        self.scarce_since = None;
        self.health = Health::default();
        self.in_doubt.append(&mut self.unsettled);
    }

    fn message(&mut self) -> Sent {
        if !self.outstanding.is_empty() && self.rng.random_bool(0.4) {
            return self.outstanding[self.rng.random_range(0..self.outstanding.len())].clone();
        }
        if !self.accepted.is_empty() && self.rng.random_bool(0.25) {
            let at = self.rng.random_range(0..self.accepted.len());
            let mut repeat = self.accepted.values().nth(at).unwrap().clone();
            if self.rng.random_bool(0.3) {
                repeat.variant += 1;
            }
            return repeat;
        }
        let sender = match self.rng.random_range(0..8) {
            0..3 => Sender::Gateway(GATEWAYS[0].into()),
            3..5 => Sender::Gateway(GATEWAYS[1].into()),
            5..7 => Sender::Supplier(SUPPLIER.into()),
            _ => Sender::Carrier(CARRIER.into()),
        };
        let skip = if self.rng.random_bool(0.1) { self.rng.random_range(1..5) } else { 0 };
        let number = self.next_number.entry(sender.clone()).or_insert(0);
        *number += 1 + skip;
        let identity = Identity { sender, boot: self.boot, number: *number };
        let sent = Sent { identity, variant: 0, faulty: self.rng.random_bool(0.05) };
        self.outstanding.push(sent.clone());
        sent
    }

    fn group(&mut self) -> Vec<Sent> {
        let count = self.rng.random_range(1..8);
        (0..count).map(|_| self.message()).collect()
    }

    fn settle(&mut self, group: &[Sent]) -> Vec<Outcome> {
        let (wall, now) = (self.wall, self.now);
        let items = group.iter().map(|sent| {
            let message = RawMessage::of(sent.body().into());
            read(&self.directory, &self.metrics, sent.identity.sender.clone(), wall, message)
        });
        let items = items.collect();
        self.core.as_mut().unwrap().commit(items, now)
    }

    fn commit(&mut self) {
        let group = self.group();
        if self.rng.random_bool(0.1) {
            let others: [fn(&SimDisk); 2] = [prepare, seal];
            self.disk.meanwhile_after(self.rng.random_range(0..6), Box::new(others[self.rng.random_range(0..2)]));
        }
        let outcomes = self.settle(&group);
        for (sent, outcome) in group.into_iter().zip(outcomes) {
            self.take_outcome(&sent, &outcome);
            let heard = self.rng.random_bool(0.9);
            if heard && matches!(outcome, Outcome::Accepted | Outcome::Duplicate | Outcome::Refused(_)) {
                self.outstanding.retain(|other| *other != sent);
            }
        }
    }

    fn take_outcome(&mut self, sent: &Sent, outcome: &Outcome) {
        let before = self.accepted.get(&sent.identity);
        match outcome {
            Outcome::Accepted => {
                assert!(!sent.faulty);
                assert!(self.scarce_since.is_none_or(|since| self.now < since + SPACE_LOOK_MAX), "accepted while space is scarce");
                let doubtful = self.in_doubt.iter().any(|other| other.identity == sent.identity);
                assert!(before.is_none(), "{sent:?} is accepted twice, first as {before:?} (in doubt: {doubtful})");
                self.accepted.insert(sent.identity.clone(), sent.clone());
            }
            Outcome::Duplicate => match before {
                Some(before) => assert_eq!(before, sent, "a duplicate of another report"),
                None => {
                    assert!(self.in_doubt.contains(sent), "{sent:?} was never accepted");
                    self.accepted.insert(sent.identity.clone(), sent.clone());
                }
            },
            Outcome::Refused(_) if !self.ledger.quarantined(sent.body().as_bytes()) => panic!("{sent:?} is not in the quarantine"),
            Outcome::Refused(faults) if sent.faulty => assert!(!faults.is_empty()),
            Outcome::Refused(faults) => {
                assert!(faults.iter().all(|fault| fault.code == wire::FaultCode::Conflict), "{faults:?}");
                let other = before.or_else(|| self.in_doubt.iter().find(|other| other.identity == sent.identity && *other != sent));
                assert!(other.is_some_and(|other| other != sent), "{sent:?} conflicts with nothing");
            }
            // A sync that failed may have written it all the same; then it stands after the next start.
            Outcome::Unavailable(_) if !sent.faulty => self.unsettled.push(sent.clone()),
            Outcome::Unavailable(_) | Outcome::DiskFull => {}
        }
    }

    fn hand_over(&mut self) {
        if self.running.is_none() {
            self.running = self.core.as_mut().unwrap().hand_over();
        }
    }

    fn end_checkpoint(&mut self) {
        let Some(checkpoint) = self.running.take() else { return };
        let ended = match self.rng.random_range(0..20) {
            // Whether it was written is told by the position, which nobody can read now.
            _ if self.ledger.failing() => Err(Some(Box::new(checkpoint))),
            0..15 => {
                self.ledger.apply(&checkpoint);
                Ok(())
            }
            15..19 => Err(Some(Box::new(checkpoint))),
            _ => {
                if self.rng.random_bool(0.5) {
                    self.ledger.apply(&checkpoint);
                }
                Err(None)
            }
        };
        self.core.as_mut().unwrap().handed_over(ended);
    }

    /// The process ends; a checkpoint under way may have come to its end.
    fn crash(&mut self) {
        if let Some(checkpoint) = self.running.take()
            && self.rng.random_bool(0.5)
        {
            self.ledger.apply(&checkpoint);
        }
        self.end_process();
        self.start();
    }

    /// Between the first byte of a group and its answer.
    fn crash_while_committing(&mut self) {
        let group = self.group();
        match self.rng.random_range(0..4) {
            0 => {}
            1 => self.disk.set_weather(Weather { sync_fails: 100, ..calm() }),
            _ => self.disk.die_after(self.rng.random_range(0..8)),
        }
        let _unheard = self.settle(&group);
        self.in_doubt.extend(group.into_iter().filter(|sent| !sent.faulty));
        self.crash();
    }

    /// In the middle of what is done beside the commits.
    fn crash_beside(&mut self) {
        self.disk.die_after(self.rng.random_range(0..10));
        if self.rng.random_bool(0.3) {
            prepare(&self.disk)
        } else {
            seal(&self.disk)
        }
        self.crash();
    }

    fn change_weather(&mut self) {
        let weather = match self.rng.random_range(0..9) {
            0 => Weather { sync_fails: 30, ..calm() },
            1 => Weather { write_fails: 30, ..calm() },
            2 => Weather { rest_fails: 30, ..calm() },
            3 => Weather { full: true, ..calm() },
            4 => Weather { free_bytes: 1000, ..calm() },
            _ => calm(),
        };
        self.scarce_since = (weather.free_bytes < OPTIONS.free_bytes_min).then_some(self.now);
        self.disk.set_weather(weather);
        self.ledger.set_failing(self.rng.random_bool(0.1));
    }

    fn jump(&mut self) {
        self.now += Duration::from_millis(self.rng.random_range(0..3000));
        self.core.as_mut().unwrap().tend(self.now);
        self.wall = base() + TimeDelta::minutes(self.rng.random_range(0..600));
    }

    /// Damage is found, or has changed nothing; only what is named is lost; the tree goes on where it can; and the service starts and
    /// goes on.
    fn flip_bits_of_a_copy(&mut self) {
        let seed = self.rng.random();
        let copy = self.disk.fork(seed);
        copy.end_process();
        copy.set_weather(calm());
        let (before, whole) = blocks(&copy);
        for _ in 0..self.rng.random_range(1..3) {
            copy.flip_bit();
        }
        let (after, scanned) = blocks(&copy);
        let told = |block: &u64| {
            let torn = scanned.torn.as_ref().is_some_and(|torn| torn.block <= *block);
            torn || scanned.damaged.iter().any(|damaged| damaged.blocks.contains(block))
        };
        for (block, records) in &before {
            assert!(after.get(block).map_or_else(|| told(block), |read| read == records), "block {block} is lost or changed untold");
        }
        assert!(after.keys().all(|block| before.contains_key(block)), "damage was taken for a block");
        if scanned.torn.is_none() && scanned.damaged.iter().all(|damaged| damaged.leaves_known) {
            assert_eq!(scanned.end.root(), whole.end.root(), "the tree over damage whose leaves are known");
        }
        let opened = Core::open(copy, Path::new(DIR), self.ledger.fork(), OPTIONS, self.metrics.clone(), Health::default());
        let (mut core, _) = opened.unwrap_or_else(|error| panic!("the service does not start over damage: {error}"));
        let fresh = Identity { sender: Sender::Gateway(GATEWAYS[0].into()), boot: 1_000_000, number: 1 };
        let fresh = Sent { identity: fresh, variant: 0, faulty: false };
        let message = RawMessage::of(fresh.body().into());
        let item = read(&self.directory, &self.metrics, fresh.identity.sender.clone(), self.wall, message);
        assert_eq!(core.commit(vec![item], Duration::ZERO), [Outcome::Accepted]);
    }

    /// Everything is sent until it is answered; then the facts are what the model says, in memory, in the database and from the log.
    fn finish(mut self) {
        self.disk.set_weather(calm());
        self.ledger.set_failing(false);
        self.scarce_since = None;
        if self.core.as_ref().unwrap().facts_lost() {
            self.crash();
        }
        self.now += Duration::from_secs(10);
        self.core.as_mut().unwrap().tend(self.now);
        let failing = self.health.failing();
        assert!(failing.iter().all(|(part, _)| *part == Part::Tally.as_str()), "it does not recover by itself: {failing:?}");
        let rest: Vec<Sent> = self.outstanding.iter().chain(&self.in_doubt).chain(&self.unsettled).cloned().collect();
        for sent in rest {
            let outcomes = self.settle(std::slice::from_ref(&sent));
            assert!(!matches!(outcomes[0], Outcome::Unavailable(_) | Outcome::DiskFull), "it does not recover: {outcomes:?}");
            self.take_outcome(&sent, &outcomes[0]);
        }
        while self.running.is_some() {
            self.end_checkpoint();
        }
        if self.core.as_ref().unwrap().facts_lost() {
            self.crash();
        }
        self.compare();
        self.running = None;
        self.core = None;
        self.disk.cut_power();
        self.end_process();
        self.start();
        self.compare();
    }

    fn compare(&self) {
        let model = expected(self.accepted.values());
        let core = self.core.as_ref().unwrap();
        let mut facts = self.ledger.facts();
        facts.merge(core.facts().clone());
        let stored = self.ledger.identities();
        assert_eq!(found(&facts, std::iter::once(&stored).chain(core.identities().pending())), model, "facts");
        let mut replay = Replay::default();
        let scanned = scan(&self.disk, Path::new(DIR), LogPosition::default(), None, |stretch| replay.take(&stretch)).unwrap();
        assert_eq!(found(&replay.facts, std::iter::once(&replay.identities)), model, "facts from the log anew");
        assert_eq!((scanned.end.root(), scanned.end.block()), (core.end().root(), core.end().block()), "the tree");
        assert_eq!(replay.records, self.accepted.len() as u64);
    }
}

/// What is done beside the commits; a failure of it is no failure of the service.
fn prepare(disk: &SimDisk) {
    let _ = prepare_segment(disk, Path::new(DIR), SEGMENT_BYTES);
}

fn seal(disk: &SimDisk) {
    let _ = seal_next(disk, Path::new(DIR), 0);
}

/// The bodies of every block that can be read.
fn blocks(disk: &SimDisk) -> (BTreeMap<u64, Vec<Vec<u8>>>, Scanned) {
    let mut blocks: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    let scanned = scan(disk, Path::new(DIR), LogPosition::default(), None, |stretch| {
        stretch.records().for_each(|(block, record)| blocks.entry(block).or_default().push(record.body.to_vec()));
    });
    (blocks, scanned.unwrap())
}

fn calm() -> Weather {
    Weather { free_bytes: u64::MAX, ..Weather::default() }
}

fn directory() -> Directory {
    let mut register = Register::default();
    let enterprise = json!({"id": ENTERPRISE, "name": "厂", "city": "440100", "kind": "manufacturer"});
    let enterprise: Enterprise = serde_json::from_value(enterprise).unwrap();
    let supplier: Supplier = serde_json::from_value(json!({"id": SUPPLIER, "name": "供", "city": "440100"})).unwrap();
    let product = json!({"id": PRODUCT, "supplier": SUPPLIER, "name": "产", "class": "A", "row": 5, "function_modules": [MODULE]});
    let product: Product = serde_json::from_value(product).unwrap();
    register.enterprises.insert(ENTERPRISE.into(), enterprise);
    register.suppliers.insert(SUPPLIER.into(), supplier);
    register.products.insert(PRODUCT.into(), product);
    for id in GATEWAYS {
        let gateway: Gateway = serde_json::from_value(json!({"id": id, "enterprise": ENTERPRISE})).unwrap();
        register.gateways.insert(id.into(), gateway);
    }
    Directory::of(&register)
}
