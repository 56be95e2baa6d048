//! Verifies a signed result or an evidence pack with public keys alone. Nothing inside a file vouches for the file.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use ingest::{GatewayKeys, OwnSignature};
use policy::calendar::{read_instant, show_instant};
use policy::canonical::hash_of_bytes;
use policy::catalogue::Catalogue;
use policy::judge::{Case, judge};
use policy::refusals::RefusalFacts;
use policy::result::MonitoringResult;
use policy::rulebook::Rulebook;
use policy::slice::read_register_slice;
use serde_json::Value;
use store::{Hash, JwsError, PublicKeys, Record, SignedHead, VerifiedJws};

use crate::archive::Member;
use crate::evidence;
use crate::facts::Folded;
use crate::seal::{self, Broken};
use crate::tree::roots_of;
use crate::words::Account;

/// Longer files are not read.
pub const BYTES_MAX: u64 = 2 << 30;
/// A result is dated before it is signed; a rotation may come between.
const ROTATION_GRACE: TimeDelta = TimeDelta::seconds(60);

/// Verifies a `.jws` or a pack, whichever it is.
pub fn verify_file(content: &[u8], keys: &PublicKeys) -> Account {
    match std::str::from_utf8(content) {
        Ok(text) if content.len() < 64 << 20 && text.trim_end().split('.').count() == 3 && !text.contains('\0') => {
            verify_result(text.trim_end(), keys)
        }
        _ => verify_pack(content, keys),
    }
}

fn verify_result(jws: &str, keys: &PublicKeys) -> Account {
    let mut account = Account::default();
    match signed_result(jws, keys, &mut account) {
        Ok((result, _)) => {
            say_verdict(&mut account, &result);
            account.told(
                "只核验了签名与结果自身；要从证据重新计算，请核验证据包",
                "only the signature and the result itself were verified; to recompute it from the evidence verify its evidence pack",
            );
            account.well()
        }
        Err((chinese, english)) => account.failed(chinese, english),
    }
}

type Failure = (String, String);

fn failure(chinese: impl Into<String>, english: impl Into<String>) -> Failure {
    (chinese.into(), english.into())
}

/// The result in a JWS, its signature, key and own hash verified.
fn signed_result(jws: &str, keys: &PublicKeys, account: &mut Account) -> Result<(MonitoringResult, VerifiedJws), Failure> {
    let verified = keys.verify_jws(jws).map_err(|error| match error {
        JwsError::Form => failure("不是以 EdDSA 签名的紧凑 JWS", error.to_string()),
        JwsError::Key(ref kid) => failure(format!("签名所用密钥 {kid} 不在受信任的公钥之列"), error.to_string()),
        JwsError::Signature => failure("签名不符：内容或签名被改动过", error.to_string()),
    })?;
    let result: MonitoringResult = serde_json::from_slice(&verified.payload)
        .map_err(|error| failure("所签内容不是监测结果", format!("what is signed is no monitoring result: {error}")))?;
    account.verified(
        format!("结果由受信任的密钥签名（kid {}）", verified.key.id()),
        "the result is signed by a trusted key, over exactly its bytes",
    );
    if verified.key.signed_until.is_some_and(|until| result.judged_at > until + ROTATION_GRACE) {
        return Err(failure("结果的日期晚于该密钥停用的时间", "the result is dated after its key had been taken out of use"));
    }
    if result.judgement_hash() != result.judgement_hash {
        return Err(failure("结果的 judgement_hash 与其内容不符", "the result's judgement_hash is not that of its content"));
    }
    account.verified("judgement_hash 与结果内容相符", "judgement_hash is that of the result's content");
    Ok((result, verified))
}

fn say_verdict(account: &mut Account, result: &MonitoringResult) {
    let at = show_instant(result.judged_at);
    account.told(
        format!("服务券 {} 第 {} 次结果：{}（判定于 {at}）", result.voucher, result.sequence, result.verdict_text),
        format!("voucher {}, result {}: {}, judged at {at}", result.voucher, result.sequence, result.verdict.code()),
    );
}

fn verify_pack(pack: &[u8], keys: &PublicKeys) -> Account {
    let mut account = Account::default();
    let members = match seal::check(pack, keys) {
        Ok(members) => members,
        Err(broken) => {
            let (chinese, english) = say_broken(pack, &broken);
            return account.failed(chinese, english);
        }
    };
    account.verified("封签有效：自封装以来没有一个字节被改动", "the seal is good: no byte was changed since the pack was sealed");
    match verify_members(&Pack { bytes: pack, members }, keys, &mut account) {
        Ok(()) => account.well(),
        Err((chinese, english)) => account.failed(chinese, english),
    }
}

fn say_broken(pack: &[u8], broken: &Broken) -> Failure {
    let place = seal::place(pack, broken).map_or_else(
        || (String::new(), String::new()),
        |(name, place)| match place {
            Some(at) => (format!("，成员 {name} 的第 {at} 字节"), format!(", byte {at} of the member {name}")),
            None => (format!("，成员 {name} 的文件头或填充"), format!(", in the header or padding of the member {name}")),
        },
    );
    match broken {
        Broken::Changed { at, was: Some(was), is } => failure(
            format!("第一个被改动的字节：偏移 {at}{}：原为 0x{was:02x}，现为 0x{is:02x}", place.0),
            format!("the first byte that was changed: offset {at}{}: it was 0x{was:02x} and is 0x{is:02x}", place.1),
        ),
        Broken::Changed { at, was: None, .. } => failure(
            format!("被改动过：第一处改动在偏移 {at} 起的 64 字节之内{}，包内副本也被改动", place.0),
            format!("it was changed: the first change lies within the 64 bytes from offset {at}{}; the copy was changed too", place.1),
        ),
        Broken::Cut { at } => failure(format!("文件在偏移 {at} 处被截断"), format!("the file was cut at offset {at}")),
        Broken::Appended { at } => failure(
            format!("证据包在偏移 {at} 处已结束，其后的字节是附加的"),
            format!("the pack ends at offset {at}; what follows was appended"),
        ),
        Broken::Key(kid) => {
            failure(format!("封签所用密钥 {kid} 不受信任"), format!("the pack is sealed by the key {kid}, which is not trusted"))
        }
        Broken::Hidden => {
            failure("内容与封签不符，且改动处被刻意掩盖", "it is not what was sealed, and the place of the change is hidden on purpose")
        }
        Broken::Seal { at } => failure(
            format!("偏移 {at} 起的封签被改动过，不止一个字节"),
            format!("the seal at offset {at} was changed in more than one byte"),
        ),
        Broken::NoPack => failure("这不是证据包，也不是已签名的结果", "it is neither an evidence pack nor a signed result"),
    }
}

struct Pack<'p> {
    bytes: &'p [u8],
    members: Vec<Member>,
}

impl<'p> Pack<'p> {
    fn member(&self, name: &str) -> Result<&'p [u8], Failure> {
        let mut found = self.members.iter().filter(|member| member.name == name);
        match (found.next(), found.next()) {
            (Some(member), None) => Ok(&self.bytes[member.content.clone()]),
            _ => Err(failure(format!("包内应恰有一个 {name}"), format!("there must be exactly one member {name}"))),
        }
    }

    fn text(&self, name: &str) -> Result<&'p str, Failure> {
        std::str::from_utf8(self.member(name)?).map_err(|_| failure(format!("{name} 不是文本"), format!("{name} is no text")))
    }
}

/// What is sealed may still be wrong: whoever holds the key may have sealed anything.
fn verify_members(pack: &Pack<'_>, keys: &PublicKeys, account: &mut Account) -> Result<(), Failure> {
    let (result, jws) = signed_result(pack.text("result.jws")?, keys, account)?;
    if jws.payload != pack.member("result.json")? {
        return Err(failure("result.json 不是所签的内容", "result.json is not what is signed in result.jws"));
    }
    let fits = |name: &str, hash: &str| -> Result<(), Failure> {
        let fits = hash_of_bytes(pack.member(name)?) == hash;
        if fits {
            Ok(())
        } else {
            Err(failure(format!("{name} 与所签的哈希不符"), format!("{name} has not the hash that was signed")))
        }
    };
    let signed = |name: &str| jws.header.get(name).and_then(Value::as_str).unwrap_or_default();
    fits("register.json", &result.register_hash)?;
    fits("refusals.json", signed("refusals"))?;
    let rulebook = Rulebook::read(pack.text("rulebook.toml")?).ok().filter(|rulebook| rulebook.hash() == result.rulebook.hash);
    let rulebook = rulebook.ok_or_else(|| failure("rulebook.toml 与所签的哈希不符", "rulebook.toml has not the hash that was signed"))?;
    let catalogue = Catalogue::read(pack.text("catalogue.toml")?).ok().filter(|catalogue| catalogue.hash() == result.catalogue.hash);
    let catalogue =
        catalogue.ok_or_else(|| failure("catalogue.toml 与所签的哈希不符", "catalogue.toml has not the hash that was signed"))?;
    account.verified(
        "登记信息、规则手册、产品目录、拒收统计与所签的哈希相符",
        "register, rulebook, catalogue and the facts about refused messages have the hashes that were signed",
    );
    let folded = verify_evidence(pack, &result, account)?;
    verify_head(pack, keys, &result, account)?;
    recompute(pack, &result, signed("as_of"), &rulebook, &catalogue, &folded, account)
}

fn verify_evidence(pack: &Pack<'_>, result: &MonitoringResult, account: &mut Account) -> Result<Folded, Failure> {
    let mut folded = Folded::default();
    let size = result.evidence.log_size;
    let keys: BTreeMap<&str, &str> = serde_json::from_slice(pack.member("gateways.json")?)
        .map_err(|error| failure(format!("gateways.json 无法读取：{error}"), format!("gateways.json cannot be read: {error}")))?;
    let keys = GatewayKeys::of(keys);
    let (mut signed, mut other) = (0u64, 0u64);
    let take = |block, record: &Record<'_>| {
        match keys.signature(record) {
            OwnSignature::None => {}
            OwnSignature::Good => signed += 1,
            OwnSignature::Other => other += 1,
        }
        folded.take(block, record);
    };
    let (blocks, root) = evidence::read(pack.member("evidence.bin.gz")?, size, take)
        .map_err(|error| failure(format!("evidence.bin.gz 有误：{error}"), format!("evidence.bin.gz: {error}")))?;
    if shown(&root) != result.evidence.root {
        return Err(failure(
            "记录的证明与结果中的日志根哈希不符：记录不属于判定时的证据日志",
            "the records' proofs do not lead to the root in the result: they are not of the evidence log that was judged",
        ));
    }
    let records = folded.records();
    account.verified(
        format!("{blocks} 个区块中的 {records} 条记录属于判定时的证据日志（{size} 个区块）"),
        format!("{records} records of {blocks} blocks stood in the evidence log of {size} blocks that was judged"),
    );
    if signed > 0 {
        account.verified(
            format!("其中 {signed} 条由网关自己签名，签名逐条核验相符（公钥为封装时登记的）"),
            format!("{signed} of them are signed by their gateways, by the keys that were registered when the pack was made"),
        );
    }
    if other > 0 {
        account.told(
            format!("另有 {other} 条带有网关签名，但不是以封装时登记的公钥签的（例如后来换过密钥），签名未能再次核验"),
            format!("{other} more are signed, but not by the keys registered when the pack was made (they may have been changed since)"),
        );
    }
    if folded.unreadable() > 0 {
        let count = folded.unreadable();
        return Err(failure(
            format!("有 {count} 条记录本版本无法读取，请用更新的版本"),
            format!("{count} records cannot be read by this version: use a newer one"),
        ));
    }
    Ok(folded)
}

fn verify_head(pack: &Pack<'_>, keys: &PublicKeys, result: &MonitoringResult, account: &mut Account) -> Result<(), Failure> {
    let head = SignedHead::read(pack.text("head.txt")?, keys)
        .map_err(|error| failure("head.txt 不是受信任密钥签名的日志摘要", format!("head.txt: {error}")))?;
    let (hashes, rest) = pack.member("consistency.bin")?.as_chunks::<32>();
    let roots = roots_of(result.evidence.log_size, head.size, hashes).filter(|_| rest.is_empty());
    if roots.is_none_or(|(before, now)| shown(&before) != result.evidence.root || now != head.root) {
        return Err(failure(
            "判定时的证据日志不是签名摘要所指日志的开头",
            "the evidence log that was judged is not the beginning of the log of the signed head",
        ));
    }
    let at = head.at.to_rfc3339();
    account.verified(
        format!("该日志是 {at} 签名摘要（{} 个区块）的开头", head.size),
        format!("that log is the beginning of the one whose head was signed at {at} over {} blocks", head.size),
    );
    Ok(())
}

fn recompute(
    pack: &Pack<'_>,
    signed: &MonitoringResult,
    as_of: &str,
    rulebook: &Rulebook,
    catalogue: &Catalogue,
    folded: &Folded,
    account: &mut Account,
) -> Result<(), Failure> {
    let unreadable = |name: &str, error: String| failure(format!("{name} 无法读取：{error}"), format!("{name} cannot be read: {error}"));
    let json = |name: &str| serde_json::from_slice::<Value>(pack.member(name)?).map_err(|error| unreadable(name, error.to_string()));
    let (register, voucher) = read_register_slice(json("register.json")?).map_err(|error| unreadable("register.json", error))?;
    let voucher = register.vouchers.get(&voucher).filter(|voucher| voucher.id == signed.voucher);
    let voucher = voucher.ok_or_else(|| unreadable("register.json", "it has not the voucher of the result".into()))?;
    let as_of: DateTime<Utc> = read_instant(as_of).ok_or_else(|| unreadable("result.jws", "as_of is missing".into()))?;
    let days = (signed.window.from, signed.window.to);
    let facts = folded.of(&voucher.enterprise, &voucher.product, days);
    let mut facts = facts.map_err(|error| unreadable("evidence.bin.gz", error.to_string()))?;
    RefusalFacts::read(json("refusals.json")?).map_err(|error| unreadable("refusals.json", error))?.put_into(&mut facts);
    let judgement = judge(&Case { register: &register, rulebook, catalogue, voucher, as_of, facts: &facts });
    let recomputed = judgement.result;
    if recomputed.judgement_hash != signed.judgement_hash {
        account.told(
            format!("重新计算得到：{}（{}）", recomputed.verdict_text, recomputed.judgement_hash),
            format!("recomputed: {} ({})", recomputed.verdict.code(), recomputed.judgement_hash),
        );
        account.told(
            format!("所签的是：{}（{}）", signed.verdict_text, signed.judgement_hash),
            format!("signed: {} ({})", signed.verdict.code(), signed.judgement_hash),
        );
        return Err(failure(
            "由包内证据重新计算的结果与所签结果不同：制作者遗漏了记录，或程序版本不同（制作版本见 README.txt）",
            format!(
                "the result recomputed from the pack differs from the signed one: records were left out by who made the pack, or it was made by another version than {} (README.txt)",
                env!("CARGO_PKG_VERSION")
            ),
        ));
    }
    account.verified("由原始记录重新计算，得到相同的结果", "recomputed from the records: the same result, to the byte of judgement_hash");
    say_verdict(account, signed);
    Ok(())
}

fn shown(hash: &Hash) -> String {
    format!("sha256:{}", hex::encode(hash))
}
