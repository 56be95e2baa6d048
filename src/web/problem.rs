//! Errors as RFC 9457 problem details.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use monitor::JudgeError;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use store::StoreError;

#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    /// Further members of the problem, such as `faults`.
    members: Vec<(&'static str, Value)>,
    retry_after_s: Option<u32>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem { status, detail: detail.into(), members: Vec::new(), retry_after_s: None }
    }

    pub fn unauthorised(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, detail)
    }

    pub fn forbidden(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    pub fn conflict(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, detail)
    }

    pub fn unavailable(detail: impl Into<String>) -> Problem {
        Problem { retry_after_s: Some(5), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    pub fn too_many(retry_after_s: u32, detail: impl Into<String>) -> Problem {
        Problem { retry_after_s: Some(retry_after_s), ..Problem::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn member(mut self, name: &'static str, value: Value) -> Problem {
        self.members.push((name, value));
        self
    }
}

/// The query, or a problem that says what is wrong with it.
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>, Problem> {
        let read = axum::extract::Query::from_request_parts(parts, state).await;
        read.map(|axum::extract::Query(query)| Query(query)).map_err(|rejection| Problem::bad_request(rejection.body_text()))
    }
}

/// A part of the path, or a problem that says what is wrong with it.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Problem> {
        let read = axum::extract::Path::from_request_parts(parts, state).await;
        read.map(|axum::extract::Path(part)| Path(part)).map_err(|rejection| Problem::bad_request(rejection.body_text()))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        match error {
            StoreError::Full => Problem::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string()),
            StoreError::Unsealed { .. } => {
                tracing::error!(%error, "a result cannot be proved");
                Problem::conflict(error.to_string())
            }
            error => {
                tracing::error!(%error, "a request could not be answered");
                Problem::unavailable("the store cannot be read or written now")
            }
        }
    }
}

impl From<JudgeError> for Problem {
    fn from(error: JudgeError) -> Problem {
        match error {
            JudgeError::UnknownVoucher(_) => Problem::not_found(error.to_string()),
            JudgeError::Flush(_)
            | JudgeError::CheckpointMoved
            | JudgeError::Overtaken
            | JudgeError::Stopped
            | JudgeError::Panicked
            | JudgeError::Variation(_) => Problem::unavailable(error.to_string()),
            JudgeError::Store(error) => error.into(),
        }
    }
}

impl From<ingest::ReplayError> for Problem {
    fn from(error: ingest::ReplayError) -> Problem {
        match error {
            ingest::ReplayError::Unavailable(error) => error.into(),
            ingest::ReplayError::Store(error) => error.into(),
        }
    }
}

impl From<ingest::Unavailable> for Problem {
    fn from(error: ingest::Unavailable) -> Problem {
        Problem::unavailable(error.to_string())
    }
}

impl From<ingest::Busy> for Problem {
    fn from(busy: ingest::Busy) -> Problem {
        match busy {
            ingest::Busy::Sender => Problem::too_many(1, "more of this sender is under way than its share: wait for the answers first"),
            ingest::Busy::Service => {
                Problem { retry_after_s: Some(1), ..Problem::unavailable("the service is busy: send the request again") }
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut body = json!({ "type": "about:blank", "title": title, "status": self.status.as_u16(), "detail": self.detail });
        for (name, value) in self.members {
            body[name] = value;
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
