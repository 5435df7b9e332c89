//! A window that can't be read stops upgrades, and nothing else.

use freehold_crds::Maintenance;
use freehold_plan::Kind;
use serde_json::json;

use crate::cluster::Cluster;
use crate::given;
use crate::simulation::silent;

fn broken() -> Option<Maintenance> {
    Some(given::typed(
        json!({"windows": [{"rule": "every other sunday", "duration": "1h"}]}),
    ))
}

fn says(cluster: &Cluster, kind: &str) -> String {
    let status = cluster.given.tenant.status.as_ref().unwrap();
    let c = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
    format!("{} {}", c.status, c.reason)
}

#[test]
fn a_tenant_with_a_broken_window_is_installed_and_serves_but_is_not_upgraded() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.given.tenant.spec.maintenance = broken();
    cluster.settle();
    assert_eq!(says(&cluster, "Stalled"), "True InvalidWindow");
    assert_eq!(says(&cluster, "Serving"), "True Serving");
    let version = |cluster: &Cluster| cluster.given.tenant.status.clone().unwrap().version;
    assert_eq!(version(&cluster).as_deref(), Some("1.0.0"));

    cluster.given.ask_for(given::release("1.1.0"));
    cluster.log.clear();
    cluster.settle();
    assert_eq!(version(&cluster).as_deref(), Some("1.0.0"));
    assert!(
        !cluster.log.iter().any(|line| line.contains("migrate-1-1-0")),
        "{:?}",
        cluster.log
    );
    assert_eq!(says(&cluster, "Serving"), "True Serving");
    silent(&mut cluster);

    // The rest goes on.
    let policy = cluster
        .ids()
        .find(|id| id.kind == Kind::NetworkPolicy)
        .cloned()
        .unwrap();
    cluster.lose(&policy);
    cluster.settle();
    assert!(cluster.ids().any(|id| *id == policy));

    cluster.given.tenant.spec.maintenance = Some(given::always_open());
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0"));
}

#[test]
fn a_certificate_that_is_none_is_refused_in_words() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        "QUJD".repeat(30)
    );
    cluster.given.tenant.spec.sso = Some(given::typed(json!({"saml": {
        "entityId": "https://idp.example", "endpoint": "https://idp.example/sso", "signingCertificate": pem,
    }})));
    cluster.log.clear();
    cluster.settle();
    assert_eq!(says(&cluster, "Stalled"), "True InvalidSso");
    assert_eq!(says(&cluster, "Serving"), "True Serving");
    assert_eq!(cluster.log, Vec::<String>::new());
}
