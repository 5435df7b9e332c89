//! Whether every image of a release can be had, before anything is changed: for each that nothing runs yet a pod whose container is
//! asked for a program that no image has, so that it ends as soon as the image is there.
//!
//! In: what runs, and those pods as they were seen. Out: the pods, or what became of them.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::super::pod::{self, HOOK};
use crate::concern::Scene;
use crate::kind::Kind;
use crate::names::{HOOKS, JobName, TIER_LABEL};
use crate::object::{Id, Object};
use crate::seen::Facts;

/// In no image.
const NOTHING: &str = "/freehold-preflight";

/// What a container is said to wait for while all is well.
const USUAL: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// What was found out.
pub enum Had {
    /// Not all is known yet: what is waited for, and of that what the kubelet could not do.
    Waits {
        missing: Vec<String>,
        refused: Vec<String>,
    },
    /// How many were asked for.
    All(usize),
}

/// The images that nothing of the tenant runs yet.
fn new<'a>(scene: &Scene<'a>) -> BTreeSet<&'a str> {
    let hooks = [&scene.model.migrate, &scene.model.smoke];
    let of_hooks = hooks.into_iter().flatten().map(|hook| hook.image);
    let parts = scene.model.components.iter();
    let wanted = parts.map(|part| part.component.image.as_str()).chain(of_hooks);
    let deployments = scene
        .input
        .observed
        .objects
        .iter()
        .filter(|(id, _)| id.kind == Kind::Deployment && id.namespace == scene.model.namespace.as_str());
    let running: BTreeSet<&str> = deployments
        .filter_map(|(_, seen)| {
            let containers = &seen.live["spec"]["template"]["spec"]["containers"];
            containers[0]["image"].as_str()
        })
        .collect();
    wanted.filter(|image| !running.contains(image)).collect()
}

fn id(scene: &Scene<'_>, upgrade: &str, image: &str) -> Id {
    let version = scene.model.version.to_string();
    let name = JobName::of("preflight", &version, image, &[upgrade.to_owned()]);
    scene.id(Kind::Pod, name.as_str())
}

/// What became of the images, as far as it is known.
pub fn look(scene: &Scene<'_>, upgrade: &str) -> Had {
    let images = new(scene);
    let count = images.len();
    let (mut missing, mut refused) = (Vec::new(), Vec::new());
    for image in images {
        let seen = scene.input.observed.objects.get(&id(scene, upgrade, image));
        match seen.map(|seen| &seen.facts) {
            Some(Facts::Pod { over: true, .. } | Facts::Pod { pulled: true, .. }) => {}
            Some(Facts::Pod {
                waits: Some(waits), ..
            }) => {
                let told = format!("{image}: {waits}");
                if !USUAL.iter().any(|usual| waits.starts_with(usual)) {
                    refused.push(told.clone());
                }
                missing.push(told);
            }
            _ => missing.push(format!("{image}: its pod has not begun")),
        }
    }
    if missing.is_empty() {
        Had::All(count)
    } else {
        Had::Waits { missing, refused }
    }
}

/// Those that are there: a pod can't be changed.
pub fn there(scene: &Scene<'_>, upgrade: &str) -> Vec<Id> {
    let all = new(scene).into_iter().map(|image| id(scene, upgrade, image));
    all.filter(|id| scene.input.observed.objects.contains_key(id))
        .collect()
}

/// A pod for each of them that has none yet.
pub fn pods(scene: &Scene<'_>, upgrade: &str) -> Vec<Object> {
    let pod = |image: &str| {
        let container = Container {
            command: Some(vec![NOTHING.to_owned()]),
            args: None,
            volume_mounts: None,
            ..pod::container("preflight", image, &[], &pod::least())
        };
        let spec = PodSpec {
            restart_policy: Some("Never".to_owned()),
            termination_grace_period_seconds: Some(0),
            ..pod::bare(HOOKS, container, scene.model.placement)
        };
        let pod = Pod {
            spec: Some(spec),
            ..Pod::default()
        };
        Object::declare(
            id(scene, upgrade, image),
            scene.marks().label(TIER_LABEL, HOOK),
            &pod,
        )
    };
    let observed = &scene.input.observed.objects;
    let missing = new(scene).into_iter();
    missing
        .filter(|image| !observed.contains_key(&id(scene, upgrade, image)))
        .map(pod)
        .collect()
}
