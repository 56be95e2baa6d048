//! Publishes on their way through the intake, and their answers in order.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use wire::identity::Sender;
use wire::topic::{self, GatewayTopic};
use wire::{Fault, FaultCode, Label};

use super::ending::Ending;
use super::packet::{AckReason, Publish};
use crate::intake::Intake;
use crate::item::{Item, Outcome};

/// More places than these are not kept for later.
const KEPT: usize = 64;
/// Longer words are of no use in a PUBACK.
const SAID_MAX: usize = 256;

type Outcomes = (mpsc::UnboundedSender<Vec<Outcome>>, mpsc::UnboundedReceiver<Vec<Outcome>>);

pub(super) struct Reports {
    pub(super) gateway: String,
    /// Handed to the intake, in order; without a packet id for QoS 0, which gets no PUBACK.
    waiting: VecDeque<(Option<NonZeroU16>, Label)>,
    /// Made with the first report: most connections are idle.
    outcomes: Option<Outcomes>,
}

/// What one publish is answered.
pub(super) struct Answer {
    pub(super) packet_id: Option<NonZeroU16>,
    pub(super) label: Label,
    pub(super) outcome: Outcome,
}

impl Reports {
    pub(super) fn new(gateway: String) -> Reports {
        Reports { gateway, waiting: VecDeque::new(), outcomes: None }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// QoS 1 publishes that wait for their PUBACK, counted only near the bound.
    pub(super) fn unacknowledged(&self, bound: usize) -> usize {
        if self.waiting.len() < bound {
            self.waiting.len()
        } else {
            self.waiting.iter().filter(|(packet_id, _)| packet_id.is_some()).count()
        }
    }

    /// Nobody will be answered any more.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }

    /// Reads a publish to wherever it goes; a foreign topic ends the connection once it is answered.
    pub(super) fn read(&mut self, intake: &Intake, publish: Publish, at: DateTime<Utc>, items: &mut Vec<Item>) -> Option<Ending> {
        let Publish { topic, packet_id, payload, .. } = publish;
        let (refusal, ending) = self.refusal(&topic, packet_id, payload.first());
        let item = match refusal {
            Some(fault) => Some(intake.refuse(Sender::Gateway(self.gateway.as_str().into()), at, payload, fault)),
            None => intake.read_from_gateway(&self.gateway, at, payload),
        };
        let Some(item) = item else { return Some(Ending::GatewayRemoved) };
        self.waiting.push_back((packet_id, item.label().clone()));
        items.push(item);
        ending
    }

    /// Hands over what was read; the intake answers with `settled`.
    pub(super) async fn submit(&mut self, intake: &Intake, items: Vec<Item>) -> Result<(), Ending> {
        let outcomes = self.outcomes.get_or_insert_with(mpsc::unbounded_channel).0.clone();
        // The receiver lives as long as the connection; afterwards nobody needs the outcome.
        let reply = Box::new(move |settled| drop(outcomes.send(settled)));
        intake.submit(items, reply).await.map_err(|_| Ending::Unavailable)
    }

    /// Waits for outcomes.
    pub(super) async fn settled(&mut self) -> Vec<Outcome> {
        match &mut self.outcomes {
            // The sender lives as long as the receiver.
            Some((_, outcomes)) => outcomes.recv().await.unwrap_or_default(),
            None => std::future::pending().await,
        }
    }

    /// The next publish and what became of it.
    pub(super) fn answer(&mut self, outcome: Outcome) -> Option<Answer> {
        let (packet_id, label) = self.waiting.pop_front()?;
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT {
            self.waiting = VecDeque::new();
        }
        Some(Answer { packet_id, label, outcome })
    }

    /// Why a publish is refused before it is read, and whether that ends the connection.
    fn refusal(&self, topic: &str, packet_id: Option<NonZeroU16>, first: Option<&u8>) -> (Option<Fault>, Option<Ending>) {
        if !topic::report_topic_of(topic, &self.gateway) {
            let foreign = !topic::below_gateway(topic, &self.gateway);
            let shown = topic.chars().take(128).collect::<String>();
            let detail = format!("{shown:?} is not {}", GatewayTopic::Report.of(&self.gateway));
            return (Some(Fault::new(FaultCode::NotAuthorised, "", detail)), foreign.then_some(Ending::ForeignTopic));
        }
        let fault = match (packet_id, first) {
            (None, _) => Some(Fault::new(FaultCode::Qos0, "", "the report came with QoS 0")),
            (_, Some(b'{')) => None,
            _ => Some(Fault::new(FaultCode::Format, "", "it begins with another byte")),
        };
        (fault, None)
    }
}

/// The reason of a PUBACK, and in words what is to be mended.
pub(super) fn reason(faults: &[Fault]) -> (AckReason, Option<String>) {
    let authorised = faults.iter().all(|fault| fault.code != FaultCode::NotAuthorised);
    let reason = if authorised { AckReason::PayloadInvalid } else { AckReason::NotAuthorised };
    let said = faults.first().map(|fault| {
        let more = if faults.len() > 1 { format!(" (and {} more faults)", faults.len() - 1) } else { String::new() };
        let at = if fault.path.is_empty() { String::new() } else { format!("{}: ", fault.path) };
        let said = format!("{at}{}{more}", fault.detail);
        said.chars().filter(|c| !c.is_control()).take(SAID_MAX).collect()
    });
    (reason, said)
}
