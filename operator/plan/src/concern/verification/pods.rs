//! The pods of a run: from where is tried, and what.
//!
//! In: the release's tiers, a run. Out: a pod for each tier with just the labels by which policies select, and one without
//! any policy, beside which a blocked connection means something.

use std::net::SocketAddr;

use freehold_crds::{Placement, Tier};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Affinity, Container, Pod, PodAffinity, PodAffinityTerm, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::super::pod::{self, HOOK, tier_label};
use super::super::{Scene, isolation};
use super::Run;
use crate::input::Verification;
use crate::kind::Kind;
use crate::names::{DATABASE, POSTGRESQL, ProbeName, TIER_LABEL, digest};
use crate::object::{Id, Object};

/// The unrestricted pod.
pub const CONTROL: &str = "control";
const DATABASE_TIER: &str = "database";
const NEIGHBOUR: &str = "another tenant's database";
const API_SERVER: &str = "the API server";
const METADATA: &str = "the metadata service";
const INTERNET: &str = "the internet";

/// A place from which is tried, and what must not be reached from there.
pub struct Place {
    pub name: &'static str,
    pub forbidden: Vec<&'static str>,
}

/// The tiers of this release, its jobs, and the database, which alone may reach the API server.
pub fn places(scene: &Scene<'_>, config: &Verification) -> Vec<Place> {
    let tiers = [Tier::Web, Tier::Application, Tier::Worker];
    let used = tiers.into_iter().filter(|tier| {
        scene
            .model
            .components
            .iter()
            .any(|part| part.component.tier == *tier)
    });
    let open = |tier| {
        let address = config
            .internet
            .as_deref()
            .and_then(|target| target.parse::<SocketAddr>().ok());
        matches!(tier, Tier::Application | Tier::Worker)
            && address.is_some_and(|address| isolation::may_reach(scene, address.ip(), address.port()))
    };
    let mut places: Vec<Place> = used
        .map(|tier| Place {
            name: tier_label(tier),
            forbidden: if open(tier) {
                vec![NEIGHBOUR, API_SERVER, METADATA]
            } else {
                vec![NEIGHBOUR, API_SERVER, METADATA, INTERNET]
            },
        })
        .collect();
    if scene.model.migrate.is_some() {
        places.push(Place {
            name: HOOK,
            forbidden: vec![NEIGHBOUR, API_SERVER, METADATA, INTERNET],
        });
    }
    places.push(Place {
        name: DATABASE_TIER,
        forbidden: vec![NEIGHBOUR, METADATA, INTERNET],
    });
    places
}

/// What is tried in a run, with its address.
///
/// By address where one is known: what can't be resolved proves nothing.
pub fn targets(scene: &Scene<'_>, config: &Verification, run: &Run) -> Vec<(&'static str, String)> {
    let at = |address: &str, port: u16| match address.contains(':') {
        true => format!("[{address}]:{port}"),
        false => format!("{address}:{port}"),
    };
    let api_server = scene.input.config.api_server.iter().find_map(|endpoint| {
        let net: IpNet = endpoint.cidr.parse().ok()?;
        (net.prefix_len() == net.max_prefix_len()).then(|| at(&net.addr().to_string(), endpoint.port))
    });
    let api_server = api_server.unwrap_or_else(|| "kubernetes.default.svc.cluster.local:443".to_owned());
    [
        (
            NEIGHBOUR,
            run.neighbour.as_ref().map(|address| at(address, POSTGRESQL)),
        ),
        (API_SERVER, Some(api_server)),
        (METADATA, config.metadata.clone()),
        (INTERNET, config.internet.clone()),
    ]
    .into_iter()
    .filter_map(|(what, address)| Some((what, address?)))
    .collect()
}

/// What a pod of a run is called.
pub fn probe(scene: &Scene<'_>, config: &Verification, run: &Run, place: &str) -> Id {
    let hash = &digest(&[scene.model.uid, &run.started_at.to_string()])[..8];
    let name = ProbeName::of(place, scene.model.name, hash);
    let id = scene.id(Kind::Pod, name.as_str());
    if place == CONTROL {
        Id {
            namespace: config.namespace.clone(),
            ..id
        }
    } else {
        id
    }
}

/// Every pod of a run.
pub fn pods(scene: &Scene<'_>, config: &Verification, run: &Run) -> Vec<Object> {
    let container = container(config, &targets(scene, config, run));
    let of_tier = |place: &Place| {
        let mut marks = scene.marks();
        marks = if place.name == DATABASE_TIER {
            // The policies of the database select by CloudNativePG's own label.
            marks.label("cnpg.io/cluster", DATABASE)
        } else {
            marks.label(TIER_LABEL, place.name)
        };
        let pod = Pod {
            spec: Some(short(pod::bare(
                "default",
                container.clone(),
                scene.model.placement,
            ))),
            ..Pod::default()
        };
        Object::declare(probe(scene, config, run, place.name), marks, &pod)
    };
    let mut objects: Vec<Object> = places(scene, config).iter().map(of_tier).collect();
    // On the node's own network: from any other place the targets' own policies would stop it, as they should.
    // A node reaches the pods that run on it, and others only as their policies allow: so on the neighbour's.
    let unrestricted = PodSpec {
        affinity: scene
            .input
            .observed
            .neighbour
            .as_ref()
            .map(|other| beside(&other.namespace)),
        host_network: Some(true),
        dns_policy: Some("ClusterFirstWithHostNet".to_owned()),
        ..short(pod::bare("default", container, &Placement::default()))
    };
    let pod = Pod {
        spec: Some(unrestricted),
        ..Pod::default()
    };
    objects.push(Object::declare(
        probe(scene, config, run, CONTROL),
        scene.marks(),
        &pod,
    ));
    objects
}

/// On the node of a database's primary.
fn beside(namespace: &str) -> Affinity {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let primary = [
        label("cnpg.io/cluster", DATABASE),
        label("cnpg.io/instanceRole", "primary"),
    ];
    Affinity {
        pod_affinity: Some(PodAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![PodAffinityTerm {
                label_selector: Some(LabelSelector {
                    match_labels: Some(primary.into()),
                    match_expressions: None,
                }),
                namespaces: Some(vec![namespace.to_owned()]),
                topology_key: "kubernetes.io/hostname".into(),
                ..PodAffinityTerm::default()
            }]),
            ..PodAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn short(spec: PodSpec) -> PodSpec {
    PodSpec {
        restart_policy: Some("Never".to_owned()),
        active_deadline_seconds: Some(60),
        termination_grace_period_seconds: Some(0),
        ..spec
    }
}

fn container(config: &Verification, targets: &[(&'static str, String)]) -> Container {
    let mut args = vec!["probe".to_owned()];
    for (what, address) in targets {
        args.extend(["--target".to_owned(), format!("{what}={address}")]);
    }
    Container {
        security_context: Some(pod::confined()),
        command: Some(vec!["/freehold".to_owned()]),
        volume_mounts: None,
        ..pod::container("probe", &config.image, &args, &pod::least())
    }
}
