//! The gateway's certificate from an issuer of the platform.

use freehold_crds::IssuerRef;
use freehold_plan::{EdgeSlot, Kind, Leaf};
use jiff::{SignedDuration, Timestamp};

use crate::cluster::Cluster;
use crate::given;
use crate::keys::says;
use crate::simulation::{ready, silent};

const OWN: &str = "edge-tls";
const ISSUED: &str = "edge-issued-tls";

fn name_issuer(cluster: &mut Cluster, name: Option<&str>) {
    let class = cluster.given.class.as_mut().unwrap();
    class.spec.certificates.issuer = name.map(|name| IssuerRef {
        name: name.to_owned(),
        kind: "ClusterIssuer".to_owned(),
        group: "cert-manager.io".to_owned(),
    });
}

/// A tenant with a window that is always open: a change of its class reaches it at once.
fn settled() -> Cluster {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.given.tenant.spec.maintenance = Some(given::always_open());
    cluster.settle();
    assert!(ready(&cluster));
    cluster
}

fn in_days(cluster: &Cluster, days: i64) -> Timestamp {
    cluster.given.now + SignedDuration::from_hours(24 * days)
}

/// A tenant whose gateway shows what the issuer issued, for ninety days.
fn issued() -> Cluster {
    let mut cluster = settled();
    cluster.issues_until = Some(in_days(&cluster, 90));
    name_issuer(&mut cluster, Some("public"));
    cluster.settle();
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    assert_eq!(shown(&cluster), [("acme.example".into(), ISSUED.into())]);
    cluster
}

/// Each hostname with the Secret that it is shown with.
fn shown(cluster: &Cluster) -> Vec<(String, String)> {
    let gateway = cluster.body(Kind::Gateway, "edge").unwrap();
    let listeners = gateway["spec"]["listeners"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    listeners
        .map(|listener| {
            let secret = &listener["tls"]["certificateRefs"][0]["name"];
            (text(&listener["hostname"]), text(secret))
        })
        .collect()
}

fn blockers(cluster: &Cluster) -> Vec<String> {
    let status = cluster.given.tenant.status.as_ref().unwrap();
    let blockers = status.blockers.iter();
    blockers.map(|blocker| blocker.reason.clone()).collect()
}

#[test]
fn a_tenant_that_gets_an_issuer_shows_its_own_certificate_until_another_is_issued() {
    let mut cluster = settled();
    name_issuer(&mut cluster, Some("public"));
    cluster.settle();
    assert_eq!(shown(&cluster), [("acme.example".into(), OWN.into())]);
    assert_eq!(blockers(&cluster), ["IssuerNotReady"]);
    assert_eq!(
        says(&mut cluster, "CertificateReady"),
        "False IssuerNotReady: the ClusterIssuer public has issued no certificate for the hostnames as they are: Issuing \
         certificate as Secret does not exist"
    );
    assert!(says(&mut cluster, "Serving").starts_with("True"));
    silent(&mut cluster);
    let certificate = cluster.body(Kind::Certificate, "edge").unwrap();
    assert_eq!(certificate["spec"]["secretName"], ISSUED);
    assert_eq!(certificate["spec"]["dnsNames"][0], "acme.example");
    assert!(certificate["metadata"]["ownerReferences"].is_null());

    cluster.issues_until = Some(in_days(&cluster, 90));
    cluster.settle();
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    assert_eq!(shown(&cluster), [("acme.example".into(), ISSUED.into())]);
    let status = cluster.given.tenant.status.clone().unwrap();
    let told = status
        .certificates
        .iter()
        .find(|told| told.name == ISSUED)
        .unwrap();
    assert_eq!(told.not_after.0, in_days(&cluster, 90));
    assert_eq!(told.fingerprint, None);
    silent(&mut cluster);
}

#[test]
fn a_hostname_that_is_added_shows_the_own_certificate_until_it_is_issued_for_and_the_others_stay() {
    let mut cluster = issued();
    cluster.issues_until = None;
    cluster.given.tenant.spec.hostnames.push("more.example".into());
    cluster.settle();
    assert_eq!(
        shown(&cluster),
        [
            ("acme.example".into(), ISSUED.into()),
            ("more.example".into(), "edge-tls-1".into())
        ]
    );
    assert_eq!(blockers(&cluster), ["IssuerNotReady"]);
    cluster.issues_until = Some(in_days(&cluster, 90));
    cluster.settle();
    assert!(ready(&cluster));
    assert!(shown(&cluster).iter().all(|(_, secret)| secret == ISSUED));
    silent(&mut cluster);
}

#[test]
fn without_the_issuer_in_its_class_a_tenant_shows_its_own_certificate_again() {
    let mut cluster = issued();
    name_issuer(&mut cluster, None);
    cluster.settle();
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    assert_eq!(shown(&cluster), [("acme.example".into(), OWN.into())]);
    assert!(cluster.body(Kind::Certificate, "edge").is_none());
    // The gateway first: what it shows is never what is taken away.
    let at = |what: &str| cluster.log.iter().rposition(|line| line.contains(what)).unwrap();
    assert!(at("Gateway tenant-acme/edge") < at("Certificate tenant-acme/edge"));
    silent(&mut cluster);
}

#[test]
fn when_an_issuer_fails_for_good_the_own_certificate_takes_over_at_the_end_and_is_good_then() {
    let mut cluster = issued();
    cluster.issues_until = None;
    let end = in_days(&cluster, 90);
    cluster.live_until(end, |cluster| {
        assert_eq!(shown(cluster), [("acme.example".into(), ISSUED.into())]);
    });
    assert_eq!(cluster.plan().wake, Some(end));
    cluster.given.now = end;
    cluster.settle();
    assert_eq!(shown(&cluster), [("acme.example".into(), OWN.into())]);
    let own = cluster
        .given
        .observed
        .minted
        .leaf(Leaf::Edge(EdgeSlot::FIRST))
        .present()
        .unwrap();
    assert!(own.not_after > end);
}

#[test]
fn in_a_cluster_without_cert_manager_the_own_certificate_serves_and_the_status_says_what_is_missing() {
    let mut cluster = settled();
    cluster.given.observed.unknown.insert(Kind::Certificate);
    name_issuer(&mut cluster, Some("public"));
    cluster.settle();
    assert_eq!(shown(&cluster), [("acme.example".into(), OWN.into())]);
    assert_eq!(blockers(&cluster), ["CertManagerMissing"]);
    assert!(cluster.body(Kind::Certificate, "edge").is_none());
    assert!(says(&mut cluster, "Serving").starts_with("True"));
    silent(&mut cluster);

    // It is installed.
    cluster.given.observed.unknown.clear();
    cluster.issues_until = Some(in_days(&cluster, 90));
    cluster.settle();
    assert!(ready(&cluster));
    assert_eq!(shown(&cluster), [("acme.example".into(), ISSUED.into())]);
}

#[test]
fn killed_after_any_effect_of_the_change_to_an_issuer_nothing_is_shown_that_was_not_issued() {
    for k in 0..12 {
        let mut cluster = settled();
        name_issuer(&mut cluster, Some("public"));
        cluster.pass(k);
        assert_eq!(
            shown(&cluster),
            [("acme.example".into(), OWN.into())],
            "killed after {k}"
        );
        cluster.issues_until = Some(in_days(&cluster, 90));
        cluster.given.tenant.status = None;
        cluster.settle();
        assert!(ready(&cluster), "killed after {k}");
        assert_eq!(
            shown(&cluster),
            [("acme.example".into(), ISSUED.into())],
            "killed after {k}"
        );
    }
}
