//! How far a release is rolled out, and what of another one stays meanwhile.
//!
//! In: the Deployments as they were seen, and the gate that the upgrade sets. Out: which objects may become what the release that is
//! wanted says. Invariants: until the gate opens no image meets a schema that it doesn't know; tiers follow one another.

use freehold_crds::Tier;

use super::Scene;
use super::pod::tier_label;
use super::upgrade::{self, Gate};
use super::workload::{COMPONENT_LABEL, TOPIC, facts};
use crate::input::Input;
use crate::kind::Kind;
use crate::model::{Model, Part, namespace};
use crate::names::{AWAKE_REPLICAS, HOOKS, RELEASE, RELEASE_DIGEST, SETTINGS};
use crate::object::{Id, Object};
use crate::outcome::{Finding, Outcome};
use crate::seen::{Facts, Seen};

/// While another release runs, what it needs stays as it is: its Deployments and what is around them. What is missing is made,
/// but no Deployment: its image would meet the old schema. When the tiers are rolled out one after the other, what is around
/// them follows the first of them, and the route the web tier.
pub fn hold_back(scene: &Scene<'_>, outcome: &mut Outcome) {
    let gate = upgrade::gate(scene);
    if gate == Gate::Open {
        return;
    }
    let observed = &scene.input.observed.objects;
    // Of one that was published again as what runs, nothing is made: what is missing was another's.
    let none = upgrade::is_replaced(scene);
    let is_held = |id: &Id| belongs(id) && (none || id.kind == Kind::Deployment || observed.contains_key(id));
    outcome
        .objects
        .retain(|object| !is_held(&object.id) || passes(scene, gate, &object.id));
    outcome
        .keep
        .extend(observed.keys().filter(|id| belongs(id)).cloned());
    let planned: Vec<Id> = outcome.objects.iter().map(|object| object.id.clone()).collect();
    let kept = kept(scene)
        .into_iter()
        .filter(|object| !planned.contains(&object.id));
    outcome.objects.extend(kept);
}

/// Whether an object is what a release's pods need, or are.
fn belongs(id: &Id) -> bool {
    match id.kind {
        Kind::Deployment
        | Kind::Service
        | Kind::PodDisruptionBudget
        | Kind::BackendTlsPolicy
        | Kind::HttpRoute => true,
        // The migration itself runs under one of ours.
        Kind::ServiceAccount => id.name != HOOKS,
        Kind::ConfigMap => id.name == SETTINGS,
        _ => false,
    }
}

/// Whether an object may become what the release that is wanted says, while tiers are rolled out one after the other.
fn passes(scene: &Scene<'_>, gate: Gate, id: &Id) -> bool {
    let Gate::Tiers { web_first } = gate else {
        return false;
    };
    let is_web = |part: &Part<'_>| part.component.tier == Tier::Web;
    let parts = &scene.model.components;
    let first_are_done = parts
        .iter()
        .filter(|part| is_web(part) == web_first)
        .all(|part| runs_wanted(scene, part));
    // Web may not get ready without the application that is to come back: then nobody waits for it.
    let first_are_done = first_are_done || (web_first && is_hopeless(scene));
    match id.kind {
        Kind::Deployment => {
            let part = parts.iter().find(|part| part.name.as_str() == id.name);
            part.is_none_or(|part| is_web(part) == web_first) || first_are_done
        }
        Kind::ConfigMap => web_first || first_are_done,
        Kind::HttpRoute | Kind::BackendTlsPolicy => runs_wanted(scene, &scene.model.web),
        _ => true,
    }
}

/// The Deployments that stay as they are, but for the number of their pods: none while the tenant sleeps, and those that
/// they had when it wakes.
fn kept(scene: &Scene<'_>) -> Vec<Object> {
    let deployments = scene.input.observed.objects.iter().filter(|(id, seen)| {
        id.kind == Kind::Deployment && id.namespace == scene.model.namespace.as_str() && !seen.ending
    });
    let change = |(id, seen): (&Id, &Seen)| {
        let now = seen.live["spec"]["replicas"].as_i64().unwrap_or(1);
        let had = seen.live["metadata"]["annotations"][AWAKE_REPLICAS].as_str();
        let had: Option<i64> = had.and_then(|text| text.parse().ok());
        let wanted = if scene.model.suspended {
            0
        } else {
            had.unwrap_or(now).max(1)
        };
        if now == wanted {
            return None;
        }
        let mut live = seen.live.clone();
        live["spec"]["replicas"] = wanted.into();
        let had = had.unwrap_or(now).to_string();
        Some(Object::of_live(id.clone(), &live, &[(AWAKE_REPLICAS, &had)]))
    };
    deployments.filter_map(change).collect()
}

/// The port under which a component is still asked for, by those who have not heard of its new one: route and settings follow the
/// pods, and a Service's pods are found by the port's name.
pub fn port_before(scene: &Scene<'_>, part: &Part<'_>) -> Option<u16> {
    if !matches!(upgrade::gate(scene), Gate::Tiers { .. }) {
        return None;
    }
    let seen = scene.seen(Kind::Service, part.name.as_str())?;
    let ports = seen.live["spec"]["ports"].as_array()?.iter();
    let mut ports = ports.filter_map(|port| u16::try_from(port["port"].as_u64()?).ok());
    ports.find(|port| Some(*port) != part.port)
}

/// On the way back: web has its old image, and no pod of the application answers.
fn is_hopeless(scene: &Scene<'_>) -> bool {
    let wanted = scene.model.version.to_string();
    let mut parts = scene.model.components.iter();
    parts.all(|part| match facts(scene, part) {
        Some(Facts::Deployment { version, .. }) if part.component.tier == Tier::Web => {
            version.as_ref() == Some(&wanted)
        }
        Some(Facts::Deployment { available, .. }) => *available == 0,
        _ => true,
    })
}

/// Whether any Deployment is of another version than this one.
pub fn is_mixed(scene: &Scene<'_>, version: &str) -> bool {
    let mut seen = scene.input.observed.objects.iter();
    seen.any(|(id, seen)| {
        id.namespace == scene.model.namespace.as_str()
            && !seen.ending
            && matches!(&seen.facts, Facts::Deployment { version: Some(runs), .. } if runs != version)
    })
}

/// Whether a component runs the release that is wanted, and nothing else.
fn runs_wanted(scene: &Scene<'_>, part: &Part<'_>) -> bool {
    let wanted = scene.model.version.to_string();
    let seen = scene.seen(Kind::Deployment, part.name.as_str());
    if seen.is_some_and(|seen| is_replaced(seen, scene.model)) {
        return false;
    }
    let release = installed_by(scene, part);
    matches!(
        facts(scene, part),
        Some(Facts::Deployment {
            version: Some(version),
            settled: true,
            ..
        }) if *version == wanted && release.is_none_or(|release| release == scene.model.release)
    )
}

/// Whether every component runs the version that is wanted.
pub fn is_rolled_out(scene: &Scene<'_>) -> bool {
    scene.model.components.iter().all(|part| runs_wanted(scene, part))
}

/// The components that don't yet, each in words.
pub fn lacking(scene: &Scene<'_>) -> Vec<String> {
    let parts = scene.model.components.iter();
    let lacking = parts.filter(|part| !runs_wanted(scene, part));
    lacking.map(|part| told(part, facts(scene, part))).collect()
}

/// Why a component's controller has given up waiting for its pods.
pub fn given_up(scene: &Scene<'_>) -> Option<String> {
    scene
        .model
        .components
        .iter()
        .find_map(|part| match facts(scene, part) {
            Some(Facts::Deployment {
                given_up: true,
                failure,
                version,
                ..
            }) if version.as_deref() == Some(scene.model.version.to_string().as_str()) => Some(format!(
                "{}: {}",
                part.component.name,
                failure.as_deref().unwrap_or("its pods don't get ready")
            )),
            _ => None,
        })
}

/// What runs.
pub struct Installed {
    /// The release, by its object's name.
    pub name: String,
    pub version: String,
    /// What it was when it came, where that was noted.
    pub digest: Option<String>,
}

/// The release that runs now, by what is last changed of it: the web tier.
pub fn installed(scene: &Scene<'_>) -> Installed {
    let deployments = scene
        .input
        .observed
        .objects
        .iter()
        .filter(|(id, _)| id.kind == Kind::Deployment && id.namespace == scene.model.namespace.as_str());
    let is_web = |seen: &Seen| seen.live["metadata"]["labels"][COMPONENT_LABEL] == tier_label(Tier::Web);
    let seen = deployments
        .max_by_key(|(_, seen)| is_web(seen))
        .map(|(_, seen)| seen);
    let version = seen.and_then(|seen| match &seen.facts {
        Facts::Deployment { version, .. } => version.clone(),
        _ => None,
    });
    let version = version.unwrap_or_else(|| "unknown".to_owned());
    let release = seen.and_then(|seen| seen.live["metadata"]["annotations"][RELEASE].as_str());
    // What was installed before releases were noted.
    let by_version = || format!("{}-{version}", scene.model.product);
    Installed {
        name: release.map_or_else(by_version, str::to_owned),
        digest: seen.and_then(noted).map(str::to_owned),
        version,
    }
}

/// What the release was when a Deployment got it; nothing on what an operator has made that didn't note it.
fn noted(seen: &Seen) -> Option<&str> {
    seen.live["metadata"]["annotations"][RELEASE_DIGEST].as_str()
}

/// Whether a Deployment runs the version that is wanted, with other contents.
fn is_replaced(seen: &Seen, model: &Model<'_>) -> bool {
    let wanted = model.version.to_string();
    matches!(&seen.facts, Facts::Deployment { version: Some(version), .. } if *version == wanted)
        && noted(seen).is_some_and(|noted| noted != model.digest)
}

/// Whether anything that runs has the version that is wanted, with other contents: it was published again.
pub fn is_other_of_that_version(input: &Input<'_>, model: &Model<'_>) -> bool {
    deployments(input).any(|seen| is_replaced(seen, model))
}

/// The Deployments of the tenant that stay.
pub fn deployments<'a>(input: &Input<'a>) -> impl Iterator<Item = &'a Seen> {
    let namespace = namespace(input.tenant);
    let observed = input.observed;
    let seen = observed.objects.iter().filter(move |(id, seen)| {
        id.kind == Kind::Deployment && id.namespace == namespace.as_str() && !seen.ending
    });
    seen.map(|(_, seen)| seen)
}

/// The release that every Deployment says that it is of; none when they disagree.
pub fn uniform<'a>(input: &Input<'a>) -> Option<&'a str> {
    agreed(input, RELEASE)
}

/// What that release was when it came, by every Deployment; none when they disagree, and where it was not noted.
pub fn digest<'a>(input: &Input<'a>) -> Option<&'a str> {
    agreed(input, RELEASE_DIGEST)
}

/// What every Deployment has in an annotation.
fn agreed<'a>(input: &Input<'a>, annotation: &str) -> Option<&'a str> {
    let mut of = deployments(input).map(|seen| seen.live["metadata"]["annotations"][annotation].as_str());
    let first = of.next()??;
    of.all(|other| other == Some(first)).then_some(first)
}

/// The release that a Deployment says that it is of.
fn installed_by<'a>(scene: &'a Scene<'_>, part: &Part<'_>) -> Option<&'a str> {
    let seen = scene.seen(Kind::Deployment, part.name.as_str())?;
    seen.live["metadata"]["annotations"][RELEASE].as_str()
}

fn told(part: &Part<'_>, facts: Option<&Facts>) -> String {
    let name = &part.component.name;
    match facts {
        Some(Facts::Deployment {
            version,
            available,
            wanted,
            failure,
            ..
        }) => {
            let version = version.as_deref().unwrap_or("unknown");
            let why = failure
                .as_ref()
                .map_or_else(String::new, |why| format!(" ({why})"));
            format!("{name} {available}/{wanted} at {version}{why}")
        }
        _ => format!("{name} not yet created"),
    }
}

/// The release before runs on until its upgrade begins.
pub fn before(scene: &Scene<'_>) -> Finding {
    let others = others(scene.input, scene.model);
    let unsettled = others
        .filter(|seen| !matches!(seen.facts, Facts::Deployment { settled: true, .. }))
        .count();
    let version = installed(scene).version;
    if unsettled == 0 {
        Finding::new(TOPIC, true, "Ready", format!("all components run {version}"))
    } else {
        let message = format!("{unsettled} components of {version} are not all ready");
        Finding::new(TOPIC, false, "NotReady", message)
    }
}

/// Whether anything runs that an upgrade would replace.
pub fn runs_another(input: &Input<'_>, model: &Model<'_>) -> bool {
    others(input, model).next().is_some()
}

/// The Deployments that run another release than the one that is wanted, be it that version with other contents, or, while a release is
/// rolled out, may still have pods of it.
pub fn others<'a>(input: &'a Input<'_>, model: &'a Model<'_>) -> impl Iterator<Item = &'a Seen> {
    let wanted = model.version.to_string();
    let rolls = upgrade::rolls(input);
    let seen = input.observed.objects.iter();
    seen.filter(move |(id, seen)| {
        id.namespace == model.namespace.as_str()
            && !seen.ending
            && matches!(&seen.facts, Facts::Deployment { version, settled, .. }
                if version.as_ref() != Some(&wanted) || (rolls && !settled) || is_replaced(seen, model))
    })
    .map(|(_, seen)| seen)
}
