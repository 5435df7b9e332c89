//! The web tier. In: browsers' requests. Out: the page, `/version.json`, and `/api/*` passed on to the api tier.
//!
//! `/readyz` does not ask the api: a blip of the api would otherwise take away the page in every replica at once, and
//! the page can say "temporarily unavailable" better than a gateway without endpoints can. Needs no database.

mod assets;
mod headers;
mod proxy;

use crate::{
    access_log, probes,
    settings::Current,
    shutdown::{self, Draining, Listen},
    tls::{self, Clients},
    upstream::Upstream,
    version::{Tier, VERSION},
};
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    middleware,
    response::IntoResponse,
    routing::{any, get},
};
use serde_json::json;

/// What crawlers may see, as the release says it by a file; without that file, the address doesn't exist.
const ROBOTS: &str = "/srv/board/robots.txt";

#[derive(Clone)]
struct Web {
    settings: Current,
    upstream: Upstream,
    draining: Draining,
    tls: Option<tls::Current>,
}

pub async fn run(listen: &Listen) -> anyhow::Result<()> {
    let draining = Draining::default();
    // The gateway shows no certificate; that nothing else gets here is the network policy's.
    let tls = tls::Current::follow(Clients::NotAsked)?;
    let web = Web {
        settings: Current::follow()?,
        upstream: Upstream::new(tls.clone()),
        draining: draining.clone(),
        tls: tls.clone(),
    };
    shutdown::serve(router(web), listen, draining, tls).await
}

fn router(web: Web) -> Router {
    Router::new()
        .merge(probes::routes(Tier::Web))
        .merge(tls::well_known::routes(web.tls.clone()))
        .route("/readyz", get(ready))
        .route("/version.json", get(version))
        .route("/robots.txt", get(robots))
        .route("/api/{*path}", any(proxy::forward))
        .route("/assets/{build}/{file}", get(assets::file))
        .fallback(assets::page)
        .layer(middleware::from_fn(headers::secure))
        .layer(middleware::from_fn(access_log::record))
        .with_state(web)
}

async fn ready(State(web): State<Web>) -> impl IntoResponse {
    match web.draining.get() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        false => (StatusCode::OK, "ok\n"),
    }
}

/// What an open page polls, to notice that it is older than the release that runs.
async fn version(State(web): State<Web>) -> impl IntoResponse {
    let refresh = &web.settings.get().refresh;
    let body = json!({
        "version": VERSION,
        "idleMinutes": refresh.idle_minutes,
        "pollSeconds": refresh.poll_seconds,
    });
    ([(header::CACHE_CONTROL, "no-store")], Json(body))
}

async fn robots() -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    tokio::fs::read(ROBOTS)
        .await
        .map(|text| (kind, text))
        .map_err(|_| StatusCode::NOT_FOUND)
}
