//! The release's components: for each a ServiceAccount, a Service, a Deployment, and a PodDisruptionBudget when it has
//! more than one pod.
//!
//! Invariant: what runs another version stays as it is until the schema is at the new one; for a first installation
//! everything starts at once, and readiness waits for the schema.

use std::collections::BTreeSet;

use freehold_crds::{ComponentStatus, Strategy, Tier, Variable};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    ContainerPort, EnvVar, HTTPGetAction, PodTemplateSpec, Probe, Service, ServiceAccount, ServicePort,
    ServiceSpec, TopologySpreadConstraint,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Scene;
use super::files;
use super::namespace::{Holder, holder};
use super::pod::{self, Told, tier_label};
use super::rollout;
use super::settings;
use super::upgrade::{self, Gate};
use crate::input::Input;
use crate::kind::Kind;
use crate::leaf::Leaf;
use crate::model::{Model, Part, namespace};
use crate::names::{AWAKE_REPLICAS, COMPONENT, MANAGED_BY, RELEASE, RELEASE_DIGEST, TIER_LABEL};
use crate::object::{Marks, Object};
use crate::outcome::{Finding, Outcome};
use crate::seen::{Facts, Seen};

pub const TOPIC: &str = "WorkloadsReady";
/// On the pods: so that a change of the settings rolls them.
const SETTINGS_CHECKSUM: &str = "freehold.dev/settings";
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
const NAME_LABEL: &str = "app.kubernetes.io/name";
const VERSION_LABEL: &str = "app.kubernetes.io/version";
/// Seconds without progress after which a roll-out counts as given up.
const PROGRESS: i32 = 120;
/// Seconds that a pod has to finish what it serves.
const GRACE: i64 = 40;

pub fn plan(scene: Scene<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    for part in &scene.model.components {
        outcome.add(component(&scene, part));
    }
    outcome.findings.push(finding(&scene));
    outcome
}

/// In one line each, for the status.
pub fn components(scene: &Scene<'_>) -> Vec<ComponentStatus> {
    let status = |part: &Part<'_>| {
        let available = match facts(scene, part) {
            Some(Facts::Deployment { available, .. }) => *available,
            _ => 0,
        };
        ComponentStatus {
            name: part.component.name.clone(),
            available,
            wanted: replicas(scene, part),
        }
    };
    scene.model.components.iter().map(status).collect()
}

/// The version that serves: the one that every component runs when all roll-outs are through. Until then it is the one
/// before, as long as something of it may serve: a template says what is wanted, not what runs.
pub fn serving_version(scene: &Scene<'_>) -> Option<String> {
    let parts = &scene.model.components;
    let runs = |part| match facts(scene, part) {
        Some(Facts::Deployment {
            version,
            settled: true,
            ..
        }) => version.as_deref(),
        _ => None,
    };
    let mut versions = parts.iter().map(runs);
    let first = versions.next().flatten();
    if first.is_some() && versions.all(|version| version == first) {
        return first.map(str::to_owned);
    }
    let previous = scene.input.tenant.status.as_ref()?.version.clone();
    previous.filter(|_| serves(scene.input, Some(scene.model)))
}

/// Whether every component that answers requests has a pod that can. Without a release, and
/// while another one runs, it is told from what runs.
pub fn serves(input: &Input<'_>, model: Option<&Model<'_>>) -> bool {
    if holder(input) != Holder::Us {
        return false;
    }
    let namespace = namespace(input.tenant);
    let available = |seen: &Seen| matches!(seen.facts, Facts::Deployment { available, .. } if available > 0);
    // While another version runs it is that one which serves, whatever its components are called.
    if let Some(model) = model.filter(|model| rollout::others(input, model).next().is_none()) {
        let mut parts = model
            .components
            .iter()
            .filter(|part| part.component.tier != Tier::Worker);
        return parts.all(|part| {
            let seen = input
                .observed
                .get(Kind::Deployment, namespace.as_str(), part.name.as_str());
            seen.is_some_and(available)
        });
    }
    let answers = |seen: &Seen| {
        let tier = seen.live["metadata"]["labels"][COMPONENT_LABEL].as_str();
        tier == Some(tier_label(Tier::Web)) || tier == Some(tier_label(Tier::Application))
    };
    let objects = input.observed.objects.iter();
    let running: Vec<&Seen> = objects
        .filter(|(id, seen)| id.kind == Kind::Deployment && answers(seen))
        .map(|(_, seen)| seen)
        .collect();
    let is_web = |seen: &&Seen| seen.live["metadata"]["labels"][COMPONENT_LABEL] == tier_label(Tier::Web);
    running.iter().copied().any(|seen| is_web(&seen)) && running.into_iter().all(available)
}

/// How many pods a component is to have.
fn replicas(scene: &Scene<'_>, part: &Part<'_>) -> i32 {
    if scene.model.suspended {
        0
    } else {
        part.component.replicas
    }
}

pub fn facts<'a>(scene: &'a Scene<'_>, part: &Part<'_>) -> Option<&'a Facts> {
    scene
        .seen(Kind::Deployment, part.name.as_str())
        .map(|seen| &seen.facts)
}

fn finding(scene: &Scene<'_>) -> Finding {
    if scene.model.suspended {
        return suspended(scene);
    }
    if upgrade::gate(scene) == Gate::Shut && upgrade::under_way(scene.input).is_none() {
        return rollout::before(scene);
    }
    for part in &scene.model.components {
        if let Some(Facts::Deployment {
            failure: Some(why), ..
        }) = facts(scene, part)
        {
            let name = &part.component.name;
            return Finding::new(TOPIC, false, "RollOutStuck", format!("{name}: {why}"));
        }
    }
    let wanted = &scene.model.version;
    let waiting = rollout::lacking(scene);
    if waiting.is_empty() {
        Finding::new(TOPIC, true, "Ready", format!("all components run {wanted}"))
    } else {
        Finding::new(
            TOPIC,
            false,
            "RollingOut",
            format!("waiting for {wanted}: {}", waiting.join(", ")),
        )
    }
}

/// A suspended tenant is as it is to be when no pod runs; another version waits until it wakes.
fn suspended(scene: &Scene<'_>) -> Finding {
    let running = scene.input.observed.objects.iter().filter(|(id, seen)| {
        id.kind == Kind::Deployment
            && !matches!(
                seen.facts,
                Facts::Deployment {
                    settled: true,
                    wanted: 0,
                    ..
                }
            )
    });
    let names: Vec<&str> = running.map(|(id, _)| id.name.as_str()).collect();
    if names.is_empty() {
        Finding::new(TOPIC, true, "Suspended", "no pod of the product runs")
    } else {
        Finding::new(
            TOPIC,
            false,
            "Suspending",
            format!("still running: {}", names.join(", ")),
        )
    }
}

fn component(scene: &Scene<'_>, part: &Part<'_>) -> Outcome {
    let name = part.name.as_str();
    let marks = marks(scene, part);
    let account = ServiceAccount {
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    let mut outcome = Outcome::of(vec![Object::declare(
        scene.id(Kind::ServiceAccount, name),
        marks.clone(),
        &account,
    )]);
    if let Some(port) = part.port {
        let service = service(port, rollout::port_before(scene, part), selector(part));
        outcome.objects.push(Object::declare(
            scene.id(Kind::Service, name),
            marks.clone(),
            &service,
        ));
    }
    if part.component.replicas > 1 {
        let budget = budget(selector(part));
        let id = scene.id(Kind::PodDisruptionBudget, name);
        outcome.objects.push(Object::declare(id, marks.clone(), &budget));
    }
    let id = scene.id(Kind::Deployment, name);
    let marks = marks
        .annotation(RELEASE, scene.model.release)
        .annotation(RELEASE_DIGEST, &scene.model.digest);
    let marks = if scene.model.suspended {
        marks.annotation(AWAKE_REPLICAS, &part.component.replicas.to_string())
    } else {
        marks
    };
    outcome
        .objects
        .push(Object::declare(id, marks, &deployment(scene, part)));
    outcome
}

/// The components of a tier that run, or are to: none of a release that was published again as what runs.
fn to_come<'a>(scene: &'a Scene<'_>, tier: Tier) -> impl Iterator<Item = &'a Part<'a>> {
    let none = upgrade::is_replaced(scene);
    let parts = scene.model.components.iter();
    parts.filter(move |part| !none && part.component.tier == tier)
}

/// On which ports the pods of a tier answer: those of the release, and those of another version that still runs.
pub fn ports(scene: &Scene<'_>, tier: Tier) -> BTreeSet<u16> {
    let wanted = to_come(scene, tier).filter_map(|part| part.port);
    let running: Vec<&Seen> = if upgrade::is_replaced(scene) {
        rollout::deployments(scene.input).collect()
    } else {
        rollout::others(scene.input, scene.model).collect()
    };
    let of_others = running.into_iter().flat_map(|seen| {
        let template = &seen.live["spec"]["template"];
        let ports = &template["spec"]["containers"][0]["ports"];
        let ports = ports
            .as_array()
            .filter(|_| template["metadata"]["labels"][TIER_LABEL] == tier_label(tier));
        let number = |port: &serde_json::Value| u16::try_from(port["containerPort"].as_u64()?).ok();
        ports.into_iter().flatten().filter_map(number)
    });
    // Those of pods whose template has changed already.
    let seen = scene.input.observed.objects.iter();
    let of_services = seen
        .filter(|(id, seen)| {
            id.kind == Kind::Service && seen.live["metadata"]["labels"][COMPONENT_LABEL] == tier_label(tier)
        })
        .filter(|_| upgrade::rolls(scene.input))
        .flat_map(|(_, seen)| seen.live["spec"]["ports"].as_array().into_iter().flatten())
        .filter_map(|port| u16::try_from(port["port"].as_u64()?).ok());
    wanted.chain(of_others).chain(of_services).collect()
}

/// Under which names the pods of a tier answer: those of the release, and those that another version has still.
pub fn services(scene: &Scene<'_>, tier: Tier) -> BTreeSet<String> {
    let wanted = to_come(scene, tier)
        .filter(|part| part.port.is_some())
        .map(|part| part.name.as_str());
    let seen = scene.input.observed.objects.iter();
    let there = seen.filter(|(id, seen)| {
        id.kind == Kind::Service && seen.live["metadata"]["labels"][COMPONENT_LABEL] == tier_label(tier)
    });
    let names = wanted.chain(there.map(|(id, _)| id.name.as_str()));
    names.map(str::to_owned).collect()
}

fn marks(scene: &Scene<'_>, part: &Part<'_>) -> Marks {
    scene
        .marks()
        .label(NAME_LABEL, part.name.as_str())
        .label(COMPONENT_LABEL, tier_label(part.component.tier))
        .label(VERSION_LABEL, &scene.model.version.to_string())
}

/// What never changes of a component's pods: a Deployment's selector is immutable.
fn selector(part: &Part<'_>) -> LabelSelector {
    let label = (COMPONENT.to_owned(), part.name.as_str().to_owned());
    LabelSelector {
        match_labels: Some([label].into()),
        match_expressions: None,
    }
}

fn service(port_now: u16, before: Option<u16>, selector: LabelSelector) -> Service {
    let port = |name: &str, port: u16| ServicePort {
        name: Some(name.into()),
        port: port.into(),
        target_port: Some(IntOrString::String("http".into())),
        protocol: Some("TCP".into()),
        app_protocol: Some("https".into()),
        ..ServicePort::default()
    };
    let spec = ServiceSpec {
        type_: Some("ClusterIP".into()),
        selector: selector.match_labels,
        ports: Some(
            std::iter::once(port("http", port_now))
                .chain(before.map(|before| port("before", before)))
                .collect(),
        ),
        ..ServiceSpec::default()
    };
    Service {
        spec: Some(spec),
        ..Service::default()
    }
}

fn budget(selector: LabelSelector) -> PodDisruptionBudget {
    let spec = PodDisruptionBudgetSpec {
        max_unavailable: Some(IntOrString::Int(1)),
        selector: Some(selector),
        // A pod that isn't ready serves nobody, and must not hold a node that is to be drained.
        unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
        ..PodDisruptionBudgetSpec::default()
    };
    PodDisruptionBudget {
        spec: Some(spec),
        ..PodDisruptionBudget::default()
    }
}

fn deployment(scene: &Scene<'_>, part: &Part<'_>) -> Deployment {
    let min_ready = part.component.min_ready_seconds;
    let spec = DeploymentSpec {
        replicas: Some(replicas(scene, part)),
        selector: selector(part),
        strategy: Some(strategy(part.component.strategy)),
        // 0 is not kept by the API server, and would look like drift.
        min_ready_seconds: (min_ready > 0).then_some(min_ready),
        // More than what a pod has to wait.
        progress_deadline_seconds: Some(PROGRESS.saturating_add(min_ready)),
        revision_history_limit: Some(3),
        template: template(scene, part),
        ..DeploymentSpec::default()
    };
    Deployment {
        spec: Some(spec),
        ..Deployment::default()
    }
}

fn strategy(wanted: Strategy) -> DeploymentStrategy {
    match wanted {
        Strategy::RollingUpdate => DeploymentStrategy {
            type_: Some("RollingUpdate".into()),
            rolling_update: Some(RollingUpdateDeployment {
                max_surge: Some(IntOrString::Int(1)),
                max_unavailable: Some(IntOrString::Int(0)),
            }),
        },
        Strategy::Recreate => DeploymentStrategy {
            type_: Some("Recreate".into()),
            rolling_update: None,
        },
    }
}

/// In the order of their names: the API server takes a Release's list in another order for the same one, and that restarts
/// nobody.
fn environment(given: &[Variable]) -> Option<Vec<EnvVar>> {
    let mut given: Vec<&Variable> = given.iter().collect();
    given.sort_by_key(|variable| &variable.name);
    let wire = |variable: &Variable| EnvVar {
        name: variable.name.clone(),
        // Kubernetes would put other variables in the place of `$(NAME)`, and reads `$$` as `$`. An empty value is not kept
        // by the API server, and would look like drift.
        value: Some(variable.value.replace('$', "$$")).filter(|value| !value.is_empty()),
        value_from: None,
    };
    let variables: Vec<EnvVar> = given.into_iter().map(wire).collect();
    (!variables.is_empty()).then_some(variables)
}

fn template(scene: &Scene<'_>, part: &Part<'_>) -> PodTemplateSpec {
    let mut labels = marks(scene, part).labels;
    labels.remove(MANAGED_BY);
    // The policies select by the tier, the rest is for people.
    for (key, value) in [
        (COMPONENT, part.name.as_str()),
        (TIER_LABEL, tier_label(part.component.tier)),
        ("app.kubernetes.io/instance", scene.model.name),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    let annotations = [(SETTINGS_CHECKSUM.to_owned(), settings::checksum(scene.model))];
    let component = part.component;
    let mut container = pod::container(
        part.name.as_str(),
        &component.image,
        &component.args,
        &component.resources,
    );
    container.env = environment(&component.env);
    if let Some(port) = part.port {
        container.ports = Some(vec![ContainerPort {
            name: Some("http".into()),
            container_port: port.into(),
            protocol: Some("TCP".into()),
            ..ContainerPort::default()
        }]);
        // Once the startup probe has passed, the kubelet asks for readiness at once, and then in this rhythm.
        container.readiness_probe = Some(probe(&component.readiness_path, 5, 2));
        container.liveness_probe = Some(probe(&component.liveness_path, 10, 3));
        container.startup_probe = Some(probe(&component.liveness_path, 1, 60));
    }
    let told = Told {
        leaf: Leaf::of(component.tier),
        database: part.uses_database(),
        owner: component.tier == Tier::Application,
    };
    let mut spec = pod::spec(part.name.as_str(), container, told, scene.model.placement);
    spec.termination_grace_period_seconds = Some(GRACE);
    spec.topology_spread_constraints = Some(vec![TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".into(),
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(selector(part)),
        ..TopologySpreadConstraint::default()
    }]);
    let mut template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations.into()),
            ..ObjectMeta::default()
        }),
        spec: Some(spec),
    };
    files::give(&mut template, &component.files);
    template
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".into()),
            // The kubelet looks at no certificate.
            scheme: Some("HTTPS".into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}
