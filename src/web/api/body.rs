//! Reading request bodies: bounded, and of a type that says JSON.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use serde_json::value::RawValue;
use sheets::{FileKind, XLSX_MEDIA_TYPE};
use wire::limits::{REQUEST_BYTES_MAX, REQUEST_REPORTS_MAX};

use crate::problem::Problem;

/// A register as a table may be this large; as JSON it is a request like any other.
const TABLE_BYTES_MAX: usize = 32 << 20;

/// A register file and what it is.
pub async fn read_register(headers: &HeaderMap, body: Body) -> Result<(FileKind, Bytes), Problem> {
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("").to_ascii_lowercase();
    let kind = match named.split(';').next().unwrap_or("").trim() {
        "text/csv" => FileKind::Csv,
        XLSX_MEDIA_TYPE => FileKind::Xlsx,
        "" => FileKind::Json,
        named if named.contains("json") => FileKind::Json,
        named => {
            let detail = format!("Content-Type {named:?} is not taken: send application/json, text/csv or {XLSX_MEDIA_TYPE}");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
    };
    let bytes_max = if kind == FileKind::Json { REQUEST_BYTES_MAX } else { TABLE_BYTES_MAX };
    Ok((kind, bounded(body, bytes_max).await?))
}

/// The whole body, decompressed, at most 8 MiB.
pub async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    if let Some(content_type) = headers.get(header::CONTENT_TYPE) {
        let named = content_type.to_str().unwrap_or("").to_ascii_lowercase();
        if !named.contains("json") {
            let detail = format!("Content-Type {named:?} is not taken: send application/json or application/x-ndjson");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
    }
    bounded(body, REQUEST_BYTES_MAX).await
}

async fn bounded(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    to_bytes(body, bytes_max).await.map_err(|error| {
        let text = error.to_string();
        if text.contains("length limit") {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a request has at most {} MiB after decompression", bytes_max >> 20))
        } else {
            Problem::bad_request(format!("the body cannot be read: {text}"))
        }
    })
}

/// The reports of a body, each byte for byte: one report, a JSON list of them, or one after the other (NDJSON).
pub fn reports(body: &Bytes) -> Result<Vec<Bytes>, Problem> {
    let list = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let raw: Vec<&RawValue> = if list {
        serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("the body is no JSON list: {error}")))?
    } else {
        serde_json::Deserializer::from_slice(body)
            .into_iter()
            .take(REQUEST_REPORTS_MAX + 1)
            .collect::<Result<_, _>>()
            .map_err(|error| Problem::bad_request(format!("the body is neither one report nor NDJSON: {error}")))?
    };
    match raw.len() {
        0 => Err(Problem::bad_request("the body holds no report")),
        count if count > REQUEST_REPORTS_MAX => {
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a request has at most {REQUEST_REPORTS_MAX} reports")))
        }
        _ => Ok(raw.into_iter().map(|report| body.slice_ref(report.get().as_bytes())).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(body: &'static str) -> Vec<String> {
        let reports = reports(&Bytes::from_static(body.as_bytes())).expect("readable");
        reports.iter().map(|report| String::from_utf8_lossy(report).to_string()).collect()
    }

    #[test]
    fn one_report_a_list_and_ndjson_are_split_byte_for_byte() {
        assert_eq!(parts("{\"a\": 1.0}"), ["{\"a\": 1.0}"]);
        assert_eq!(parts(" [ {\"a\":1} , {\"b\" :2} ] "), ["{\"a\":1}", "{\"b\" :2}"]);
        assert_eq!(parts("{\"a\":1}\n{\n\"b\":2}\r\n\n"), ["{\"a\":1}", "{\n\"b\":2}"]);
    }

    #[test]
    fn unreadable_empty_and_too_many_are_told() {
        for body in ["", "  \n", "[]", "{", "[{}", "{} x", "[{}] {}"] {
            assert!(reports(&Bytes::from_static(body.as_bytes())).is_err(), "{body}");
        }
        assert!(reports(&Bytes::from("{}".repeat(REQUEST_REPORTS_MAX))).is_ok());
        assert!(reports(&Bytes::from("{}".repeat(REQUEST_REPORTS_MAX + 1))).is_err());
    }
}
