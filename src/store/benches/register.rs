//! What a change of a large register costs, and what it keeps others waiting: `cargo bench -p shangyun-store --bench register`.
//! One run says all: the figures depend on each other.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::DateTime;
use serde_json::{Value, json};
use store::{Act, Actor, AuditDraft, RegisterState, Store};
use tokio::runtime::Runtime;

const DEVICES: usize = 30;

fn main() {
    let vouchers = std::env::var("VOUCHERS").map_or(10_000, |vouchers| vouchers.parse().unwrap());
    let threads = Runtime::new().unwrap();
    threads.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let state = RegisterState::load(store.clone()).await.unwrap();
        import(&store, "all of it", register(vouchers)).await;
        refresh(&state, "after all of it").await;
        import(&store, "the same again", register(vouchers)).await;
        let one = json!({"v": 1, "rulebook": "gd-2019", "suppliers": [{"id": "S-1", "name": "改名", "city": "440100"}]});
        import(&store, "one row", one).await;
        refresh(&state, "after one row").await;
        let retired = json!({"v": 1, "rulebook": "gd-2019", "vouchers": [{"id": "V-00000", "removed": true}],
            "devices": (0..DEVICES).map(|device| json!({"voucher": "V-00000", "device": device_name(0, device), "removed": true})).collect::<Vec<_>>()});
        import(&store, "a voucher with its devices retired", retired).await;
        refresh(&state, "after that").await;
        store.close().await;
    });
}

fn device_name(voucher: usize, device: usize) -> String {
    format!("SN-{voucher:05}-{device:02}")
}

fn enterprise(number: usize) -> String {
    // 97 is coprime to 31, so that some character fits every number.
    let front = format!("9144010100{:07}", number);
    "0123456789ABCDEFGHJKLMNPQRTUWXY"
        .chars()
        .map(|last| format!("{front}{last}"))
        .find(|code| wire::credit_code::check(code).is_ok())
        .unwrap()
}

fn register(vouchers: usize) -> Value {
    let (mut enterprises, mut rows, mut devices) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..vouchers {
        let (enterprise, voucher) = (enterprise(number), format!("V-{number:05}"));
        enterprises.push(json!({"id": enterprise, "name": format!("第{number}机械厂"), "city": "440100", "kind": "manufacturer"}));
        rows.push(json!({
            "id": voucher, "enterprise": enterprise, "product": "P-5", "contract_no": format!("HT-{number}"), "contract_signed_on": "2019-06-01",
            "contract_total": "60000.00", "contract_amount": "56250.00", "contract_modules": ["采集", "监测"],
            "applied_at": "2019-07-01T09:00:00+08:00",
        }));
        devices.extend((0..DEVICES).map(|device| json!({"voucher": voucher, "device": device_name(number, device), "province": "44"})));
    }
    json!({"v": 1, "rulebook": "gd-2019",
        "suppliers": [{"id": "S-1", "name": "供应商", "city": "440100"}],
        "products": [{"id": "P-5", "supplier": "S-1", "name": "设备物联", "class": "A", "row": 5, "function_modules": ["采集", "监测"]}],
        "enterprises": enterprises, "vouchers": rows, "devices": devices})
}

async fn import(store: &Store, what: &str, file: Value) {
    let files = [file.into()];
    let actor = Actor::new("bench", DateTime::UNIX_EPOCH);
    let others = Others::begin(store);
    let began = Instant::now();
    // In a task of its own, as a request would be.
    let (store, task_actor) = (store.clone(), actor.clone());
    let import = tokio::spawn(async move { store.import_register(&files, &|_| true, &task_actor).await.unwrap() });
    let imported = import.await.unwrap();
    let took = began.elapsed();
    println!("import of {what}: {took:?}, {} rows changed; {}", imported.changed, others.end().await);
}

async fn refresh(state: &RegisterState, when: &str) {
    let state = state.clone();
    let began = Instant::now();
    tokio::spawn(async move { state.refresh().await.unwrap() }).await.unwrap();
    println!("the register in memory {when}: {:?}", began.elapsed());
}

/// Another writer and another reader, who note the longest that they had to wait.
struct Others {
    stop: Arc<AtomicBool>,
    writer: tokio::task::JoinHandle<Duration>,
    sleeper: tokio::task::JoinHandle<Duration>,
}

impl Others {
    fn begin(store: &Store) -> Others {
        let stop = Arc::new(AtomicBool::new(false));
        let (store, stopped) = (store.clone(), stop.clone());
        let writer = tokio::spawn(async move {
            let actor = Actor::new("other", DateTime::UNIX_EPOCH);
            let mut longest = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                store.record_act(&actor, AuditDraft::of(Act::JudgingAsked, "vouchers/V-1", Value::Null)).await.unwrap();
                longest = longest.max(began.elapsed());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            longest
        });
        let stopped = stop.clone();
        let sleeper = tokio::spawn(async move {
            let mut longest = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                tokio::time::sleep(Duration::from_millis(5)).await;
                longest = longest.max(began.elapsed());
            }
            longest
        });
        Others { stop, writer, sleeper }
    }

    async fn end(self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        format!("another writer waited {:?}, a timer of 5 ms took {:?}", self.writer.await.unwrap(), self.sleeper.await.unwrap())
    }
}
