//! Packs that whoever holds the key has made wrong: the seal is good, and they are found all the same.

use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use policy::canonical::{bytes_of, hash_of_bytes};
use policy::catalogue::Catalogue;
use policy::facts::VoucherFacts;
use policy::in_force::Versions;
use policy::index::Indexed;
use policy::judge::{Case, judge};
use policy::refusals::RefusalFacts;
use policy::register::Register;
use policy::result::EvidenceRef;
use policy::rulebook::Rulebook;
use policy::slice::register_slice;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use store::{
    BlockBuilder, Log, LogOptions, LogPosition, NewResult, OsDisk, Record, ResultGrounds, ServiceKeys, Store, StoredResult, Vouched,
};
use wire::identity::Sender;

use crate::archive::{members, push};
use crate::facts::Folded;
use crate::make::{PackError, make_pack, pack_from};
use crate::seal::{COPY, seal};
use crate::verify_file;

const ENTERPRISE: &str = "91440101231245152Y";

fn other_enterprise() -> String {
    let first_17 = "91440101MA5000001";
    format!("{first_17}{}", char::from(wire::credit_code::check_character(first_17.as_bytes()).unwrap()))
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_572_940_800, 0).unwrap()
}

fn row<T: DeserializeOwned>(row: Value) -> T {
    serde_json::from_value(row).unwrap()
}

fn register() -> Register {
    let mut register = Register::default();
    let enterprise = json!({"id": ENTERPRISE, "name": "厂", "city": "440100", "kind": "manufacturer"});
    register.enterprises.insert(ENTERPRISE.into(), row(enterprise));
    register.suppliers.insert("S".into(), row(json!({"id": "S", "name": "商", "city": "440100"})));
    let product = json!({"id": "P", "supplier": "S", "name": "品", "class": "A", "row": 5, "function_modules": ["甲"]});
    register.products.insert("P".into(), row(product));
    let voucher = json!({
        "id": "V-1", "enterprise": ENTERPRISE, "product": "P", "contract_no": "C", "contract_signed_on": "2019-06-01",
        "contract_total": "1000.00", "contract_amount": "1000.00", "contract_modules": ["甲"],
        "applied_at": "2019-09-02T09:00:00+08:00", "status": "issued",
    });
    register.vouchers.insert("V-1".into(), row(voucher));
    let device = json!({"voucher": "V-1", "device": "SN-1", "province": "44"});
    register.devices.insert(("V-1".into(), "SN-1".into()), row(device));
    register
}

struct World {
    store: Store,
    log: Log<OsDisk>,
    folded: Folded,
    register: Register,
    dir: tempfile::TempDir,
}

impl World {
    async fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let log = Log::open(OsDisk, &store.log_dir(), LogOptions::default(), LogPosition::default(), |_| {}).unwrap().0;
        World { store, log, folded: Folded::default(), register: register(), dir }
    }

    /// A block with a report of the enterprise's machine between two of another's.
    fn report(&mut self, n: i64, device: &str, at: DateTime<Utc>) {
        let (mut builder, received_at_us) = (BlockBuilder::default(), (at + TimeDelta::seconds(1)).timestamp_micros());
        let number = self.log.end().block();
        let other = other_enterprise();
        for (id, enterprise) in [("before", other.as_str()), ("own", ENTERPRISE), ("after", &other)] {
            let at = policy::calendar::show_instant(at);
            let body = json!({"v": 1, "id": format!("{id}-{n}"), "enterprise": enterprise, "devices": [{"device": device, "at": at, "quality": "N"}]});
            let body = body.to_string();
            let sender = "S".into();
            let record = Record {
                sender: Sender::Supplier(sender),
                enterprise: enterprise.into(),
                vouched: Vouched::Key,
                received_at_us,
                body: body.as_bytes(),
            };
            self.folded.take(number, &record);
            builder.push(&record);
        }
        assert_eq!(self.folded.unreadable(), 0);
        self.log.append(builder).unwrap();
    }

    /// Eight days on which the machine ran in five hours each.
    async fn with_evidence() -> World {
        let mut world = World::new().await;
        for n in 0..40 {
            let at = now() - TimeDelta::days(1 + n / 5) - TimeDelta::hours(n % 5);
            world.report(n, "SN-1", at);
        }
        world
    }

    async fn judge(&self) -> StoredResult {
        let (rulebook, catalogue) = (Rulebook::default_2019(), Catalogue::default_2019());
        let voucher = &self.register.vouchers["V-1"];
        let window = policy::window::window(voucher, &rulebook, now());
        let facts = self.folded.of(ENTERPRISE, "P", (window.from, window.to)).unwrap();
        let versions = (Versions::of(rulebook.clone()), Versions::of(catalogue.clone()));
        let slice = Indexed::of(&self.register, &versions.0, &versions.1).slice(voucher);
        let case = Case { register: &slice, rulebook: &rulebook, catalogue: &catalogue, voucher, as_of: now(), facts: &facts };
        let mut result = judge(&case).result;
        let newest = self.store.newest_result("V-1").await.unwrap();
        result.sequence = newest.as_ref().map_or(1, |newest| newest.sequence.unsigned_abs() + 1);
        result.judged_at = now();
        let root = format!("sha256:{}", hex::encode(self.log.end().root()));
        result.evidence = EvidenceRef { log_size: self.log.end().block(), root, ..EvidenceRef::default() };
        let refusals = bytes_of(&RefusalFacts::of(&VoucherFacts::default()).to_json());
        let text = bytes_of(&register_slice(&slice));
        let refusals_hash = hash_of_bytes(&refusals);
        let texts = [
            (result.register_hash.as_str(), text),
            (&refusals_hash, refusals),
            (rulebook.hash(), rulebook.text().as_bytes().to_vec()),
            (catalogue.hash(), catalogue.text().as_bytes().to_vec()),
        ];
        let kept = texts.into_iter().filter_map(|(hash, text)| self.store.to_keep(hash, || text).unwrap()).collect();
        let new = NewResult {
            voucher: "V-1".into(),
            sequence: result.sequence.cast_signed(),
            verdict: result.verdict.code().into(),
            judged_at: now(),
            body: serde_json::to_string(&result).unwrap(),
            explanation: "{}".into(),
            grounds: ResultGrounds { as_of: now(), refusals: refusals_hash, kept },
        };
        self.store.add_results(vec![new]).await.unwrap().pop().unwrap().unwrap()
    }

    fn keys(&self) -> &ServiceKeys {
        self.store.keys()
    }

    fn verify(&self, pack: &[u8]) -> (bool, String) {
        let account = verify_file(pack, &self.keys().public());
        (account.good, account.lines.join("\n"))
    }

    /// The pack with other members, sealed again by the same key.
    fn resealed(&self, pack: &[u8], change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> Vec<u8> {
        let found = members(pack).into_iter().take_while(|member| member.name != COPY);
        let mut list = found.map(|member| (member.name, pack[member.content].to_vec())).collect();
        change(&mut list);
        let mut data = Vec::new();
        list.iter().for_each(|(name, content)| push(&mut data, name, content));
        seal(data, self.keys())
    }

    fn segment(&self) -> PathBuf {
        self.store.log_dir().join("00000000000000000000.seg")
    }
}

fn put(list: &mut [(String, Vec<u8>)], name: &str, content: &[u8]) {
    list.iter_mut().find(|(found, _)| found == name).unwrap().1 = content.to_vec();
}

#[tokio::test]
async fn a_sound_pack_resealed_as_it_was_is_the_same_and_good() {
    let world = World::with_evidence().await;
    let pack = make_pack(&world.store, &world.judge().await, now()).await.unwrap();
    let (good, text) = world.verify(&pack);
    assert!(good && text.contains("40 records of 40 blocks") && text.contains("met"), "{text}");
    assert_eq!(world.resealed(&pack, |_| {}), pack);
}

#[tokio::test]
async fn records_left_out_by_the_maker_make_another_result() {
    let world = World::with_evidence().await;
    let stored = world.judge().await;
    let pack = pack_from(&world.store, &stored, now(), Some((now() - TimeDelta::days(6)).timestamp_micros())).await.unwrap();
    let (good, text) = world.verify(&pack);
    assert!(!good && text.contains("遗漏了记录") && text.contains("records were left out"), "{text}");
    assert!(text.contains("recomputed: not_met") && text.contains("signed: met"), "{text}");
}

#[tokio::test]
async fn members_that_are_not_those_of_the_signed_result_are_named() {
    let mut world = World::with_evidence().await;
    let stored = world.judge().await;
    let pack = make_pack(&world.store, &stored, now()).await.unwrap();
    let root = stored.body.clone();
    world.report(99, "SN-2", now());
    let later = world.judge().await;
    let later_pack = make_pack(&world.store, &later, now()).await.unwrap();
    let from_later = |name: &str| {
        let member = members(&later_pack).into_iter().find(|member| member.name == name).unwrap();
        later_pack[member.content].to_vec()
    };
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("register.json", b"{}".to_vec(), "register.json has not the hash"),
        ("refusals.json", b"{}".to_vec(), "refusals.json has not the hash"),
        (
            "rulebook.toml",
            Rulebook::default_2019().text().replace("window_days = 30", "window_days = 31").into_bytes(),
            "rulebook.toml has not",
        ),
        ("catalogue.toml", b"".to_vec(), "catalogue.toml has not"),
        ("result.json", root.replace("V-1", "V-2").into_bytes(), "result.json is not what is signed"),
        ("evidence.bin.gz", from_later("evidence.bin.gz"), "evidence.bin.gz"),
        ("consistency.bin", vec![0; 32], "is not the beginning of the log"),
        ("head.txt", b"nothing".to_vec(), "head.txt"),
    ];
    for (name, content, said) in cases {
        let (good, text) = world.verify(&world.resealed(&pack, |list| put(list, name, &content)));
        assert!(!good && text.contains(said), "{name}: {text}");
    }
    let (good, text) = world.verify(&world.resealed(&pack, |list| list.retain(|(name, _)| name != "refusals.json")));
    assert!(!good && text.contains("exactly one member refusals.json"), "{text}");
    let (good, text) = world.verify(&world.resealed(&pack, |list| {
        for name in ["evidence.bin.gz", "head.txt", "consistency.bin"] {
            put(list, name, &from_later(name));
        }
    }));
    assert!(!good, "another log's evidence: {text}");
}

#[tokio::test]
async fn a_bomb_in_a_well_sealed_pack_ends_at_its_bound() {
    let world = World::with_evidence().await;
    let pack = make_pack(&world.store, &world.judge().await, now()).await.unwrap();
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut bomb, b"SYE1\x01\0\0\0\0\0\0\0\x01\xff\xff\xff\xff").unwrap();
    for _ in 0..64 {
        std::io::Write::write_all(&mut bomb, &vec![0; 1 << 20]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let (good, text) = world.verify(&world.resealed(&pack, |list| put(list, "evidence.bin.gz", &bomb)));
    assert!(!good && text.contains("is too much"), "{text}");
}

#[tokio::test]
async fn an_older_pack_is_of_the_beginning_of_a_log_that_has_grown() {
    let mut world = World::with_evidence().await;
    let stored = world.judge().await;
    world.report(99, "SN-2", now());
    let head = store::SignedHead::sign(world.log.end(), world.store.results_end().await.unwrap(), now(), world.keys());
    world.store.put_head(&head).await.unwrap();
    let pack = make_pack(&world.store, &stored, now()).await.unwrap();
    let (good, text) = world.verify(&pack);
    assert!(good && text.contains("over 41 blocks"), "{text}");
}

#[tokio::test]
async fn a_log_that_was_changed_since_gives_no_pack() {
    let world = World::with_evidence().await;
    let stored = world.judge().await;
    let mut content = std::fs::read(world.segment()).unwrap();
    content[300] ^= 1;
    std::fs::write(world.segment(), &content).unwrap();
    // Its leaf is told by the block that follows, so the log's root is known; the block itself is missing in the pack.
    let made = make_pack(&world.store, &stored, now()).await;
    match made {
        Ok(pack) => assert!(world.verify(&pack).1.contains("39 records"), "one day of eight is not needed"),
        Err(error) => assert!(matches!(error, PackError::Unprovable(_)), "{error}"),
    }
    std::fs::write(world.segment(), &content[..2000]).unwrap();
    assert!(matches!(make_pack(&world.store, &stored, now()).await, Err(PackError::Damaged(_))));
    assert!(world.dir.path().exists());
}
