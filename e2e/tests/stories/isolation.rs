//! A tenant is alone: by packet, and again within seconds after somebody removed its policies.

use std::time::{Duration, Instant};

use freehold_e2e::kube;
use freehold_e2e::lab::enforcement::enforcement;
use freehold_e2e::lab::net;
use freehold_e2e::probe::{self, Target};
use serde_json::json;

use crate::stage::{MINUTE, change, image, lab, namespace, wait_ready};

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

fn isolation_of(tenant: &str, status: &str, limit: Duration) -> serde_json::Value {
    let object =
        kube::wait_condition(lab(), &["tenant", tenant], "IsolationVerified", status, limit).unwrap();
    let conditions = object["status"]["conditions"].as_array().unwrap();
    conditions
        .iter()
        .find(|c| c["type"] == "IsolationVerified")
        .unwrap()
        .clone()
}

/// Another range in the policies: what was verified before is no longer what stands.
fn other_policies(tenant: &str, number: u8) {
    change(
        tenant,
        &json!({"egress": [{"cidr": format!("198.51.100.{number}/32"), "ports": [{"port": 443}]}]}),
    );
}

#[test]
fn the_isolation_is_verified_by_packets_and_a_network_that_does_not_enforce_is_found_out() {
    let found = isolation_of("acme", "True", 2 * MINUTE);
    println!("acme: {}", found["message"]);
    let record = kube::get(lab(), &["-n", &namespace("acme"), "configmap", "isolation"]).unwrap();
    let record: serde_json::Value =
        serde_json::from_str(record["data"]["record.json"].as_str().unwrap()).unwrap();
    let found = record["last"]["found"].as_object().unwrap();
    assert_eq!(found.len(), 5, "{found:?}");
    for (place, targets) in found {
        for (what, result) in targets.as_object().unwrap() {
            let allowed = place == "control" || (place == "database" && what == "the API server");
            assert_eq!(result == "reached", allowed, "{place}: {what}");
        }
        assert_eq!(targets.as_object().unwrap().len(), 4, "{place}");
    }
    let pods = kube::get(
        lab(),
        &["-A", "pods", "-l", "app.kubernetes.io/managed-by=freehold"],
    )
    .unwrap();
    let left = pods["items"]
        .as_array()
        .unwrap()
        .iter()
        .any(|pod| pod["metadata"]["labels"]["freehold.dev/tenant"] == "acme");
    assert!(!left, "its pods are short-lived");

    // Nobody else is being verified in that time: a hole that is found holds for ten minutes.
    isolation_of("globex", "True", 2 * MINUTE);
    enforcement(lab(), false).unwrap();
    other_policies("acme", 1);
    let broken = std::panic::catch_unwind(|| isolation_of("acme", "False", 2 * MINUTE));
    enforcement(lab(), true).unwrap();
    let broken = broken.unwrap();
    println!("acme without enforcement: {}", broken["message"]);
    assert_eq!(broken["reason"], "IsolationBroken");
    let object = kube::get(lab(), &["tenant", "acme"]).unwrap();
    assert_eq!(kube::condition(&object, "Ready"), "False");
    other_policies("acme", 2);
    isolation_of("acme", "True", 2 * MINUTE);
    change("acme", &json!({"egress": null}));
    isolation_of("acme", "True", 2 * MINUTE);
    wait_ready("acme", MINUTE);
}

#[test]
fn declared_egress_reaches_what_was_declared_and_nothing_else() {
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
