//! A service of our own as a child process, for measuring; and its API.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// `shangyun serve` on free ports in a directory of its own. Ends when it is dropped.
pub struct ChildService {
    child: Child,
    pub http: String,
    pub admin: String,
    pub mqtt: SocketAddr,
}

impl ChildService {
    /// `settings` as after `--set`.
    pub fn start(program: &Path, dir: &Path, settings: &[String]) -> Result<ChildService> {
        let set = |key: &str| format!("--set={key}=127.0.0.1:0");
        let mut child = Command::new(program)
            .arg("serve")
            .args([set("http.listen"), set("admin.listen"), set("mqtt.listen")])
            .arg("--set=monitor.every_s=0")
            .arg(format!("--set=data.dir={}", dir.display()))
            .args(settings.iter().map(|setting| format!("--set={setting}")))
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{}", program.display()))?;
        let lines = BufReader::new(child.stdout.take().context("the service has no output")?).lines();
        let mut addresses = Vec::new();
        for line in lines.take(3) {
            let line = line?;
            addresses.push(line.split_whitespace().last().unwrap_or("").to_string());
        }
        let [http, admin, mqtt] = &addresses[..] else {
            // It may have ended by itself.
            let _ = child.kill();
            bail!("the service did not start");
        };
        let mqtt = mqtt.trim_start_matches("mqtt://").parse().with_context(|| format!("{mqtt:?} is no address"))?;
        let (http, admin) = (http.trim_end_matches('/').to_string(), admin.trim_end_matches("/metrics").to_string());
        Ok(ChildService { child, http, admin, mqtt })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// As `kill -9` does; waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for ChildService {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends JSON to the API and gives the answer's JSON; anything but 2xx is an error with the answer's text.
pub fn post(url: &str, key: &str, body: &Value) -> Result<Value> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let agent = ureq::Agent::new_with_config(config);
    let mut answer = agent
        .post(url)
        .header("Authorization", &format!("Bearer {key}"))
        .header("Content-Type", "application/json")
        .send(body.to_string())
        .with_context(|| url.to_string())?;
    let text = answer.body_mut().read_to_string()?;
    if !answer.status().is_success() {
        bail!("{url}: {}: {text}", answer.status());
    }
    Ok(serde_json::from_str(&text)?)
}
