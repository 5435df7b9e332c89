//! The keys of a tenant's own: the tenant key at its provider, and a data key for each volume, wrapped by it.
//!
//! In: what is known of both, the volume claims, the key service's health. Out: actions for the shell, which has neither
//! randomness nor plain keys here either: the key service makes them. Invariants: a volume's key is made once; one that was
//! there and is gone, or can't be read, is never replaced by a new one; a key is forgotten only when its volume is gone,
//! which the shell looks up again right before.

mod loss;
mod period;
pub mod reencryption;
mod rotation;
mod separation;
mod word;

use std::collections::{BTreeMap, BTreeSet};

use freehold_crds::{
    DataKeyStatus, DesiredState, KeyScope, KeyVersionStatus, KeysStatus, OperationType, Phase,
    TenantClassSpec, TenantKeyStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use super::storage::{self, Volume};
use super::{Scene, termination};
use crate::clock::soon;
use crate::input::{Input, KeyService, Keys, Operation, Slot, TenantKey};
use crate::kind::Kind;
use crate::model::incarnation;
use crate::names::KEYS;
use crate::operation::{cancel, of_type};
use crate::outcome::{Action, Finding, Outcome, Wait};

pub const TOPIC: &str = "KeysCurrent";

/// The volumes for which a key was made. It outlives a key that somebody deletes, so that none is made in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Log {
    volumes: BTreeSet<String>,
}

/// Why a volume could not be staged anew now, if so: what runs goes on, but nothing should be changed that may need it.
pub fn lacking(scene: &Scene<'_>) -> Option<String> {
    if !are_wanted(scene, &volumes(scene)) {
        return None;
    }
    let service = scene.input.config.key_service.as_ref();
    if let Some(failure) = service.and_then(|service| service.failure.as_ref()) {
        return Some(format!("the key service does not answer: {failure}"));
    }
    let there = scene.input.observed.minted.keys.tenant.present();
    there.is_none().then(|| "the tenant key can't be read".to_owned())
}

fn are_wanted(scene: &Scene<'_>, volumes: &BTreeMap<&str, Volume<'_>>) -> bool {
    storage::scope(scene) == Some(KeyScope::Tenant) || volumes.values().any(|volume| volume.is_ours())
}

pub fn plan(scene: Scene<'_>) -> Outcome {
    let volumes = volumes(&scene);
    let log: Log = scene.recorded(KEYS);
    let mut outcome = Outcome::default();
    let wanted = are_wanted(&scene, &volumes) || log != Log::default();
    outcome.asides.extend(not_offered(&scene, wanted));
    if !wanted {
        outcome.findings.extend(separation::of_others(&scene));
        return outcome;
    }
    let Some(service) = &scene.input.config.key_service else {
        let message = "the operator was started without a key service, and the StorageClass asks for one";
        outcome
            .findings
            .push(Finding::new(TOPIC, false, "NoKeyService", message));
        outcome.waits.push(Wait {
            reason: "NoKeyService",
            message: message.to_owned(),
            unblocked_by: "start the operator with --key-service, as the chart does".to_owned(),
            stalls: true,
        });
        return outcome;
    };
    let keys = &scene.input.observed.minted.keys;
    record(&scene, &volumes, &log, &mut outcome);
    let trouble = match &keys.tenant {
        // As it was asked for: none is ever made in its place.
        _ if termination::is_final(scene.input) => None,
        Slot::Present(key) => with_key(&scene, key, &volumes, &log, &mut outcome),
        Slot::Absent if keys.data.is_empty() && log.volumes.is_empty() && !keys.unread => {
            outcome.actions.push(Action::MakeTenantKey);
            None
        }
        Slot::Absent => Some(stalling(
            "TenantKeyLost",
            "the key service does not know the tenant key, and there are volumes that were encrypted under it".to_owned(),
            "restore the key service's state; no new key is made in its place",
        )),
        Slot::Broken | Slot::Foreign => Some(stalling(
            "TenantKeyBroken",
            "the key service can't read its state of the tenant key".to_owned(),
            "restore the key service's state; no new key is made in its place",
        )),
        Slot::Unread => None,
    };
    if service.failure.is_some() || is_over(&scene) {
        // Nothing would come of it; the service's return brings a pass. And of keys that are about to be destroyed none
        // changes.
        outcome.actions.clear();
        outcome.records.clear();
    }
    tell(&scene, service, trouble, &mut outcome);
    outcome
}

/// Rotations that are asked for and have nothing to rotate, where the keys are others': told, and nothing waits for it.
fn not_offered(scene: &Scene<'_>, wanted: bool) -> Option<Wait> {
    if storage::scope(scene)? == KeyScope::Tenant {
        return None;
    }
    let whose = match storage::scope_there(scene)? {
        KeyScope::Tenant | KeyScope::Platform => "the platform's key encrypts the volumes",
        KeyScope::Nobody => "the volumes are not encrypted",
    };
    if scene.model.tenant.spec.desired_state == DesiredState::Terminated {
        return None;
    }
    let tenant_key = word::unheard(scene, OperationType::TenantKeyRotation).filter(|_| !wanted);
    let data_keys =
        word::unheard(scene, OperationType::DataKeyRotation).filter(|_| reencryption::due(scene).is_none());
    let fields = match (tenant_key, data_keys) {
        (Some(_), Some(_)) => "spec.keys.rotateTenantKey and spec.keys.rotateDataKeys",
        (Some(_), None) => "spec.keys.rotateTenantKey",
        (None, Some(_)) => "spec.keys.rotateDataKeys",
        (None, None) => return None,
    };
    Some(Wait {
        reason: "KeyRotationNotOffered",
        message: format!("{fields} can't be carried out: {whose}, and there is no key of this tenant's own"),
        unblocked_by: format!(
            "take {fields} out; or a StorageClass in the TenantClass whose volumes Freehold's driver encrypts"
        ),
        stalls: false,
    })
}

/// Whether the keys are about to be destroyed: then none changes any more.
fn is_over(scene: &Scene<'_>) -> bool {
    termination::is_imminent(scene.input, scene.model.termination_grace)
}

/// The rotations that are open when the destruction of the keys is due end here, whether they could go on or not: they would
/// hold it up for as long as they can't. Not a part of `plan`, because keys are destroyed whatever is wrong with the spec; and
/// `plan` writes none of their records then.
pub fn give_way(input: &Input<'_>, class: Option<&TenantClassSpec>) -> Outcome {
    let mut outcome = Outcome::default();
    if !termination::is_due(input, class) {
        return outcome;
    }
    let why = "the keys are to be destroyed";
    let rotations = [OperationType::TenantKeyRotation, OperationType::DataKeyRotation]
        .into_iter()
        .flat_map(|of| of_type(input, of));
    let open = rotations.filter(|(_, operation)| !operation.status.phase.is_over());
    outcome.records = open
        .map(|operation| cancel(operation, input.now, Some(why)))
        .collect();
    if !outcome.records.is_empty() {
        outcome.wake_at(soon(input.now));
    }
    outcome
}

/// What only somebody's deed ends.
fn stalling(reason: &'static str, message: String, unblocked_by: &str) -> Wait {
    Wait {
        reason,
        message,
        unblocked_by: unblocked_by.to_owned(),
        stalls: true,
    }
}

/// With the tenant key there: data keys for new volumes, none for those that are gone, and rotation.
fn with_key(
    scene: &Scene<'_>,
    key: &TenantKey,
    volumes: &BTreeMap<&str, Volume<'_>>,
    log: &Log,
    outcome: &mut Outcome,
) -> Option<Wait> {
    let keys = &scene.input.observed.minted.keys;
    if keys.unread {
        return None;
    }
    let ahead = keys
        .data
        .values()
        .filter_map(Slot::present)
        .map(|key| key.version);
    if let Some(ahead) = ahead.max().filter(|version| *version > key.last) {
        let message = format!(
            "data keys are wrapped by version {ahead} of the tenant key, and the key service knows {} at most: it was \
             rolled back",
            key.last
        );
        let unblocked_by = "restore a state of the key service that has that version";
        return Some(stalling("ProviderRolledBack", message, unblocked_by));
    }
    let Some((current, created)) = key.current() else {
        let message =
            "the tenant key was destroyed: what was encrypted under it can't be read any more".to_owned();
        let unblocked_by = "delete the tenant; nothing brings the key back";
        return Some(stalling("TenantKeyDestroyed", message, unblocked_by));
    };
    for (volume, _) in volumes.iter().filter(|(_, volume)| volume.is_ours()) {
        if !keys.data.contains_key(*volume) && !log.volumes.contains(*volume) {
            outcome.actions.push(Action::MakeDataKey {
                volume: (*volume).to_owned(),
            });
        }
    }
    // One that can't be read is of no more use than another once its volume is gone, which its name tells.
    let keyless = reencryption::leaving(scene).filter(|volume| !keys.data.contains_key(*volume));
    for volume in keys.data.keys().chain(keyless) {
        let gone = !volumes.contains_key(volume.as_str());
        if gone && (!keys.kept.contains(volume) || reencryption::is_replaced(scene, volume)) {
            outcome.actions.push(Action::ForgetDataKey {
                volume: volume.clone(),
            });
        }
    }
    let trouble = loss::of_data_keys(scene, key, volumes, log);
    if trouble.is_none() && !is_over(scene) {
        rotation::plan(scene, key, (current, created), outcome);
        if outcome.records.is_empty() {
            reencryption::plan(scene, outcome);
        }
    }
    trouble
}

/// Whether the database moves to other volumes, or is asked to.
pub fn is_moving(scene: &Scene<'_>) -> bool {
    reencryption::under_way(scene.input).is_some()
        || word::unheard(scene, OperationType::DataKeyRotation).is_some()
}

/// The rotation that is under way, of whichever keys.
pub fn under_way<'a>(input: &'a Input<'_>) -> Option<(&'a str, &'a Operation)> {
    rotation::under_way(input).or_else(|| reencryption::under_way(input))
}

/// Whether another operation of this life has to end first. What is only announced, and may be for weeks, holds nobody up; nor does
/// the succession of an authority, which takes as long and touches neither pods nor data.
fn is_in_the_way(other: &Operation, life: &str) -> bool {
    if other.spec.r#type == OperationType::AuthorityRotation {
        return false;
    }
    let announced = matches!(
        other.spec.r#type,
        OperationType::Deletion | OperationType::KeyDestruction
    ) && other.status.phase == Phase::Pending;
    other.spec.incarnation == life && !other.status.phase.is_over() && !announced
}

/// The operation that has to end before another one begins, and what ends it.
pub fn awaited<'a>(scene: &Scene<'a>) -> Option<(&'a str, String)> {
    let life = incarnation(scene.input);
    let mut others = scene.input.observed.operations.iter();
    let (name, _) = others.find(|(_, other)| is_in_the_way(other, &life))?;
    let namespace = &scene.input.config.operator_namespace;
    let unblocked_by = format!("what {name} waits for: kubectl -n {namespace} get tenantoperations");
    Some((name, unblocked_by))
}

/// The volumes that are there, by name.
fn volumes<'a>(scene: &Scene<'a>) -> BTreeMap<&'a str, Volume<'a>> {
    let all = storage::volumes(scene.input);
    all.map(|volume| (volume.name, volume)).collect()
}

/// A volume enters when its key was seen, and leaves when it is gone itself.
fn record(scene: &Scene<'_>, volumes: &BTreeMap<&str, Volume<'_>>, log: &Log, outcome: &mut Outcome) {
    let keys = &scene.input.observed.minted.keys;
    let made = |volume: &&str| log.volumes.contains(*volume) || keys.data.contains_key(*volume);
    let next = Log {
        volumes: volumes.keys().copied().filter(made).map(str::to_owned).collect(),
    };
    if next == Log::default() && scene.seen(Kind::ConfigMap, KEYS).is_none() {
        return;
    }
    outcome.objects.push(scene.record(KEYS, &next));
}

/// The conditions.
fn tell(scene: &Scene<'_>, service: &KeyService, trouble: Option<Wait>, outcome: &mut Outcome) {
    let keys = &scene.input.observed.minted.keys;
    outcome.findings.push(separation::of(scene, service));
    if let Some(trouble) = trouble {
        let message = trouble.message.clone();
        let finding = Finding::new(TOPIC, false, trouble.reason, message);
        outcome.findings.push(finding);
        outcome.waits.push(trouble);
        outcome.doubts = true;
        return;
    }
    let aside = |truth, reason, message: String| Finding::aside(TOPIC, truth, reason, message);
    let finding = if let Some(epitaph) = termination::epitaph(scene.input) {
        aside(Some(false), "TenantKeyDestroyed", epitaph)
    } else if let Some(failure) = &service.failure {
        let message = format!(
            "the key service does not answer: {failure}; what runs goes on, no volume can be staged anew"
        );
        aside(Some(false), "KeyServiceUnavailable", message)
    } else if keys.tenant == Slot::Unread || keys.unread {
        let message = "the keys can't be read at the moment; what runs goes on";
        aside(Some(false), "Unread", message.to_owned())
    } else if let Some((running, operation)) = reencryption::under_way(scene.input) {
        let message = format!("{} ({running})", reencryption::told(operation));
        aside(Some(false), "Reencrypting", message)
    } else if let Some((running, _)) = rotation::under_way(scene.input) {
        let message = format!("the tenant key is being rotated ({running}); nothing restarts");
        aside(Some(false), "Rotating", message)
    } else if !outcome.actions.is_empty() {
        Finding::new(TOPIC, false, "Making", "keys are being made")
    } else {
        let count = keys.data.len();
        let next = keys.tenant.present().and_then(TenantKey::current);
        let version = next.map_or(0, |(version, _)| version);
        let due = next.map(|current| rotation::due(scene, current));
        let due = due.map_or_else(String::new, |due| format!(", rotated next at {due}"));
        let message = format!("version {version} of the tenant key wraps {count} data keys{due}");
        let late = [
            rotation::is_overdue(scene).then_some("the tenant key"),
            reencryption::is_overdue(scene).then_some("the data keys"),
        ];
        match late.into_iter().flatten().collect::<Vec<_>>().join(" and ") {
            late if late.is_empty() => aside(Some(true), "Current", message),
            late => {
                let message = format!(
                    "the cryptoperiod of {late} is over, and the rotation has yet to begin; {message}"
                );
                aside(Some(false), "Overdue", message)
            }
        }
    };
    outcome.findings.push(finding);
}

/// For the status.
pub fn status(scene: &Scene<'_>) -> Option<KeysStatus> {
    let scope = storage::scope_there(scene)?;
    let Keys { tenant, data, .. } = &scene.input.observed.minted.keys;
    let service = scene.input.config.key_service.as_ref();
    let protects = |version: u32| {
        let by = data.values().filter_map(Slot::present);
        u32::try_from(by.filter(|key| key.version == version).count()).unwrap_or(u32::MAX)
    };
    let key = tenant.present().and_then(|key| {
        let current = key.current()?;
        Some(TenantKeyStatus {
            name: incarnation(scene.input),
            version: current.0,
            rotate_at: Time(rotation::due(scene, current)),
            acknowledged: word::acknowledged(scene, OperationType::TenantKeyRotation),
            versions: key
                .versions
                .iter()
                .rev()
                .take(16)
                .map(|(version, created)| KeyVersionStatus {
                    version: *version,
                    created_at: Time(*created),
                    protects: protects(*version),
                })
                .collect(),
        })
    });
    let data_keys = data
        .iter()
        .filter_map(|(id, key)| Some((id, key.present()?)))
        .take(32)
        .map(|(id, key)| DataKeyStatus {
            id: id.clone(),
            tenant_key_version: key.version,
            created_at: Time(key.created),
        });
    let own = storage::scope(scene) == Some(KeyScope::Tenant);
    Some(KeysStatus {
        provider: service
            .filter(|_| own)
            .and_then(|service| service.provider.clone()),
        scope,
        tenant_key: key,
        data_keys: data_keys.collect(),
        data_keys_rotate_at: reencryption::due(scene).filter(|_| own).map(Time),
        data_keys_acknowledged: word::acknowledged(scene, OperationType::DataKeyRotation),
    })
}

/// What is left to be forgotten when a tenant ends with all of its data.
pub fn forget(input: &Input<'_>) -> Option<Action> {
    let Keys {
        tenant,
        data,
        unread: _,
        held: _,
        kept: _,
        gone: _,
        refused: _,
    } = &input.observed.minted.keys;
    let there = tenant.present().is_some_and(|key| !key.versions.is_empty());
    (there || !data.is_empty()).then_some(Action::ForgetKeys)
}
