//! `GET /.well-known/freehold/tls`, the same in both tiers: the certificate and the roots that new connections begin with.
//!
//! Of what is loaded, not of what is on the disk: by it the operator knows that a new root was taken up everywhere before
//! it lets go of the old one. It tells digests of certificates, which every peer sees anyway.

use super::Current;
use crate::problem::Problem;
use axum::{
    Json, Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};

pub fn routes<S: Clone + Send + Sync + 'static>(tls: Option<Current>) -> Router<S> {
    Router::new().route("/.well-known/freehold/tls", get(async move || told(tls.as_ref())))
}

fn told(tls: Option<&Current>) -> Result<Response, Problem> {
    let loaded = tls.ok_or(Problem::NotFound("certificate: TLS is off"))?.get();
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(&loaded.told)).into_response())
}
