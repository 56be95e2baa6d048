//! The seal at the end of a pack: it proves every byte before it, and tells which byte was changed.
//!
//! `copy.bin` holds all bytes of the archive before its own header once more. `chunks.bin` holds, for every 64 of those bytes (the last
//! chunk may be shorter), the first 4 bytes of their SHA-256: where the two copies differ, it tells which is the one that was sealed.
//! `seal.jws` is a compact JWS whose payload is `{"bytes":"<16 hex digits>","chunks":"<hex>","sha256":"<hex>"}`: how many bytes stand
//! before the header of `copy.bin`, the SHA-256 of the member `chunks.bin` with header and padding, and the SHA-256 of those bytes. Its
//! protected header has `typ` `shangyun-pack`. Two blocks of zeros follow. So all but the seal is proved by its signature, and the seal's
//! own text is determined by the rest but for its signature.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use store::{JwsError, PublicKeys, ServiceKeys, protected_header, with_payload};

use crate::archive::{BLOCK, END, Member, header_at, member_bytes, members, push};

const CHUNK: usize = 64;
const SHORT: usize = 4;
pub(crate) const COPY: &str = "copy.bin";
pub(crate) const CHUNKS: &str = "chunks.bin";
pub(crate) const SEAL: &str = "seal.jws";
const TYPE: &str = "shangyun-pack";
/// An Ed25519 signature in base64url.
const SIGNATURE_CHARS: usize = 86;
const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What is wrong with the bytes of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The first byte that is not as it was sealed; `was` where that can be told, else (its copy was changed too) it is one of the next
    /// `CHUNK`.
    Changed { at: usize, was: Option<u8>, is: u8 },
    /// It ends there.
    Cut { at: usize },
    /// The pack ends before that.
    Appended { at: usize },
    /// The seal is sound but for its key, which is not trusted.
    Key(String),
    /// Bytes were changed, and so were their copies and short hashes.
    Hidden,
    /// More is wrong with the seal than one byte.
    Seal { at: usize },
    /// It is no pack at all.
    NoPack,
}

/// What the seal says of the bytes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sealed {
    bytes: usize,
    sha256: [u8; 32],
    chunks: [u8; 32],
}

impl Sealed {
    fn of(data: &[u8], chunks_member: &[u8]) -> Sealed {
        Sealed { bytes: data.len(), sha256: Sha256::digest(data).into(), chunks: Sha256::digest(chunks_member).into() }
    }

    fn payload(&self) -> String {
        let (sha256, chunks) = (hex::encode(self.sha256), hex::encode(self.chunks));
        format!("{{\"bytes\":\"{:016x}\",\"chunks\":\"{chunks}\",\"sha256\":\"{sha256}\"}}", self.bytes)
    }

    fn read(payload: &[u8]) -> Option<Sealed> {
        let said: Value = serde_json::from_slice(payload).ok()?;
        let hash = |name: &str| hex::decode(said[name].as_str()?).ok()?.try_into().ok();
        let bytes = usize::from_str_radix(said["bytes"].as_str()?, 16).ok()?;
        let sealed = Sealed { bytes, sha256: hash("sha256")?, chunks: hash("chunks")? };
        (sealed.payload().as_bytes() == payload).then_some(sealed)
    }
}

fn more_header() -> Map<String, Value> {
    Map::from_iter([("typ".to_string(), json!(TYPE))])
}

/// The seal's text but for its signature.
fn unsigned(kid: &str, sealed: &Sealed) -> String {
    let protected = protected_header(kid, more_header());
    let text = with_payload(&format!("{protected}.."), sealed.payload().as_bytes());
    text.unwrap_or_default()
}

fn chunks_of(data: &[u8]) -> Vec<u8> {
    data.chunks(CHUNK).flat_map(short_hash).collect()
}

fn short_hash(chunk: &[u8]) -> [u8; SHORT] {
    let hash = Sha256::digest(chunk);
    std::array::from_fn(|i| hash[i])
}

fn copy_member(data: &[u8]) -> Vec<u8> {
    let mut member = Vec::new();
    push(&mut member, COPY, data);
    member
}

fn chunks_member(data: &[u8]) -> Vec<u8> {
    let mut member = Vec::new();
    push(&mut member, CHUNKS, &chunks_of(data));
    member
}

/// The seal's member and the end of the archive.
fn seal_member(text: &str) -> Vec<u8> {
    let mut member = Vec::new();
    push(&mut member, SEAL, text.as_bytes());
    member.resize(member.len() + END, 0);
    member
}

/// Ends an archive with its seal.
pub(crate) fn seal(mut data: Vec<u8>, keys: &ServiceKeys) -> Vec<u8> {
    let (copy, chunks) = (copy_member(&data), chunks_member(&data));
    let payload = Sealed::of(&data, &chunks).payload();
    let detached = keys.sign_detached(payload.as_bytes(), more_header());
    data.extend(copy);
    data.extend(chunks);
    data.extend(seal_member(&with_payload(&detached, payload.as_bytes()).unwrap_or_default()));
    data
}

/// Of how many characters a seal is: key ids and figures have one length.
fn seal_chars(keys: &PublicKeys) -> Option<usize> {
    let kid = keys.iter().next()?.id();
    let sealed = Sealed { bytes: 0, sha256: [0; 32], chunks: [0; 32] };
    Some(unsigned(&kid, &sealed).len() + SIGNATURE_CHARS)
}

/// The members that stand before the seal, if every byte of the pack is as it was sealed by a trusted key.
pub(crate) fn check(pack: &[u8], keys: &PublicKeys) -> Result<Vec<Member>, Broken> {
    let chars = seal_chars(keys).ok_or(Broken::NoPack)?;
    match check_whole(pack, keys, chars) {
        Err(Broken::Seal { .. } | Broken::NoPack) => {}
        checked => return checked,
    }
    // Nothing that ends as a pack does: something is missing, or follows.
    let found = members(pack);
    let Some(last) = found.last() else {
        return Err(if header_at(pack, 0).is_some() { Broken::Cut { at: pack.len() } } else { Broken::NoPack });
    };
    let end = last.content.end.next_multiple_of(BLOCK);
    if last.name == SEAL && end + END < pack.len() && check_whole(&pack[..end + END], keys, chars).is_ok() {
        return Err(Broken::Appended { at: end + END });
    }
    if last.name != SEAL || end + END > pack.len() {
        return Err(Broken::Cut { at: pack.len() });
    }
    check_whole(pack, keys, chars)
}

fn check_whole(pack: &[u8], keys: &PublicKeys, chars: usize) -> Result<Vec<Member>, Broken> {
    let tail = member_bytes(chars) + END;
    let seal_at = pack.len().checked_sub(tail).filter(|at| at % BLOCK == 0).ok_or(Broken::NoPack)?;
    let data_bytes = data_before(seal_at).ok_or(Broken::NoPack)?;
    let (data, behind) = pack[..seal_at].split_at(data_bytes);
    let (copy, chunks) = behind.split_at(member_bytes(data_bytes));
    let actual = Sealed::of(data, chunks);
    let text_at = seal_at + BLOCK;
    let text = &pack[text_at..text_at + chars];
    let sealed = match verified(text, keys) {
        Ok(sealed) => sealed,
        Err(error) => {
            let broken = broken_seal(text, text_at, &actual, keys, error);
            let of_our_form = header_at(pack, data_bytes) == Some((COPY.to_string(), data_bytes));
            if !of_our_form || !matches!(broken, Broken::Seal { .. }) {
                return Err(broken);
            }
            // Beside the seal something may be changed before it, and that comes first.
            let unsigned = Sealed { sha256: [0; 32], ..actual };
            let before = changed_data(data, &copy[BLOCK..], chunks, &unsigned);
            return Err(if before == Broken::Hidden { broken } else { before });
        }
    };
    if sealed.bytes != data_bytes {
        return Err(Broken::NoPack);
    }
    // Of what surrounds the seal's text every byte is known.
    let expected = seal_member(std::str::from_utf8(text).unwrap_or_default());
    let found = &pack[seal_at..];
    let differs = |at: usize, expected: &[u8], found: &[u8]| {
        let changed = |place: usize| Broken::Changed { at: at + place, was: Some(expected[place]), is: found[place] };
        first_difference(expected, found).map(changed)
    };
    let inside = if sealed.sha256 == actual.sha256 {
        let of_chunks = || differs(data_bytes + copy.len(), &chunks_member(data), chunks);
        differs(data_bytes, &copy_member(data), copy).or_else(of_chunks)
    } else {
        Some(changed_data(data, &copy[BLOCK..], chunks, &sealed))
    };
    let around = differs(seal_at, &expected, found);
    match inside.or(around) {
        Some(broken) => Err(broken),
        None => Ok(members(data)),
    }
}

/// How many bytes stand before the header of `copy.bin`, when the header of the seal stands there.
fn data_before(seal_at: usize) -> Option<usize> {
    // How long the copy and the chunks' hashes are follows from the data: so the whole tells how long those are.
    let bytes_of = |data: usize| data + member_bytes(data) + member_bytes(data.div_ceil(CHUNK) * SHORT);
    let (mut low, mut high) = (0, seal_at / BLOCK);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if bytes_of(middle * BLOCK) <= seal_at { low = middle } else { high = middle - 1 }
    }
    (bytes_of(low * BLOCK) == seal_at).then_some(low * BLOCK)
}

fn verified(text: &[u8], keys: &PublicKeys) -> Result<Sealed, JwsError> {
    let jws = keys.verify_jws(std::str::from_utf8(text).map_err(|_| JwsError::Form)?)?;
    let typed = jws.header.get("typ") == Some(&json!(TYPE));
    Sealed::read(&jws.payload).filter(|_| typed).ok_or(JwsError::Form)
}

/// The seal's text is determined by what stands before it, but for the key and the signature; so one changed byte of it is found.
fn broken_seal(text: &[u8], text_at: usize, actual: &Sealed, keys: &PublicKeys, error: JwsError) -> Broken {
    let changed = |at: usize, was: u8| Broken::Changed { at: text_at + at, was: Some(was), is: text[at] };
    let candidates = || keys.iter().map(|key| unsigned(&key.id(), actual));
    for expected in candidates() {
        let (said, signature) = text.split_at(expected.len().min(text.len()));
        let whole = [expected.as_bytes(), signature].concat();
        if verified(&whole, keys).is_ok()
            && let Some(at) = first_difference(expected.as_bytes(), said)
        {
            return changed(at, expected.as_bytes()[at]);
        }
    }
    for expected in candidates().filter(|expected| text.starts_with(expected.as_bytes())) {
        for at in expected.len()..text.len() {
            let mut repaired = text.to_vec();
            for character in BASE64URL {
                repaired[at] = *character;
                if verified(&repaired, keys).is_ok() {
                    return changed(at, *character);
                }
            }
        }
    }
    if let JwsError::Key(kid) = error { Broken::Key(kid) } else { Broken::Seal { at: text_at } }
}

/// The data are not those that were sealed, and are held against their copy; where that was changed too, chunk by chunk, the short hash
/// telling which of the two is the one that was sealed.
fn changed_data(data: &[u8], copy: &[u8], chunks: &[u8], sealed: &Sealed) -> Broken {
    let against = |begin: usize, chunk: &[u8], copied: &[u8]| {
        let changed = |at: usize| Broken::Changed { at: begin + at, was: Some(copied[at]), is: chunk[at] };
        first_difference(copied, chunk).map(changed)
    };
    if Sha256::digest(copy)[..] == sealed.sha256 {
        return against(0, data, copy).unwrap_or(Broken::Hidden);
    }
    let hashes_sealed = sealed.chunks[..] == Sha256::digest(chunks)[..];
    let hashes = chunks.get(BLOCK..).unwrap_or_default();
    let found = data.chunks(CHUNK).zip(copy.chunks(CHUNK)).zip(hashes.chunks(SHORT));
    for (number, ((chunk, copied), hash)) in found.enumerate() {
        let fits = |bytes: &[u8]| short_hash(bytes) == *hash;
        if fits(chunk) {
            continue;
        }
        let begin = number * CHUNK;
        match against(begin, chunk, copied) {
            Some(changed) if fits(copied) => return changed,
            // Both copies were changed alike; or the hash alone was, and then another chunk is what was changed.
            None if !hashes_sealed => {}
            _ => return Broken::Changed { at: begin, was: None, is: chunk[0] },
        }
    }
    Broken::Hidden
}

fn first_difference(expected: &[u8], found: &[u8]) -> Option<usize> {
    expected.iter().zip(found).position(|(expected, found)| expected != found)
}

/// In which member a byte of the pack lies, and at which place within it; `None`: in its header or padding.
pub(crate) fn place(pack: &[u8], broken: &Broken) -> Option<(String, Option<usize>)> {
    let at = match broken {
        Broken::Changed { at, .. } | Broken::Seal { at } => *at,
        _ => return None,
    };
    let member = listed(pack, broken).into_iter().rev().find(|member| member.at <= at)?;
    let place = (member.content.contains(&at) || member.content.end == at).then(|| at - member.content.start);
    Some((member.name, place))
}

/// The members of a pack of which one byte is put right, or as its copy lists them where more is wrong.
fn listed(pack: &[u8], broken: &Broken) -> Vec<Member> {
    let mut repaired = pack.to_vec();
    if let Broken::Changed { at, was: Some(was), .. } = broken {
        repaired[*at] = *was;
    }
    let found = members(&repaired);
    let copy_at = (0..pack.len()).step_by(BLOCK).find(|at| header_at(pack, *at) == Some((COPY.to_string(), *at)));
    match copy_at {
        Some(at) if !found.iter().any(|member| member.name == SEAL) => members(pack.get(at + BLOCK..at + BLOCK + at).unwrap_or_default()),
        _ => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASHED: usize = 2 * BLOCK;

    struct Case {
        keys: ServiceKeys,
        pack: Vec<u8>,
        data: usize,
    }

    impl Case {
        fn new() -> Case {
            let keys = ServiceKeys::open(tempfile::tempdir().unwrap().path()).unwrap();
            let mut data = Vec::new();
            push(&mut data, "a.json", &(0..5000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
            push(&mut data, "b.json", b"short");
            Case { data: data.len(), pack: seal(data, &keys), keys }
        }

        /// With these bytes turned.
        fn broken(&self, turned: impl IntoIterator<Item = usize>) -> Broken {
            let mut pack = self.pack.clone();
            turned.into_iter().for_each(|at| pack[at] ^= 0x55);
            check(&pack, &self.keys.public()).unwrap_err()
        }

        fn first(&self, at: usize) -> Broken {
            Broken::Changed { at, was: Some(self.pack[at]), is: self.pack[at] ^ 0x55 }
        }

        fn in_copy(&self, at: usize) -> usize {
            self.data + BLOCK + at
        }

        fn in_hashes(&self, at: usize) -> usize {
            self.in_copy(self.data) + BLOCK + at / CHUNK * SHORT
        }
    }

    #[test]
    fn the_first_of_many_changed_bytes_is_named_wherever_the_others_are() {
        let case = Case::new();
        assert!(check(&case.pack, &case.keys.public()).is_ok());
        let (at, far) = (HASHED + 70, HASHED + 4000);
        let last = case.pack.len() - END - 600;
        let others: [Vec<usize>; 7] = [
            vec![],
            vec![at + 1, at + 2, at + 9],
            (at..case.data).skip(1).collect(),
            vec![far, case.in_copy(far)],
            vec![case.in_copy(HASHED), case.in_hashes(0)],
            vec![last],
            vec![case.in_copy(far), case.in_hashes(far), last, last + 1],
        ];
        for others in others {
            let shown = others.iter().take(5).copied().collect::<Vec<_>>();
            assert_eq!(case.broken(others.into_iter().chain([at])), case.first(at), "and {shown:?}");
        }
        assert_eq!(case.broken([case.in_copy(at), case.in_copy(at) + 1]), case.first(case.in_copy(at)));
        assert_eq!(case.broken([case.in_hashes(at), case.in_hashes(at) + 1]), case.first(case.in_hashes(at)));
        assert_eq!(case.broken([at, case.in_hashes(at)]), case.first(at), "the copy as a whole is the one that was sealed");
    }

    #[test]
    fn a_byte_that_was_changed_in_both_copies_is_told_to_its_chunk_and_with_its_hash_not_at_all() {
        let case = Case::new();
        let at = HASHED + 70;
        let within = Broken::Changed { at: HASHED + 64, was: None, is: case.pack[HASHED + 64] };
        assert_eq!(case.broken([at, case.in_copy(at)]), within);
        let mut pack = case.pack.clone();
        pack[at] ^= 1;
        let data = pack[..case.data].to_vec();
        let behind = [copy_member(&data), chunks_member(&data)].concat();
        pack[case.data..][..behind.len()].copy_from_slice(&behind);
        assert_eq!(check(&pack, &case.keys.public()), Err(Broken::Hidden));
    }

    #[test]
    fn a_damaged_header_does_not_hide_in_which_member_a_byte_lies() {
        let case = Case::new();
        let at = case.data - 2 * BLOCK;
        let broken = case.broken([at, at + 1, at + 150]);
        assert_eq!(broken, case.first(at));
        let mut pack = case.pack.clone();
        [at, at + 1, at + 150].into_iter().for_each(|at| pack[at] ^= 0x55);
        assert_eq!(place(&pack, &broken), Some(("b.json".to_string(), None)));
    }
}
