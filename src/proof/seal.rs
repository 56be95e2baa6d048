//! The seal at the end of a pack: it proves every byte before it, and tells which byte was changed.
//!
//! `chunks.bin` holds, for every 64 bytes of the archive before its own header (the last chunk may be shorter), the first 4 bytes of
//! their SHA-256. `seal.jws` is a compact JWS whose payload is
//! `{"bytes":"<16 hex digits>","chunks":"<hex>","sha256":"<hex>"}`: how many bytes stand before the header of `chunks.bin`, the SHA-256
//! of the member `chunks.bin` with header and padding, and the SHA-256 of those bytes. Its protected header has `typ` `shangyun-pack`.
//! Two blocks of zeros follow. So all but the seal is proved by its signature, and the seal's own text is determined by the rest but
//! for its signature.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use store::{JwsError, PublicKeys, ServiceKeys, protected_header, with_payload};

use crate::archive::{BLOCK, END, Member, header_at, member_bytes, members, push};

const CHUNK: usize = 64;
const SHORT: usize = 4;
pub(crate) const CHUNKS: &str = "chunks.bin";
pub(crate) const SEAL: &str = "seal.jws";
const TYPE: &str = "shangyun-pack";
/// An Ed25519 signature in base64url.
const SIGNATURE_CHARS: usize = 86;
const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What is wrong with the bytes of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The first byte that is not as it was sealed; `was` where that can be told, else it is one of the next `CHUNK`.
    Changed { at: usize, was: Option<u8>, is: u8 },
    /// It ends there.
    Cut { at: usize },
    /// The pack ends before that.
    Appended { at: usize },
    /// The seal is sound but for its key, which is not trusted.
    Key(String),
    /// Bytes were changed so that no chunk's short hash tells of it.
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
    let chunks = chunks_member(&data);
    let payload = Sealed::of(&data, &chunks).payload();
    let detached = keys.sign_detached(payload.as_bytes(), more_header());
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
    let (data, chunks) = pack[..seal_at].split_at(data_bytes);
    let actual = Sealed::of(data, chunks);
    let text_at = seal_at + BLOCK;
    let text = &pack[text_at..text_at + chars];
    let sealed = match verified(text, keys) {
        Ok(sealed) => sealed,
        Err(error) => return Err(broken_seal(text, text_at, &actual, keys, error)),
    };
    if sealed.bytes != data_bytes {
        return Err(Broken::NoPack);
    }
    // Of what surrounds the seal's text every byte is known.
    let expected = seal_member(std::str::from_utf8(text).unwrap_or_default());
    let found = &pack[seal_at..];
    let around = first_difference(&expected, found).map(|at| Broken::Changed { at: seal_at + at, was: Some(expected[at]), is: found[at] });
    let inside = match (sealed.sha256 == actual.sha256, sealed.chunks == actual.chunks) {
        (true, true) => None,
        (true, false) => {
            let expected = chunks_member(data);
            first_difference(&expected, chunks).map(|at| Broken::Changed { at: data_bytes + at, was: Some(expected[at]), is: chunks[at] })
        }
        (false, _) => Some(changed_data(data, chunks, &sealed)),
    };
    match inside.or(around) {
        Some(broken) => Err(broken),
        None => Ok(members(data)),
    }
}

/// How many bytes stand before the header of `chunks.bin`, when the header of the seal stands there.
fn data_before(seal_at: usize) -> Option<usize> {
    // The chunks take a sixteenth, rounded up, and a header: their number of blocks follows from the whole.
    let bytes_of = |data: usize| data + member_bytes(data.div_ceil(CHUNK) * SHORT);
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

/// The data are not those that were sealed. If the chunks' hashes are, the changed byte is looked for by trying.
fn changed_data(data: &[u8], chunks: &[u8], sealed: &Sealed) -> Broken {
    let hashes = chunks.get(BLOCK..).unwrap_or_default();
    let differs = |(chunk, hash): &(&[u8], &[u8])| short_hash(chunk) != **hash;
    let Some(number) = data.chunks(CHUNK).zip(hashes.chunks(SHORT)).position(|pair| differs(&pair)) else {
        return Broken::Hidden;
    };
    let begin = number * CHUNK;
    let mut repaired = data.to_vec();
    for at in begin..(begin + CHUNK).min(data.len()) {
        for value in (0..=255).filter(|value| *value != data[at]) {
            repaired[at] = value;
            let end = (begin + CHUNK).min(data.len());
            let fits = short_hash(&repaired[begin..end]) == hashes[number * SHORT..][..SHORT];
            // Four bytes may fit by chance: all of them decide.
            if fits && Sha256::digest(&repaired)[..] == sealed.sha256 {
                return Broken::Changed { at, was: Some(value), is: data[at] };
            }
        }
        repaired[at] = data[at];
    }
    Broken::Changed { at: begin, was: None, is: data[begin] }
}

fn first_difference(expected: &[u8], found: &[u8]) -> Option<usize> {
    expected.iter().zip(found).position(|(expected, found)| expected != found)
}

/// In which member a byte of the pack lies, and at which place within it; `None`: in its header or padding.
pub(crate) fn place(pack: &[u8], broken: &Broken) -> Option<(String, Option<usize>)> {
    let (at, mut repaired) = match broken {
        Broken::Changed { at, was, .. } => (*at, was.map(|was| (*at, was))),
        Broken::Seal { at } => (*at, None),
        _ => return None,
    };
    let mut pack = pack.to_vec();
    if let Some((at, was)) = repaired.take() {
        pack[at] = was;
    }
    let member = members(&pack).into_iter().rev().find(|member| member.at <= at)?;
    let place = (member.content.contains(&at) || member.content.end == at).then(|| at - member.content.start);
    Some((member.name, place))
}
