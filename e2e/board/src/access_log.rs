//! In: each request and its response. Out: one JSON line on stdout, and `X-Request-Id` on the request and the response.
//!
//! Invariant: no query, header, cookie or body is ever written; the path is, so no token may be in a path.

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use http_body::Body as _;
use jiff::Timestamp;
use serde::Serialize;
use std::{
    io::Write,
    sync::{Arc, OnceLock},
    time::Instant,
};

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST_PATH: usize = 300;

#[derive(Debug, Serialize)]
struct Line<'a> {
    time: Timestamp,
    method: &'a str,
    path: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    duration_ms: f64,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<i64>,
}

/// Filled in by whoever finds out who asks.
#[derive(Debug, Clone, Default)]
pub struct Asker(Arc<OnceLock<i64>>);

impl Asker {
    pub fn is(&self, user: i64) {
        let _ = self.0.set(user);
    }
}

pub async fn record(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path: String = request.uri().path().chars().take(LONGEST_PATH).collect();
    let id = request_id(request.headers().get(REQUEST_ID));
    let asker = Asker::default();
    request.extensions_mut().insert(asker.clone());
    request.headers_mut().insert(REQUEST_ID, id.clone());

    let mut response = next.run(request).await;

    response.headers_mut().insert(REQUEST_ID, id.clone());
    write(&Line {
        time: Timestamp::now(),
        method: method.as_str(),
        path: &path,
        status: response.status().as_u16(),
        bytes: response.body().size_hint().exact(),
        duration_ms: (started.elapsed().as_secs_f64() * 1e5).round() / 100.0,
        request_id: id.to_str().unwrap_or_default(),
        user: asker.0.get().copied(),
    });
    response
}

/// The one that came in, when it can be nothing but an id; else a new one.
fn request_id(given: Option<&HeaderValue>) -> HeaderValue {
    let fits = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        (8..=64).contains(&bytes.len())
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    match given.filter(fits) {
        Some(id) => id.clone(),
        None => {
            HeaderValue::from_str(&crate::random::hex::<16>()).unwrap_or(HeaderValue::from_static("none"))
        }
    }
}

fn write(line: &Line<'_>) {
    if let Ok(mut text) = serde_json::to_vec(line) {
        text.push(b'\n');
        let _ = std::io::stdout().lock().write_all(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_passed_on_only_when_it_looks_like_one() {
        let given = HeaderValue::from_static("0123abcd-ef");
        assert_eq!(request_id(Some(&given)), given);
        let cookie = HeaderValue::from_static("session=secret; x");
        assert_ne!(request_id(Some(&cookie)), cookie);
        assert_eq!(request_id(None).len(), 32);
    }
}
