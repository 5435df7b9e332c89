//! `/healthz` and `/version`, the same in both tiers.

use crate::version::{Tier, Version};
use axum::{Json, Router, http::header, response::IntoResponse, routing::get};

pub fn routes<S: Clone + Send + Sync + 'static>(tier: Tier) -> Router<S> {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/version", get(move || version(tier)))
}

async fn version(tier: Tier) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store")], Json(Version::of(tier)))
}
