//! Formal checks on amounts and payments (R22–R31).

use std::borrow::Cow;

use crate::amount::{AmountWorking, Terms};
use crate::calendar::{minute_end, said_instant, show_instant};
use crate::derived::Taken;
use crate::formal::{formal, pass_if};
use crate::judge::Case;
use crate::money::Yuan;
use crate::reasons::Outcome;
use crate::regions::city_of;
use crate::register::{ProductClass, Quota, Voucher, VoucherStatus};
use crate::result::Check;
use crate::rules::clause_of;

pub fn checks(case: &Case<'_>, terms: Option<Terms<'_>>, amount: Option<&AmountWorking>) -> Vec<Check> {
    let mut checks = match (terms, amount) {
        (Some(terms), Some(amount)) => vec![share(case, terms, amount), row_cap(terms, amount), enterprise_cap(amount)],
        _ => ["R22", "R23", "R24"]
            .into_iter()
            .map(|rule| formal(rule, clause_of(rule), Outcome::Unknown).text("登记信息或目录中没有该应用产品，无法计算金额。"))
            .collect(),
    };
    checks.extend([
        pilot_cap(case),
        versions(case),
        bonus(case, amount),
        quotas(case, amount),
        pilot_pool(case, amount),
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

/// R25: the pilot cap is required data, not automatically a million. It is the enterprise's: all its vouchers of the period share it.
fn pilot_cap(case: &Case<'_>) -> Check {
    let check = |outcome| formal("R25", "五(六)21", outcome);
    let parameters = &case.rulebook.parameters;
    let cap = case.register.enterprises.get(&case.voucher.enterprise).and_then(|enterprise| enterprise.pilot_cap);
    let of_pilot = case.voucher.pilot.as_ref().map_or_else(String::new, |pilot| format!("服务券属于试点 {pilot}，"));
    match (&case.voucher.pilot, cap) {
        (None, None) => check(Outcome::NotApplicable).text("不是试点示范服务券，也没有登记企业核定的试点上限。"),
        (Some(_), None) => {
            check(Outcome::Unknown).text(format!("{of_pilot}但没有登记该企业核定的试点上限，按 {} 元计算。", parameters.enterprise_cap))
        }
        (_, Some(cap)) => check(pass_if(cap <= parameters.pilot_cap_max))
            .figures(format!("≤{}", parameters.pilot_cap_max), cap)
            .text(format!("{of_pilot}企业核定的试点上限为 {cap} 元，本期全部服务券合计适用，不得超过 {} 元。", parameters.pilot_cap_max)),
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
            said_instant(case.voucher.applied_at),
            rulebook.id,
            catalogue.id,
            if valid { "" } else { "（申领时尚未生效，取最早一版）" }
        ))
}

/// R27: both readings are shown. Due once to an enterprise, with the first of its vouchers that is redeemed.
fn bonus(case: &Case<'_>, amount: Option<&AmountWorking>) -> Check {
    let check = |outcome| formal("R27", "四(四)5", outcome).by_parameter();
    let enterprise = case.register.enterprises.get(&case.voucher.enterprise);
    let stated = enterprise.map(|enterprise| (enterprise.conformance, enterprise.conformance_funded));
    let bonus = match (stated, amount.and_then(|amount| amount.bonus)) {
        (_, Some(bonus)) => bonus,
        (Some((Some(false), _)), None) => {
            return check(Outcome::NotApplicable).text("企业未通过两化融合管理体系贯标，没有一次性奖励。");
        }
        (Some((Some(true), Some(true))), None) => {
            return check(Outcome::NotApplicable).text("企业已获得省级贯标奖补资金，不再给予一次性奖励。");
        }
        _ => return check(Outcome::Unknown).text("没有登记企业是否通过贯标、是否已获省级贯标奖补，无法判断一次性奖励。"),
    };
    let readings = format!(
        "企业已通过贯标且未获省级贯标奖补：不计入累计上限为 {} 元，计入为 {} 元；规则手册取{}计入，即 {} 元，每家企业一次",
        bonus.outside_cap,
        bonus.inside_cap,
        if case.rulebook.parameters.bonus_in_limit { "" } else { "不" },
        bonus.due
    );
    match bonus_carrier(case) {
        None => {
            check(Outcome::Pass).figures(bonus.outside_cap, Yuan::ZERO).text(format!("{readings}；企业尚无服务券申请兑现，目前不应发放。"))
        }
        Some(carrier) if carrier.id == case.voucher.id && carrier.status == VoucherStatus::Paid => check(Outcome::Unknown)
            .figures(bonus.outside_cap, bonus.due)
            .text(format!("{readings}；本券已兑付，是否已随本券发放须人工核对。")),
        Some(carrier) if carrier.id == case.voucher.id => {
            check(Outcome::Pass).figures(bonus.outside_cap, bonus.due).text(format!("{readings}；随本券兑现发放。"))
        }
        // The register does not tell what was paid with a voucher, nor since when the award was passed.
        Some(carrier) if carrier.status == VoucherStatus::Paid => check(Outcome::Unknown)
            .figures(bonus.outside_cap, Yuan::ZERO)
            .text(format!("{readings}；服务券 {} 已先兑付，是否已随 {} 发放须人工核对。", carrier.id, carrier.id)),
        Some(carrier) => check(Outcome::NotApplicable)
            .figures(bonus.outside_cap, Yuan::ZERO)
            .text(format!("{readings}；随服务券 {} 兑现发放，本券不再发放。", carrier.id)),
    }
}

/// The first voucher of the enterprise, in whatever period, whose redemption was asked for and not refused.
fn bonus_carrier<'a>(case: &Case<'a>) -> Option<&'a Voucher> {
    let asked = |voucher: &&Voucher| voucher.status.takes_from_cap() && voucher.redeem_at.is_some_and(|at| at <= case.as_of);
    case.register.vouchers_of(&case.voucher.enterprise).filter(asked).min_by_key(|voucher| (voucher.redeem_at, &voucher.id))
}

/// A quota beside what vouchers before this one take of it.
struct QuotaLeft<'a> {
    quota: &'a Quota,
    taken: Taken,
    left: Yuan,
}

impl QuotaLeft<'_> {
    fn said(&self) -> String {
        let QuotaLeft { quota, taken, left } = self;
        format!("{} 额度 {} 元，在先的 {} 张占用 {} 元，余 {left} 元", quota.party, quota.amount, taken.vouchers, taken.amount)
    }
}

fn quota_left<'a>(case: &Case<'a>, party: &str, period: &str) -> Option<QuotaLeft<'a>> {
    let quota = case.register.quota(party, period)?;
    let claiming_ended = case.register.periods.get(period).is_some_and(|period| minute_end(period.claim_to) < case.as_of);
    let derived = case.register.derived_for(case.voucher);
    let at_last = derived.and_then(|derived| derived.quotas_claiming_ended.get(party)).filter(|_| claiming_ended);
    let taken = at_last.or_else(|| derived?.quotas.get(party)).copied().unwrap_or_default();
    Some(QuotaLeft { quota, taken, left: quota.amount.saturating_sub(taken.amount) })
}

/// R28: V ≤ what is left of the city's and of the supplier's quota when it is the voucher's turn.
fn quotas(case: &Case<'_>, amount: Option<&AmountWorking>) -> Check {
    let check = |outcome| formal("R28", "七(三)、五(一)1", outcome);
    let Some(amount) = amount else { return check(Outcome::Unknown).text("没有登记应用产品，无法核对额度。") };
    let Some(period) = &case.voucher.period else {
        return check(Outcome::Unknown).text("服务券没有登记发放周期，无法核对额度。");
    };
    let pilot = case.voucher.pilot.is_some();
    let enterprise = case.register.enterprises.get(&case.voucher.enterprise);
    let city = enterprise.map(|enterprise| city_of(&enterprise.city)).filter(|_| !pilot);
    let supplier = case.register.products.get(&case.voucher.product).map(|product| Cow::Borrowed(product.supplier.as_str()));
    let asked = [("地市", city), ("供应商", supplier)].into_iter().filter(|(name, _)| !pilot || *name == "供应商");
    let mut known = Vec::new();
    let mut said = Vec::new();
    let mut complete = true;
    for (name, party) in asked {
        match party.and_then(|party| quota_left(case, &party, period)) {
            Some(quota) => {
                said.push(format!("{name} {}", quota.said()));
                known.push(quota);
            }
            None => {
                complete = false;
                said.push(format!("没有登记{name}的额度"));
            }
        }
    }
    let decided = amount.decided();
    let said = format!("{}；本券 {decided} 元", said.join("；"));
    let exempt = if pilot { "试点服务券不占用地市额度。" } else { "" };
    let Some(least) = known.iter().map(|quota| quota.left).min() else {
        return check(Outcome::Unknown).figures("≤额度余额", decided).text(format!("{said}，无法核对。{exempt}"));
    };
    let (outcome, judged) = match (decided <= least, complete) {
        (false, _) => (Outcome::Fail, "超过余额"),
        (true, true) => (Outcome::Pass, "不超过余额"),
        (true, false) => (Outcome::Unknown, "不超过已登记的余额，其余须由服务平台核对"),
    };
    check(outcome).figures(format!("≤{least}"), decided).text(format!("{said}，{judged}。{exempt}"))
}

/// R29: pilot vouchers draw on the pilot's pool, and only those of its enterprises do.
fn pilot_pool(case: &Case<'_>, amount: Option<&AmountWorking>) -> Check {
    let check = |outcome| formal("R29", "五(六)24", outcome);
    let Some(id) = &case.voucher.pilot else { return check(Outcome::NotApplicable).text("不是试点示范服务券。") };
    let Some(pilot) = case.register.pilots.get(id) else {
        return check(Outcome::Unknown).text(format!("没有登记试点 {id}。"));
    };
    if !pilot.enterprises.contains(&case.voucher.enterprise) {
        return check(Outcome::Fail).figures("试点企业", "否").text(format!("试点 {id} 的企业名单不包括本企业。"));
    }
    let pool = case.voucher.period.as_ref().and_then(|period| quota_left(case, id, period));
    match (pool, amount) {
        (Some(pool), Some(amount)) => {
            let decided = amount.decided();
            let fits = decided <= pool.left;
            check(pass_if(fits)).figures(format!("≤{}", pool.left), decided).text(format!(
                "试点 {}；本券 {decided} 元，{}，不占用地市额度。",
                pool.said(),
                if fits { "不超过余额" } else { "超过余额" }
            ))
        }
        _ => check(Outcome::Unknown)
            .figures("试点企业", "是")
            .text(format!("试点 {id} 的企业名单包括本企业，不占用地市额度；没有登记试点本期的额度或应用产品，无法核对余额。")),
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
