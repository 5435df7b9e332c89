//! What a tenant's pods reach, by packet.

use std::sync::{Mutex, PoisonError};

use freehold_e2e::lab::net;
use freehold_e2e::probe::{self, Target};
use serde_json::json;

use crate::stage::{MINUTE, change, image, lab, namespace, wait_ready};

/// There is one control pod.
static CONTROL: Mutex<()> = Mutex::new(());

#[test]
fn a_tenant_reaches_its_own_tiers_and_nobody_elses() {
    let _one = CONTROL.lock().unwrap_or_else(PoisonError::into_inner);
    let (acme, globex) = (namespace("acme"), namespace("globex"));
    probe::start_control(lab(), &image()).unwrap();
    probe::start(
        lab(),
        &acme,
        "probe",
        &image(),
        &json!({"freehold.dev/tier": "application"}),
    )
    .unwrap();
    probe::start(
        lab(),
        &acme,
        "probe-web",
        &image(),
        &json!({"freehold.dev/tier": "web"}),
    )
    .unwrap();
    let foreign = [
        probe::service(lab(), "database by Service", &globex, "db-rw", 5432).unwrap(),
        probe::pod(lab(), "database by pod", &globex, "cnpg.io/cluster=db", 5432).unwrap(),
        probe::pod(lab(), "database's manager", &globex, "cnpg.io/cluster=db", 8000).unwrap(),
        probe::service(lab(), "API by Service", &globex, "api", 8080).unwrap(),
        probe::pod(
            lab(),
            "API by pod",
            &globex,
            "freehold.dev/tier=application",
            8080,
        )
        .unwrap(),
        probe::pod(lab(), "web by pod", &globex, "freehold.dev/tier=web", 8080).unwrap(),
        Target {
            what: "metadata".into(),
            host: net::METADATA.into(),
            port: 80,
        },
        Target {
            what: "API server".into(),
            host: net::API_SERVICE.into(),
            port: 443,
        },
        Target {
            what: "API server on the node".into(),
            host: net::NodeId(1).address().into(),
            port: net::API_PORT,
        },
    ];
    let own_database = [probe::service(lab(), "own database", &acme, "db-rw", 5432).unwrap()];
    let own_api = [probe::service(lab(), "own API", &acme, "api", 8080).unwrap()];
    for found in probe::reach(lab(), probe::CONTROL, "control", &foreign).unwrap() {
        assert!(
            found.reached,
            "the control pod must reach {:?}, else nothing is proved",
            found.target
        );
    }
    for pod in ["probe", "probe-web"] {
        for found in probe::reach(lab(), &acme, pod, &foreign).unwrap() {
            assert!(!found.reached, "acme's {pod} reaches {:?}", found.target);
        }
    }
    // The tiers: the application reaches the database, the web tier reaches the application and not the database.
    assert!(probe::reach(lab(), &acme, "probe", &own_database).unwrap()[0].reached);
    assert!(probe::reach(lab(), &acme, "probe-web", &own_api).unwrap()[0].reached);
    assert!(!probe::reach(lab(), &acme, "probe-web", &own_database).unwrap()[0].reached);
    for (namespace, pod) in [
        (acme.as_str(), "probe"),
        (acme.as_str(), "probe-web"),
        (probe::CONTROL, "control"),
    ] {
        probe::remove(lab(), namespace, pod);
    }
}

#[test]
fn declared_egress_reaches_what_was_declared_and_nothing_else() {
    let _one = CONTROL.lock().unwrap_or_else(PoisonError::into_inner);
    wait_ready("globex", MINUTE);
    let globex = namespace("globex");
    let target = |what: &str, host: &str, port| Target {
        what: what.into(),
        host: host.into(),
        port,
    };
    let targets = [
        target("declared", net::INTERNET, 443),
        target("another port", net::INTERNET, 80),
        target("another address", net::INTERNET_OTHER, 443),
        target("metadata", net::METADATA, 80),
        target("API server", net::API_SERVICE, 443),
    ];
    probe::start_control(lab(), &image()).unwrap();
    for found in probe::reach(lab(), probe::CONTROL, "control", &targets).unwrap() {
        assert!(found.reached, "the control pod must reach {:?}", found.target);
    }
    let reached = |tier: &str| -> Vec<bool> {
        let labels = json!({"freehold.dev/tier": tier});
        probe::start(lab(), &globex, "egress", &image(), &labels).unwrap();
        let found = probe::reach(lab(), &globex, "egress", &targets).unwrap();
        probe::remove(lab(), &globex, "egress");
        found.into_iter().map(|found| found.reached).collect()
    };
    assert_eq!(reached("application"), [false; 5]);
    let cidr = format!("{}/32", net::INTERNET);
    change(
        "globex",
        &json!({"egress": [{"cidr": cidr, "ports": [{"port": 443}]}]}),
    );
    wait_ready("globex", MINUTE);
    assert_eq!(reached("application"), [true, false, false, false, false]);
    assert_eq!(reached("web"), [false; 5]);
    // The widest range there is does not reach metadata nor the cluster.
    change(
        "globex",
        &json!({"egress": [{"cidr": "0.0.0.0/0", "ports": [{"port": 443}, {"port": 80}]}]}),
    );
    wait_ready("globex", MINUTE);
    assert_eq!(reached("application"), [true, true, true, false, false]);
    change("globex", &json!({"egress": null}));
    wait_ready("globex", MINUTE);
    probe::remove(lab(), probe::CONTROL, "control");
}
