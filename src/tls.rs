//! TLS of the MQTT door: its files from the configuration, and a fresh look at them while the service runs.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use chrono::{DateTime, Utc};
use ingest::{Tls, TlsFiles, keep_tls_fresh, show_tls};
use observe::{Clock, Metrics};
use tokio::sync::{Notify, watch};

use crate::config::Config;

/// The files, where TLS is configured.
fn files(config: &Config) -> Option<TlsFiles> {
    Some(TlsFiles {
        cert: config.path_if_any("mqtt.tls.cert")?,
        key: config.path_if_any("mqtt.tls.key")?,
        client_ca: config.path_if_any("mqtt.tls.client_ca"),
        crl: config.path_if_any("mqtt.tls.crl"),
    })
}

/// Reads the files, for `check-config`: all faults, or what is to be known besides.
pub fn check(config: &Config, now: DateTime<Utc>) -> Result<Vec<String>> {
    let Some(files) = files(config) else { return Ok(Vec::new()) };
    let tls = files.load(now).map_err(|faults| anyhow!(faults.join("\n")))?;
    let mut warnings = tls.warnings;
    if config.listen_if_any("mqtt.tls.listen").is_none() {
        warnings.push("mqtt.tls.cert is set, but mqtt.tls.listen is not: TLS is not spoken".into());
    }
    Ok(warnings)
}

/// TLS as it is spoken; it follows its files, at once when asked.
pub fn start(config: &Config, clock: &Clock, metrics: &Metrics, asked: Arc<Notify>) -> Result<Option<watch::Receiver<Arc<Tls>>>> {
    let (Some(files), Some(_)) = (files(config), config.listen_if_any("mqtt.tls.listen")) else { return Ok(None) };
    let tls = files.load(clock.now()).map_err(|faults| anyhow!(faults.join("\n")))?;
    tls.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    show_tls(&tls, metrics);
    let (spoken, speaking) = watch::channel(Arc::new(tls));
    let every = config.seconds("mqtt.tls.reload_every_s");
    tokio::spawn(keep_tls_fresh(files, spoken, every, asked, clock.clone(), metrics.clone()));
    Ok(Some(speaking))
}
