//! In: the `Idempotency-Key` of a request. Out: the first answer again, when the key was used before.
//!
//! The key's row is written by the transaction that makes the change, before it: of two requests at once the second waits
//! for the first, so that a key makes at most one change. Keys are a user's own and are kept for a day.

use crate::problem::Problem;
use axum::http::HeaderMap;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_postgres::Transaction;

const LONGEST: usize = 128;

/// A key with what it was used for, so that one key can't answer two questions.
pub struct Key {
    key: String,
    request: Vec<u8>,
}

impl Key {
    /// `None` when the client sent none.
    pub fn from_headers(headers: &HeaderMap, request: &str) -> Result<Option<Self>, Problem> {
        let Some(value) = headers.get("idempotency-key") else {
            return Ok(None);
        };
        let key = value.to_str().unwrap_or_default();
        if key.is_empty() || key.len() > LONGEST {
            return Err(Problem::Invalid(format!(
                "Idempotency-Key must be 1 to {LONGEST} visible characters"
            )));
        }
        Ok(Some(Self {
            key: key.to_owned(),
            request: Sha256::digest(request).to_vec(),
        }))
    }

    /// Takes the key for this transaction, or gives the answer that it stands for.
    pub async fn take(&self, transaction: &Transaction<'_>, user: i64) -> Result<Option<Value>, Problem> {
        let taken = transaction
            .execute(
                "insert into idempotency_keys (user_id, key, request_hash) values ($1, $2, $3)
                 on conflict do nothing",
                &[&user, &self.key, &self.request],
            )
            .await?;
        if taken == 1 {
            return Ok(None);
        }
        let row = transaction
            .query_one(
                "select request_hash, response from idempotency_keys where user_id = $1 and key = $2",
                &[&user, &self.key],
            )
            .await?;
        if row.try_get::<_, Vec<u8>>(0)? != self.request {
            return Err(Problem::Conflict(
                "this Idempotency-Key was used for another request".to_owned(),
            ));
        }
        Ok(row.try_get(1)?)
    }

    /// Keeps the answer, and forgets what is older than a day.
    pub async fn keep(
        &self,
        transaction: &Transaction<'_>,
        user: i64,
        response: &Value,
    ) -> Result<(), Problem> {
        let sql = "update idempotency_keys set response = $3 where user_id = $1 and key = $2";
        transaction.execute(sql, &[&user, &self.key, response]).await?;
        let sql = "delete from idempotency_keys where ctid = any (array(
                       select ctid from idempotency_keys where created_at < now() - interval '1 day'
                       limit 100 for update skip locked))";
        transaction.execute(sql, &[]).await?;
        Ok(())
    }
}
