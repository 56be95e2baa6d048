//! Notes: rules that inform the reviewer without deciding (R1–R3, R9–R11, R20, R21, R32, R33, R35, R37–R39), and the two channels.

use std::collections::BTreeSet;

use chrono::Days;

use crate::amount::{self, AmountWorking, Terms};
use crate::calendar::{Instant, day_of, show_instant};
use crate::channels::CarrierWeighed;
use crate::devices::DevicesWeighed;
use crate::formal::pass_if;
use crate::judge::Case;
use crate::queue::names_lack_of_funds;
use crate::reasons::{ExclusionReason, Group, Outcome};
use crate::register::VoucherStatus;
use crate::result::{ChannelComparison, Check};
use crate::rulebook::OnConflict;
use crate::usage::UsageWeighed;

fn note(rule: &str, clause: &str, outcome: Outcome) -> Check {
    Check::new(Group::Note, rule, clause, outcome)
}

pub fn general(case: &Case<'_>, terms: Option<Terms<'_>>, usage: &UsageWeighed) -> Vec<Check> {
    let mut notes = vec![
        scope(case),
        note("R2", "四(一)2", Outcome::Unknown).text("近 5 年有无财政资金严重违法违规情况不在登记信息里，须人工核对。"),
        note("R3", "四(一)3-4", Outcome::Unknown).text("是否获得过其他财政专项资金不在登记信息里，须人工核对。"),
        claimed_in_time(case),
        redeemed_in_time(case),
        unredeemed(case),
        note("R20", "七(五)1", Outcome::NotApplicable).text("合同金额是否明显超出市场合理价格，须与同类合同比较，由人工判断。"),
        note("R21", "五(二)3", Outcome::NotApplicable).text("代理、外包等供给侧要求不能由登记信息判断。"),
        accepted(case, usage),
        confirmed(case),
    ];
    notes.extend(terms.map(|terms| row_remarks(case, terms)));
    notes
}

/// R1: the enterprise's city is in scope.
fn scope(case: &Case<'_>) -> Check {
    let parameters = &case.rulebook.parameters;
    let Some(enterprise) = case.register.enterprises.get(&case.voucher.enterprise) else {
        return note("R1", "四(一)1", Outcome::Unknown).text("没有登记该企业。");
    };
    let inside = enterprise.city.starts_with(&parameters.province_code) && !parameters.cities_excluded.contains(&enterprise.city);
    note("R1", "四(一)1", pass_if(inside)).figures(format!("{}…", parameters.province_code), &enterprise.city).text(format!(
        "企业所在地市代码为 {}，{}本期范围内。",
        enterprise.city,
        if inside { "在" } else { "不在" }
    ))
}

/// Announced at least three calendar days ahead.
fn announced_ahead(announced_at: Instant, event: Instant) -> bool {
    day_of(announced_at).checked_add_days(Days::new(3)).is_some_and(|day| day <= day_of(event))
}

/// R9: applied within the period's claim window.
fn claimed_in_time(case: &Case<'_>) -> Check {
    let period = case.voucher.period.as_ref().and_then(|id| case.register.periods.get(id));
    let Some(period) = period else {
        return note("R9", "六(一)", Outcome::Unknown).text("没有登记服务券的发放周期，无法核对申领时间。");
    };
    let applied = case.voucher.applied_at;
    let inside = period.claim_from <= applied && applied <= period.claim_to;
    let announced = match period.announced_at {
        None => "没有登记公布时间",
        Some(at) if announced_ahead(at, period.claim_from) => "已提前 3 天公布",
        Some(_) => "公布不足 3 天",
    };
    let span = format!("{} 至 {}", show_instant(period.claim_from), show_instant(period.claim_to));
    note("R9", "六(一)", pass_if(inside)).figures(&span, show_instant(applied)).text(format!(
        "申领期 {span}，{announced}；本券 {} 申领，{}。",
        show_instant(applied),
        if inside { "在期内" } else { "不在期内" }
    ))
}

/// R10: redeemed within the period's redemption window.
fn redeemed_in_time(case: &Case<'_>) -> Check {
    let check = |outcome| note("R10", "六(一)", outcome);
    let period = case.voucher.period.as_ref().and_then(|id| case.register.periods.get(id));
    let Some(period) = period else {
        return check(Outcome::Unknown).text("没有登记服务券的发放周期，无法核对兑现时间。");
    };
    let span = format!("{} 至 {}", show_instant(period.redeem_from), show_instant(period.redeem_to));
    match case.voucher.redeem_at {
        Some(at) => check(pass_if(period.redeem_from <= at && at <= period.redeem_to))
            .figures(&span, show_instant(at))
            .text(format!("兑现期 {span}，本券 {} 申请兑现。", show_instant(at))),
        None if case.as_of > period.redeem_to => {
            check(Outcome::Fail).figures(&span, "未申请").text(format!("兑现期 {span} 已过，本券没有申请兑现。"))
        }
        None => check(Outcome::NotApplicable).figures(&span, "未申请").text(format!("兑现期 {span}，本券尚未申请兑现。")),
    }
}

/// R11: vouchers of the enterprise that ended void before this application; a refused one counts once it had asked for redemption.
fn unredeemed(case: &Case<'_>) -> Check {
    let ended = |status: VoucherStatus, redeemed: bool| status == VoucherStatus::Void || status == VoucherStatus::Refused && redeemed;
    let budget = |cause: &Option<String>| cause.as_deref().is_some_and(names_lack_of_funds);
    let others = case.register.vouchers_of(&case.voucher.enterprise).filter(|other| other.id != case.voucher.id);
    let count = others
        .filter(|other| ended(other.status, other.redeem_at.is_some()) && !budget(&other.void_cause))
        .filter(|other| other.status_at.unwrap_or(other.applied_at) < case.voucher.applied_at)
        .count();
    note("R11", "七(五)2", pass_if(count < 2))
        .figures("<2", count)
        .text(format!("企业在本次申领之前有 {count} 张服务券未兑现（因资金缺口未兑现的不算），累积两次取消申领资格。"))
}

/// R32: accepted modules against the contract and against what was seen in use.
fn accepted(case: &Case<'_>, usage: &UsageWeighed) -> Check {
    let check = |outcome| note("R32", "五(四)9", outcome);
    let Some(accepted) = &case.voucher.accepted_modules else {
        return check(Outcome::Unknown).text("没有登记验收报告的功能模块。");
    };
    let accepted: BTreeSet<&String> = accepted.iter().collect();
    let contracted: BTreeSet<&String> = case.voucher.contract_modules.iter().collect();
    let missing: Vec<&str> = contracted.difference(&accepted).map(|module| module.as_str()).collect();
    let seen: BTreeSet<&str> =
        usage.function_modules.iter().filter(|module| module.days > 0).map(|module| module.function_module.as_str()).collect();
    let unseen: Vec<&str> = accepted.iter().map(|module| module.as_str()).filter(|module| !seen.contains(module)).collect();
    let list = |modules: &[&str]| if modules.is_empty() { "无".to_string() } else { modules.join("、") };
    check(pass_if(missing.is_empty())).figures(contracted.len(), contracted.len() - missing.len()).text(format!(
        "合同功能模块 {} 项，验收报告缺少的：{}；已验收而监测窗口内没有使用数据的：{}。",
        contracted.len(),
        list(&missing),
        list(&unseen)
    ))
}

/// R33: the supplier confirmed the redemption request.
fn confirmed(case: &Case<'_>) -> Check {
    match case.voucher.supplier_confirmed_at {
        Some(at) => note("R33", "五(四)10", Outcome::Pass)
            .figures("供应商确认", show_instant(at))
            .text(format!("供应商已于 {} 确认。", show_instant(at))),
        None => note("R33", "五(四)10", Outcome::Unknown).figures("供应商确认", "未登记").text("没有登记供应商的确认。"),
    }
}

/// R39: what the row's remark asks for and the register can tell.
fn row_remarks(case: &Case<'_>, terms: Terms<'_>) -> Check {
    let row = terms.row;
    let check = |outcome| note("R39", "附件备注", outcome);
    let modules = case.voucher.contract_modules.iter().collect::<BTreeSet<_>>().len();
    let mut asked = Vec::new();
    asked.extend(row.models_min.map(|least| format!("至少 {least} 个工业大数据模型")));
    asked.extend(row.solutions_min.map(|least| format!("至少 {least} 个降低用能成本的解决方案")));
    asked.extend(row.triggers_min.map(|least| format!("工单触发场景至少 {least} 种")));
    asked.extend(row.suppliers_min.map(|least| format!("至少 {least} 家服务商参与集成")));
    let for_person = if asked.is_empty() { String::new() } else { format!("须人工核对：{}。", asked.join("、")) };
    let optional = if row.optional_functions == Some(true) { "部分功能不作强制要求。" } else { "" };
    if row.pilot_only == Some(true) && case.voucher.pilot.is_none() {
        return check(Outcome::Fail)
            .figures("试点示范", "否")
            .text(format!("目录序号 {} 适用于产业集群试点示范，本券不属于试点。{for_person}", row.row));
    }
    if let Some(least) = row.modules_min {
        return check(pass_if(modules >= least as usize))
            .figures(least, modules)
            .text(format!("目录序号 {} 要求 {least} 项以上功能模块，合同列有 {modules} 项。{for_person}{optional}", row.row));
    }
    if asked.is_empty() {
        return check(Outcome::NotApplicable).text(format!("目录序号 {} 没有须核对的专门要求。{optional}", row.row));
    }
    check(Outcome::Unknown).text(format!("目录序号 {}{for_person}{optional}", row.row))
}

/// R37, R38 on rows with a per-device amount: how the declared devices came to the connected ones, and what those would support.
pub fn devices(case: &Case<'_>, amount: &AmountWorking, devices: &DevicesWeighed, decided: u64) -> Vec<Check> {
    let Some(per_device) = amount.per_device else { return Vec::new() };
    let parameters = &case.rulebook.parameters;
    let by_reason = ExclusionReason::ALL.iter().filter_map(|reason| {
        let count = devices.standings.iter().filter(|standing| standing.reason == Some(*reason)).count();
        (count > 0).then(|| format!("{} {count} 台", reason.text()))
    });
    let by_reason = by_reason.collect::<Vec<_>>();
    let excluded =
        if by_reason.is_empty() { "没有不计入的设备".to_string() } else { format!("不计入：{}", by_reason.join("；")) };
    let (declared, connected) = (devices.declared(), devices.connected());
    let definition = note("R37", "附件说明2", Outcome::NotApplicable).figures(declared, connected).by_parameter().text(format!(
        "申报 {declared} 台，实际接入 {connected} 台（窗口内有效天数不少于 {} 天，每天须在 {} 个不同小时有正常读数），{excluded}；另有未申报的设备 {} 台。",
        parameters.device_effective_days_min, parameters.effective_day_hours_min, devices.undeclared
    ));
    let supported = amount::supported(decided, per_device).unwrap_or_default();
    let partial = note("R38", "附件说明2", Outcome::NotApplicable)
        .figures(amount.decided(), format!("{supported:.2}"))
        .text(format!("{decided} 台按每台 {per_device} 元可对应 {supported:.2} 元，仅供参考；政策没有按台数部分兑现的规定。"));
    vec![definition, partial]
}

/// R35: what the two channels say of each other.
pub fn channels(case: &Case<'_>, compared: &ChannelComparison, carrier: &CarrierWeighed) -> Check {
    let tolerance = case.rulebook.parameters.channel_tolerance;
    let check = |outcome| note("R35", "五(四)12", outcome).by_parameter();
    let left_out = if carrier.lines_left_out.is_empty() {
        String::new()
    } else {
        format!("未登记在企业名下的线路未计入：{}。", carrier.lines_left_out.iter().cloned().collect::<Vec<_>>().join("、"))
    };
    let (Some(theirs), Some(difference), Some(agree)) = (compared.carrier, &compared.difference, compared.agree) else {
        return check(Outcome::Unknown)
            .text(format!("监测窗口内没有运营商记录，只按接口数据判定（接口有 {} 个连接日）。{left_out}", compared.interface.days));
    };
    let unregistered = if carrier.lines_unregistered { "企业没有登记线路，运营商列出的线路全部计入。" } else { "" };
    let devices = match (compared.interface.devices, theirs.devices) {
        (Some(ours), Some(theirs)) => format!("，接口显示设备 {ours} 台，运营商显示 {theirs} 台"),
        _ => String::new(),
    };
    let said = match (agree, case.rulebook.parameters.on_conflict) {
        (true, _) => "两者一致",
        (false, OnConflict::Carrier) => "两者不一致，以运营商数据为准",
        (false, OnConflict::Review) => "两者不一致，须人工复核",
    };
    check(pass_if(agree)).figures(format!("≤{tolerance}"), difference).text(format!(
        "接口显示 {} 个连接日，运营商显示 {} 个{devices}，相对差 {difference}，容差 {tolerance}，{said}。{unregistered}{left_out}",
        compared.interface.days, theirs.days
    ))
}
