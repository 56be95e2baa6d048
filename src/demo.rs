//! `shangyun demo`: everything on this machine, in a temporary directory, with vouchers of every verdict.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use chrono::{Timelike, Utc};
use drive::history::{Doors, HISTORY_DAYS, SetClock, send_history};
use drive::live::Live;
use drive::world::{CARRIER, SUPPLIERS, World};
use observe::Clock;
use policy::reasons::Verdict;
use serde_json::json;
use store::{Actor, ApiKey, KeyRole, Store};
use tokio::sync::watch;

use crate::config::Config;
use crate::serve::{Service, stop_asked};

/// Judged again this often, so that the page follows what happens.
const JUDGE_EVERY_S: u64 = 15;

pub async fn run(flags: &[String]) -> Result<()> {
    let demo = tokio::select! {
        started = Demo::start(flags) => started?,
        // Dropping what has started so far ends it.
        asked = stop_asked() => return asked,
    };
    let asked = stop_asked().await;
    say("正在结束 / stopping");
    demo.stop.send_replace(true);
    demo.live.stop().await;
    demo.service.stop().await;
    asked
}

struct Demo {
    service: Service,
    live: Live,
    stop: watch::Sender<bool>,
    /// Removed with everything in it at the end.
    _dir: tempfile::TempDir,
}

/// In the audit log.
const ACTOR: &str = "command:demo";

impl Demo {
    async fn start(flags: &[String]) -> Result<Demo> {
        let began = Instant::now();
        let dir = tempfile::tempdir()?;
        let config = configure(&dir.path().join("data").display().to_string(), flags)?;
        let clock = SetClock::default();
        let shown = clock.clone();
        say("启动服务 / starting the service");
        let service = Service::start(&config, Clock::new(move || shown.now())).await?;
        let world = Arc::new(World::new(Utc::now()));
        let keys = Keys::create(&service.store).await?;
        let register = [world.register.clone().into()];
        let actor = Actor::new(ACTOR, Utc::now());
        service.store.import_register(&register, &|id| config.rulebooks.get(id).is_some(), &actor).await?;
        let doors = Doors {
            http: format!("http://{}", service.http),
            mqtt: service.mqtt,
            supplier_keys: keys.suppliers.clone(),
            carrier_key: keys.carrier.clone(),
        };
        let gateways = world.gateways.len();
        say(&format!(
            "送入 {HISTORY_DAYS} 天历史 / sending {HISTORY_DAYS} days of history: {gateways} 个网关，{} 家供应商，1 家运营商",
            SUPPLIERS.len()
        ));
        send_history(&world, &doors, &clock, |done| {
            if done.is_multiple_of(5) {
                say(&format!("  {done}/{HISTORY_DAYS} 天 / days"));
            }
        })
        .await?;
        let (stop, stopping) = watch::channel(false);
        let live = Live::start(world.clone(), doors.clone(), dir.path(), stopping).await?;
        let (machines, agents) = live.counts();
        say(&format!("{machines} 台 Modbus/TCP 设备由 {agents} 个采集代理轮询 / machines polled by agents"));
        say("判定全部服务券 / judging all vouchers");
        service.monitor.judge_all(None).await?;
        for result in service.store.newest_results().await? {
            say(&format!("  {:<9} {}", result.voucher, verdict_text(&result.verdict)));
        }
        say(&format!("用时 {:.0} 秒 / ready after {:.0} s", began.elapsed().as_secs_f64(), began.elapsed().as_secs_f64()));
        invite(&doors, &world, &keys, &config)?;
        Ok(Demo { service, live, stop, _dir: dir })
    }
}

/// The usual ports where they are free, any others where not; flags win.
fn configure(data_dir: &str, flags: &[String]) -> Result<Config> {
    let mut set = vec![format!("data.dir={data_dir}"), format!("monitor.every_s={JUDGE_EVERY_S}"), "log.grow_mib=1".to_string()];
    for (key, address) in [("http.listen", "127.0.0.1:8080"), ("admin.listen", "127.0.0.1:8081"), ("mqtt.listen", "127.0.0.1:1883")] {
        let free = TcpListener::bind(address).is_ok();
        set.push(format!("{key}={}", if free { address } else { "127.0.0.1:0" }));
    }
    set.extend_from_slice(flags);
    Ok(Config::load(None, std::iter::empty(), &set)?)
}

struct Keys {
    suppliers: Vec<(&'static str, String)>,
    carrier: String,
    platform: String,
}

impl Keys {
    async fn create(store: &Store) -> Result<Keys> {
        let create = async |role, scope: Option<&str>| {
            let key = ApiKey { role, name: "demo".into(), scope: scope.map(str::to_string), expires_at: None };
            store.create_key(&key, &Actor::new(ACTOR, Utc::now())).await
        };
        let mut suppliers = Vec::new();
        for supplier in SUPPLIERS {
            suppliers.push((supplier, create(KeyRole::Supplier, Some(supplier)).await?));
        }
        Ok(Keys { suppliers, carrier: create(KeyRole::Carrier, Some(CARRIER)).await?, platform: create(KeyRole::Platform, None).await? })
    }
}

fn verdict_text(code: &str) -> &'static str {
    Verdict::ALL.iter().find(|verdict| verdict.code() == code).map_or("", |verdict| verdict.text())
}

/// The link, and three things to try that work when pasted.
fn invite(doors: &Doors, world: &World, keys: &Keys, config: &Config) -> Result<()> {
    let program = std::env::current_exe().context("this program's own path")?;
    let SocketAddr::V4(mqtt) = doors.mqtt else { anyhow::bail!("the demo's door has an IPv4 address") };
    let gateway = &world.spare_gateway;
    let report = json!({
        "v": 1, "boot": "try", "seq": 1,
        "devices": [{ "device": "TRY-001", "at": policy::calendar::show_instant(Utc::now().with_nanosecond(0).unwrap_or_default()), "quality": "N", "state": "running", "readings": { "power_kw": 4.2 } }],
    });
    println!();
    println!("打开页面 / open:  {}/vouchers", doors.http);
    println!();
    println!("试一试 / three things to try:");
    println!("1. 以网关身份发送一份报告 / a report as a gateway would send it");
    println!(
        "   mosquitto_pub -V mqttv5 -h {} -p {} -i {id} -u {id} -P {} -q 1 -t shangyun/v1/{id}/report -m '{report}'",
        mqtt.ip(),
        mqtt.port(),
        gateway.token,
        id = gateway.id,
    );
    println!("2. 以兑现平台身份判定一张券 / judge a voucher as the redemption platform does");
    println!("   curl -sS -X POST -H 'Authorization: Bearer {}' {}/api/v1/vouchers/V-GZ-001/judge", keys.platform, doors.http);
    println!("3. 用命令判定并看依据 / judge by command and see why");
    println!("   {} judge --voucher V-DG-001 --set data.dir={}", program.display(), config.path("data.dir").display());
    println!();
    println!("按 Ctrl-C 结束 / Ctrl-C ends everything");
    Ok(std::io::stdout().flush()?)
}

/// Progress is seen at once, also through a pipe.
fn say(line: &str) {
    // Nobody may be reading any more; the demo goes on.
    let _ = writeln!(std::io::stdout(), "{line}");
}
