//! The judgement: register, rulebook, catalogue and facts give one monitoring result. Pure: time is an argument.

use std::collections::BTreeSet;

use chrono::DateTime;
use serde::{Deserialize, Serialize};

use crate::amount::{self, AmountWorking, Terms};
use crate::by_channel::ByChannel;
use crate::calendar::{Day, Instant};
use crate::canonical::{bytes_of, hash_of_bytes};
use crate::catalogue::Catalogue;
use crate::channels::{self, CarrierWeighed};
use crate::devices::{self, DeviceStanding, DevicesWeighed};
use crate::facts::VoucherFacts;
use crate::findings;
use crate::formal;
use crate::formal_money;
use crate::in_force::Versions;
use crate::index::Indexed;
use crate::notes;
use crate::reasons::{FindingCode, Verdict};
use crate::register::{Register, Voucher};
use crate::result::{AmountFigures, ChannelFigures, DeviceFigures, EvidenceRef, MonitoringResult, VersionRef, WindowDays};
use crate::rulebook::Rulebook;
use crate::slice::register_slice;
use crate::usage::{self, FunctionModuleUse, UsageWeighed};
use crate::verdict::{Decision, Grounds, decide};
use crate::window::{Window, window};

/// Everything that a judgement looks at.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub register: &'a Register,
    pub rulebook: &'a Rulebook,
    pub catalogue: &'a Catalogue,
    pub voucher: &'a Voucher,
    pub as_of: Instant,
    pub facts: &'a VoucherFacts,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub result: MonitoringResult,
    pub explanation: Explanation,
    /// On which days what the findings rest on was received; it tells where in the log that lies.
    pub finding_days: Vec<FindingDays>,
    /// The part of the register that decided, in the RFC 8785 form over which `register_hash` goes.
    pub register_slice: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FindingDays {
    pub code: FindingCode,
    pub days: BTreeSet<Day>,
}

/// What the page shows beside the result. It is no part of the result and of its hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub window: Window,
    /// How the amount came about; `None` where the product or its catalogue row is unknown.
    pub amount: Option<AmountWorking>,
    /// Every declared device, in order of its identity.
    pub devices: Vec<DeviceStanding>,
    pub function_modules: Vec<FunctionModuleUse>,
    /// Every day of the window, oldest first.
    pub days: Vec<DayPicture>,
    /// Where some of the messages behind `identity_conflict` were put into the quarantine.
    #[serde(default)]
    pub quarantined: Vec<i64>,
}

/// One day of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayPicture {
    pub day: Day,
    /// Declared devices with at least one counting reading, and those with an effective day.
    pub devices_counting: u32,
    pub devices_effective: u32,
    pub users: u32,
    pub function_modules: u32,
    /// Whether the interface has this connection day.
    pub connected: bool,
    /// The carriers' sessions; `None` where they have none on this day.
    pub carrier_sessions: Option<u64>,
}

/// A case with a whole register: its slice is taken first. Whoever judges many vouchers keeps an index and hands over slices.
pub fn judge(case: &Case<'_>) -> Judgement {
    of_slice(case, judge_slice)
}

/// The verdict alone, as `judge` gives it.
pub fn verdict(case: &Case<'_>) -> Verdict {
    of_slice(case, |case| weigh(case).decision.verdict)
}

fn of_slice<T>(case: &Case<'_>, look: impl FnOnce(&Case<'_>) -> T) -> T {
    if case.register.derived_for(case.voucher).is_some() {
        return look(case);
    }
    let rulebooks = Versions::of(case.rulebook.clone());
    let catalogues = Versions::of(case.catalogue.clone());
    let slice = Indexed::of(case.register, &rulebooks, &catalogues).slice(case.voucher);
    look(&Case { register: &slice, ..*case })
}

/// The register, the facts and the rules held against each other; checks beside the deciding ones are not part of it.
struct Weighed<'a> {
    window: Window,
    terms: Option<Terms<'a>>,
    amount: Option<AmountWorking>,
    devices: DevicesWeighed,
    usage: UsageWeighed,
    carrier: CarrierWeighed,
    days: Vec<DayPicture>,
    by_channel: ByChannel<ChannelFigures>,
    decision: Decision,
}

fn weigh<'a>(case: &Case<'a>) -> Weighed<'a> {
    let Case { register, rulebook, catalogue, voucher, as_of, facts } = *case;
    let parameters = &rulebook.parameters;
    let window = window(voucher, rulebook, as_of);
    let terms = amount::terms(register, catalogue, voucher);
    let amount = amount::work_out(register, rulebook, catalogue, voucher);
    let devices = devices::weigh(register, parameters, voucher, terms.map(|terms| terms.row.row), &window, facts);
    let usage = usage::weigh(parameters, voucher, &window, facts);
    let carrier = channels::weigh(register, &voucher.enterprise, &window, facts);
    let days = picture(&window, &devices, &usage, &carrier);
    let decision = decide(&Grounds {
        parameters,
        amount: amount.as_ref(),
        devices: &devices,
        usage: &usage,
        interface_days: days.iter().filter(|day| day.connected).count() as u64,
        carrier: carrier.figures(),
        shared_usage: !findings::same_product(register, voucher).is_empty(),
    });
    let per_device = amount.as_ref().is_some_and(|amount| amount.per_device.is_some());
    let connected = devices.connected_by(parameters).map(|connected| per_device.then_some(*connected));
    let days_by = devices.days_by.with(&usage.days_by, |seen, used| seen.union(used).count() as u64);
    let by_channel = days_by.with(&connected, |days, devices| ChannelFigures { days: *days, devices: *devices });
    Weighed { window, terms, amount, devices, usage, carrier, days, by_channel, decision }
}

fn judge_slice(case: &Case<'_>) -> Judgement {
    let Case { register, rulebook, catalogue, voucher, facts, .. } = *case;
    let Weighed { window, terms, amount, devices, usage, carrier, days, by_channel, decision } = weigh(case);
    let per_device = amount.as_ref().and_then(|amount| amount.per_device);
    let usage_decides = amount.is_some() && per_device.is_none();
    let mut checks = decision.checks;
    checks.extend(formal::checks(case, terms, &devices));
    checks.extend(formal_money::checks(case, terms, amount.as_ref()));
    checks.extend(notes::general(case, terms, &usage));
    checks.extend(notes::devices(case, amount.as_ref(), &devices, decision.devices_decided));
    checks.push(notes::channels(case, &decision.channels, &carrier));
    let found = findings::find(case, &window, &devices, &usage, usage_decides);
    let with_days = found.iter().filter(|found| !found.days.is_empty());
    let finding_days = with_days.map(|found| FindingDays { code: found.finding.code, days: found.days.clone() }).collect();
    let register_slice = bytes_of(&register_slice(register));
    let mut result = MonitoringResult {
        v: 1,
        voucher: voucher.id.clone(),
        sequence: 0,
        supersedes: None,
        judged_at: DateTime::UNIX_EPOCH,
        judgement_hash: String::new(),
        rulebook: VersionRef { id: rulebook.id.clone(), hash: rulebook.hash().to_string() },
        catalogue: VersionRef { id: catalogue.id.clone(), hash: catalogue.hash().to_string() },
        register_hash: hash_of_bytes(&register_slice),
        cut_off: window.cut_off,
        window: WindowDays { from: window.from, to: window.to },
        verdict: decision.verdict,
        verdict_text: decision.verdict.text().to_string(),
        amount: AmountFigures {
            computed: amount.as_ref().map(|amount| amount.computed).unwrap_or_default(),
            approved: voucher.amount,
            per_device,
        },
        devices: amount.as_ref().zip(per_device).map(|(amount, per_device)| DeviceFigures {
            required: amount::devices_required(amount.decided(), per_device),
            connected: devices.connected(),
            decided: decision.devices_decided,
            declared: devices.declared(),
            undeclared: devices.undeclared,
            excluded: devices.excluded(),
        }),
        usage: usage_decides.then(|| usage.figures()),
        channels: decision.channels,
        by_channel: Some(by_channel),
        checks,
        findings: found.into_iter().map(|found| found.finding).collect(),
        evidence: EvidenceRef::default(),
    };
    result.judgement_hash = result.judgement_hash();
    let quarantined = facts.conflicts.values().flat_map(|conflicts| conflicts.positions.iter().copied()).collect();
    let (devices, function_modules) = (devices.standings, usage.function_modules);
    let explanation = Explanation { window, amount, devices, function_modules, days, quarantined };
    Judgement { result, explanation, finding_days, register_slice }
}

fn picture(window: &Window, devices: &DevicesWeighed, usage: &UsageWeighed, carrier: &CarrierWeighed) -> Vec<DayPicture> {
    let of_day = |day: Day| {
        let (devices_counting, devices_effective) = devices.by_day.get(&day).copied().unwrap_or_default();
        let used = usage.by_day.get(&day);
        DayPicture {
            day,
            devices_counting,
            devices_effective,
            users: used.map_or(0, |used| used.users.len() as u32),
            function_modules: used.map_or(0, |used| used.function_modules.len() as u32),
            connected: devices_counting > 0 || used.is_some(),
            carrier_sessions: carrier.by_day.get(&day).copied(),
        }
    };
    window.days().map(of_day).collect()
}
