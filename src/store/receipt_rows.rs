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
    /// The highest number up to which every report is accepted, refused or dropped; 0 for none. A boot with so many gaps that the
    /// oldest are no longer told apart has none, unless they are all filled.
    pub fn through(&self) -> u64 {
        if self.accepted.held_to_floor() < self.accepted.floor() {
            return 0;
        }
        let mut settled: Vec<_> = [&self.accepted, &self.refused, &self.dropped].into_iter().flat_map(Ranges::as_slice).collect();
        settled.sort_unstable();
        settled.into_iter().fold(
            self.accepted.floor(),
            |through, (first, last)| {
                if *first <= through.saturating_add(1) { through.max(*last) } else { through }
            },
        )
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

/// Puts these in the place of all that is kept.
pub(crate) async fn replace_dropped_rows(connection: &mut SqliteConnection, dropped: &Dropped) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM dropped_number").execute(&mut *connection).await?;
    merge_dropped_rows(connection, dropped).await
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
        boot.accepted = ranges(&[(1, 1), (2, u64::MAX)]);
        assert_eq!(boot.through(), u64::MAX);
    }

    #[test]
    fn where_gaps_are_no_longer_told_apart_a_receipt_goes_through_only_what_is_whole() {
        let mut boot = ReceiptBoot::default();
        (1..=10_100).map(|n| 2 * n).for_each(|even| boot.accepted.insert(even, even));
        assert!(boot.accepted.floor() > 0);
        boot.refused = ranges(&[(1, 1), (3, 3)]);
        assert_eq!(boot.through(), 0);
        (0..=10_100).map(|n| 2 * n + 1).for_each(|odd| boot.accepted.insert(odd, odd));
        assert_eq!(boot.through(), 20_201);
    }
}
