//! What the machine room sees and gives on the gateway itself: HTTP on loopback, for nobody outside.

mod guard;
mod metrics;
mod page;
mod post;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::fault::FaultCode;
use crate::status::Sources;
use crate::table::Reader;
use crate::usage::{Batch, UsageConfig};

pub(crate) const LISTEN: &str = "127.0.0.1:8089";
/// An address that is taken is tried again after this time.
const BIND_AGAIN: Duration = Duration::from_secs(30);
const POST_BYTES_MAX: usize = 1024 * 1024;
/// Posts that wait for the spool; more are told to come back.
const POSTS_WAITING_MAX: usize = 16;
/// Posts that are being read take memory.
const POSTS_READ_MAX: usize = 2;

#[derive(Clone, Debug)]
pub struct LocalConfig {
    /// `None` turns the listener off.
    pub listen: Option<SocketAddr>,
}

pub(crate) fn read(mut reader: Reader<'_>) -> LocalConfig {
    let text = reader.text("listen").unwrap_or_else(|| LISTEN.to_string());
    let listen = text.parse::<SocketAddr>().ok();
    match listen {
        None if !text.is_empty() => reader.fault(
            "listen",
            FaultCode::AddressInvalid,
            format!("“{text}”应为 127.0.0.1:端口；留空则关闭"),
            format!("`{text}` must look like 127.0.0.1:PORT, or be empty to turn the page off"),
        ),
        Some(address) if !address.ip().is_loopback() => reader.fault(
            "listen",
            FaultCode::ListenNotLoopback,
            format!("“{text}”会对外开放；状态页没有登录，只能用本机地址 127.0.0.1 或 [::1]"),
            format!("`{text}` is open to others; the page has no login and listens on 127.0.0.1 or [::1] only"),
        ),
        _ => {}
    }
    reader.finish();
    LocalConfig { listen }
}

/// What the listener gives, and where it puts what it is given.
pub(crate) struct Local {
    usage: UsageConfig,
    batches: mpsc::Sender<Batch>,
    sources: Sources,
    waiting: Semaphore,
    reading: Semaphore,
}

impl Local {
    pub fn new(usage: UsageConfig, batches: mpsc::Sender<Batch>, sources: Sources) -> Local {
        let (waiting, reading) = (Semaphore::new(POSTS_WAITING_MAX), Semaphore::new(POSTS_READ_MAX));
        Local { usage, batches, sources, waiting, reading }
    }
}

/// Serves until it is dropped. Without its port the agent goes on, and says so.
pub(crate) async fn serve(listen: SocketAddr, local: Local) {
    let routes = Router::new()
        .route("/", get(page))
        .route("/page.css", get(async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], page::STYLE)))
        .route("/status.json", get(status))
        .route("/metrics", get(metrics))
        .route("/usage", post(post::usage))
        .layer(DefaultBodyLimit::max(POST_BYTES_MAX))
        .layer(from_fn(guard::guard))
        .with_state(Arc::new(local));
    let mut said = false;
    let listener = loop {
        match TcpListener::bind(listen).await {
            Ok(listener) => break listener,
            Err(error) => {
                if !said {
                    tracing::error!(%listen, %error, "no status page and no POST /usage: the address cannot be had; free it or change local.listen; the agent goes on without");
                }
                said = true;
                tokio::time::sleep(BIND_AGAIN).await;
            }
        }
    };
    tracing::info!(address = %listen, "the status page is here");
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "the status page ended");
    }
}

async fn page(State(local): State<Arc<Local>>) -> Html<String> {
    Html(page::page(&local.sources.status().await))
}

async fn status(State(local): State<Arc<Local>>) -> Response {
    written("application/json", serde_json::to_vec(&local.sources.status().await))
}

async fn metrics(State(local): State<Arc<Local>>) -> Response {
    written(metrics::CONTENT_TYPE, metrics::text(&local.sources.status().await))
}

fn written<E: std::fmt::Display>(content_type: &'static str, body: Result<Vec<u8>, E>) -> Response {
    match body {
        Ok(body) => ([(CONTENT_TYPE, content_type)], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
#[path = "local/config_tests.rs"]
mod tests;
