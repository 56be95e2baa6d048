//! Reads records of the log again into facts and identities.

use chrono::DateTime;
use store::Record;
use tally::{Boot, Claim, Claims, Facts, Origin};
use wire::carrier::read_carrier_message;
use wire::identity::{MessageIdentity, Sender, identity_key};
use wire::{Door, ReadContext, read_report};

use crate::admission::AdmittedBefore;
use crate::intake::report_identity;
use crate::intake::shanghai_day;

/// What a stretch of the log adds up to.
#[derive(Default)]
pub struct Replay {
    pub facts: Facts,
    pub identities: Claims,
    /// Records that this program can no longer read; none are expected.
    pub unreadable: u64,
    pub records: u64,
}

impl Replay {
    /// `block`: the number of the block that holds it.
    pub fn take(&mut self, block: u64, record: Record<'_>) {
        self.records += 1;
        if self.read(block, &record).is_none() {
            self.unreadable += 1;
        }
    }

    fn read(&mut self, block: u64, record: &Record<'_>) -> Option<()> {
        let received_at = DateTime::from_timestamp_micros(record.received_at_us)?;
        let origin = Origin { sender: record.sender.clone(), enterprise: record.enterprise.clone(), received_at };
        let door = match record.sender {
            Sender::Gateway(_) => Door::Gateway,
            Sender::Supplier(_) => Door::Supplier,
            Sender::Carrier(_) => {
                let message = read_carrier_message(record.body, shanghai_day(received_at), &AdmittedBefore).1.ok()?;
                let identity = MessageIdentity::Id(message.id.clone());
                self.facts.apply_carrier(&message);
                self.identities.claim_id(identity_key(&record.sender, &identity), Claim { digest: message.digest(), block });
                return Some(());
            }
        };
        // What was not too far in the future when it came is not refused when it is read again.
        let context = ReadContext { door, received_at, future_skew_s_max: u32::MAX, admission: &AdmittedBefore };
        let report = read_report(record.body, &context).report.ok()?;
        self.facts.apply_report(&origin, &report);
        let claim = Claim { digest: report.digest(), block };
        match report_identity(&record.sender, &report) {
            MessageIdentity::Sequence { boot, seq } => {
                self.identities.claim_number(Boot { gateway: record.sender.id(), boot: &boot }, seq, claim, received_at);
            }
            identity => self.identities.claim_id(identity_key(&record.sender, &identity), claim),
        }
        Some(())
    }
}
