//! How a tenant ends: in steps, each waits for the one before it.
//!
//! Routes, then workloads, then the database, then the namespace, then the authority, then the finalizer. Deletes are
//! in the foreground: an object is gone only when its pods are, so that policies (which go with the namespace) outlive
//! the last pod. Invariant: nothing is deleted that was not made for this tenant's uid.

use super::namespace::{Holder, holder, id};
use crate::input::{Input, Slot};
use crate::kind::Kind;
use crate::object::Id;
use crate::outcome::{Action, Finalizer, Finding, Wait};

/// What the end of a tenant takes now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Teardown {
    pub prune: Vec<Id>,
    pub actions: Vec<Action>,
    pub finalizer: Finalizer,
    pub wait: Option<Wait>,
    pub finding: Option<Finding>,
}

/// Kinds that end together.
const STEPS: [(&str, &[Kind]); 3] = [
    ("routes", &[Kind::HttpRoute, Kind::Gateway]),
    (
        "workloads",
        &[
            Kind::Deployment,
            Kind::Job,
            Kind::PodDisruptionBudget,
            Kind::Service,
        ],
    ),
    ("the database", &[Kind::Cluster]),
];

/// The next step.
pub fn plan(input: &Input<'_>) -> Teardown {
    if matches!(holder(input), Holder::Us | Holder::Ending) {
        for (what, kinds) in STEPS {
            let left = left(input, kinds);
            if !left.is_empty() {
                return step(input, what, left);
            }
        }
        return step(input, "the namespace", vec![id(input)]);
    }
    let actions = match input.observed.minted.authority {
        Slot::Present(_) | Slot::Broken | Slot::Unread => vec![Action::ForgetAuthority],
        Slot::Absent | Slot::Foreign => Vec::new(),
    };
    let finalizer = if actions.is_empty() {
        Finalizer::Remove
    } else {
        Finalizer::Keep
    };
    Teardown {
        actions,
        finalizer,
        ..Teardown::default()
    }
}

/// What is left of some kinds in the tenant's namespace.
fn left(input: &Input<'_>, kinds: &[Kind]) -> Vec<Id> {
    let namespace = id(input).name;
    let ids = input.observed.objects.keys();
    ids.filter(|id| kinds.contains(&id.kind) && id.namespace == namespace)
        .cloned()
        .collect()
}

fn step(input: &Input<'_>, what: &str, left: Vec<Id>) -> Teardown {
    let names: Vec<String> = left.iter().take(5).map(ToString::to_string).collect();
    let message = format!("waiting for {what} to end: {}", names.join(", "));
    let ending = |id: &Id| input.observed.objects.get(id).is_some_and(|seen| seen.ending);
    Teardown {
        prune: left.into_iter().filter(|id| !ending(id)).collect(),
        wait: Some(Wait {
            reason: "TearingDown",
            message: message.clone(),
            unblocked_by: format!("the end of {what}; look for finalizers if it takes minutes"),
            stalls: false,
        }),
        finding: Some(Finding::new("Ready", false, "TearingDown", message)),
        ..Teardown::default()
    }
}
