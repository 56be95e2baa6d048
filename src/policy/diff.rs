//! What has changed between two results of a voucher, in sentences for the city's reviewer.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Serialize;

use crate::calendar::said_instant;
use crate::devices::DeviceStanding;
use crate::judge::Explanation;
use crate::reasons::Group;
use crate::result::{AmountFigures, ChannelComparison, Check, MonitoringResult, VersionRef};

/// Devices that are told one by one, of each way of changing.
const DEVICES_MAX: usize = 50;

/// Which part of the result has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Verdict,
    Devices,
    Usage,
    Amount,
    Window,
    Channels,
    Check,
    Finding,
    Rulebook,
    Catalogue,
    Register,
    Evidence,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub part: Part,
    pub text: String,
}

/// A result with what was explained beside it.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    pub result: &'a MonitoringResult,
    pub explanation: &'a Explanation,
}

/// From an older result to a newer one; in the order in which a reviewer asks. Empty where nothing but numbers of storing differ.
pub fn diff(before: Told<'_>, after: Told<'_>) -> Vec<Change> {
    let mut changes = Changes(Vec::new());
    let (old, new) = (before.result, after.result);
    changes.turned(Part::Verdict, "监测结果", quoted(&old.verdict_text), quoted(&new.verdict_text));
    changes.devices(before, after);
    changes.usage(old, new);
    changes.amount(&old.amount, &new.amount);
    changes.turned(Part::Window, "截止时间", said_instant(old.cut_off), said_instant(new.cut_off));
    let window = |result: &MonitoringResult| format!("{} 至 {}", result.window.from, result.window.to);
    changes.turned(Part::Window, "监测窗口", window(old), window(new));
    changes.channels(&old.channels, &new.channels);
    changes.by_channel(old, new);
    changes.checks(&old.checks, &new.checks);
    changes.findings(old, new);
    changes.version(Part::Rulebook, "规则手册", &old.rulebook, &new.rulebook);
    changes.version(Part::Catalogue, "应用产品目录", &old.catalogue, &new.catalogue);
    if old.register_hash != new.register_hash {
        changes.say(Part::Register, "判定所依据的登记信息有变化。");
    }
    changes.turned(Part::Evidence, "证据日志的区块数", old.evidence.log_size, new.evidence.log_size);
    changes.0
}

fn quoted(text: &str) -> String {
    format!("“{text}”")
}

struct Changes(Vec<Change>);

impl Changes {
    fn say(&mut self, part: Part, text: impl Into<String>) {
        self.0.push(Change { part, text: text.into() });
    }

    /// One figure, if it is another.
    fn turned<T: PartialEq + Display>(&mut self, part: Part, what: &str, before: T, after: T) {
        if before != after {
            self.say(part, format!("{what}由 {before} 变为 {after}。"));
        }
    }

    fn devices(&mut self, before: Told<'_>, after: Told<'_>) {
        if let (Some(old), Some(new)) = (&before.result.devices, &after.result.devices) {
            for (what, old, new) in [
                ("实际接入设备数", old.connected, new.connected),
                ("判定采用的设备数", old.decided, new.decided),
                ("需要的设备数", old.required, new.required),
                ("申报的设备数", old.declared, new.declared),
                ("未申报而有数据的设备数", old.undeclared, new.undeclared),
            ] {
                self.turned(Part::Devices, what, format!("{old} 台"), format!("{new} 台"));
            }
        }
        let by_name = |told: Told<'_>| -> BTreeMap<String, DeviceStanding> {
            told.explanation.devices.iter().map(|device| (device.device.clone(), device.clone())).collect()
        };
        let (old, new) = (by_name(before), by_name(after));
        let told = |device: &DeviceStanding| format!("{}（{}）", if device.counted { "计入" } else { "不计入" }, device.detail);
        let (mut came, mut went, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for (name, now) in &new {
            match old.get(name) {
                None => others.push(format!("设备 {name} 新申报，{}。", told(now))),
                Some(then) if !then.counted && now.counted => {
                    came.push(format!("设备 {name} 现在计入：{}；此前不计入：{}。", now.detail, then.detail));
                }
                Some(then) if then.counted && !now.counted => {
                    went.push(format!("设备 {name} 不再计入：{}；此前计入：{}。", now.detail, then.detail));
                }
                Some(then) if then.reason != now.reason => {
                    others.push(format!("设备 {name} 仍不计入，原因由{}变为{}。", quoted(&then.detail), quoted(&now.detail)));
                }
                Some(_) => {}
            }
        }
        let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
        others.extend(gone.map(|(name, then)| format!("设备 {name} 不再申报，此前{}。", told(then))));
        for sentences in [came, went, others] {
            let more = sentences.len().saturating_sub(DEVICES_MAX);
            sentences.into_iter().take(DEVICES_MAX).for_each(|sentence| self.say(Part::Devices, sentence));
            if more > 0 {
                self.say(Part::Devices, format!("另有 {more} 台设备有同样的变化。"));
            }
        }
    }

    fn usage(&mut self, old: &MonitoringResult, new: &MonitoringResult) {
        let (Some(old), Some(new)) = (&old.usage, &new.usage) else { return };
        for (what, unit, old, new) in [
            ("使用日", "天", old.active_days, new.active_days),
            ("使用者", "人", old.users, new.users),
            ("用过的合同功能模块", "项", old.function_modules_used, new.function_modules_used),
            ("合同功能模块", "项", old.function_modules_contracted, new.function_modules_contracted),
        ] {
            self.turned(Part::Usage, what, format!("{old} {unit}"), format!("{new} {unit}"));
        }
    }

    fn amount(&mut self, old: &AmountFigures, new: &AmountFigures) {
        let shown = |amount: Option<crate::money::Yuan>| amount.map_or_else(|| "（无）".to_string(), |amount| format!("{amount} 元"));
        self.turned(Part::Amount, "计算的服务券金额", shown(Some(old.computed)), shown(Some(new.computed)));
        self.turned(Part::Amount, "核定的服务券金额", shown(old.approved), shown(new.approved));
        self.turned(Part::Amount, "单台设备补贴金额", shown(old.per_device), shown(new.per_device));
    }

    fn channels(&mut self, old: &ChannelComparison, new: &ChannelComparison) {
        self.turned(Part::Channels, "接口的连接天数", old.interface.days, new.interface.days);
        let carrier = |channels: &ChannelComparison| match channels.carrier {
            None => "没有记录".to_string(),
            Some(carrier) => match carrier.devices {
                Some(devices) => format!("连接 {} 天、设备 {devices} 台", carrier.days),
                None => format!("连接 {} 天", carrier.days),
            },
        };
        self.turned(Part::Channels, "电信运营商数据", quoted(&carrier(old)), quoted(&carrier(new)));
        let agree = |channels: &ChannelComparison| match channels.agree {
            None => "无法比对",
            Some(true) => "一致",
            Some(false) => "不一致",
        };
        self.turned(Part::Channels, "两个渠道的比对", quoted(agree(old)), quoted(agree(new)));
    }

    fn by_channel(&mut self, old: &MonitoringResult, new: &MonitoringResult) {
        let (Some(old), Some(new)) = (old.by_channel, new.by_channel) else { return };
        self.turned(Part::Channels, "经网关的连接天数", old.gateway.days, new.gateway.days);
        self.turned(Part::Channels, "经供应商接口的连接天数", old.supplier.days, new.supplier.days);
    }

    /// Checks are paired by group and rule, those of one rule in their order.
    fn checks(&mut self, old: &[Check], new: &[Check]) {
        let (old, new) =
            (numbered(old, |check| (check.group, check.rule.clone())), numbered(new, |check| (check.group, check.rule.clone())));
        for (key, now) in &new {
            let name = name_of(now);
            match old.get(key) {
                None => self.say(Part::Check, format!("{name}是新的检查：{}。{}", now.outcome.text(), now.text)),
                Some(then) if then.outcome != now.outcome => self
                    .say(Part::Check, format!("{name}由{}变为{}：{}", quoted(then.outcome.text()), quoted(now.outcome.text()), now.text)),
                Some(then) => {
                    self.turned(Part::Check, &format!("{name}的要求"), quoted(&then.required), quoted(&now.required));
                    self.turned(Part::Check, &format!("{name}的实际值"), quoted(&then.observed), quoted(&now.observed));
                    if (&then.required, &then.observed) == (&now.required, &now.observed) && then.text != now.text {
                        self.say(Part::Check, format!("{name}的说明变为：{}", now.text));
                    }
                }
            }
        }
        for (_, then) in old.iter().filter(|(key, _)| !new.contains_key(*key)) {
            self.say(Part::Check, format!("{}不再列出，此前为{}。", name_of(then), quoted(then.outcome.text())));
        }
    }

    fn findings(&mut self, old: &MonitoringResult, new: &MonitoringResult) {
        let (old, new) = (numbered(&old.findings, |finding| finding.code), numbered(&new.findings, |finding| finding.code));
        for (key, now) in &new {
            match old.get(key) {
                None => self.say(Part::Finding, format!("新的线索：{}", now.text)),
                Some(then) if then.text != now.text => self.say(Part::Finding, format!("线索有变化：{}（此前：{}）", now.text, then.text)),
                Some(then) if then.evidence != now.evidence => self.say(Part::Finding, format!("线索的依据有变化：{}", now.text)),
                Some(_) => {}
            }
        }
        for (_, then) in old.iter().filter(|(key, _)| !new.contains_key(*key)) {
            self.say(Part::Finding, format!("线索不再出现：{}", then.text));
        }
    }

    fn version(&mut self, part: Part, what: &str, old: &VersionRef, new: &VersionRef) {
        if old.id != new.id {
            self.turned(part, what, &old.id, &new.id);
        } else if old.hash != new.hash {
            self.say(part, format!("{what} {} 的内容有变化（哈希由 {} 变为 {}）。", new.id, old.hash, new.hash));
        }
    }
}

/// The rule with its clause, and its group where the rule stands in several.
fn name_of(check: &Check) -> String {
    let group = if check.group == Group::Deciding { "判定依据 " } else { "" };
    if check.clause.is_empty() { format!("{group}{}", check.rule) } else { format!("{group}{}（{}）", check.rule, check.clause) }
}

/// By key, and by number among those of one key.
fn numbered<T, K: Ord + Clone>(list: &[T], key: impl Fn(&T) -> K) -> BTreeMap<(K, usize), &T> {
    let mut counts: BTreeMap<K, usize> = BTreeMap::new();
    let numbered = list.iter().map(|one| {
        let count = counts.entry(key(one)).or_default();
        *count += 1;
        ((key(one), *count), one)
    });
    numbered.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Judgement;
    use crate::reasons::Verdict;
    use crate::test_case::{World, at, voucher, yuan};

    fn said(before: &Judgement, after: &Judgement) -> Vec<(Part, String)> {
        let before = Told { result: &before.result, explanation: &before.explanation };
        let after = Told { result: &after.result, explanation: &after.explanation };
        diff(before, after).into_iter().map(|change| (change.part, change.text)).collect()
    }

    /// Row 23, three devices needed, two of them connected.
    fn short_by_one() -> World {
        let mut world = World::new();
        let mut voucher = voucher("V-1", "P-23");
        voucher.contract_amount = yuan("3000");
        world.add(voucher);
        world.connect("V-1", 2, 7);
        world.declare("V-1", "SN-2", Some("44"));
        world.run("SN-2", 6);
        world
    }

    #[test]
    fn a_device_that_comes_changes_verdict_figures_and_check_in_words() {
        let mut world = short_by_one();
        let before = world.judge("V-1");
        assert_eq!(said(&before, &before), []);
        world.run("SN-2", 7);
        let after = world.judge("V-1");
        assert_eq!((before.result.verdict, after.result.verdict), (Verdict::NotMet, Verdict::Met));
        let forward = said(&before, &after);
        let texts: Vec<&str> = forward.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts[0], "监测结果由 “不达标” 变为 “达标”。");
        assert_eq!(texts[1], "实际接入设备数由 2 台 变为 3 台。");
        assert!(
            texts.iter().any(|text| text.starts_with("设备 SN-2 现在计入：有效 7 天，不少于要求的 7 天；此前不计入：有效 6 天")),
            "{texts:#?}"
        );
        assert!(texts.iter().any(|text| text.starts_with("判定依据 R36（附件说明2）由“不符合”变为“符合”：")), "{texts:#?}");
        let back = said(&after, &before);
        assert!(back.iter().any(|(_, text)| text.starts_with("设备 SN-2 不再计入：有效 6 天")), "{back:#?}");
    }

    #[test]
    fn cut_off_window_amount_rulebook_and_register_are_told() {
        let mut world = short_by_one();
        let before = world.judge("V-1");
        world.as_of = at("2019-11-06T08:00:00+08:00");
        world.set("late_days_max", "8");
        world.register.vouchers.get_mut("V-1").unwrap().amount = Some(yuan("1600"));
        let after = said(&before, &world.judge("V-1"));
        let of = |part: Part| after.iter().filter(|change| change.0 == part).map(|change| change.1.as_str()).collect::<Vec<_>>();
        assert_eq!(
            of(Part::Window),
            [
                "截止时间由 北京时间 2019-11-05 18:00:00 变为 北京时间 2019-11-06 08:00:00。",
                "监测窗口由 2019-10-07 至 2019-11-05 变为 2019-10-08 至 2019-11-06。"
            ]
        );
        assert_eq!(of(Part::Amount), ["核定的服务券金额由 （无） 变为 1600.00 元。"]);
        assert_eq!(of(Part::Rulebook).len(), 1);
        assert_eq!(of(Part::Register), ["判定所依据的登记信息有变化。"]);
        assert!(of(Part::Devices).contains(&"需要的设备数由 3 台 变为 2 台。"), "{after:#?}");
    }

    #[test]
    fn many_devices_of_one_change_are_counted_beyond_a_bound() {
        let mut world = short_by_one();
        let before = world.judge("V-1");
        (0..DEVICES_MAX + 7).for_each(|number| world.declare("V-1", &format!("X-{number:03}"), Some("44")));
        let after = said(&before, &world.judge("V-1"));
        let devices: Vec<&str> = after.iter().filter(|change| change.0 == Part::Devices).map(|change| change.1.as_str()).collect();
        assert_eq!(devices[0], "申报的设备数由 3 台 变为 60 台。");
        assert_eq!(devices.iter().filter(|text| text.contains("新申报")).count(), DEVICES_MAX);
        assert_eq!(devices.last(), Some(&"另有 7 台设备有同样的变化。"));
    }
}
