//! One hostname, one tenant.

use freehold_plan::names::ClaimName;
use freehold_plan::{EdgeSlot, Kind, Leaf};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::given;
use crate::simulation::{ready, silent};

fn claim(hostname: &str, tenant: &str, given_up_at: Option<&str>) -> (String, Value) {
    let name = ClaimName::of(hostname).as_str().to_owned();
    let body = json!({
        "metadata": {"name": name, "namespace": "freehold-system", "uid": "claim", "resourceVersion": "5"},
        "spec": {
            "hostname": hostname, "tenant": tenant, "incarnation": "another",
            "state": if given_up_at.is_some() { "GivenUp" } else { "Held" }, "givenUpAt": given_up_at,
        },
    });
    (name, body)
}

fn blockers(cluster: &Cluster) -> Vec<String> {
    let status = cluster.given.tenant.status.as_ref().unwrap();
    status
        .blockers
        .iter()
        .map(|blocker| blocker.reason.clone())
        .collect()
}

fn listeners(cluster: &Cluster) -> Vec<String> {
    let gateway = cluster.body(Kind::Gateway, "edge").unwrap();
    let all = gateway["spec"]["listeners"].as_array().unwrap();
    all.iter()
        .map(|listener| listener["hostname"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_hostname_of_another_tenant_is_not_served_and_the_others_are() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.given.tenant.spec.hostnames.push("taken.example".into());
    cluster.others.extend([claim("taken.example", "globex", None)]);
    cluster.settle();
    assert_eq!(blockers(&cluster), ["HostnameTaken"]);
    assert_eq!(listeners(&cluster), ["acme.example"]);
    let edge = cluster
        .given
        .observed
        .minted
        .leaf(Leaf::Edge(EdgeSlot::FIRST))
        .present()
        .unwrap()
        .clone();
    assert_eq!(edge.dns_names, ["acme.example"]);
    let told = cluster.given.tenant.status.clone().unwrap();
    assert!(
        !serde_json::to_string(&told).unwrap().contains("globex"),
        "whose it is, is nobody's business"
    );

    // It becomes free.
    cluster.others.clear();
    cluster.given.now += SignedDuration::from_secs(31);
    cluster.settle();
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    assert_eq!(listeners(&cluster), ["acme.example", "taken.example"]);
    silent(&mut cluster);
}

#[test]
fn without_any_hostname_of_its_own_a_tenant_has_no_way_in() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.others.extend([claim("acme.example", "globex", None)]);
    cluster.settle();
    assert!(cluster.body(Kind::Gateway, "edge").is_none());
    assert_eq!(blockers(&cluster), ["HostnameTaken"]);
}

#[test]
fn a_hostname_that_was_given_up_is_kept_from_others_for_a_time() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster
        .others
        .extend([claim("acme.example", "globex", Some("2027-01-01T00:00:00Z"))]);
    cluster.settle();
    assert_eq!(blockers(&cluster), ["HostnameTaken"]);
    cluster.given.now = "2027-01-31T00:00:01Z".parse().unwrap();
    cluster.settle();
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
}

#[test]
fn a_tenant_of_the_same_name_takes_up_what_its_predecessor_gave_up() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster
        .others
        .extend([claim("acme.example", "acme", Some("2027-01-15T07:59:00Z"))]);
    cluster.settle();
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    let name = ClaimName::of("acme.example");
    let body = cluster.body(Kind::HostnameClaim, name.as_str()).unwrap();
    assert_eq!(body["spec"]["incarnation"], given::UID);
    assert_eq!(body["spec"]["state"], "Held");
}

#[test]
fn a_hostname_that_is_no_longer_asked_for_is_given_up_and_stays_as_a_tombstone() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    cluster.given.tenant.spec.hostnames = vec!["other.example".into()];
    cluster.settle();
    assert!(ready(&cluster));
    let body = cluster
        .body(Kind::HostnameClaim, ClaimName::of("acme.example").as_str())
        .unwrap();
    assert_eq!(body["spec"]["state"], "GivenUp");
    assert!(body["spec"]["givenUpAt"].is_string());
    silent(&mut cluster);
}

#[test]
fn a_claim_that_somebody_deleted_is_taken_again_and_users_do_not_notice() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    let claim = cluster
        .ids()
        .find(|id| id.kind == Kind::HostnameClaim)
        .cloned()
        .unwrap();
    cluster.lose(&claim);
    cluster.log.clear();
    cluster.settle();
    assert_eq!(cluster.log, [format!("create {claim}")]);
}
