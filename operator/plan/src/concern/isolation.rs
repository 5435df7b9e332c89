//! Who may talk to whom. Everything is denied in both directions; then the least that works.
//!
//! In: the release's tiers and ports, the gateway, the API server's addresses. Out: NetworkPolicies.
//! Invariants: no rule names another tenant; only database pods reach the API server; declared egress never reaches
//! link-local addresses (cloud metadata), loopback or the cluster's own ranges, however wide it is.

use std::collections::BTreeMap;
use std::net::IpAddr;

use freehold_crds::{EgressPort, Protocol, Tier};
use ipnet::IpNet;
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
use crate::names::{CLUSTER_LABEL, DATABASE, FREEHOLD, POSTGRESQL, TIER_LABEL};
use crate::object::Object;
use crate::outcome::{Outcome, Wait};

/// CloudNativePG's instance manager: its operator asks it for the status, and instances ask each other.
const INSTANCE_MANAGER: u16 = 8000;

/// Ranges that no declared egress reaches: "this network", loopback and link-local (RFC 1122, RFC 3927, RFC 4291), IPv4 in
/// IPv6's clothes (mapped, NAT64 by RFC 6052 and RFC 8215, 6to4), and the metadata services that are none of these (AWS,
/// Google, Azure, Alibaba).
const NEVER: [&str; 13] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "::/127",
    "fe80::/10",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "2002::/16",
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
    "168.63.129.16/32",
    "100.100.100.200/32",
];

pub fn plan(scene: Scene<'_>) -> Outcome {
    let (declared, waits) = declared(&scene);
    let outwards = |first: NetworkPolicyEgressRule| std::iter::once(first).chain(declared.clone()).collect();
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
            // A release's own tests take the way of its users, too.
            vec![from(vec![gateway, operator(&scene), pods(tier(HOOK))], &web)],
            vec![to(vec![pods(tier(tier_label(Tier::Application)))], &application)],
        ),
        (
            "application",
            tier(tier_label(Tier::Application)),
            vec![from(
                vec![
                    pods(tier(tier_label(Tier::Web))),
                    pods(tier(HOOK)),
                    operator(&scene),
                ],
                &application,
            )],
            outwards(to_database()),
        ),
        (
            "worker",
            tier(tier_label(Tier::Worker)),
            vec![],
            outwards(to_database()),
        ),
        (
            "hook",
            tier(HOOK),
            vec![],
            vec![
                to_database(),
                to(vec![pods(tier(tier_label(Tier::Application)))], &application),
                to(vec![pods(tier(tier_label(Tier::Web)))], &web),
            ],
        ),
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
    Outcome {
        waits,
        ..Outcome::of(objects.into())
    }
}

/// The egress that the tenant declares and its class allows, without what it never reaches. What is not allowed is left
/// out and said.
fn declared(scene: &Scene<'_>) -> (Vec<NetworkPolicyEgressRule>, Vec<Wait>) {
    let mut rules = Vec::new();
    let mut waits = Vec::new();
    for rule in &scene.model.tenant.spec.egress {
        match destination(scene, &rule.cidr) {
            Ok(block) => rules.push(NetworkPolicyEgressRule {
                to: Some(vec![NetworkPolicyPeer {
                    ip_block: Some(block),
                    ..NetworkPolicyPeer::default()
                }]),
                ports: Some(rule.ports.iter().filter_map(declared_port).collect()),
            }),
            Err(why) => waits.push(Wait {
                reason: "EgressNotAllowed",
                message: format!("the egress to {} is left out: {why}", rule.cidr),
                unblocked_by:
                    "name another range in spec.egress, or let the TenantClass allow it in egress.allowed"
                        .to_owned(),
                stalls: true,
            }),
        }
    }
    (rules, waits)
}

fn declared_port(declared: &EgressPort) -> Option<NetworkPolicyPort> {
    Some(port(
        declared.protocol.as_str(),
        u16::try_from(declared.port).ok()?,
    ))
}

fn destination(scene: &Scene<'_>, cidr: &str) -> Result<IPBlock, String> {
    let net: IpNet = cidr.parse().map_err(|_| "it is no address range".to_owned())?;
    let allowed = scene
        .model
        .egress
        .allowed
        .iter()
        .filter_map(|range| range.parse::<IpNet>().ok());
    if !allowed.clone().any(|range| range.contains(&net)) {
        return Err("the class does not allow it".to_owned());
    }
    let config = scene.input.config;
    let api_server = config.api_server.iter().map(|endpoint| endpoint.cidr.as_str());
    let own = config.cluster_cidrs.iter().map(String::as_str).chain(api_server);
    let mut except = Vec::new();
    for never in NEVER
        .into_iter()
        .chain(own)
        .filter_map(|range| range.parse::<IpNet>().ok())
    {
        if never.contains(&net) {
            return Err(format!(
                "{never} is never reachable: it is link-local, loopback, or the cluster's own"
            ));
        }
        if net.contains(&never) {
            except.push(never);
        }
    }
    let except: Vec<String> = IpNet::aggregate(&except)
        .iter()
        .map(ToString::to_string)
        .collect();
    Ok(IPBlock {
        cidr: net.to_string(),
        except: (!except.is_empty()).then_some(except),
    })
}

/// Whether the tenant declared that a tier may reach an address and port by TCP.
pub fn may_reach(scene: &Scene<'_>, address: IpAddr, port: u16) -> bool {
    let mut rules = scene.model.tenant.spec.egress.iter();
    rules.any(|rule| {
        let within = destination(scene, &rule.cidr).is_ok_and(|block| {
            let holds = |range: &str| range.parse::<IpNet>().is_ok_and(|net| net.contains(&address));
            holds(&block.cidr) && !block.except.iter().flatten().any(|range| holds(range))
        });
        within
            && rule
                .ports
                .iter()
                .any(|declared| declared.port == i32::from(port) && declared.protocol == Protocol::Tcp)
    })
}

/// Freehold's own pods: they see by handshakes which roots everybody trusts.
fn operator(scene: &Scene<'_>) -> NetworkPolicyPeer {
    let own = [
        ("app.kubernetes.io/name", FREEHOLD),
        ("app.kubernetes.io/component", "operator"),
    ];
    NetworkPolicyPeer {
        namespace_selector: Some(namespace(&scene.input.config.operator_namespace)),
        pod_selector: Some(labels(
            own.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        )),
        ip_block: None,
    }
}

fn database_ingress(scene: &Scene<'_>) -> Vec<NetworkPolicyIngressRule> {
    let clients = [tier_label(Tier::Application), tier_label(Tier::Worker), HOOK]
        .map(|name| pods(tier(name)))
        .into();
    let engine = NetworkPolicyPeer {
        namespace_selector: Some(namespace(&scene.input.config.database_operator_namespace)),
        pod_selector: Some(labels(one("app.kubernetes.io/name", "cloudnative-pg"))),
        ip_block: None,
    };
    vec![
        from(clients, &[POSTGRESQL]),
        from(vec![pods(database())], &[POSTGRESQL, INSTANCE_MANAGER]),
        from(vec![engine], &[POSTGRESQL, INSTANCE_MANAGER]),
        from(vec![operator(scene)], &[POSTGRESQL]),
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
