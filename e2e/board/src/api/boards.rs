//! Boards. In: names. Out: boards; one board comes with its lanes and cards.

use super::{
    App,
    body::{self, Body},
    cards, delete, lanes, outbox,
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
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_postgres::Transaction;

const FIRST_LANES: [&str; 3] = ["To do", "Doing", "Done"];
const MOST_LANES: usize = 20;

#[derive(Debug, Serialize)]
pub struct Board {
    id: i64,
    name: String,
    cards: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Board {
    const SELECT: &'static str = "select b.id, b.name,
        (select count(*) from cards c join lanes l on l.id = c.lane_id where l.board_id = b.id),
        b.created_at, b.updated_at from boards b";

    fn from_row(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            id: row.try_get(0)?,
            name: row.try_get(1)?,
            cards: row.try_get(2)?,
            created_at: row.try_get(3)?,
            updated_at: row.try_get(4)?,
        })
    }

    pub async fn find(transaction: &Transaction<'_>, id: i64) -> Result<Self, Problem> {
        let sql = format!("{} where b.id = $1", Self::SELECT);
        Ok(Self::from_row(
            &transaction
                .query_opt(&sql, &[&id])
                .await?
                .ok_or(Problem::NotFound("board"))?,
        )?)
    }
}

#[derive(Debug, Serialize)]
pub struct Shown {
    #[serde(flatten)]
    board: Board,
    lanes: Vec<lanes::Lane>,
    #[serde(rename = "contents")]
    cards: Vec<cards::Card>,
}

#[derive(Debug, Deserialize)]
pub struct New {
    name: String,
    lanes: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
pub struct Name {
    name: String,
}

pub async fn list(State(app): State<App>, _user: SignedIn) -> Result<Json<Vec<Board>>, Problem> {
    let sql = format!("{} order by lower(b.name), b.id", Board::SELECT);
    let rows = transact!(app.database, Repeat::Harmless, |transaction| Ok(transaction
        .query(&sql, &[])
        .await?))?;
    Ok(Json(rows.iter().map(Board::from_row).collect::<Result<_, _>>()?))
}

pub async fn show(
    State(app): State<App>,
    _user: SignedIn,
    Path(id): Path<i64>,
) -> Result<Json<Shown>, Problem> {
    transact!(app.database, Repeat::Harmless, |transaction| {
        let board = Board::find(transaction, id).await?;
        let lanes = lanes::of_board(transaction, id).await?;
        let cards = cards::of_board(transaction, id).await?;
        Ok(Json(Shown { board, lanes, cards }))
    })
}

pub async fn create(
    State(app): State<App>,
    user: SignedIn,
    Body(given): Body<New>,
) -> Result<(StatusCode, Json<Board>), Problem> {
    let name = body::text("the name", &given.name, 80)?;
    let lanes = given
        .lanes
        .unwrap_or_else(|| FIRST_LANES.map(str::to_owned).to_vec());
    if lanes.len() > MOST_LANES {
        return Err(Problem::Invalid(format!(
            "a board starts with at most {MOST_LANES} lanes"
        )));
    }
    let lanes: Vec<String> = lanes
        .iter()
        .map(|lane| body::text("a lane's name", lane, 80))
        .collect::<Result<_, _>>()?;
    let board = transact!(app.database, Repeat::OnlyIfNotCommitted, |transaction| {
        let id = insert(transaction, &name).await?;
        let payload = json!({ "name": name });
        outbox::change(transaction, Some(user.id()), "board.created", id, payload).await?;
        for lane in &lanes {
            lanes::insert(transaction, Some(user.id()), id, lane).await?;
        }
        Board::find(transaction, id).await
    })?;
    Ok((StatusCode::CREATED, Json(board)))
}

pub async fn insert(transaction: &Transaction<'_>, name: &str) -> Result<i64, Problem> {
    Ok(transaction
        .query_one("insert into boards (name) values ($1) returning id", &[&name])
        .await?
        .try_get(0)?)
}

pub async fn rename(
    State(app): State<App>,
    user: SignedIn,
    Path(id): Path<i64>,
    Body(given): Body<Name>,
) -> Result<Json<Board>, Problem> {
    let name = body::text("the name", &given.name, 80)?;
    transact!(app.database, Repeat::Harmless, |transaction| {
        let sql = "update boards set name = $2, updated_at = now() where id = $1";
        if transaction.execute(sql, &[&id, &name]).await? == 0 {
            return Err(Problem::NotFound("board"));
        }
        let payload = json!({ "name": name });
        outbox::change(transaction, Some(user.id()), "board.renamed", id, payload).await?;
        Ok(Json(Board::find(transaction, id).await?))
    })
}

pub async fn delete(
    State(app): State<App>,
    user: SignedIn,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    let sql = "delete from boards where id = $1 returning '{}'::jsonb";
    delete::delete(&app, &user, ("board", id), sql).await
}
