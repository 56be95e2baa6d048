//! `shangyun judge --sensitivity`: how much verdicts hang on each platform parameter.

use anyhow::Result;
use monitor::{JudgeError, Sensitivity};
use policy::calendar::show_instant;
use policy::sensitivity::{PERCENT, not_deciding};
use serde_json::{Value, json};

use crate::config::Config;
use crate::offline::{JudgeOptions, TRIES, chosen, offline_monitor, open_store, read_rulebook};

pub async fn run(config: &Config, options: &JudgeOptions) -> Result<()> {
    let rulebook = options.rulebook.as_deref().map(read_rulebook).transpose()?;
    let store = open_store(config).await?;
    let mut tries = 0;
    let (rows, vouchers, as_of) = loop {
        let monitor = offline_monitor(config, &store, rulebook.as_ref()).await?;
        let vouchers = chosen(&monitor, options)?;
        let as_of = options.as_of.unwrap_or_else(|| monitor.parts().clock.now());
        match monitor.sensitivity(&vouchers, Some(as_of)).await {
            // The running service has written a checkpoint: look again from there.
            Err(JudgeError::CheckpointMoved) if tries < TRIES => tries += 1,
            other => break (other?, vouchers.len(), as_of),
        }
    };
    store.close().await;
    if options.json {
        let rows: Vec<Value> = rows.iter().map(json_row).collect();
        let others = not_deciding();
        println!("{}", json!({"as_of": show_instant(as_of), "vouchers": vouchers, "parameters": rows, "not_deciding": others}));
        return Ok(());
    }
    println!("共 {vouchers} 张服务券，截至 {}；每个平台参数变动后结论改变的张数（试算，不保存）", show_instant(as_of));
    for row in rows.chunks(PERCENT.len()) {
        let Some(first) = row.first() else { continue };
        println!("{} {} = {}", first.rulebook, first.variation.parameter, first.variation.value);
        for Sensitivity { variation, flips, .. } in row {
            if variation.rulebook.is_none() {
                println!("    {:+}%：已到该参数的边界，不能再变", variation.percent);
                continue;
            }
            println!("    {:+}%（{}）：{} 张", variation.percent, variation.tried, flips.len());
            for flip in flips {
                println!("        {} {} → {}", flip.voucher, flip.from.text(), flip.to.text());
            }
        }
    }
    println!("以下平台参数不进入判定，不作试算：{}", not_deciding().join("、"));
    Ok(())
}

fn json_row(row: &Sensitivity) -> Value {
    let flips: Vec<Value> =
        row.flips.iter().map(|flip| json!({"voucher": flip.voucher, "from": flip.from.code(), "to": flip.to.code()})).collect();
    json!({
        "rulebook": row.rulebook, "parameter": row.variation.parameter, "value": row.variation.value, "percent": row.variation.percent,
        "tried": row.variation.tried, "changed": row.variation.rulebook.is_some(), "flipped": flips.len(), "flips": flips,
    })
}
