//! Early warning: what an open voucher still lacks, and whether the pace of the last days will do by the deadline. A forecast by plain
//! proportion, whose basis is said with it; it is no verdict and changes none.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::amount::{devices_required, devices_suffice};
use crate::calendar::{self, Day, Instant, day_of, minute_end, said_instant};
use crate::devices::{DeviceStanding, activity};
use crate::facts::VoucherFacts;
use crate::judge::{Case, Judgement, judge};
use crate::reasons::{ExclusionReason, Group, Outcome, Verdict};
use crate::register::{Register, Voucher, VoucherStatus};
use crate::result::UsageFigures;
use crate::rulebook::Parameters;
use crate::usage::{covers, modules_required};

/// Whole days before today whose pace is carried on.
pub const PACE_DAYS: u32 = 7;
/// Nothing is carried on for longer.
const DAYS_AHEAD_MAX: u32 = 400;

/// Something that a deciding check asks for and does not have today.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    pub rule: String,
    pub required: String,
    pub observed: String,
    pub text: String,
}

/// One figure of the forecast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ForecastFigure {
    /// `devices`, `active_days`, `users`, `function_modules`.
    pub name: &'static str,
    pub required: u64,
    pub today: u64,
    /// On the day of the deadline.
    pub expected: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// Whether everything that is carried on suffices on the day of the deadline.
    pub on_track: bool,
    /// The first day, today or later, on which it would suffice.
    pub reached_on: Option<Day>,
    pub figures: Vec<ForecastFigure>,
    /// How it was reckoned.
    pub basis: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outlook {
    pub voucher: String,
    #[serde(with = "calendar::instant")]
    pub as_of: Instant,
    /// The end of redemption, where the voucher's period is registered.
    #[serde(with = "calendar::instant_option")]
    pub deadline: Option<Instant>,
    /// What judging at this instant would say.
    pub verdict_today: Verdict,
    pub verdict_today_text: String,
    pub missing: Vec<Missing>,
    /// `None` where nothing can be carried on; `text` says why.
    pub forecast: Option<Forecast>,
    pub text: String,
}

/// Whether anything can still change before redemption, or while it is under way.
pub fn open(voucher: &Voucher, now: Instant) -> bool {
    let under_way = matches!(voucher.status, VoucherStatus::Redeeming | VoucherStatus::Returned);
    voucher.status.live() && (under_way || voucher.redeem_at.is_none_or(|at| at > now))
}

pub fn deadline(register: &Register, voucher: &Voucher) -> Option<Instant> {
    Some(register.periods.get(voucher.period.as_ref()?)?.redeem_to)
}

/// The first day of facts that an outlook looks at, besides those of the window.
pub fn pace_from(now: Instant) -> Day {
    day_of(now) - chrono::Days::new(u64::from(PACE_DAYS))
}

/// `case.as_of` is now; the facts reach back to `pace_from` and over the window.
pub fn outlook(case: &Case<'_>) -> Outlook {
    let Judgement { result, explanation, .. } = judge(case);
    let deadline = deadline(case.register, case.voucher);
    let lacking = result.checks.iter().filter(|check| check.group == Group::Deciding);
    let lacking = lacking.filter(|check| matches!(check.outcome, Outcome::Fail | Outcome::Unknown));
    let missing: Vec<Missing> = lacking
        .map(|check| Missing {
            rule: check.rule.clone(),
            required: check.required.clone(),
            observed: check.observed.clone(),
            text: check.text.clone(),
        })
        .collect();
    let nothing_to_decide = explanation.amount.as_ref().is_some_and(|amount| amount.decided().is_zero());
    let closed = why_closed(case, deadline).or_else(|| why_not_carried_on(result.verdict, nothing_to_decide));
    let ahead = Ahead { case, devices: &explanation.devices, usage: result.usage, today: day_of(case.as_of) };
    let forecast = match (&closed, &explanation.amount) {
        (None, Some(amount)) => deadline.map(|deadline| ahead.forecast(amount, day_of(deadline))),
        _ => None,
    };
    let text = match (closed, &forecast, deadline) {
        (Some(why), ..) => why,
        (None, Some(forecast), Some(deadline)) => forecast_text(result.verdict, forecast, deadline),
        (None, _, None) => "没有登记服务券的发放周期，不知道兑现截止时间，不作预测。".to_string(),
        (None, None, Some(_)) => "登记信息或目录中没有该服务券的应用产品，不作预测。".to_string(),
    };
    Outlook {
        voucher: case.voucher.id.clone(),
        as_of: case.as_of,
        deadline,
        verdict_today: result.verdict,
        verdict_today_text: result.verdict_text,
        missing,
        forecast,
        text,
    }
}

/// Why nothing can be carried on.
fn why_closed(case: &Case<'_>, deadline: Option<Instant>) -> Option<String> {
    let late = case.rulebook.parameters.late_days_max;
    if let Some(at) = case.voucher.redeem_at.filter(|at| *at <= case.as_of) {
        let returned = if case.voucher.status == VoucherStatus::Returned { "，现已退回补充" } else { "" };
        return Some(format!(
            "已于{} 申请兑现{returned}，此后产生的数据不再计入；只有此前产生、{late} 天内补传的数据还可能改变结果。",
            said_instant(at)
        ));
    }
    let passed = deadline.filter(|deadline| minute_end(*deadline) < case.as_of)?;
    Some(format!("兑现期已于{} 结束，本券没有申请兑现。", said_instant(passed)))
}

/// Why carrying on would say nothing.
fn why_not_carried_on(today: Verdict, nothing_to_decide: bool) -> Option<String> {
    if nothing_to_decide {
        return Some("服务券金额为 0.00 元，没有可判定的要求，不作预测。".to_string());
    }
    let conflicting = today == Verdict::Conflicting;
    conflicting.then(|| "按目前数据为数据冲突，须先核实冲突，不作预测。".to_string())
}

fn forecast_text(today: Verdict, forecast: &Forecast, deadline: Instant) -> String {
    let deadline = said_instant(deadline);
    let standing = if today == Verdict::Met { "按目前数据已经达到要求" } else { "按目前数据尚未达到要求" };
    match (forecast.on_track, forecast.reached_on) {
        (true, _) if today == Verdict::Met => format!("{standing}；照近 {PACE_DAYS} 天的进度，到兑现截止（{deadline}）预计仍能达到。"),
        (true, Some(day)) => format!("{standing}；照近 {PACE_DAYS} 天的进度，预计 {day} 可以达到，不晚于兑现截止（{deadline}）。"),
        (true, None) => format!("{standing}；照近 {PACE_DAYS} 天的进度，到兑现截止（{deadline}）预计可以达到。"),
        (false, _) if today == Verdict::Met => {
            format!("{standing}；照近 {PACE_DAYS} 天的进度，到兑现截止（{deadline}）会再低于要求，宜及早申请兑现。")
        }
        (false, Some(day)) => {
            format!("{standing}；照近 {PACE_DAYS} 天的进度，预计 {day} 可以达到，但到兑现截止（{deadline}）会再低于要求，宜及早申请兑现。")
        }
        (false, None) => format!("{standing}；照近 {PACE_DAYS} 天的进度，到兑现截止（{deadline}）预计仍达不到，须加快。"),
    }
}

/// What is carried on, from where.
struct Ahead<'a> {
    case: &'a Case<'a>,
    devices: &'a [DeviceStanding],
    /// As it stands today, on rows without a per-device amount.
    usage: Option<UsageFigures>,
    today: Day,
}

/// Days of one kind of activity: those up to today that are known, and how many of the last `PACE_DAYS` before today were among them.
struct Paced {
    known: BTreeSet<Day>,
    pace: u32,
}

impl Paced {
    fn of(known: BTreeSet<Day>, today: Day) -> Paced {
        let from = today - chrono::Days::new(u64::from(PACE_DAYS));
        Paced { pace: known.range(from..today).count() as u32, known: known.into_iter().filter(|day| *day <= today).collect() }
    }

    /// `PACE_DAYS` times the days in a window that ends on `to`, today or later: known ones whole, those to come by the pace; today is
    /// one of the former once it counts. Exact in whole numbers.
    fn days_times_pace_days(&self, window_days: u32, today: Day, to: Day) -> u64 {
        let from = to - chrono::Days::new(u64::from(window_days.saturating_sub(1)));
        let open = if self.known.contains(&today) { today + chrono::Days::new(1) } else { today };
        let known = if from < open { self.known.range(from..open).count() as u64 } else { 0 };
        let ahead = ((to - from.max(open)).num_days() + 1).max(0).unsigned_abs();
        known * u64::from(PACE_DAYS) + ahead * u64::from(self.pace)
    }
}

impl Ahead<'_> {
    fn parameters(&self) -> &Parameters {
        &self.case.rulebook.parameters
    }

    fn forecast(&self, amount: &crate::amount::AmountWorking, deadline: Day) -> Forecast {
        match amount.per_device {
            Some(per_device) => {
                let paced: Vec<Paced> = self.devices.iter().filter(|device| may_count(device)).map(|device| self.device(device)).collect();
                let needed = u64::from(self.parameters().device_effective_days_min) * u64::from(PACE_DAYS);
                let connected = |to: Day| {
                    let days = |device: &&Paced| device.days_times_pace_days(self.parameters().window_days, self.today, to);
                    paced.iter().filter(|device| days(device) >= needed).count() as u64
                };
                let figure = ForecastFigure {
                    name: "devices",
                    required: devices_required(amount.decided(), per_device),
                    today: self.devices.iter().filter(|device| device.counted).count() as u64,
                    expected: connected(deadline),
                };
                let basis = format!(
                    "按比例推算：今天以前近 {PACE_DAYS} 天每台设备的有效天数照样延续；到兑现截止日的监测窗口内有效天数能达到 {} 天的设备算作届时接入。\
                     被其他服务券申报的、不在省内的设备不算；电信运营商数据不参与推算。",
                    self.parameters().device_effective_days_min
                );
                self.held_against(deadline, vec![figure], basis, |to| devices_suffice(connected(to), per_device, amount.decided()))
            }
            None => self.usage_forecast(deadline),
        }
    }

    fn device(&self, device: &DeviceStanding) -> Paced {
        let parameters = self.parameters();
        let as_of_us = self.case.as_of.timestamp_micros();
        let days = self.case.facts.devices.get(&device.device).into_iter().flat_map(|days| days.iter());
        let effective = days
            .filter(|(day, _)| **day <= self.today)
            .filter(|(_, facts)| activity(facts, as_of_us, parameters.late_days_max).counting_hours >= parameters.effective_day_hours_min);
        Paced::of(effective.map(|(day, _)| *day).collect(), self.today)
    }

    /// Active days go on at their pace; users and function modules are those of the days that the later window still holds and of the
    /// last days.
    fn usage_forecast(&self, deadline: Day) -> Forecast {
        let parameters = self.parameters();
        let facts: &VoucherFacts = self.case.facts;
        let as_of_us = self.case.as_of.timestamp_micros();
        let counting = || facts.usage.iter().filter(|(_, usage)| usage.seen.count_at(as_of_us, parameters.late_days_max));
        let paced = Paced::of(counting().map(|(key, _)| key.day).collect(), self.today);
        let contracted: BTreeSet<&str> = self.case.voucher.contract_modules.iter().map(String::as_str).collect();
        let recent = self.today - chrono::Days::new(u64::from(PACE_DAYS));
        let from = |to: Day| (to - chrono::Days::new(u64::from(parameters.window_days.saturating_sub(1)))).min(recent);
        // By first day: the users and modules since then. Once the window begins after `recent` they stay as they are.
        let since = |from: Day| {
            let still = || counting().filter(move |(key, _)| key.day >= from);
            let users = still().map(|(key, _)| key.user.as_str()).collect::<BTreeSet<_>>().len() as u64;
            let modules = still().map(|(key, _)| key.function_module.as_str()).filter(|module| contracted.contains(module));
            (users, modules.collect::<BTreeSet<_>>().len() as u64)
        };
        let first = from(self.today);
        let since: BTreeMap<Day, (u64, u64)> = first.iter_days().take_while(|day| *day <= recent).map(|day| (day, since(day))).collect();
        let at = |to: Day| {
            let days = paced.days_times_pace_days(parameters.window_days, self.today, to) / u64::from(PACE_DAYS);
            let (users, modules) = since.get(&from(to)).copied().unwrap_or_default();
            (days, users, modules)
        };
        let contracted_count = contracted.len() as u64;
        let required_modules = modules_required(contracted_count, parameters.function_module_coverage_min);
        let required_modules = rust_decimal::prelude::ToPrimitive::to_u64(&required_modules).unwrap_or(contracted_count);
        let (days_min, users_min) = (u64::from(parameters.usage_active_days_min), u64::from(parameters.usage_users_min));
        let then = at(deadline);
        let now = self.usage.map_or((0, 0, 0), |usage| (usage.active_days, usage.users, usage.function_modules_used));
        let figure = |name, required, today, expected| ForecastFigure { name, required, today, expected };
        let figures = vec![
            figure("active_days", days_min, now.0, then.0),
            figure("users", users_min, now.1, then.1),
            figure("function_modules", required_modules, now.2, then.2),
        ];
        let basis = format!(
            "按比例推算：今天以前近 {PACE_DAYS} 天的使用天数照样延续；用户和功能模块不外推，只算届时监测窗口内已有的和近 {PACE_DAYS} 天的。\
             电信运营商数据不参与推算。"
        );
        self.held_against(deadline, figures, basis, |to| {
            let (days, users, modules) = at(to);
            let covered = contracted_count > 0 && covers(modules, contracted_count, parameters.function_module_coverage_min);
            days >= days_min && users >= users_min && covered
        })
    }

    fn held_against(&self, deadline: Day, figures: Vec<ForecastFigure>, basis: String, suffices: impl Fn(Day) -> bool) -> Forecast {
        let days = self.today.iter_days().take(DAYS_AHEAD_MAX as usize).take_while(|day| *day <= deadline);
        let reached_on = days.into_iter().find(|day| suffices(*day));
        Forecast { on_track: suffices(deadline), reached_on, figures, basis }
    }
}

/// Only readings can keep it from counting.
fn may_count(device: &DeviceStanding) -> bool {
    device.claimed_by.is_empty() && device.reason != Some(ExclusionReason::Location)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::IssuancePeriod;
    use crate::test_case::{World, at, voucher, yuan};
    use chrono::TimeDelta;

    /// Judged on 2019-11-05 at 18:00. Row 23, three devices needed; the period ends on the day given.
    fn world(redeem_to: &str) -> World {
        let mut world = World::new();
        let (from, redeem_to) = (at("2019-08-01T00:00:00+08:00"), at(redeem_to));
        let id = "2019".to_string();
        let period = IssuancePeriod { id: id.clone(), claim_from: from, claim_to: from, redeem_from: from, redeem_to, announced_at: None };
        world.register.periods.insert(id.clone(), period);
        let mut voucher = voucher("V-1", "P-23");
        voucher.contract_amount = yuan("3000");
        voucher.period = Some(id);
        world.add(voucher);
        (0..3).for_each(|number| world.declare("V-1", &format!("SN-{number}"), Some("44")));
        world
    }

    /// Effective on each of these days before today: 1 is yesterday.
    fn effective(world: &mut World, device: &str, days_ago: &[i64]) {
        for ago in days_ago {
            for hour in 8..12 {
                world.reading(device, at("2019-11-05T00:30:00+08:00") - TimeDelta::days(*ago) + TimeDelta::hours(hour), 0);
            }
        }
    }

    fn look(world: &World) -> Outlook {
        outlook(&Case {
            register: &world.register,
            rulebook: &world.rulebook,
            catalogue: &world.catalogue,
            voucher: &world.register.vouchers["V-1"],
            as_of: world.as_of,
            facts: &world.facts,
        })
    }

    #[test]
    fn devices_go_on_at_the_pace_of_the_last_seven_days_exactly_up_to_the_threshold() {
        // Two devices are there; the third has three days of the last seven: 3 + 3/7 a day needs ten days, today among them.
        let mut world = world("2019-11-14T23:59:00+08:00");
        effective(&mut world, "SN-0", &[1, 2, 3, 4, 5, 6, 7]);
        effective(&mut world, "SN-1", &[1, 2, 3, 4, 5, 6, 7]);
        effective(&mut world, "SN-2", &[2, 4, 6]);
        let seen = look(&world);
        assert_eq!((seen.verdict_today, seen.missing.len(), seen.missing[0].rule.as_str()), (Verdict::NotMet, 1, "R36"));
        let forecast = seen.forecast.unwrap();
        assert_eq!(forecast.figures, [ForecastFigure { name: "devices", required: 3, today: 2, expected: 3 }]);
        assert_eq!((forecast.on_track, forecast.reached_on.unwrap().to_string().as_str()), (true, "2019-11-14"));
        assert!(seen.text.contains("预计 2019-11-14 可以达到，不晚于"), "{}", seen.text);
        world.register.periods.get_mut("2019").unwrap().redeem_to = at("2019-11-13T23:59:00+08:00");
        let seen = look(&world);
        let forecast = seen.forecast.unwrap();
        assert_eq!((forecast.on_track, forecast.reached_on, forecast.figures[0].expected), (false, None, 2), "a day too few");
        assert!(seen.text.contains("预计仍达不到"), "{}", seen.text);
    }

    #[test]
    fn what_counts_today_is_no_less_by_the_deadline_of_today() {
        let mut world = world("2019-11-05T23:59:00+08:00");
        (0..3).for_each(|number| effective(&mut world, &format!("SN-{number}"), &[0, 20, 21, 22, 23, 24, 25]));
        let seen = look(&world);
        let forecast = seen.forecast.unwrap();
        assert_eq!((seen.verdict_today, forecast.on_track), (Verdict::Met, true), "the seventh effective day is today");
        assert_eq!(forecast.reached_on.unwrap().to_string(), "2019-11-05");
        assert!(seen.text.contains("已经达到要求") && seen.text.contains("预计仍能达到"), "{}", seen.text);
        // One day short, today still open, and a pace of none.
        let mut short = self::world("2019-11-06T23:59:00+08:00");
        (0..3).for_each(|number| effective(&mut short, &format!("SN-{number}"), &[20, 21, 22, 23, 24, 25]));
        assert!(!look(&short).forecast.unwrap().on_track);
        // With a whole pace today counts in full, and the deadline's own day is in time.
        let mut paced = self::world("2019-11-05T23:59:00+08:00");
        (0..3).for_each(|number| effective(&mut paced, &format!("SN-{number}"), &[1, 2, 3, 4, 5, 6]));
        assert!(!look(&paced).forecast.unwrap().on_track, "six and 6/7");
        (0..3).for_each(|number| effective(&mut paced, &format!("SN-{number}"), &[0]));
        assert!(look(&paced).forecast.unwrap().on_track);
    }

    #[test]
    fn a_conflict_and_a_voucher_of_nothing_are_not_forecast() {
        let mut world = world("2019-12-31T23:59:00+08:00");
        (0..3).for_each(|number| effective(&mut world, &format!("SN-{number}"), &[1, 2, 3, 4, 5, 6, 7]));
        world.add(voucher("V-2", "P-23"));
        (0..3).for_each(|number| world.declare("V-2", &format!("SN-{number}"), Some("44")));
        let seen = look(&world);
        assert_eq!((seen.verdict_today, seen.forecast.is_none()), (Verdict::Conflicting, true));
        assert!(seen.text.contains("数据冲突") && !seen.text.contains("尚未达到"), "{}", seen.text);
        world.register.vouchers.get_mut("V-1").unwrap().amount = Some(yuan("0"));
        let seen = look(&world);
        assert!(seen.forecast.is_none() && seen.text.contains("0.00 元"), "{}", seen.text);
    }

    #[test]
    fn days_that_leave_the_window_before_the_deadline_no_longer_help() {
        let mut world = world("2019-12-31T23:59:00+08:00");
        (0..3).for_each(|number| effective(&mut world, &format!("SN-{number}"), &[10, 11, 12, 13, 14, 15, 16]));
        let seen = look(&world);
        assert_eq!(seen.verdict_today, Verdict::Met);
        let forecast = seen.forecast.unwrap();
        assert_eq!((forecast.on_track, forecast.figures[0].expected), (false, 0), "nothing in the last seven days");
        assert!(seen.text.contains("按目前数据已经达到要求") && seen.text.contains("会再低于要求，宜及早申请兑现"), "{}", seen.text);
    }

    #[test]
    fn a_device_that_others_claim_or_that_is_elsewhere_is_never_forecast() {
        let mut world = world("2019-12-31T23:59:00+08:00");
        world.declare("V-1", "SN-3", Some("44"));
        (0..4).for_each(|number| effective(&mut world, &format!("SN-{number}"), &[1, 2, 3, 4, 5, 6, 7]));
        world.add(voucher("V-2", "P-5"));
        world.declare("V-2", "SN-0", Some("44"));
        assert_eq!(look(&world).forecast.unwrap().figures[0].expected, 3);
        world.register.vouchers.get_mut("V-1").unwrap().product = "P-5".to_string();
        world.declare("V-1", "SN-1", Some("43"));
        assert_eq!(look(&world).forecast.unwrap().figures[0].expected, 2);
    }

    #[test]
    fn usage_days_go_on_and_users_and_modules_do_not_grow() {
        let mut world = world("2019-11-12T23:59:00+08:00");
        let voucher = world.register.vouchers.get_mut("V-1").unwrap();
        voucher.product = "P-9".to_string();
        for ago in [1, 3, 5, 6] {
            let day = at("2019-11-05T09:00:00+08:00") - TimeDelta::days(ago);
            ["甲", "乙", "丙"].iter().for_each(|module| world.action("u-1", module, day, 0));
        }
        let forecast = look(&world).forecast.unwrap();
        let figure = |name, required, today, expected| ForecastFigure { name, required, today, expected };
        // 4 known and 4/7 of eight days to come.
        assert_eq!(forecast.figures, [figure("active_days", 10, 4, 8), figure("users", 2, 1, 1), figure("function_modules", 3, 3, 3)]);
        assert!(!forecast.on_track);
        world.register.periods.get_mut("2019").unwrap().redeem_to = at("2019-11-20T23:59:00+08:00");
        assert!(!look(&world).forecast.unwrap().on_track, "one user stays one user");
        world.action("u-2", "甲", at("2019-11-04T09:00:00+08:00"), 0);
        let forecast = look(&world).forecast.unwrap();
        assert_eq!((forecast.on_track, forecast.reached_on.unwrap().to_string().as_str()), (true, "2019-11-15"));
    }

    #[test]
    fn without_a_deadline_or_after_the_request_nothing_is_forecast_and_it_is_said_why() {
        let mut world = world("2019-12-31T23:59:00+08:00");
        world.register.vouchers.get_mut("V-1").unwrap().redeem_at = Some(at("2019-11-04T10:00:00+08:00"));
        let seen = look(&world);
        assert!(seen.forecast.is_none() && seen.text.contains("已于北京时间 2019-11-04 10:00:00 申请兑现"), "{}", seen.text);
        world.register.vouchers.get_mut("V-1").unwrap().redeem_at = None;
        world.register.periods.get_mut("2019").unwrap().redeem_to = at("2019-11-05T17:59:59+08:00");
        assert!(look(&world).text.contains("结束，本券没有申请兑现"));
        world.register.vouchers.get_mut("V-1").unwrap().period = None;
        let seen = look(&world);
        assert!(seen.forecast.is_none() && seen.text.contains("不知道兑现截止时间"), "{}", seen.text);
    }

    #[test]
    fn a_voucher_is_open_until_it_asks_for_redemption_and_while_that_is_under_way() {
        let now = at("2019-11-05T18:00:00+08:00");
        let mut voucher = voucher("V-1", "P-23");
        assert!(open(&voucher, now));
        voucher.redeem_at = Some(now);
        assert!(!open(&voucher, now));
        voucher.status = VoucherStatus::Redeeming;
        assert!(open(&voucher, now));
        voucher.status = VoucherStatus::Returned;
        assert!(open(&voucher, now), "sent back to be completed");
        voucher.status = VoucherStatus::Paid;
        voucher.redeem_at = None;
        assert!(!open(&voucher, now));
    }
}
