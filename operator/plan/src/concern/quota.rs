//! What the namespace may use in sum, and what a container gets that states nothing. While the database moves to other
//! volumes, there is room for the instances that it has more.

use std::collections::BTreeMap;

use freehold_crds::{LimitDefaults, Quantity, Quota};
use k8s_openapi::api::core::v1::{
    LimitRange, LimitRangeItem, LimitRangeSpec, ResourceQuota, ResourceQuotaSpec,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;

use super::keys::reencryption::surge;
use super::{Scene, database};
use crate::kind::Kind;
use crate::object::Object;
use crate::outcome::Outcome;

const NAME: &str = "tenant";

pub fn plan(scene: Scene<'_>) -> Outcome {
    let quota = scene.model.quota.as_ref().map(|quota| {
        let spec = ResourceQuotaSpec {
            hard: Some(hard(&with_surge(&scene, quota))),
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

/// The quota, and room beside it for the database's surge: its pods, and the jobs that fill their volumes.
fn with_surge(scene: &Scene<'_>, quota: &Quota) -> Quota {
    let mut quota = quota.clone();
    let model = &scene.model.database;
    let more = surge(scene).map_or(0, |surge| surge.instances - model.instances);
    let resources = &model.class.resources;
    let defaults = scene.model.limits;
    let cpu = resources
        .cpu_request
        .as_ref()
        .or(defaults.map(|defaults| &defaults.cpu_request));
    let memory = resources
        .memory_request
        .as_ref()
        .or(defaults.map(|defaults| &defaults.memory_request));
    let sizes = database::sizes(scene, &mut Outcome::default());
    let (data, wal) = (Quantity(sizes.data), sizes.wal.map(Quantity));
    let storage = Some(wal.map_or_else(|| data.clone(), |wal| data.plus(&wal)));
    for _ in 0..more {
        let room = [
            (&mut quota.cpu, cpu),
            (&mut quota.memory, memory),
            (&mut quota.storage, storage.as_ref()),
        ];
        for (quota, needed) in room {
            if let (Some(quota), Some(needed)) = (quota, needed) {
                *quota = quota.plus(needed);
            }
        }
        quota.pods = quota.pods.map(|pods| pods + 2);
    }
    quota
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
