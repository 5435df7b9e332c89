//! How a TenantOperation goes on: one step over, the next begun, in one write that stands before the next one's effects. And
//! how one is given up.

use freehold_crds::{Evidence, OperationType, Phase, TenantOperationStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::clock::stamp;
use crate::input::{Input, Operation};
use crate::model::incarnation;
use crate::names::OperationName;
use crate::outcome::Record;

/// The steps of an act.
pub trait Step: Copy + PartialEq + 'static {
    /// In their order, each with its name in the operation's status.
    const ALL: &'static [(Self, &'static str)];

    fn as_str(self) -> &'static str {
        let mut all = Self::ALL.iter();
        all.find(|(step, _)| *step == self).map_or("", |(_, name)| name)
    }

    /// The step that is under way.
    fn of(operation: &Operation) -> Option<Self> {
        let name = operation.status.step.as_deref()?;
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(step, _)| *step)
    }

    /// The one after it.
    fn next(self) -> Option<Self> {
        let at = Self::ALL.iter().position(|(step, _)| *step == self)?;
        Self::ALL.get(at + 1).map(|(step, _)| *step)
    }
}

/// The operations of one type in this life.
pub fn of_type<'a>(
    input: &'a Input<'_>,
    wanted: OperationType,
) -> impl Iterator<Item = (&'a str, &'a Operation)> {
    let life = incarnation(input);
    let operations = input.observed.operations.iter();
    operations
        .filter(move |(_, operation)| operation.spec.r#type == wanted && operation.spec.incarnation == life)
        .map(|(name, operation)| (name.as_str(), operation))
}

/// The first name for an act in this life that is free: somebody may have deleted a record of those before.
pub fn free_name(input: &Input<'_>, act: &str) -> String {
    let life = incarnation(input);
    let tenant = input.tenant.metadata.name.as_deref().unwrap_or_default();
    let known = &input.observed.operations;
    let names = (0..=known.len()).map(|number| OperationName::of(tenant, act, &life, number));
    let mut names = names.map(|name| name.as_str().to_owned());
    // One more name than there are records: one is free.
    names.find(|name| !known.contains_key(name)).unwrap_or_default()
}

/// The write that ends a step with what was done in it, and begins the next; without a next one it has succeeded.
pub fn advance(
    (name, operation): (&str, &Operation),
    now: Timestamp,
    over: Option<(&str, String)>,
    next: Option<&str>,
) -> Record {
    let now = Time(stamp(now));
    let mut status = TenantOperationStatus {
        hold_until: None,
        phase: if next.is_some() {
            Phase::Running
        } else {
            Phase::Succeeded
        },
        step: next.map(str::to_owned),
        ..operation.status.clone()
    };
    status.started_at.get_or_insert_with(|| now.clone());
    if let Some((step, message)) = over {
        status.evidence.push(Evidence {
            step: step.to_owned(),
            at: now.clone(),
            message,
        });
    }
    if next.is_none() {
        status.finished_at = Some(now);
    }
    Record::Advance {
        name: name.to_owned(),
        resource_version: operation.resource_version.clone(),
        status,
    }
}

/// The write that gives an operation up, where it is.
pub fn cancel((name, operation): (&str, &Operation), now: Timestamp, why: Option<&str>) -> Record {
    let now = Time(stamp(now));
    let mut status = TenantOperationStatus {
        hold_until: None,
        phase: Phase::Cancelled,
        finished_at: Some(now.clone()),
        ..operation.status.clone()
    };
    if let Some(why) = why {
        status.evidence.push(Evidence {
            step: status.step.clone().unwrap_or_default(),
            at: now,
            message: why.to_owned(),
        });
    }
    status.step = None;
    Record::Advance {
        name: name.to_owned(),
        resource_version: operation.resource_version.clone(),
        status,
    }
}
