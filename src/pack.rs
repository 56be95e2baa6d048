//! Commands that make and verify proofs: `pack` and `verify`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use observe::Clock;
use proof::{BYTES_MAX, make_pack, verify_file};
use store::{PublicKeys, ServiceKeys, Store};

use crate::config::Config;

/// Writes the evidence pack of a result. The service may be running. Gives whether the result can be proved at all.
pub async fn make(config: &Config, voucher: &str, sequence: Option<i64>, out: Option<PathBuf>) -> Result<bool> {
    let store = Store::open(&config.path("data.dir")).await?;
    let result = match sequence {
        Some(sequence) => store.result(voucher, sequence).await?,
        None => store.newest_result(voucher).await?,
    };
    let result = result.ok_or_else(|| anyhow!("voucher {voucher:?} has no such result"))?;
    let made = make_pack(&store, &result, Clock::system().now()).await;
    store.close().await;
    let pack = match made {
        Err(error) if error.lasts() => {
            eprintln!("shangyun: {error}");
            return Ok(false);
        }
        made => made?,
    };
    let out = out.unwrap_or_else(|| PathBuf::from(file_name(voucher, result.sequence)));
    std::fs::write(&out, &pack).with_context(|| format!("{}", out.display()))?;
    println!("{}  {} bytes", out.display(), pack.len());
    Ok(true)
}

/// Of a voucher's id only what any file system takes.
fn file_name(voucher: &str, sequence: i64) -> String {
    let plain: String = voucher.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    format!("{plain}-{sequence}.pack.tar")
}

/// Verifies a signed result or a pack; `config` is asked for only where no keys are given. Gives whether all is well.
pub fn verify(file: &Path, keys: Option<&Path>, config: impl FnOnce() -> Result<Config>) -> Result<bool> {
    let keys = match keys {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
            PublicKeys::read(&text).map_err(|what| anyhow!("{}: {what}", path.display()))?
        }
        None => {
            let dir = config()?.path("data.dir");
            if !ServiceKeys::exist(&dir) {
                bail!("there are no keys in {}: give those of the service with --keys JWKS", dir.display());
            }
            ServiceKeys::open(&dir)?.public()
        }
    };
    let bytes = std::fs::metadata(file).with_context(|| format!("{}", file.display()))?.len();
    if bytes > BYTES_MAX {
        bail!("{}: it has {bytes} bytes; packs have no more than {BYTES_MAX}", file.display());
    }
    let content = std::fs::read(file).with_context(|| format!("{}", file.display()))?;
    let account = verify_file(&content, &keys);
    account.lines.iter().for_each(|line| println!("{line}"));
    Ok(account.good)
}
