//! How a tenant ends: in steps, each waits for the one before it, and each stands in the TenantOperation before its first
//! effect.
//!
//! Routes, then the customer's access, then workloads, then the database; then with the policy `Delete` the namespace and
//! the keys, with `Retain` a mark on the namespace; the hostnames; the finalizer. Deletes are in the foreground: an object
//! is gone only when its pods are, so that policies (which go with the namespace, or stay) outlive the last pod.
//! Invariant: nothing is deleted that was not made for this life of the tenant.

use freehold_crds::{DeletionPolicy, Phase};

use super::deletion::announced;
use super::namespace::{Holder, holder, id};
use super::{hostnames, keys};
use crate::clock::{soon, stamp};
use crate::input::{Input, Slot};
use crate::kind::Kind;
use crate::model::namespace;
use crate::names::{HIBERNATION, OPERATOR_BINDING, RETAINED_AT};
use crate::object::{Id, Object};
use crate::operation::{advance, cancel};
use crate::outcome::{Action, Finalizer, Finding, Outcome, Record, Wait};
use crate::seen::Facts;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Routes,
    Access,
    Workloads,
    Database,
    Hibernation,
    Namespace,
    Keys,
    Retention,
    Hostnames,
}

impl Step {
    const DELETE: [Self; 7] = [
        Self::Routes,
        Self::Access,
        Self::Workloads,
        Self::Database,
        Self::Namespace,
        Self::Keys,
        Self::Hostnames,
    ];
    const RETAIN: [Self; 6] = [
        Self::Routes,
        Self::Access,
        Self::Workloads,
        Self::Hibernation,
        Self::Retention,
        Self::Hostnames,
    ];

    fn of(policy: DeletionPolicy) -> &'static [Self] {
        match policy {
            DeletionPolicy::Delete => &Self::DELETE,
            DeletionPolicy::Retain => &Self::RETAIN,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Routes => "Routes",
            Self::Access => "Access",
            Self::Workloads => "Workloads",
            Self::Database => "Database",
            Self::Hibernation => "Hibernation",
            Self::Namespace => "Namespace",
            Self::Keys => "Keys",
            Self::Retention => "Retention",
            Self::Hostnames => "Hostnames",
        }
    }

    /// What it waits for, and what it leaves behind.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Routes => (
                "the routes to end",
                "the Gateway and its routes are gone: nobody gets in",
            ),
            Self::Access => (
                "the customer's access to end",
                "the customer's role bindings are gone",
            ),
            Self::Workloads => ("the workloads to end", "no pod of the product runs"),
            Self::Database => ("the database to end", "the database and its volumes are deleted"),
            Self::Hibernation => (
                "the database to be hibernated",
                "the database is hibernated, its volumes are kept",
            ),
            Self::Namespace => (
                "the namespace to end",
                "the namespace is gone, with everything in it",
            ),
            Self::Keys => (
                "the keys to be deleted",
                "the authority's key, the wrapped data keys and the tenant key are destroyed",
            ),
            Self::Retention => (
                "the namespace to be marked",
                "the namespace, its volumes and its keys are kept",
            ),
            Self::Hostnames => ("the hostnames to be given up", "the hostnames are given up"),
        }
    }
}

/// What the end of a tenant takes now.
#[derive(Clone, Debug, Default)]
pub struct Teardown {
    pub prune: Vec<Id>,
    pub finalizer: Finalizer,
    pub outcome: Outcome,
}

/// The next step of the deletion that was announced.
pub fn plan(input: &Input<'_>) -> Teardown {
    let Some((name, operation)) = announced(input) else {
        return Teardown::default();
    };
    let policy = operation
        .spec
        .deletion
        .as_ref()
        .map_or(DeletionPolicy::Retain, |deletion| deletion.policy);
    let steps = Step::of(policy);
    let now = operation.status.step.as_deref();
    let at = steps.iter().position(|step| Some(step.as_str()) == now);
    match (operation.status.phase, at) {
        (Phase::Succeeded, _) => Teardown {
            finalizer: Finalizer::Remove,
            ..Teardown::default()
        },
        (Phase::Running, Some(at)) => {
            let mut step = effects(input, steps[at]);
            let waits = step.prune.is_empty()
                && step.outcome.objects.is_empty()
                && step.outcome.actions.is_empty()
                && step.outcome.waits.is_empty();
            if waits {
                let over = (steps[at].as_str(), steps[at].words().1.to_owned());
                let next = steps.get(at + 1).map(|step| step.as_str());
                let record = advance((name, operation), input.now, Some(over), next);
                step.outcome.records.push(record);
                if steps[at] == Step::Keys {
                    step.outcome.records.extend(given_up(input));
                }
            }
            told(input, steps[at], step)
        }
        _ => {
            let mut begin = Teardown::default();
            let first = steps.first().map(|step| step.as_str());
            let record = advance((name, operation), input.now, None, first);
            begin.outcome.records.push(record);
            told(input, steps[0], begin)
        }
    }
}

/// Rotations that were under way, of keys that are no more.
fn given_up(input: &Input<'_>) -> Option<Record> {
    let rotation = keys::under_way(input)?;
    let why = "the tenant was deleted, and its keys with it";
    Some(cancel(rotation, input.now, Some(why)))
}

/// What a step still has to do; nothing when it is over.
fn effects(input: &Input<'_>, step: Step) -> Teardown {
    let ours = matches!(holder(input), Holder::Us | Holder::Ending);
    let kinds = |kinds: &[Kind]| Teardown {
        prune: if ours { left(input, kinds) } else { Vec::new() },
        ..Teardown::default()
    };
    match step {
        Step::Routes => kinds(&[
            Kind::HttpRoute,
            Kind::BackendTlsPolicy,
            Kind::Gateway,
            Kind::Certificate,
        ]),
        Step::Access => {
            let mut step = kinds(&[Kind::RoleBinding]);
            step.prune.retain(|id| id.name != OPERATOR_BINDING);
            step
        }
        Step::Workloads => {
            let mut step = kinds(&[
                Kind::Deployment,
                Kind::Job,
                Kind::PodDisruptionBudget,
                Kind::Service,
                Kind::Pod,
            ]);
            // The unrestricted pods of the verification run elsewhere.
            let elsewhere = input.observed.objects.keys().filter(|id| id.kind == Kind::Pod);
            step.prune.extend(elsewhere.cloned());
            step.prune.sort();
            step.prune.dedup();
            step
        }
        Step::Database => kinds(&[Kind::Cluster]),
        Step::Hibernation => hibernation(input, ours),
        Step::Namespace => Teardown {
            prune: if ours { vec![id(input)] } else { Vec::new() },
            ..Teardown::default()
        },
        // Somebody may have put the namespace back meanwhile: what is in it can't be read without its keys.
        Step::Keys if ours => effects(input, Step::Namespace),
        Step::Keys => {
            let mut step = Teardown::default();
            if matches!(
                input.observed.minted.authority,
                Slot::Present(_) | Slot::Broken | Slot::Unread
            ) {
                step.outcome.actions.push(Action::ForgetAuthority);
            }
            let known = &input.observed.minted.keys;
            if known.unread || known.tenant == Slot::Unread {
                // Whether there is a key left can't be told: not "none".
                step.outcome.waits.push(Wait {
                    reason: "KeyServiceUnavailable",
                    message: "waiting for the key service: the tenant's keys can't be read".to_owned(),
                    unblocked_by: "the key service's answer; look at its pods in the keys' namespace"
                        .to_owned(),
                    stalls: false,
                });
                return step;
            }
            step.outcome.actions.extend(keys::forget(input));
            step
        }
        Step::Retention => Teardown {
            outcome: Outcome::of(retention(input, ours)),
            ..Teardown::default()
        },
        Step::Hostnames => Teardown {
            outcome: hostnames::given_up(input, &[]),
            ..Teardown::default()
        },
    }
}

/// The database as it is, told to stop; over when it says that it has.
fn hibernation(input: &Input<'_>, ours: bool) -> Teardown {
    let mut step = Teardown::default();
    if !ours {
        return step;
    }
    let ids = left(input, &[Kind::Cluster]);
    for (id, seen) in ids
        .iter()
        .filter_map(|id| Some((id, input.observed.objects.get(id)?)))
    {
        if seen.live["metadata"]["annotations"][HIBERNATION] != "on" {
            let asleep = Object::of_live(id.clone(), &seen.live, &[(HIBERNATION, "on")]);
            step.outcome.objects.push(asleep);
        } else if !matches!(seen.facts, Facts::Database { hibernated: true, .. }) {
            step.outcome
                .waits
                .push(wait(Step::Hibernation, std::slice::from_ref(id)));
        }
    }
    step
}

/// The namespace as it is, with the mark since when nobody holds its data.
fn retention(input: &Input<'_>, ours: bool) -> Vec<Object> {
    let id = id(input);
    let Some(seen) = input.observed.objects.get(&id).filter(|_| ours) else {
        return Vec::new();
    };
    if seen.live["metadata"]["annotations"][RETAINED_AT].is_string() {
        return Vec::new();
    }
    let now = stamp(input.now).to_string();
    vec![Object::of_live(id, &seen.live, &[(RETAINED_AT, &now)])]
}

/// What is left of some kinds in the tenant's namespace.
fn left(input: &Input<'_>, kinds: &[Kind]) -> Vec<Id> {
    let namespace = namespace(input.tenant);
    let ids = input.observed.objects.keys();
    ids.filter(|id| kinds.contains(&id.kind) && id.namespace == namespace.as_str())
        .cloned()
        .collect()
}

fn wait(step: Step, left: &[Id]) -> Wait {
    let names: Vec<String> = left.iter().take(5).map(ToString::to_string).collect();
    let (what, _) = step.words();
    Wait {
        reason: "TearingDown",
        message: format!("waiting for {what}: {}", names.join(", ")),
        unblocked_by: format!("{what}; look for finalizers on what is named if it takes minutes"),
        stalls: false,
    }
}

fn told(input: &Input<'_>, step: Step, mut teardown: Teardown) -> Teardown {
    if !teardown.outcome.records.is_empty() || !teardown.outcome.objects.is_empty() {
        teardown.outcome.wake_at(soon(input.now));
    }
    let left = teardown.prune.clone();
    let ending = |id: &Id| input.observed.objects.get(id).is_some_and(|seen| seen.ending);
    teardown.prune.retain(|id| !ending(id));
    if teardown.outcome.waits.is_empty() {
        teardown.outcome.waits.push(wait(step, &left));
    }
    let message = teardown
        .outcome
        .waits
        .first()
        .map(|wait| wait.message.clone())
        .unwrap_or_default();
    teardown
        .outcome
        .findings
        .push(Finding::new("Ready", false, "TearingDown", message));
    teardown
}
