//! The facts of a stopped service as plain figures under plain names.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, Days, Timelike, Utc};
use policy::calendar::day_of;

use super::history::shanghai;
use super::register::credit_code;

pub type Figures = BTreeMap<String, u64>;

/// Counts one reading of a device.
pub fn count_reading(figures: &mut Figures, device: &str, at: DateTime<Utc>) {
    let local = at.with_timezone(&shanghai());
    *figures.entry(format!("readings {device} {} {}", local.date_naive(), local.hour())).or_default() += 1;
}

/// Counts a user's actions.
pub fn count_actions(figures: &mut Figures, user: &str, at: DateTime<Utc>, actions: u64) {
    *figures.entry(format!("actions {user} {}", at.with_timezone(&shanghai()).date_naive())).or_default() += actions;
}

/// What is counted for an enterprise and product within the last days.
pub fn counted(data: &Path, enterprise: u32, product: &str) -> Figures {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let facts = runtime.block_on(async {
        let store = store::Store::open(data).await.unwrap();
        let today = day_of(Utc::now());
        let facts = store.voucher_facts(&credit_code(enterprise), product, (today - Days::new(9), today), None).await.unwrap().0;
        store.close().await;
        facts
    });
    let mut figures = Figures::new();
    for (device, days) in &facts.devices {
        for (day, of_day) in days.iter() {
            for ((hour, _), of_hour) in of_day.hours.iter() {
                *figures.entry(format!("readings {device} {day} {hour}")).or_default() += of_hour.counts.all().iter().sum::<u64>();
            }
        }
    }
    for (key, usage) in &facts.usage {
        *figures.entry(format!("actions {} {}", key.user, key.day)).or_default() += usage.actions;
    }
    figures
}
