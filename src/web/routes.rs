//! The one table of routes.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::decompression::RequestDecompressionLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::problem::Problem;
use crate::state::WebState;
use crate::{api, pages};

/// No script, style, image or form but our own.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

pub fn router(state: WebState) -> Router {
    let api = Router::new()
        .route("/api/v1/reports", post(api::push::reports))
        .route("/api/v1/carrier-records", post(api::push::carrier_records))
        .route("/api/v1/register", post(api::register::import))
        .route("/api/v1/register/{list}", get(api::register::list))
        .route("/api/v1/enrol", post(api::enrol::enrol))
        .route("/api/v1/enterprises/{id}/pseudonym-key", get(api::enrol::pseudonym_key))
        .route("/api/v1/audit", get(api::audit::list))
        .route("/api/v1/vouchers", get(api::vouchers::list))
        .route("/api/v1/vouchers/{id}", get(api::vouchers::one))
        .route("/api/v1/vouchers/{id}/judge", post(api::vouchers::judge))
        .route("/api/v1/vouchers/{id}/result", get(api::results::newest))
        .route("/api/v1/vouchers/{id}/result.jws", get(api::results::jws))
        .route("/api/v1/vouchers/{id}/pack", get(api::pack::pack))
        .route("/api/v1/vouchers/{id}/results", get(api::results::of_voucher))
        .route("/api/v1/vouchers/{id}/outlook", get(api::outlooks::one))
        .route("/api/v1/outlooks", get(api::outlooks::list))
        .route("/api/v1/vouchers/{id}/results/{sequence}", get(api::results::numbered))
        .route("/api/v1/vouchers/{id}/results/{sequence}/diff", get(api::results::diff))
        .route("/api/v1/connected-devices", get(api::connected::list))
        .route("/api/v1/results", get(api::results::feed))
        .route("/api/v1/queue", get(api::lists::queue))
        .route("/api/v1/publicity", get(api::lists::publicity))
        .route("/api/v1/pilots", get(api::lists::pilots))
        .route("/api/v1/counters", get(api::lists::counters))
        .route("/api/v1/keys", get(api::proof::keys))
        .route("/api/v1/log/head", get(api::proof::head))
        .route("/api/v1/quality", get(api::inspect::quality_of_all))
        .route("/api/v1/suppliers/{id}/quality", get(api::inspect::quality_of_one))
        .route("/api/v1/suppliers/{id}/credit", get(api::inspect::credit))
        .route("/api/v1/spot-checks", get(api::inspect::spot_checks))
        .route("/api/v1/spot-checks/{voucher}/outcomes", get(api::inspect::outcomes))
        .route("/api/v1/spot-checks/{voucher}/outcome", post(api::inspect::record_outcome))
        .route("/api/v1/quarantine", get(api::quarantine::list))
        .route("/api/v1/quarantine/replay", post(api::quarantine::replay_many))
        .route("/api/v1/quarantine/{position}", get(api::quarantine::one))
        .route("/api/v1/quarantine/{position}/replay", post(api::quarantine::replay))
        .route("/api/v1/gateways", get(api::gateways::list))
        .route("/api/v1/gateways/{id}", get(api::gateways::one))
        // Sizes are bounded after decompression, where each handler reads its body.
        .layer(DefaultBodyLimit::disable())
        .layer(RequestDecompressionLayer::new());
    let shown = Router::new()
        .route("/", get(pages::start))
        .route("/vouchers", get(pages::list::page))
        .route("/vouchers/{id}", get(pages::voucher::page))
        .route("/outlooks", get(pages::outlooks::page))
        .route("/vouchers/{id}/results/{sequence}", get(pages::voucher::older))
        .route("/vouchers/{id}/results/{sequence}/result.jws", get(pages::voucher::jws))
        .route("/vouchers/{id}/judge", post(pages::voucher::judge))
        .route("/quality", get(pages::inspect::quality))
        .route("/suppliers/{id}/credit", get(pages::inspect::credit))
        .route("/spot-checks", get(pages::inspect::spot_checks))
        .route("/spot-checks/{voucher}", get(pages::outcomes::page).post(pages::outcomes::record))
        .layer(from_fn_with_state(state.clone(), pages::only_on_loopback))
        .route("/static/{file}", get(pages::static_file));
    Router::new()
        .merge(api)
        .merge(shown)
        .fallback(nothing_here)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(state.clone(), count))
        .layer(SetResponseHeaderLayer::if_not_present(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)))
        .layer(SetResponseHeaderLayer::overriding(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .layer(SetResponseHeaderLayer::overriding(header::REFERRER_POLICY, HeaderValue::from_static("same-origin")))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .with_state(state)
}

async fn nothing_here(request: Request) -> Response {
    if request.uri().path().starts_with("/api/") {
        return Problem::not_found(format!("there is no {}", request.uri().path())).into_response();
    }
    pages::not_found("没有这个页面。").into_response()
}

async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the path exists, but not with this method")
}

async fn count(State(state): State<WebState>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE && !response.headers().contains_key(header::CONTENT_TYPE) {
        let detail = "Content-Encoding is not taken: send gzip, zstd or none";
        response = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).into_response();
    }
    state.metrics.requests.with_label_values(&[response.status().as_str()]).inc();
    response
}
