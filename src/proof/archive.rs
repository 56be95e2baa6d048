//! The pack's archive: ustar, each header determined by the member's name and size, so that a verifier knows every byte of it.

use std::ops::Range;

pub(crate) const BLOCK: usize = 512;
/// Two blocks of zeros end an archive.
pub(crate) const END: usize = 2 * BLOCK;

/// A member within the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Of the header.
    pub(crate) at: usize,
    pub(crate) content: Range<usize>,
}

pub(crate) fn header(name: &str, bytes: usize) -> [u8; BLOCK] {
    let mut header = tar::Header::new_ustar();
    // Names are ours and short.
    header.set_path(name).expect("a short relative name");
    header.set_size(bytes as u64);
    header.set_mode(0o444);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    *header.as_bytes()
}

pub(crate) fn push(archive: &mut Vec<u8>, name: &str, content: &[u8]) {
    archive.extend_from_slice(&header(name, content.len()));
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
}

/// How many bytes a member takes.
pub(crate) fn member_bytes(content: usize) -> usize {
    BLOCK + content.next_multiple_of(BLOCK)
}

/// The name and size in a header of this form.
pub(crate) fn header_at(archive: &[u8], at: usize) -> Option<(String, usize)> {
    let found = archive.get(at..at + BLOCK)?;
    let parsed = tar::Header::from_byte_slice(found);
    let name = String::from_utf8(parsed.path_bytes().into_owned()).ok()?;
    let bytes = usize::try_from(parsed.entry_size().ok()?).ok()?;
    (!name.is_empty() && name.len() < 100 && header(&name, bytes)[..] == *found).then_some((name, bytes))
}

/// The members from the beginning on, as far as their headers are of this form and their bytes are there.
pub(crate) fn members(archive: &[u8]) -> Vec<Member> {
    let (mut members, mut at) = (Vec::new(), 0);
    while let Some((name, bytes)) = header_at(archive, at) {
        let end = (at + BLOCK).checked_add(bytes).filter(|end| *end <= archive.len());
        let Some(end) = end else { break };
        members.push(Member { name, at, content: at + BLOCK..end });
        at = end.next_multiple_of(BLOCK);
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_and_a_damaged_header_ends_the_list() {
        let mut archive = Vec::new();
        push(&mut archive, "a.txt", b"hello");
        push(&mut archive, "b.bin", &[7; 600]);
        assert_eq!(archive.len(), member_bytes(5) + member_bytes(600));
        archive.resize(archive.len() + END, 0);
        let found = members(&archive);
        assert_eq!(found.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(), ["a.txt", "b.bin"]);
        assert_eq!(&archive[found[0].content.clone()], b"hello");
        for at in 1024..1536 {
            let mut damaged = archive.clone();
            damaged[at] ^= 1;
            assert_eq!(members(&damaged).len(), 1, "byte {at}");
        }
        let listed = tar::Archive::new(&archive[..]).entries().unwrap().count();
        assert_eq!(listed, 2, "anybody's tar reads it");
    }
}
