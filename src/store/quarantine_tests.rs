use std::collections::BTreeSet;

use policy::calendar::read_day;
use wire::FaultCode;
use wire::identity::MessageIdentity;

use super::*;
use crate::RefusalRevision;

struct Fixture {
    store: Store,
    _dir: tempfile::TempDir,
}

async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    Fixture { store: Store::open(dir.path()).await.unwrap(), _dir: dir }
}

fn at(day: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_572_912_000, 0).unwrap() + TimeDelta::days(day)
}

impl Fixture {
    async fn refuse(&self, day: i64, supplier: &str, code: FaultCode, body: &[u8]) {
        let (sender, faults) = (Sender::Supplier(supplier.into()), [Fault::new(code, "/x", "detail")]);
        self.store.quarantine(&[message(&sender, day, &faults, body)]).await.unwrap();
    }

    async fn positions(&self, filter: QuarantineFilter) -> Vec<i64> {
        let page = self.store.quarantined(&filter, None).await.unwrap();
        page.entries.iter().map(|entry| entry.position).collect()
    }

    async fn all(&self) -> Vec<i64> {
        self.positions(QuarantineFilter::default()).await
    }

    async fn prune(&self, keep_days: i64, bytes_max: u64, day: i64) -> Pruned {
        let limits = QuarantineLimits { keep: TimeDelta::days(keep_days), bytes_max };
        self.store.prune_quarantine(&limits, at(day)).await.unwrap()
    }
}

fn message<'a>(sender: &'a Sender, day: i64, faults: &'a [Fault], body: &'a [u8]) -> RefusedMessage<'a> {
    const NO_LABEL: &Label = &Label { id: None, boot: None, seq: None };
    let received_at = at(day);
    RefusedMessage { received_at, sender, enterprise: "", label: NO_LABEL, topic: None, faults, conflict: None, body, replayed_from: None }
}

#[tokio::test]
async fn entries_are_kept_for_their_time_and_then_removed() {
    let fixture = fixture().await;
    for day in [0, 1, 2] {
        fixture.refuse(day, "S", FaultCode::Missing, b"{}").await;
    }
    assert_eq!(fixture.prune(90, 1 << 20, 90).await, Pruned { entries: 3, bytes: size_of_all(&fixture).await, ..Pruned::default() });
    let pruned = fixture.prune(90, 1 << 20, 91).await;
    assert_eq!((pruned.by_age, pruned.by_size, pruned.entries), (1, 0, 2));
    assert_eq!(fixture.all().await, [3, 2]);
}

async fn size_of_all(fixture: &Fixture) -> u64 {
    let sum: i64 = sqlx::query_scalar("SELECT coalesce(sum(bytes), 0) FROM quarantine").fetch_one(&fixture.store.quarantine).await.unwrap();
    sum.unsigned_abs()
}

#[tokio::test]
async fn the_oldest_go_first_when_it_is_too_much_and_the_size_is_exact_all_the_while() {
    let fixture = fixture().await;
    for body in [vec![b'x'; 4000], vec![b'y'; 100], vec![b'z'; 3000]] {
        fixture.refuse(0, "S", FaultCode::Json, &body).await;
    }
    let faults = [Fault::new(FaultCode::Json, "", "another text, and a longer one")];
    let again = [Replayed { position: 3, outcome: REFUSED, faults: Some(&faults) }];
    fixture.store.mark_replayed(&again, at(1)).await.unwrap();
    let pruned = fixture.prune(90, 6000, 0).await;
    assert_eq!((pruned.by_age, pruned.by_size, fixture.all().await), (0, 1, vec![3, 2]));
    assert_eq!(pruned.bytes, size_of_all(&fixture).await);
    assert!(pruned.bytes > 3100, "bodies, faults and rows are counted: {}", pruned.bytes);
    assert_eq!(fixture.prune(90, 0, 0).await, Pruned { by_size: 2, ..Pruned::default() });
}

#[tokio::test]
async fn one_turn_removes_a_bounded_number_and_the_next_goes_on() {
    let fixture = fixture().await;
    let (sender, faults) = (Sender::Supplier("S".into()), [Fault::new(FaultCode::Json, "", "")]);
    let many: Vec<_> = (0..1_200).map(|_| message(&sender, 0, &faults, b"x")).collect();
    fixture.store.quarantine(&many).await.unwrap();
    assert_eq!(fixture.prune(1, 1 << 30, 9).await.by_age, 1_000);
    assert_eq!(fixture.prune(1, 1 << 30, 9).await, Pruned { by_age: 200, ..Pruned::default() });
}

#[tokio::test]
async fn entries_are_found_by_sender_and_code_and_pages_join_without_gap_or_overlap() {
    let fixture = fixture().await;
    for n in 0..250 {
        let (supplier, code) = if n % 2 == 0 { ("S-1", FaultCode::UnknownProduct) } else { ("S-2", FaultCode::Quality) };
        fixture.refuse(0, supplier, code, b"{}").await;
    }
    let filter = QuarantineFilter { code: Some("unknown_product".into()), ..QuarantineFilter::default() };
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = fixture.store.quarantined(&filter, before).await.unwrap();
        found.extend(page.entries.iter().map(|entry| entry.position));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(found, (0..125).rev().map(|n| 2 * n + 1).collect::<Vec<i64>>());
    let of = |kind: &str, sender: &str| QuarantineFilter {
        sender_kind: Some(kind.into()),
        sender: Some(sender.into()),
        ..QuarantineFilter::default()
    };
    assert_eq!(fixture.positions(of("supplier", "S-2")).await[0], 250);
    assert_eq!(fixture.positions(of("gateway", "S-2")).await, [0; 0]);
}

#[tokio::test]
async fn a_page_of_large_bodies_is_short() {
    let fixture = fixture().await;
    let body = vec![b'x'; 3 << 20];
    for _ in 0..4 {
        fixture.refuse(0, "S", FaultCode::Size, &body).await;
    }
    let page = fixture.store.quarantined(&QuarantineFilter::default(), None).await.unwrap();
    assert_eq!((page.entries.len(), page.next), (3, Some(2)));
}

#[tokio::test]
async fn only_what_is_open_and_came_the_right_way_is_replayed_and_what_is_settled_stays_so() {
    let fixture = fixture().await;
    for code in [FaultCode::UnknownProduct, FaultCode::Qos0, FaultCode::NotAuthorised, FaultCode::Json] {
        fixture.refuse(0, "S", code, b"{}").await;
    }
    let to_replay = async || {
        let page = fixture.store.quarantined_to_replay(&QuarantineFilter::default(), 0).await.unwrap();
        page.entries.iter().map(|entry| entry.position).collect::<Vec<_>>()
    };
    assert_eq!(to_replay().await, [1, 4]);
    let accepted = Replayed { position: 1, outcome: ACCEPTED, faults: None };
    fixture.store.mark_replayed(std::slice::from_ref(&accepted), at(3)).await.unwrap();
    fixture.store.mark_replayed(&[Replayed { outcome: REFUSED, ..accepted }], at(4)).await.unwrap();
    let entry = fixture.store.quarantine_entry(1).await.unwrap().unwrap();
    assert_eq!((entry.outcome.as_deref(), entry.replayed_at, entry.settled()), (Some(ACCEPTED), Some(at(3)), true));
    assert_eq!(to_replay().await, [4]);
    assert_eq!(fixture.store.quarantine_entry(5).await.unwrap(), None);
}

#[tokio::test]
async fn conflicts_are_counted_once_for_equal_contents_and_outlive_their_entries() {
    let fixture = fixture().await;
    let sender = Sender::Gateway("gw-1".into());
    let faults = [Fault::new(FaultCode::Conflict, "/seq", "other content")];
    for (day, seq, digest) in [(0, 1, 7), (1, 1, 7), (1, 1, 8), (2, 2, 7), (40, 3, 1)] {
        let identity = MessageIdentity::Sequence { boot: "b".into(), seq };
        let conflict = Conflict { enterprises: BTreeSet::from(["E".into()]), identity, digest: [digest; 16] };
        let message = RefusedMessage { conflict: Some(&conflict), ..message(&sender, day, &faults, b"{}") };
        fixture.store.quarantine(&[message]).await.unwrap();
    }
    assert_eq!(fixture.prune(1, 0, 90).await.by_age, 5);
    let days = (read_day("2019-11-05").unwrap(), read_day("2019-12-04").unwrap());
    let mut facts = fixture.store.voucher_facts("E", "P", days, None).await.unwrap().0;
    let found = facts.conflicts.remove(&("gateway".into(), "gw-1".into())).unwrap();
    assert_eq!((found.identities, found.contents, found.days), (2, 3, 3));
    assert_eq!(found.some, ["boot \"b\", seq 1", "boot \"b\", seq 2"]);
    assert_eq!(found.positions, [4, 3, 1]);
    facts = fixture.store.voucher_facts("F", "P", days, None).await.unwrap().0;
    assert!(facts.conflicts.is_empty());
}

#[tokio::test]
async fn a_gateway_refused_for_the_future_is_noted_by_day_and_others_are_not() {
    let fixture = fixture().await;
    let faults = [Fault::new(FaultCode::Future, "/devices/0/at", "200 s after receipt")];
    for sender in [Sender::Gateway("gw-1".into()), Sender::Supplier("S-1".into())] {
        for day in [0, 0, 3] {
            let message = RefusedMessage { enterprise: "E", ..message(&sender, day, &faults, b"{}") };
            fixture.store.quarantine(&[message]).await.unwrap();
        }
    }
    let day = |text: &str| read_day(text).unwrap();
    let days = (day("2019-11-01"), day("2019-11-30"));
    let facts = fixture.store.voucher_facts("E", "P", days, None).await.unwrap().0;
    assert_eq!(facts.future_refusals, [("gw-1".into(), day("2019-11-05")), ("gw-1".into(), day("2019-11-08"))].into());
    assert_eq!(fixture.store.newest_future_refusals(&["gw-1"]).await.unwrap()["gw-1"], day("2019-11-08"));
    let (enterprises, revision) = fixture.store.refusals_since(RefusalRevision::default()).await.unwrap();
    assert_eq!(enterprises, ["E".to_string()].into());
    assert_eq!(fixture.store.refusals_since(revision).await.unwrap(), ([].into(), revision));
}

#[tokio::test]
async fn a_quarantine_of_the_first_version_is_taken_over_with_its_entries() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("quarantine.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let old = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let faults = |code: &str| format!(r#"[{{"code":"{code}","path":"","rule":"","detail":""}}]"#);
    let filled = format!(
        "{}; INSERT INTO quarantine (received_at, sender_kind, sender, faults, body) VALUES (1, 'gateway', 'g', '{}', x'7b'),
         (2, 'gateway', 'g', '{}', x'7b7d'); PRAGMA user_version = 1",
        include_str!("quarantine.sql"),
        faults("qos0"),
        faults("unknown_product")
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(filled)).execute(&old).await.unwrap();
    old.close().await;
    let fixture = Fixture { store: Store::open(dir.path()).await.unwrap(), _dir: dir };
    let page = fixture.store.quarantined_to_replay(&QuarantineFilter::default(), 0).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.position).collect::<Vec<_>>(), [2]);
    let pruned = fixture.prune(36_500, 1 << 20, 0).await;
    assert_eq!((pruned.entries, pruned.bytes), (2, size_of_all(&fixture).await));
}
