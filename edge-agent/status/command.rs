//! `shangyun-edge status`: asks the agent that runs here; without one, says so and what its spool tells.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use chrono::DateTime;
use serde_json::json;

use crate::config::Config;
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
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let Some(listen) = config.local.listen else {
        eprintln!("local.listen 为空，状态页已关闭\nlocal.listen is empty, so the agent does not tell");
        return ExitCode::from(2);
    };
    match ask(&format!("http://{listen}/status.json")) {
        Ok(answer) => show(&answer, args.json),
        Err(error) => {
            not_running(&config.spool.dir, &listen.to_string(), &error, args.json);
            ExitCode::from(1)
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

fn not_running(dir: &Path, listen: &str, error: &str, json: bool) {
    let inspected = spool::inspect(dir);
    if json {
        let spool = inspected.as_ref().ok();
        println!("{}", json!({ "v": 1, "running": false, "error": error, "spool": spool }));
        return;
    }
    println!("采集程序没有运行，或状态页不可用（{listen}：{error}）");
    println!("no agent answers at {listen}: {error}");
    match inspected {
        Ok(found) => print!("{}", on_disk(&found)),
        Err(error) => println!("\n暂存目录读不到  the spool cannot be read: {}: {error}", dir.display()),
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
