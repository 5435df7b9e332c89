//! In: a unit of work over a transaction, given to [`transact!`]. Out: its result, committed.
//!
//! Needs a database, and outlives it: a transaction that certainly did not commit is run again for up to
//! [`RETRY_FOR`]; one whose commit got no answer is run again only when running it twice does no harm. So `Ok` means
//! committed, and [`Problem::Unavailable`] means that the caller must find out.

mod failure;
mod pool;
pub mod source;
mod tls;

use crate::problem::Problem;
use failure::{Failed, at_commit, before_commit};
use pool::{Lease, Pool};
use source::Source;
use std::{ops::ControlFlow, time::Duration};
use tokio::time::{Instant, error::Elapsed, sleep, timeout_at};
use tokio_postgres::Transaction;

/// Longer than a failover's usual gap, shorter than the 10 s that clients and gateways wait.
const RETRY_FOR: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(150);
/// One attempt; a server that vanished without a word must leave time for another attempt.
const ATTEMPT: Duration = Duration::from_secs(3);

/// Whether the work may run a second time when nobody knows if the first time committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    Harmless,
    OnlyIfNotCommitted,
}

/// Runs the work in a transaction and commits: `transact!(database, repeat, |transaction| work)`, where the work is an
/// expression of type `Result<T, Problem>` that may await, and use `?`.
///
/// The work must return the first error of a statement: `COMMIT` after an error that was swallowed is a rollback that
/// looks like success. A macro, because the compiler can't prove yet that the future of a function which takes an async
/// closure over a borrowed transaction is `Send` (rust-lang/rust#110338).
macro_rules! transact {
    ($database:expr, $repeat:expr, |$transaction:ident| $work:expr) => {{
        let attempts = $database.attempts($repeat);
        loop {
            let outcome = match attempts.lease().await {
                Err(failed) => Err(failed),
                Ok(mut lease) => {
                    let working = async {
                        let transaction = lease.client().transaction().await?;
                        let $transaction = &transaction;
                        let value: Result<_, $crate::problem::Problem> = async { $work }.await;
                        Ok((transaction, value?))
                    };
                    let worked = tokio::time::timeout_at(attempts.limit(), working).await;
                    let ended = attempts.commit(worked).await;
                    attempts.give_back(lease, ended)
                }
            };
            if let std::ops::ControlFlow::Break(result) = attempts.settle(outcome).await {
                break result;
            }
        }
    }};
}
pub(crate) use transact;

pub struct Database {
    pool: Pool,
}

impl Database {
    pub fn new(source: Source) -> Self {
        Self {
            pool: Pool::new(source),
        }
    }

    /// For [`transact!`].
    pub fn attempts(&self, repeat: Repeat) -> Attempts<'_> {
        Attempts {
            pool: &self.pool,
            repeat,
            deadline: Instant::now() + RETRY_FOR,
        }
    }

    /// A connection for work that isn't tried again.
    pub async fn lease(&self) -> Result<Lease<'_>, Problem> {
        self.pool.lease().await.map_err(|error| Problem::Unavailable {
            reason: error.to_string(),
        })
    }

    /// The version of the schema, once, without trying again. `None`: no migration has run yet.
    pub async fn schema_version(&self) -> Result<Option<i32>, Problem> {
        let mut lease = self.lease().await?;
        let row = lease
            .client()
            .query_one("select to_regclass('schema_migrations') is not null", &[])
            .await;
        let exists: bool = row
            .and_then(|row| row.try_get(0))
            .map_err(|error| self.forget_if_lost(error))?;
        let version = if exists {
            let row = lease
                .client()
                .query_one("select max(version) from schema_migrations", &[])
                .await?;
            row.try_get(0)?
        } else {
            None
        };
        lease.keep();
        Ok(version)
    }

    fn forget_if_lost(&self, error: tokio_postgres::Error) -> Problem {
        if failure::is_connection_lost(&error) {
            self.pool.forget_all();
        }
        Problem::Unavailable {
            reason: error.to_string(),
        }
    }
}

/// What became of a connection.
enum Connection {
    Clean,
    Lost,
}

/// How one attempt ended, and what became of its connection.
pub struct Ended<T>(Result<T, Failed>, Connection);

/// The attempts at one unit of work; the parts that [`transact!`] is made of.
pub struct Attempts<'d> {
    pool: &'d Pool,
    repeat: Repeat,
    deadline: Instant,
}

impl<'d> Attempts<'d> {
    pub async fn lease(&self) -> Result<Lease<'d>, Failed> {
        match timeout_at(self.deadline, self.pool.lease()).await {
            Ok(leased) => leased.map_err(|error| Failed::NotCommitted(error.to_string())),
            Err(_) => Err(Failed::NotCommitted(
                "no database connection became free".to_owned(),
            )),
        }
    }

    /// When the work of an attempt that starts now is given up.
    pub fn limit(&self) -> Instant {
        self.deadline.min(Instant::now() + ATTEMPT)
    }

    pub async fn commit<T>(
        &self,
        worked: Result<Result<(Transaction<'_>, T), Problem>, Elapsed>,
    ) -> Ended<T> {
        let (transaction, value) = match worked {
            Ok(Ok(done)) => done,
            // The transaction's drop has sent ROLLBACK, and the server answers in order.
            Ok(Err(problem)) => {
                let (failed, connection) = before_commit(problem);
                return Ended(Err(failed), connection);
            }
            Err(_) => {
                let reason = "the database did not answer in time".to_owned();
                return Ended(Err(Failed::NotCommitted(reason)), Connection::Lost);
            }
        };
        // A commit may wait for a standby. Its answer is given up early only when asking again is harmless.
        let limit = if self.repeat == Repeat::Harmless {
            self.limit()
        } else {
            self.deadline
        };
        match timeout_at(limit, transaction.commit()).await {
            Ok(Ok(())) => Ended(Ok(value), Connection::Clean),
            Ok(Err(error)) => Ended(Err(at_commit(error)), Connection::Lost),
            Err(_) => Ended(
                Err(Failed::Unknown("the commit got no answer in time".to_owned())),
                Connection::Lost,
            ),
        }
    }

    pub fn give_back<T>(&self, lease: Lease<'_>, Ended(outcome, connection): Ended<T>) -> Result<T, Failed> {
        match connection {
            Connection::Clean => lease.keep(),
            Connection::Lost => self.pool.forget_all(),
        }
        outcome
    }

    /// Decides whether to try again, and waits a little before it.
    pub async fn settle<T>(&self, outcome: Result<T, Failed>) -> ControlFlow<Result<T, Problem>> {
        let reason = match outcome {
            Ok(value) => return ControlFlow::Break(Ok(value)),
            Err(Failed::Refused(problem)) => return ControlFlow::Break(Err(problem)),
            Err(Failed::NotCommitted(reason)) => reason,
            Err(Failed::Unknown(reason)) if self.repeat == Repeat::Harmless => reason,
            Err(Failed::Unknown(reason)) => return ControlFlow::Break(Err(Problem::Unavailable { reason })),
        };
        if Instant::now() + PAUSE >= self.deadline {
            return ControlFlow::Break(Err(Problem::Unavailable { reason }));
        }
        tracing::info!(reason, "trying the transaction again");
        sleep(PAUSE).await;
        ControlFlow::Continue(())
    }
}
