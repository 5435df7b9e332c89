//! `POST /smoke`: a round trip through the api's own statements that leaves nothing. It is not under `/api`, so web never
//! passes it on; only what reaches this tier's port can ask.

use super::{App, boards, cards, lanes};
use crate::problem::Problem;
use axum::extract::State;
use tokio_postgres::Transaction;

pub async fn smoke(State(app): State<App>) -> Result<&'static str, Problem> {
    let mut lease = app.database.lease().await?;
    let transaction = lease.client().transaction().await?;
    let rehearsed = rehearse(&transaction).await;
    transaction.rollback().await?;
    lease.keep();
    match rehearsed? {
        1 => Ok("ok\n"),
        found => Err(Problem::Internal(format!("made one card, found {found}"))),
    }
}

/// Makes a card as a user would, and counts what its board shows.
async fn rehearse(transaction: &Transaction<'_>) -> Result<usize, Problem> {
    let board = boards::insert(transaction, "smoke").await?;
    let lane = lanes::insert(transaction, None, board, "smoke").await?;
    cards::rehearse(transaction, lane.id()).await?;
    Ok(cards::of_board(transaction, board).await?.len())
}
