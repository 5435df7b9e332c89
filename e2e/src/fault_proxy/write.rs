//! What passes the proxy: a write, and what is done to it.

use std::fmt;
use std::time::Instant;

use anyhow::Result;
use hyper::Method;
use hyper::http::request::Parts;

/// What is done to one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The write is done, the client has its answer, and is killed.
    KillAfterAnswer,
    /// The write is done, and the client is killed before it has the answer.
    LoseAnswer,
    /// The write is not done; the client gets this status, with `Retry-After` in seconds if given.
    Refuse { status: u16, retry_after: Option<u32> },
    /// The write is not done; the client's connection is reset.
    Reset,
}

/// One write of the client. Leases and events are none: they are passed, neither counted nor injured.
#[derive(Debug, Clone)]
pub struct Write {
    /// From 1.
    pub number: usize,
    pub verb: Method,
    /// Without the query.
    pub path: String,
    pub at: Instant,
    pub fault: Option<Fault>,
    /// What the API server (or the fault) answered; none as long as it didn't, or if it couldn't be reached.
    pub status: Option<u16>,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4} {} {} -> ", self.number, self.verb, self.path)?;
        match self.status {
            Some(status) => write!(f, "{status}")?,
            None => f.write_str("no answer")?,
        }
        self.fault.map_or(Ok(()), |fault| write!(f, " {fault:?}"))
    }
}

/// The process behind the requests.
pub trait Victim: Send + Sync {
    /// Ends it at once; when this returns it is gone.
    fn kill(&self);
    fn start(&self) -> Result<()>;
}

/// Whether it changes something that counts. A lease is renewed and events are told whatever happens.
pub(super) fn is_counted(parts: &Parts) -> bool {
    let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(&parts.method);
    let uncounted = |segment: &str| matches!(segment, "leases" | "events");
    let dry = parts
        .uri
        .query()
        .is_some_and(|query| query.contains("dryRun=All"));
    writes && !dry && !parts.uri.path().split('/').any(uncounted)
}
