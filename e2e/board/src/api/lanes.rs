//! Lanes, the columns of a board. In: names and positions. Out: lanes in their order.

use super::{
    App,
    body::{self, Body},
    delete, outbox, positions,
    sessions::SignedIn,
};
use crate::{
    database::{Repeat, transact},
    problem::Problem,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_postgres::{Row, Transaction};

#[derive(Debug, Serialize)]
pub struct Lane {
    id: i64,
    board_id: i64,
    name: String,
    position: i32,
}

impl Lane {
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            id: row.try_get(0)?,
            board_id: row.try_get(1)?,
            name: row.try_get(2)?,
            position: row.try_get(3)?,
        })
    }
}

#[derive(Debug, Deserialize)]
pub struct New {
    name: String,
}

#[derive(Debug, Deserialize)]
pub struct Change {
    name: Option<String>,
    /// Counted from 0 among the board's other lanes.
    position: Option<usize>,
}

pub async fn of_board(transaction: &Transaction<'_>, board: i64) -> Result<Vec<Lane>, Problem> {
    let sql = "select id, board_id, name, position from lanes where board_id = $1 order by position, id";
    let rows = transaction.query(sql, &[&board]).await?;
    Ok(rows.iter().map(Lane::from_row).collect::<Result<_, _>>()?)
}

/// Puts a lane at the end of the board, and says so in the outbox when somebody did it.
pub async fn insert(
    transaction: &Transaction<'_>,
    actor: Option<i64>,
    board: i64,
    name: &str,
) -> Result<Lane, Problem> {
    lock_board(transaction, board).await?;
    let sql = "insert into lanes (board_id, name, position)
               select $1, $2, coalesce(max(position) + 1, 0) from lanes where board_id = $1
               returning id, board_id, name, position";
    let lane = Lane::from_row(&transaction.query_one(sql, &[&board, &name]).await?)?;
    let payload = json!({ "board": board, "name": name });
    outbox::change(transaction, actor, "lane.created", lane.id, payload).await?;
    Ok(lane)
}

impl Lane {
    pub fn id(&self) -> i64 {
        self.id
    }
}

/// Changes of the order of one board's lanes come one after the other.
async fn lock_board(transaction: &Transaction<'_>, board: i64) -> Result<(), Problem> {
    let row = transaction
        .query_opt("select from boards where id = $1 for update", &[&board])
        .await?;
    row.map(|_| ()).ok_or(Problem::NotFound("board"))
}

pub async fn create(
    State(app): State<App>,
    user: SignedIn,
    Path(board): Path<i64>,
    Body(given): Body<New>,
) -> Result<(StatusCode, Json<Lane>), Problem> {
    let name = body::text("the name", &given.name, 80)?;
    let lane = transact!(app.database, Repeat::OnlyIfNotCommitted, |transaction| {
        insert(transaction, Some(user.id()), board, &name).await
    })?;
    Ok((StatusCode::CREATED, Json(lane)))
}

pub async fn change(
    State(app): State<App>,
    user: SignedIn,
    Path(id): Path<i64>,
    Body(given): Body<Change>,
) -> Result<Json<Lane>, Problem> {
    let name = given
        .name
        .as_deref()
        .map(|name| body::text("the name", name, 80))
        .transpose()?;
    transact!(app.database, Repeat::Harmless, |transaction| {
        let row = transaction
            .query_opt("select board_id from lanes where id = $1", &[&id])
            .await?;
        let board: i64 = row.ok_or(Problem::NotFound("lane"))?.try_get(0)?;
        lock_board(transaction, board).await?;
        if let Some(position) = given.position {
            let order: Vec<i64> = of_board(transaction, board).await?.iter().map(Lane::id).collect();
            let order = positions::place(&order, id, position);
            let sql = "update lanes set position = o.place::int - 1
                           from unnest($1::bigint[]) with ordinality o (id, place) where lanes.id = o.id";
            transaction.execute(sql, &[&order]).await?;
        }
        let sql = "update lanes set name = coalesce($2, name), updated_at = now() where id = $1
                       returning id, board_id, name, position";
        let row = transaction
            .query_opt(sql, &[&id, &name])
            .await?
            .ok_or(Problem::NotFound("lane"))?;
        let lane = Lane::from_row(&row)?;
        let payload = json!({ "name": lane.name, "position": lane.position });
        outbox::change(transaction, Some(user.id()), "lane.changed", id, payload).await?;
        Ok(Json(lane))
    })
}

pub async fn delete(
    State(app): State<App>,
    user: SignedIn,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    let sql = "delete from lanes where id = $1 returning '{}'::jsonb";
    delete::delete(&app, &user, ("lane", id), sql).await
}
