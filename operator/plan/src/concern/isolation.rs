//! Who may talk to whom. Everything is denied in both directions; then the least that works.
//!
//! In: the release's tiers and ports, the gateway, the API server's addresses. Out: NetworkPolicies.
//! Invariant: no rule names another tenant, no rule has an address range except the API server's, and only database
//! pods reach those.

use std::collections::BTreeMap;

use freehold_crds::Tier;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Scene;
use super::pod::{HOOK, tier_label};
use super::workload;
use crate::kind::Kind;
use crate::names::{DATABASE, TIER_LABEL};
use crate::object::Object;
use crate::outcome::Outcome;

const POSTGRESQL: u16 = 5432;
/// CloudNativePG's instance manager: its operator asks it for the status, and instances ask each other.
const INSTANCE_MANAGER: u16 = 8000;
/// CloudNativePG's own label on every pod of a cluster, jobs included.
const CLUSTER_LABEL: &str = "cnpg.io/cluster";

pub fn plan(scene: Scene<'_>) -> Outcome {
    let ports = |tier: Tier| -> Vec<u16> { workload::ports(&scene, tier).into_iter().collect() };
    let (web, application) = (ports(Tier::Web), ports(Tier::Application));
    let gateway = NetworkPolicyPeer {
        namespace_selector: Some(namespace(&scene.model.gateway.namespace)),
        pod_selector: Some(labels(scene.model.gateway.pod_labels.clone())),
        ip_block: None,
    };
    let to_database = || to(vec![pods(database())], &[POSTGRESQL]);
    let policies = [
        ("default-deny", labels(BTreeMap::new()), vec![], vec![]),
        ("allow-dns", labels(BTreeMap::new()), vec![], vec![dns()]),
        (
            "web",
            tier(tier_label(Tier::Web)),
            vec![from(vec![gateway], &web)],
            vec![to(vec![pods(tier(tier_label(Tier::Application)))], &application)],
        ),
        (
            "application",
            tier(tier_label(Tier::Application)),
            vec![from(vec![pods(tier(tier_label(Tier::Web)))], &application)],
            vec![to_database()],
        ),
        (
            "worker",
            tier(tier_label(Tier::Worker)),
            vec![],
            vec![to_database()],
        ),
        ("hook", tier(HOOK), vec![], vec![to_database()]),
        (
            "database",
            database(),
            database_ingress(&scene),
            database_egress(&scene),
        ),
    ];
    let objects = policies.map(|(name, selector, ingress, egress)| {
        // A rule without ports would allow every port: a tier that has none gets no rule.
        let policy = policy(
            selector,
            ingress
                .into_iter()
                .filter(|rule| rule.ports.as_ref().is_some_and(|ports| !ports.is_empty())),
            egress
                .into_iter()
                .filter(|rule| rule.ports.as_ref().is_some_and(|ports| !ports.is_empty())),
        );
        Object::declare(scene.id(Kind::NetworkPolicy, name), scene.marks(), &policy)
    });
    Outcome::of(objects.into())
}

fn database_ingress(scene: &Scene<'_>) -> Vec<NetworkPolicyIngressRule> {
    let clients = [tier_label(Tier::Application), tier_label(Tier::Worker), HOOK]
        .map(|name| pods(tier(name)))
        .into();
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(namespace(&scene.input.config.database_operator_namespace)),
        pod_selector: Some(labels(one("app.kubernetes.io/name", "cloudnative-pg"))),
        ip_block: None,
    };
    vec![
        from(clients, &[POSTGRESQL]),
        from(vec![pods(database())], &[POSTGRESQL, INSTANCE_MANAGER]),
        from(vec![operator], &[POSTGRESQL, INSTANCE_MANAGER]),
    ]
}

fn database_egress(scene: &Scene<'_>) -> Vec<NetworkPolicyEgressRule> {
    let among = to(vec![pods(database())], &[POSTGRESQL, INSTANCE_MANAGER]);
    let api_server = scene.input.config.api_server.iter().map(|endpoint| {
        let block = IPBlock {
            cidr: endpoint.cidr.clone(),
            except: None,
        };
        to(
            vec![NetworkPolicyPeer {
                ip_block: Some(block),
                ..NetworkPolicyPeer::default()
            }],
            &[endpoint.port],
        )
    });
    std::iter::once(among).chain(api_server).collect()
}

fn dns() -> NetworkPolicyEgressRule {
    let server = NetworkPolicyPeer {
        namespace_selector: Some(namespace("kube-system")),
        pod_selector: Some(labels(one("k8s-app", "kube-dns"))),
        ip_block: None,
    };
    NetworkPolicyEgressRule {
        to: Some(vec![server]),
        ports: Some(vec![port("UDP", 53), port("TCP", 53)]),
    }
}

fn policy(
    pod_selector: LabelSelector,
    ingress: impl Iterator<Item = NetworkPolicyIngressRule>,
    egress: impl Iterator<Item = NetworkPolicyEgressRule>,
) -> NetworkPolicy {
    let spec = NetworkPolicySpec {
        pod_selector: Some(pod_selector),
        ingress: Some(ingress.collect()),
        egress: Some(egress.collect()),
        policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
    };
    NetworkPolicy {
        spec: Some(spec),
        ..NetworkPolicy::default()
    }
}

fn from(peers: Vec<NetworkPolicyPeer>, ports: &[u16]) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from: Some(peers),
        ports: Some(tcp(ports)),
    }
}

fn to(peers: Vec<NetworkPolicyPeer>, ports: &[u16]) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule {
        to: Some(peers),
        ports: Some(tcp(ports)),
    }
}

fn tcp(ports: &[u16]) -> Vec<NetworkPolicyPort> {
    ports.iter().map(|number| port("TCP", *number)).collect()
}

fn port(protocol: &str, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(number.into())),
        end_port: None,
    }
}

/// Pods of the same namespace.
fn pods(selector: LabelSelector) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(selector),
        ..NetworkPolicyPeer::default()
    }
}

fn tier(name: &str) -> LabelSelector {
    labels(one(TIER_LABEL, name))
}

fn database() -> LabelSelector {
    labels(one(CLUSTER_LABEL, DATABASE))
}

/// By the label that the API server itself sets on every namespace, which nobody can forge.
fn namespace(name: &str) -> LabelSelector {
    labels(one("kubernetes.io/metadata.name", name))
}

fn labels(match_labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(match_labels),
        match_expressions: None,
    }
}

fn one(key: &str, value: &str) -> BTreeMap<String, String> {
    [(key.to_owned(), value.to_owned())].into()
}
