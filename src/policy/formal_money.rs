//! Formal checks on amounts and payments (R22–R31).

use crate::amount::{AmountWorking, Terms};
use crate::calendar::show_instant;
use crate::formal::{formal, pass_if};
use crate::judge::Case;
use crate::money::Yuan;
use crate::reasons::Outcome;
use crate::register::{ProductClass, Quota};
use crate::result::Check;

pub fn checks(case: &Case<'_>, terms: Option<Terms<'_>>, amount: Option<&AmountWorking>) -> Vec<Check> {
    let mut checks = match (terms, amount) {
        (Some(terms), Some(amount)) => vec![share(case, terms, amount), row_cap(terms, amount), enterprise_cap(amount)],
        _ => ["R22", "R23", "R24"]
            .into_iter()
            .map(|rule| formal(rule, "四(四)2-3", Outcome::Unknown).text("登记信息或目录中没有该应用产品，无法计算金额。"))
            .collect(),
    };
    checks.extend([
        pilot_cap(case),
        versions(case),
        bonus(case, amount),
        quotas(case, amount),
        pilot_pool(case),
        paid(case, terms),
        proofs(case),
    ]);
    checks
}

fn class_name(class: ProductClass) -> &'static str {
    match class {
        ProductClass::A => "A 类",
        ProductClass::B => "B 类",
    }
}

fn approved_said(amount: &AmountWorking) -> String {
    amount.approved.map_or_else(|| "尚无核定金额".to_string(), |approved| format!("核定金额 {approved} 元"))
}

/// R22: V0 = rate × C, cut to fen.
fn share(case: &Case<'_>, terms: Terms<'_>, amount: &AmountWorking) -> Check {
    formal("R22", "四(四)2", pass_if(amount.decided() <= amount.share)).figures(format!("≤{}", amount.share), amount.decided()).text(
        format!(
            "{}应用，合同额 {} 元 × {} = {} 元（不足一分舍去），{}。",
            class_name(terms.product.class),
            case.voucher.contract_amount,
            amount.rate,
            amount.share,
            approved_said(amount)
        ),
    )
}

/// R23: at most the row's cap.
fn row_cap(terms: Terms<'_>, amount: &AmountWorking) -> Check {
    formal("R23", "四(四)2、附件说明1", pass_if(amount.decided() <= amount.row_cap))
        .figures(format!("≤{}", amount.row_cap), amount.decided())
        .text(format!("目录序号 {}（{}）奖补上限 {} 元，{}。", terms.row.row, terms.row.category, amount.row_cap, approved_said(amount)))
}

/// R24: what the enterprise's cap leaves after earlier vouchers. A voucher of 0 yuan fails.
fn enterprise_cap(amount: &AmountWorking) -> Check {
    let left = amount.enterprise_cap.saturating_sub(amount.taken_before);
    let decided = amount.decided();
    let earlier = amount.earlier.iter().map(|earlier| format!("{} {} 元", earlier.voucher, earlier.takes)).collect::<Vec<_>>().join("、");
    let earlier = if earlier.is_empty() { "没有更早的服务券".to_string() } else { format!("更早的服务券：{earlier}") };
    let said = if decided.is_zero() { "本券金额为 0.00 元，不应发放" } else { "本券金额不得超过余额" };
    formal("R24", "四(四)3、附件说明3", pass_if(decided <= left && !decided.is_zero())).figures(format!("≤{left}"), decided).text(format!(
        "企业累计上限 {} 元，{earlier}，余额 {left} 元；本券计算为 {} 元，{}，{said}。",
        amount.enterprise_cap,
        amount.computed,
        approved_said(amount)
    ))
}

/// R25: the pilot cap is required data, not automatically a million.
fn pilot_cap(case: &Case<'_>) -> Check {
    let check = |outcome| formal("R25", "五(六)21", outcome);
    let parameters = &case.rulebook.parameters;
    let cap = case.register.enterprises.get(&case.voucher.enterprise).and_then(|enterprise| enterprise.pilot_cap);
    match (&case.voucher.pilot, cap) {
        (None, _) => check(Outcome::NotApplicable).text("不是试点示范服务券。"),
        (Some(pilot), None) => check(Outcome::Unknown)
            .text(format!("服务券属于试点 {pilot}，但没有登记该企业核定的试点上限，按 {} 元计算。", parameters.enterprise_cap)),
        (Some(pilot), Some(cap)) => check(pass_if(cap <= parameters.pilot_cap_max))
            .figures(format!("≤{}", parameters.pilot_cap_max), cap)
            .text(format!("服务券属于试点 {pilot}，企业核定的试点上限为 {cap} 元，不得超过 {} 元。", parameters.pilot_cap_max)),
    }
}

/// R26: rulebook and catalogue by the time of application.
fn versions(case: &Case<'_>) -> Check {
    let (rulebook, catalogue) = (case.rulebook, case.catalogue);
    let valid = rulebook.valid_from <= case.voucher.applied_at && catalogue.valid_from <= case.voucher.applied_at;
    formal("R26", "四(四)4", if valid { Outcome::Pass } else { Outcome::Unknown })
        .figures(show_instant(rulebook.valid_from.max(catalogue.valid_from)), show_instant(case.voucher.applied_at))
        .text(format!(
            "{} 申领，适用规则手册 {} 和目录 {}{}。",
            show_instant(case.voucher.applied_at),
            rulebook.id,
            catalogue.id,
            if valid { "" } else { "（申领时尚未生效，取最早一版）" }
        ))
}

/// R27: both readings are shown.
fn bonus(case: &Case<'_>, amount: Option<&AmountWorking>) -> Check {
    let check = |outcome| formal("R27", "四(四)5", outcome).by_parameter();
    let enterprise = case.register.enterprises.get(&case.voucher.enterprise);
    let stated = enterprise.map(|enterprise| (enterprise.conformance, enterprise.conformance_funded));
    match (stated, amount.and_then(|amount| amount.bonus)) {
        (_, Some(bonus)) => check(Outcome::Pass).figures(bonus.outside_cap, bonus.due).text(format!(
            "企业已通过贯标且未获省级贯标奖补：不计入累计上限为 {} 元，计入为 {} 元；规则手册取{}计入，即 {} 元，每家企业一次。",
            bonus.outside_cap,
            bonus.inside_cap,
            if case.rulebook.parameters.bonus_in_limit { "" } else { "不" },
            bonus.due
        )),
        (Some((Some(false), _)), None) => check(Outcome::NotApplicable).text("企业未通过两化融合管理体系贯标，没有一次性奖励。"),
        (Some((Some(true), Some(true))), None) => check(Outcome::NotApplicable).text("企业已获得省级贯标奖补资金，不再给予一次性奖励。"),
        _ => check(Outcome::Unknown).text("没有登记企业是否通过贯标、是否已获省级贯标奖补，无法判断一次性奖励。"),
    }
}

/// R28: a quota smaller than the voucher fails; what is left of it only the redemption platform knows.
fn quotas(case: &Case<'_>, amount: Option<&AmountWorking>) -> Check {
    let check = |outcome| formal("R28", "七(三)、五(一)1", outcome);
    let Some(amount) = amount else { return check(Outcome::Unknown).text("没有登记应用产品，无法核对额度。") };
    let Some(period) = &case.voucher.period else {
        return check(Outcome::Unknown).text("服务券没有登记发放周期，无法核对额度。");
    };
    let quota = |party: Option<&String>| party.and_then(|party| case.register.quotas.get(&(party.clone(), period.clone())));
    let city = quota(case.register.enterprises.get(&case.voucher.enterprise).map(|enterprise| &enterprise.city));
    let city = city.filter(|_| case.voucher.pilot.is_none());
    let supplier = quota(case.register.products.get(&case.voucher.product).map(|product| &product.supplier));
    let pool = quota(case.voucher.pilot.as_ref());
    let known: Vec<&Quota> = [city, supplier, pool].into_iter().flatten().collect();
    let Some(least) = known.iter().map(|quota| quota.amount).min() else {
        return check(Outcome::Unknown).text("没有登记地市和供应商的额度。");
    };
    let listed = known.iter().map(|quota| format!("{} {} 元", quota.party, quota.amount)).collect::<Vec<_>>().join("、");
    let fits = amount.decided() <= least;
    check(if fits { Outcome::Unknown } else { Outcome::Fail }).figures(format!("≤{least}"), amount.decided()).text(format!(
        "本期额度：{listed}；本券 {} 元{}。",
        amount.decided(),
        if fits { "，剩余额度须由服务平台核对" } else { "，超过额度" }
    ))
}

/// R29: pilot vouchers draw on the pilot's pool.
fn pilot_pool(case: &Case<'_>) -> Check {
    let check = |outcome| formal("R29", "五(六)24", outcome);
    let Some(id) = &case.voucher.pilot else { return check(Outcome::NotApplicable).text("不是试点示范服务券。") };
    match case.register.pilots.get(id) {
        None => check(Outcome::Unknown).text(format!("没有登记试点 {id}。")),
        Some(pilot) => {
            let member = pilot.enterprises.contains(&case.voucher.enterprise);
            check(pass_if(member))
                .figures("试点企业", if member { "是" } else { "否" })
                .text(format!("服务券属于试点 {id}，不占用地市额度；企业{}该试点的企业名单中。", if member { "在" } else { "不在" }))
        }
    }
}

/// R30: paid × 100 ≥ C × percent; equality passes.
fn paid(case: &Case<'_>, terms: Option<Terms<'_>>) -> Check {
    let check = |outcome| formal("R30", "五(四)9", outcome);
    let (Some(terms), Some(paid)) = (terms, case.voucher.paid) else {
        return check(Outcome::Unknown).text("没有登记实际支付金额，无法核对支付比例。");
    };
    let percent = case.rulebook.parameters.paid_percent(terms.product.class);
    let enough = |amount: Yuan| u128::from(paid.fen()) * 100 >= u128::from(amount.fen()) * u128::from(percent);
    let (amount, total) = (case.voucher.contract_amount, case.voucher.contract_total);
    // The least whole fen that pass.
    let least = (u128::from(amount.fen()) * u128::from(percent)).div_ceil(100);
    let least = format!("{}.{:02}", least / 100, least % 100);
    check(pass_if(enough(amount))).figures(&least, paid).text(format!(
        "{}应用须支付合同额 {amount} 元的 {percent}%，即 {least} 元，实际支付 {paid} 元；按合同原文总额 {total} 元计{}达到。",
        class_name(terms.product.class),
        if enough(total) { "也" } else { "未" }
    ))
}

/// R31: invoices = payment proofs = paid, to the fen.
fn proofs(case: &Case<'_>) -> Check {
    let voucher = case.voucher;
    let sums = [("实际支付", voucher.paid), ("发票", voucher.invoiced), ("支付凭证", voucher.payment_proofs)];
    let mut known: Vec<Yuan> = sums.iter().filter_map(|(_, sum)| *sum).collect();
    let complete = known.len() == sums.len();
    known.dedup();
    let outcome = match (known.len() > 1, complete) {
        (true, _) => Outcome::Fail,
        (false, true) => Outcome::Pass,
        (false, false) => Outcome::Unknown,
    };
    let listed = sums
        .iter()
        .map(|(name, sum)| format!("{name} {}", sum.map_or_else(|| "未登记".to_string(), |sum| format!("{sum} 元"))))
        .collect::<Vec<_>>();
    formal("R31", "五(四)9", outcome).figures("三者相同", listed.join("/")).text(format!("{}，三者应相同。", listed.join("，")))
}
