//! A tenant is alone: again within seconds after somebody removed its policies, and verified by packets. What its pods reach
//! is in [`crate::beside`].

use std::time::{Duration, Instant};

use freehold_e2e::kube;
use freehold_e2e::lab::enforcement::enforcement;
use serde_json::json;

use crate::stage::{MINUTE, calm, change, lab, namespace, wait_ready};

#[test]
fn policies_that_were_deleted_are_back_within_five_seconds() {
    calm();
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
