//! The pages, in Chinese, rendered here; everything works without JavaScript.

mod evidence_text;
pub mod inspect;
pub mod list;
pub mod outcomes;
pub mod outlooks;
pub mod voucher;

use askama::Template;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};

use store::Actor;

use crate::problem::Problem;
use crate::state::WebState;

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    title: &'static str,
    message: String,
}

pub async fn start() -> Redirect {
    Redirect::to("/vouchers")
}

pub fn not_found(message: &str) -> Response {
    message_page(StatusCode::NOT_FOUND, "没有找到", message)
}

fn message_page(status: StatusCode, title: &'static str, message: &str) -> Response {
    (status, rendered(&MessagePage { title, message: message.to_string() })).into_response()
}

/// A page that cannot be rendered is a mistake of ours, and is said.
fn rendered(template: &impl Template) -> Response {
    match template.render() {
        Ok(page) => Html(page).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "页面暂时无法显示").into_response()
        }
    }
}

/// What a page says when the service cannot answer.
pub struct PageError(Problem);

impl<E: Into<Problem>> From<E> for PageError {
    fn from(error: E) -> PageError {
        PageError(error.into())
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        match self.0.status() {
            StatusCode::NOT_FOUND => not_found("没有这张服务券。请检查编号，或返回列表查找。"),
            StatusCode::CONFLICT => message_page(
                StatusCode::CONFLICT,
                "无法证明",
                "这条结果的签名已不在库中，本系统不会为它另签。请联系系统管理员用 shangyun log verify 查明原因。",
            ),
            status => message_page(status, "暂时无法显示", "服务暂时无法读取数据，请稍后重试。"),
        }
    }
}

/// Until there is a login, pages are shown on loopback only, and only under a loopback name: a page elsewhere on the web cannot
/// reach them by naming this machine otherwise.
pub async fn only_on_loopback(State(state): State<WebState>, request: Request, next: Next) -> Response {
    if !state.loopback_only {
        let message = "登录功能启用之前，页面只在本机回环地址上提供。请把 http.listen 设为 127.0.0.1，或使用接口（API）。";
        return message_page(StatusCode::FORBIDDEN, "页面未开放", message);
    }
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    if !loopback_name(host) {
        return message_page(StatusCode::FORBIDDEN, "页面未开放", "请用 127.0.0.1 或 localhost 打开本页面。");
    }
    next.run(request).await
}

fn loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// In the audit log: until there is a login, pages are open to whoever sits at this machine.
const BY_PAGE: &str = "page:loopback";

fn actor(state: &WebState) -> Actor {
    Actor::new(BY_PAGE, state.clock.now())
}

/// Did a form of ours send this, and not a page elsewhere?
fn from_our_page(headers: &HeaderMap) -> bool {
    match headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
        Some(site) => site == b"same-origin" || site == b"none",
        None => headers.get(header::ORIGIN).is_none_or(|origin| {
            let origin = origin.to_str().unwrap_or("");
            origin.strip_prefix("http://").is_some_and(loopback_name)
        }),
    }
}

fn foreign() -> Response {
    message_page(StatusCode::FORBIDDEN, "已拒绝", "这个请求不是从本系统的页面发出的。")
}

pub async fn static_file(Path(file): Path<String>) -> Response {
    let (content_type, body) = match file.as_str() {
        "style.css" => ("text/css; charset=utf-8", include_str!("static/style.css")),
        "filter.js" => ("text/javascript; charset=utf-8", include_str!("static/filter.js")),
        _ => return not_found("没有这个文件。"),
    };
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "public, max-age=60")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_open_the_pages() {
        for host in ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "127.0.0.2"] {
            assert!(loopback_name(host), "{host}");
        }
        for host in ["evil.example:8080", "", "10.0.0.1", "127.0.0.1.evil.example", "[::2]:80"] {
            assert!(!loopback_name(host), "{host}");
        }
    }
}
