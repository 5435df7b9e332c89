//! The account's users. In: the owner's invitations. Out: one-time links, and the list of users.

use super::{
    App,
    body::{self, Body},
    outbox,
    sessions::{SignedIn, User},
    tickets,
};
use crate::{
    database::{Repeat, transact},
    problem::Problem,
};
use axum::{Json, extract::State, http::StatusCode};
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;
use serde_json::{Value, json};

const INVITATION_DAYS: i64 = 7;

pub async fn list(State(app): State<App>, _user: SignedIn) -> Result<Json<Vec<User>>, Problem> {
    let sql = format!(
        "select {} from users u order by lower(u.name), u.id",
        User::COLUMNS
    );
    let rows = transact!(app.database, Repeat::Harmless, |transaction| Ok(transaction
        .query(&sql, &[])
        .await?))?;
    Ok(Json(rows.iter().map(User::from_row).collect::<Result<_, _>>()?))
}

#[derive(Deserialize)]
pub struct Invitation {
    email: String,
    name: String,
}

/// The link is shown once, to the owner, who passes it on: there is no mail server here.
pub async fn invite(
    State(app): State<App>,
    user: SignedIn,
    Body(given): Body<Invitation>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    user.must_be_owner()?;
    let email = body::email(&given.email)?;
    let name = body::text("the name", &given.name, 80)?;
    let settings = app.settings.get();
    let ticket = tickets::issue();
    let expires = Timestamp::now() + (INVITATION_DAYS * 24).hours();
    transact!(app.database, Repeat::OnlyIfNotCommitted, |transaction| {
        let sql =
            "select count(*) + (select count(*) from invitations where used_at is null and expires_at > now()
                       and lower(email) <> lower($1)),
                       coalesce(bool_or(lower(email) = lower($1)), false) from users";
        let row = transaction.query_one(sql, &[&email]).await?;
        let (seats, known): (i64, bool) = (row.try_get(0)?, row.try_get(1)?);
        if known {
            return Err(Problem::Conflict(format!(
                "there is already a user with the address {email}"
            )));
        }
        if let Some(most) = settings.tenant.seats.filter(|most| seats >= *most) {
            return Err(Problem::Conflict(format!("all {most} seats are taken")));
        }
        // A new link replaces one that was lost.
        let sql = "delete from invitations where lower(email) = lower($1) and used_at is null";
        transaction.execute(sql, &[&email]).await?;
        let sql = "insert into invitations (token_hash, email, name, invited_by, expires_at)
                       values ($1, $2, $3, $4, $5)";
        transaction
            .execute(sql, &[&ticket.hash, &email, &name, &user.id(), &expires])
            .await?;
        let payload = json!({ "email": email, "name": name });
        outbox::record(
            transaction,
            Some(user.id()),
            "user.invited",
            "invitation",
            payload,
        )
        .await
    })?;
    let link = format!("{}/welcome#{}", settings.url.trim_end_matches('/'), ticket.secret);
    Ok((
        StatusCode::CREATED,
        Json(json!({ "link": link, "expires_at": expires })),
    ))
}
