//! Who leads. Two processes at work on one tenant could both be right and still undo each other, so only one works.
//!
//! Invariant: a process that has led and leads no more ends at once: nothing that it has under way may go on. Its
//! successor starts from what it sees.

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch::Receiver;
use tokio::task::JoinHandle;

const LEASE: &str = "freehold";
/// Seconds after which a leader that no longer renews is replaced.
const DURATION: u64 = 15;
/// Seconds before the end of the lease at which the leader renews it.
const GRACE: u64 = 5;

#[derive(Debug, thiserror::Error)]
pub enum ElectionError {
    #[error("the lease can't be used")]
    Lease(#[from] LeaseManagerError),
    #[error("the leadership was lost: another process may lead now, so this one ends")]
    Lost,
}

/// A place in the election.
#[derive(Debug)]
pub struct Election {
    leads: Receiver<bool>,
    task: JoinHandle<Result<LeaseManager, LeaseManagerError>>,
}

impl Election {
    /// Stands for election.
    pub async fn stand(client: Client, namespace: &str, identity: &str) -> Result<Self, ElectionError> {
        let manager = LeaseManagerBuilder::new(client, LEASE)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_duration(DURATION)
            .with_grace(GRACE)
            .build()
            .await?;
        let (leads, task) = manager.watch().await;
        Ok(Self { leads, task })
    }

    /// Ends when this process leads.
    pub async fn won(&mut self) -> Result<(), ElectionError> {
        self.leads
            .wait_for(|leads| *leads)
            .await
            .map(|_| ())
            .map_err(|_| ElectionError::Lost)
    }

    /// Ends when this process leads no more.
    pub async fn lost(&mut self) -> ElectionError {
        // An error means that the election's task has ended, which is a loss too.
        let _ = self.leads.wait_for(|leads| !*leads).await;
        ElectionError::Lost
    }

    /// Gives the lease back, so that the successor need not wait for its end.
    pub async fn resign(self) {
        let Self { leads, task } = self;
        drop(leads);
        let _ = tokio::time::timeout(std::time::Duration::from_secs(3), task).await;
    }
}
