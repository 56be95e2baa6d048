//! Notes: rules that inform the reviewer without deciding (R1–R3, R9–R11, R20, R21, R32, R33, R35, R37–R39), and the two channels.

use std::collections::BTreeSet;

use chrono::{Days, Months};

use crate::amount::{self, AmountWorking, Terms};
use crate::calendar::{Instant, day_of, minute_end, said_instant, said_span, show_instant};
use crate::channels::CarrierWeighed;
use crate::devices::DevicesWeighed;
use crate::duplicates::{self, Duplicate};
use crate::formal::pass_if;
use crate::judge::Case;
use crate::outliers::{self, Compared};
use crate::queue::names_lack_of_funds;
use crate::reasons::{ExclusionReason, Group, Outcome};
use crate::regions::same_city;
use crate::register::{Voucher, VoucherStatus};
use crate::result::{ChannelComparison, Check};
use crate::rulebook::OnConflict;
use crate::usage::UsageWeighed;

fn note(rule: &str, clause: &str, outcome: Outcome) -> Check {
    Check::new(Group::Note, rule, clause, outcome)
}

pub fn general(case: &Case<'_>, terms: Option<Terms<'_>>, usage: &UsageWeighed) -> Vec<Check> {
    let mut notes = vec![
        scope(case),
        five_years(case),
        funded_before(case),
        claimed_in_time(case),
        redeemed_in_time(case),
        unredeemed(case),
        market_price(case, terms),
        one_supplier(case),
        accepted(case, usage),
        confirmed(case),
    ];
    notes.push(row_remarks(case, terms));
    notes
}

/// R1: the enterprise's city is in scope.
fn scope(case: &Case<'_>) -> Check {
    let parameters = &case.rulebook.parameters;
    let Some(enterprise) = case.register.enterprises.get(&case.voucher.enterprise) else {
        return note("R1", "四(一)1", Outcome::Unknown).text("没有登记该企业。");
    };
    let inside = enterprise.city.starts_with(&parameters.province_code)
        && !parameters.cities_excluded.iter().any(|city| same_city(city, &enterprise.city));
    note("R1", "四(一)1", pass_if(inside)).figures(format!("{}…", parameters.province_code), &enterprise.city).text(format!(
        "企业所在地市代码为 {}，{}本期范围内。",
        enterprise.city,
        if inside { "在" } else { "不在" }
    ))
}

/// R2: the text does not say from when the five years count back; both days are told.
fn five_years(case: &Case<'_>) -> Check {
    let since = |at: Instant| day_of(at).checked_sub_months(Months::new(60)).map_or_else(String::new, |day| day.to_string());
    let applied = case.voucher.applied_at;
    let redeemed = case.voucher.redeem_at.map(|at| format!("；按兑现申请日 {} 计，自 {} 起", day_of(at), since(at)));
    note("R2", "四(一)2", Outcome::Unknown).figures("无严重违法违规", "未登记").text(format!(
        "近 5 年有无财政资金严重违法违规情况不在登记信息里，须人工核对：按申领日 {} 计，自 {} 起{}。",
        day_of(applied),
        since(applied),
        redeemed.unwrap_or_default()
    ))
}

/// R3: what other vouchers of the enterprise have in common with this one. Other programmes are not in the register.
fn funded_before(case: &Case<'_>) -> Check {
    let check = |outcome| note("R3", "四(一)3-4", outcome);
    let duplicates = duplicates::of(case.register, case.voucher);
    let said = duplicates.iter().map(Duplicate::said).collect::<Vec<_>>().join("；");
    let same_thing = duplicates.iter().any(|duplicate| !duplicate.function_modules.is_empty() && duplicate.contract);
    let outcome = if same_thing { Outcome::Fail } else { Outcome::Unknown };
    let said = if said.is_empty() { "本企业没有其他服务券与本券内容重合".to_string() } else { said };
    check(outcome).figures(0, duplicates.len()).text(format!("{said}；是否获得过其他财政专项资金不在登记信息里，须人工核对。"))
}

/// R20: the contract's amount beside earlier contracts of its row. It only flags.
fn market_price(case: &Case<'_>, terms: Option<Terms<'_>>) -> Check {
    let check = |outcome| note("R20", "七(五)1", outcome).by_parameter();
    let Some(terms) = terms else { return check(Outcome::Unknown).text("没有登记应用产品，无法与同类合同比较。") };
    let parameters = &case.rulebook.parameters;
    let compared = outliers::compare(case);
    if compared.is_empty() {
        return check(Outcome::NotApplicable).figures(format!("≥{} 份", parameters.outlier_contracts_min), "不足").text(format!(
            "目录序号 {} 在本券之前申领的合同不足 {} 份，无法比较合同金额。",
            terms.product.row, parameters.outlier_contracts_min
        ));
    }
    let outcome = if compared.iter().any(|one| one.above) { Outcome::Unknown } else { Outcome::Pass };
    let scores = compared.iter().map(|one| format!("{} {}", one.figure.text(), one.score)).collect::<Vec<_>>().join("/");
    let said = compared.iter().map(Compared::said).collect::<Vec<_>>().join("；");
    check(outcome).figures(format!("<{}", parameters.outlier_score_min), scores).text(format!(
        "与目录序号 {} 在先的合同比较（稳健分数 = 0.6745 × (本合同 − 中位数) ÷ 离散度）：{said}；分数达到 {} 的，须由人工判断价格是否合理。",
        terms.product.row, parameters.outlier_score_min
    ))
}

/// R21: the register gives a product one supplier; agency and outsourcing it cannot tell.
fn one_supplier(case: &Case<'_>) -> Check {
    let check = |outcome| note("R21", "五(二)3", outcome);
    match case.register.products.get(&case.voucher.product) {
        None => check(Outcome::Unknown).text("没有登记应用产品，无法核对供应商。"),
        Some(product) => check(Outcome::NotApplicable).figures("一家供应商", &product.supplier).text(format!(
            "应用产品 {} 登记的供应商为 {}，占用该供应商的额度；有无代理、外包不能由登记信息判断，须人工核对。",
            product.id, product.supplier
        )),
    }
}

/// Announced at least three calendar days ahead.
fn announced_ahead(announced_at: Instant, event: Instant) -> bool {
    day_of(announced_at).checked_add_days(Days::new(3)).is_some_and(|day| day <= day_of(event))
}

/// What the announcement of a period says of one of its windows, and whether the notice was long enough.
fn notice(announced_at: Option<Instant>, from: Instant) -> (bool, &'static str) {
    match announced_at {
        None => (true, "没有登记公布时间"),
        Some(at) if announced_ahead(at, from) => (true, "已提前 3 天公布"),
        Some(_) => (false, "公布不足 3 天，须人工核对"),
    }
}

/// R9: applied within the period's claim window, both ends to the minute.
fn claimed_in_time(case: &Case<'_>) -> Check {
    let period = case.voucher.period.as_ref().and_then(|id| case.register.periods.get(id));
    let Some(period) = period else {
        return note("R9", "六(一)", Outcome::Unknown).text("没有登记服务券的发放周期，无法核对申领时间。");
    };
    let applied = case.voucher.applied_at;
    let inside = period.claim_from <= applied && applied <= minute_end(period.claim_to);
    let (long_enough, announced) = notice(period.announced_at, period.claim_from);
    let span = format!("{} 至 {}", show_instant(period.claim_from), show_instant(period.claim_to));
    let outcome = if inside && !long_enough { Outcome::Unknown } else { pass_if(inside) };
    note("R9", "六(一)", outcome).figures(&span, show_instant(applied)).text(format!(
        "申领期 {}（截止当分钟在内），{announced}；本券于{} 申领，{}。",
        said_span(period.claim_from, period.claim_to),
        said_instant(applied),
        if inside { "在期内" } else { "不在期内" }
    ))
}

/// R10: redeemed within the period's redemption window, both ends to the minute.
fn redeemed_in_time(case: &Case<'_>) -> Check {
    let check = |outcome| note("R10", "六(一)", outcome);
    let period = case.voucher.period.as_ref().and_then(|id| case.register.periods.get(id));
    let Some(period) = period else {
        return check(Outcome::Unknown).text("没有登记服务券的发放周期，无法核对兑现时间。");
    };
    let span = format!("{} 至 {}", show_instant(period.redeem_from), show_instant(period.redeem_to));
    let said = said_span(period.redeem_from, period.redeem_to);
    let (long_enough, announced) = notice(period.announced_at, period.redeem_from);
    let deadline = minute_end(period.redeem_to);
    match case.voucher.redeem_at {
        Some(at) => {
            let inside = period.redeem_from <= at && at <= deadline;
            let outcome = if inside && !long_enough { Outcome::Unknown } else { pass_if(inside) };
            check(outcome).figures(&span, show_instant(at)).text(format!(
                "兑现期 {said}（截止当分钟在内），{announced}；本券于{} 申请兑现，{}。",
                said_instant(at),
                if inside { "在期内" } else { "不在期内" }
            ))
        }
        None if !redeemable(case.voucher.status) => check(Outcome::NotApplicable)
            .figures(&span, "未申请")
            .text(format!("本券状态为“{}”，不在可申请兑现之列；兑现期 {said}（截止当分钟在内）。", case.voucher.status.text())),
        None if redemption_passed(case.voucher.status) => check(Outcome::Unknown).figures(&span, "未登记").text(format!(
            "本券状态为“{}”，但没有登记兑现申请时间，无法核对；兑现期 {said}（截止当分钟在内），{announced}。",
            case.voucher.status.text()
        )),
        None if case.as_of > deadline => {
            check(Outcome::Fail).figures(&span, "未申请").text(format!("兑现期 {said} 已过，本券没有申请兑现，逾期作废。"))
        }
        None => check(Outcome::NotApplicable)
            .figures(&span, "未申请")
            .text(format!("兑现期 {said}（截止当分钟在内），{announced}；本券尚未申请兑现。")),
    }
}

/// Whether redemption could be asked for at all: a voucher that was never issued, or was given up, does not expire.
fn redeemable(status: VoucherStatus) -> bool {
    !matches!(status, VoucherStatus::Applied | VoucherStatus::Returned | VoucherStatus::Refused | VoucherStatus::Withdrawn)
}

/// Whether it must have been asked for.
fn redemption_passed(status: VoucherStatus) -> bool {
    matches!(status, VoucherStatus::Redeeming | VoucherStatus::Approved | VoucherStatus::Paid)
}

/// When a voucher ended without being redeemed (R10), as far as that counts for R11: void, refused at redemption, or left to expire.
/// Withdrawn ones, and those left unpaid for lack of funds, never count.
fn ended_unredeemed(case: &Case<'_>, other: &Voucher) -> Option<Instant> {
    let lack_of_funds = other.void_cause.as_deref().is_some_and(names_lack_of_funds);
    let expired = || {
        let period = case.register.periods.get(other.period.as_ref()?)?;
        Some(minute_end(period.redeem_to))
    };
    match other.status {
        _ if lack_of_funds => None,
        VoucherStatus::Void => Some(other.status_at.unwrap_or(other.applied_at)),
        VoucherStatus::Refused if case.rulebook.parameters.unredeemed_refused => {
            other.redeem_at.map(|redeem_at| other.status_at.unwrap_or(redeem_at))
        }
        VoucherStatus::Issued if other.redeem_at.is_none() => expired(),
        _ => None,
    }
}

/// R11: vouchers of the enterprise that ended unredeemed before this application. What happens later changes nothing for it.
fn unredeemed(case: &Case<'_>) -> Check {
    let parameters = &case.rulebook.parameters;
    let others = case.register.vouchers_of(&case.voucher.enterprise).filter(|other| other.id != case.voucher.id);
    let counted: Vec<&str> = others
        .filter(|other| parameters.unredeemed_all_periods || other.period == case.voucher.period)
        .filter(|other| ended_unredeemed(case, other).is_some_and(|ended| ended < case.voucher.applied_at))
        .map(|other| other.id.as_str())
        .collect();
    let listed = if counted.is_empty() { String::new() } else { format!("（{}）", counted.join("、")) };
    note("R11", "七(五)2", pass_if(counted.len() < 2)).figures("<2", counted.len()).text(format!(
        "企业在本次申领之前有 {} 张服务券未兑现{listed}，累积两次取消申领资格；按规则手册，兑现审核未通过的{}，{}，逾期未申请的计入，因资金缺口未兑现的和申领未通过、已撤回的不计。",
        counted.len(),
        if parameters.unredeemed_refused { "计入" } else { "不计" },
        if parameters.unredeemed_all_periods { "各期累计" } else { "只计本期" }
    ))
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
    let extra: Vec<&str> = accepted.difference(&contracted).map(|module| module.as_str()).collect();
    let unseen: Vec<&str> = accepted.iter().map(|module| module.as_str()).filter(|module| !seen.contains(module)).collect();
    let list = |modules: &[&str]| if modules.is_empty() { "无".to_string() } else { modules.join("、") };
    check(pass_if(missing.is_empty())).figures(contracted.len(), contracted.len() - missing.len()).text(format!(
        "合同功能模块 {} 项，验收报告缺少的：{}；验收报告多出的：{}；{}。",
        contracted.len(),
        list(&missing),
        list(&extra),
        if usage.silent {
            "监测窗口内没有使用数据，无法与实际使用核对".to_string()
        } else {
            format!("已验收 {} 项中监测窗口内没有使用数据的：{}", accepted.len(), list(&unseen))
        }
    ))
}

/// R33: the supplier confirmed the redemption request.
fn confirmed(case: &Case<'_>) -> Check {
    match case.voucher.supplier_confirmed_at {
        Some(at) => note("R33", "五(四)10", Outcome::Pass)
            .figures("供应商确认", show_instant(at))
            .text(format!("供应商已于{} 确认。", said_instant(at))),
        None => note("R33", "五(四)10", Outcome::Unknown).figures("供应商确认", "未登记").text("没有登记供应商的确认。"),
    }
}

/// R39: what the row's remark asks for and the register can tell.
fn row_remarks(case: &Case<'_>, terms: Option<Terms<'_>>) -> Check {
    let check = |outcome| note("R39", "附件备注", outcome);
    let Some(terms) = terms else { return check(Outcome::Unknown).text("没有登记应用产品，无法核对目录备注。") };
    let row = terms.row;
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
    let pilot = case.voucher.pilot.as_ref().and_then(|pilot| case.register.pilots.get(pilot));
    if let Some((least, pilot)) = row.suppliers_min.zip(pilot) {
        let members = pilot.members.iter().collect::<BTreeSet<_>>().len();
        let outcome = if members >= least as usize { Outcome::Unknown } else { Outcome::Fail };
        return check(outcome).figures(least, members).text(format!(
            "目录序号 {} 适用于产业集群试点示范，试点 {} 登记有 {members} 家供应商，至少 {least} 家；{for_person}{optional}",
            row.row, pilot.id
        ));
    }
    if let Some(least) = row.modules_min {
        return check(pass_if(modules >= least as usize))
            .figures(least, modules)
            .text(format!("目录序号 {} 要求 {least} 项以上功能模块，合同列有 {modules} 项。{for_person}{optional}", row.row));
    }
    if asked.is_empty() {
        return check(Outcome::NotApplicable).text(format!("目录序号 {} 没有须核对的专门要求。{optional}", row.row));
    }
    check(Outcome::Unknown).text(format!("目录序号 {}：{for_person}{optional}", row.row))
}

/// R37, R38: how the declared devices came to the connected ones, and what those would support.
pub fn devices(case: &Case<'_>, amount: Option<&AmountWorking>, devices: &DevicesWeighed, decided: u64) -> Vec<Check> {
    let Some(per_device) = amount.and_then(|amount| amount.per_device.map(|per_device| (amount, per_device))) else {
        let said = if amount.is_some() {
            "本目录没有单台设备奖补金额，不按接入设备数判定。"
        } else {
            "没有登记应用产品，无法核对接入设备数。"
        };
        let outcome = if amount.is_some() { Outcome::NotApplicable } else { Outcome::Unknown };
        return ["R36", "R37", "R38"].into_iter().map(|rule| note(rule, "附件说明2", outcome).text(said)).collect();
    };
    let (amount, per_device) = per_device;
    let parameters = &case.rulebook.parameters;
    let by_reason = ExclusionReason::ALL.iter().filter_map(|reason| {
        let count = devices.standings.iter().filter(|standing| standing.reason == Some(*reason)).count();
        (count > 0).then(|| format!("{} {count} 台", reason.text()))
    });
    let by_reason = by_reason.collect::<Vec<_>>();
    let excluded =
        if by_reason.is_empty() { "没有不计入的设备".to_string() } else { format!("不计入：{}", by_reason.join("；")) };
    let (declared, connected) = (devices.declared(), devices.connected());
    let definition = note("R37", "附件说明2", Outcome::Pass).figures(declared, connected).by_parameter().text(format!(
        "申报 {declared} 台，实际接入 {connected} 台（窗口内有效天数不少于 {} 天，每天须在 {} 个不同小时有正常读数），{excluded}；另有未申报的设备 {} 台。",
        parameters.device_effective_days_min, parameters.effective_day_hours_min, devices.undeclared
    ));
    let supported = amount::supported(decided, per_device).unwrap_or_default();
    let partial = note("R38", "附件说明2", Outcome::NotApplicable)
        .figures(amount.decided(), format!("{supported:.2}"))
        .text(format!("仅供参考：{decided} 台按每台 {per_device} 元可对应 {supported:.2} 元；政策没有按台数部分兑现的规定。"));
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
