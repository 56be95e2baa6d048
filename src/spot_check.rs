//! `shangyun spot-check`: the list from stored data, whether or not the service runs. That it was drawn is written to the audit log.

use anyhow::{Result, bail};
use monitor::{JudgeError, SpotCheckAsked};
use policy::spot_check::{SpotCheckList, check_asked};
use store::Store;

use crate::config::Config;
use crate::offline::{TRIES, actor, offline_monitor, open_store};

pub async fn run(config: &Config, asked: &SpotCheckAsked, json: bool) -> Result<()> {
    if let Err(why) = check_asked(&asked.seed, asked.count) {
        bail!("--{why}");
    }
    let store = open_store(config).await?;
    let (_, register) = store.load_register().await?;
    if let Some(period) = asked.period.as_ref().filter(|period| !register.periods.contains_key(*period)) {
        bail!("--period {period}: the register has no such period");
    }
    let list = list(config, &store, asked).await?;
    store.record_draw(&list, &actor()).await?;
    store.close().await;
    if json {
        println!("{}", serde_json::to_string(&list)?);
        return Ok(());
    }
    println!("候选券 {} 张，名额 {}，其中随机 {}；候选券哈希 {}", list.candidates, list.count, list.random_places, list.candidates_hash);
    for place in &list.places {
        println!("{:>5}  {}  {} 元  {}", place.place, place.candidate.voucher, place.candidate.amount, place.why.join("；"));
    }
    Ok(())
}

async fn list(config: &Config, store: &Store, asked: &SpotCheckAsked) -> Result<SpotCheckList> {
    let mut tries = 0;
    loop {
        match offline_monitor(config, store, None).await?.spot_checks(asked).await {
            // The running service has written a checkpoint: look again from there.
            Err(JudgeError::CheckpointMoved) if tries < TRIES => tries += 1,
            list => return Ok(list?),
        }
    }
}
