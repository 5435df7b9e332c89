//! What the namespace may use in sum, and what a container gets that states nothing.
//!
//! Invariant: what a quota leaves to a tenant is for what runs all the time. What Freehold needs beside it has room of its own: a
//! new pod of each component before an old one goes, the release's jobs, and the instances that a database has more while it
//! moves to other volumes.

use std::collections::BTreeMap;

use freehold_crds::{LimitDefaults, Quantity, Quota, Resources, Strategy};
use k8s_openapi::api::core::v1::{
    LimitRange, LimitRangeItem, LimitRangeSpec, ResourceQuota, ResourceQuotaSpec,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;

use super::keys::reencryption::surge;
use super::{Scene, database, pod, verification};
use crate::kind::Kind;
use crate::model::Model;
use crate::object::Object;
use crate::outcome::Outcome;

const NAME: &str = "tenant";

pub fn plan(scene: Scene<'_>) -> Outcome {
    let quota = scene.model.quota.as_ref().map(|quota| {
        let spec = ResourceQuotaSpec {
            hard: Some(hard(&with_room(&scene, quota))),
            ..ResourceQuotaSpec::default()
        };
        let quota = ResourceQuota {
            spec: Some(spec),
            ..ResourceQuota::default()
        };
        Object::declare(scene.id(Kind::ResourceQuota, NAME), scene.marks(), &quota)
    });
    let limits = scene.model.limits.map(|limits| {
        let spec = LimitRangeSpec {
            limits: vec![defaults(limits)],
        };
        let range = LimitRange {
            spec: Some(spec),
            ..LimitRange::default()
        };
        Object::declare(scene.id(Kind::LimitRange, NAME), scene.marks(), &range)
    });
    Outcome::of(quota.into_iter().chain(limits).collect())
}

/// What pods ask for in sum.
#[derive(Clone, Debug)]
struct Need {
    cpu: Quantity,
    memory: Quantity,
    pods: i32,
}

impl Need {
    fn none() -> Self {
        Self {
            cpu: "0".into(),
            memory: "0".into(),
            pods: 0,
        }
    }

    /// And so many pods of one container.
    fn and(mut self, pods: i32, resources: &Resources, defaults: Option<&LimitDefaults>) -> Self {
        // A limit is the request of who states none, and only then the namespace's default is.
        let cpu = resources.cpu_request.as_ref().or(resources.cpu_limit.as_ref());
        let memory = resources
            .memory_request
            .as_ref()
            .or(resources.memory_limit.as_ref());
        let cpu = cpu.or(defaults.map(|defaults| &defaults.cpu_request));
        let memory = memory.or(defaults.map(|defaults| &defaults.memory_request));
        for _ in 0..pods {
            self.cpu = cpu.map_or_else(|| self.cpu.clone(), |cpu| self.cpu.plus(cpu));
            self.memory = memory.map_or_else(|| self.memory.clone(), |memory| self.memory.plus(memory));
        }
        self.pods += pods;
        self
    }
}

/// What runs all the time.
fn steady(scene: &Scene<'_>) -> Need {
    let Model {
        components,
        database,
        limits,
        ..
    } = scene.model;
    let database = Need::none().and(database.instances, &database.class.resources, *limits);
    components.iter().fold(database, |need, part| {
        need.and(part.component.replicas, &part.component.resources, *limits)
    })
}

/// Why the quota doesn't allow what the release needs all the time, if so.
pub fn lacks(scene: &Scene<'_>) -> Option<String> {
    let Quota {
        cpu,
        memory,
        storage: _,
        pods,
    } = scene.model.quota.as_ref()?;
    let need = steady(scene);
    let pods = pods.map(|pods| Quantity(pods.to_string()));
    let of = |what: &str, need: &Quantity, quota: &Option<Quantity>| {
        let quota = quota.as_ref()?;
        (need.amount()? > quota.amount()?).then(|| format!("{what}: {} of {}", need.0, quota.0))
    };
    let lacking: Vec<String> = [
        of("CPU", &need.cpu, cpu),
        of("memory", &need.memory, memory),
        of("pods", &Quantity(need.pods.to_string()), &pods),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!lacking.is_empty()).then(|| {
        format!(
            "its components and the database ask for more than the quota allows ({})",
            lacking.join("; ")
        )
    })
}

/// What is needed for a while: of a new release a pod more of each component, or a look at its image, and the jobs; and Freehold's
/// own pods.
fn passing(scene: &Scene<'_>) -> Need {
    let limits = scene.model.limits;
    let parts = scene.model.components.iter();
    let pods = parts.fold(Need::none(), |need, part| match part.component.strategy {
        Strategy::RollingUpdate => need.and(1, &part.component.resources, limits),
        Strategy::Recreate => need.and(1, &pod::least(), limits),
    });
    let jobs = [&scene.model.migrate, &scene.model.smoke].into_iter().flatten();
    let with_jobs = jobs.fold(pods, |need, job| need.and(1, job.resources, limits));
    let verification = scene.input.config.verification.as_ref();
    // One of each tier, and the one that shows what the gateway trusts.
    let ours = verification.map_or(0, |config| verification::places(scene, config).len() + 1);
    with_jobs.and(i32::try_from(ours).unwrap_or(0), &pod::least(), limits)
}

/// The quota, and room beside it.
fn with_room(scene: &Scene<'_>, quota: &Quota) -> Quota {
    let model = &scene.model.database;
    // Before each of them runs, a job fills its volume.
    let more = surge(scene).map_or(0, |surge| (surge.instances - model.instances).max(0));
    let room = passing(scene).and(more, &model.class.resources, scene.model.limits);
    let plus = |quota: &Option<Quantity>, room: &Quantity| quota.as_ref().map(|quota| quota.plus(room));
    let sizes = database::sizes(scene, &mut Outcome::default());
    let (data, wal) = (Quantity(sizes.data), sizes.wal.map(Quantity));
    let volumes = wal.map_or_else(|| data.clone(), |wal| data.plus(&wal));
    Quota {
        cpu: plus(&quota.cpu, &room.cpu),
        memory: plus(&quota.memory, &room.memory),
        storage: (0..more).fold(quota.storage.clone(), |storage, _| plus(&storage, &volumes)),
        pods: quota.pods.map(|pods| pods + room.pods + more),
    }
}

fn hard(quota: &Quota) -> BTreeMap<String, Wire> {
    let Quota {
        cpu,
        memory,
        storage,
        pods,
    } = quota;
    let pods = pods.map(|pods| Quantity(pods.to_string()));
    [
        ("requests.cpu", cpu),
        ("requests.memory", memory),
        ("requests.storage", storage),
        ("count/pods", &pods),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), Wire(value.as_ref()?.0.clone()))))
    .collect()
}

fn defaults(limits: &LimitDefaults) -> LimitRangeItem {
    let LimitDefaults {
        cpu_request,
        memory_request,
        memory_limit,
    } = limits;
    let wire = |key: &str, value: &Quantity| (key.to_owned(), Wire(value.0.clone()));
    LimitRangeItem {
        type_: "Container".into(),
        default: Some([wire("memory", memory_limit)].into()),
        default_request: Some([wire("cpu", cpu_request), wire("memory", memory_request)].into()),
        ..LimitRangeItem::default()
    }
}
