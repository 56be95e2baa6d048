//! What a receipt says of a gateway's numbers: accepted, refused, declared dropped.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{Row, SqliteConnection};
use tally::{Dropped, Ranges, decode_ranges, encode_ranges, merge_dropped_ranges};

use crate::sql::{Store, StoreError};

/// Refused numbers that are looked at, the newest: those before have their own receipts.
const REFUSED_MAX: i64 = 10_000;

/// One boot of a gateway.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReceiptBoot {
    pub accepted: Ranges,
    pub refused: Ranges,
    pub dropped: Ranges,
    /// When the newest accepted report came.
    pub received_at: Option<DateTime<Utc>>,
}

impl ReceiptBoot {
    /// The highest number up to which every report is accepted, refused or dropped; 0 for none.
    pub fn through(&self) -> u64 {
        let mut settled = self.accepted.clone();
        settled.merge(&self.refused);
        settled.merge(&self.dropped);
        settled.as_slice().first().filter(|(first, _)| *first == 1).map_or(0, |(_, last)| *last)
    }
}

impl Store {
    /// Every boot of a gateway that anything is known of.
    pub async fn receipt_boots(&self, gateway: &str) -> Result<BTreeMap<String, ReceiptBoot>, StoreError> {
        let mut boots: BTreeMap<String, ReceiptBoot> = BTreeMap::new();
        for sequences in self.gateway_sequences(gateway).await? {
            let boot = ReceiptBoot { accepted: sequences.ranges, received_at: sequences.last_at, ..ReceiptBoot::default() };
            boots.insert(sequences.boot, boot);
        }
        let dropped =
            sqlx::query("SELECT boot, ranges FROM dropped_number WHERE gateway = ?").bind(gateway).fetch_all(&self.readers).await?;
        for row in &dropped {
            boots.entry(row.try_get("boot")?).or_default().dropped = decode_ranges(row.try_get("ranges")?)?;
        }
        let refused = sqlx::query("SELECT boot, seq FROM refused_number WHERE gateway = ? ORDER BY boot DESC, seq DESC LIMIT ?")
            .bind(gateway)
            .bind(REFUSED_MAX)
            .fetch_all(&self.quarantine_readers)
            .await?;
        for row in &refused {
            let seq = row.try_get::<i64, _>("seq")?.unsigned_abs();
            boots.entry(row.try_get("boot")?).or_default().refused.insert(seq, seq);
        }
        Ok(boots)
    }
}

pub(crate) async fn merge_dropped_rows(connection: &mut SqliteConnection, dropped: &Dropped) -> Result<(), StoreError> {
    for (key, ranges) in dropped {
        let kept: Option<Vec<u8>> = sqlx::query_scalar("SELECT ranges FROM dropped_number WHERE gateway = ? AND boot = ?")
            .bind(key.gateway.as_str())
            .bind(key.boot.as_str())
            .fetch_optional(&mut *connection)
            .await?;
        let mut merged = kept.as_deref().map(decode_ranges).transpose()?.unwrap_or_default();
        merge_dropped_ranges(&mut merged, ranges);
        sqlx::query("INSERT OR REPLACE INTO dropped_number (gateway, boot, ranges) VALUES (?, ?, ?)")
            .bind(key.gateway.as_str())
            .bind(key.boot.as_str())
            .bind(encode_ranges(&merged))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(list: &[(u64, u64)]) -> Ranges {
        let mut ranges = Ranges::default();
        list.iter().for_each(|(first, last)| ranges.insert(*first, *last));
        ranges
    }

    #[test]
    fn a_receipt_goes_through_what_is_accepted_refused_or_dropped_and_stops_at_what_is_missing() {
        let mut boot = ReceiptBoot { accepted: ranges(&[(1, 3), (6, 7), (10, 10)]), ..ReceiptBoot::default() };
        assert_eq!(boot.through(), 3);
        boot.refused = ranges(&[(4, 4)]);
        assert_eq!(boot.through(), 4);
        boot.dropped = ranges(&[(5, 5)]);
        assert_eq!(boot.through(), 7);
        boot.accepted = ranges(&[(2, 3)]);
        assert_eq!(boot.through(), 0, "number 1 is missing");
    }
}
