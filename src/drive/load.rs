//! `shangyun load`: how many reports a second are accepted, durably, and how long an acknowledgement takes.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::json;

use crate::mqtt_client::MqttClient;
use crate::service::{ChildService, post};

#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// The service's MQTT address; without it a service is started in a temporary directory
    #[arg(long, requires_all = ["http", "key"])]
    mqtt: Option<SocketAddr>,
    /// The service's HTTP address, such as http://127.0.0.1:8080
    #[arg(long)]
    http: Option<String>,
    /// An admin key, to register the gateways that send
    #[arg(long)]
    key: Option<String>,
    /// Connections, each a gateway of its own
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    /// Reports of one connection that wait for their acknowledgement
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    in_flight: u16,
    /// Devices in each report
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    devices: u16,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// At most this many reports a second in all; 0: as many as go
    #[arg(long, default_value_t = 0)]
    rate: u64,
}

/// A credit code with a right check character, that no enterprise has.
const ENTERPRISE: &str = "91440000MA00000001";

pub async fn run(args: &LoadArgs) -> Result<()> {
    let own = match args.mqtt {
        Some(_) => None,
        None => Some(OwnService::start()?),
    };
    let (mqtt, http, key) = match (&own, args.mqtt, &args.http, &args.key) {
        (Some(own), ..) => (own.service.mqtt, own.service.http.clone(), own.key.clone()),
        (None, Some(mqtt), Some(http), Some(key)) => (mqtt, http.trim_end_matches('/').to_string(), key.clone()),
        _ => bail!("--mqtt, --http and --key belong together"),
    };
    let enterprise = enterprise_code();
    let token = "load-generator-token";
    let gateways: Vec<_> =
        (0..args.connections).map(|i| json!({ "id": format!("load-{i}"), "enterprise": enterprise, "token": token })).collect();
    let register = json!({ "v": 1, "rulebook": "gd-2019",
        "enterprises": [{ "id": enterprise, "name": "负载测试", "city": "440100", "kind": "manufacturer" }], "gateways": gateways });
    tokio::task::spawn_blocking(move || post(&format!("{http}/api/v1/register"), &key, &register)).await??;
    let began = Instant::now();
    let until = began + Duration::from_secs(args.seconds);
    let boot = format!("load-{}", Utc::now().timestamp_micros());
    let mut senders = Vec::new();
    for i in 0..args.connections {
        let sender = Sender {
            gateway: format!("load-{i}"),
            body: Body::new(&boot, i, args.devices, Utc::now()),
            in_flight: args.in_flight,
            until,
            pause: (args.rate > 0).then(|| Duration::from_secs_f64(f64::from(args.connections) / args.rate as f64)),
        };
        let client = MqttClient::connect(mqtt, &sender.gateway, &sender.gateway, token).await.context("connecting")?;
        senders.push(tokio::spawn(sender.run(client)));
    }
    let mut measured = Measured::default();
    for sender in senders {
        measured.add(sender.await??);
    }
    let memory = own.as_ref().and_then(|own| own.service.resident_mib());
    measured.print(began.elapsed(), args, memory);
    if measured.refused > 0 { bail!("{} reports were refused", measured.refused) } else { Ok(()) }
}

fn enterprise_code() -> String {
    let first_17 = &ENTERPRISE.as_bytes()[..17];
    let check = wire::credit_code::check_character(first_17).map_or('0', char::from);
    format!("{}{check}", &ENTERPRISE[..17])
}

struct OwnService {
    service: ChildService,
    key: String,
    /// Removed when this is dropped, after the service.
    _dir: tempfile::TempDir,
}

impl OwnService {
    fn start() -> Result<OwnService> {
        let program = std::env::current_exe()?;
        let dir = tempfile::tempdir()?;
        let service = ChildService::start(&program, dir.path())?;
        let key = create_key(&program, dir.path())?;
        Ok(OwnService { service, key, _dir: dir })
    }
}

fn create_key(program: &Path, dir: &Path) -> Result<String> {
    let made = Command::new(program)
        .args(["key", "create", "--role", "admin", "--name", "load"])
        .arg(format!("--set=data.dir={}", dir.display()))
        .output()?;
    if !made.status.success() {
        bail!("no key: {}", String::from_utf8_lossy(&made.stderr));
    }
    Ok(String::from_utf8(made.stdout)?.trim().to_string())
}

/// A report's text with a place for its number.
struct Body {
    before: String,
    after: String,
}

impl Body {
    fn new(boot: &str, connection: u16, devices: u16, at: DateTime<Utc>) -> Body {
        let at = at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let entry = |i: u16| {
            let power = f64::from(i) * 0.37 + 1.5;
            format!(
                r#"{{"device":"L{connection:03}-{i:04}","at":"{at}","quality":"N","state":"running","readings":{{"功率_kw":{power:.2},"on":true}}}}"#
            )
        };
        let entries: Vec<String> = (0..devices).map(entry).collect();
        Body { before: format!(r#"{{"v":1,"boot":"{boot}","seq":"#), after: format!(r#","devices":[{}]}}"#, entries.join(",")) }
    }

    fn numbered(&self, seq: u64) -> Bytes {
        Bytes::from(format!("{}{seq}{}", self.before, self.after))
    }
}

struct Sender {
    gateway: String,
    body: Body,
    in_flight: u16,
    until: Instant,
    /// Between two reports, where a rate is asked for.
    pause: Option<Duration>,
}

impl Sender {
    async fn run(self, mut client: MqttClient) -> Result<Measured> {
        let topic = wire::topic::GatewayTopic::Report.of(&self.gateway);
        let mut measured = Measured { report_bytes: self.body.numbered(1).len(), ..Measured::default() };
        let mut sent_at = vec![Instant::now(); usize::from(self.in_flight) + 1];
        let mut free: Vec<NonZeroU16> = (1..=self.in_flight).filter_map(NonZeroU16::new).collect();
        let mut seq = 0;
        let mut next_at = Instant::now();
        loop {
            let sending = Instant::now() < self.until;
            while sending && Instant::now() >= next_at {
                let Some(packet_id) = free.pop() else { break };
                seq += 1;
                client.publish(&topic, packet_id, self.body.numbered(seq))?;
                sent_at[usize::from(packet_id.get())] = Instant::now();
                next_at += self.pause.unwrap_or_default();
            }
            client.flush().await?;
            if free.len() == usize::from(self.in_flight) {
                if !sending {
                    return Ok(measured);
                }
                tokio::time::sleep_until(next_at.into()).await;
                continue;
            }
            let answers = match self.pause {
                None => client.acknowledgements().await?,
                Some(_) => match tokio::time::timeout_at(next_at.into(), client.acknowledgements()).await {
                    Ok(answers) => answers?,
                    Err(_) => continue,
                },
            };
            for answer in answers {
                let latency = sent_at[usize::from(answer.packet_id.get())].elapsed();
                measured.latencies_us.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
                if answer.accepted {
                    measured.accepted += 1
                } else {
                    measured.refused += 1
                }
                free.push(answer.packet_id);
            }
        }
    }
}

#[derive(Default)]
struct Measured {
    accepted: u64,
    refused: u64,
    report_bytes: usize,
    latencies_us: Vec<u32>,
}

impl Measured {
    fn add(&mut self, other: Measured) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.report_bytes = self.report_bytes.max(other.report_bytes);
        self.latencies_us.extend(other.latencies_us);
    }

    fn print(&mut self, took: Duration, args: &LoadArgs, memory_mib: Option<u64>) {
        self.latencies_us.sort_unstable();
        let latency_ms = |share: f64| {
            let at = (self.latencies_us.len() as f64 * share) as usize;
            f64::from(self.latencies_us.get(at.min(self.latencies_us.len().saturating_sub(1))).copied().unwrap_or(0)) / 1000.0
        };
        let per_second = self.accepted as f64 / took.as_secs_f64();
        println!(
            "reports of {} devices, {} bytes; {} connections × {} in flight",
            args.devices, self.report_bytes, args.connections, args.in_flight
        );
        println!(
            "accepted {} in {:.2} s: {per_second:.0} reports/s, {:.0} readings/s",
            self.accepted,
            took.as_secs_f64(),
            per_second * f64::from(args.devices) * 2.0
        );
        println!("refused {}", self.refused);
        println!(
            "acknowledgement ms: p50 {:.2}  p90 {:.2}  p99 {:.2}  max {:.2}",
            latency_ms(0.5),
            latency_ms(0.9),
            latency_ms(0.99),
            latency_ms(1.0)
        );
        if let Some(mib) = memory_mib {
            println!("service memory {mib} MiB");
        }
    }
}
