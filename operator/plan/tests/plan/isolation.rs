//! What a tenant may reach, and how that is verified.

use freehold_crds::EgressRule;
use freehold_plan::{Id, Kind};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Network};
use crate::given;
use crate::simulation::{ready, silent};

fn says(cluster: &Cluster) -> String {
    let status = cluster.given.tenant.status.as_ref().unwrap();
    let c = status
        .conditions
        .iter()
        .find(|c| c.type_ == "IsolationVerified")
        .unwrap();
    format!("{} {}: {}", c.status, c.reason, c.message)
}

fn probes(cluster: &Cluster) -> Vec<&Id> {
    cluster.ids().filter(|id| id.kind == Kind::Pod).collect()
}

#[test]
fn the_isolation_is_verified_once_the_tenant_serves_and_again_on_schedule() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.pass(usize::MAX);
    assert_eq!(
        probes(&cluster),
        Vec::<&Id>::new(),
        "a tenant's own start comes first"
    );
    cluster.settle();
    insta::assert_snapshot!(says(&cluster), @"True Verified: at 2027-01-15T08:00:00Z: no tier reaches another tenant's database, the API server, the metadata service, the internet");
    assert_eq!(probes(&cluster), Vec::<&Id>::new(), "they are short-lived");
    silent(&mut cluster);
    let wake = cluster.plan().wake.unwrap();
    let every = wake.duration_since(cluster.given.now);
    assert!(
        every <= SignedDuration::from_hours(6) && every > SignedDuration::from_hours(5),
        "{every}"
    );
    cluster.log.clear();
    cluster.sleep_until(wake);
    cluster.settle();
    let made: Vec<&String> = cluster
        .log
        .iter()
        .filter(|line| line.starts_with("create Pod"))
        .collect();
    assert_eq!(made.len(), 5, "{made:?}");
}

#[test]
fn probes_have_their_tiers_labels_and_are_in_no_service() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.network = Network::Stuck;
    cluster.settle();
    let bodies: Vec<Value> = probes(&cluster)
        .iter()
        .map(|id| cluster.body(Kind::Pod, &id.name).unwrap().clone())
        .collect();
    assert_eq!(bodies.len(), 5);
    for body in &bodies {
        assert!(body["metadata"]["labels"]["freehold.dev/component"].is_null());
        assert!(body["metadata"]["labels"]["cnpg.io/instanceRole"].is_null());
        assert_eq!(body["spec"]["automountServiceAccountToken"], false);
        let control = body["metadata"]["namespace"] == "freehold-probes";
        assert_eq!(body["spec"]["hostNetwork"] == true, control);
    }
    let tiers: Vec<&str> = bodies
        .iter()
        .filter_map(|body| body["metadata"]["labels"]["freehold.dev/tier"].as_str())
        .collect();
    assert_eq!(tiers, ["application", "hook", "web"]);
}

#[test]
fn a_network_that_does_not_enforce_is_found_out_and_stalls() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.network = Network::Open;
    cluster.settle();
    insta::assert_snapshot!(says(&cluster), @"False IsolationBroken: at 2027-01-15T08:00:00Z: the tier web reaches another tenant's database; the tier web reaches the API server; the tier web reaches the metadata service; the tier web reaches the internet; the tier application reaches another tenant's database; the tier application reaches the API server; the tier application reaches the metadata service; the tier application reaches the internet; the tier hook reaches another tenant's database; the tier hook reaches the API server; the tier hook reaches the meta…");
    assert!(!ready(&cluster));
    cluster.network = Network::Enforced;
    cluster.given.now += SignedDuration::from_mins(11);
    cluster.settle();
    assert!(ready(&cluster));
}

#[test]
fn a_network_in_which_nothing_gets_anywhere_proves_nothing() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.network = Network::Dead;
    cluster.settle();
    insta::assert_snapshot!(says(&cluster), @"Unknown Inconclusive: at 2027-01-15T08:00:00Z: the unrestricted pod does not reach another tenant's database either; the unrestricted pod does not reach the API server either; the unrestricted pod does not reach the metadata service either; the unrestricted pod does not reach the internet either");
    assert!(ready(&cluster));
}

#[test]
fn pods_that_never_tell_are_given_up() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.network = Network::Stuck;
    cluster.settle();
    assert!(
        says(&cluster).starts_with("Unknown NotYetVerified"),
        "{}",
        says(&cluster)
    );
    let wake = cluster.plan().wake.unwrap();
    assert_eq!(
        wake.duration_since(cluster.given.now),
        SignedDuration::from_secs(120)
    );
    cluster.sleep_until(wake);
    cluster.settle();
    assert!(
        says(&cluster).starts_with("Unknown Inconclusive"),
        "{}",
        says(&cluster)
    );
    assert_eq!(probes(&cluster), Vec::<&Id>::new());
}

#[test]
fn other_policies_are_verified_at_once() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.given.class.as_mut().unwrap().spec.egress.allowed = vec!["0.0.0.0/0".into()];
    cluster.settle();
    cluster.given.tenant.spec.egress = vec![rule("0.0.0.0/0")];
    cluster.log.clear();
    cluster.settle();
    assert!(
        cluster.log.iter().any(|line| line.starts_with("create Pod")),
        "{:?}",
        cluster.log
    );
}

/// A gate's test of pages goes where a browser goes.
#[test]
fn a_releases_own_tests_reach_web_and_application() {
    let given = given::new("acme");
    let plan = freehold_plan::plan(&given.input());
    let policy = |name: &str| {
        let mut objects = plan.objects.iter();
        let object = objects.find(|o| o.id.kind == Kind::NetworkPolicy && o.id.name == name);
        object.unwrap().body["spec"].clone()
    };
    let tier = |name: &str| json!({"podSelector": {"matchLabels": {"freehold.dev/tier": name}}});
    let outwards = policy("hook")["egress"].to_string();
    for name in ["web", "application"] {
        assert!(outwards.contains(&tier(name).to_string()), "{name}");
        let inwards = policy(name)["ingress"].to_string();
        assert!(inwards.contains(&tier("hook").to_string()), "{name}");
    }
}

fn rule(cidr: &str) -> EgressRule {
    given::typed(json!({"cidr": cidr, "ports": [{"port": 443}]}))
}

fn declared(cidr: &str) -> Value {
    let mut given = given::new("acme");
    given.class.as_mut().unwrap().spec.egress.allowed = vec!["0.0.0.0/0".into(), "::/0".into()];
    given.tenant.spec.egress = vec![rule(cidr)];
    let plan = freehold_plan::plan(&given.input());
    let policy = |name: &str| {
        let mut objects = plan.objects.iter();
        let object = objects
            .find(|o| o.id.kind == Kind::NetworkPolicy && o.id.name == name)
            .unwrap();
        object.body["spec"]["egress"].clone()
    };
    assert_eq!(policy("application"), policy("worker"));
    for name in ["web", "hook", "default-deny", "database"] {
        assert!(!policy(name).to_string().contains(cidr), "{name}");
    }
    policy("application")[1]["to"][0]["ipBlock"].clone()
}

#[test]
fn declared_egress_never_reaches_metadata_or_the_cluster() {
    assert_eq!(declared("203.0.113.0/24"), json!({"cidr": "203.0.113.0/24"}));
    insta::assert_snapshot!(declared("0.0.0.0/0"), @r#"{"cidr":"0.0.0.0/0","except":["0.0.0.0/8","10.0.0.0/8","100.64.0.0/10","127.0.0.0/8","168.63.129.16/32","169.254.0.0/16","172.16.0.0/12","192.168.0.0/16"]}"#);
    insta::assert_snapshot!(declared("::/0"), @r#"{"cidr":"::/0","except":["::/127","::ffff:0.0.0.0/96","64:ff9b::/96","64:ff9b:1::/48","2002::/16","fc00::/7","fe80::/10"]}"#);
    for never in [
        "169.254.169.254/32",
        "10.1.0.0/16",
        "fe80::/10",
        "::ffff:0:0/96",
        "127.0.0.1/32",
        "64:ff9b::a9fe:a9fe/128",
        "168.63.129.16/32",
        "fd00:ec2::254/128",
    ] {
        assert_eq!(declared(never), Value::Null, "{never}");
    }
}

#[test]
fn egress_that_the_class_does_not_allow_is_left_out_and_said() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.given.tenant.spec.egress = vec![rule("203.0.113.0/24")];
    cluster.settle();
    let status = cluster.given.tenant.status.as_ref().unwrap();
    assert_eq!(status.blockers[0].reason, "EgressNotAllowed");
    let body = cluster.body(Kind::NetworkPolicy, "application").unwrap();
    assert!(!body.to_string().contains("203.0.113"));
}

#[test]
fn the_customers_groups_are_bound_to_what_they_may_see_and_no_group_of_kubernetes_is() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.given.tenant.spec.administrators.groups =
        vec!["acme-admins".into(), "system:authenticated".into()];
    cluster.settle();
    let binding = cluster
        .body(Kind::RoleBinding, "customer-administrators")
        .unwrap();
    assert_eq!(binding["roleRef"]["name"], "freehold-customer-administrator");
    let subjects = binding["subjects"].as_array().unwrap();
    assert_eq!(subjects.len(), 1);
    assert_eq!(subjects[0]["name"], "acme-admins");
    assert!(cluster.body(Kind::RoleBinding, "customer-viewers").is_none());
    cluster.given.tenant.spec.administrators.groups.clear();
    cluster.settle();
    assert!(
        cluster
            .body(Kind::RoleBinding, "customer-administrators")
            .is_none()
    );
    assert!(cluster.body(Kind::RoleBinding, "freehold").is_some());
}

#[test]
fn egress_never_reaches_the_api_server_wherever_it_is() {
    let mut given = given::new("acme");
    given.config.api_server[0].cidr = "198.51.100.7/32".into();
    given.class.as_mut().unwrap().spec.egress.allowed = vec!["0.0.0.0/0".into()];
    given.tenant.spec.egress = vec![rule("198.51.100.0/24")];
    let plan = freehold_plan::plan(&given.input());
    let mut objects = plan.objects.iter();
    let policy = objects
        .find(|o| o.id.kind == Kind::NetworkPolicy && o.id.name == "application")
        .unwrap();
    assert_eq!(
        policy.body["spec"]["egress"][1]["to"][0]["ipBlock"],
        json!({"cidr": "198.51.100.0/24", "except": ["198.51.100.7/32"]})
    );
}

#[test]
fn whose_database_is_tried_is_said_nowhere_in_the_tenants_namespace() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.network = Network::Stuck;
    cluster.settle();
    let own: Vec<Value> = cluster
        .ids()
        .filter(|id| id.namespace == "tenant-acme")
        .filter_map(|id| cluster.body(id.kind, &id.name).cloned())
        .collect();
    assert!(own.iter().any(|body| body.to_string().contains("10.88.1.7")));
    assert!(own.iter().all(|body| !body.to_string().contains("globex")));
}

#[test]
fn what_was_verified_is_not_said_of_other_policies_nor_for_ever() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    assert!(says(&cluster).starts_with("True"));
    // No run comes to pass.
    cluster.network = Network::Stuck;
    cluster.given.class.as_mut().unwrap().spec.egress.allowed = vec!["0.0.0.0/0".into()];
    cluster.given.now = "2027-01-16T02:00:00Z".parse().unwrap();
    cluster.given.tenant.spec.egress = vec![rule("203.0.113.0/24")];
    cluster.settle();
    assert!(
        says(&cluster).starts_with("Unknown Outdated"),
        "{}",
        says(&cluster)
    );
}

#[test]
fn what_cannot_be_proved_is_tried_ever_more_rarely() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.network = Network::Dead;
    cluster.settle();
    let mut waits = Vec::new();
    for _ in 0..7 {
        let wake = cluster.plan().wake.unwrap();
        waits.push(wake.duration_since(cluster.given.now).as_mins());
        cluster.sleep_until(wake);
        cluster.settle();
    }
    assert!(waits.is_sorted(), "{waits:?}");
    assert!(waits[0] >= 9 && waits[0] <= 10 && waits[6] >= 320, "{waits:?}");
}
