//! What machines and users did in the last days: reports that a supplier pushes now and that still count.

use chrono::{DateTime, Days, FixedOffset, TimeDelta, Timelike, Utc};
use serde_json::{Value, json};

use super::register::credit_code;

pub fn shanghai() -> FixedOffset {
    FixedOffset::east_opt(8 * 3600).unwrap()
}

pub fn show(at: DateTime<Utc>) -> String {
    at.with_timezone(&shanghai()).to_rfc3339()
}

/// Four clock hours on each of `days` days (at most seven), none more than seven times 24 h before `now`: seven days connect a device.
pub fn effective_instants(now: DateTime<Utc>, days: usize) -> Vec<DateTime<Utc>> {
    assert!(days <= 7);
    let local = now.with_timezone(&shanghai());
    let midnight = local.date_naive().and_time(chrono::NaiveTime::MIN).and_local_timezone(shanghai()).unwrap().to_utc();
    // The seventh is today, or, while today is young, the day a week ago from the hour after this one on.
    let (seventh, from_h) = if local.hour() >= 18 { (0, 8) } else { (7, local.hour() + 2) };
    let hours = |ago: u64, from_h: u32| {
        (0..4).map(move |h| midnight - Days::new(ago) + TimeDelta::hours(i64::from(from_h + h)) + TimeDelta::minutes(30))
    };
    (1..=6).map(|ago| (ago, 8)).chain([(seventh, from_h)]).take(days).flat_map(|(ago, from_h)| hours(ago, from_h)).collect()
}

/// Reports of these devices at these instants, of at most 1000 entries each; ids begin with `id`.
pub fn device_reports(id: &str, enterprise: u32, devices: &[String], instants: &[DateTime<Utc>]) -> Vec<Value> {
    let entry = |device: &String, at: &DateTime<Utc>| json!({"device": device, "at": show(*at), "quality": "N", "state": "running", "readings": {"功率_kw": 4.2}});
    let entries: Vec<Value> = devices.iter().flat_map(|device| instants.iter().map(move |at| entry(device, at))).collect();
    let report = |(n, entries): (usize, &[Value])| json!({"v": 1, "id": format!("{id}-{n}"), "enterprise": credit_code(enterprise), "devices": entries});
    entries.chunks(1000).enumerate().map(report).collect()
}

/// One report: on each of the last `days` days before today, `users` users each use each of the modules.
pub fn usage_report(id: &str, enterprise: u32, product: &str, modules: &[&str], users: usize, days: u64, now: DateTime<Utc>) -> Value {
    let mut usage = Vec::new();
    for ago in 1..=days {
        for user in 0..users {
            let at = show(now - Days::new(ago));
            usage.extend(modules.iter().map(
                |module| json!({"product": product, "function_module": module, "user": format!("{user:04x}"), "at": at, "actions": 3}),
            ));
        }
    }
    json!({"v": 1, "id": id, "enterprise": credit_code(enterprise), "usage": usage})
}

/// A report as a gateway sends it: one device, now.
pub fn gateway_report(boot: &str, seq: u64, device: &str, at: DateTime<Utc>) -> Value {
    json!({"v": 1, "boot": boot, "seq": seq, "devices": [{"device": device, "at": show(at), "quality": "N", "readings": {"功率_kw": 4.2, "on": true}}]})
}
