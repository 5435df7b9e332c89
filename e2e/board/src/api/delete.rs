//! `DELETE` of one thing. In: what it is, and the statement that deletes it and returns its event's payload. Out: 204, or
//! 404 when it isn't there.

use super::{App, outbox, sessions::SignedIn};
use crate::{
    database::{Repeat, transact},
    problem::Problem,
};
use axum::http::StatusCode;

pub async fn delete(
    app: &App,
    user: &SignedIn,
    (noun, id): (&'static str, i64),
    sql: &str,
) -> Result<StatusCode, Problem> {
    let kind = format!("{noun}.deleted");
    transact!(app.database, Repeat::OnlyIfNotCommitted, |transaction| {
        let row = transaction.query_opt(sql, &[&id]).await?;
        let payload = row.ok_or(Problem::NotFound(noun))?.try_get(0)?;
        outbox::change(transaction, Some(user.id()), &kind, id, payload).await
    })?;
    Ok(StatusCode::NO_CONTENT)
}
