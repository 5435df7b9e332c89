//! Cards. In: titles, descriptions, who does it, where it stands. Out: cards in their order.
//!
//! 201 is sent only after the commit. A POST with an `Idempotency-Key` makes one card however often it is sent.

use super::{
    App,
    body::{self, Body},
    delete,
    idempotency::Key,
    outbox, positions,
    sessions::SignedIn,
};
use crate::{
    database::{Repeat, transact},
    problem::Problem,
};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use tokio_postgres::{Row, Transaction, error::SqlState};

const LONGEST_DESCRIPTION: usize = 10_000;

#[derive(Debug, Serialize)]
pub struct Card {
    id: i64,
    lane_id: i64,
    title: String,
    description: String,
    assignee_id: Option<i64>,
    position: i32,
    #[cfg(has_due_date)]
    due_on: Option<Date>,
    /// Since when that is the date.
    #[cfg(has_due_date)]
    due_set_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Card {
    const COLUMNS: &'static str = if cfg!(has_due_date) {
        "c.id, c.lane_id, c.title, c.description, c.assignee_id, c.position, c.created_at, c.updated_at, c.due_on, \
         c.due_set_at"
    } else {
        "c.id, c.lane_id, c.title, c.description, c.assignee_id, c.position, c.created_at, c.updated_at"
    };

    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            id: row.try_get(0)?,
            lane_id: row.try_get(1)?,
            title: row.try_get(2)?,
            description: row.try_get(3)?,
            assignee_id: row.try_get(4)?,
            position: row.try_get(5)?,
            created_at: row.try_get(6)?,
            updated_at: row.try_get(7)?,
            #[cfg(has_due_date)]
            due_on: row.try_get(8)?,
            #[cfg(has_due_date)]
            due_set_at: row.try_get(9)?,
        })
    }

    async fn find(transaction: &Transaction<'_>, id: i64) -> Result<Self, Problem> {
        let sql = format!("select {} from cards c where c.id = $1", Self::COLUMNS);
        Ok(Self::from_row(
            &transaction
                .query_opt(&sql, &[&id])
                .await?
                .ok_or(Problem::NotFound("card"))?,
        )?)
    }
}

#[derive(Debug, Deserialize, Serialize)]
pub struct New {
    title: String,
    #[serde(default)]
    description: String,
    assignee_id: Option<i64>,
    due_on: Option<Date>,
}

/// A field that is absent stays as it is; `null` empties it.
#[derive(Debug, Deserialize)]
pub struct Edit {
    title: Option<String>,
    description: Option<String>,
    #[serde(default, deserialize_with = "present")]
    assignee_id: Option<Option<i64>>,
    #[serde(default, deserialize_with = "present")]
    due_on: Option<Option<Date>>,
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(given: D) -> Result<Option<T>, D::Error> {
    T::deserialize(given).map(Some)
}

#[derive(Debug, Deserialize)]
pub struct Place {
    lane_id: i64,
    /// Counted from 0 among the lane's other cards; last when it isn't given.
    position: Option<usize>,
}

/// The list that pages and the smoke test see; broken on purpose in 1.2.0, a release that must not pass.
pub async fn of_board(transaction: &Transaction<'_>, board: i64) -> Result<Vec<Card>, Problem> {
    if cfg!(broken) {
        return Err(Problem::Internal("1.2.0 can't list cards".to_owned()));
    }
    let sql = format!(
        "select {} from cards c join lanes l on l.id = c.lane_id where l.board_id = $1
         order by l.position, l.id, c.position, c.id",
        Card::COLUMNS
    );
    let rows = transaction.query(&sql, &[&board]).await?;
    Ok(rows.iter().map(Card::from_row).collect::<Result<_, _>>()?)
}

pub async fn list(
    State(app): State<App>,
    _user: SignedIn,
    Path(board): Path<i64>,
) -> Result<Json<Vec<Card>>, Problem> {
    transact!(app.database, Repeat::Harmless, |transaction| {
        super::boards::Board::find(transaction, board).await?;
        Ok(Json(of_board(transaction, board).await?))
    })
}

pub async fn show(
    State(app): State<App>,
    _user: SignedIn,
    Path(id): Path<i64>,
) -> Result<Json<Card>, Problem> {
    transact!(app.database, Repeat::Harmless, |transaction| Ok(Json(
        Card::find(transaction, id).await?
    )))
}

pub async fn create(
    State(app): State<App>,
    user: SignedIn,
    Path(lane): Path<i64>,
    headers: HeaderMap,
    Body(mut given): Body<New>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    given.title = body::text("the title", &given.title, 200)?;
    check_description(&given.description)?;
    let request = json!({ "lane": lane, "card": given }).to_string();
    let key = Key::from_headers(&headers, &request)?;
    let repeat = if key.is_some() {
        Repeat::Harmless
    } else {
        Repeat::OnlyIfNotCommitted
    };
    let card = transact!(app.database, repeat, |transaction| {
        if let Some(key) = &key
            && let Some(first) = key.take(transaction, user.id()).await?
        {
            return Ok(first);
        }
        let card = insert(transaction, Some(user.id()), lane, &given).await?;
        let card = serde_json::to_value(card).map_err(|error| Problem::Internal(error.to_string()))?;
        if let Some(key) = &key {
            key.keep(transaction, user.id(), &card).await?;
        }
        Ok(card)
    })?;
    Ok((StatusCode::CREATED, Json(card)))
}

/// Puts a card at the end of its lane.
async fn insert(
    transaction: &Transaction<'_>,
    actor: Option<i64>,
    lane: i64,
    new: &New,
) -> Result<Card, Problem> {
    lock_lanes(transaction, &[lane]).await?;
    let sql = format!(
        "insert into cards as c (lane_id, title, description, assignee_id, position)
         select $1, $2, $3, $4, coalesce(max(position) + 1, 0) from cards where lane_id = $1 returning {}",
        Card::COLUMNS
    );
    let row = transaction
        .query_one(&sql, &[&lane, &new.title, &new.description, &new.assignee_id])
        .await
        .map_err(no_such_assignee)?;
    let mut card = Card::from_row(&row)?;
    if cfg!(has_due_date) && new.due_on.is_some() {
        set_due(transaction, card.id, new.due_on).await?;
        card = Card::find(transaction, card.id).await?;
    }
    let payload = json!({ "lane": lane, "title": card.title, "position": card.position });
    outbox::change(transaction, actor, "card.created", card.id, payload).await?;
    Ok(card)
}

/// Gives a card another due date, or none; the same one again changes nothing.
async fn set_due(transaction: &Transaction<'_>, id: i64, due: Option<Date>) -> Result<(), Problem> {
    let sql = "update cards set due_on = $2, due_set_at = case when $2 is null then null else now() end
               where id = $1 and due_on is distinct from $2";
    transaction.execute(sql, &[&id, &due]).await?;
    Ok(())
}

/// A card for the smoke test.
pub async fn rehearse(transaction: &Transaction<'_>, lane: i64) -> Result<(), Problem> {
    let new = New {
        title: "smoke".to_owned(),
        description: String::new(),
        assignee_id: None,
        due_on: None,
    };
    insert(transaction, None, lane, &new).await.map(|_| ())
}

pub async fn edit(
    State(app): State<App>,
    user: SignedIn,
    Path(id): Path<i64>,
    Body(given): Body<Edit>,
) -> Result<Json<Card>, Problem> {
    let title = given
        .title
        .as_deref()
        .map(|title| body::text("the title", title, 200))
        .transpose()?;
    given.description.as_deref().map(check_description).transpose()?;
    transact!(app.database, Repeat::Harmless, |transaction| {
        let sql = "update cards set title = coalesce($2, title), description = coalesce($3, description),
                       assignee_id = case when $4 then $5 else assignee_id end, updated_at = now() where id = $1";
        let assignee = given.assignee_id.flatten();
        let changed = transaction
            .execute(
                sql,
                &[
                    &id,
                    &title,
                    &given.description,
                    &given.assignee_id.is_some(),
                    &assignee,
                ],
            )
            .await
            .map_err(no_such_assignee)?;
        if changed == 0 {
            return Err(Problem::NotFound("card"));
        }
        if cfg!(has_due_date)
            && let Some(due) = given.due_on
        {
            set_due(transaction, id, due).await?;
        }
        let card = Card::find(transaction, id).await?;
        let payload = json!({ "title": card.title, "assignee": card.assignee_id });
        outbox::change(transaction, Some(user.id()), "card.edited", id, payload).await?;
        Ok(Json(card))
    })
}

/// Moves a card within its lane or to another lane of the same board.
pub async fn relocate(
    State(app): State<App>,
    user: SignedIn,
    Path(id): Path<i64>,
    Body(to): Body<Place>,
) -> Result<Json<Card>, Problem> {
    transact!(app.database, Repeat::Harmless, |transaction| {
        let from = Card::find(transaction, id).await?.lane_id;
        lock_lanes(transaction, &[from, to.lane_id]).await?;
        let sql = "select count(distinct board_id) from lanes where id = any ($1)";
        let boards: i64 = transaction
            .query_one(sql, &[&vec![from, to.lane_id]])
            .await?
            .try_get(0)?;
        if boards != 1 {
            return Err(Problem::Invalid("a card moves only within its board".to_owned()));
        }
        let sql = "select id from cards where lane_id = $1 order by position, id";
        let rows = transaction.query(sql, &[&to.lane_id]).await?;
        let order: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let order = positions::place(&order, id, to.position.unwrap_or(usize::MAX));
        let sql = "update cards set lane_id = $2, position = o.place::int - 1,
                           updated_at = case when cards.id = $3 then now() else updated_at end
                       from unnest($1::bigint[]) with ordinality o (id, place) where cards.id = o.id";
        transaction.execute(sql, &[&order, &to.lane_id, &id]).await?;
        let card = Card::find(transaction, id).await?;
        let payload = json!({ "from": from, "lane": to.lane_id, "position": card.position });
        outbox::change(transaction, Some(user.id()), "card.moved", id, payload).await?;
        Ok(Json(card))
    })
}

pub async fn delete(
    State(app): State<App>,
    user: SignedIn,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    let sql = "delete from cards where id = $1 returning jsonb_build_object('lane', lane_id, 'title', title)";
    delete::delete(&app, &user, ("card", id), sql).await
}

/// Changes of the order within a lane come one after the other; always in the same order, so that two never wait for
/// each other.
async fn lock_lanes(transaction: &Transaction<'_>, lanes: &[i64]) -> Result<(), Problem> {
    let sql = "select id from lanes where id = any ($1) order by id for update";
    let found = transaction.query(sql, &[&lanes]).await?.len();
    let mut wanted = lanes.to_vec();
    wanted.dedup();
    if found == wanted.len() {
        Ok(())
    } else {
        Err(Problem::NotFound("lane"))
    }
}

fn check_description(text: &str) -> Result<(), Problem> {
    if text.chars().count() > LONGEST_DESCRIPTION || text.contains('\0') {
        return Err(Problem::Invalid(format!(
            "the description must be at most {LONGEST_DESCRIPTION} characters long"
        )));
    }
    Ok(())
}

fn no_such_assignee(error: tokio_postgres::Error) -> Problem {
    match error.code() {
        Some(&SqlState::FOREIGN_KEY_VIOLATION) => Problem::Invalid("the assignee is not a user".to_owned()),
        _ => Problem::Statement(error),
    }
}
