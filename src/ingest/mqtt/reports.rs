//! Publishes on their way through the intake, and their answers in order.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use chrono::{DateTime, Utc};
use store::Vouched;
use tokio::sync::mpsc;
use wire::identity::Sender;
use wire::topic::{self, GatewayTopic};
use wire::{Fault, FaultCode, Label};

use super::ending::Ending;
use super::packet::{AckReason, Publish};
use crate::intake::Intake;
use crate::item::{Batch, Outcome, RawMessage, Settled};
use crate::queue::Ticket;

/// More places than these are not kept for later.
const KEPT: usize = 64;
/// Longer words are of no use in a PUBACK.
const SAID_MAX: usize = 256;

type Outcomes = (mpsc::UnboundedSender<Vec<Settled>>, mpsc::UnboundedReceiver<Vec<Settled>>);

pub(super) struct Reports {
    pub(super) gateway: String,
    /// How the door knows it.
    vouched: Vouched,
    /// Handed to the intake, in order; without a packet id for QoS 0, which gets no PUBACK.
    waiting: VecDeque<Waiting>,
    /// Made with the first report: most connections are idle.
    outcomes: Option<Outcomes>,
}

/// A publish that waits for its answer.
#[derive(Clone, Copy)]
struct Waiting {
    packet_id: Option<NonZeroU16>,
    /// It said nothing that the intake has to settle: its PUBACK only keeps the order.
    settled: bool,
}

/// What one publish is answered.
pub(super) struct Answer {
    pub(super) packet_id: Option<NonZeroU16>,
    pub(super) label: Label,
    pub(super) outcome: Outcome,
}

impl Reports {
    pub(super) fn new(gateway: String, vouched: Vouched) -> Reports {
        Reports { gateway, vouched, waiting: VecDeque::new(), outcomes: None }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// QoS 1 publishes that wait for their PUBACK, counted only near the bound.
    pub(super) fn unacknowledged(&self, bound: usize) -> usize {
        if self.waiting.len() < bound {
            self.waiting.len()
        } else {
            self.waiting.iter().filter(|waiting| waiting.packet_id.is_some()).count()
        }
    }

    /// Nobody will be answered any more.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }

    /// Puts a publish to those that are handed over next; a foreign topic ends the connection once it is answered.
    pub(super) fn take(&mut self, publish: Publish, messages: &mut Vec<RawMessage>) -> Option<Ending> {
        let Publish { topic, packet_id, payload, .. } = publish;
        let (refused, ending) = self.refusal(&topic, packet_id);
        let message = match refused {
            None => RawMessage::of(payload),
            Some(fault) if topic::report_topic_of(&topic, &self.gateway) => RawMessage { refused: vec![fault], ..RawMessage::of(payload) },
            Some(fault) => RawMessage::refused_on(&topic, payload, vec![fault]),
        };
        self.put(packet_id, message, messages);
        ending
    }

    /// Puts a message to those that are handed over next.
    pub(super) fn put(&mut self, packet_id: Option<NonZeroU16>, message: RawMessage, messages: &mut Vec<RawMessage>) {
        self.waiting.push_back(Waiting { packet_id, settled: false });
        messages.push(message);
    }

    /// Takes a publish that needs no settling.
    pub(super) fn pass(&mut self, packet_id: Option<NonZeroU16>) {
        self.waiting.push_back(Waiting { packet_id, settled: true });
    }

    /// The next PUBACK that waits for nothing but its turn.
    pub(super) fn passed(&mut self) -> Option<NonZeroU16> {
        while self.waiting.front()?.settled {
            if let Some(Waiting { packet_id: Some(packet_id), .. }) = self.waiting.pop_front() {
                return Some(packet_id);
            }
        }
        None
    }

    /// Hands them over; the intake answers with `settled`.
    pub(super) async fn submit(
        &mut self,
        intake: &Intake,
        received_at: DateTime<Utc>,
        messages: Vec<RawMessage>,
        ticket: Option<Ticket>,
    ) -> Result<(), Ending> {
        let outcomes = self.outcomes.get_or_insert_with(mpsc::unbounded_channel).0.clone();
        // The receiver lives as long as the connection; afterwards nobody needs the outcome.
        let reply = Box::new(move |settled| drop(outcomes.send(settled)));
        let sender = Sender::Gateway(self.gateway.as_str().into());
        let batch = Batch { sender, vouched: self.vouched, received_at, messages, reply };
        intake.submit_read(batch, ticket).await.map_err(|_| Ending::Unavailable)
    }

    /// Waits for outcomes.
    pub(super) async fn settled(&mut self) -> Vec<Settled> {
        match &mut self.outcomes {
            // The sender lives as long as the receiver.
            Some((_, outcomes)) => outcomes.recv().await.unwrap_or_default(),
            None => std::future::pending().await,
        }
    }

    /// The next publish and what became of it.
    pub(super) fn answer(&mut self, settled: Settled) -> Option<Answer> {
        let packet_id = self.waiting.pop_front()?.packet_id;
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT {
            self.waiting = VecDeque::new();
        }
        Some(Answer { packet_id, label: settled.label, outcome: settled.outcome })
    }

    /// Why a publish is refused before it is read, and whether that ends the connection.
    fn refusal(&self, topic: &str, packet_id: Option<NonZeroU16>) -> (Option<Fault>, Option<Ending>) {
        if !topic::report_topic_of(topic, &self.gateway) {
            let foreign = !topic::below_gateway(topic, &self.gateway);
            let shown = topic.chars().take(128).collect::<String>();
            let detail = format!("{shown:?} is not {}", GatewayTopic::Report.of(&self.gateway));
            return (Some(Fault::new(FaultCode::NotAuthorised, "", detail)), foreign.then_some(Ending::ForeignTopic));
        }
        let fault = packet_id.is_none().then(|| Fault::new(FaultCode::Qos0, "", "the report came with QoS 0"));
        (fault, None)
    }
}

/// The reason of a PUBACK, and in words what is to be mended.
pub(super) fn reason(faults: &[Fault]) -> (AckReason, Option<String>) {
    let authorised = faults.iter().all(|fault| !fault.code.questions_sender());
    let reason = if authorised { AckReason::PayloadInvalid } else { AckReason::NotAuthorised };
    let said = faults.first().map(|fault| {
        let more = if faults.len() > 1 { format!(" (and {} more faults)", faults.len() - 1) } else { String::new() };
        let at = if fault.path.is_empty() { String::new() } else { format!("{}: ", fault.path) };
        let said = format!("{at}{}{more}", fault.detail);
        said.chars().filter(|c| !c.is_control()).take(SAID_MAX).collect()
    });
    (reason, said)
}
