//! Whether a tenant may be deleted: a while after its protection was switched off, and on the record.
//!
//! In: the protection, the operations of this life, the class's delay. Out: the condition `Deletable`, which admission asks
//! for, and the record that a deletion is announced. Invariants: the delay counts from the record's own creation, which the
//! API server dated; another policy for the data is another record, with a delay of its own.

use std::time::Duration;

use freehold_crds::{DeletionOperation, DeletionPolicy, OperationType, Phase, TenantOperationSpec};

use super::termination;
use crate::clock::soon;
use crate::input::{Input, Operation};
use crate::model::incarnation;
use crate::operation::{cancel, free_name};
use crate::outcome::{Finding, Outcome, Record, Wait};

pub const TOPIC: &str = "Deletable";

/// The deletion of this Tenant that is announced or under way. One that adopts goes on with an incarnation whose first
/// deletion is over, so it is told by the uid.
pub fn announced<'a>(input: &'a Input<'_>) -> Option<(&'a str, &'a Operation)> {
    let uid = input.tenant.metadata.uid.as_deref();
    let mut operations = input.observed.operations.iter();
    operations
        .find(|(_, operation)| {
            operation.spec.r#type == OperationType::Deletion
                && Some(operation.spec.tenant_uid.as_str()) == uid
                && operation.status.phase != Phase::Cancelled
        })
        .map(|(name, operation)| (name.as_str(), operation))
}

/// Whether the tenant, which is deleted, may be taken down: its protection was switched off long enough ago. Without a
/// deletion timestamp nothing of it is ever taken down.
pub fn is_released(input: &Input<'_>, delay: Duration) -> bool {
    if input.tenant.metadata.deletion_timestamp.is_none() {
        return false;
    }
    announced(input).is_some_and(|(_, operation)| match operation.status.phase {
        Phase::Running | Phase::Succeeded => true,
        Phase::Failed | Phase::Cancelled => false,
        Phase::Pending => {
            !input.tenant.spec.deletion_protection
                && operation.spec.deletion.as_ref().map(|deletion| deletion.policy)
                    == Some(input.tenant.spec.deletion_policy)
                && due(operation, delay) <= input.now
                // One operation runs at a time.
                && !termination::holds_deletion(input)
        }
    })
}

/// The condition, and the record behind it.
pub fn plan(input: &Input<'_>, delay: Duration) -> Outcome {
    let mut outcome = Outcome::default();
    let policy = input.tenant.spec.deletion_policy;
    let protected = input.tenant.spec.deletion_protection;
    let pending = announced(input).filter(|(_, operation)| operation.status.phase == Phase::Pending);
    let fits = |operation: &Operation| {
        let asked = operation.spec.deletion.as_ref().map(|deletion| deletion.policy);
        !protected && asked == Some(policy)
    };
    let finding = match pending {
        Some((name, operation)) if !fits(operation) => {
            outcome.records.push(cancel((name, operation), input.now, None));
            outcome.wake_at(soon(input.now));
            if protected {
                shut()
            } else {
                waiting("the announcement is made anew, because the policy for the data changed".to_owned())
            }
        }
        Some((name, operation)) => {
            let due = due(operation, delay);
            if termination::holds_deletion(input) {
                waiting("it may be deleted when the destruction of its keys is over".to_owned())
            } else if due <= input.now {
                let data = match policy {
                    DeletionPolicy::Retain => "its data is kept",
                    DeletionPolicy::Delete => "ALL ITS DATA GOES WITH IT",
                };
                Finding::aside(
                    TOPIC,
                    Some(true),
                    "Deletable",
                    format!("it may be deleted: {data} ({name})"),
                )
            } else {
                outcome.wake_at(Some(due));
                waiting(format!("it may be deleted from {due} on ({name})"))
            }
        }
        None if protected => shut(),
        None => {
            outcome.records.push(announce(input));
            waiting("its deletion is being announced".to_owned())
        }
    };
    if input.tenant.metadata.deletion_timestamp.is_some() {
        outcome.waits.push(Wait {
            reason: "DeletionHeld",
            message: format!("the tenant was deleted past its protection, and is held: {}", finding.message),
            unblocked_by: "set spec.deletionProtection to false to let it go, after the delay; or take its manifest out, \
                           remove what deletes it, and create it again with adopt.incarnation"
                .to_owned(),
            stalls: true,
        });
    }
    outcome.findings.push(finding);
    outcome
}

fn shut() -> Finding {
    Finding::aside(TOPIC, Some(false), "Protected", "spec.deletionProtection is on")
}

fn waiting(message: String) -> Finding {
    Finding::aside(TOPIC, Some(false), "Waiting", message)
}

/// From when on the tenant may be deleted.
fn due(operation: &Operation, delay: Duration) -> jiff::Timestamp {
    operation
        .created
        .checked_add(delay)
        .unwrap_or(jiff::Timestamp::MAX)
}

fn announce(input: &Input<'_>) -> Record {
    let life = incarnation(input);
    let tenant = input.tenant.metadata.name.clone().unwrap_or_default();
    Record::Create {
        name: free_name(input, "deletion"),
        spec: TenantOperationSpec {
            tenant,
            tenant_uid: input.tenant.metadata.uid.clone().unwrap_or_default(),
            incarnation: life,
            r#type: OperationType::Deletion,
            deletion: Some(DeletionOperation {
                policy: input.tenant.spec.deletion_policy,
            }),
            rotation: None,
            authority: None,
            upgrade: None,
            reencryption: None,
        },
    }
}
