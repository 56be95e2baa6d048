//! The admin listener: metrics and health.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use observe::{Health, Metrics};

pub fn admin_router(metrics: Metrics, health: Health) -> Router {
    Router::new()
        .route("/metrics", get(show_metrics))
        .with_state(metrics)
        .merge(Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready)).with_state(health))
}

async fn show_metrics(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.text())
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    let failing = health.failing();
    if failing.is_empty() {
        return (StatusCode::OK, "ready\n".to_string());
    }
    let lines: String = failing.iter().map(|(part, why)| format!("{part}: {why}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines)
}
