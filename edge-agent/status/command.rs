//! `shangyun-edge status`: asks the agent that runs here; without one, says so and what its spool tells.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use chrono::DateTime;
use serde_json::json;

use crate::config::Config;
use crate::local::LISTEN;
use crate::spool::{self, Inspection};
use crate::status::{Status, table, words};

const WAIT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// The configuration (TOML), for where the agent listens and where its spool is
    #[arg(long, value_name = "FILE", default_value = "/etc/shangyun-edge/config.toml")]
    pub config: PathBuf,
    /// As JSON: what /status.json gives, or {"running":false,"spool":…}
    #[arg(long)]
    pub json: bool,
}

/// 0 all is well, 1 something is wrong or no agent answers, 2 wrong use.
pub fn run(args: &StatusArgs) -> ExitCode {
    // An agent at work is asked, whatever was done to its configuration since, and whoever asks.
    let config = match Config::examine_file(&args.config) {
        Ok(examined) => Some(examined.config),
        Err(error) => {
            eprintln!("{error}\n按默认地址 {LISTEN} 询问 · the default address is asked, {LISTEN}");
            None
        }
    };
    let listen = match &config {
        Some(config) => config.local.listen.map(|listen| listen.to_string()),
        None => Some(LISTEN.to_string()),
    };
    let Some(listen) = listen else {
        eprintln!("local.listen 为空或无效，状态页已关闭\nlocal.listen is empty or no address, so the agent does not tell");
        return ExitCode::from(2);
    };
    match ask(&format!("http://{listen}/status.json")) {
        Ok(answer) => show(&answer, args.json),
        Err(error) => {
            not_running(config.as_ref().map(|config| config.spool.dir.as_path()), &listen, &error, args.json);
            ExitCode::from(if config.is_some() { 1 } else { 2 })
        }
    }
}

fn ask(url: &str) -> Result<String, String> {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(WAIT)).proxy(None).build().into();
    let mut response = agent.get(url).call().map_err(|error| error.to_string())?;
    response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(|error| error.to_string())
}

fn show(answer: &str, json: bool) -> ExitCode {
    let status: Status = match serde_json::from_str(answer) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("该地址应答的不是本程序（{error}）\nwhat answers there is no agent of this version: {error}");
            return ExitCode::from(1);
        }
    };
    print!("{}", if json { format!("{}\n", answer.trim_end()) } else { table::table(&status) });
    ExitCode::from(u8::from(!status.troubles.is_empty()))
}

fn not_running(dir: Option<&Path>, listen: &str, error: &str, json: bool) {
    let inspected = dir.map(|dir| (dir, spool::inspect(dir)));
    if json {
        let spool = inspected.as_ref().and_then(|(_, inspected)| inspected.as_ref().ok());
        println!("{}", json!({ "v": 1, "running": false, "error": error, "spool": spool }));
        return;
    }
    println!("采集程序没有运行，或状态页不可用（{listen}：{error}）");
    println!("no agent answers at {listen}: {error}");
    match inspected {
        Some((_, Ok(found))) => print!("{}", on_disk(&found)),
        Some((dir, Err(error))) => println!("\n暂存目录读不到  the spool cannot be read: {}: {error}", dir.display()),
        None => {}
    }
}

fn on_disk(found: &Inspection) -> String {
    let time = |ms: Option<u64>| {
        let at = ms.and_then(|ms| DateTime::from_timestamp_millis(i64::try_from(ms).ok()?));
        at.map_or("—".to_string(), words::time)
    };
    let mut out = format!("\n待发报告 reports waiting    {}  {}\n", found.unsettled, words::bytes(found.bytes));
    out += &format!("最早一份 oldest             {}\n", time(found.oldest_unsettled_at_ms));
    out += &format!("最近写入 last written       {}\n", time(found.newest_at_ms));
    out += &format!("最近确认 last acknowledged  {}\n", time(found.settled_at_ms));
    if found.damaged > 0 {
        out += &format!("损坏 damaged                {}\n", found.damaged);
    }
    if found.refused > 0 {
        out += &format!("被拒收 refused              {}\n", found.refused);
    }
    out
}
