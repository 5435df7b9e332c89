//! In: the error of a statement or of a commit. Out: whether the transaction certainly did not commit, and whether the
//! connection is still of use. Pure.

use super::Connection;
use crate::problem::Problem;
use tokio_postgres::{Error, error::SqlState};

#[derive(Debug)]
pub enum Failed {
    /// The work itself said no, or the database refused what it asked: trying again gives the same.
    Refused(Problem),
    /// Nothing was changed; another attempt may succeed.
    NotCommitted(String),
    /// The commit was sent and its answer is lost.
    Unknown(String),
}

/// The error of the work, before a commit was sent.
pub fn before_commit(problem: Problem) -> (Failed, Connection) {
    match problem {
        Problem::Statement(error) if is_connection_lost(&error) => {
            (Failed::NotCommitted(describe(&error)), Connection::Lost)
        }
        Problem::Statement(error) if is_transient(&error) => {
            (Failed::NotCommitted(describe(&error)), Connection::Clean)
        }
        problem => (Failed::Refused(problem), Connection::Clean),
    }
}

/// Only a rollback that the server reports is certain. `57P01` is not: a server that shuts down while a commit waits for
/// its standby has committed already.
pub fn at_commit(error: Error) -> Failed {
    match error.code() {
        Some(code) if is_class(code, "40") => Failed::NotCommitted(describe(&error)),
        Some(code) if is_class(code, "23") => Failed::Refused(Problem::Statement(error)),
        _ => Failed::Unknown(describe(&error)),
    }
}

/// The session is over, or is one on a server that no longer is the primary.
pub fn is_connection_lost(error: &Error) -> bool {
    match error.code() {
        None => {
            error.is_closed()
                || std::error::Error::source(error).is_some_and(|cause| cause.is::<std::io::Error>())
        }
        Some(code) => {
            is_class(code, "08")
                || is_class(code, "57P")
                || is_class(code, "53")
                || *code == SqlState::READ_ONLY_SQL_TRANSACTION
        }
    }
}

/// Deadlock, serialization, a lock or a statement that took too long.
fn is_transient(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        is_class(code, "40") || *code == SqlState::LOCK_NOT_AVAILABLE || *code == SqlState::QUERY_CANCELED
    })
}

fn is_class(code: &SqlState, class: &str) -> bool {
    code.code().starts_with(class)
}

fn describe(error: &Error) -> String {
    match error.as_db_error() {
        Some(refused) => format!("{}: {}", refused.code().code(), refused.message()),
        None => error.to_string(),
    }
}
