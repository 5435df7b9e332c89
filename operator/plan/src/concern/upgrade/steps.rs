//! What each step of an upgrade does, when it is over, and when it has failed.

use std::time::Duration;

use freehold_crds::Phase;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::hook::{Hook, Progress};
use super::super::{Scene, keys, migration, quota, rollout, tls, workload};
use super::images::{self, Had};
use super::{Step, channel, hold, path};
use crate::clock::stamp;
use crate::input::Operation;
use crate::kind::Kind;
use crate::names::DATABASE;
use crate::operation::{Step as _, advance};
use crate::outcome::{Outcome, Record, Wait};
use crate::seen::Facts;

/// What the evidence of a step that failed begins with.
pub const FAILED: &str = "failed: ";
/// After this an image that isn't there can't be had.
const PULLED: Duration = Duration::from_secs(300);
/// The word for an upgrade that waits for what it needs of its tenant.
pub const WAITS: &str = "UpgradeWaits";
/// So long after the time for images, an hour together, what it waits for doesn't come by itself: others that are to be upgraded wait no longer for
/// this one.
const PATIENCE: SignedDuration = SignedDuration::from_mins(55);
/// How often a pod of the smoke test is replaced: while it is tried again, users have what failed.
const RETRIES: i32 = 0;

/// What became of a step.
enum Verdict {
    /// It is under way.
    Waits,
    /// It is over; what was done.
    Over(String),
    /// Why it can't be had.
    Failed(String),
}

/// Takes one step further.
pub fn take(scene: &Scene<'_>, operation: (&str, &Operation), step: Option<Step>, outcome: &mut Outcome) {
    let Some(step) = step else {
        let mut record = advance(operation, scene.input.now, None, Some(Step::Preflight.as_str()));
        if let Record::Advance { status, .. } = &mut record {
            status.hold_until = hold_until(scene, Step::Preflight);
        }
        return outcome.records.push(record);
    };
    if hold(operation.1).is_none()
        && let Some(until) = hold_until(scene, step)
    {
        // It was asleep in the middle.
        let mut record = advance(operation, scene.input.now, None, Some(step.as_str()));
        if let Record::Advance { status, .. } = &mut record {
            status.hold_until = Some(until);
        }
        return outcome.records.push(record);
    }
    let verdict = match step {
        Step::Preflight => preflight(scene, operation, outcome),
        Step::Migrate => migrated(scene, operation),
        Step::Roll => rolled(scene, operation.1, outcome),
        Step::Smoke => smoked(scene, operation.0, outcome),
        Step::Bake => baked(scene, operation.1, outcome),
        Step::RollBack => undone(scene, operation.1, outcome),
    };
    match verdict {
        Verdict::Waits => {}
        Verdict::Over(done) => go_on(scene, operation, step, done, outcome),
        Verdict::Failed(why) => fail(scene, operation, step, &why, outcome),
    }
}

fn go_on(scene: &Scene<'_>, operation: (&str, &Operation), step: Step, done: String, outcome: &mut Outcome) {
    let next = match step {
        // That was the last that was to be done, whether it went well or not.
        Step::Bake | Step::RollBack => None,
        step => step.next(),
    };
    let over = Some((step.as_str(), done));
    let mut record = advance(operation, scene.input.now, over, next.map(Step::as_str));
    if let Record::Advance { status, .. } = &mut record {
        status.hold_until = next.and_then(|next| hold_until(scene, next));
        if step == Step::RollBack {
            status.phase = Phase::Failed;
        }
    }
    outcome.records.push(record);
}

/// Until when a step may take, or takes.
fn hold_until(scene: &Scene<'_>, begun: Step) -> Option<Time> {
    let long = match begun {
        Step::Roll | Step::RollBack => scene.model.roll_timeout,
        Step::Bake => scene.model.bake,
        Step::Preflight => PULLED,
        Step::Migrate | Step::Smoke => return None,
    };
    let until = stamp(scene.input.now).checked_add(SignedDuration::try_from(long).ok()?);
    until.ok().map(Time)
}

/// Before the images were changed nothing is to be undone; after that, the release before comes back if it may.
pub fn fail(scene: &Scene<'_>, operation: (&str, &Operation), step: Step, why: &str, outcome: &mut Outcome) {
    let now = scene.input.now;
    let line = Some((step.as_str(), format!("{FAILED}{why}")));
    let from = operation
        .1
        .spec
        .upgrade
        .as_ref()
        .map(|upgrade| upgrade.from_version.as_str());
    // One that took another's place in the middle has more to undo than its own.
    let is_whole = from.is_none_or(|from| !rollout::is_mixed(scene, from));
    if matches!(step, Step::Preflight | Step::Migrate) && is_whole {
        let mut record = advance(operation, now, line, None);
        if let Record::Advance { status, .. } = &mut record {
            status.phase = Phase::Failed;
        }
        return outcome.records.push(record);
    }
    let Some(upgrade) = operation.1.spec.upgrade.as_ref() else {
        return;
    };
    match path::back(scene, upgrade) {
        Ok(()) => {
            let record = advance(operation, now, line, Some(Step::RollBack.as_str()));
            outcome.records.push(record);
        }
        Err(stuck) => outcome.waits.push(Wait {
            reason: "UpgradeStuck",
            message: format!(
                "{} failed in the step {}: {why}; it can't be undone: {stuck}",
                upgrade.to_version,
                step.as_str()
            ),
            unblocked_by: format!(
                "{}; the one before was {}",
                channel::stuck(scene.input),
                upgrade.from
            ),
            stalls: true,
        }),
    }
}

/// Whether it may be done, and whether what it needs is well.
fn preflight(scene: &Scene<'_>, (name, operation): (&str, &Operation), outcome: &mut Outcome) -> Verdict {
    let Some(upgrade) = operation.spec.upgrade.as_ref() else {
        return Verdict::Failed("the operation does not say from which release to which".to_owned());
    };
    if let Err(why) = path::there(scene, upgrade) {
        return Verdict::Failed(why);
    }
    if let Some(lacking) = quota::lacks(scene) {
        return Verdict::Failed(lacking);
    }
    let count = match images::look(scene, name) {
        Had::All(count) => count,
        Had::Waits { missing, .. } if is_past(hold(operation), scene, outcome) => {
            return Verdict::Failed(format!(
                "after {} s there is no {}",
                PULLED.as_secs(),
                missing.join("; no ")
            ));
        }
        Had::Waits { refused, .. } => {
            if !refused.is_empty() {
                let refused = refused.join("; and for ");
                outcome.waits.push(Wait {
                    reason: WAITS,
                    message: format!("the upgrade to {} waits for the image {refused}", upgrade.to_version),
                    unblocked_by: format!(
                        "an image that the nodes can pull: {} s after it was asked for the upgrade ends, and a new word in \
                         spec.release.retry tries it again",
                        PULLED.as_secs()
                    ),
                    stalls: false,
                });
            }
            outcome.keep.extend(images::there(scene, name));
            outcome.objects.extend(images::pods(scene, name));
            return Verdict::Waits;
        }
    };
    if let Some((what, condition)) = lacks(scene) {
        let until = hold(operation).and_then(|until| until.checked_add(PATIENCE).ok());
        let stalls = is_past(until, scene, outcome);
        outcome.waits.push(Wait {
            reason: WAITS,
            message: format!("the upgrade to {} waits: {what}", upgrade.to_version),
            unblocked_by: format!("see the condition {condition}"),
            stalls,
        });
        return Verdict::Waits;
    }
    Verdict::Over(format!(
        "{} follows {}; {count} new images are there; quota, database, certificates and keys are well",
        upgrade.to_version, upgrade.from_version
    ))
}

/// What of the tenant isn't well, and which condition says more. All of it passes by itself or by somebody's deed.
pub fn lacks(scene: &Scene<'_>) -> Option<(String, &'static str)> {
    let database = scene.seen(Kind::Cluster, DATABASE).map(|seen| &seen.facts);
    if !matches!(database, Some(Facts::Database { ready: true, .. })) {
        return Some(("the database is not ready".to_owned(), "DatabaseReady"));
    }
    let certificate = tls::lacking(scene).map(|what| (what, tls::TOPIC));
    certificate.or_else(|| keys::lacking(scene).map(|what| (what, keys::TOPIC)))
}

fn migrated(scene: &Scene<'_>, (name, operation): (&str, &Operation)) -> Verdict {
    if path::is_down(operation) {
        return Verdict::Over("the schema stays as it is".to_owned());
    }
    let Some(hook) = migration::of_upgrade(scene, name) else {
        return Verdict::Over("the release has no migration".to_owned());
    };
    let job = hook.id(scene).name;
    match migration::progress(scene) {
        Progress::Running => Verdict::Waits,
        Progress::Failed(why) => Verdict::Failed(format!("{job}: {why}")),
        Progress::Done => Verdict::Over(format!(
            "{job} succeeded: the schema is at version {}",
            scene.model.version
        )),
    }
}

/// Whether a time is over; if not, it is waited for.
fn is_past(until: Option<Timestamp>, scene: &Scene<'_>, outcome: &mut Outcome) -> bool {
    let past = until.is_none_or(|until| until <= scene.input.now);
    if !past {
        outcome.wake_at(until);
    }
    past
}

fn rolled(scene: &Scene<'_>, operation: &Operation, outcome: &mut Outcome) -> Verdict {
    if rollout::is_rolled_out(scene) {
        return Verdict::Over(format!("every component runs {}", scene.model.version));
    }
    if let Some(why) = rollout::given_up(scene) {
        return Verdict::Failed(why);
    }
    if is_past(hold(operation), scene, outcome) {
        let lacking = rollout::lacking(scene).join(", ");
        return Verdict::Failed(format!(
            "not every pod was ready within {} s: {lacking}",
            scene.model.roll_timeout.as_secs()
        ));
    }
    Verdict::Waits
}

/// The release's own test, if it has one.
pub fn smoke<'a>(scene: &'a Scene<'_>, upgrade: &'a str) -> Option<Hook<'a>> {
    Some(Hook {
        name: "smoke",
        job: scene.model.smoke.as_ref()?,
        upgrade: Some(upgrade),
        retries: RETRIES,
        database: false,
        judged: false,
    })
}

fn smoked(scene: &Scene<'_>, name: &str, outcome: &mut Outcome) -> Verdict {
    let Some(hook) = smoke(scene, name) else {
        return Verdict::Over("the release has no smoke test".to_owned());
    };
    let id = hook.id(scene);
    match hook.progress(scene) {
        Progress::Done => Verdict::Over(format!("{} succeeded", id.name)),
        Progress::Failed(why) => Verdict::Failed(format!("{}: {why}", id.name)),
        Progress::Running => {
            if !scene.input.observed.objects.contains_key(&id) {
                outcome.objects.push(hook.object(scene));
            }
            Verdict::Waits
        }
    }
}

fn baked(scene: &Scene<'_>, operation: &Operation, outcome: &mut Outcome) -> Verdict {
    if let Some(why) = rollout::given_up(scene) {
        return Verdict::Failed(why);
    }
    if !workload::serves(scene.input, Some(scene.model)) {
        return Verdict::Failed("a tier has no pod that answers".to_owned());
    }
    if !is_past(hold(operation), scene, outcome) {
        return Verdict::Waits;
    }
    if rollout::is_rolled_out(scene) {
        let long = scene.model.bake.as_secs();
        return Verdict::Over(format!("{} ran well for {long} s", scene.model.version));
    }
    // A change of the settings may be on its way through the pods.
    let late = hold(operation).and_then(|until| {
        let long = SignedDuration::try_from(scene.model.roll_timeout).ok()?;
        until.checked_add(long).ok()
    });
    if !is_past(late, scene, outcome) {
        return Verdict::Waits;
    }
    Verdict::Failed(format!(
        "not every pod is ready: {}",
        rollout::lacking(scene).join(", ")
    ))
}

/// It has no end but a good one: there is nothing that would be better.
fn undone(scene: &Scene<'_>, operation: &Operation, outcome: &mut Outcome) -> Verdict {
    let version = &scene.model.version;
    if rollout::is_rolled_out(scene) && !rollout::runs_another(scene.input, scene.model) {
        return Verdict::Over(format!("every component runs {version} again"));
    }
    if is_past(hold(operation), scene, outcome) {
        outcome.waits.push(Wait {
            reason: "RollBackStuck",
            message: format!(
                "{version} is to run again, and not every pod of it is ready: {}",
                rollout::lacking(scene).join(", ")
            ),
            unblocked_by: format!(
                "see what its pods lack: kubectl -n {} get pods; or {}",
                scene.model.namespace,
                channel::third(scene.input)
            ),
            stalls: true,
        });
    }
    Verdict::Waits
}
