//! What becomes of a tenant whose release was recalled.
//!
//! In: the recall of the release that is asked for, what ran here before it, and how the upgrades have left the schema. Out: what runs instead,
//! or why nothing can. Invariant: what was recalled to be gone back from is left, or a blocker says why it can't be.

use freehold_crds::{DesiredState, Phase, RecallAction, Release, UpgradeOperation};
use semver::Version;

use super::{asked, before, channel, path, under_way, upgrades};
use crate::concern::Scene;
use crate::input::{Input, Operation};
use crate::outcome::Wait;

/// What is said of the recall of the release that is asked for.
pub fn told(input: &Input<'_>) -> Option<String> {
    let release = input.releases.get(asked(input))?;
    let recall = release.spec.recall.as_ref()?;
    Some(format!(
        "{} was recalled: {}",
        release.spec.version, recall.reason
    ))
}

/// Whether the release that is asked for was recalled and is to be left forwards only.
pub fn is_rolled_forward(input: &Input<'_>) -> bool {
    let release = input.releases.get(asked(input));
    let recall = release.and_then(|release| release.spec.recall.as_ref());
    recall.is_some_and(|recall| recall.action == RecallAction::RollForward)
}

/// The release that is asked for, if it was recalled to be gone back from.
fn taken_back<'a>(input: &Input<'a>) -> Option<(&'a str, &'a Release)> {
    let (name, release) = input.releases.get_key_value(asked(input))?;
    let recall = release.spec.recall.as_ref()?;
    (recall.action == RecallAction::RollBack).then_some((name.as_str(), release.as_ref()))
}

/// What runs instead of such a release where it has been: the one that it came from, else the newest older one that ran here.
pub fn instead<'a>(input: &Input<'a>) -> Option<(&'a str, &'a Release)> {
    let (name, release) = taken_back(input)?;
    let is_to_it = |operation: &Operation| {
        let upgrade = operation.spec.upgrade.as_ref();
        upgrade.is_some_and(|upgrade| upgrade.to == name && upgrade.to_version == release.spec.version)
    };
    let came = upgrades(input).filter(|(_, it)| it.status.phase == Phase::Succeeded && is_to_it(it));
    let came: Vec<&UpgradeOperation> = came.filter_map(|(_, it)| it.spec.upgrade.as_ref()).collect();
    if came.is_empty() || under_way(input).is_some_and(|(_, it)| is_to_it(it)) {
        return None;
    }
    let good = older(input, release).into_iter();
    let good = good.filter_map(|upgrade| back(input, upgrade, release).ok());
    good.max_by_key(|(name, before)| {
        let is_from = came.iter().any(|upgrade| upgrade.from == *name);
        (is_from, Version::parse(&before.spec.version).ok())
    })
}

/// The upgrades that left an older version than a release, so that it ran here.
fn older<'a>(input: &'a Input<'_>, release: &Release) -> Vec<&'a UpgradeOperation> {
    let all = upgrades(input).filter_map(|(_, operation)| operation.spec.upgrade.as_ref());
    all.filter(|upgrade| path::is_down_to(&upgrade.from_version, &release.spec.version))
        .collect()
}

/// What an upgrade has left, if that may come back in the place of a recalled release; why not, otherwise.
fn back<'a>(
    input: &Input<'a>,
    upgrade: &UpgradeOperation,
    release: &Release,
) -> Result<(&'a str, &'a Release), String> {
    let UpgradeOperation {
        from, from_version, ..
    } = upgrade;
    let Some((name, before)) = before(input, upgrade) else {
        return Err(format!(
            "the Release {from} of version {from_version} is gone or was replaced"
        ));
    };
    if before.spec.recall.is_some() {
        return Err(format!("{from_version} was recalled too"));
    }
    if !path::works_on(from_version, release) {
        return Err(format!(
            "{from_version} does not work on the schema that {} has left",
            release.spec.version
        ));
    }
    path::fits(input, from_version)?;
    Ok((name, before))
}

/// That a release which is to be gone back from runs on, for nothing can be gone back to.
pub fn stuck(scene: &Scene<'_>) -> Option<Wait> {
    let (name, release) = taken_back(scene.input)?;
    // Nobody waits for a release of one that was terminated.
    if scene.model.release != name || scene.model.tenant.spec.desired_state == DesiredState::Terminated {
        return None;
    }
    let older = older(scene.input, release).into_iter();
    let mut all: Vec<String> = older
        .filter_map(|upgrade| back(scene.input, upgrade, release).err())
        .collect();
    all.sort();
    all.dedup();
    let why = if all.is_empty() {
        "no older version ran here".to_owned()
    } else {
        all.join("; ")
    };
    Some(Wait {
        reason: "RecallStuck",
        message: format!(
            "{}, and it can't be gone back from: {why}",
            told(scene.input).unwrap_or_default()
        ),
        unblocked_by: format!(
            "{}, or create again what is gone, as it was; if it is to stay for now, recall it with the action Hold or RollForward",
            channel::stuck(scene.input)
        ),
        stalls: true,
    })
}
