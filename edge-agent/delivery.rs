//! Which report is sent next, and what an acknowledgement means. Decides only: no input or output, time is passed in.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::PubAckReason;
use serde::Deserialize;

use crate::backoff::Backoff;
use crate::spool::ReportKey;

const REFUSALS_MAX: usize = 100;

/// What becomes of a report whose acknowledgement came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Accepted, or known already: delete it.
    Settled,
    /// Refused for good, for this reason: move it aside.
    Refused(&'static str),
    /// Not now, for this reason: keep it and send it again.
    Kept(&'static str),
}

impl Fate {
    fn of(reason: PubAckReason) -> Fate {
        match reason {
            PubAckReason::Success => Fate::Settled,
            PubAckReason::PayloadFormatInvalid => Fate::Refused("0x99 payload format invalid"),
            PubAckReason::NotAuthorized => Fate::Refused("0x87 not authorised"),
            PubAckReason::QuotaExceeded => Fate::Kept("0x97 quota exceeded"),
            PubAckReason::NoMatchingSubscribers => Fate::Kept("0x10 no matching subscribers"),
            PubAckReason::UnspecifiedError => Fate::Kept("0x80 unspecified error"),
            PubAckReason::ImplementationSpecificError => Fate::Kept("0x83 implementation specific error"),
            PubAckReason::TopicNameInvalid => Fate::Kept("0x90 topic name invalid"),
            PubAckReason::PacketIdentifierInUse => Fate::Kept("0x91 packet identifier in use"),
        }
    }
}

/// Delivery over one connection after another. All times are monotonic milliseconds.
pub struct Delivery {
    in_flight_max: usize,
    limit: usize,
    /// Where to look for the next report.
    next: u64,
    /// Handed to the client; the packet id is not known yet. In sending order.
    handed: VecDeque<u64>,
    in_flight: HashMap<u16, InFlight>,
    ready: bool,
    held_until_ms: u64,
    hold: Backoff,
    refusals: VecDeque<Vec<u8>>,
}

struct InFlight {
    position: u64,
    sent_ms: u64,
}

impl Delivery {
    pub fn new(in_flight_max: u16, hold_max: Duration) -> Delivery {
        Delivery {
            in_flight_max: usize::from(in_flight_max),
            limit: 0,
            next: 0,
            handed: VecDeque::new(),
            in_flight: HashMap::new(),
            ready: false,
            held_until_ms: 0,
            hold: Backoff::new(hold_max.min(Duration::from_secs(1)), hold_max),
            refusals: VecDeque::new(),
        }
    }

    /// A new connection: everything unsettled is sent again, from the oldest on.
    /// One less than the broker admits, so that a packet id is never taken twice.
    pub fn connected(&mut self, receive_max: Option<u16>) {
        self.limit = self.in_flight_max.min(usize::from(receive_max.unwrap_or(u16::MAX)).saturating_sub(1).max(1));
        self.next = 0;
        self.handed.clear();
        self.in_flight.clear();
        self.refusals.clear();
    }

    /// Refusals would now be heard: sending may begin.
    pub fn ready(&mut self) {
        self.ready = true;
    }

    pub fn disconnected(&mut self) {
        self.connected(None);
        self.ready = false;
    }

    /// The service asked for a pause.
    pub fn holding(&self, now_ms: u64) -> bool {
        now_ms < self.held_until_ms
    }

    pub fn idle(&self) -> bool {
        self.handed.is_empty() && self.in_flight.is_empty()
    }

    /// From which position on, and how many unsettled ones, `choose` needs to see; `None` if nothing may be sent now.
    pub fn wanted(&self, now_ms: u64) -> Option<(u64, usize)> {
        let open = self.ready && !self.holding(now_ms);
        let outstanding = self.handed.len() + self.in_flight.len();
        (open && outstanding < self.limit).then_some((self.next, self.limit))
    }

    /// Which of these unsettled positions are sent next.
    pub fn choose(&mut self, unsettled: &[u64]) -> Vec<u64> {
        let outstanding: Vec<u64> = self.handed.iter().copied().chain(self.in_flight.values().map(|sent| sent.position)).collect();
        let free = unsettled.iter().copied().filter(|position| !outstanding.contains(position));
        let chosen: Vec<u64> = free.take(self.limit.saturating_sub(outstanding.len())).collect();
        self.next = chosen.last().map_or(self.next, |last| last + 1);
        chosen
    }

    pub fn handed_over(&mut self, position: u64) {
        self.handed.push_back(position);
    }

    /// The client has given the oldest handed report its packet id and sent it.
    pub fn sent(&mut self, packet_id: u16, now_ms: u64) {
        if let Some(position) = self.handed.pop_front() {
            self.in_flight.insert(packet_id, InFlight { position, sent_ms: now_ms });
        }
    }

    pub fn acknowledged(&mut self, packet_id: u16, reason: PubAckReason, now_ms: u64, jitter: f64) -> Option<(u64, Fate)> {
        let InFlight { position, .. } = self.in_flight.remove(&packet_id)?;
        let fate = Fate::of(reason);
        match fate {
            Fate::Settled | Fate::Refused(_) => self.hold.reset(),
            Fate::Kept(_) => {
                self.next = self.next.min(position);
                if !self.holding(now_ms) {
                    let wait_ms = u64::try_from(self.hold.after_failure(jitter).as_millis()).unwrap_or(u64::MAX);
                    self.held_until_ms = now_ms.saturating_add(wait_ms);
                }
            }
        }
        Some((position, fate))
    }

    /// The oldest report in flight has waited longer than this for its acknowledgement.
    pub fn stalled(&self, now_ms: u64, timeout: Duration) -> bool {
        self.in_flight.values().any(|sent| u128::from(now_ms.saturating_sub(sent.sent_ms)) > timeout.as_millis())
    }

    /// The service says why it refuses a report; the acknowledgement follows.
    pub fn refusal(&mut self, faults: Vec<u8>) {
        if self.refusals.len() >= REFUSALS_MAX {
            self.refusals.pop_front();
        }
        self.refusals.push_back(faults);
    }

    /// What was said about this report: the refusal that names it, or the oldest one that names none.
    pub fn take_refusal(&mut self, key: &ReportKey) -> Option<Vec<u8>> {
        #[derive(Deserialize)]
        struct Named {
            boot: Option<String>,
            seq: Option<u64>,
        }
        let index = self.refusals.iter().position(|faults| match serde_json::from_slice::<Named>(faults) {
            Ok(Named { boot, seq: Some(seq) }) => seq == key.seq && boot.is_none_or(|boot| boot == key.boot),
            _ => true,
        })?;
        self.refusals.remove(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn delivery() -> Delivery {
        let mut delivery = Delivery::new(3, 60 * SECOND);
        delivery.connected(None);
        delivery.ready();
        delivery
    }

    /// Hands over what fits of the positions 0..10, less the settled ones.
    fn hand_over(delivery: &mut Delivery, settled: &[u64], now_ms: u64) -> Vec<u64> {
        let Some((from, count)) = delivery.wanted(now_ms) else { return vec![] };
        let unsettled: Vec<u64> = (from..10).filter(|position| !settled.contains(position)).take(count).collect();
        let chosen = delivery.choose(&unsettled);
        chosen.iter().for_each(|position| delivery.handed_over(*position));
        chosen
    }

    #[test]
    fn nothing_is_sent_before_refusals_can_be_heard() {
        let mut delivery = Delivery::new(3, SECOND);
        delivery.connected(None);
        assert_eq!(delivery.wanted(0), None);
        delivery.ready();
        assert_eq!(delivery.wanted(0), Some((0, 3)));
    }

    #[test]
    fn in_flight_is_bounded_by_the_configuration_and_by_the_broker() {
        let mut delivery = delivery();
        assert_eq!(hand_over(&mut delivery, &[], 0), [0, 1, 2]);
        delivery.sent(1, 0);
        assert_eq!(hand_over(&mut delivery, &[], 0), [0; 0]);
        assert_eq!(delivery.acknowledged(1, PubAckReason::Success, 0, 0.0), Some((0, Fate::Settled)));
        assert_eq!(hand_over(&mut delivery, &[0], 0), [3]);
        delivery.connected(Some(2));
        assert_eq!(hand_over(&mut delivery, &[0], 0), [1]);
    }

    #[test]
    fn acknowledgements_are_matched_by_packet_id_in_any_order() {
        let mut delivery = delivery();
        hand_over(&mut delivery, &[], 0);
        (11..=13).for_each(|packet_id| delivery.sent(packet_id, 0));
        assert_eq!(delivery.acknowledged(13, PubAckReason::Success, 0, 0.0), Some((2, Fate::Settled)));
        assert_eq!(delivery.acknowledged(13, PubAckReason::Success, 0, 0.0), None);
        assert_eq!(delivery.acknowledged(11, PubAckReason::Success, 0, 0.0), Some((0, Fate::Settled)));
        assert!(!delivery.idle());
    }

    #[test]
    fn after_a_disconnect_everything_unsettled_is_sent_again_from_the_oldest_on() {
        let mut delivery = delivery();
        hand_over(&mut delivery, &[], 0);
        delivery.sent(1, 0);
        delivery.sent(2, 0);
        delivery.acknowledged(2, PubAckReason::Success, 0, 0.0);
        delivery.disconnected();
        assert_eq!(delivery.wanted(0), None);
        delivery.connected(None);
        delivery.ready();
        assert_eq!(hand_over(&mut delivery, &[1], 0), [0, 2, 3]);
    }

    #[test]
    fn a_full_quota_keeps_the_report_and_holds_sending_back() {
        let mut delivery = delivery();
        hand_over(&mut delivery, &[], 0);
        (1..=3).for_each(|packet_id| delivery.sent(packet_id, 0));
        assert_eq!(delivery.acknowledged(1, PubAckReason::QuotaExceeded, 100, 1.0), Some((0, Fate::Kept("0x97 quota exceeded"))));
        assert_eq!(delivery.wanted(1_099), None);
        assert_eq!(hand_over(&mut delivery, &[], 1_100), [0], "1 and 2 are still in flight");
        delivery.sent(4, 1_100);
        delivery.acknowledged(4, PubAckReason::QuotaExceeded, 1_200, 1.0);
        assert_eq!(delivery.wanted(3_199), None, "the second wait is longer");
        assert_eq!(hand_over(&mut delivery, &[], 3_200), [0]);
    }

    #[test]
    fn a_refused_report_takes_the_refusal_that_names_it() {
        let mut delivery = delivery();
        delivery.refusal(br#"{"boot":"b7","seq":2,"faults":[]}"#.to_vec());
        delivery.refusal(br#"{"faults":[1]}"#.to_vec());
        let key = |seq| ReportKey { boot: "b7".into(), seq };
        assert_eq!(delivery.take_refusal(&key(1)), Some(br#"{"faults":[1]}"#.to_vec()));
        assert_eq!(delivery.take_refusal(&key(1)), None);
        assert!(delivery.take_refusal(&key(2)).is_some());
        hand_over(&mut delivery, &[], 0);
        delivery.sent(1, 0);
        assert!(matches!(delivery.acknowledged(1, PubAckReason::PayloadFormatInvalid, 0, 0.0), Some((0, Fate::Refused(_)))));
    }

    #[test]
    fn a_report_without_acknowledgement_stalls_the_connection() {
        let mut delivery = delivery();
        hand_over(&mut delivery, &[], 0);
        delivery.sent(1, 1_000);
        assert!(!delivery.stalled(2_000, SECOND));
        assert!(delivery.stalled(2_001, SECOND));
    }
}
