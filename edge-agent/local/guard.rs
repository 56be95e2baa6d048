//! Only programs and browsers of this machine, and of these only pages of our own: a page from elsewhere that makes a name point to
//! loopback is known by the name it asks for.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

pub(super) async fn guard(request: Request, next: Next) -> Response {
    let mut response = if ours(request.headers()) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "请用 127.0.0.1 或 localhost 访问\nask for 127.0.0.1 or localhost\n").into_response()
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Asked for by a loopback name, and by no page of another origin.
fn ours(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    let host = text(header::HOST).and_then(|host| host.parse::<Uri>().ok());
    let from = match text(header::ORIGIN) {
        None => true,
        Some(origin) => origin.parse::<Uri>().is_ok_and(|origin| origin.host().is_some_and(loopback)),
    };
    host.is_some_and(|host| host.host().is_some_and(loopback)) && from
}

fn loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(host: Option<&str>, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
            value.map(|value| headers.insert(name, HeaderValue::from_str(value).unwrap()));
        }
        ours(&headers)
    }

    #[test]
    fn only_loopback_names_are_served() {
        for host in ["127.0.0.1", "127.0.0.1:8089", "127.9.9.9:1", "localhost", "LocalHost:8089", "[::1]:8089", "[::1]"] {
            assert!(admitted(Some(host), None), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8089",
            "127.0.0.1.evil.example",
            "10.0.0.5:8089",
            "localhost.evil.example",
            "",
            "[::2]:8089",
            "0.0.0.0:8089",
        ] {
            assert!(!admitted(Some(host), None), "{host}");
        }
        assert!(!admitted(None, None));
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        assert!(admitted(Some("127.0.0.1"), Some("http://127.0.0.1:8089")));
        for origin in ["http://evil.example", "null", "https://localhost.evil.example", ""] {
            assert!(!admitted(Some("127.0.0.1"), Some(origin)), "{origin}");
        }
    }
}
