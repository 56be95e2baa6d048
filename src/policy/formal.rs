//! Formal checks on people, dates and contract (R4–R8, R14–R19). The city weighs them beside the verdict; they never enter it (R34).

use std::collections::BTreeSet;

use crate::amount::Terms;
use crate::calendar::{day_of, said_instant, show_instant};
use crate::devices::DevicesWeighed;
use crate::judge::Case;
use crate::money::Yuan;
use crate::reasons::{Group, Outcome};
use crate::register::{EnterpriseKind, Voucher};
use crate::result::Check;

pub(crate) fn formal(rule: &str, clause: &str, outcome: Outcome) -> Check {
    Check::new(Group::Formal, rule, clause, outcome)
}

pub(crate) fn pass_if(passes: bool) -> Outcome {
    if passes { Outcome::Pass } else { Outcome::Fail }
}

pub fn checks(case: &Case<'_>, terms: Option<Terms<'_>>, devices: &DevicesWeighed) -> Vec<Check> {
    let voucher = case.voucher;
    vec![
        order(voucher),
        place(case, terms, devices),
        kind(case, terms),
        signed_after(case),
        supplement(voucher),
        formal("R14", "五(三)6", Outcome::Unknown)
            .text("登记信息里没有合同写明的产品名称，须人工核对其与供应商提交的名称（或已登记的别名）相对应。"),
        modules(voucher, terms),
        cost_lines(voucher),
        formal("R17", "五(三)6", pass_if(voucher.contract_amount <= voucher.contract_total))
            .figures(format!("≤{}", voucher.contract_total), voucher.contract_amount)
            .text(format!("合同额 {} 元，合同原文总额 {} 元，合同额不得大于总额。", voucher.contract_amount, voucher.contract_total)),
        one_contract(case),
        pilot_contract(case),
    ]
}

/// R4: signed ≤ applied ≤ redeemed.
fn order(voucher: &Voucher) -> Check {
    let signed_first = voucher.contract_signed_on <= day_of(voucher.applied_at);
    let redeemed_last = voucher.redeem_at.is_none_or(|redeem_at| voucher.applied_at <= redeem_at);
    let redeemed = voucher.redeem_at.map_or_else(|| "尚未申请兑现".to_string(), |at| format!("{} 申请兑现", said_instant(at)));
    formal("R4", "四(二)、五(三)6", pass_if(signed_first && redeemed_last))
        .figures(
            "签订≤申领≤兑现",
            format!(
                "{}≤{}≤{}",
                voucher.contract_signed_on,
                show_instant(voucher.applied_at),
                voucher.redeem_at.map_or_else(|| "—".to_string(), show_instant)
            ),
        )
        .text(format!(
            "合同 {} 签订，{} 申领，{redeemed}；须先签订、再申领、后兑现。",
            voucher.contract_signed_on,
            said_instant(voucher.applied_at)
        ))
}

/// R5: the place of the declared devices.
fn place(case: &Case<'_>, terms: Option<Terms<'_>>, devices: &DevicesWeighed) -> Check {
    let province = &case.rulebook.parameters.province_code;
    let check = |outcome| formal("R5", "四(三)", outcome).by_parameter();
    let Some(terms) = terms else { return check(Outcome::Unknown).text("没有登记应用产品，无法判断实施地点的要求。") };
    if !case.rulebook.parameters.location_required_rows.contains(&terms.product.row) {
        return check(Outcome::NotApplicable).text(format!("目录序号 {} 属设备后服务类，上云设备可以在省外。", terms.product.row));
    }
    if devices.standings.is_empty() {
        return check(Outcome::Unknown).text("没有申报设备，登记信息不能说明实施地点，须人工核对。");
    }
    let outside = devices.standings.iter().filter(|device| device.province.as_ref().is_some_and(|place| place != province)).count();
    let unnamed = devices.standings.iter().filter(|device| device.province.is_none()).count();
    let outcome = match (outside, unnamed) {
        (0, 0) => Outcome::Pass,
        (0, _) => Outcome::Unknown,
        _ => Outcome::Fail,
    };
    check(outcome).figures(0, outside).text(format!(
        "申报设备 {} 台，登记在省外的 {outside} 台，未登记所在省的 {unnamed} 台；这些设备不计入实际接入。",
        devices.declared()
    ))
}

/// R6: which rows an integrator may apply for.
fn kind(case: &Case<'_>, terms: Option<Terms<'_>>) -> Check {
    let check = |outcome| formal("R6", "五(三)6", outcome);
    let Some(enterprise) = case.register.enterprises.get(&case.voucher.enterprise) else {
        return check(Outcome::Unknown).text("没有登记该企业，无法判断企业类型。");
    };
    if enterprise.kind == EnterpriseKind::Manufacturer {
        return check(Outcome::Pass).figures("生产制造企业", "生产制造企业").text("登记为生产制造企业；营业执照经营范围须人工核对。");
    }
    let Some(terms) = terms else {
        return check(Outcome::Unknown).text("没有登记应用产品，无法判断运维企业可否申请。");
    };
    let rows = &case.rulebook.parameters.integrator_rows;
    let listed = rows.iter().map(u8::to_string).collect::<Vec<_>>().join("、");
    check(pass_if(rows.contains(&terms.product.row)))
        .figures(&listed, terms.product.row)
        .text(format!(
            "集成运维企业仅可申请“设备售后服务”类，按目录序号 {listed} 理解；本券为序号 {}。品牌授权须人工核对。",
            terms.product.row
        ))
        .by_parameter()
}

/// R7: the day itself is for a person to decide.
fn signed_after(case: &Case<'_>) -> Check {
    let (signed, after) = (case.voucher.contract_signed_on, case.rulebook.parameters.contract_signed_after);
    let (outcome, said) = match signed.cmp(&after) {
        std::cmp::Ordering::Greater => (Outcome::Pass, "符合"),
        std::cmp::Ordering::Equal => (Outcome::Unknown, "恰为当日，须人工认定"),
        std::cmp::Ordering::Less => (Outcome::Fail, "早于规定"),
    };
    formal("R7", "五(三)6", outcome).figures(format!(">{after}"), signed).text(format!("合同 {signed} 签订，须在 {after} 之后：{said}。"))
}

fn supplement(voucher: &Voucher) -> Check {
    match voucher.supplement_signed_on {
        None => formal("R8", "五(三)6", Outcome::NotApplicable).text("没有登记补签合同。"),
        Some(day) => formal("R8", "五(三)6", Outcome::Unknown)
            .figures("人工核对", day)
            .text(format!("原合同 {} 签订，补签合同 {day} 签订；补签内容须人工核对，签订日期以原合同为准。", voucher.contract_signed_on)),
    }
}

/// R15: contract modules ⊆ listed modules.
fn modules(voucher: &Voucher, terms: Option<Terms<'_>>) -> Check {
    let check = |outcome| formal("R15", "五(三)6", outcome);
    let Some(terms) = terms else { return check(Outcome::Unknown).text("没有登记应用产品，无法核对功能模块。") };
    let contracted: BTreeSet<&String> = voucher.contract_modules.iter().collect();
    if contracted.is_empty() {
        return check(Outcome::Unknown).text("登记的合同没有列出功能模块。");
    }
    let foreign: Vec<&str> =
        contracted.iter().filter(|module| !terms.product.function_modules.contains(module)).map(|m| m.as_str()).collect();
    let said = if foreign.is_empty() {
        "都在供应商提交的范围之内".to_string()
    } else {
        format!("不在供应商提交范围内的有：{}", foreign.join("、"))
    };
    check(pass_if(foreign.is_empty())).figures(0, foreign.len()).text(format!("合同功能模块 {} 项，{said}。", contracted.len()))
}

/// R16: Σ cost lines = contract amount; equal to the total needs a person to see the excluded lines.
fn cost_lines(voucher: &Voucher) -> Check {
    let check = |outcome| formal("R16", "五(三)6", outcome);
    let Some(lines) = &voucher.cost_lines else { return check(Outcome::Unknown).text("没有登记合同费用明细。") };
    let sum: Yuan = lines.iter().map(|line| line.amount).sum();
    let (outcome, said) = if sum == voucher.contract_amount {
        (Outcome::Pass, "与合同额相同")
    } else if sum == voucher.contract_total {
        (Outcome::Unknown, "等于合同原文总额，剔除的项目须人工核对")
    } else {
        (Outcome::Fail, "与合同额和合同原文总额都不相同")
    };
    check(outcome).figures(voucher.contract_amount, sum).text(format!(
        "费用明细 {} 项，合计 {sum} 元；合同额 {} 元，{said}。",
        lines.len(),
        voucher.contract_amount
    ))
}

/// A contract's number as one reads it aloud: no blanks or dashes, capital letters, full-width forms made plain.
pub(crate) fn contract_identity(number: &str) -> String {
    let plain = number.chars().map(|c| match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(c as u32 - 0xFEE0).unwrap_or(c),
        other => other,
    });
    plain.filter(|c| c.is_alphanumeric()).flat_map(char::to_uppercase).collect()
}

/// Vouchers of the same enterprise and period on the same contract that were not given up.
fn same_contract<'a>(case: &Case<'a>) -> Vec<&'a Voucher> {
    let identity = contract_identity(&case.voucher.contract_no);
    let others = case.register.vouchers_of(&case.voucher.enterprise).filter(|other| other.id != case.voucher.id);
    let kept = others.filter(|other| other.period == case.voucher.period && other.status.takes_from_cap());
    kept.filter(|other| contract_identity(&other.contract_no) == identity).collect()
}

fn ids(vouchers: &[&Voucher]) -> String {
    vouchers.iter().map(|voucher| voucher.id.as_str()).collect::<Vec<_>>().join("、")
}

/// R18: one contract, one voucher, pilots aside. A number under another date needs a person.
fn one_contract(case: &Case<'_>) -> Check {
    let check = |outcome| formal("R18", "五(三)7", outcome);
    let others = same_contract(case);
    let same_date = others.iter().any(|other| other.contract_signed_on == case.voucher.contract_signed_on);
    let all_pilots = case.voucher.pilot.is_some() && others.iter().all(|other| other.pilot == case.voucher.pilot);
    if others.is_empty() {
        return check(Outcome::Pass).figures(1, 1).text("本期没有其他服务券使用同一合同编号。");
    }
    let (outcome, said) = match (all_pilots, same_date) {
        (true, _) => (Outcome::NotApplicable, "试点示范的一对多合同除外"),
        (false, true) => (Outcome::Fail, "每份合同仅能用于申领一张服务券"),
        (false, false) => (Outcome::Unknown, "签订日期不同，是否同一合同须人工核对"),
    };
    check(outcome).figures(1, others.len() + 1).text(format!("服务券 {} 使用同一合同编号；{said}。", ids(&others)))
}

/// R19: a pilot's one-to-many contract.
fn pilot_contract(case: &Case<'_>) -> Check {
    let check = |outcome| formal("R19", "五(六)21", outcome);
    let Some(pilot) = &case.voucher.pilot else { return check(Outcome::NotApplicable).text("不是试点示范服务券。") };
    let others = same_contract(case);
    if others.is_empty() {
        return check(Outcome::NotApplicable).text("没有其他服务券使用同一合同。");
    }
    let stray = others.iter().filter(|other| other.pilot.as_ref() != Some(pilot)).count();
    check(pass_if(stray == 0))
        .figures(0, stray)
        .text(format!("同一合同用于服务券 {}；其中不属于试点 {pilot} 的 {stray} 张。", ids(&others)))
}
