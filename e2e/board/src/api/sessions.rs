//! Login, logout, and who asks. In: e-mail and password, or the cookie. Out: a session, or the user.
//!
//! The cookie holds a random ticket and nothing else; the database knows only its SHA-256. A session ends when it was idle
//! for too long or is too old, by the settings as they are now. With single sign-on there are none: the board can't verify
//! an assertion, and those that a password opened end.

use super::{App, body::Body, lockout, outbox, tickets};
use crate::{
    access_log::Asker,
    database::{Repeat, transact},
    problem::Problem,
};
use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{env, time::Duration};
use tokio_postgres::{Row, Transaction, types::ToSql};

/// How often sessions are cleared away while there is single sign-on; they open nothing in any case.
const END_EVERY: Duration = Duration::from_secs(10);

/// How the cookie is called and protected.
#[derive(Debug, Clone, Copy)]
pub struct Cookie {
    name: &'static str,
    attributes: &'static str,
}

impl Cookie {
    /// `BOARD_INSECURE_COOKIE=1` is for tests over plain HTTP: browsers refuse the real one there.
    pub fn from_env() -> Self {
        if env::var("BOARD_INSECURE_COOKIE").is_ok_and(|value| value == "1") {
            tracing::warn!("BOARD_INSECURE_COOKIE is set: sessions are not protected");
            return Self {
                name: "board_session",
                attributes: "Path=/; HttpOnly; SameSite=Strict",
            };
        }
        Self {
            name: "__Host-board_session",
            attributes: "Path=/; Secure; HttpOnly; SameSite=Strict",
        }
    }

    /// Gone when the browser closes; the server's own limits are what counts.
    pub fn set(self, ticket: &str) -> [(header::HeaderName, String); 1] {
        [(
            header::SET_COOKIE,
            format!("{}={ticket}; {}", self.name, self.attributes),
        )]
    }

    fn clear(self) -> [(header::HeaderName, String); 1] {
        [(
            header::SET_COOKIE,
            format!("{}=; Max-Age=0; {}", self.name, self.attributes),
        )]
    }

    fn read(self, headers: &HeaderMap) -> Option<&str> {
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(name, value)| (name == self.name).then_some(value))
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct User {
    pub id: i64,
    pub email: String,
    pub name: String,
    pub role: String,
}

impl User {
    pub const COLUMNS: &'static str = "u.id, u.email, u.name, u.role";

    pub fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            id: row.try_get(0)?,
            email: row.try_get(1)?,
            name: row.try_get(2)?,
            role: row.try_get(3)?,
        })
    }
}

/// Extracts the user of the session; without one the request ends with 401.
pub struct SignedIn(pub User);

impl SignedIn {
    pub fn id(&self) -> i64 {
        self.0.id
    }

    pub fn must_be_owner(&self) -> Result<(), Problem> {
        match self.0.role.as_str() {
            "owner" => Ok(()),
            _ => Err(Problem::Forbidden("only the account owner may do this")),
        }
    }
}

impl FromRequestParts<App> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let ticket = app.cookie.read(&parts.headers).ok_or(Problem::SignedOut)?;
        let hash = tickets::hash(ticket);
        let settings = app.settings.get();
        if settings.sso.is_some() {
            return Err(Problem::SignedOut);
        }
        let idle = f64::from(settings.session.idle_minutes) * 60.0;
        let row = transact!(app.database, Repeat::Harmless, |transaction| {
            // Not every request writes: a tenth of the limit is precise enough.
            let touch =
                "update sessions set last_seen_at = now() where ticket_hash = $1 and expires_at > now()
                             and last_seen_at > now() - make_interval(secs => $2)
                             and last_seen_at < now() - make_interval(secs => $2 / 10)";
            transaction.execute(touch, &[&hash, &idle]).await?;
            let sql = format!(
                "select {} from sessions s join users u on u.id = s.user_id
                     where s.ticket_hash = $1 and s.expires_at > now()
                     and s.last_seen_at > now() - make_interval(secs => $2)",
                User::COLUMNS
            );
            Ok(transaction.query_opt(&sql, &[&hash, &idle]).await?)
        })?;
        let user = User::from_row(&row.ok_or(Problem::SignedOut)?)?;
        if let Some(asker) = parts.extensions.get::<Asker>() {
            asker.is(user.id);
        }
        Ok(Self(user))
    }
}

#[derive(Deserialize)]
pub struct Credentials {
    email: String,
    password: String,
}

pub async fn login(
    State(app): State<App>,
    Body(given): Body<Credentials>,
) -> Result<impl IntoResponse, Problem> {
    let email = given.email.trim();
    let settings = app.settings.get();
    let sql = format!(
        "select {}, u.password_hash from users u where lower(u.email) = lower($1)",
        User::COLUMNS
    );
    // Repeated, it counts one attempt twice at worst.
    let row = transact!(app.database, Repeat::Harmless, |transaction| {
        lockout::attempt(transaction, email, settings.password.lockout_attempts).await?;
        Ok(transaction.query_opt(&sql, &[&email]).await?)
    })?;
    let stored = row.as_ref().map(|row| row.try_get(4)).transpose()?;
    if !app.verifier.verify(given.password, stored).await? {
        return Err(Problem::Forbidden("the e-mail address or the password is wrong"));
    }
    let user = User::from_row(&row.ok_or(Problem::SignedOut)?)?;
    let ticket = tickets::issue();
    transact!(app.database, Repeat::OnlyIfNotCommitted, |transaction| {
        lockout::succeeded(transaction, email).await?;
        open(transaction, &ticket, user.id, settings.session.max_hours).await
    })?;
    Ok((app.cookie.set(&ticket.secret), Json(user)))
}

/// Starts a session, and clears away those that are over.
pub async fn open(
    transaction: &Transaction<'_>,
    ticket: &tickets::Ticket,
    user: i64,
    hours: u32,
) -> Result<(), Problem> {
    let sql = "insert into sessions (ticket_hash, user_id, expires_at)
               values ($1, $2, now() + make_interval(hours => $3))";
    let hours = i32::try_from(hours).unwrap_or(i32::MAX / 2);
    transaction.execute(sql, &[&ticket.hash, &user, &hours]).await?;
    transaction
        .execute("delete from sessions where expires_at < now()", &[])
        .await?;
    outbox::record(
        transaction,
        Some(user),
        "session.opened",
        &format!("user/{user}"),
        json!({}),
    )
    .await
}

pub async fn logout(State(app): State<App>, headers: HeaderMap) -> Result<impl IntoResponse, Problem> {
    if let Some(ticket) = app.cookie.read(&headers) {
        let hash = tickets::hash(ticket);
        transact!(app.database, Repeat::Harmless, |transaction| {
            close(transaction, "where ticket_hash = $1", &[&hash]).await
        })?;
    }
    Ok((StatusCode::NO_CONTENT, app.cookie.clear()))
}

/// Ends the sessions of a `where` clause.
async fn close(
    transaction: &Transaction<'_>,
    which: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<(), Problem> {
    let sql = format!("delete from sessions {which} returning user_id");
    for row in transaction.query(&sql, values).await? {
        let user: i64 = row.try_get(0)?;
        outbox::record(
            transaction,
            Some(user),
            "session.closed",
            &format!("user/{user}"),
            json!({}),
        )
        .await?;
    }
    Ok(())
}

/// Runs for ever: with single sign-on no session stays, so that none is there again when it goes. Over and over, because
/// a replica that hasn't heard of it yet may still open one.
pub async fn end_with_single_sign_on(app: App) {
    loop {
        if app.settings.get().sso.is_some() {
            let ended = transact!(app.database, Repeat::Harmless, |transaction| {
                close(transaction, "", &[]).await
            });
            if let Err(error) = ended {
                tracing::warn!(%error, "the sessions could not be ended yet");
            }
        }
        tokio::time::sleep(END_EVERY).await;
    }
}

pub async fn current(user: SignedIn) -> Json<User> {
    Json(user.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_by_its_exact_name() {
        let cookie = Cookie {
            name: "__Host-board_session",
            attributes: "",
        };
        let mut headers = HeaderMap::new();
        headers.insert(
            "cookie",
            "x__Host-board_session=no; __Host-board_session=yes; z=1"
                .parse()
                .unwrap(),
        );
        assert_eq!(cookie.read(&headers), Some("yes"));
        assert_eq!(cookie.read(&HeaderMap::new()), None);
    }
}
