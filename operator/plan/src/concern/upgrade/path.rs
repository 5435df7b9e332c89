//! From which release to which one may go, and back: by what the releases say of their schemas, of the versions that they follow,
//! and of a recall.

use freehold_crds::{Release, SchemaChange, UpgradeOperation};
use semver::{Version, VersionReq};

use super::steps::FAILED;
use super::{Step, before, replaced, upgrades};
use crate::concern::Scene;
use crate::fleet::{is_preview, takes_previews};
use crate::input::{Input, Operation};
use crate::operation::Step as _;

/// Whether a release is a preview, and the tenant is for more than trying things out.
pub fn is_too_early(input: &Input<'_>, release: &Release) -> bool {
    is_preview(release) && !takes_previews(input.tenant.spec.environment)
}

/// Whether a version works on the schema that a release leaves behind, as far as that one says so.
pub fn works_on(version: &str, release: &Release) -> bool {
    let schema = &release.spec.schema;
    let oldest = schema.oldest_version.as_deref();
    let is_older = |oldest: &str| match (Version::parse(version), Version::parse(oldest)) {
        (Ok(version), Ok(oldest)) => version < oldest,
        // Nothing is known of versions that are none.
        _ => true,
    };
    schema.change == SchemaChange::Expand && !oldest.is_some_and(is_older)
}

/// Whether an upgrade goes to an older version, or to the same.
pub fn is_down(operation: &Operation) -> bool {
    operation.spec.upgrade.as_ref().is_some_and(goes_down)
}

/// Whether one version is older than another.
pub fn is_down_to(version: &str, than: &str) -> bool {
    matches!((Version::parse(version), Version::parse(than)), (Ok(version), Ok(than)) if version < than)
}

fn goes_down(upgrade: &UpgradeOperation) -> bool {
    let read = |text: &str| Version::parse(text).ok();
    match (read(&upgrade.from_version), read(&upgrade.to_version)) {
        (Some(from), Some(to)) => to <= from,
        _ => false,
    }
}

/// Whether an upgrade has changed the schema.
pub fn has_migrated(operation: &Operation) -> bool {
    let mut evidence = operation.status.evidence.iter();
    let migrated =
        evidence.any(|line| line.step == Step::Migrate.as_str() && !line.message.starts_with(FAILED));
    migrated && !is_down(operation)
}

/// Whether a version works on the schema as the upgrades of this life have left it, those that were undone too; why not, otherwise.
pub fn fits(input: &Input<'_>, version: &str) -> Result<(), String> {
    let is_from = |operation: &Operation| {
        let upgrade = operation.spec.upgrade.as_ref();
        upgrade.is_some_and(|upgrade| upgrade.from_version == version)
    };
    let ran = upgrades(input).filter(|(_, operation)| is_from(operation));
    let ran = ran.map(|(_, operation)| operation.created).max();
    // What was there before it last ran, it has run on, whether anybody can say so or not.
    let is_after = |operation: &Operation| ran.is_none_or(|ran| operation.created >= ran);
    for (_, operation) in upgrades(input).filter(|(_, it)| has_migrated(it) && is_after(it)) {
        let Some(upgrade) = &operation.spec.upgrade else {
            continue;
        };
        match replaced::brought(input, upgrade) {
            Some(release) if works_on(version, release) || upgrade.to_version == version => {}
            Some(_) => {
                return Err(format!(
                    "{version} does not work on the schema that {} has left",
                    upgrade.to_version
                ));
            }
            None => {
                return Err(format!(
                    "the Release {} is gone or was replaced, which says whether {version} works on the schema that it has left",
                    upgrade.to
                ));
            }
        }
    }
    Ok(())
}

/// Whether the release that is wanted may follow the one that runs; why not, otherwise.
pub fn there(scene: &Scene<'_>, upgrade: &UpgradeOperation) -> Result<(), String> {
    let input = scene.input;
    let Some(release) = input.releases.get(scene.model.release) else {
        return Err(format!("the Release {} is gone", scene.model.release));
    };
    let to = &scene.model.version;
    if let Some(recall) = &release.spec.recall {
        return Err(format!("{to} was recalled: {}", recall.reason));
    }
    if is_too_early(input, release) {
        return Err(format!(
            "{to} is a pre-release, which comes to tenants of the environment Development or Testing only, and this one is {:?}",
            input.tenant.spec.environment
        ));
    }
    if replaced::had_another(scene) {
        return Err(format!(
            "{to} was published again with other contents than this tenant has had: publish what changed as a new version"
        ));
    }
    let Ok(from) = Version::parse(&upgrade.from_version) else {
        // What was installed before versions were noted is followed by anything.
        return Ok(());
    };
    let before = input.releases.get(&upgrade.from);
    if let Some(before) = before.filter(|before| before.spec.product != scene.model.product) {
        return Err(format!(
            "{} is another product than {}: a tenant keeps its product",
            scene.model.product, before.spec.product
        ));
    }
    if *to == from {
        return Ok(());
    }
    if *to < from {
        return down(scene, upgrade, &from);
    }
    if release.spec.schema.change == SchemaChange::Expand && !works_on(&upgrade.from_version, release) {
        return Err(format!(
            "{from} would run on a schema that it doesn't know while {to} is rolled out: name a version between them first"
        ));
    }
    if release.spec.schema.change != SchemaChange::Expand {
        return Err(format!(
            "{to} changes the schema in a way that can't be undone ({:?}), which is refused until there are proven backups: \
             publish it as a change that only expands",
            release.spec.schema.change
        ));
    }
    let Some(follows) = &release.spec.upgrade_from else {
        return Ok(());
    };
    match VersionReq::parse(follows) {
        Ok(allowed) if allowed.matches(&from) => Ok(()),
        Ok(_) => Err(format!(
            "{to} may follow {follows} only, and {from} runs: name a release between them first"
        )),
        Err(error) => Err(format!("upgradeFrom of {to} can't be read ({follows}): {error}")),
    }
}

/// An older version comes back only if the schema that is there serves it.
fn down(scene: &Scene<'_>, upgrade: &UpgradeOperation, from: &Version) -> Result<(), String> {
    let to = &scene.model.version;
    let Some((_, newer)) = before(scene.input, upgrade) else {
        return Err(format!(
            "{to} is older than {from}, and the Release {} is gone or was replaced, which says whether it works on the schema of {from}",
            upgrade.from
        ));
    };
    if !works_on(&to.to_string(), newer) {
        return Err(format!("{to} does not work on the schema that {from} has left"));
    }
    fits(scene.input, &to.to_string())?;
    // Without a word about the oldest version, the one that ran before is known to have worked.
    let ran_before = upgrades(scene.input).any(|(_, it)| {
        let before = it.spec.upgrade.as_ref();
        before.is_some_and(|it| it.from_version == to.to_string())
    });
    if newer.spec.schema.oldest_version.is_some() || ran_before {
        Ok(())
    } else {
        Err(format!(
            "nobody says that {to} works on the schema of {from}: publish releases with schema.oldestVersion"
        ))
    }
}

/// Whether the release before may come back; why not, otherwise.
pub fn back(scene: &Scene<'_>, upgrade: &UpgradeOperation) -> Result<(), String> {
    let UpgradeOperation {
        from,
        from_version,
        to_version,
        ..
    } = upgrade;
    if before(scene.input, upgrade).is_none() {
        let what = if scene.input.releases.contains_key(from) {
            "was published again with other contents"
        } else {
            "is gone"
        };
        return Err(format!("the Release {from} of version {from_version} {what}"));
    }
    if goes_down(upgrade) {
        return Ok(());
    }
    // One that was replaced says nothing of the one that failed, which was let in because the one before works on its schema.
    let release = replaced::brought(scene.input, upgrade);
    if release.is_some_and(|release| !works_on(from_version, release)) {
        return Err(format!(
            "{from_version} does not work on the schema that {to_version} has made"
        ));
    }
    Ok(())
}

/// Whether an upgrade was to the release that is published under that name now, as far as it is known.
pub fn is_of(input: &Input<'_>, upgrade: &UpgradeOperation) -> bool {
    let release = input.releases.get(&upgrade.to);
    release.is_none_or(|release| release.spec.version == upgrade.to_version)
}
