//! In: a request under `/api/`. Out: the api tier's response, streamed; 503 with `Retry-After` when there is none.
//!
//! A request is sent again only when that is safe: it never left (no connection), or it may run twice (GET, HEAD, or with
//! an `Idempotency-Key`). So a replica that goes away in a rollout is not seen by the user.

use super::Web;
use crate::{
    problem::Problem,
    upstream::{self, AddressError},
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts},
    response::Response,
};
use bytes::Bytes;
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Bodies up to this size are held, to be sent again; larger ones are streamed once.
const HELD: u64 = 64 * 1024;
const RETRY_FOR: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
/// The api gives up its own attempts after 8 s; longer silence means that it is gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);

/// RFC 9110 §7.6.1: these speak of one connection only.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

pub async fn forward(State(web): State<Web>, request: Request) -> Result<Response, Problem> {
    let api = web.settings.get().services.api.clone();
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = web.upstream.address(&api, path)?;
    // The Host stays: the api compares it with the Origin.
    strip(&mut parts.headers);
    let answered = tokio::time::timeout(ANSWER_WITHIN, send(&web, parts, body)).await;
    let silent = || Problem::Unavailable {
        reason: format!("the api: no answer within {} s", ANSWER_WITHIN.as_secs()),
    };
    let (mut parts, body) = answered.map_err(|_| silent())??.into_parts();
    strip(&mut parts.headers);
    Ok(Response::from_parts(parts, body))
}

async fn send(web: &Web, parts: Parts, body: Body) -> Result<Response, Problem> {
    let length: Option<u64> = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let bodiless = matches!(parts.method, Method::GET | Method::HEAD);
    if bodiless || length.is_some_and(|length| length <= HELD) {
        let body = body
            .collect()
            .await
            .map_err(|_| Problem::Invalid("the body was cut off".to_owned()))?
            .to_bytes();
        send_until_answered(web, &parts, &body).await
    } else {
        let request = Request::from_parts(parts, body);
        Ok(web
            .upstream
            .request(request)
            .await
            .map_err(|error| unavailable(&error))?
            .map(Body::new))
    }
}

async fn send_until_answered(web: &Web, parts: &Parts, body: &Bytes) -> Result<Response, Problem> {
    let repeatable =
        matches!(parts.method, Method::GET | Method::HEAD) || parts.headers.contains_key("idempotency-key");
    let deadline = Instant::now() + RETRY_FOR;
    loop {
        let request = Request::from_parts(parts.clone(), Body::from(body.clone()));
        match web.upstream.request(request).await {
            Ok(response) => return Ok(response.map(Body::new)),
            Err(error) if (error.is_connect() || repeatable) && Instant::now() + PAUSE < deadline => {
                tracing::info!(error = upstream::describe(&error), "trying the api again");
            }
            Err(error) => return Err(unavailable(&error)),
        }
        sleep(PAUSE).await;
    }
}

fn unavailable(error: &hyper_util::client::legacy::Error) -> Problem {
    Problem::Unavailable {
        reason: format!("the api: {}", upstream::describe(error)),
    }
}

/// The settings may be right in a moment; until then nothing is sent.
impl From<AddressError> for Problem {
    fn from(error: AddressError) -> Self {
        let reason = format!("services.api: {error}");
        match error {
            AddressError::Malformed { .. } => Self::Internal(reason),
            AddressError::Scheme { .. } => Self::Unavailable { reason },
        }
    }
}

fn strip(headers: &mut HeaderMap<HeaderValue>) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_one_connection_are_not_passed_on() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("x-mine, close"));
        headers.insert("x-mine", HeaderValue::from_static("1"));
        headers.insert("cookie", HeaderValue::from_static("a=b"));
        strip(&mut headers);
        assert_eq!(headers.len(), 1);
        assert!(headers.contains_key("cookie"));
    }
}
