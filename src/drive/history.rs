//! The demo's thirty days of history, through the same doors as everything else, under a clock that the demo sets.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use edge::report::{Builder, ClockState, Entry, Identity, Quality, State};
use serde_json::{Value, json};
use wire::topic::GatewayTopic;

use crate::machines::Machine;
use crate::mqtt_client::MqttClient;
use crate::service::post;
use crate::world::{Behaviour, CARRIER, DevicePlan, GatewayPlan, World, shanghai_day};

/// Working hours of the demo's factories, in Shanghai.
const HOURS: std::ops::Range<u32> = 8..18;
pub const HISTORY_DAYS: u64 = 30;
const LATE_DAYS: i64 = 9;

/// A clock that stands where it is put, or runs with the machine's.
#[derive(Clone, Default)]
pub struct SetClock(Arc<AtomicI64>);

impl SetClock {
    /// `None`: from now on the machine's clock.
    pub fn set(&self, at: Option<DateTime<Utc>>) {
        self.0.store(at.map_or(0, |at| at.timestamp_micros()), Ordering::SeqCst);
    }

    pub fn now(&self) -> DateTime<Utc> {
        let set = self.0.load(Ordering::SeqCst);
        let now = if set == 0 { Utc::now().timestamp_micros() } else { set };
        DateTime::from_timestamp_micros(now).unwrap_or_default()
    }
}

/// Where the service is, and with which keys the demo's actors speak.
#[derive(Clone, Debug)]
pub struct Doors {
    pub http: String,
    pub mqtt: SocketAddr,
    pub supplier_keys: Vec<(&'static str, String)>,
    pub carrier_key: String,
}

/// Sends the history; `progress` is told how many days are done.
pub async fn send_history(world: &World, doors: &Doors, clock: &SetClock, progress: impl Fn(u64)) -> Result<()> {
    let now = Utc::now();
    let today = shanghai_day(now);
    let mut senders = Vec::new();
    for plan in &world.gateways {
        senders.push(GatewaySender::connect(plan, doors.mqtt).await.with_context(|| plan.id.clone())?);
    }
    for days_ago in (0..=HISTORY_DAYS).rev() {
        let day = today.checked_sub_days(Days::new(days_ago)).context("a day before today")?;
        for hour in HOURS {
            let at = shanghai_time(day, hour, 10);
            if at > now {
                break;
            }
            clock.set(Some(at));
            for sender in &mut senders {
                sender.send(at).await?;
            }
            for sender in &mut senders {
                sender.settle().await?;
            }
        }
        let evening = shanghai_time(day, HOURS.end, 30).min(now);
        clock.set(Some(evening));
        push_day(world, doors, day, shanghai_time(day, 0, 0), evening).await?;
        progress(HISTORY_DAYS - days_ago);
    }
    clock.set(None);
    Ok(())
}

/// What suppliers say of a stretch of a day, and the carrier of the day.
pub async fn push_day(world: &World, doors: &Doors, day: NaiveDate, from: DateTime<Utc>, until: DateTime<Utc>) -> Result<()> {
    for (supplier, key) in &doors.supplier_keys {
        let reports: Vec<Value> =
            world.usage.iter().filter(|plan| plan.supplier == *supplier).filter_map(|plan| plan.report(day, from, until)).collect();
        if !reports.is_empty() {
            push(&format!("{}/api/v1/reports", doors.http), key, Value::Array(reports)).await?;
        }
    }
    let records: Vec<Value> = world.carrier.iter().filter_map(|plan| plan.record(day)).collect();
    if !records.is_empty() {
        let message = json!({ "v": 1, "id": format!("{CARRIER}-{day}"), "records": records });
        push(&format!("{}/api/v1/carrier-records", doors.http), &doors.carrier_key, message).await?;
    }
    Ok(())
}

async fn push(url: &str, key: &str, body: Value) -> Result<()> {
    let (url, key) = (url.to_string(), key.to_string());
    let answer = tokio::task::spawn_blocking(move || post(&url, &key, &body)).await??;
    let refused = answer["results"].as_array().into_iter().flatten().find(|result| result["status"] == "refused");
    match refused {
        Some(refused) => bail!("a report was refused: {refused}"),
        None => Ok(()),
    }
}

struct GatewaySender<'w> {
    plan: &'w GatewayPlan,
    machines: Vec<(&'w DevicePlan, Machine)>,
    builder: Builder,
    client: MqttClient,
    topic: String,
}

impl<'w> GatewaySender<'w> {
    async fn connect(plan: &'w GatewayPlan, address: SocketAddr) -> Result<GatewaySender<'w>> {
        Ok(GatewaySender {
            plan,
            machines: plan.devices.iter().map(|device| (device, Machine::new(device.kind, device.seed))).collect(),
            builder: Builder::new("history".into(), Some(plan.enterprise.clone()), plan.devices.len().max(1)),
            client: MqttClient::connect(address, &plan.id, &plan.id, &plan.token).await?,
            topic: GatewayTopic::Report.of(&plan.id),
        })
    }

    /// Every machine's reading of this moment, in one report.
    async fn send(&mut self, at: DateTime<Utc>) -> Result<()> {
        for (plan, machine) in &self.machines {
            self.builder.push(match plan.behaviour {
                Behaviour::Works => machine.entry_at(&plan.device, at),
                Behaviour::Late => machine.entry_at(&plan.device, at - TimeDelta::days(LATE_DAYS)),
                Behaviour::Unreachable => unreachable_entry(&plan.device, at),
            });
        }
        let built = self.builder.build(ClockState { now: at, synchronised: None, monotonic_ms: at.timestamp_millis().unsigned_abs() })?;
        let built = built.with_context(|| format!("{}: an empty report", self.plan.id))?;
        self.client.publish(&self.topic, NonZeroU16::MIN, Bytes::copy_from_slice(&built.body))?;
        self.builder.taken(&built);
        self.client.flush().await?;
        Ok(())
    }

    async fn settle(&mut self) -> Result<()> {
        let answers = self.client.acknowledgements().await?;
        if answers.iter().all(|answer| answer.accepted) { Ok(()) } else { bail!("{}: a report was refused", self.plan.id) }
    }
}

fn unreachable_entry(device: &str, at: DateTime<Utc>) -> Entry {
    Entry {
        device: device.to_string(),
        at,
        quality: Quality::Communication,
        state: Some(State::Offline),
        readings: Vec::new(),
        identity: Identity::default(),
    }
}

/// An instant by the clock in Shanghai.
pub fn shanghai_time(day: NaiveDate, hour: u32, minute: u32) -> DateTime<Utc> {
    day.and_time(chrono::NaiveTime::MIN).and_utc() + TimeDelta::hours(i64::from(hour) - 8) + TimeDelta::minutes(i64::from(minute))
}
