//! The release's job that brings the schema to its version: once when a tenant is installed, and in the step Migrate of each
//! upgrade.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::Scene;
use super::hook::{Hook, Progress};
use super::upgrade::{self, Schema};
use crate::kind::Kind;
use crate::model::{HookJob, another_release};
use crate::names::HOOKS;
use crate::object::Object;
use crate::outcome::{Finding, Outcome, Wait};
use crate::seen::Facts;

pub const TOPIC: &str = "Migrated";
/// The job itself waits for the database; these are for when it is really broken.
const RETRIES: i32 = 3;

/// How far the schema is for the release that is wanted.
pub fn progress(scene: &Scene<'_>) -> Progress {
    match (&scene.model.migrate, upgrade::schema(scene)) {
        (None, _) | (_, Schema::There) => Progress::Done,
        (_, Schema::Waits) => Progress::Running,
        (Some(job), Schema::Installed) => hook(job, None).progress(scene),
        (Some(job), Schema::Brought(upgrade)) => hook(job, Some(upgrade)).progress(scene),
    }
}

fn hook<'a>(job: &'a HookJob<'a>, upgrade: Option<&'a str>) -> Hook<'a> {
    Hook {
        name: "migrate",
        job,
        upgrade,
        retries: RETRIES,
        database: true,
        judged: false,
    }
}

/// The job of an upgrade, if its release has one.
pub fn of_upgrade<'a>(scene: &'a Scene<'_>, upgrade: &'a str) -> Option<Hook<'a>> {
    Some(hook(scene.model.migrate.as_ref()?, Some(upgrade)))
}

pub fn plan(scene: Scene<'_>) -> Outcome {
    let account = ServiceAccount {
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    let account = Object::declare(scene.id(Kind::ServiceAccount, HOOKS), scene.marks(), &account);
    let mut outcome = Outcome::of(vec![account]);
    let Some(job) = &scene.model.migrate else {
        outcome.findings.push(Finding::new(
            TOPIC,
            true,
            "NothingToDo",
            "the release has no migration",
        ));
        return outcome;
    };
    let hook = match upgrade::schema(&scene) {
        Schema::Installed => Some(hook(job, None)),
        Schema::Brought(upgrade) => Some(hook(job, Some(upgrade))),
        Schema::Waits | Schema::There => None,
    };
    if let Some(hook) = &hook {
        let id = hook.id(&scene);
        if scene.input.observed.objects.contains_key(&id) {
            outcome.keep.insert(id);
        } else if !scene.model.suspended && !is_under_way(&scene) {
            outcome.objects.push(hook.object(&scene));
        }
    }
    let name = hook.map_or_else(String::new, |hook| hook.id(&scene).name);
    outcome.findings.push(finding(&scene, &name, &mut outcome.waits));
    outcome
}

fn finding(scene: &Scene<'_>, name: &str, waits: &mut Vec<Wait>) -> Finding {
    let version = &scene.model.version;
    match progress(scene) {
        Progress::Done => Finding::new(
            TOPIC,
            true,
            "Migrated",
            format!("the schema is at version {version}"),
        ),
        Progress::Running if scene.model.suspended => Finding::aside(
            TOPIC,
            Some(false),
            "Suspended",
            format!("the schema is brought to version {version} when the tenant is active again"),
        ),
        Progress::Running if upgrade::is_replaced(scene) => Finding::aside(
            TOPIC,
            None,
            "ReleaseReplaced",
            "the schema stays as it is for the release that runs",
        ),
        Progress::Running if name.is_empty() => Finding::aside(
            TOPIC,
            Some(false),
            "UpgradePending",
            format!("the upgrade to {version} brings the schema there"),
        ),
        Progress::Running => Finding::new(TOPIC, false, "Migrating", format!("{name} has not finished")),
        Progress::Failed(why) => {
            let message = format!("{name} failed: {why}");
            // An upgrade says it by itself.
            if upgrade::schema(scene) == Schema::Installed {
                waits.push(Wait {
                    reason: "MigrationFailed",
                    message: message.clone(),
                    unblocked_by: format!(
                        "read `kubectl logs -n {ns} job/{name}`; then {another}, or retry with \
                         `kubectl delete job -n {ns} {name}`",
                        another = another_release(&scene.model.tenant.spec.release),
                        ns = scene.model.namespace
                    ),
                    stalls: true,
                });
            }
            Finding::new(TOPIC, false, "MigrationFailed", message)
        }
    }
}

/// Whether any job of a release has not ended yet. A migration of another release is pruned, and ours waits, because two at once
/// would meet each other's half-changed schema; and the database is not put to sleep under it.
pub fn is_under_way(scene: &Scene<'_>) -> bool {
    let mut seen = scene.input.observed.objects.iter();
    seen.any(|(id, seen)| {
        id.namespace == scene.model.namespace.as_str()
            && matches!(
                seen.facts,
                Facts::Job {
                    succeeded: false,
                    failed: None,
                    ..
                }
            )
    })
}
