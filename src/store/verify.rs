//! The log's integrity: every block from the first, the tree, and every head that was ever signed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use wire::identity::Sender;

use crate::audit::AuditPlace;
use crate::audit_verify::Logged;
use crate::disk::Disk;
use crate::heads::{HeadError, SignedHead};
use crate::log::{LogError, LogPosition};
use crate::merkle::{Frontier, Hash};
use crate::public_keys::PublicKeys;
use crate::scan::scan_tree;

/// Something that is not as it was.
#[derive(Debug, thiserror::Error)]
pub enum Finding {
    #[error("{path}: blocks {blocks:?} at byte {byte} are damaged: {fault}")]
    Damaged { path: String, blocks: Range<u64>, byte: u64, fault: String },
    #[error("{path}: from byte {byte} on, where block {block} should be, nothing can be read: {fault}")]
    Tail { path: String, block: u64, byte: u64, fault: String },
    #[error("a signed head cannot be read: {0}")]
    Head(HeadError),
    #[error("the head signed at {at} says {size} blocks, the log has {found}: it was cut")]
    Cut { at: String, size: u64, found: u64 },
    #[error("the head signed at {at} over {size} blocks has another root: a block before it was changed, removed or moved")]
    Root { at: String, size: u64 },
    #[error("audit entry {id}: {what}")]
    Audit { id: i64, what: String },
}

/// What was looked at, and what is wrong.
#[derive(Debug)]
pub struct Verified {
    pub blocks: u64,
    pub records: u64,
    pub heads: usize,
    pub root: Hash,
    /// Entries of the audit log, by number.
    pub audited: Logged,
    pub findings: Vec<Finding>,
}

/// Reads the whole log up to where it ends now. `notes`: signed heads, as handed out.
pub fn verify_log<D: Disk>(disk: &D, dir: &Path, notes: &[String], keys: &PublicKeys) -> Result<Verified, LogError> {
    let mut findings = Vec::new();
    let mut heads: BTreeMap<u64, Vec<SignedHead>> = BTreeMap::new();
    for note in notes {
        match SignedHead::read(note, keys) {
            Ok(head) => heads.entry(head.size).or_default().push(head),
            Err(error) => findings.push(Finding::Head(error)),
        }
    }
    let mut audited = Logged::new();
    let (mut records, mut roots) = (0, BTreeMap::from([(0, Frontier::default().root())]));
    let scanned = scan_tree(
        disk,
        dir,
        LogPosition::default(),
        None,
        |stretch| {
            for (block, record) in stretch.records() {
                records += 1;
                if let Sender::Operator(_) = record.sender
                    && let Some(place) = AuditPlace::of(&record, block)
                {
                    audited.entry(place.id).or_default().push(place);
                }
            }
        },
        |tree| {
            if heads.contains_key(&tree.leaves()) {
                roots.insert(tree.leaves(), tree.root());
            }
        },
    )?;
    findings.extend(scanned.damaged.iter().map(|damaged| Finding::Damaged {
        path: damaged.path.display().to_string(),
        blocks: damaged.blocks.clone(),
        byte: damaged.byte,
        fault: damaged.fault.to_string(),
    }));
    let found = scanned.end.block();
    for head in heads.values().flatten() {
        let at = head.at.to_rfc3339();
        if found < head.size {
            findings.push(Finding::Cut { at, size: head.size, found });
        } else if roots.get(&head.size) != Some(&head.root) {
            findings.push(Finding::Root { at, size: head.size });
        }
    }
    if let Some(torn) = scanned.torn {
        let path = torn.path.display().to_string();
        findings.push(Finding::Tail { path, block: torn.block, byte: torn.byte, fault: torn.fault.to_string() });
    }
    let position = scanned.end;
    Ok(Verified { blocks: position.block(), records, heads: notes.len(), root: position.root(), audited, findings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BlockBuilder, Record, Vouched};
    use crate::disk::OsDisk;
    use crate::log::{Log, LogOptions};
    use crate::result_seals::ResultsEnd;
    use crate::seal::seal_next;
    use crate::segments::{segment_path, segments};
    use crate::signing::ServiceKeys;
    use chrono::DateTime;

    struct Case {
        dir: tempfile::TempDir,
        keys: ServiceKeys,
        notes: Vec<String>,
    }

    /// Forty blocks over several segments, a head after each tenth.
    fn case() -> Case {
        let dir = tempfile::tempdir().unwrap();
        let keys = ServiceKeys::open(dir.path()).unwrap();
        let options = LogOptions { segment_bytes: 4096, grow_bytes: 1024 };
        let (mut log, _) = Log::open(OsDisk, &dir.path().join("log"), options, LogPosition::default(), |_| {}).unwrap();
        let mut notes = Vec::new();
        for i in 1..=40 {
            let mut builder = BlockBuilder::default();
            let sender = Sender::Gateway("g".into());
            builder.push(&Record { sender, enterprise: "e".into(), vouched: Vouched::Token, received_at_us: i, body: &[b'x'; 200] });
            log.append(builder).unwrap();
            if i % 10 == 0 {
                let at = DateTime::from_timestamp(1_572_940_800 + i, 0).unwrap();
                notes.push(SignedHead::sign(log.end(), ResultsEnd::default(), at, &keys).note);
            }
        }
        Case { dir, keys, notes }
    }

    impl Case {
        fn log(&self) -> std::path::PathBuf {
            self.dir.path().join("log")
        }

        fn findings(&self) -> Vec<Finding> {
            verify_log(&OsDisk, &self.log(), &self.notes, &self.keys.public()).unwrap().findings
        }
    }

    #[test]
    fn a_whole_log_has_no_findings_raw_or_sealed() {
        let case = case();
        assert!(case.findings().is_empty());
        while seal_next(&OsDisk, &case.log(), 0).unwrap().is_some() {}
        let verified = verify_log(&OsDisk, &case.log(), &case.notes, &case.keys.public()).unwrap();
        assert!(verified.findings.is_empty(), "{:?}", verified.findings);
        assert_eq!((verified.blocks, verified.records, verified.heads), (40, 40, 4));
    }

    #[test]
    fn a_log_that_was_cut_is_found_by_its_heads() {
        let case = case();
        let last = *segments(&OsDisk, &case.log()).unwrap().keys().next_back().unwrap();
        std::fs::remove_file(segment_path(&case.log(), last)).unwrap();
        assert!(matches!(case.findings()[..], [Finding::Cut { size: 40, .. }]));
    }

    #[test]
    fn a_block_that_was_written_anew_with_right_sums_is_found_by_its_heads() {
        let case = case();
        let path = segment_path(&case.log(), 0);
        let content = std::fs::read(&path).unwrap();
        let block = crate::block::block_at(&content, 0).unwrap();
        let mut builder = BlockBuilder::default();
        let sender = Sender::Gateway("g".into());
        builder.push(&Record { sender, enterprise: "e".into(), vouched: Vouched::Token, received_at_us: 1, body: &[b'y'; 200] });
        let forged = builder.finish(0, &[0; 32]).bytes;
        assert_eq!(forged.len(), block.len());
        std::fs::write(&path, [&forged, &content[forged.len()..]].concat()).unwrap();
        let sizes: Vec<_> =
            case.findings().iter().map(|finding| if let Finding::Root { size, .. } = finding { *size } else { 0 }).collect();
        assert_eq!(sizes, [10, 20, 30, 40]);
    }

    #[test]
    fn damage_and_foreign_heads_are_named() {
        let mut case = case();
        let path = segment_path(&case.log(), 0);
        let mut content = std::fs::read(&path).unwrap();
        content[400] ^= 1;
        std::fs::write(&path, content).unwrap();
        case.notes.push(case.notes[0].replace("\n10\n", "\n11\n"));
        let findings = case.findings();
        assert!(matches!(&findings[..], [Finding::Head(HeadError::Signature), Finding::Damaged { .. }]), "{findings:?}");
    }

    /// Another log in the place of the one there was, each block right by itself.
    fn forge(case: &Case, received: impl Iterator<Item = i64>) {
        std::fs::remove_dir_all(case.log()).unwrap();
        let options = LogOptions { segment_bytes: 4096, grow_bytes: 1024 };
        let (mut log, _) = Log::open(OsDisk, &case.log(), options, LogPosition::default(), |_| {}).unwrap();
        for received_at_us in received {
            let mut builder = BlockBuilder::default();
            let sender = Sender::Gateway("g".into());
            builder.push(&Record { sender, enterprise: "e".into(), vouched: Vouched::Token, received_at_us, body: &[b'x'; 200] });
            log.append(builder).unwrap();
        }
    }

    #[test]
    fn whatever_stands_in_the_place_of_the_log_is_found_by_one_head_that_was_kept() {
        let mut case = case();
        // Who can write the log can also take the heads out of the database: one over 30 blocks was kept elsewhere.
        case.notes = vec![case.notes[2].clone()];
        let said = |case: &Case| case.findings().iter().map(ToString::to_string).collect::<String>();
        forge(&case, 1..=40);
        assert_eq!(said(&case), "", "the same log again");
        forge(&case, (1..=30).chain(200..=230));
        assert_eq!(said(&case), "", "what came after that head is not proved by it");
        let other: [(&str, Vec<i64>); 5] = [
            ("deleted", (1..=40).filter(|i| *i != 7).collect()),
            ("edited", (1..=40).map(|i| if i == 7 { 1000 } else { i }).collect()),
            ("reordered", (1..=40).map(|i| [i, 8, 7][usize::from(i == 7) + 2 * usize::from(i == 8)]).collect()),
            ("forked", (1..=20).chain(100..=120).collect()),
            ("begun elsewhere", (0..=40).collect()),
        ];
        for (what, received) in other {
            forge(&case, received.into_iter());
            assert!(said(&case).contains("over 30 blocks has another root"), "{what}: {}", said(&case));
        }
        forge(&case, 1..=29);
        assert!(said(&case).contains("says 30 blocks, the log has 29: it was cut"), "shorter and consistent: {}", said(&case));
    }
}
