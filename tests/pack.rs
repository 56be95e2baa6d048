//! Evidence packs end to end: made by the service and the command, verified with public keys alone, and nothing changed in them unseen.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use store::PublicKeys;
use support::history::{device_reports, effective_instants, shanghai, usage_report};
use support::register::{GUANGZHOU, MODULES, Register, credit_code, device_names};
use support::{SHANGYUN, Site, python, shangyun, stderr, stdout};

fn register() -> Register {
    Register::new()
        .supplier("S-1")
        .product("P-5", "S-1", 5, "A")
        .product("P-12", "S-1", 12, "A")
        .enterprise(1, GUANGZHOU)
        .enterprise(2, GUANGZHOU)
        .voucher("V-1", 1, "P-5", "10000.00", json!({}))
        .devices("V-1", &device_names("SN", 6))
        .voucher("V-2", 2, "P-12", "10000.00", json!({}))
}

/// A service with evidence of two enterprises, in blocks that both share.
fn site() -> Site {
    let site = Site::new(register().file());
    let key = site.key("supplier", Some("S-1"));
    let now = Utc::now();
    for (n, some) in effective_instants(now, 7).chunks(2).enumerate() {
        let mut mixed = device_reports(&format!("own-{n}"), 1, &device_names("SN", 6), some);
        mixed.extend(device_reports(&format!("foreign-{n}"), 2, &device_names("XX", 2), some));
        site.push_accepted(&key, &mixed);
    }
    site.push_accepted(&key, &[usage_report("u", 2, "P-12", &MODULES[..3], 2, 6, now)]);
    site
}

struct Files {
    dir: tempfile::TempDir,
    keys: PathBuf,
}

impl Files {
    fn of(site: &Site) -> Files {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys.json");
        std::fs::write(&keys, site.get("/api/v1/keys", "").body).unwrap();
        Files { dir, keys }
    }

    fn put(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn verify(&self, pack: &[u8]) -> (bool, String) {
        verified(&verify(&self.put("given", pack), &self.keys))
    }

    fn public(&self) -> PublicKeys {
        PublicKeys::read(&std::fs::read_to_string(&self.keys).unwrap()).unwrap()
    }
}

/// On a machine that has nothing else.
fn verify(file: &Path, keys: &Path) -> Output {
    let empty = tempfile::tempdir().unwrap();
    let arguments = [file.as_os_str(), "--keys".as_ref(), keys.as_os_str()];
    Command::new(SHANGYUN).arg("verify").args(arguments).current_dir(empty.path()).env_clear().output().unwrap()
}

fn verified(output: &Output) -> (bool, String) {
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", stderr(output));
    (output.status.success(), stdout(output))
}

fn pack_of(site: &Site, voucher: &str, query: &str) -> Vec<u8> {
    let out = site.scratch().join("made.pack.tar");
    let mut args = vec!["pack", "--voucher", voucher, "--out", out.to_str().unwrap()];
    args.extend(query.split_whitespace());
    let made = shangyun(&site.dir(), &args);
    assert!(made.status.success(), "{}", stderr(&made));
    std::fs::read(out).unwrap()
}

#[test]
fn a_pack_of_devices_and_one_of_usage_are_recomputed_and_say_the_verdict() {
    let site = site();
    let files = Files::of(&site);
    for voucher in ["V-1", "V-2"] {
        let result = site.judge(voucher);
        let pack = pack_of(&site, voucher, "");
        let (good, text) = files.verify(&pack);
        assert!(good, "{text}");
        for said in ["封签有效", "由原始记录重新计算", result["verdict_text"].as_str().unwrap(), "recomputed from the records", "核验通过"]
        {
            assert!(text.contains(said), "{said}: {text}");
        }
        assert_eq!(pack_of(&site, voucher, ""), pack, "the same bytes again");
        let served = site.get_bytes(&format!("/api/v1/vouchers/{voucher}/pack"), &site.admin);
        assert!(files.verify(&served).0, "and as the service gives it");
        assert!(
            !String::from_utf8_lossy(&unpacked(&pack, &site)).contains(&credit_code(if voucher == "V-1" { 2 } else { 1 })),
            "nobody else's reports"
        );
    }
    let supplier = site.key("supplier", Some("S-1"));
    assert_eq!(site.get("/api/v1/vouchers/V-1/pack", &supplier).status, 403);
    assert_eq!(site.get("/api/v1/vouchers/V-9/pack", &site.admin).status, 404);
    let elsewhere = site.key("platform", Some("440300"));
    assert_eq!(site.get("/api/v1/vouchers/V-1/pack", &elsewhere).status, 404);
    let own_city = site.key("platform", Some(GUANGZHOU));
    assert_eq!(site.get("/api/v1/vouchers/V-1/result", &own_city).status, 200);
    assert_eq!(site.get("/api/v1/vouchers/V-1/pack", &own_city).status, 403, "rows of other cities may be in it");
    assert!(files.verify(&site.get_bytes("/api/v1/vouchers/V-1/pack", &site.key("platform", None))).0);
}

/// The records of a pack, unpacked.
fn unpacked(pack: &[u8], site: &Site) -> Vec<u8> {
    let path = site.scratch().join("listed.tar");
    std::fs::write(&path, pack).unwrap();
    let output = Command::new("tar").args(["-xOf", path.to_str().unwrap(), "evidence.bin.gz"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let mut raw = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&output.stdout[..]), &mut raw).unwrap();
    raw
}

#[test]
fn a_flipped_byte_anywhere_is_found_and_named_exactly() {
    let site = site();
    let files = Files::of(&site);
    site.judge("V-1");
    let pack = pack_of(&site, "V-1", "");
    let keys = files.public();
    let mut random = StdRng::seed_from_u64(20_191_105);
    let tail = pack.len() - 3000;
    for n in 0..560 {
        let at = if n % 4 == 0 { random.random_range(tail..pack.len()) } else { random.random_range(0..pack.len()) };
        let mut changed = pack.clone();
        changed[at] ^= random.random_range(1..=255u8);
        let account = proof::verify_file(&changed, &keys);
        let (was, is) = (pack[at], changed[at]);
        let named = format!("offset {at}");
        let told = account.lines.join("\n");
        assert!(
            !account.good && told.contains(&named) && told.contains(&format!("it was 0x{was:02x} and is 0x{is:02x}")),
            "byte {at} of {}: {told}",
            pack.len()
        );
    }
    let (good, text) = files.verify(&{
        let mut changed = pack.clone();
        changed[700] ^= 1;
        changed
    });
    assert!(!good && text.contains("offset 700, byte 188 of the member README.txt") && text.contains("偏移 700"), "{text}");
}

/// Where a member's header begins.
fn header_of(pack: &[u8], name: &str) -> usize {
    let begins = |at: &usize| pack[*at..].starts_with(format!("{name}\0").as_bytes());
    (0..pack.len()).step_by(512).find(begins).unwrap()
}

#[test]
fn what_was_cut_appended_swapped_or_sealed_by_another_key_is_not_verified_and_says_why() {
    let site = site();
    let files = Files::of(&site);
    site.judge("V-1");
    let pack = pack_of(&site, "V-1", "");
    for length in [0, 1, 511, 512, 5000, pack.len() / 2, pack.len() - 2000, pack.len() - 1025, pack.len() - 1024, pack.len() - 1] {
        let (good, text) = files.verify(&pack[..length]);
        let said = if length < 512 { "neither an evidence pack" } else { "was cut at offset" };
        assert!(!good && text.contains(said), "{length}: {text}");
        assert!(length < 512 || text.contains(&format!("offset {length}")), "{length}: {text}");
    }
    for more in [&b"x"[..], &[0; 512], &[0; 10_240], &pack] {
        let (good, text) = files.verify(&[&pack, more].concat());
        assert!(!good && text.contains(&format!("the pack ends at offset {}", pack.len())), "{text}");
    }
    // README.txt and result.json change places.
    let (second, third) = (header_of(&pack, "result.json"), header_of(&pack, "result.jws"));
    let swapped = [&pack[second..third], &pack[..second], &pack[third..]].concat();
    let (good, text) = files.verify(&swapped);
    assert!(!good && text.contains("the first byte that was changed: offset 0,"), "{text}");
    // More than one byte, here and there: the first is named.
    let mut several = pack.clone();
    several[5000..5010].iter_mut().for_each(|byte| *byte ^= 7);
    several[6000] ^= 7;
    let near_the_end = pack.len() - 5000;
    several[near_the_end] ^= 7;
    let (good, text) = files.verify(&several);
    assert!(!good && text.contains("offset 5000, byte"), "{text}");
    // Another verdict of the same length, wherever it stands.
    let mut edited = pack.clone();
    let at = pack.windows(10).position(|bytes| bytes == b"\"verdict\":").unwrap() + 11;
    edited[at..at + 3].copy_from_slice(b"yes");
    let (good, text) = files.verify(&edited);
    assert!(!good && text.contains(&format!("offset {at}, byte")) && text.contains("of the member result.json"), "{text}");
    // Another service's pack, and this one's with the other's keys.
    let other = Site::new(register().file());
    other.judge("V-1");
    let foreign = pack_of(&other, "V-1", "");
    let (good, text) = files.verify(&foreign);
    assert!(!good && text.contains("不受信任") && text.contains("not trusted"), "{text}");
    assert!(Files::of(&other).verify(&foreign).0);
    // No pack at all, bombs among them: nothing is unpacked before the seal is known to be good.
    for junk in [&b"PK\x03\x04"[..], &[0x1f, 0x8b, 8, 0], &[0; 4096], b"a.b.c"] {
        assert!(!files.verify(junk).0);
    }
}

#[test]
fn wrong_use_is_told_from_a_verification_that_failed() {
    let site = site();
    let files = Files::of(&site);
    site.judge("V-1");
    let jws = files.put("result.jws", site.get("/api/v1/vouchers/V-1/result.jws", &site.admin).body.as_bytes());
    let (good, text) = verified(&verify(&jws, &files.keys));
    assert!(good && text.contains("由受信任的密钥签名") && text.contains("the result is signed by a trusted key"), "{text}");
    assert!(verify(&files.dir.path().join("nothing"), &files.keys).status.code() == Some(2));
    assert_eq!(verify(&jws, &files.put("nokeys", b"{}")).status.code(), Some(2));
    let nothing = tempfile::tempdir().unwrap();
    let without = shangyun(&nothing.path().join("data"), &["verify", jws.to_str().unwrap()]);
    assert_eq!(without.status.code(), Some(2), "{}", stdout(&without));
    assert!(!nothing.path().join("data").exists(), "verifying makes no keys");
    let own = shangyun(&site.dir(), &["verify", jws.to_str().unwrap()]);
    assert!(own.status.success(), "the store's own keys without --keys: {}", stdout(&own));
    let text = std::fs::read_to_string(&jws).unwrap();
    let (good, said) = files.verify(text.replacen('A', "B", 1).as_bytes());
    assert!(!good && said.contains("核验未通过"), "{said}");
}

#[test]
fn an_old_result_is_verified_after_later_evidence_changes_of_the_register_and_of_the_key() {
    let site = site();
    let first = site.judge("V-1");
    assert!(shangyun(&site.dir(), &["key", "rotate"]).status.success());
    let key = site.key("supplier", Some("S-1"));
    let more = device_reports("later", 1, &device_names("NEW", 1), &effective_instants(Utc::now(), 7));
    site.push_accepted(&key, &more);
    let change = json!({"v": 1, "rulebook": "gd-2019", "devices": [{"voucher": "V-1", "device": "NEW-001", "province": "44"}]});
    assert_eq!(site.post("/api/v1/register", &site.admin, &change).status, 200);
    let second = site.judge("V-1");
    assert_ne!(first["register_hash"], second["register_hash"]);
    assert!(shangyun(&site.dir(), &["key", "rotate"]).status.success());
    let files = Files::of(&site);
    for sequence in ["1", "2"] {
        let (good, text) = files.verify(&pack_of(&site, "V-1", &format!("--sequence {sequence}")));
        assert!(good && text.contains(&format!("第 {sequence} 次结果")), "{text}");
    }
    assert!(shangyun(&site.dir(), &["pack", "--voucher", "V-1", "--sequence", "3"]).status.code() == Some(2));
}

#[test]
fn carriers_messages_that_name_others_too_are_in_the_pack() {
    let site = Site::new(
        register()
            .row("carriers", json!({"id": "C-1", "name": "运营商"}))
            .row("lines", json!({"enterprise": credit_code(2), "line": "L-2", "kind": "ip"}))
            .file(),
    );
    let (supplier, carrier) = (site.key("supplier", Some("S-1")), site.key("carrier", Some("C-1")));
    let now = Utc::now();
    site.push_accepted(&supplier, &[usage_report("u", 2, "P-12", &MODULES[..3], 2, 3, now)]);
    let day = |at: DateTime<Utc>| at.with_timezone(&shanghai()).date_naive().to_string();
    for n in 0..8 {
        let record = |enterprise, product: &str| json!({"enterprise": credit_code(enterprise), "line": format!("L-{enterprise}"), "product": product, "day": day(now - TimeDelta::days(n)), "sessions": 3, "bytes": 1000});
        let message = json!({"v": 1, "id": format!("c-{n}"), "records": [record(1, "P-5"), record(2, "P-12")]});
        let answer = site.post("/api/v1/carrier-records", &carrier, &message);
        assert_eq!(answer.json()["results"][0]["status"], "accepted", "{}", answer.body);
    }
    let result = site.judge("V-2");
    assert_eq!(result["channels"]["carrier"]["days"], 8, "{result}");
    assert_ne!(result["channels"]["agree"], true, "the carrier says otherwise");
    let (good, text) = Files::of(&site).verify(&pack_of(&site, "V-2", ""));
    assert!(good, "{text}");
}

/// Nothing of ours verifies here: the signature, and every record's proof up to the root that was signed.
#[test]
fn a_program_that_shares_nothing_with_ours_verifies_signature_and_proofs() {
    let site = site();
    let files = Files::of(&site);
    site.judge("V-1");
    let pack = files.put("pack.tar", &pack_of(&site, "V-1", ""));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify_pack.py");
    let run = |pack: &Path| Command::new(python()).args([&script, pack, &files.keys]).output().unwrap();
    let output = run(&pack);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("records proved"), "{}", stdout(&output));
    let mut changed = std::fs::read(&pack).unwrap();
    let at = changed.windows(11).position(|window| window == b"\"voucher\":\"").unwrap();
    changed[at + 12] ^= 1;
    assert!(!run(&files.put("changed.tar", &changed)).status.success());
}

/// Rewrites a log as versions before wrote it: `SYB1`, each leaf that of the whole block.
fn as_older_log(segment: &Path) {
    let content = std::fs::read(segment).unwrap();
    let (mut older, mut at, mut before) = (Vec::new(), 0, [0; 32]);
    while content[at..].starts_with(b"SYB2") {
        let bytes = 56 + u32::from_le_bytes(content[at + 4..at + 8].try_into().unwrap()) as usize;
        let mut block = content[at..at + bytes].to_vec();
        block[..4].copy_from_slice(b"SYB1");
        block[20..52].copy_from_slice(&before);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&block[..52]), &block[56..]);
        block[52..56].copy_from_slice(&crc.to_le_bytes());
        before = store::leaf_hash(&block);
        older.extend(block);
        at += bytes;
    }
    assert!(at > 0);
    std::fs::write(segment, older).unwrap();
}

#[test]
fn blocks_of_an_older_log_are_carried_whole_beside_newer_ones() {
    let first = site();
    let (dir, data) = first.stop();
    as_older_log(&data.join("log/00000000000000000000.seg"));
    // Of the rest nothing is needed: the facts are read from the log.
    std::fs::remove_dir_all(data.join("facts")).unwrap();
    for name in ["shangyun.db", "shangyun.db-wal", "shangyun.db-shm"] {
        let _ = std::fs::remove_file(data.join(name));
    }
    let site = Site::in_dir(dir, register().file(), |_| Vec::new());
    let supplier = site.key("supplier", Some("S-1"));
    site.push_accepted(&supplier, &device_reports("newer", 1, &device_names("SN", 1), &[Utc::now()]));
    let result = site.judge("V-1");
    assert_eq!(result["devices"]["connected"], 6, "{result}");
    let pack = pack_of(&site, "V-1", "");
    let (good, text) = Files::of(&site).verify(&pack);
    assert!(good, "{text}");
    let raw = unpacked(&pack, &site);
    let has = |text: &str| raw.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("SYB1") && has("SYB2") && has(&credit_code(2)), "whole blocks hold others' reports too");
    let (_dir, data) = site.stop();
    assert!(shangyun(&data, &["log", "verify"]).status.success());
}

/// Somebody who can write to the database may also remove what guards it.
fn tamper(site: &Site, statements: &str) {
    let script = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\ndb.executescript(sys.argv[2])\ndb.commit()";
    let output = Command::new(python()).args(["-c", script]).arg(site.dir().join("shangyun.db")).arg(statements).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_result_whose_signature_was_removed_is_never_signed_again_and_gives_no_pack() {
    let site = site();
    site.judge("V-2");
    site.judge("V-1");
    let files = Files::of(&site);
    tamper(
        &site,
        "DROP TRIGGER result_unchanged; UPDATE result SET body = replace(body, '\"met\"', '\"not_met\"') WHERE voucher = 'V-1';
         DELETE FROM result_seal WHERE position = (SELECT position FROM result WHERE voucher = 'V-1')",
    );
    for path in ["result.jws", "pack"] {
        let answer = site.get(&format!("/api/v1/vouchers/V-1/{path}"), &site.admin);
        assert_eq!((answer.status, answer.header("retry-after")), (409, ""), "{}", answer.body);
        assert!(answer.body.contains("has lost its signature"), "{}", answer.body);
    }
    let out = site.scratch().join("none.tar");
    let refused = shangyun(&site.dir(), &["pack", "--voucher", "V-1", "--out", out.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1), "the answer is no");
    assert!(stderr(&refused).contains("has lost its signature") && !out.exists(), "{}", stderr(&refused));
    let page = site.get("/vouchers/V-1/results/1/result.jws", "");
    assert!(page.status == 409 && page.body.contains("无法证明"), "{}", page.body);
    assert!(!shangyun(&site.dir(), &["log", "verify"]).status.success());
    // Others are as they were.
    let jws = site.get("/api/v1/vouchers/V-2/result.jws", &site.admin).body;
    assert!(verified(&verify(&files.put("v2.jws", jws.as_bytes()), &files.keys)).0);
}
