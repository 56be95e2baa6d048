//! The service that is measured: one of our own, fresh in a directory of its own, or one that runs already.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, bail};
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use wire::PublicKey;

use super::LoadArgs;
use super::process::Process;
use super::scrape::Scrape;
use crate::service::{ChildService, post};

pub(super) const TOKEN: &str = "load-generator-token";
pub(super) const SUPPLIER: &str = "S-LOAD";
/// Rows of the register that are sent at once.
const ROWS_AT_ONCE: usize = 1_000;

pub(super) struct Site {
    pub(super) mqtt: SocketAddr,
    pub(super) http: String,
    key: String,
    pub(super) own: Option<OwnService>,
}

pub(super) struct OwnService {
    service: ChildService,
    settings: Vec<String>,
    /// Removed when this is dropped, after the service.
    dir: tempfile::TempDir,
}

impl Site {
    /// The running service that the arguments name, or one of our own.
    pub(super) fn open(args: &LoadArgs, settings: &[&str]) -> Result<Site> {
        match (args.mqtt, &args.http, &args.key) {
            (Some(mqtt), Some(http), Some(key)) => {
                Ok(Site { mqtt, http: http.trim_end_matches('/').to_string(), key: key.clone(), own: None })
            }
            _ => Site::start(settings),
        }
    }

    pub(super) fn start(settings: &[&str]) -> Result<Site> {
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let dir = tempfile::tempdir()?;
        let service = ChildService::start(&std::env::current_exe()?, dir.path(), &settings)?;
        let (mqtt, http) = (service.mqtt, service.http.clone());
        let own = OwnService { service, settings, dir };
        let key = own.create_key("admin", None)?;
        Ok(Site { mqtt, http, key, own: Some(own) })
    }

    pub(super) fn process(&self) -> Option<Process> {
        self.own.as_ref().map(|own| Process(own.service.id()))
    }

    /// `None` of a service that is not ours.
    pub(super) fn scrape(&self) -> Result<Option<Scrape>> {
        self.own.as_ref().map(|own| Scrape::of(&own.service.admin)).transpose()
    }

    /// Takes gateways in, each with an enterprise of its own, as the ones that send have.
    pub(super) fn register_gateways(&self, ids: &[String], signing: Option<&dyn Fn(usize) -> SigningKey>) -> Result<()> {
        for (chunk, ids) in ids.chunks(ROWS_AT_ONCE).enumerate() {
            let rows = (chunk * ROWS_AT_ONCE..).zip(ids);
            let gateway = |(number, id): (usize, &String)| {
                let mut row = json!({ "id": id, "enterprise": enterprise(number), "token": TOKEN });
                if let Some(signing) = signing {
                    row["public_key"] = json!(PublicKey::from(&signing(number)).to_string());
                }
                row
            };
            let enterprises: Vec<Value> = rows.clone().map(|(number, _)| enterprise_row(number)).collect();
            self.register(json!({ "enterprises": enterprises, "gateways": rows.map(gateway).collect::<Vec<_>>() }))?;
        }
        Ok(())
    }

    /// A supplier of so many enterprises, and its key.
    pub(super) fn register_supplier(&self, enterprises: usize) -> Result<String> {
        let own = self.own.as_ref().context("only a service of our own gives a supplier's key")?;
        let enterprises: Vec<Value> = (0..enterprises).map(enterprise_row).collect();
        let supplier = json!({ "id": SUPPLIER, "name": "负载测试供应商", "city": "440100" });
        self.register(json!({ "enterprises": enterprises, "suppliers": [supplier] }))?;
        own.create_key("supplier", Some(SUPPLIER))
    }

    fn register(&self, mut lists: Value) -> Result<()> {
        lists["v"] = json!(1);
        lists["rulebook"] = json!("gd-2019");
        post(&format!("{}/api/v1/register", self.http), &self.key, &lists).map(drop)
    }
}

impl OwnService {
    fn create_key(&self, role: &str, scope: Option<&str>) -> Result<String> {
        let made = Command::new(std::env::current_exe()?)
            .args(["key", "create", "--name", "load", "--role", role])
            .args(scope.iter().flat_map(|scope| ["--scope", scope]))
            .arg(format!("--set=data.dir={}", self.dir.path().display()))
            .output()?;
        if !made.status.success() {
            bail!("no key: {}", String::from_utf8_lossy(&made.stderr));
        }
        Ok(String::from_utf8(made.stdout)?.trim().to_string())
    }

    /// As `kill -9` does.
    pub(super) fn kill(&mut self) {
        self.service.kill();
    }

    /// Over the same directory.
    pub(super) fn start_again(&mut self) -> Result<()> {
        self.service = ChildService::start(&std::env::current_exe()?, self.dir.path(), &self.settings)?;
        Ok(())
    }

    pub(super) fn ready(&self) -> bool {
        ureq::get(format!("{}/readyz", self.service.admin)).call().is_ok()
    }
}

fn enterprise_row(number: usize) -> Value {
    json!({ "id": enterprise(number), "name": format!("负载测试{number}"), "city": "440100", "kind": "manufacturer" })
}

/// A credit code with a right check character.
pub(super) fn enterprise(number: usize) -> String {
    let first_17 = format!("91440000MA{number:07}");
    let check = wire::credit_code::check_character(first_17.as_bytes()).map_or('0', char::from);
    format!("{first_17}{check}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enterprises_have_sound_credit_codes() {
        assert!((0..100).all(|number| wire::credit_code::check(&enterprise(number)).is_ok()));
    }
}
