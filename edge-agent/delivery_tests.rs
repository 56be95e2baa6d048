use super::*;
use PubAckReason::{NoMatchingSubscribers, NotAuthorized, PayloadFormatInvalid, QuotaExceeded, Success};

const SECOND: Duration = Duration::from_secs(1);

/// Five in flight, of which one is kept free for live reports.
fn limits() -> Limits {
    Limits {
        in_flight_max: 5,
        backlog_reports_per_s: 1000.0,
        pause_max: 60 * SECOND,
        acknowledge_timeout: 10 * SECOND,
        receipt_timeout: None,
    }
}

/// A delivery with a client that sends what it is handed at once: packet ids count from 1.
struct Bench {
    delivery: Delivery,
    now_ms: u64,
    packet_ids: HashMap<u64, u16>,
    last: u16,
    /// Positions that the spool no longer has.
    gone: std::ops::Range<u64>,
}

impl Bench {
    fn new(limits: Limits) -> Bench {
        Bench { delivery: Delivery::new(limits), now_ms: 0, packet_ids: HashMap::new(), last: 0, gone: 0..0 }
    }

    fn by_receipt() -> Bench {
        Bench::new(Limits { receipt_timeout: Some(120 * SECOND), ..limits() })
    }

    fn apply(&mut self, event: Event<'_>) -> Vec<Effect> {
        let mut effects = self.delivery.apply(event, self.now_ms);
        let mut at = 0;
        while let Some(effect) = effects.get(at) {
            at += 1;
            let Effect::Send(position) = *effect else { continue };
            if self.gone.contains(&position) {
                at -= 1;
                effects.remove(at);
                effects.extend(self.delivery.apply(Event::Gone { position, next: self.gone.end }, self.now_ms));
                continue;
            }
            self.last += 1;
            self.packet_ids.insert(position, self.last);
            assert_eq!(self.delivery.apply(Event::Sent { packet_id: self.last }, self.now_ms), []);
        }
        effects
    }

    fn connect(&mut self, oldest: Option<u64>, next: u64) -> Vec<Effect> {
        self.apply(Event::Connected { oldest, next, receive_max: None })
    }

    fn answer(&mut self, position: u64, reason: PubAckReason) -> Vec<Effect> {
        let packet_id = self.packet_ids[&position];
        self.apply(Event::Acknowledged { packet_id, reason, jitter: 1.0 })
    }

    fn at(&mut self, now_ms: u64) -> Vec<Effect> {
        self.now_ms = now_ms;
        self.apply(Event::Tick)
    }
}

fn sent(effects: &[Effect]) -> Vec<u64> {
    effects.iter().filter_map(|effect| if let Effect::Send(position) = effect { Some(*position) } else { None }).collect()
}

#[test]
fn offline_nothing_is_sent() {
    let mut bench = Bench::new(limits());
    assert_eq!(bench.apply(Event::Spooled { next: 3 }), []);
    assert_eq!(bench.at(60_000), []);
    assert_eq!((bench.delivery.state(), bench.delivery.wakes_at_ms(0)), (State::Offline, None));
}

#[test]
fn offline_to_live_when_connected_without_old_reports() {
    let mut bench = Bench::new(limits());
    assert_eq!(bench.connect(None, 7), [Effect::Entered(State::Live)]);
    assert_eq!(bench.apply(Event::Spooled { next: 9 }), [Effect::Send(7), Effect::Send(8)]);
    assert_eq!(bench.answer(8, Success), [Effect::Settle(8)], "in any order");
    assert_eq!(bench.answer(7, Success), [Effect::Settle(7)]);
    assert!(bench.delivery.idle());
}

#[test]
fn offline_to_backlog_when_connected_with_old_reports() {
    let mut bench = Bench::new(limits());
    assert_eq!(bench.connect(Some(5), 7), [Effect::Send(5), Effect::Send(6), Effect::Entered(State::Backlog)]);
}

#[test]
fn backlog_to_live_when_the_last_old_report_is_settled() {
    let mut bench = Bench::new(limits());
    bench.connect(Some(5), 7);
    assert_eq!(bench.answer(6, Success), [Effect::Settle(6)]);
    assert_eq!(bench.answer(5, Success), [Effect::Settle(5), Effect::Entered(State::Live)]);
}

#[test]
fn backlog_to_live_when_the_last_old_report_is_refused_or_gone() {
    let mut bench = Bench::new(limits());
    bench.gone = 6..7;
    bench.connect(Some(5), 7);
    let refused = Effect::Refuse(5, "0x99 payload format invalid");
    assert_eq!(bench.answer(5, PayloadFormatInvalid), [refused, Effect::Entered(State::Live)]);
}

#[test]
fn backlog_to_offline_and_live_to_offline_when_the_connection_is_lost() {
    let mut bench = Bench::new(limits());
    bench.connect(Some(0), 1);
    assert_eq!(bench.apply(Event::Disconnected), [Effect::Entered(State::Offline)]);
    bench.connect(None, 1);
    assert_eq!(bench.apply(Event::Disconnected), [Effect::Entered(State::Offline)]);
}

#[test]
fn live_reports_that_a_lost_connection_left_unsettled_are_backlog_at_the_next() {
    let mut bench = Bench::new(limits());
    bench.connect(None, 0);
    bench.apply(Event::Spooled { next: 3 });
    bench.answer(1, Success);
    bench.apply(Event::Disconnected);
    assert_eq!(sent(&bench.connect(Some(0), 3)), [0, 1, 2], "the spool says that 1 is gone");
    assert_eq!(bench.delivery.state(), State::Backlog);
}

#[test]
fn live_reports_go_before_the_backlog() {
    let mut bench = Bench::new(limits());
    assert_eq!(sent(&bench.connect(Some(0), 100)), [0, 1, 2, 3], "one place is kept free");
    assert_eq!(sent(&bench.apply(Event::Spooled { next: 102 })), [100]);
    assert_eq!(sent(&bench.answer(0, Success)), [101]);
    assert_eq!(sent(&bench.answer(1, Success)), [0; 0], "the free place is kept again");
    assert_eq!(sent(&bench.answer(2, Success)), [4]);
}

#[test]
fn a_place_is_kept_free_unless_there_is_only_one() {
    let mut bench = Bench::new(Limits { in_flight_max: 1, ..limits() });
    assert_eq!(sent(&bench.connect(Some(0), 2)), [0]);
    assert_eq!(sent(&bench.answer(0, Success)), [1]);
}

#[test]
fn the_backlog_follows_oldest_first_at_its_rate() {
    let mut bench = Bench::new(Limits { backlog_reports_per_s: 2.0, ..limits() });
    assert_eq!(sent(&bench.connect(Some(0), 9)), [0, 1], "what one second allows");
    bench.answer(0, Success);
    bench.answer(1, Success);
    assert_eq!(bench.delivery.wakes_at_ms(0), Some(500));
    assert_eq!(sent(&bench.at(499)), [0; 0]);
    assert_eq!(sent(&bench.at(500)), [2]);
    assert_eq!(sent(&bench.apply(Event::Spooled { next: 11 })), [9, 10], "live reports have no rate");
}

#[test]
fn a_report_that_is_gone_costs_nothing_of_the_rate_and_shows_the_way_over_the_gap() {
    let mut bench = Bench::new(Limits { backlog_reports_per_s: 1.0, ..limits() });
    bench.gone = 1..6;
    assert_eq!(sent(&bench.connect(Some(1), 9)), [6]);
    assert_eq!(sent(&bench.at(1000)), [7]);
}

#[test]
fn in_flight_is_bounded_by_the_configuration_and_by_the_broker() {
    let mut bench = Bench::new(limits());
    bench.connect(None, 0);
    assert_eq!(sent(&bench.apply(Event::Spooled { next: 100 })), [0, 1, 2, 3, 4]);
    bench.apply(Event::Disconnected);
    bench.apply(Event::Connected { oldest: None, next: 100, receive_max: Some(3) });
    assert_eq!(sent(&bench.apply(Event::Spooled { next: 200 })), [100, 101]);
    bench.apply(Event::Connected { oldest: None, next: 200, receive_max: Some(1) });
    assert_eq!(sent(&bench.apply(Event::Spooled { next: 300 })), [200]);
}

#[test]
fn a_full_quota_pauses_sending_and_the_report_is_sent_again_first() {
    let mut bench = Bench::new(limits());
    bench.connect(Some(0), 2);
    bench.apply(Event::Spooled { next: 3 });
    assert_eq!(bench.answer(0, QuotaExceeded), [Effect::Pause(0, "0x97 quota exceeded")]);
    assert_eq!(bench.answer(2, QuotaExceeded), [], "one pause for all that was in flight");
    assert_eq!(bench.apply(Event::Spooled { next: 4 }), []);
    assert_eq!(bench.delivery.wakes_at_ms(0), Some(1000));
    assert_eq!(sent(&bench.at(999)), [0; 0]);
    assert_eq!(sent(&bench.at(1000)), [2, 3, 0], "live before old");
    assert_eq!(bench.answer(0, QuotaExceeded), [Effect::Pause(0, "0x97 quota exceeded")]);
    assert_eq!(sent(&bench.at(2999)), [0; 0], "the second pause is longer");
    assert_eq!(sent(&bench.at(3000)), [0]);
    assert_eq!(bench.delivery.state(), State::Backlog);
}

#[test]
fn what_is_forbidden_without_a_word_of_the_service_is_kept_and_sent_again() {
    let mut bench = Bench::new(limits());
    bench.connect(Some(0), 1);
    let forbidden = Effect::Forbidden(0, "0x87 not authorised");
    for again_ms in [1000, 3000] {
        assert_eq!(bench.answer(0, NotAuthorized), [forbidden, Effect::Entered(State::Live)]);
        let untold = Event::Untold { position: 0, reason: "0x87 not authorised", jitter: 1.0 };
        assert_eq!(bench.apply(untold), [Effect::Pause(0, "0x87 not authorised"), Effect::Entered(State::Backlog)]);
        assert_eq!(sent(&bench.at(again_ms - 1)), [0; 0]);
        assert_eq!(sent(&bench.at(again_ms)), [0]);
    }
}

/// The service refuses this report and says that it doubts who speaks.
fn doubt(bench: &mut Bench, position: u64) -> Vec<Effect> {
    let effects = bench.answer(position, NotAuthorized);
    assert!(effects.contains(&Effect::Forbidden(position, "0x87 not authorised")), "{effects:?}");
    effects.into_iter().chain(bench.apply(Event::Held { position, why: Why::Doubted, jitter: 1.0 })).collect()
}

#[test]
fn what_the_service_doubts_waits_while_others_go_on_and_is_tried_ever_more_rarely() {
    let mut bench = Bench::new(limits());
    bench.connect(Some(0), 1);
    doubt(&mut bench, 0);
    assert_eq!((bench.delivery.state(), bench.delivery.held_count(Why::Doubted)), (State::Backlog, 1));
    assert_eq!(bench.apply(Event::Spooled { next: 2 }), [Effect::Send(1)], "nothing pauses");
    assert_eq!(bench.answer(1, Success), [Effect::Settle(1), Effect::Send(0)], "what had to be mended may have been");
    let mut now_ms = 0;
    for wait_ms in [1000, 2000, 4000] {
        assert!(sent(&doubt(&mut bench, 0)).is_empty());
        now_ms += wait_ms;
        assert_eq!(bench.delivery.wakes_at_ms(now_ms - 1), Some(now_ms));
        assert_eq!(sent(&bench.at(now_ms - 1)), [0; 0]);
        assert_eq!(sent(&bench.at(now_ms)), [0]);
    }
    assert_eq!(bench.answer(0, Success), [Effect::Settle(0), Effect::Entered(State::Live)]);
}

#[test]
fn when_one_that_was_doubted_is_taken_the_others_follow_each_once() {
    let mut bench = Bench::new(limits());
    assert_eq!(sent(&bench.connect(Some(0), 9)), [0, 1, 2, 3]);
    (0..4).for_each(|position| drop(doubt(&mut bench, position)));
    (4..9).for_each(|position| drop(doubt(&mut bench, position)));
    assert_eq!((bench.delivery.held_count(Why::Doubted), bench.delivery.idle()), (9, true));
    assert_eq!(sent(&bench.at(1000)), [8], "one alone");
    let effects = bench.answer(8, Success);
    assert_eq!((effects[0], sent(&effects)), (Effect::Settle(8), vec![0, 1, 2, 3]));
    for (settled, next) in [(0, 4), (1, 5), (2, 6), (3, 7)] {
        assert_eq!(sent(&bench.answer(settled, Success)), [next]);
    }
    (4..8).for_each(|position| assert_eq!(bench.answer(position, Success)[0], Effect::Settle(position)));
    assert_eq!((bench.delivery.state(), bench.delivery.idle()), (State::Live, true));
}

#[test]
fn over_a_new_connection_what_is_doubted_is_not_sent_before_its_time_and_not_twice_when_it_is_free() {
    let mut bench = Bench::new(limits());
    bench.connect(Some(0), 3);
    (0..3).for_each(|position| drop(doubt(&mut bench, position)));
    bench.apply(Event::Disconnected);
    assert_eq!(sent(&bench.connect(Some(0), 5)), [3, 4]);
    let mut tried = sent(&bench.answer(3, Success));
    assert_eq!(tried.len(), 1, "one alone");
    assert_eq!(sent(&bench.answer(4, Success)), [0; 0]);
    let mut all = Vec::new();
    while let Some(position) = tried.pop() {
        all.push(position);
        tried.extend(sent(&bench.answer(position, Success)));
    }
    all.sort_unstable();
    assert_eq!((all, bench.delivery.state()), (vec![0, 1, 2], State::Live));
}

#[test]
fn what_was_dropped_while_it_was_held_is_forgotten() {
    let mut bench = Bench::new(limits());
    bench.connect(Some(0), 2);
    (0..2).for_each(|position| drop(doubt(&mut bench, position)));
    bench.apply(Event::Oldest { position: 1 });
    assert_eq!((bench.delivery.holds(0), bench.delivery.holds(1)), (false, true));
    bench.gone = 1..2;
    assert_eq!(sent(&bench.at(60_000)), [0; 0]);
    assert_eq!((bench.delivery.holds_any(), bench.delivery.state()), (false, State::Live));
}

#[test]
fn a_refused_report_that_cannot_be_set_aside_is_tried_again_and_says_the_same() {
    let mut bench = Bench::new(limits());
    bench.connect(Some(0), 1);
    let refused = Effect::Refuse(0, "0x99 payload format invalid");
    bench.answer(0, PayloadFormatInvalid);
    bench.apply(Event::Held { position: 0, why: Why::Unkept, jitter: 1.0 });
    assert_eq!((bench.delivery.state(), bench.delivery.held_count(Why::Unkept)), (State::Backlog, 1));
    assert_eq!(sent(&bench.at(1000)), [0]);
    assert_eq!(bench.answer(0, PayloadFormatInvalid), [refused, Effect::Entered(State::Live)]);
    assert!(!bench.delivery.holds_any());
}

#[test]
fn by_receipt_a_doubt_told_before_the_brokers_acknowledgement_or_after_it_holds_the_report_until_a_receipt_settles_it() {
    let mut bench = Bench::by_receipt();
    bench.connect(Some(0), 2);
    let held = |position| Event::Held { position, why: Why::Doubted, jitter: 1.0 };
    bench.answer(0, Success);
    bench.apply(held(0));
    bench.apply(held(1));
    assert_eq!(bench.answer(1, NotAuthorized), [], "that is known, and no reason to pause");
    assert_eq!((bench.delivery.unsettled(), bench.delivery.state()), (vec![0, 1], State::Backlog));
    assert_eq!(sent(&bench.at(1000)), [1]);
    bench.answer(1, Success);
    assert_eq!(bench.delivery.tries(1), Some(Why::Doubted), "the broker's acknowledgement says nothing");
    assert_eq!(sent(&bench.apply(Event::Receipted { settled: &[1] })), [0]);
}

#[test]
fn unacknowledged_reports_end_the_connection_whether_sent_or_only_handed_over() {
    let mut bench = Bench::new(limits());
    bench.connect(Some(0), 1);
    assert_eq!(bench.at(10_000), []);
    assert_eq!(bench.at(10_001), [Effect::Reconnect]);
    let mut hung = Delivery::new(limits());
    hung.apply(Event::Connected { oldest: Some(0), next: 1, receive_max: None }, 0);
    assert_eq!(hung.apply(Event::Tick, 10_001), [Effect::Reconnect]);
}

#[test]
fn by_receipt_an_acknowledgement_settles_nothing_and_a_receipt_does() {
    let mut bench = Bench::by_receipt();
    bench.connect(Some(0), 2);
    assert_eq!(bench.answer(0, Success), []);
    assert_eq!(bench.answer(1, Success), []);
    assert_eq!((bench.delivery.state(), bench.delivery.unsettled()), (State::Backlog, vec![0, 1]));
    assert_eq!(bench.apply(Event::Receipted { settled: &[0] }), []);
    assert_eq!(bench.apply(Event::Receipted { settled: &[1] }), [Effect::Entered(State::Live)]);
}

#[test]
fn by_receipt_a_report_without_one_is_sent_again_and_ever_more_rarely() {
    let mut bench = Bench::by_receipt();
    bench.connect(None, 0);
    bench.apply(Event::Spooled { next: 2 });
    bench.answer(0, Success);
    bench.answer(1, Success);
    bench.apply(Event::Receipted { settled: &[0] });
    assert_eq!(bench.at(119_999), []);
    assert_eq!(bench.at(120_000), [Effect::Unconfirmed(1), Effect::Send(1)]);
    bench.answer(1, Success);
    assert_eq!(bench.at(359_999), [], "twice as long");
    assert_eq!(sent(&bench.at(360_000)), [1]);
    bench.answer(1, Success);
    bench.apply(Event::Receipted { settled: &[] });
    assert_eq!(sent(&bench.at(480_000)), [1], "the service was heard: patience is as before");
}

#[test]
fn by_receipt_what_is_sent_again_keeps_to_the_rate_of_the_backlog() {
    let mut bench = Bench::new(Limits { backlog_reports_per_s: 1.0, receipt_timeout: Some(120 * SECOND), ..limits() });
    bench.connect(None, 0);
    bench.apply(Event::Spooled { next: 3 });
    (0..3).for_each(|position| assert_eq!(bench.answer(position, Success), []));
    assert_eq!(sent(&bench.at(120_000)), [0]);
    assert_eq!(sent(&bench.at(121_000)), [1]);
    assert_eq!(bench.delivery.state(), State::Live, "they are not of before the connection");
}

#[test]
fn by_receipt_what_the_broker_has_is_not_sent_again_at_once_over_a_new_connection() {
    let mut bench = Bench::by_receipt();
    bench.connect(Some(0), 2);
    bench.answer(0, Success);
    bench.apply(Event::Disconnected);
    assert_eq!(sent(&bench.connect(Some(0), 3)), [1, 2]);
    assert_eq!(bench.delivery.state(), State::Backlog);
}

#[test]
fn by_receipt_a_receipt_may_come_before_the_acknowledgement() {
    let mut bench = Bench::by_receipt();
    bench.connect(Some(0), 1);
    assert_eq!(bench.apply(Event::Receipted { settled: &[0] }), [Effect::Entered(State::Live)]);
    assert_eq!(bench.answer(0, Success), []);
    assert_eq!(bench.delivery.unsettled(), [0; 0]);
}

#[test]
fn by_receipt_the_broker_never_decides_that_a_report_is_refused() {
    for reason in [PayloadFormatInvalid, NotAuthorized, NoMatchingSubscribers] {
        let mut bench = Bench::by_receipt();
        bench.connect(Some(0), 1);
        assert!(matches!(bench.answer(0, reason)[..], [Effect::Pause(0, _)]), "{reason:?}");
        assert_eq!(sent(&bench.at(1000)), [0]);
    }
}

#[test]
fn by_receipt_no_more_is_sent_than_may_wait_for_receipts() {
    let mut bench = Bench::by_receipt();
    bench.connect(None, 0);
    let mut waiting: VecDeque<u64> = sent(&bench.apply(Event::Spooled { next: AWAITING_MAX as u64 + 100 })).into();
    let mut count = waiting.len();
    while let Some(position) = waiting.pop_front() {
        let more = sent(&bench.answer(position, Success));
        count += more.len();
        waiting.extend(more);
    }
    assert!((AWAITING_MAX..AWAITING_MAX + 5).contains(&count), "{count}");
    assert_eq!(sent(&bench.apply(Event::Receipted { settled: &(0..50).collect::<Vec<_>>() })).len(), 5);
}
