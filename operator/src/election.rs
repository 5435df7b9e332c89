//! Who leads. Two processes at work on one tenant could both be right and still undo each other, so only one works.
//!
//! Invariant: a process that has led and leads no more ends at once: nothing that it has under way may go on. Its
//! successor starts from what it sees. The lease manager does not tell of a lease that it can no longer renew (it tries
//! for ever), so the leader reads the lease itself and ends before anybody else may take it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch::Receiver;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const LEASE: &str = "freehold";
/// Seconds after which a leader that no longer renews is replaced.
const DURATION: u64 = 15;
/// Seconds before the end of the lease at which the leader renews it.
const GRACE: u64 = 10;
/// How often the leader looks at its lease, and how long an answer may take.
const LOOK: Duration = Duration::from_secs(2);
/// Seconds since the last renewal after which the leader gives up: a renewal was missed, and one more look, which
/// may take a sleep and a whole wait for the answer, still ends before the leader is replaced.
const GIVE_UP: i64 = 10;

#[derive(Debug, thiserror::Error)]
pub enum ElectionError {
    #[error("the lease can't be used")]
    Lease(#[from] LeaseManagerError),
    #[error("the leadership was lost ({0}): another process may lead now, so this one ends")]
    Lost(&'static str),
}

/// A place in the election.
pub struct Election {
    leads: Receiver<bool>,
    task: JoinHandle<Result<LeaseManager, LeaseManagerError>>,
    leases: Api<Lease>,
    identity: String,
}

/// What one look at the lease says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Ours, last renewed then.
    Ours(Timestamp),
    Anothers,
    /// No answer, or none that can be read.
    Unknown,
}

impl Election {
    /// Stands for election.
    pub async fn stand(client: Client, namespace: &str, identity: &str) -> Result<Self, ElectionError> {
        let leases = Api::namespaced(client.clone(), namespace);
        let manager = LeaseManagerBuilder::new(client, LEASE)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_duration(DURATION)
            .with_grace(GRACE)
            .build()
            .await?;
        let (leads, task) = manager.watch().await;
        Ok(Self {
            leads,
            task,
            leases,
            identity: identity.to_owned(),
        })
    }

    /// Ends when this process leads.
    pub async fn won(&mut self) -> Result<(), ElectionError> {
        let ended = |_| ElectionError::Lost("the election ended");
        self.leads
            .wait_for(|leads| *leads)
            .await
            .map(|_| ())
            .map_err(ended)
    }

    /// Ends when this process leads no more.
    pub async fn lost(&mut self) -> ElectionError {
        let Self {
            leads,
            leases,
            identity,
            ..
        } = self;
        let why = tokio::select! {
            // An error means that the election's task has ended, which is a loss too.
            _ = leads.wait_for(|leads| !*leads) => "the lease manager says so",
            why = guard(leases, identity) => why,
        };
        ElectionError::Lost(why)
    }

    /// Gives the lease back, so that the successor need not wait for its end.
    pub async fn resign(self) {
        let Self { leads, task, .. } = self;
        drop(leads);
        let _ = timeout(Duration::from_secs(3), task).await;
    }
}

/// Looks at the lease until it is not ours any more; says why.
async fn guard(leases: &Api<Lease>, identity: &str) -> &'static str {
    let mut renewed = Timestamp::now();
    loop {
        sleep(LOOK).await;
        let look = match timeout(LOOK, leases.get_opt(LEASE)).await {
            Ok(Ok(lease)) => read(lease, identity),
            Ok(Err(_)) | Err(_) => Look::Unknown,
        };
        if let Some(why) = verdict(look, &mut renewed, Timestamp::now()) {
            return why;
        }
    }
}

fn read(lease: Option<Lease>, identity: &str) -> Look {
    let Some(spec) = lease.and_then(|lease| lease.spec) else {
        return Look::Anothers;
    };
    if spec.holder_identity.as_deref() != Some(identity) {
        return Look::Anothers;
    }
    spec.renew_time.map_or(Look::Unknown, |time| Look::Ours(time.0))
}

/// Why the leadership is over, if it is.
fn verdict(look: Look, renewed: &mut Timestamp, now: Timestamp) -> Option<&'static str> {
    match look {
        Look::Anothers => return Some("the lease is not ours"),
        Look::Ours(at) => *renewed = at,
        Look::Unknown => {}
    }
    let late = now.duration_since(*renewed).as_secs() >= GIVE_UP;
    late.then_some("the lease could not be renewed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_cannot_renew_gives_up_before_it_is_replaced() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut renewed = at(0);
        assert_eq!(verdict(Look::Unknown, &mut renewed, at(9)), None);
        assert!(verdict(Look::Unknown, &mut renewed, at(10)).is_some());
        assert_eq!(verdict(Look::Ours(at(11)), &mut renewed, at(20)), None);
        assert!(verdict(Look::Anothers, &mut renewed, at(20)).is_some());
        // A look that comes just too early for a verdict is followed by a sleep and a wait.
        let latest = u64::try_from(GIVE_UP).unwrap() + 2 * LOOK.as_secs();
        assert!(latest < DURATION);
        // A renewal may come one look late, and a half of its interval.
        assert!(DURATION - GRACE + 2 * LOOK.as_secs() < u64::try_from(GIVE_UP).unwrap());
    }

    #[test]
    fn a_lease_that_is_gone_or_held_by_another_is_lost() {
        assert_eq!(read(None, "me"), Look::Anothers);
        let held = |by: &str| Lease {
            spec: Some(k8s_openapi::api::coordination::v1::LeaseSpec {
                holder_identity: Some(by.to_owned()),
                ..Default::default()
            }),
            ..Lease::default()
        };
        assert_eq!(read(Some(held("other")), "me"), Look::Anothers);
        assert_eq!(read(Some(held("me")), "me"), Look::Unknown);
    }
}
