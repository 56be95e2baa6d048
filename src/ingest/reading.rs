//! Reading a message against the register: what the reader threads do.

use bytes::Bytes;
use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use compact_str::CompactString;
use observe::Metrics;
use store::{Directory, Vouched};
use tally::Origin;
use wire::carrier::{CarrierMessage, read_carrier_message};
use wire::identity::{MessageIdentity, Sender, identity_key};
use wire::{Door, Fault, FaultCode, Label, ReadContext, Report, open_report, read_report};

use crate::admission::{CarrierNames, GatewayAdmission, SupplierAdmission};
use crate::item::{Content, Item, Message, RawMessage, Sound};

/// Readings older than this at receipt are backfill, which yields to live data.
const BACKFILL_AGE: TimeDelta = TimeDelta::minutes(10);

/// Who has sent a message, how that is known, and when it came.
#[derive(Clone)]
pub(crate) struct Arrival {
    pub(crate) sender: Sender,
    pub(crate) vouched: Vouched,
    pub(crate) received_at: DateTime<Utc>,
}

/// Reads messages as of one state of the register.
pub(crate) struct Reader<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) metrics: &'a Metrics,
    pub(crate) future_skew_s_max: u32,
}

impl Reader<'_> {
    pub(crate) fn read(&self, arrival: &Arrival, message: RawMessage) -> Item {
        let RawMessage { body, refused, topic, replayed_from } = message;
        let item = if refused.is_empty() { self.read_body(arrival, body) } else { item(arrival, body, Label::default(), Err(refused)) };
        let enterprise = match &arrival.sender {
            Sender::Gateway(gateway) => self.directory.gateway(gateway).map(|entry| entry.enterprise.as_str().into()),
            Sender::Supplier(_) | Sender::Carrier(_) | Sender::Operator(_) => None,
        };
        Item { enterprise: enterprise.unwrap_or_default(), topic, replayed_from, ..item }
    }

    fn read_body(&self, arrival: &Arrival, body: Bytes) -> Item {
        match &arrival.sender {
            Sender::Gateway(gateway) => self.gateway_report(arrival, gateway, body),
            Sender::Supplier(supplier) => self.supplier_report(arrival, supplier, body),
            Sender::Carrier(_) => self.carrier_message(arrival, body),
            // Operators send nothing through a door.
            Sender::Operator(_) => unreadable(arrival, body),
        }
    }

    fn gateway_report(&self, arrival: &Arrival, gateway: &str, body: Bytes) -> Item {
        let Some(entry) = self.directory.gateway(gateway) else {
            let fault = Fault::new(FaultCode::UnknownGateway, "", "the gateway that sent it is not in the register now");
            return item(arrival, body, Label::default(), Err(vec![fault]));
        };
        let opened = match open_report(&body, entry.public_key.as_ref(), gateway) {
            Ok(opened) => opened,
            Err(fault) => return item(arrival, body, Label::default(), Err(vec![fault])),
        };
        let admission = GatewayAdmission { directory: self.directory, enterprise: &entry.enterprise };
        let context = self.context(Door::Gateway, arrival, &admission);
        let readout = read_report(opened.report, &context);
        self.metrics.unknown_fields.inc_by(u64::from(readout.unknown_fields));
        let vouched = if opened.signed.is_some() { Vouched::Signature } else { arrival.vouched };
        let arrival = Arrival { vouched, ..arrival.clone() };
        let content = readout.report.map(|report| sound_report(&arrival, entry.enterprise.as_str().into(), report));
        item(&arrival, body, readout.label, content)
    }

    fn supplier_report(&self, arrival: &Arrival, supplier: &str, body: Bytes) -> Item {
        let admission = SupplierAdmission { directory: self.directory, supplier };
        let context = self.context(Door::Supplier, arrival, &admission);
        let readout = read_report(&body, &context);
        self.metrics.unknown_fields.inc_by(u64::from(readout.unknown_fields));
        let content = readout.report.map(|report| {
            let enterprise = report.enterprise.clone().unwrap_or_default();
            sound_report(arrival, enterprise, report)
        });
        item(arrival, body, readout.label, content)
    }

    fn carrier_message(&self, arrival: &Arrival, body: Bytes) -> Item {
        let (id, message) = read_carrier_message(&body, shanghai_day(arrival.received_at), &CarrierNames(self.directory));
        let content = message.map(|message| sound_carrier_message(arrival, message));
        item(arrival, body, Label { id, ..Label::default() }, content)
    }

    fn context<'c>(&self, door: Door, arrival: &Arrival, admission: &'c dyn wire::Admission) -> ReadContext<'c> {
        ReadContext { door, received_at: arrival.received_at, future_skew_s_max: self.future_skew_s_max, admission }
    }
}

/// A message that we could not read by a mistake of our own.
pub(crate) fn unreadable(arrival: &Arrival, body: Bytes) -> Item {
    let fault = Fault::new(FaultCode::Internal, "", "reading it has failed; it is kept as it came");
    item(arrival, body, Label::default(), Err(vec![fault]))
}

/// Does everything that could be read of a batch hold old readings only?
pub(crate) fn backfill(items: &[Item]) -> bool {
    let mut reports = items.iter().filter_map(|item| match &item.content {
        Content::Sound(sound) => match &sound.message {
            Message::Report(report) => newest(report).map(|newest| item.received_at - newest > BACKFILL_AGE),
            Message::Carrier(_) => None,
        },
        Content::Refused(_) => None,
    });
    reports.next().is_some_and(|first| first && reports.all(|old| old))
}

fn newest(report: &Report) -> Option<DateTime<Utc>> {
    let devices = report.devices.iter().map(|entry| entry.at);
    devices.chain(report.usage.iter().map(|entry| entry.at)).max()
}

pub(crate) fn sound_report(arrival: &Arrival, enterprise: CompactString, report: Report) -> Box<Sound> {
    let identity = report_identity(&arrival.sender, &report);
    Box::new(Sound {
        origin: Origin { sender: arrival.sender.clone(), enterprise, received_at: arrival.received_at },
        vouched: arrival.vouched,
        key: identity_key(&arrival.sender, &identity),
        digest: report.digest(),
        identity,
        message: Message::Report(report),
    })
}

pub(crate) fn sound_carrier_message(arrival: &Arrival, message: CarrierMessage) -> Box<Sound> {
    let identity = MessageIdentity::Id(message.id.clone());
    Box::new(Sound {
        origin: Origin { sender: arrival.sender.clone(), enterprise: CompactString::default(), received_at: arrival.received_at },
        vouched: arrival.vouched,
        key: identity_key(&arrival.sender, &identity),
        digest: message.digest(),
        identity,
        message: Message::Carrier(message),
    })
}

/// Gateways count by (boot, seq), suppliers name an id; reading a report has made sure that the fields are there.
fn report_identity(sender: &Sender, report: &Report) -> MessageIdentity {
    match (sender, &report.boot, report.seq) {
        (Sender::Gateway(_), Some(boot), Some(seq)) => MessageIdentity::Sequence { boot: boot.clone(), seq },
        _ => MessageIdentity::Id(report.id.clone().unwrap_or_default()),
    }
}

/// The calendar day in Asia/Shanghai, UTC+08:00.
pub(crate) fn shanghai_day(at: DateTime<Utc>) -> chrono::NaiveDate {
    FixedOffset::east_opt(8 * 3600).map_or(at.date_naive(), |offset| at.with_timezone(&offset).date_naive())
}

fn item(arrival: &Arrival, body: Bytes, label: Label, content: Result<Box<Sound>, Vec<Fault>>) -> Item {
    let content = content.map_or_else(Content::Refused, Content::Sound);
    let enterprise = CompactString::default();
    Item {
        sender: arrival.sender.clone(),
        enterprise,
        received_at: arrival.received_at,
        body,
        label,
        topic: None,
        replayed_from: None,
        content,
    }
}
