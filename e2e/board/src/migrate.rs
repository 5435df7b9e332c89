//! In: the migrations in `migrations/` up to [`SCHEMA`]. Out: a database that has them, and a line for each.
//!
//! Needs the database, and waits for it: this runs while the database is being made. An advisory lock makes two runs at
//! once one after the other; each migration is one transaction, so that a run which was cut off can be repeated.

use crate::{
    database::source::{Purpose, Source},
    settings::Current,
    version::SCHEMA,
};
use anyhow::Context;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, error::SqlState};

const RETRY_EVERY: Duration = Duration::from_millis(250);
/// Any number that no other program uses on this database.
const LOCK: i64 = 0x626f_6172_6400;

struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "initial",
        sql: include_str!("../migrations/0001_initial.sql"),
    },
    Migration {
        version: 2,
        name: "due date",
        sql: include_str!("../migrations/0002_due_date.sql"),
    },
    Migration {
        version: 3,
        name: "login attempts",
        sql: include_str!("../migrations/0003_login_attempts.sql"),
    },
    Migration {
        version: 4,
        name: "due date set",
        sql: include_str!("../migrations/0004_due_date_set.sql"),
    },
];

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seconds for which to wait for the database.
    #[arg(long, default_value_t = 300)]
    timeout: u64,
}

pub async fn run(args: &Args) -> anyhow::Result<()> {
    let source = Source::from_env(Current::follow_if_there()?);
    let started = Instant::now();
    let mut last = String::new();
    loop {
        let error = match attempt(&source).await {
            Ok(()) => return Ok(()),
            Err(Attempt::Final(error)) => return Err(error),
            Err(Attempt::Again(error)) => error,
        };
        let reason = format!("{error:#}");
        if started.elapsed() >= Duration::from_secs(args.timeout) {
            return Err(error.context(format!("gave up after {} s", args.timeout)));
        }
        if reason != last {
            println!("waiting for the database: {reason}");
            last = reason;
        }
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

enum Attempt {
    Again(anyhow::Error),
    Final(anyhow::Error),
}

async fn attempt(source: &Source) -> Result<(), Attempt> {
    let mut client = source
        .connect(Purpose::Migration)
        .await
        .map_err(|error| Attempt::Again(anyhow::Error::new(error)))?;
    migrate(&mut client).await.map_err(|error| {
        let refused = error
            .downcast_ref::<tokio_postgres::Error>()
            .and_then(|error| error.code());
        match refused {
            Some(code) if !is_transient(code) => Attempt::Final(error),
            _ => Attempt::Again(error),
        }
    })
}

/// Lost connections, a standby, locks, a server that starts or stops, and a second run that was first.
fn is_transient(code: &SqlState) -> bool {
    ["08", "40", "53", "57P", "55P03", "25006"]
        .iter()
        .any(|class| code.code().starts_with(class))
}

async fn migrate(client: &mut Client) -> anyhow::Result<()> {
    lock(client).await?;
    client
        .batch_execute(
            "create table if not exists schema_migrations (
                 version integer primary key, name text not null, applied_at timestamptz not null default now())",
        )
        .await?;
    let row = client
        .query_one("select coalesce(max(version), 0) from schema_migrations", &[])
        .await?;
    let present: i32 = row.try_get(0)?;
    for migration in MIGRATIONS
        .iter()
        .filter(|m| m.version > present && m.version <= SCHEMA)
    {
        let started = Instant::now();
        apply(client, migration)
            .await
            .with_context(|| format!("migration {}", migration.version))?;
        println!(
            "migration {} ({}): done in {} ms",
            migration.version,
            migration.name,
            started.elapsed().as_millis()
        );
    }
    println!("schema {}: this release needs {SCHEMA}", present.max(SCHEMA));
    client
        .batch_execute(&format!("select pg_advisory_unlock({LOCK})"))
        .await?;
    Ok(())
}

/// Waits for another run in small steps, so that its end is noticed even when this session's `lock_timeout` is short.
async fn lock(client: &Client) -> anyhow::Result<()> {
    loop {
        let row = client
            .query_one("select pg_try_advisory_lock($1)", &[&LOCK])
            .await?;
        if row.try_get(0)? {
            return Ok(());
        }
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

async fn apply(client: &mut Client, migration: &Migration) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(migration.sql).await?;
    transaction
        .execute(
            "insert into schema_migrations (version, name) values ($1, $2)",
            &[&migration.version, &migration.name],
        )
        .await?;
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_one_two_three() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version, i32::try_from(index).unwrap() + 1);
        }
        assert!(SCHEMA <= MIGRATIONS.last().unwrap().version);
    }

    /// Expand-only: nothing that the release before uses is taken away.
    #[test]
    fn migrations_take_nothing_away() {
        for migration in &MIGRATIONS[1..] {
            let sql = migration.sql.to_lowercase();
            for word in ["drop ", "rename ", "alter column", "truncate", "delete from"] {
                assert!(!sql.contains(word), "migration {}: {word}", migration.version);
            }
        }
    }
}
