//! From one release to the next, as a TenantOperation: checked, migrated, rolled out tier by tier, tried out, watched; and undone
//! by itself when any of that fails.
//!
//! In: the release that is asked for, what runs, the operations of this life. Out: records, the smoke test's job, and for the
//! other concerns which release is wanted, how far its schema is, and what of the one before must stay. Invariants: each step
//! stands in the operation before its effect; until the schema is migrated nothing of the release before is touched; a release
//! that failed is not tried again unless somebody asks for it.

mod asked;
mod channel;
mod images;
mod member;
mod path;
mod recall;
mod replaced;
mod steps;
mod words;

use freehold_crds::{DesiredState, OperationType, Phase, Release, TenantOperationSpec, UpgradeOperation};
use jiff::Timestamp;

use super::hook::Hook;
use super::maintenance::{self, Hours};
use super::rollout::Installed;
use super::{Scene, keys, rollout, workload};
use crate::clock::soon;
use crate::contents;
use crate::input::{Input, Operation};
use crate::kind::Kind;
use crate::model::{incarnation, namespace};
use crate::operation::{self, Step as _, advance, cancel, free_name, of_type};
use crate::outcome::{Finding, Outcome, Record};
use crate::seen::Facts;

pub use asked::unpinned;
pub use channel::none;
pub use member::of as member;
pub use path::{has_migrated, is_too_early};
pub use replaced::is_so as is_replaced;
use words::{at_once, failure, told, why};

pub const TOPIC: &str = "ReleaseCurrent";

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Whether it may be done at all, and whether what it needs is well.
    Preflight,
    /// The schema is brought to the version.
    Migrate,
    /// The components take their new images: application and workers first, then web.
    Roll,
    /// The release's own test.
    Smoke,
    /// It must run well for a while.
    Bake,
    /// It failed: the components take back the images of the release before, web first.
    RollBack,
}

impl operation::Step for Step {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Preflight, "Preflight"),
        (Self::Migrate, "Migrate"),
        (Self::Roll, "Roll"),
        (Self::Smoke, "Smoke"),
        (Self::Bake, "Bake"),
        (Self::RollBack, "RollBack"),
    ];
}

/// How far the schema is for the release that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema<'a> {
    /// Nothing was there before: it is made together with everything else.
    Installed,
    /// An upgrade has yet to come to it.
    Waits,
    /// This upgrade brings it there now.
    Brought(&'a str),
    /// It is there.
    There,
}

/// What of another release that runs stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nothing: everything is as the release that is wanted says.
    Open,
    /// Everything.
    Shut,
    /// What the tiers that come later need: they wait for those that come first.
    Tiers { web_first: bool },
}

/// The upgrade that is under way.
pub fn under_way<'a>(input: &'a Input<'_>) -> Option<(&'a str, &'a Operation)> {
    upgrades(input).find(|(_, operation)| !operation.status.phase.is_over())
}

fn upgrades<'a>(input: &'a Input<'_>) -> impl Iterator<Item = (&'a str, &'a Operation)> {
    of_type(input, OperationType::Upgrade)
}

/// The last one that ended.
fn last<'a>(input: &'a Input<'_>) -> Option<(&'a str, &'a Operation)> {
    let over = upgrades(input).filter(|(_, operation)| operation.status.phase.is_over());
    over.max_by_key(|(_, operation)| operation.ended())
}

/// The upgrade to what is asked for that failed, as long as nobody asks for another one.
fn failed<'a>(input: &'a Input<'_>) -> Option<(&'a str, &'a Operation)> {
    let name = asked(input);
    let retry = &input.tenant.spec.release.retry;
    let version = &input.releases.get(name)?.spec.version;
    last(input).filter(|(_, operation)| {
        let to = operation.spec.upgrade.as_ref();
        operation.status.phase == Phase::Failed
            && to.is_some_and(|to| to.to == name && to.to_version == *version && to.retry == *retry)
    })
}

/// The release that is asked for, by its object's name.
pub fn asked<'a>(input: &Input<'a>) -> &'a str {
    asked::asked(input).0
}

/// The release that is wanted now, by its object's name: the one that is asked for, or the one before when that one failed.
pub fn wanted<'a>(input: &Input<'a>) -> (&'a str, Option<&'a Release>) {
    let undone = match under_way(input) {
        Some((name, operation)) => (Step::of(operation) == Some(Step::RollBack)).then_some((name, true)),
        None => failed(input).map(|(name, _)| (name, false)),
    };
    let asked = || {
        let asked = asked(input);
        (asked, input.releases.get(asked).map(AsRef::as_ref))
    };
    let observed = input.observed;
    let undone = undone.and_then(|(name, must)| {
        let upgrade = observed.operations.get(name)?.spec.upgrade.as_ref()?;
        Some((upgrade, must))
    });
    match undone {
        Some((upgrade, must)) => match before(input, upgrade) {
            Some((name, release)) => (name, Some(release)),
            // On the way back nothing else will do.
            None if must => (&upgrade.from, None),
            None => asked(),
        },
        None => recall::instead(input).map_or_else(asked, |(name, release)| (name, Some(release))),
    }
}

/// The release that ran before, if it is there still, and what it was.
fn before<'a>(input: &Input<'a>, upgrade: &UpgradeOperation) -> Option<(&'a str, &'a Release)> {
    let digest = upgrade.from_digest.as_deref();
    replaced::same(input, &upgrade.from, &upgrade.from_version, digest)
}

/// Whether an operation is about the release that is wanted, as it is now.
fn is_for(operation: &Operation, scene: &Scene<'_>) -> bool {
    let upgrade = operation.spec.upgrade.as_ref();
    upgrade.is_some_and(|upgrade| {
        upgrade.to == scene.model.release
            && upgrade.to_version == scene.model.version.to_string()
            && replaced::is_to(upgrade, scene)
    })
}

/// Whether anything of the product was made for this tenant.
pub fn is_installed(input: &Input<'_>) -> bool {
    let namespace = namespace(input.tenant);
    let mut objects = input.observed.objects.keys();
    objects.any(|id| id.kind == Kind::Deployment && id.namespace == namespace.as_str())
}

/// Whether pods of two releases may be there: what a template says is not yet what runs.
pub fn rolls(input: &Input<'_>) -> bool {
    let step = under_way(input).and_then(|(_, operation)| Step::of(operation));
    matches!(step, Some(Step::Roll | Step::RollBack))
}

/// How far the schema is for the release that is wanted.
pub fn schema<'a>(scene: &Scene<'a>) -> Schema<'a> {
    match under_way(scene.input) {
        Some((name, operation)) => match Step::of(operation) {
            Some(Step::RollBack) => Schema::There,
            _ if !is_for(operation, scene) => Schema::Waits,
            None | Some(Step::Preflight) => Schema::Waits,
            Some(Step::Migrate) if path::is_down(operation) => Schema::There,
            Some(Step::Migrate) => Schema::Brought(name),
            Some(Step::Roll | Step::Smoke | Step::Bake) => Schema::There,
        },
        None if rollout::runs_another(scene.input, scene.model) => Schema::Waits,
        None if upgrades(scene.input).any(|(_, operation)| path::has_migrated(operation)) => Schema::There,
        None => Schema::Installed,
    }
}

/// What of another release that runs stays as it is.
pub fn gate(scene: &Scene<'_>) -> Gate {
    if !rollout::runs_another(scene.input, scene.model) {
        return Gate::Open;
    }
    let Some((_, operation)) = under_way(scene.input).filter(|_| !scene.model.suspended) else {
        return Gate::Shut;
    };
    match Step::of(operation) {
        // What only the failed release has goes last.
        Some(Step::RollBack) if rollout::is_rolled_out(scene) => Gate::Open,
        Some(Step::RollBack) => Gate::Tiers { web_first: true },
        _ if !is_for(operation, scene) => Gate::Shut,
        None | Some(Step::Preflight | Step::Migrate) => Gate::Shut,
        Some(Step::Roll) => Gate::Tiers { web_first: false },
        Some(Step::Smoke | Step::Bake) => Gate::Open,
    }
}

pub fn plan(scene: Scene<'_>) -> Outcome {
    let mut outcome = Outcome {
        asides: channel::lacks(scene.input).into_iter().collect(),
        ..Outcome::default()
    };
    keep_jobs(&scene, &mut outcome);
    let finding = match under_way(scene.input) {
        // Given up already.
        Some(operation) if scene.model.tenant.spec.desired_state == DesiredState::Terminated => {
            told(operation)
        }
        Some(operation) => {
            carry_on(&scene, operation, &mut outcome);
            if !outcome.records.is_empty() {
                outcome.wake_at(soon(scene.input.now));
            }
            told(operation)
        }
        None => idle(&scene, &mut outcome),
    };
    outcome.findings.push(finding);
    outcome
}

/// The jobs of an upgrade stay, and those of one that failed: their logs say why. So does the one that made the schema, as long as no
/// upgrade has taken its place.
fn keep_jobs(scene: &Scene<'_>, outcome: &mut Outcome) {
    if let Some((name, _)) = under_way(scene.input).or_else(|| last(scene.input)) {
        let own: [Option<Hook<'_>>; 2] = [
            super::migration::of_upgrade(scene, name),
            steps::smoke(scene, name),
        ];
        outcome
            .keep
            .extend(own.iter().flatten().map(|hook| hook.id(scene)));
    }
    let is_between = rollout::runs_another(scene.input, scene.model);
    if is_between || under_way(scene.input).is_some() || failed(scene.input).is_some() {
        let objects = scene.input.observed.objects.iter();
        // What was begun for a release that was replaced since comes to its end.
        let all = is_replaced(scene) && under_way(scene.input).is_none();
        let ended = objects.filter(|(_, seen)| match seen.facts {
            Facts::Job { succeeded: true, .. } | Facts::Job { failed: Some(_), .. } => true,
            Facts::Job { .. } => all,
            _ => false,
        });
        outcome.keep.extend(ended.map(|(id, _)| id.clone()));
    }
}

/// Whether an upgrade is to begin.
fn idle(scene: &Scene<'_>, outcome: &mut Outcome) -> Finding {
    let version = &scene.model.version;
    if let Some((name, operation)) = failed(scene.input) {
        outcome.waits.push(failure(scene, name, operation));
        return Finding::aside(
            TOPIC,
            Some(false),
            "UpgradeFailed",
            format!("{version} was gone back to"),
        );
    }
    if let Some(finding) = replaced::found(scene, outcome) {
        return finding;
    }
    let waits = |reason, message: String| Finding::aside(TOPIC, Some(false), reason, message);
    let recalled = recall::told(scene.input);
    if !rollout::runs_another(scene.input, scene.model) {
        return match recalled {
            Some(why) => {
                outcome.waits.extend(recall::stuck(scene));
                waits("Recalled", format!("{version} runs; {why}"))
            }
            None => channel::current(scene),
        };
    }
    if scene.model.suspended {
        return waits(
            "Suspended",
            format!("{version} is installed when the tenant is active again"),
        );
    }
    if let Some((name, operation)) = last(scene.input).filter(|(_, last)| {
        let same = last.spec.upgrade.as_ref().map(|upgrade| &upgrade.retry);
        last.status.phase == Phase::Failed
            && is_for(last, scene)
            && same == Some(&scene.model.tenant.spec.release.retry)
    }) {
        outcome.waits.push(failure(scene, name, operation));
        return waits("UpgradeFailed", format!("{version} could not be had"));
    }
    // What serves nobody disturbs nobody; and a recalled release goes at once.
    let is_whole = !rollout::is_mixed(scene, &rollout::installed(scene).version);
    let urgency = channel::urgency(scene);
    let is_urgent = recalled.is_some() || urgency.is_some();
    if !is_urgent
        && is_whole
        && workload::serves(scene.input, Some(scene.model))
        && let Some((reason, why)) = shut(scene, outcome)
    {
        return waits(reason, format!("{version} waits: {why}"));
    }
    if let Some((name, _)) = keys::awaited(scene) {
        return waits(
            "OperationUnderWay",
            format!("{version} waits for the end of {name}"),
        );
    }
    begin(scene, outcome);
    let at_once = at_once(urgency);
    waits("Upgrading", format!("the upgrade to {version} begins{at_once}"))
}

/// Why the windows and freezes let nothing begin now, in a word and in words.
fn shut(scene: &Scene<'_>, outcome: &mut Outcome) -> Option<(&'static str, String)> {
    let until = match &scene.model.hours {
        Ok(Hours::Open { .. }) => return None,
        Ok(Hours::Shut { until }) => *until,
        // Told by the windows' own wait.
        Err(_) => return Some(("InvalidWindow", "no window can be read".to_owned())),
    };
    outcome.wake_at(until);
    if let Some(frozen) = maintenance::frozen_now(scene.model.tenant, scene.input.now) {
        outcome.wake_at(Some(frozen.until));
        let why = format!("a freeze holds until {} ({})", frozen.until, frozen.reason);
        return Some(("Frozen", why));
    }
    let when = until.map_or_else(
        || "no window opens in the next years".to_owned(),
        |until| format!("the window opens at {until}"),
    );
    Some(("WaitsForWindow", when))
}

fn begin(scene: &Scene<'_>, outcome: &mut Outcome) {
    let Installed {
        name: from,
        version: from_version,
        digest,
    } = rollout::installed(scene);
    // What was installed before digests were noted is taken as it is published now.
    let as_published = || {
        let (_, release) = replaced::same(scene.input, &from, &from_version, None)?;
        Some(contents::of(release))
    };
    let from_digest = digest.or_else(as_published);
    outcome.wake_at(soon(scene.input.now));
    outcome.records.push(Record::Create {
        name: free_name(scene.input, "upgrade"),
        spec: TenantOperationSpec {
            tenant: scene.model.name.to_owned(),
            tenant_uid: scene.model.uid.to_owned(),
            incarnation: incarnation(scene.input),
            r#type: OperationType::Upgrade,
            deletion: None,
            rotation: None,
            reencryption: None,
            authority: None,
            upgrade: Some(UpgradeOperation {
                from,
                from_version,
                from_digest,
                to: scene.model.release.to_owned(),
                to_version: scene.model.version.to_string(),
                to_digest: Some(scene.model.digest.clone()),
                granted_by: channel::granted_by(scene),
                urgency: channel::urgency(scene),
                retry: scene.model.tenant.spec.release.retry.clone(),
            }),
        },
    });
}

fn carry_on(scene: &Scene<'_>, operation: (&str, &Operation), outcome: &mut Outcome) {
    let now = scene.input.now;
    let step = Step::of(operation.1).filter(|_| operation.1.status.phase == Phase::Running);
    let replaced = replaced::under_way(scene, operation.1).filter(|_| step != Some(Step::RollBack));
    let is_meant = match step {
        // It may never come to its end: who asks for a third one gets that.
        Some(Step::RollBack) => operation.1.spec.upgrade.as_ref().is_some_and(|upgrade| {
            let asked = asked(scene.input);
            asked == upgrade.to || asked == upgrade.from
        }),
        _ => is_for(operation.1, scene) || replaced.is_some(),
    };
    let again = operation
        .1
        .spec
        .upgrade
        .as_ref()
        .is_some_and(|it| it.from == asked(scene.input));
    if let (false, true, Some(step @ (Step::Roll | Step::Smoke | Step::Bake))) = (is_meant, again, step) {
        // Who takes it back gets what ran before, by the way that is known to work.
        let why = format!("{} is asked for again", asked(scene.input));
        return steps::fail(scene, operation, step, &why, outcome);
    }
    if !is_meant {
        let why = format!("{} is asked for now", asked(scene.input));
        return outcome.records.push(cancel(operation, now, Some(&why)));
    }
    if scene.model.suspended {
        // It goes on when the tenant wakes, and its time begins anew.
        let back = match step {
            // What was seen of its pods is no longer so.
            Some(Step::Smoke | Step::Bake) => Some(Step::Roll),
            step => step.filter(|_| hold(operation.1).is_some()),
        };
        if let Some(step) = back {
            let record = advance(operation, now, None, Some(step.as_str()));
            outcome.records.push(record);
        }
        return;
    }
    if let Some(why) = replaced {
        return steps::fail(scene, operation, step.unwrap_or(Step::Preflight), &why, outcome);
    }
    let recalled = recall::told(scene.input).filter(|_| scene.model.release == asked(scene.input));
    let goes_on = |step: &Step| match step {
        Step::RollBack => true,
        // It runs everywhere already, and can't be left backwards.
        Step::Smoke | Step::Bake => recall::is_rolled_forward(scene.input),
        Step::Preflight | Step::Migrate | Step::Roll => false,
    };
    if let (Some(why), Some(step)) = (recalled, step.filter(|step| !goes_on(step))) {
        return steps::fail(scene, operation, step, &why, outcome);
    }
    steps::take(scene, operation, step, outcome);
}

/// What the step that is under way waits for.
fn hold(operation: &Operation) -> Option<Timestamp> {
    operation.status.hold_until.as_ref().map(|until| until.0)
}

/// A tenant that is terminated gets no other release; whoever destroys its keys waits for nobody.
pub fn give_way(input: &Input<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    if input.tenant.spec.desired_state == DesiredState::Terminated
        && let Some(operation) = under_way(input)
    {
        let why = "the tenant is terminated";
        outcome.records.push(cancel(operation, input.now, Some(why)));
        outcome.wake_at(soon(input.now));
    }
    outcome
}

/// The tenant is taken down: its upgrade is given up.
pub fn give_up(input: &Input<'_>) -> Option<Record> {
    let why = "the tenant is being taken down";
    under_way(input).map(|operation| cancel(operation, input.now, Some(why)))
}
