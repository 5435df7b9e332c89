//! In: what a transaction changed. Out: a row in `outbox`, by the same transaction; and the latest rows for the owner.
//!
//! Invariant: an event is there if and only if its change is. Payloads hold no passwords, tokens or tickets.

use super::{App, sessions::SignedIn};
use crate::{
    database::{Repeat, transact},
    problem::Problem,
};
use axum::{
    Json,
    extract::{Query, State},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::Transaction;

const MOST: i64 = 500;

/// `kind` is `noun.verb`, `entity` is `noun/id`; the actor is a user's id.
pub async fn record(
    transaction: &Transaction<'_>,
    actor: Option<i64>,
    kind: &str,
    entity: &str,
    payload: Value,
) -> Result<(), Problem> {
    transaction
        .execute(
            "insert into outbox (actor, kind, entity, payload) values ($1, $2, $3, $4)",
            &[&actor, &kind, &entity, &payload],
        )
        .await?;
    Ok(())
}

/// Records `noun.verb` of `noun/id`.
pub async fn change(
    transaction: &Transaction<'_>,
    actor: Option<i64>,
    kind: &str,
    id: i64,
    payload: Value,
) -> Result<(), Problem> {
    let noun = kind.split('.').next().unwrap_or_default();
    record(transaction, actor, kind, &format!("{noun}/{id}"), payload).await
}

#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Page {
    limit: i64,
    /// Only events with a smaller id.
    before: i64,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            limit: 100,
            before: i64::MAX,
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Event {
    id: i64,
    occurred_at: Timestamp,
    actor: Option<String>,
    kind: String,
    entity: String,
    payload: Value,
}

pub async fn list(
    State(app): State<App>,
    user: SignedIn,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Event>>, Problem> {
    user.must_be_owner()?;
    let limit = page.limit.clamp(1, MOST);
    let rows = transact!(app.database, Repeat::Harmless, |transaction| {
        let sql = "select o.id, o.occurred_at, u.email, o.kind, o.entity, o.payload
                       from outbox o left join users u on u.id = o.actor
                       where o.id < $1 order by o.id desc limit $2";
        Ok(transaction.query(sql, &[&page.before, &limit]).await?)
    })?;
    let event = |row: &tokio_postgres::Row| -> Result<Event, tokio_postgres::Error> {
        Ok(Event {
            id: row.try_get(0)?,
            occurred_at: row.try_get(1)?,
            actor: row.try_get(2)?,
            kind: row.try_get(3)?,
            entity: row.try_get(4)?,
            payload: row.try_get(5)?,
        })
    };
    Ok(Json(rows.iter().map(event).collect::<Result<_, _>>()?))
}
