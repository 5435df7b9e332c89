//! In: login attempts by e-mail address. Out: a refusal while the address is locked.
//!
//! As many wrong passwords in a row as the settings say lock an address for 15 minutes; a success, or 15 minutes without
//! an attempt, forgets them. Counted in the database, so that replicas count together, and before the password is tried,
//! so that many at once gain nothing. An address that nobody has is locked as well: no answer tells who has an account.
//! Only its digest is kept, because people type passwords into the wrong field.

use crate::problem::Problem;
use tokio_postgres::Transaction;

/// Counts an attempt, or refuses it with the time to wait.
pub async fn attempt(transaction: &Transaction<'_>, email: &str, most: i32) -> Result<(), Problem> {
    let forget = "delete from login_attempts where last_at <= now() - interval '15 minutes'";
    transaction.execute(forget, &[]).await?;
    let count =
        "insert into login_attempts as a (address_hash) values (sha256(convert_to(lower($1), 'UTF8')))
                 on conflict (address_hash) do update set attempts = a.attempts + 1, last_at = now()
                 where a.attempts < $2";
    if transaction.execute(count, &[&email, &most]).await? == 1 {
        return Ok(());
    }
    // The refused insert has locked the row: it is still there.
    let left = "select greatest(1, ceil(extract(epoch from last_at + interval '15 minutes' - clock_timestamp())))::bigint
                from login_attempts where address_hash = sha256(convert_to(lower($1), 'UTF8'))";
    let seconds: i64 = transaction.query_one(left, &[&email]).await?.try_get(0)?;
    Err(Problem::Locked {
        seconds: seconds.unsigned_abs(),
    })
}

pub async fn succeeded(transaction: &Transaction<'_>, email: &str) -> Result<(), Problem> {
    let sql = "delete from login_attempts where address_hash = sha256(convert_to(lower($1), 'UTF8'))";
    transaction.execute(sql, &[&email]).await?;
    Ok(())
}
