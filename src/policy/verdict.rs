//! The deciding checks and the verdict (rules.md, "How a verdict is formed", 2–4).

use crate::amount::{self, AmountWorking};
use crate::channels;
use crate::devices::DevicesWeighed;
use crate::money::Yuan;
use crate::reasons::{Group, Outcome, Verdict};
use crate::result::{ChannelComparison, ChannelFigures, Check, UsageFigures};
use crate::rulebook::{OnConflict, Parameters};
use crate::usage::{self, UsageWeighed};

/// What the deciding checks rest on.
pub struct Grounds<'a> {
    pub parameters: &'a Parameters,
    /// `None` where the product or its catalogue row is unknown.
    pub amount: Option<&'a AmountWorking>,
    pub devices: &'a DevicesWeighed,
    pub usage: &'a UsageWeighed,
    /// Connection days of the interface.
    pub interface_days: u64,
    pub carrier: Option<ChannelFigures>,
    /// Another live voucher of the enterprise is for the same product.
    pub shared_usage: bool,
}

pub struct Decision {
    pub verdict: Verdict,
    pub checks: Vec<Check>,
    pub channels: ChannelComparison,
    /// D of R36, on rows with a per-device amount.
    pub devices_decided: u64,
}

pub fn decide(grounds: &Grounds<'_>) -> Decision {
    let connected = grounds.devices.connected();
    let first = form(grounds, connected);
    let disagree = first.channels.agree == Some(false);
    let hangs_on_claimed =
        || first.verdict == Verdict::NotMet && form(grounds, grounds.devices.connected_if_unclaimed()).verdict == Verdict::Met;
    let conflicting = match first.verdict {
        Verdict::Met | Verdict::NotMet if disagree && grounds.parameters.on_conflict == OnConflict::Review => true,
        Verdict::Met => grounds.shared_usage && per_device(grounds).is_none(),
        Verdict::NotMet => per_device(grounds).is_some() && hangs_on_claimed(),
        _ => false,
    };
    if conflicting { Decision { verdict: Verdict::Conflicting, ..first } } else { first }
}

fn per_device<'a>(grounds: &Grounds<'a>) -> Option<(&'a AmountWorking, Yuan)> {
    let amount = grounds.amount?;
    Some((amount, amount.per_device?))
}

/// The verdict with this many connected devices, before the rules on conflicting data.
fn form(grounds: &Grounds<'_>, connected: u64) -> Decision {
    let per_device = per_device(grounds);
    let interface = ChannelFigures { days: grounds.interface_days, devices: per_device.map(|_| connected) };
    let channels = channels::compare(interface, grounds.carrier, grounds.parameters.channel_tolerance);
    let carrier_decides = channels.agree == Some(false) && grounds.parameters.on_conflict == OnConflict::Carrier;
    let carrier = grounds.carrier.filter(|_| carrier_decides);
    let mut devices_decided = connected;
    let mut checks = Vec::new();
    match (grounds.amount, per_device) {
        (_, Some((amount, per_device))) => {
            devices_decided = carrier.and_then(|carrier| carrier.devices).map_or(connected, |theirs| connected.min(theirs));
            checks.push(devices_check(grounds, amount.decided(), per_device, connected, devices_decided));
        }
        (Some(_), None) => checks.extend(usage_checks(grounds, carrier.map(|carrier| carrier.days))),
        (None, None) => checks.push(
            Check::new(Group::Deciding, "R35", "五(四)12", Outcome::Unknown)
                .text("登记信息或目录中没有该服务券的应用产品，无法判定完成情况。"),
        ),
    }
    if grounds.parameters.carrier_required {
        checks.push(carrier_check(grounds.carrier.is_some()));
    }
    let any = |outcome: Outcome| checks.iter().any(|check| check.outcome == outcome);
    let nothing_to_decide = grounds.amount.is_some_and(|amount| amount.decided().is_zero());
    let verdict = if any(Outcome::Fail) && !nothing_to_decide {
        Verdict::NotMet
    } else if any(Outcome::Unknown) || nothing_to_decide {
        Verdict::Insufficient
    } else {
        Verdict::Met
    };
    Decision { verdict, checks, channels, devices_decided }
}

/// R36: D × P ≥ V.
fn devices_check(grounds: &Grounds<'_>, amount: Yuan, per_device: Yuan, connected: u64, decided: u64) -> Check {
    let required = amount::devices_required(amount, per_device);
    let check = |outcome| Check::new(Group::Deciding, "R36", "附件说明2", outcome).figures(required, decided);
    if amount.is_zero() {
        return check(Outcome::NotApplicable).text("服务券金额为 0.00 元，没有需要接入的设备数。");
    }
    let need = format!("需 ⌈{amount}÷{per_device}⌉ = {required} 台");
    if grounds.devices.silent {
        return check(Outcome::Unknown).text(format!("{need}，监测窗口内没有收到申报设备的任何读数，无法判断。"));
    }
    let seen = if decided == connected {
        format!("实际接入 {connected} 台")
    } else {
        format!("接口显示实际接入 {connected} 台，与运营商数据不一致，以运营商的 {decided} 台为准")
    };
    if amount::devices_suffice(decided, per_device, amount) {
        return check(Outcome::Pass).text(format!("{need}，{seen}，已达到。"));
    }
    let supported = amount::supported(decided, per_device).unwrap_or_default();
    check(Outcome::Fail).text(format!("{need}，{seen}，少 {} 台；{decided} 台可对应 {supported:.2} 元。", required.saturating_sub(decided)))
}

/// R35: active days, users, and the contract's function modules.
fn usage_checks(grounds: &Grounds<'_>, carrier_days: Option<u64>) -> [Check; 3] {
    let parameters = grounds.parameters;
    let UsageFigures { active_days, users, function_modules_used: used, function_modules_contracted: contracted } = grounds.usage.figures();
    let silent = grounds.usage.silent;
    let check = |met: bool| {
        let outcome = match (silent, met) {
            (true, _) => Outcome::Unknown,
            (false, true) => Outcome::Pass,
            (false, false) => Outcome::Fail,
        };
        Check::new(Group::Deciding, "R35", "五(四)12", outcome).by_parameter()
    };
    let say = |sentence: String, met: bool| match (silent, met) {
        (true, _) => format!("{sentence}；监测窗口内没有收到任何使用数据，无法判断。"),
        (false, true) => format!("{sentence}，已达到。"),
        (false, false) => format!("{sentence}，未达到。"),
    };
    let days_min = u64::from(parameters.usage_active_days_min);
    let days = carrier_days.unwrap_or(active_days);
    let days_sentence = match carrier_days {
        Some(theirs) => format!("须有 {days_min} 个使用日，接口显示 {active_days} 个，与运营商数据不一致，以运营商的 {theirs} 个为准"),
        None => format!("须有 {days_min} 个使用日，实际 {active_days} 个"),
    };
    let users_min = u64::from(parameters.usage_users_min);
    let share = parameters.function_module_coverage_min;
    let covered = usage::covers(used, contracted, share);
    let modules_min = usage::modules_required(contracted, share);
    let modules_sentence = format!("合同功能模块 {contracted} 项，须用过其中 {modules_min} 项（不低于 {share}），实际用过 {used} 项");
    let mut modules = check(covered).figures(share, format!("{used}/{contracted}")).text(say(modules_sentence, covered));
    if contracted == 0 {
        modules.outcome = Outcome::Unknown;
        modules.text = "登记的合同没有列出功能模块，无法判断模块使用情况。".to_string();
    }
    [
        check(days >= days_min).figures(days_min, days).text(say(days_sentence, days >= days_min)),
        check(users >= users_min)
            .figures(users_min, users)
            .text(say(format!("须有 {users_min} 个不同用户，实际 {users} 个"), users >= users_min)),
        modules,
    ]
}

/// R33 with `carrier_required`: missing cannot be judged, which is not failed.
fn carrier_check(present: bool) -> Check {
    let (outcome, observed, text) = if present {
        (Outcome::Pass, "有", "规则手册要求有运营商记录，监测窗口内已有。")
    } else {
        (Outcome::Unknown, "无", "规则手册要求有运营商记录，监测窗口内没有，无法判断。")
    };
    Check::new(Group::Deciding, "R33", "五(四)10", outcome).figures("有", observed).text(text).by_parameter()
}
