//! In: a [`Source`]. Out: leases of at most [`SIZE`] connections to the primary.
//!
//! A connection goes back only when its user says that it is clean ([`Lease::keep`]); one that is dropped in the middle
//! of something is closed. After a failover all connections made before it are dropped.

use super::source::{ConnectError, Purpose, Source};
use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::Client;

const SIZE: usize = 10;
/// So that a rotated password or CA reaches every connection.
const MAX_AGE: Duration = Duration::from_secs(300);

pub struct Pool {
    source: Source,
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
    generation: AtomicU64,
}

struct Connection {
    client: Client,
    generation: u64,
    since: Instant,
}

pub struct Lease<'p> {
    connection: Connection,
    pool: &'p Pool,
    _permit: SemaphorePermit<'p>,
}

impl Pool {
    pub fn new(source: Source) -> Self {
        let generation = AtomicU64::new(0);
        Self {
            source,
            permits: Semaphore::new(SIZE),
            idle: Mutex::new(Vec::new()),
            generation,
        }
    }

    pub async fn lease(&self) -> Result<Lease<'_>, ConnectError> {
        // The semaphore is never closed, so that this can't fail.
        let _permit = match self.permits.acquire().await {
            Ok(permit) => permit,
            Err(_) => std::future::pending().await,
        };
        if let Some(connection) = self.take_idle() {
            return Ok(Lease {
                connection,
                pool: self,
                _permit,
            });
        }
        let generation = self.generation.load(Ordering::Acquire);
        let client = self.source.connect(Purpose::Requests).await?;
        let connection = Connection {
            client,
            generation,
            since: Instant::now(),
        };
        Ok(Lease {
            connection,
            pool: self,
            _permit,
        })
    }

    /// The primary has moved or gone: no connection that was made before now is used again.
    pub fn forget_all(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        if let Ok(mut idle) = self.idle.lock() {
            idle.clear();
        }
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().ok()?;
        while let Some(connection) = idle.pop() {
            if self.is_usable(&connection) {
                return Some(connection);
            }
        }
        None
    }

    fn is_usable(&self, connection: &Connection) -> bool {
        !connection.client.is_closed()
            && connection.generation == self.generation.load(Ordering::Acquire)
            && connection.since.elapsed() < MAX_AGE
    }
}

impl Lease<'_> {
    pub fn client(&mut self) -> &mut Client {
        &mut self.connection.client
    }

    /// Gives the connection back for the next user: nothing is open on it.
    pub fn keep(self) {
        if self.pool.is_usable(&self.connection)
            && let Ok(mut idle) = self.pool.idle.lock()
        {
            idle.push(self.connection);
        }
    }
}
