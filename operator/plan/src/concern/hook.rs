//! A job of a release's: how it is called, how it runs, how far it is.
//!
//! Invariant: a Job that exists is left as it is (Jobs are immutable); another version, image, list of arguments or upgrade is
//! another Job.

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Scene;
use super::pod::{self, HOOK, Told};
use crate::kind::Kind;
use crate::leaf::Leaf;
use crate::model::HookJob;
use crate::names::{HOOKS, JobName, MANAGED_BY, TENANT_LABEL, TIER_LABEL};
use crate::object::{Id, Marks, Object};
use crate::seen::Facts;

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The release has no such job, or it has succeeded.
    Done,
    Running,
    Failed(String),
}

/// One hook of the release that is wanted, as a job.
#[derive(Clone, Copy, Debug)]
pub struct Hook<'a> {
    /// What it is called by.
    pub name: &'static str,
    pub job: &'a HookJob<'a>,
    /// The upgrade that it belongs to: the same release may be tried again.
    pub upgrade: Option<&'a str>,
    /// How often a failed pod is replaced.
    pub retries: i32,
    /// Whether it gets the database's account.
    pub database: bool,
    /// Whether an error of its own is told from all else that can end it: a lack of its image, of a place or of time.
    pub judged: bool,
}

impl Hook<'_> {
    pub fn id(&self, scene: &Scene<'_>) -> Id {
        let mut parts = self.job.args.to_vec();
        parts.extend(self.upgrade.map(str::to_owned));
        let version = scene.model.version.to_string();
        let name = JobName::of(self.name, &version, self.job.image, &parts);
        scene.id(Kind::Job, name.as_str())
    }

    pub fn progress(&self, scene: &Scene<'_>) -> Progress {
        match scene
            .input
            .observed
            .objects
            .get(&self.id(scene))
            .map(|seen| &seen.facts)
        {
            Some(Facts::Job { succeeded: true, .. }) => Progress::Done,
            Some(Facts::Job {
                failed: Some(why), ..
            }) => Progress::Failed(why.clone()),
            _ => Progress::Running,
        }
    }

    pub fn object(&self, scene: &Scene<'_>) -> Object {
        self.object_of(scene, self.id(scene))
    }

    /// The same under a name of its own.
    pub fn object_of(&self, scene: &Scene<'_>, id: Id) -> Object {
        Object::declare(id, marks(scene), &self.spec(scene))
    }

    fn spec(&self, scene: &Scene<'_>) -> Job {
        let mut labels = marks(scene).labels;
        labels.remove(MANAGED_BY);
        labels.insert(TIER_LABEL.to_owned(), HOOK.to_owned());
        labels.insert(TENANT_LABEL.to_owned(), scene.model.name.to_owned());
        let container = pod::container(self.name, self.job.image, self.job.args, self.job.resources);
        let told = Told {
            leaf: Leaf::Application,
            database: self.database,
            owner: false,
        };
        let mut spec = pod::spec(HOOKS, container, told, scene.model.placement);
        spec.restart_policy = Some("Never".to_owned());
        Job {
            spec: Some(JobSpec {
                backoff_limit: Some(self.retries),
                active_deadline_seconds: Some(self.job.timeout_seconds.into()),
                pod_failure_policy: self.judged.then(judged),
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
}

/// An exit with an error fails the job with a reason of its own. Not so what a pod suffers from its node, nor what says that there was
/// nothing to run (126 to 128: the shell's, and the runtime's, for a program that can't be started).
fn judged() -> PodFailurePolicy {
    let disrupted = PodFailurePolicyRule {
        action: "Count".to_owned(),
        on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
            type_: "DisruptionTarget".to_owned(),
            status: Some("True".to_owned()),
        }]),
        on_exit_codes: None,
    };
    let exited = PodFailurePolicyRule {
        action: "FailJob".to_owned(),
        on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
            container_name: None,
            operator: "NotIn".to_owned(),
            values: vec![126, 127, 128],
        }),
        on_pod_conditions: None,
    };
    PodFailurePolicy {
        rules: vec![disrupted, exited],
    }
}

fn marks(scene: &Scene<'_>) -> Marks {
    scene
        .marks()
        .label("app.kubernetes.io/version", &scene.model.version.to_string())
}
