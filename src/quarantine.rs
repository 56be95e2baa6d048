//! `shangyun quarantine`: asks the running service, which alone writes the log, by its API. So it also works from elsewhere, and a
//! supplier or carrier may look at its own entries with its own key.

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::config::Config;

#[derive(Subcommand)]
pub enum QuarantineCommand {
    /// Show refused messages, the newest first, with their faults and what to do about them
    List {
        #[command(flatten)]
        service: ServiceArgs,
        #[command(flatten)]
        filter: FilterArgs,
        /// Only what no replay has settled
        #[arg(long)]
        open: bool,
        /// Only older than this position
        #[arg(long, value_name = "POSITION")]
        before: Option<i64>,
        /// Print the entries as JSON, with their bodies
        #[arg(long)]
        json: bool,
    },
    /// Read refused messages anew against the register as it is now, as of their receipt; needs an admin's key
    Replay {
        #[command(flatten)]
        service: ServiceArgs,
        #[command(flatten)]
        filter: FilterArgs,
        /// Only this entry
        #[arg(long, conflicts_with_all = ["kind", "sender", "code"])]
        position: Option<i64>,
    },
}

#[derive(Args)]
pub struct ServiceArgs {
    /// The service's API; without it http.listen of the configuration
    #[arg(long)]
    url: Option<String>,
    /// The bearer key; better given as SHANGYUN_KEY in the environment, where others do not see it
    #[arg(long)]
    key: Option<String>,
}

#[derive(Args)]
pub struct FilterArgs {
    /// Only of gateway, supplier or carrier
    #[arg(long)]
    kind: Option<String>,
    /// Only of this sender
    #[arg(long)]
    sender: Option<String>,
    /// Only with a fault of this code
    #[arg(long)]
    code: Option<String>,
}

/// Faults shown of one entry.
const FAULTS_SHOWN: usize = 5;

/// Gives whether nothing stays refused.
pub fn run(config: &Config, command: QuarantineCommand) -> Result<bool> {
    match command {
        QuarantineCommand::List { service, filter, open, before, json } => {
            let mut query = filter.query();
            query.extend(open.then(|| ("open", "true".to_string())));
            query.extend(before.map(|before| ("before", before.to_string())));
            let page = Api::new(config, service)?.get("/api/v1/quarantine", &query)?;
            if json {
                println!("{page}")
            } else {
                show_page(&page)
            }
            Ok(true)
        }
        QuarantineCommand::Replay { service, position: Some(position), .. } => {
            let entry = Api::new(config, service)?.post(&format!("/api/v1/quarantine/{position}/replay"), &[])?;
            show_entry(&entry);
            Ok(entry["outcome"] != "refused")
        }
        QuarantineCommand::Replay { service, filter, position: None } => replay_all(&Api::new(config, service)?, filter.query()),
    }
}

/// Batch after batch, to the end.
fn replay_all(api: &Api, filter: Vec<(&'static str, String)>) -> Result<bool> {
    let (mut after, mut accepted, mut duplicate, mut refused) = (0, 0u64, 0u64, 0u64);
    loop {
        let mut query = filter.clone();
        query.push(("after", after.to_string()));
        let batch = api.post("/api/v1/quarantine/replay", &query)?;
        for result in list(&batch["results"]) {
            match result["status"].as_str() {
                Some("accepted") => accepted += 1,
                Some("duplicate") => duplicate += 1,
                _ => {
                    refused += 1;
                    show_entry(result);
                }
            }
        }
        let Some(next) = batch["next"].as_i64() else { break };
        after = next;
    }
    println!("accepted {accepted}, duplicate {duplicate}, still refused {refused}");
    Ok(refused == 0)
}

fn show_page(page: &Value) {
    list(&page["items"]).iter().for_each(show_entry);
    if let Some(next) = page["next"].as_i64() {
        println!("older entries: --before {next}");
    } else if list(&page["items"]).is_empty() {
        println!("nothing");
    }
}

fn show_entry(entry: &Value) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    let named: String = ["id", "boot", "seq"]
        .iter()
        .filter(|name| !entry[**name].is_null())
        .map(|name| format!("  {name} {}", text(&entry[*name])))
        .collect();
    let state = entry["outcome"].as_str().or(entry["status"].as_str()).unwrap_or("not replayed");
    let sender = &entry["sender"];
    println!("{}  {}  {} {}{named}  {state}", entry["position"], text(&entry["received_at"]), text(&sender["kind"]), text(&sender["id"]));
    let faults = list(&entry["faults"]);
    for fault in faults.iter().take(FAULTS_SHOWN) {
        println!("    {} {}: {}", text(&fault["code"]), text(&fault["path"]), text(&fault["detail"]));
    }
    if faults.len() > FAULTS_SHOWN {
        println!("    and {} more faults", faults.len() - FAULTS_SHOWN);
    }
    if let Some(advice) = entry["advice"].as_str() {
        println!("    what to do: {advice}");
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

impl FilterArgs {
    fn query(self) -> Vec<(&'static str, String)> {
        let all = [("kind", self.kind), ("sender", self.sender), ("code", self.code)];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

struct Api {
    url: String,
    authorisation: String,
    agent: ureq::Agent,
}

impl Api {
    fn new(config: &Config, args: ServiceArgs) -> Result<Api> {
        let key = args.key.or_else(|| std::env::var("SHANGYUN_KEY").ok());
        let key = key.ok_or_else(|| anyhow!("no key: set SHANGYUN_KEY, or give --key (shangyun key create --role admin --name …)"))?;
        let url = args.url.unwrap_or_else(|| format!("http://{}", config.listen("http.listen")));
        let agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).proxy(None).build();
        Ok(Api {
            url: url.trim_end_matches('/').to_string(),
            authorisation: format!("Bearer {key}"),
            agent: ureq::Agent::new_with_config(agent),
        })
    }

    fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value> {
        let request = self.agent.get(format!("{}{path}", self.url)).header("Authorization", &self.authorisation);
        let query = query.iter().map(|(name, value)| (*name, value.as_str()));
        self.answer(request.query_pairs(query).call())
    }

    fn post(&self, path: &str, query: &[(&str, String)]) -> Result<Value> {
        let request = self.agent.post(format!("{}{path}", self.url)).header("Authorization", &self.authorisation);
        let query = query.iter().map(|(name, value)| (*name, value.as_str()));
        self.answer(request.query_pairs(query).send_empty())
    }

    fn answer(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value> {
        let mut answer = answer.with_context(|| format!("{}: the service cannot be reached; is it running?", self.url))?;
        let body: Value = serde_json::from_str(&answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?)
            .with_context(|| format!("{}: this is not the service's API", self.url))?;
        match answer.status().as_u16() {
            200 => Ok(body),
            status => bail!("{}: {status}: {}", self.url, body["detail"].as_str().unwrap_or("no detail")),
        }
    }
}

/// A page has at most 8 MiB of bodies, and escaping may make them six times as long.
const ANSWER_BYTES_MAX: u64 = 128 << 20;
