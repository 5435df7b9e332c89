//! A release that isn't what it was: published again, under its name or another, as the same version with other contents.
//!
//! In: the releases as they are now, and what was noted of them when they came. Out: why nothing goes on. Invariant: what runs stays as it
//! is; for this tenant a version has one content, and no other one comes under it, neither silently nor by being asked for.

use freehold_crds::{DesiredState, Release, UpgradeOperation};

use super::{Step, TOPIC, rollout, upgrades};
use crate::concern::Scene;
use crate::contents;
use crate::input::{Input, Operation};
use crate::operation::Step as _;
use crate::outcome::{Finding, Outcome, Wait};

const REASON: &str = "ReleaseReplaced";

/// Whether what runs has the version of the release that is wanted, and other contents.
pub fn is_so(scene: &Scene<'_>) -> bool {
    rollout::is_other_of_that_version(scene.input, scene.model)
}

/// That nothing is done for such a release, when nothing is under way.
pub fn found(scene: &Scene<'_>, outcome: &mut Outcome) -> Option<Finding> {
    if !is_so(scene) {
        return None;
    }
    let (release, version) = (scene.model.release, &scene.model.version);
    let installed = rollout::installed(scene);
    let message = format!(
        "the Release {release} is not the one that was installed: {version} was published again with other contents"
    );
    let back = if installed.version == version.to_string() && installed.name != release {
        format!("have {} again, which runs", installed.name)
    } else {
        "put the Release back as it was".to_owned()
    };
    // Nobody waits for a release of one that was terminated.
    if scene.model.tenant.spec.desired_state != DesiredState::Terminated {
        outcome.waits.push(Wait {
            reason: REASON,
            message: message.clone(),
            unblocked_by: format!("publish what changed as a new version, or {back}"),
            stalls: true,
        });
    }
    Some(Finding::aside(TOPIC, Some(false), REASON, message))
}

/// Why an upgrade that is under way can't go on: its release isn't the one any more with which it began.
pub fn under_way(scene: &Scene<'_>, operation: &Operation) -> Option<String> {
    let upgrade = operation.spec.upgrade.as_ref()?;
    let version = scene.model.version.to_string();
    let is_named = upgrade.to == scene.model.release && upgrade.to_version == version;
    (is_named && !is_to(upgrade, scene)).then(|| {
        format!(
            "the Release {} was published again with other contents meanwhile",
            upgrade.to
        )
    })
}

/// Whether the release that is wanted has what an upgrade is to bring, as far as that was noted.
pub fn is_to(upgrade: &UpgradeOperation, scene: &Scene<'_>) -> bool {
    let noted = upgrade.to_digest.as_ref();
    noted.is_none_or(|noted| *noted == scene.model.digest)
}

/// The release of a name, if it is of that version still and what it was.
pub fn same<'a>(
    input: &Input<'a>,
    name: &str,
    version: &str,
    digest: Option<&str>,
) -> Option<(&'a str, &'a Release)> {
    let (name, release) = input.releases.get_key_value(name)?;
    let is_it = release.spec.version == version && !contents::is_other(release, digest);
    is_it.then_some((name.as_str(), release.as_ref()))
}

/// What an upgrade has brought or was to bring, if it is there still.
pub fn brought<'a>(input: &Input<'a>, upgrade: &UpgradeOperation) -> Option<&'a Release> {
    let digest = upgrade.to_digest.as_deref();
    same(input, &upgrade.to, &upgrade.to_version, digest).map(|(_, release)| release)
}

/// Whether this tenant has had the version that is wanted with other contents: it ran, or its schema may have been changed by it.
pub fn had_another(scene: &Scene<'_>) -> bool {
    let version = scene.model.version.to_string();
    let is_other = |of: &str, digest: Option<&String>| {
        of == version && digest.is_some_and(|digest| *digest != scene.model.digest)
    };
    upgrades(scene.input).any(|(_, operation)| {
        operation.spec.upgrade.as_ref().is_some_and(|upgrade| {
            is_other(&upgrade.from_version, upgrade.from_digest.as_ref())
                || (is_past_preflight(operation) && is_other(&upgrade.to_version, upgrade.to_digest.as_ref()))
        })
    })
}

fn is_past_preflight(operation: &Operation) -> bool {
    let mut evidence = operation.status.evidence.iter();
    evidence
        .any(|line| line.step == Step::Preflight.as_str() && !line.message.starts_with(super::steps::FAILED))
}
