//! Rotation of data keys: the database moves to volumes with new keys. One instance more than usual is added, the database
//! switches over to it, and every instance on an old volume is removed, each only while all others are ready.
//!
//! In: the data keys' ages, the instances and their volumes, the operations of this life. Out: records and actions, and how
//! many instances the database needs meanwhile. Invariants: which volumes are replaced stands in the operation from the
//! start; each step stands there before its effect; no instance is removed that is the primary, or without which fewer are
//! ready than the tenant has at rest; the key of a volume is forgotten only when the volume is gone.

use std::collections::{BTreeMap, BTreeSet};

use freehold_crds::{
    DesiredState, KeyScope, OperationType, Phase, ReencryptionOperation, RotationReason, TenantOperationSpec,
};
use jiff::{SignedDuration, Timestamp};

use super::period::Period;
use super::{TOPIC, Volume, volumes, word};
use crate::clock::soon;
use crate::concern::maintenance::Hours;
use crate::concern::{Scene, migration, storage};
use crate::input::{Input, Operation, Slot};
use crate::kind::Kind;
use crate::model::incarnation;
use crate::names::DATABASE;
use crate::operation::{self, Step as _, advance, cancel, free_name, of_type};
use crate::outcome::{Action, Outcome, Record, Wait};
use crate::seen::Facts;

/// After this what a move waits for is named; one that nobody asked for and that found no room is given up.
const LATE: SignedDuration = SignedDuration::from_mins(30);
/// How long after one that was given up the next is begun by a cryptoperiod.
const AGAIN: SignedDuration = SignedDuration::from_hours(20);

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
        // Until the last of the old ones is going: it might be promoted.
        synchronous: usual == 1,
    })
}

/// The rotation that is under way.
pub fn under_way<'a>(input: &'a Input<'_>) -> Option<(&'a str, &'a Operation)> {
    rotations(input).find(|(_, operation)| !operation.status.phase.is_over())
}

fn rotations<'a>(input: &'a Input<'_>) -> impl Iterator<Item = (&'a str, &'a Operation)> {
    of_type(input, OperationType::DataKeyRotation)
}

fn replaced(operation: &Operation) -> &[String] {
    let spec = operation.spec.reencryption.as_ref();
    spec.map_or(&[], |spec| &spec.volumes)
}

/// When the oldest data key of the database was made; none while there is no key.
fn oldest(scene: &Scene<'_>) -> Option<Timestamp> {
    let volumes = volumes(scene);
    let keys = scene.input.observed.minted.keys.data.iter();
    let made = keys
        .filter(|(volume, _)| {
            let volume = volumes.get(volume.as_str());
            volume.is_some_and(|volume| volume.is_ours() && volume.instance.is_some())
        })
        .filter_map(|(_, slot)| Some(slot.present()?.created));
    made.min()
}

/// Whether the whole of its cryptoperiod is over.
pub fn is_overdue(scene: &Scene<'_>) -> bool {
    let period = Period::of(scene.model.data_key_cryptoperiod);
    oldest(scene).is_some_and(|made| period.is_over(made, scene.input.now))
}

/// When it is replaced, in good time; none while there is no key.
pub fn due(scene: &Scene<'_>) -> Option<Timestamp> {
    let period = Period::of(scene.model.data_key_cryptoperiod);
    Some(period.due(oldest(scene)?, &[scene.model.uid, TOPIC, "data"]))
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
        carry_on(scene, (name, operation), outcome);
        let told =
            |action: &Action| matches!(action, Action::SwitchOver { .. } | Action::RetireInstance { .. });
        if !outcome.records.is_empty() || outcome.actions.iter().any(told) {
            outcome.wake_at(soon(scene.input.now));
        } else if let Some(begun) = &operation.status.started_at {
            // From then on it says what it waits for; the rest are events.
            outcome.wake_at(Some(begun.0 + LATE));
        }
        return;
    }
    let asked = word::unheard(scene, OperationType::DataKeyRotation);
    let due = due(scene);
    let reason = match (asked, due) {
        (Some(_), Some(_)) => RotationReason::Requested,
        // They get their first keys by it.
        (Some(_), None) if storage::older(scene).is_some() => RotationReason::Requested,
        (_, None) => return,
        (None, Some(due)) => {
            let due = given_up(scene).map_or(due, |at| due.max(at + AGAIN));
            if due > scene.input.now {
                outcome.wake_at(Some(due));
                return;
            }
            RotationReason::Cryptoperiod
        }
    };
    if may_begin(scene, reason, outcome) {
        begin(scene, reason, asked, outcome);
    }
}

/// When the last one was given up.
fn given_up(scene: &Scene<'_>) -> Option<Timestamp> {
    let over = rotations(scene.input).filter(|(_, operation)| operation.status.phase == Phase::Cancelled);
    over.filter_map(|(_, operation)| Some(operation.status.finished_at.as_ref()?.0))
        .max()
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
    if storage::scope(scene) != Some(KeyScope::Tenant) {
        outcome.waits.push(Wait {
            reason: "DataKeyRotationWaits",
            message: "new data keys are due or asked for, and new volumes would not be encrypted with this tenant's keys"
                .to_owned(),
            unblocked_by: "a StorageClass in the TenantClass whose volumes Freehold's driver encrypts".to_owned(),
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
    // The end of each is an event.
    let (what, unblocked_by) = if let Some((name, unblocked_by)) = super::awaited(scene) {
        (format!("the end of {name}"), unblocked_by)
    } else if calm(scene).is_none() || !is_whole(scene) {
        let namespace = scene.model.namespace.as_str();
        let unblocked_by = format!("the database: kubectl -n {namespace} get cluster {DATABASE}");
        (
            "every instance of the database to be ready".to_owned(),
            unblocked_by,
        )
    } else {
        return !migration::is_under_way(scene);
    };
    outcome.waits.push(Wait {
        reason: "DataKeyRotationWaits",
        message: format!("new data keys are due or asked for, and wait for {what}"),
        unblocked_by,
        stalls: false,
    });
    false
}

/// The primary and the instances that answer, while no switch-over is under way.
fn calm<'a>(scene: &Scene<'a>) -> Option<(&'a str, &'a BTreeSet<String>)> {
    let observed = scene.input.observed;
    let seen = observed.get(Kind::Cluster, scene.model.namespace.as_str(), DATABASE)?;
    match &seen.facts {
        Facts::Database {
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

/// Whether every instance that is asked for is ready.
fn is_whole(scene: &Scene<'_>) -> bool {
    let seen = scene.seen(Kind::Cluster, DATABASE);
    seen.is_some_and(|seen| matches!(seen.facts, Facts::Database { ready: true, .. }))
}

fn begin(scene: &Scene<'_>, reason: RotationReason, asked: Option<&str>, outcome: &mut Outcome) {
    let there = volumes(scene);
    let keys = &scene.input.observed.minted.keys.data;
    let keyed = |name: &str| matches!(keys.get(name), Some(Slot::Present(_)));
    let old: Vec<String> = there
        .iter()
        .filter(|(name, volume)| volume.instance.is_some() && (keyed(name) || !volume.is_ours()))
        .map(|(name, _)| (*name).to_owned())
        .collect();
    if old.is_empty() {
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
            authority: None,
            upgrade: None,
            reencryption: Some(ReencryptionOperation {
                volumes: old,
                reason,
                token: asked.map(str::to_owned),
            }),
        },
    });
}

fn carry_on(scene: &Scene<'_>, operation: (&str, &Operation), outcome: &mut Outcome) {
    let now = scene.input.now;
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
    let Some(step) = Step::of(operation.1).filter(|_| operation.1.status.phase == Phase::Running) else {
        let record = advance(operation, now, None, Some(Step::Grow.as_str()));
        outcome.records.push(record);
        return;
    };
    if let Some(why) = hopeless(scene, step, operation.1) {
        outcome.records.push(cancel(operation, now, Some(why)));
        return;
    }
    let found = instances(scene, operation.1);
    let done = match step {
        Step::Grow => grown(scene, &found),
        Step::SwitchOver => switch_over(scene, &found, outcome),
        Step::Retire => retire(scene, operation.1, &found, outcome),
    };
    let Some(done) = done else {
        if outcome.waits.is_empty() {
            outcome.waits.extend(late(operation.1, step, now));
        }
        return;
    };
    let next = step.next().map(Step::as_str);
    let record = advance(operation, now, Some((step.as_str(), done)), next);
    outcome.records.push(record);
}

/// Why it is given up, which does no harm before the database switches over.
fn hopeless(scene: &Scene<'_>, step: Step, operation: &Operation) -> Option<&'static str> {
    if step != Step::Grow {
        return None;
    }
    let was = operation.token();
    if was.is_some() && was != word::asked(scene, OperationType::DataKeyRotation) {
        return Some("the word that asked for it was taken back before the database switched over");
    }
    if matches!(storage::scope(scene), Some(KeyScope::Platform | KeyScope::Nobody)) {
        return Some("new volumes would not be encrypted with this tenant's keys");
    }
    (was.is_none() && is_late(operation, scene.input.now))
        .then_some("no additional instance became ready; it is tried again in a later window")
}

fn is_late(operation: &Operation, now: Timestamp) -> bool {
    let begun = operation.status.started_at.as_ref();
    begun.is_some_and(|begun| now >= begun.0 + LATE)
}

/// What takes long is waited for by name.
fn late(operation: &Operation, step: Step, now: Timestamp) -> Option<Wait> {
    is_late(operation, now).then(|| Wait {
        reason: "DataKeyRotationSlow",
        message: format!("{} for more than {} minutes", told(operation), LATE.as_mins()),
        unblocked_by: match step {
            Step::Grow => {
                "room for one more instance on the nodes and in the storage: look at the tenant's pods and claims; or take \
                 spec.keys.rotateDataKeys back"
            }
            Step::SwitchOver | Step::Retire => "instances that are ready: look at the tenant's pods and claims",
        }
        .to_owned(),
        stalls: false,
    })
}

/// A replica is ready on volumes with new keys.
fn grown(scene: &Scene<'_>, found: &Instances) -> Option<String> {
    let (_, healthy) = calm(scene).filter(|_| is_whole(scene))?;
    let fresh = found.fresh.intersection(healthy).next()?;
    Some(format!("{fresh} is a replica on volumes with new keys"))
}

/// The primary is one on new volumes; else it is made one.
fn switch_over(scene: &Scene<'_>, found: &Instances, outcome: &mut Outcome) -> Option<String> {
    let (primary, healthy) = calm(scene)?;
    if !found.old.contains(primary) && !found.leaving.contains(primary) {
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
    let (primary, healthy) = calm(scene)?;
    if found.old.contains(primary) || found.leaving.contains(primary) {
        // It failed over meanwhile.
        switch_over(scene, found, outcome);
        return None;
    }
    // One that does not answer goes first.
    let broken = || found.old.iter().find(|instance| !healthy.contains(*instance));
    if let Some(instance) = broken().or_else(|| found.old.last()) {
        // Those that have volumes: of one that is gone the status may not have told yet.
        let stay = found.fresh.union(&found.old).filter(|other| *other != instance);
        let rest = stay.filter(|other| healthy.contains(*other)).count();
        if found.leaving.is_empty()
            && i32::try_from(rest).is_ok_and(|rest| rest >= scene.model.database.instances)
        {
            outcome.actions.push(removal(scene, instance));
        }
        return None;
    }
    let kept: Vec<&String> = left(scene, operation).collect();
    if !found.leaving.is_empty() || !kept.is_empty() {
        if found.leaving.is_empty() && is_late(operation, scene.input.now) {
            outcome.waits.push(held(&kept));
        }
        return None;
    }
    let count = replaced(operation).len();
    Some(format!(
        "{count} volumes were replaced; they are gone, and their data keys with them"
    ))
}

/// The instance with the volumes that are known of it: another one may get its name.
fn removal(scene: &Scene<'_>, instance: &str) -> Action {
    let volumes = volumes(scene);
    let beneath = volumes
        .iter()
        .filter(|(_, volume)| volume.instance == Some(instance));
    Action::RetireInstance {
        namespace: scene.model.namespace.as_str().to_owned(),
        instance: instance.to_owned(),
        volumes: beneath.map(|(name, _)| (*name).to_owned()).collect(),
    }
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

/// Those that were replaced and of which it is not known that they are gone, with a key or without one.
fn left<'a>(scene: &'a Scene<'_>, operation: &'a Operation) -> impl Iterator<Item = &'a String> {
    let keys = &scene.input.observed.minted.keys;
    let all = replaced(operation).iter();
    all.filter(|volume| keys.data.contains_key(*volume) || !keys.gone.contains(*volume))
}

/// The same of the move that is under way: they are looked up once their claims are gone.
pub fn leaving<'a>(scene: &'a Scene<'_>) -> impl Iterator<Item = &'a String> {
    let running = under_way(scene.input).map(|(_, operation)| operation);
    running.into_iter().flat_map(|operation| left(scene, operation))
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
