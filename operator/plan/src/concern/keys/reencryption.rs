//! Rotation of data keys: the database moves to volumes with new keys. One instance more than usual is added, the database
//! switches over to it, and every instance on an old volume is removed, each only while all others are ready.
//!
//! In: the data keys' ages, the instances and their volumes, the operations of this life. Out: records and actions, and how
//! many instances the database needs meanwhile. Invariants: which volumes are replaced stands in the operation from the
//! start; each step stands there before its effect; no instance is removed that is the primary, or without which fewer are
//! ready than the tenant has at rest; the key of a volume is forgotten only when the volume is gone.

use std::collections::{BTreeMap, BTreeSet};

use freehold_crds::{
    DesiredState, OperationType, Phase, ReencryptionOperation, RotationReason, TenantOperationSpec,
};
use jiff::{SignedDuration, Timestamp};

use super::{TOPIC, Volume, volumes};
use crate::clock::{jitter, soon};
use crate::concern::maintenance::Hours;
use crate::concern::{Scene, migration};
use crate::input::{Input, Operation, Slot};
use crate::kind::Kind;
use crate::model::incarnation;
use crate::names::DATABASE;
use crate::operation::{self, Step as _, advance, cancel, free_name};
use crate::outcome::{Action, Outcome, Record, Wait};
use crate::seen::Facts;

/// After this the instance that is added is waited for by name.
const LATE: SignedDuration = SignedDuration::from_mins(10);

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// An instance is added, on volumes with new keys.
    Grow,
    /// It becomes the primary.
    SwitchOver,
    /// The instances on old volumes are removed, one after the other.
    Retire,
}

impl operation::Step for Step {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Grow, "Grow"),
        (Self::SwitchOver, "SwitchOver"),
        (Self::Retire, "Retire"),
    ];
}

/// What the database is to be like while it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surge {
    /// How many instances.
    pub instances: i32,
    /// A database of one instance has a replica for a while, which must have received what is acknowledged.
    pub synchronous: bool,
}

/// The move that is under way, if it needs anything of the database now.
pub fn surge(scene: &Scene<'_>) -> Option<Surge> {
    let (_, operation) = under_way(scene.input)?;
    let step = Step::of(operation)?;
    if step == Step::Retire && instances(scene, operation).old.is_empty() {
        return None;
    }
    let seen = scene.seen(Kind::Cluster, DATABASE)?;
    let Facts::Database { instances: there, .. } = &seen.facts else {
        return None;
    };
    let usual = scene.model.database.instances;
    Some(Surge {
        // One that asks for fewer meanwhile gets them afterwards: which of them would go could not be told.
        instances: (usual + 1).max(*there),
        synchronous: usual == 1 && step != Step::Retire,
    })
}

/// The rotation that is under way.
pub fn under_way<'a>(input: &'a Input<'_>) -> Option<(&'a str, &'a Operation)> {
    rotations(input).find(|(_, operation)| !operation.status.phase.is_over())
}

fn rotations<'a>(input: &'a Input<'_>) -> impl Iterator<Item = (&'a str, &'a Operation)> {
    super::operations(input, OperationType::DataKeyRotation)
}

fn replaced(operation: &Operation) -> &[String] {
    let spec = operation.spec.reencryption.as_ref();
    spec.map_or(&[], |spec| &spec.volumes)
}

fn token(operation: &Operation) -> Option<&str> {
    operation.spec.reencryption.as_ref()?.token.as_deref()
}

fn wish<'a>(scene: &Scene<'a>) -> Option<&'a str> {
    scene.model.tenant.spec.keys.as_ref()?.rotate_data_keys.as_deref()
}

/// The last word that asked for a rotation and got it.
pub fn acknowledged(scene: &Scene<'_>) -> Option<String> {
    let asked = wish(scene)?;
    let mut done = rotations(scene.input).filter(|(_, operation)| operation.status.phase == Phase::Succeeded);
    done.any(|(_, operation)| token(operation) == Some(asked))
        .then(|| asked.to_owned())
}

/// When the oldest data key's cryptoperiod is over; none while there is no key.
pub fn due(scene: &Scene<'_>) -> Option<Timestamp> {
    let volumes = volumes(scene);
    let keys = scene.input.observed.minted.keys.data.iter();
    let made = keys
        .filter(|(volume, _)| volumes.get(volume.as_str()).is_some_and(|volume| volume.ours))
        .filter_map(|(_, slot)| Some(slot.present()?.created));
    let period = scene.model.data_key_cryptoperiod;
    let period = SignedDuration::try_from(period).unwrap_or(SignedDuration::MAX);
    // Up to a tenth earlier.
    let early = jitter(&[scene.model.uid, TOPIC, "data"], period.as_secs() / 10);
    Some(made.min()?.checked_add(period - early).unwrap_or(Timestamp::MAX))
}

/// The instances, by what lies beneath them.
struct Instances {
    /// On a volume that is to be replaced.
    old: BTreeSet<String>,
    /// The same, and being removed.
    leaving: BTreeSet<String>,
    /// On none, with keys for all that they have.
    fresh: BTreeSet<String>,
}

fn instances(scene: &Scene<'_>, operation: &Operation) -> Instances {
    let mut by_name: BTreeMap<&str, Vec<(&str, &Volume<'_>)>> = BTreeMap::new();
    let volumes = volumes(scene);
    for (name, volume) in &volumes {
        if let Some(instance) = volume.instance {
            by_name.entry(instance).or_default().push((*name, volume));
        }
    }
    let keys = &scene.input.observed.minted.keys.data;
    let mut found = Instances {
        old: BTreeSet::new(),
        leaving: BTreeSet::new(),
        fresh: BTreeSet::new(),
    };
    for (instance, volumes) in by_name {
        let is_old = |name: &str| replaced(operation).iter().any(|old| old == name);
        let keyed = |name: &str| keys.get(name).is_some_and(|slot| slot.present().is_some());
        if volumes.iter().any(|(_, volume)| volume.ending) {
            found.leaving.insert(instance.to_owned());
        } else if volumes.iter().any(|(name, _)| is_old(name)) {
            found.old.insert(instance.to_owned());
        } else if volumes.iter().all(|(name, _)| keyed(name)) {
            found.fresh.insert(instance.to_owned());
        }
    }
    found
}

pub fn plan(scene: &Scene<'_>, outcome: &mut Outcome) {
    if let Some((name, operation)) = under_way(scene.input) {
        outcome.wake_at(soon(scene.input.now));
        carry_on(scene, (name, operation), outcome);
        return;
    }
    let asked = wish(scene).filter(|asked| {
        let mut heard =
            rotations(scene.input).filter(|(_, operation)| operation.status.phase != Phase::Cancelled);
        !heard.any(|(_, operation)| token(operation) == Some(*asked))
    });
    let Some(due) = due(scene) else {
        return;
    };
    let reason = match asked {
        Some(_) => RotationReason::Requested,
        None if due <= scene.input.now => RotationReason::Cryptoperiod,
        None => {
            outcome.wake_at(Some(due));
            return;
        }
    };
    if may_begin(scene, reason, outcome) {
        begin(scene, reason, asked, outcome);
    }
}

/// Whether the database may be moved now; what it waits for is said.
fn may_begin(scene: &Scene<'_>, reason: RotationReason, outcome: &mut Outcome) -> bool {
    if scene.model.tenant.spec.desired_state == DesiredState::Terminated {
        return false;
    }
    if scene.model.suspended {
        outcome.waits.push(Wait {
            reason: "DataKeyRotationWaits",
            message: "the volumes are to be encrypted with new data keys, and the database sleeps".to_owned(),
            unblocked_by: "set desiredState to Active: the volumes are replaced while the database runs"
                .to_owned(),
            stalls: false,
        });
        return false;
    }
    if reason == RotationReason::Cryptoperiod
        && let Ok(hours) = &scene.model.hours
        && !hours.is_open()
    {
        if let Hours::Shut { until } = hours {
            outcome.wake_at(*until);
        }
        return false;
    }
    if reason == RotationReason::Cryptoperiod && scene.model.hours.is_err() {
        // That the windows can't be read is told already.
        return false;
    }
    let life = incarnation(scene.input);
    let mut others = scene.input.observed.operations.values();
    if others.any(|other| other.spec.incarnation == life && other.status.phase == Phase::Running) {
        // The end of that one is an event.
        return false;
    }
    settled(scene).is_some() && !migration::is_under_way(scene)
}

/// The database's facts, when every instance that is asked for is ready and no switch-over is under way.
fn settled<'a>(scene: &Scene<'a>) -> Option<(&'a str, &'a BTreeSet<String>)> {
    let observed = scene.input.observed;
    let seen = observed.get(Kind::Cluster, scene.model.namespace.as_str(), DATABASE)?;
    match &seen.facts {
        Facts::Database {
            ready: true,
            current: true,
            hibernated: false,
            primary: Some(primary),
            target: Some(target),
            healthy,
            ..
        } if primary == target => Some((primary, healthy)),
        _ => None,
    }
}

fn begin(scene: &Scene<'_>, reason: RotationReason, asked: Option<&str>, outcome: &mut Outcome) {
    let there = volumes(scene);
    let keys = &scene.input.observed.minted.keys.data;
    let keyed = |name: &str| matches!(keys.get(name), Some(Slot::Present(_)));
    let ours: Vec<String> = there
        .iter()
        .filter(|(name, volume)| volume.ours && volume.instance.is_some() && keyed(name))
        .map(|(name, _)| (*name).to_owned())
        .collect();
    if ours.is_empty() {
        return;
    }
    outcome.wake_at(soon(scene.input.now));
    let life = incarnation(scene.input);
    outcome.records.push(Record::Create {
        name: free_name(scene.input, "data-keys"),
        spec: TenantOperationSpec {
            tenant: scene.model.name.to_owned(),
            tenant_uid: scene.model.uid.to_owned(),
            incarnation: life,
            r#type: OperationType::DataKeyRotation,
            deletion: None,
            rotation: None,
            reencryption: Some(ReencryptionOperation {
                volumes: ours,
                reason,
                token: asked.map(str::to_owned),
            }),
        },
    });
}

fn carry_on(scene: &Scene<'_>, operation: (&str, &Operation), outcome: &mut Outcome) {
    let now = scene.input.now;
    let Some(step) = Step::of(operation.1).filter(|_| operation.1.status.phase == Phase::Running) else {
        let record = advance(operation, now, None, Some(Step::Grow.as_str()));
        outcome.records.push(record);
        return;
    };
    if scene.model.suspended {
        outcome.waits.push(Wait {
            reason: "DataKeyRotationWaits",
            message: "the volumes are being replaced by such with new data keys, and the database sleeps"
                .to_owned(),
            unblocked_by: "set desiredState to Active".to_owned(),
            stalls: false,
        });
        return;
    }
    if step == Step::Grow && token(operation.1).is_some() && token(operation.1) != wish(scene) {
        let why = "the word that asked for it was taken back before the database switched over";
        outcome.records.push(cancel(operation, now, Some(why)));
        return;
    }
    let found = instances(scene, operation.1);
    let done = match step {
        Step::Grow => grown(scene, &found).or_else(|| {
            outcome.waits.extend(late(operation.1, now));
            None
        }),
        Step::SwitchOver => switch_over(scene, &found, outcome),
        Step::Retire => retire(scene, operation.1, &found, outcome),
    };
    if let Some(done) = done {
        let next = step.next().map(Step::as_str);
        let record = advance(operation, now, Some((step.as_str(), done)), next);
        outcome.records.push(record);
    }
}

/// A replica is ready on volumes with new keys.
fn grown(scene: &Scene<'_>, found: &Instances) -> Option<String> {
    let (_, healthy) = settled(scene)?;
    let fresh = found.fresh.intersection(healthy).next()?;
    Some(format!("{fresh} is a replica on volumes with new keys"))
}

/// What takes too long is waited for by name.
fn late(operation: &Operation, now: Timestamp) -> Option<Wait> {
    let begun = operation.status.started_at.as_ref()?.0;
    (now >= begun + LATE).then(|| Wait {
        reason: "SurgeNotReady",
        message: format!("the database's additional instance, on volumes with new keys, is not ready since {begun}"),
        unblocked_by: "room for one more instance on the nodes and in the storage: look at the tenant's pods and claims; or take \
                       spec.keys.rotateDataKeys back"
            .to_owned(),
        stalls: false,
    })
}

/// The primary is one on new volumes; else it is made one.
fn switch_over(scene: &Scene<'_>, found: &Instances, outcome: &mut Outcome) -> Option<String> {
    let (primary, healthy) = settled(scene)?;
    if !found.old.contains(primary) {
        return Some(format!("{primary} is the primary"));
    }
    if let Some(to) = found.fresh.intersection(healthy).next() {
        outcome.actions.push(Action::SwitchOver {
            namespace: scene.model.namespace.as_str().to_owned(),
            to: to.clone(),
        });
    }
    None
}

/// One instance after the other is removed; over when no volume that was to be replaced is left, and none of their keys.
fn retire(
    scene: &Scene<'_>,
    operation: &Operation,
    found: &Instances,
    outcome: &mut Outcome,
) -> Option<String> {
    let (primary, healthy) = settled(scene)?;
    let usual = scene.model.database.instances;
    if found.old.contains(primary) {
        // It failed over meanwhile.
        switch_over(scene, found, outcome);
        return None;
    }
    if let Some(instance) = found.old.last() {
        let rest = healthy.iter().filter(|other| *other != instance).count();
        if found.leaving.is_empty() && i32::try_from(rest).is_ok_and(|rest| rest >= usual) {
            outcome.actions.push(Action::RetireInstance {
                namespace: scene.model.namespace.as_str().to_owned(),
                instance: instance.clone(),
            });
        }
        return None;
    }
    let keys = &scene.input.observed.minted.keys.data;
    let kept: Vec<&String> = replaced(operation)
        .iter()
        .filter(|volume| keys.contains_key(*volume))
        .collect();
    if !found.leaving.is_empty() || !kept.is_empty() {
        if found.leaving.is_empty() {
            outcome.waits.push(held(&kept));
        }
        return None;
    }
    let count = replaced(operation).len();
    Some(format!(
        "{count} volumes were replaced; they are gone, and their data keys with them"
    ))
}

fn held(volumes: &[&String]) -> Wait {
    let names: Vec<&str> = volumes.iter().take(5).map(|name| name.as_str()).collect();
    Wait {
        reason: "VolumesStillThere",
        message: format!("waiting for the volumes that were replaced to end: {}", names.join(", ")),
        unblocked_by: "the storage driver deletes them; a StorageClass with reclaimPolicy Retain keeps them: then delete the \
                       PersistentVolumes"
            .to_owned(),
        stalls: false,
    }
}

/// The volumes whose keys are asked for again and again until they can be forgotten.
pub fn is_replaced(scene: &Scene<'_>, volume: &str) -> bool {
    under_way(scene.input).is_some_and(|(_, operation)| replaced(operation).iter().any(|old| old == volume))
}

/// In words, for the condition.
pub fn told(operation: &Operation) -> String {
    let step = match Step::of(operation) {
        None | Some(Step::Grow) => "an instance on new volumes is being added",
        Some(Step::SwitchOver) => "the database switches over to it",
        Some(Step::Retire) => "the old volumes are being removed",
    };
    format!("the database moves to volumes with new data keys: {step}")
}
