//! The api tier. In: JSON over HTTP. Out: JSON, and changes committed together with their events.
//!
//! Needs the database. A file for each thing of the domain; every change goes through [`transact!`](crate::database) and says
//! what it did by [`outbox`] in the same transaction.

mod about;
mod boards;
mod body;
mod cards;
mod delete;
mod guard;
mod idempotency;
mod lanes;
mod lockout;
mod outbox;
mod passwords;
mod positions;
mod ready;
mod rehearsal;
mod sessions;
mod tickets;
mod users;
mod welcome;

use crate::{
    access_log,
    database::{Database, source::Source},
    probes, settings,
    settings::Current,
    shutdown::{self, Draining, Listen},
    tls::{self, Clients},
    version::Tier,
};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::Response,
    routing::{get, patch, post},
};
use std::{path::PathBuf, sync::Arc};

const LARGEST_BODY: usize = 64 * 1024;

/// What the handlers share.
struct Shared {
    database: Database,
    settings: Current,
    draining: Draining,
    cookie: sessions::Cookie,
    owner_token: PathBuf,
    verifier: passwords::Verifier,
    readiness: ready::Readiness,
}

type App = Arc<Shared>;

pub async fn run(listen: &Listen) -> anyhow::Result<()> {
    let draining = Draining::default();
    let tls = tls::Current::follow(Clients::Asked)?;
    let settings = Current::follow()?;
    let app = Arc::new(Shared {
        database: Database::new(Source::from_env(Some(settings.clone()))),
        settings,
        draining: draining.clone(),
        cookie: sessions::Cookie::from_env(),
        owner_token: settings::path_from_env("FREEHOLD_OWNER_TOKEN_FILE", "/etc/freehold/owner/token"),
        verifier: passwords::Verifier::default(),
        readiness: ready::Readiness::default(),
    });
    tokio::spawn(sessions::end_with_single_sign_on(app.clone()));
    shutdown::serve(router(app, tls.clone()), listen, draining, tls).await
}

fn router(app: App, tls: Option<tls::Current>) -> Router {
    let by_password = Router::new()
        .route("/welcome", post(welcome::accept))
        .route("/welcome/check", post(welcome::check))
        .route("/login", post(sessions::login))
        .route_layer(middleware::from_fn_with_state(
            app.clone(),
            guard::passwords_allowed,
        ));
    let api = Router::new()
        .merge(by_password)
        .route("/about", get(about::about))
        .route("/logout", post(sessions::logout))
        .route("/session", get(sessions::current))
        .route("/users", get(users::list))
        .route("/users/invitations", post(users::invite))
        .route("/boards", get(boards::list).post(boards::create))
        .route(
            "/boards/{board}",
            get(boards::show).patch(boards::rename).delete(boards::delete),
        )
        .route("/boards/{board}/lanes", post(lanes::create))
        .route("/boards/{board}/cards", get(cards::list))
        .route("/lanes/{lane}", patch(lanes::change).delete(lanes::delete))
        .route("/lanes/{lane}/cards", post(cards::create))
        .route(
            "/cards/{card}",
            get(cards::show).patch(cards::edit).delete(cards::delete),
        )
        .route("/cards/{card}/move", post(cards::relocate))
        .route("/events", get(outbox::list))
        .layer(middleware::from_fn(guard::same_origin))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::map_response(uncached));
    let mut for_tiers = Router::new()
        .nest("/api", api)
        .route("/smoke", post(rehearsal::smoke))
        .fallback(async || StatusCode::NOT_FOUND);
    if tls.is_some() {
        for_tiers = for_tiers.layer(middleware::from_fn(guard::certified));
    }
    let for_all = probes::routes(Tier::Api)
        .merge(tls::well_known::routes(tls))
        .route("/readyz", get(ready::ready));
    for_all
        .merge(for_tiers)
        .layer(middleware::from_fn(access_log::record))
        .with_state(app)
}

/// Answers are a user's own: no cache on the way or in the browser keeps them.
async fn uncached(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
