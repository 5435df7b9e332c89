//! A tenant is alone: by packet, and again within seconds after somebody removed its policies.

use std::time::{Duration, Instant};

use freehold_e2e::kube;
use freehold_e2e::lab::net;
use freehold_e2e::probe::{self, Target};
use serde_json::json;

use crate::stage::{image, lab, namespace};

#[test]
fn a_tenant_reaches_its_own_tiers_and_nobody_elses() {
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
fn policies_that_were_deleted_are_back_within_five_seconds() {
    let acme = namespace("acme");
    let names = || -> Vec<String> {
        let list = kube::get(lab(), &["-n", &acme, "networkpolicies"]).unwrap();
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["metadata"]["name"].to_string())
            .collect()
    };
    let before = names();
    assert!(before.len() >= 4, "{before:?}");
    kube::kubectl(lab(), &["-n", &acme, "delete", "networkpolicies", "--all"]).unwrap();
    let begin = Instant::now();
    kube::until("the policies to be back", Duration::from_secs(5), || {
        Ok((names() == before).then_some(()))
    })
    .unwrap();
    println!("policies were back after {:.1} s", begin.elapsed().as_secs_f64());
}
