//! One-time links. In: the token of the first account owner (a mounted file) or of an invitation. Out: a user, signed in.
//!
//! The owner's token works only while there is no owner; the unique indices of `users` decide between two at once.
//! An invitation is used up by the transaction that makes the user.

use super::{App, Shared, body, body::Body, outbox, passwords, sessions, tickets};
use crate::{
    database::{Repeat, transact},
    problem::Problem,
};
use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use serde::Deserialize;
use serde_json::{Value, json};
use sessions::User;
use subtle::ConstantTimeEq;
use tokio_postgres::{Transaction, error::SqlState};

#[derive(Deserialize)]
pub struct Token {
    token: String,
}

#[derive(Deserialize)]
pub struct Welcome {
    token: String,
    /// Without it, the address in the settings or in the invitation.
    email: Option<String>,
    name: String,
    password: String,
}

enum Link {
    Owner,
    Invitation { email: String, name: String },
}

/// What the link is for, so that the page can say whom it greets; it uses nothing up.
pub async fn check(State(app): State<App>, Body(given): Body<Token>) -> Result<Json<Value>, Problem> {
    let link = transact!(app.database, Repeat::Harmless, |transaction| app
        .find(transaction, &given.token)
        .await)?;
    let tenant = &app.settings.get().tenant;
    Ok(Json(match link {
        Link::Owner => json!({ "role": "owner", "email": tenant.owner, "name": "" }),
        Link::Invitation { email, name } => json!({ "role": "member", "email": email, "name": name }),
    }))
}

pub async fn accept(
    State(app): State<App>,
    Body(given): Body<Welcome>,
) -> Result<impl IntoResponse, Problem> {
    let settings = app.settings.get();
    let name = body::text("the name", &given.name, 80)?;
    let link = transact!(app.database, Repeat::Harmless, |transaction| app
        .find(transaction, &given.token)
        .await)?;
    let email = match &link {
        Link::Owner => body::email(given.email.as_deref().unwrap_or(&settings.tenant.owner))?,
        Link::Invitation { email, .. } => email.clone(),
    };
    passwords::check_policy(&given.password, settings.password.min_length, &email)?;
    let password = app.verifier.hash(given.password).await?;
    let ticket = tickets::issue();
    let user = transact!(app.database, Repeat::OnlyIfNotCommitted, |transaction| {
        // Again, now within the transaction: the link may have been used since.
        let role = match app.find(transaction, &given.token).await? {
            Link::Owner => "owner",
            Link::Invitation { .. } => {
                use_up(transaction, &given.token).await?;
                "member"
            }
        };
        let user = create(transaction, &email, &name, role, &password).await?;
        sessions::open(transaction, &ticket, user.id, settings.session.max_hours).await?;
        Ok(user)
    })?;
    Ok((StatusCode::CREATED, app.cookie.set(&ticket.secret), Json(user)))
}

impl Shared {
    async fn find(&self, transaction: &Transaction<'_>, token: &str) -> Result<Link, Problem> {
        let sql = "select exists (select from users where role = 'owner')";
        let has_owner: bool = transaction.query_one(sql, &[]).await?.try_get(0)?;
        if !has_owner && self.is_owner_token(token) {
            return Ok(Link::Owner);
        }
        let sql = "select email, name from invitations
                   where token_hash = $1 and used_at is null and expires_at > now()";
        let row = transaction
            .query_opt(sql, &[&tickets::hash(token)])
            .await?
            .ok_or(Problem::DeadLink)?;
        Ok(Link::Invitation {
            email: row.try_get(0)?,
            name: row.try_get(1)?,
        })
    }

    /// Compares in constant time with the file as it is now; a file that is missing or too short matches nothing.
    fn is_owner_token(&self, token: &str) -> bool {
        const SHORTEST: usize = 16;
        let Ok(expected) = std::fs::read_to_string(&self.owner_token) else {
            return false;
        };
        let expected = expected.trim();
        expected.len() >= SHORTEST && bool::from(expected.as_bytes().ct_eq(token.as_bytes()))
    }
}

async fn use_up(transaction: &Transaction<'_>, token: &str) -> Result<(), Problem> {
    let sql = "update invitations set used_at = now() where token_hash = $1 and used_at is null";
    match transaction.execute(sql, &[&tickets::hash(token)]).await? {
        1 => Ok(()),
        _ => Err(Problem::DeadLink),
    }
}

async fn create(
    transaction: &Transaction<'_>,
    email: &str,
    name: &str,
    role: &str,
    password: &str,
) -> Result<User, Problem> {
    let sql = "insert into users as u (email, name, role, password_hash) values ($1, $2, $3, $4)
               returning u.id, u.email, u.name, u.role";
    let row = transaction
        .query_one(sql, &[&email, &name, &role, &password])
        .await
        .map_err(|error| match error.code() {
            // There are no users before the owner: whatever index says so, somebody else has just become it.
            Some(&SqlState::UNIQUE_VIOLATION) if role == "owner" => Problem::DeadLink,
            Some(&SqlState::UNIQUE_VIOLATION) => {
                Problem::Conflict(format!("there is already a user with the address {email}"))
            }
            _ => Problem::Statement(error),
        })?;
    let user = User::from_row(&row)?;
    let payload = json!({ "email": user.email, "name": user.name, "role": user.role });
    outbox::change(transaction, Some(user.id), "user.created", user.id, payload).await?;
    Ok(user)
}
