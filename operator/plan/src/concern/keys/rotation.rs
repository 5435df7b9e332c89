//! Rotation of the tenant key: a new version, every data key wrapped by it, the old version destroyed. Nothing restarts.
//!
//! In: the key's versions, the data keys, the operations of this life. Out: records and actions. Invariants: each step stands
//! in the TenantOperation before its effect; a version is destroyed only when no data key is wrapped by it; one operation
//! runs at a time for a tenant; a step that was carried out already is told from what is there, so that none is done twice;
//! none is believed for good, so that what is acknowledged happened.

use freehold_crds::{OperationType, Phase, RotationOperation, RotationReason, TenantOperationSpec};
use jiff::Timestamp;

use super::period::Period;
use super::{TOPIC, word};
use crate::clock::soon;
use crate::concern::Scene;
use crate::input::{Input, Operation, Slot, TenantKey};
use crate::model::incarnation;
use crate::operation::{self, Step as _, advance, free_name, of_type};
use crate::outcome::{Action, Outcome, Record, Wait};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The provider makes the next version.
    Rotate,
    /// Every data key is wrapped by it.
    Rewrap,
    /// The versions before it are destroyed.
    Destroy,
}

impl operation::Step for Step {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Rotate, "Rotate"),
        (Self::Rewrap, "Rewrap"),
        (Self::Destroy, "Destroy"),
    ];
}

/// The rotation that is under way.
pub fn under_way<'a>(input: &'a Input<'_>) -> Option<(&'a str, &'a Operation)> {
    let mut rotations = rotations(input);
    rotations.find(|(_, operation)| !operation.status.phase.is_over())
}

fn rotations<'a>(input: &'a Input<'_>) -> impl Iterator<Item = (&'a str, &'a Operation)> {
    of_type(input, OperationType::TenantKeyRotation)
}

/// When the current version's cryptoperiod is over.
pub fn due(scene: &Scene<'_>, (_, created): (u32, Timestamp)) -> Timestamp {
    let period = Period::of(scene.model.tenant_key_cryptoperiod);
    period.due(created, &[scene.model.uid, TOPIC])
}

/// Whether the whole of it is over.
pub fn is_overdue(scene: &Scene<'_>) -> bool {
    let key = scene.input.observed.minted.keys.tenant.present();
    let period = Period::of(scene.model.tenant_key_cryptoperiod);
    key.and_then(TenantKey::current)
        .is_some_and(|(_, created)| period.is_over(created, scene.input.now))
}

pub fn plan(scene: &Scene<'_>, key: &TenantKey, current: (u32, Timestamp), outcome: &mut Outcome) {
    if let Some((name, operation)) = under_way(scene.input) {
        outcome.wake_at(soon(scene.input.now));
        carry_on(scene, key, current.0, (name, operation), outcome);
        return;
    }
    let asked = word::unheard(scene, OperationType::TenantKeyRotation);
    let due = due(scene, current);
    let reason = match asked {
        Some(_) => RotationReason::Requested,
        None if due <= scene.input.now => RotationReason::Cryptoperiod,
        None => {
            outcome.wake_at(Some(due));
            return;
        }
    };
    if let Some((name, unblocked_by)) = super::awaited(scene) {
        // The end of that one is an event.
        outcome.waits.push(Wait {
            reason: "TenantKeyRotationWaits",
            message: format!(
                "a new version of the tenant key is due or asked for, and waits for the end of {name}"
            ),
            unblocked_by,
            stalls: false,
        });
        return;
    }
    outcome.wake_at(soon(scene.input.now));
    outcome.records.push(Record::Create {
        name: free_name(scene.input, "tenant-key"),
        spec: TenantOperationSpec {
            tenant: scene.model.name.to_owned(),
            tenant_uid: scene.model.uid.to_owned(),
            incarnation: incarnation(scene.input),
            r#type: OperationType::TenantKeyRotation,
            deletion: None,
            authority: None,
            upgrade: None,
            reencryption: None,
            rotation: Some(RotationOperation {
                from_version: current.0,
                reason,
                token: asked.map(str::to_owned),
            }),
        },
    });
}

fn carry_on(
    scene: &Scene<'_>,
    key: &TenantKey,
    current: u32,
    operation: (&str, &Operation),
    outcome: &mut Outcome,
) {
    let now = scene.input.now;
    let from = operation
        .1
        .spec
        .rotation
        .as_ref()
        .map_or(0, |rotation| rotation.from_version);
    let Some(step) = Step::of(operation.1).filter(|_| operation.1.status.phase == Phase::Running) else {
        let record = advance(operation, now, None, Some(Step::Rotate.as_str()));
        outcome.records.push(record);
        return;
    };
    // Whatever the step is: the provider may have been rolled back since, or an older Secret put back.
    if current <= from {
        outcome.actions.push(Action::RotateTenantKey { from: current });
        return;
    }
    let old = old(scene, current);
    if step != Step::Rotate && !old.is_empty() {
        outcome.actions.push(Action::RewrapDataKeys { volumes: old });
        return;
    }
    let done = match step {
        Step::Rotate => Some(format!("version {current} was made after version {from}")),
        // A volume that is just being made gets its key under the current version.
        Step::Rewrap => {
            let count = scene.input.observed.minted.keys.data.len();
            Some(format!("{count} data keys are wrapped by version {current}"))
        }
        Step::Destroy => {
            let versions: Vec<u32> = key.versions.keys().copied().filter(|v| *v < current).collect();
            if !versions.is_empty() {
                outcome.actions.push(Action::DestroyVersions {
                    versions: versions.clone(),
                });
            }
            let told = key
                .retired
                .as_ref()
                .map_or_else(String::new, |told| format!(": {told}"));
            versions
                .is_empty()
                .then(|| format!("no version before {current} is left{told}"))
        }
    };
    if let Some(done) = done {
        let next = step.next().map(Step::as_str);
        let record = advance(operation, now, Some((step.as_str(), done)), next);
        outcome.records.push(record);
    }
}

/// Volumes whose key is wrapped by an older version.
fn old(scene: &Scene<'_>, current: u32) -> Vec<String> {
    let data = scene.input.observed.minted.keys.data.iter();
    data.filter(|(_, slot)| matches!(slot, Slot::Present(key) if key.version < current))
        .map(|(volume, _)| volume.clone())
        .collect()
}
