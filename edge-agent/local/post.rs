//! `POST /usage`. 200 means on disk; 503 means not taken, send it again. What is being written can no longer be given back: then the answer
//! waits for the disk, as long as the one who asked does.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::time::timeout;
use wire::limits::ENTRIES_MAX;

use crate::local::{Local, POST_BYTES_MAX};
use crate::usage::{Batch, Pseudonyms, read_posted};

/// A body that takes longer is given up.
const READ_WAIT: Duration = Duration::from_secs(10);
/// The spool is synced at most once a second; a disk in trouble takes longer.
const SPOOL_WAIT: Duration = Duration::from_secs(10);
const COME_BACK_S: &str = "10";

pub(super) async fn usage(State(local): State<Arc<Local>>, headers: HeaderMap, body: Body) -> Response {
    let json_said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|value| value.split(';').next());
    if !json_said.is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json")) {
        return no(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type 须为 application/json", "the content type must be application/json");
    }
    let Some(pseudonyms) = &local.usage.pseudonyms else {
        return later(
            "尚未配置 usage.pseudonym_key_file，不能接收使用记录",
            "usage.pseudonym_key_file is not configured, so no usage can be taken",
        );
    };
    let Ok(_waiting) = local.waiting.try_acquire() else {
        return later("同时提交的请求过多，请稍后重发", "too many posts at once; send it again later");
    };
    let posted = match posted(&local, body).await {
        Ok(posted) => posted,
        Err(refused) => return refused,
    };
    take(&local, pseudonyms, posted).await
}

async fn posted(local: &Local, body: Body) -> Result<Value, Response> {
    let Ok(_reading) = local.reading.acquire().await else { return Err(ending()) };
    let bytes = match timeout(READ_WAIT, to_bytes(body, POST_BYTES_MAX)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => return Err(no(StatusCode::PAYLOAD_TOO_LARGE, "请求超过 1 MiB 或已中断", "the body is over 1 MiB, or broke off")),
        Err(_) => return Err(no(StatusCode::REQUEST_TIMEOUT, "请求体没有及时到达", "the body did not come in time")),
    };
    let posted = serde_json::from_slice(&bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let (zh, en) = (format!("第 {line} 行第 {column} 列不是 JSON"), format!("not JSON at line {line}, column {column}"));
        no(StatusCode::BAD_REQUEST, &zh, &en)
    })?;
    match &posted {
        Value::Array(items) if items.len() > ENTRIES_MAX => {
            Err(no(StatusCode::PAYLOAD_TOO_LARGE, "一次至多 1000 条", "at most 1000 entries at once"))
        }
        _ => Ok(posted),
    }
}

async fn take(local: &Local, pseudonyms: &Pseudonyms, posted: Value) -> Response {
    let entries = match read_posted(posted, local.usage.product.as_deref(), pseudonyms, local.sources.clock.now()) {
        Ok(entries) => entries,
        Err(faults) => return answer(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "v": 1, "taken": 0, "faults": faults })),
    };
    let taken = entries.len();
    if taken == 0 {
        return answer(StatusCode::OK, &json!({ "v": 1, "taken": 0 }));
    }
    let (batch, mut pending) = Batch::new(entries, None);
    let spooled = async { local.batches.send(batch).await.is_ok() && pending.spooled().await };
    let spooled = match timeout(SPOOL_WAIT, spooled).await {
        Ok(spooled) => spooled,
        Err(_) if pending.take_back() => {
            return later(
                "磁盘暂不可写，记录未被接收，请稍后重发；详见状态页",
                "the disk does not take it now; nothing was taken, send it again later; the status page says more",
            );
        }
        Err(_) => pending.spooled().await,
    };
    if !spooled {
        return ending();
    }
    local.sources.usage.add_posted(taken);
    answer(StatusCode::OK, &json!({ "v": 1, "taken": taken }))
}

fn ending() -> Response {
    later("采集程序正在停止，记录未被接收，请稍后重发", "the agent is stopping; nothing was taken, send it again later")
}

fn later(zh: &str, en: &str) -> Response {
    ([(RETRY_AFTER, COME_BACK_S)], no(StatusCode::SERVICE_UNAVAILABLE, zh, en)).into_response()
}

fn no(status: StatusCode, zh: &str, en: &str) -> Response {
    answer(status, &json!({ "v": 1, "taken": 0, "zh": zh, "en": en }))
}

fn answer(status: StatusCode, said: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], format!("{said}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::shared::SharedSpool;
    use crate::spool::Spool;
    use crate::status::Sources;
    use crate::usage::{UsageConfig, UsageCounts};

    fn local(dir: &std::path::Path) -> (Local, mpsc::Receiver<Batch>) {
        let (sender, batches) = mpsc::channel(4);
        let sources = Sources {
            gateway: "gw-1".into(),
            boot: "b7".into(),
            started_at: chrono::DateTime::UNIX_EPOCH,
            clock: Arc::new(SystemClock::default()),
            spool: SharedSpool::new(Spool::open(dir, 1 << 20).unwrap()),
            uplink: Default::default(),
            writing: Default::default(),
            devices: Default::default(),
            usage: UsageCounts::default(),
            usage_configured: true,
            logs: Vec::new(),
            places_unreadable: None,
        };
        (Local::new(UsageConfig::default(), sender, sources), batches)
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_disk_does_not_take_is_given_back_and_what_is_being_written_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (local, mut batches) = local(dir.path());
        let pseudonyms = Pseudonyms::new([7; 32]);
        let posted = || json!({ "product": "P", "function_module": "m", "user": "u" });

        assert_eq!(take(&local, &pseudonyms, posted()).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!batches.recv().await.unwrap().claim(), "it was given back");

        let answer = take(&local, &pseudonyms, posted());
        tokio::pin!(answer);
        let batch = tokio::select! {
            answer = &mut answer => panic!("{answer:?}"),
            batch = batches.recv() => batch.unwrap(),
        };
        assert!(batch.claim());
        assert!(timeout(SPOOL_WAIT * 100, &mut answer).await.is_err(), "it is not yet on disk");
        batch.say_spooled();
        assert_eq!((answer.await.status(), local.sources.usage.posted()), (StatusCode::OK, 1));
    }
}
