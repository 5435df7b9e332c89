//! The release's job that brings the schema to its version.
//!
//! In: the release's hook and what was seen of its Job. Out: the Job, once. Invariant: a Job that exists is left as it
//! is (Jobs are immutable); another version, image or list of arguments is another Job.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{PodTemplateSpec, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Scene;
use super::pod::{self, HOOK, Told};
use super::workload;
use crate::kind::Kind;
use crate::leaf::Leaf;
use crate::model::Migration;
use crate::names::{HOOKS, JobName, TENANT_LABEL, TIER_LABEL};
use crate::object::Object;
use crate::outcome::{Finding, Outcome, Wait};
use crate::seen::Facts;

pub const TOPIC: &str = "Migrated";
const NAME: &str = "migrate";
/// The job itself waits for the database; these are for when it is really broken.
const RETRIES: i32 = 3;

/// How far the schema is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The release has no such job, or it has succeeded.
    Done,
    Running,
    Failed(String),
}

/// How far the schema is for the release that is wanted.
pub fn progress(scene: &Scene<'_>) -> Progress {
    let Some(migration) = &scene.model.migrate else {
        return Progress::Done;
    };
    match scene
        .seen(Kind::Job, name(scene, migration).as_str())
        .map(|seen| &seen.facts)
    {
        Some(Facts::Job { succeeded: true, .. }) => Progress::Done,
        Some(Facts::Job {
            failed: Some(why), ..
        }) => Progress::Failed(why.clone()),
        _ => Progress::Running,
    }
}

pub fn plan(scene: Scene<'_>) -> Outcome {
    let account = ServiceAccount {
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    let account = Object::declare(scene.id(Kind::ServiceAccount, HOOKS), scene.marks(), &account);
    let mut outcome = Outcome::of(vec![account]);
    let Some(migration) = &scene.model.migrate else {
        outcome.findings.push(Finding::new(
            TOPIC,
            true,
            "NothingToDo",
            "the release has no migration",
        ));
        return outcome;
    };
    let name = name(&scene, migration);
    let id = scene.id(Kind::Job, name.as_str());
    if scene.input.observed.objects.contains_key(&id) {
        outcome.keep.insert(id);
    } else if may_start(&scene) {
        outcome
            .objects
            .push(Object::declare(id, marks(&scene), &job(&scene, migration)));
    }
    let version = &scene.model.version;
    outcome.findings.push(match progress(&scene) {
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
        Progress::Running => Finding::new(TOPIC, false, "Migrating", format!("{name} has not finished")),
        Progress::Failed(why) => {
            let message = format!("{name} failed: {why}");
            outcome.waits.push(Wait {
                reason: "MigrationFailed",
                message: message.clone(),
                unblocked_by: format!(
                    "read `kubectl logs -n {ns} job/{name}`; then name another release, or retry with \
                     `kubectl delete job -n {ns} {name}`",
                    ns = scene.model.namespace
                ),
                stalls: true,
            });
            Finding::new(TOPIC, false, "MigrationFailed", message)
        }
    });
    outcome
}

/// Not while the database sleeps, and an upgrade not while no window can be read: a first installation needs none.
fn may_start(scene: &Scene<'_>) -> bool {
    let upgrade = workload::runs_another(scene.input, scene.model);
    !scene.model.suspended && (scene.model.hours.is_ok() || !upgrade) && !is_under_way(scene)
}

/// Whether any migration has not ended yet. One of another release is pruned, and ours waits, because two at once would meet
/// each other's half-changed schema; and the database is not put to sleep under it.
pub fn is_under_way(scene: &Scene<'_>) -> bool {
    let mut seen = scene.input.observed.objects.iter();
    seen.any(|(id, seen)| {
        id.namespace == scene.model.namespace.as_str()
            && matches!(
                seen.facts,
                Facts::Job {
                    succeeded: false,
                    failed: None
                }
            )
    })
}

fn name(scene: &Scene<'_>, migration: &Migration<'_>) -> JobName {
    JobName::of(
        NAME,
        &scene.model.version.to_string(),
        migration.image,
        migration.args,
    )
}

fn marks(scene: &Scene<'_>) -> crate::object::Marks {
    scene
        .marks()
        .label("app.kubernetes.io/version", &scene.model.version.to_string())
}

fn job(scene: &Scene<'_>, migration: &Migration<'_>) -> Job {
    let mut labels = marks(scene).labels;
    labels.remove(crate::names::MANAGED_BY);
    labels.insert(TIER_LABEL.to_owned(), HOOK.to_owned());
    labels.insert(TENANT_LABEL.to_owned(), scene.model.name.to_owned());
    let container = pod::container(NAME, migration.image, migration.args, migration.resources);
    let mut spec = pod::spec(
        HOOKS,
        container,
        Told {
            leaf: Leaf::Application,
            database: true,
            owner: false,
        },
        scene.model.placement,
    );
    spec.restart_policy = Some("Never".to_owned());
    Job {
        spec: Some(JobSpec {
            backoff_limit: Some(RETRIES),
            active_deadline_seconds: Some(migration.timeout_seconds.into()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    ..ObjectMeta::default()
                }),
                spec: Some(spec),
            },
            ..JobSpec::default()
        }),
        ..Job::default()
    }
}
