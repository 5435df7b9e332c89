//! The page's files, embedded. In: a path. Out: the file, with caching that survives a release.
//!
//! The page names its files under `/assets/BUILD/`, where BUILD is a digest of them all: with this build's name they may
//! be kept for ever. During a rollout a page of one version can meet a replica of the other: that one serves what it has,
//! uncached, instead of a 404 that leaves the page blank.

use crate::version::{ASSETS, VERSION};
use axum::{
    extract::Path,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use std::sync::LazyLock;

const PAGE: &str = include_str!("../../ui/index.html");

macro_rules! files {
    ($($name:literal: $kind:literal),* $(,)?) => {
        [$(($name, $kind, include_str!(concat!("../../ui/", $name)))),*]
    };
}

const FILES: [(&str, &str, &str); 9] = files! {
    "app.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "main.js": "text/javascript; charset=utf-8",
    "dom.js": "text/javascript; charset=utf-8",
    "server.js": "text/javascript; charset=utf-8",
    "refresh.js": "text/javascript; charset=utf-8",
    "account.js": "text/javascript; charset=utf-8",
    "boards.js": "text/javascript; charset=utf-8",
    "board.js": "text/javascript; charset=utf-8",
};

static RENDERED: LazyLock<String> =
    LazyLock::new(|| PAGE.replace("{build}", ASSETS).replace("{version}", VERSION));
static ETAG: LazyLock<HeaderValue> = LazyLock::new(|| {
    HeaderValue::from_str(&format!("\"{ASSETS}\"")).unwrap_or(HeaderValue::from_static("\"\""))
});

/// The page itself, at every address that isn't a file: it finds its view in the address.
pub async fn page(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    // An address with a dot in its last part wants a file; giving it the page would hide a mistake.
    if uri
        .path()
        .rsplit('/')
        .next()
        .is_some_and(|last| last.contains('.'))
        || uri.path().starts_with("/api")
    {
        return StatusCode::NOT_FOUND.into_response();
    }
    answer(&headers, "text/html; charset=utf-8", &RENDERED, "no-cache")
}

pub async fn file(Path((build, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    match FILES.iter().find(|(file, ..)| *file == name) {
        Some((_, kind, text)) if build == ASSETS => {
            answer(&headers, kind, text, "public, max-age=31536000, immutable")
        }
        Some((_, kind, text)) => answer(&headers, kind, text, "no-store"),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn answer(asked: &HeaderMap, kind: &'static str, text: &'static str, caching: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
        (header::ETAG, ETAG.clone()),
    ];
    if asked.get(header::IF_NONE_MATCH) == Some(&*ETAG) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, text).into_response()
}
