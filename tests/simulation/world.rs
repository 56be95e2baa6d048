//! One seeded run: senders, a network that repeats, reorders and cuts, a disk and a database that fail, a clock that jumps.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ingest::core::{Core, CoreOptions, read};
use ingest::{Outcome, RawMessage, Replay};
use observe::{Health, Metrics};
use policy::register::{Enterprise, Gateway, Product, Register, Supplier};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use store::{Checkpoint, Directory, LogOptions, LogPosition, prepare_segment, scan, seal_next};
use wire::identity::Sender;

use crate::disk::{SimDisk, Weather};
use crate::ledger::SimLedger;
use crate::model::{CARRIER, ENTERPRISE, GATEWAYS, Identity, MODULE, PRODUCT, SUPPLIER, Sent, base, expected, found};

const SEGMENT_BYTES: u64 = 8 << 10;
const OPTIONS: CoreOptions = CoreOptions { log: LogOptions { segment_bytes: SEGMENT_BYTES, grow_bytes: 1 << 10 }, free_bytes_min: 1 << 20 };
const DIR: &str = "/log";

pub struct World {
    rng: StdRng,
    disk: SimDisk,
    ledger: SimLedger,
    core: Option<Core<SimDisk, SimLedger>>,
    directory: Directory,
    metrics: Metrics,
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
    /// Committed without an answer that anybody heard: accepted or not.
    in_doubt: Vec<Sent>,
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
            running: None,
            now: Duration::ZERO,
            wall: base() + TimeDelta::hours(2),
            next_number: BTreeMap::new(),
            boot: 0,
            outstanding: Vec::new(),
            accepted: BTreeMap::new(),
            in_doubt: Vec::new(),
        };
        world.start();
        world
    }

    pub fn run(mut self, steps: u32) {
        for _ in 0..steps {
            match self.rng.random_range(0..100) {
                0..60 => self.commit(),
                60..68 => self.hand_over(),
                68..76 => self.end_checkpoint(),
                76..80 => drop(prepare_segment(&self.disk, Path::new(DIR), SEGMENT_BYTES)),
                80..83 => drop(seal_next(&self.disk, Path::new(DIR), 0)),
                83..86 => self.crash(),
                86..88 => self.crash_while_committing(),
                88..91 => self.flip_a_bit_of_a_copy(),
                91..96 => self.change_weather(),
                _ => self.jump(),
            }
        }
        self.finish();
    }

    fn start(&mut self) {
        let opened = Core::open(self.disk.clone(), Path::new(DIR), self.ledger.clone(), OPTIONS, self.metrics.clone(), Health::default());
        let (core, scanned) = opened.unwrap_or_else(|error| panic!("the service does not start: {error}"));
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
            Outcome::Refused(faults) if sent.faulty => assert!(!faults.is_empty()),
            Outcome::Refused(faults) => {
                assert!(faults.iter().all(|fault| fault.code == wire::FaultCode::Conflict), "{faults:?}");
                let other = before.or_else(|| self.in_doubt.iter().find(|other| other.identity == sent.identity && *other != sent));
                assert!(other.is_some_and(|other| other != sent), "{sent:?} conflicts with nothing");
            }
            // A sync that failed may have written it all the same; then it stands after the next start.
            Outcome::Unavailable(_) if !sent.faulty => self.in_doubt.push(sent.clone()),
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
            // An error that hides a commit is told apart by the position.
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

    /// The process ends, by a kill or with the power; a checkpoint under way may have come to its end.
    fn crash(&mut self) {
        if let Some(checkpoint) = self.running.take()
            && self.rng.random_bool(0.5)
        {
            self.ledger.apply(&checkpoint);
        }
        self.core = None;
        if self.rng.random_bool(0.6) {
            self.disk.cut_power();
        }
        // Whoever starts it anew has seen to the disk.
        self.disk.set_weather(calm());
        self.start();
    }

    /// Between the first byte of a group and its answer.
    fn crash_while_committing(&mut self) {
        let group = self.group();
        if self.rng.random_bool(0.5) {
            self.disk.set_weather(Weather { sync_fails: 100, ..calm() });
        }
        let _unheard = self.settle(&group);
        self.in_doubt.extend(group.into_iter().filter(|sent| !sent.faulty));
        self.crash();
    }

    fn change_weather(&mut self) {
        let weather = match self.rng.random_range(0..6) {
            0 => Weather { sync_fails: 30, ..calm() },
            1 => Weather { write_fails: 30, ..calm() },
            2 => Weather { full: true, ..calm() },
            3 => Weather { free_bytes: 1000, ..calm() },
            _ => calm(),
        };
        self.disk.set_weather(weather);
    }

    fn jump(&mut self) {
        self.now += Duration::from_millis(self.rng.random_range(0..3000));
        self.wall = base() + TimeDelta::minutes(self.rng.random_range(0..600));
    }

    /// Damage is found, or has changed nothing; what is sound is still read; and the service starts and goes on.
    fn flip_a_bit_of_a_copy(&mut self) {
        let seed = self.rng.random();
        let copy = self.disk.fork(seed);
        copy.set_weather(calm());
        let bodies = |disk: &SimDisk| {
            let mut bodies = Vec::new();
            let scanned = scan(disk, Path::new(DIR), LogPosition::default(), None, |stretch| {
                bodies.extend(stretch.records().map(|(_, record)| record.body.to_vec()));
            });
            (bodies, scanned.unwrap())
        };
        let (before, _) = bodies(&copy);
        let Some((path, byte)) = copy.flip_bit() else { return };
        let (after, scanned) = bodies(&copy);
        let told = scanned.torn.is_some() || !scanned.damaged.is_empty();
        assert!(told || before == after, "a flipped bit at byte {byte} of {} is not found", path.display());
        let sound: HashSet<_> = before.into_iter().collect();
        assert!(after.iter().all(|body| sound.contains(body)), "damage was taken for a report");
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
        if self.core.as_ref().unwrap().facts_lost() {
            self.crash();
        }
        self.now += Duration::from_secs(10);
        let doubtful = std::mem::take(&mut self.in_doubt);
        let rest: Vec<Sent> = self.outstanding.iter().chain(&doubtful).cloned().collect();
        self.in_doubt = doubtful;
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
        self.start();
        self.compare();
    }

    fn compare(&self) {
        let model = expected(self.accepted.values());
        let core = self.core.as_ref().unwrap();
        let mut facts = self.ledger.facts();
        facts.merge(core.facts().clone());
        assert_eq!(found(&facts), model, "facts");
        let mut replay = Replay::default();
        let scanned = scan(&self.disk, Path::new(DIR), LogPosition::default(), None, |stretch| replay.take(&stretch)).unwrap();
        assert_eq!(found(&replay.facts), model, "facts from the log anew");
        assert_eq!((scanned.end.root(), scanned.end.block()), (core.end().root(), core.end().block()), "the tree");
        assert_eq!(replay.records, self.accepted.len() as u64);
    }
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
