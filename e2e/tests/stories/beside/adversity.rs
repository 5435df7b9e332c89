//! What goes wrong around one tenant is told, is got over, and holds up nobody else.

use std::time::Duration;

use freehold_e2e::{kube, leaving};
use serde_json::{Value, json};

use crate::hostile::repair;
use crate::stage::{Guest, MINUTE, change, lab, namespace, owner, tenant_manifest, wait_ready};

#[test]
fn a_tenant_whose_class_or_release_is_missing_says_so_and_recovers() {
    lab();
    let mut tenant = tenant_manifest("orphan", 1);
    tenant["spec"]["release"]["name"] = json!("board-9.9.9");
    kube::apply(lab(), &[tenant]).unwrap();
    let guest = Guest("orphan");
    let object = kube::wait_condition(lab(), &["tenant", guest.0], "Stalled", "True", MINUTE).unwrap();
    let told = object["status"].to_string();
    assert!(
        told.contains("board-9.9.9"),
        "the message names what is missing: {told}"
    );
    kube::apply(lab(), &[tenant_manifest("orphan", 1)]).unwrap();
    wait_ready(guest.0, 3 * MINUTE);
}

#[test]
fn a_namespace_that_was_there_before_is_not_taken_over() {
    lab();
    kube::apply(
        lab(),
        &[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tenant-squatted"}})],
    )
    .unwrap();
    let guest = Guest::applied("squatted", 1);
    kube::wait_condition(lab(), &["tenant", guest.0], "Stalled", "True", MINUTE).unwrap();
    let inside = kube::get(
        lab(),
        &[
            "-n",
            "tenant-squatted",
            "deployments,networkpolicies,rolebindings,secrets",
        ],
    )
    .unwrap();
    assert_eq!(inside["items"], json!([]), "nothing was written into it");
    guest.gone();
    assert!(
        kube::get(lab(), &["namespace", "tenant-squatted"]).is_ok(),
        "a namespace that isn't ours is not deleted"
    );
    kube::kubectl(lab(), &["delete", "namespace", "tenant-squatted"]).unwrap();
}

#[test]
fn a_namespace_that_was_deleted_by_hand_is_made_again_with_everything_in_it() {
    let guest = Guest::ready("phoenix", 1);
    let namespace = namespace(guest.0);
    let before = kube::get(lab(), &["namespace", &namespace]).unwrap();
    // Admission refuses it to people; something that may do what the operator may could still do it.
    let by_mistake = "--as=system:serviceaccount:freehold-system:freehold";
    kube::kubectl(
        lab(),
        &["delete", "namespace", &namespace, "--timeout=180s", by_mistake],
    )
    .unwrap();
    kube::until("another namespace", MINUTE, || {
        let now = kube::get(lab(), &["namespace", &namespace])?;
        Ok((now["metadata"]["uid"] != before["metadata"]["uid"]).then_some(()))
    })
    .unwrap();
    kube::until("its Secrets to be minted anew", MINUTE, || {
        Ok(kube::get(lab(), &["-n", &namespace, "secret", "owner", "edge-tls"]).ok())
    })
    .unwrap();
    wait_ready(guest.0, 4 * MINUTE);
    drop(owner(guest.0));
}

#[test]
fn a_child_that_can_not_be_deleted_is_named_and_holds_up_nobody_else() {
    let guest = Guest::ready("sticky", 1);
    let namespace = namespace(guest.0);
    let hold = |finalizers: Value| {
        let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
        kube::kubectl(
            lab(),
            &[
                "-n",
                &namespace,
                "patch",
                "deployment",
                "web",
                "--type=merge",
                "-p",
                &patch,
            ],
        )
    };
    hold(json!(["example.com/stuck"])).unwrap();
    leaving::release(lab(), guest.0, "Delete").unwrap();
    kube::kubectl(lab(), &["delete", "tenant", guest.0, "--wait=false"]).unwrap();
    let told = kube::until("the stuck child to be named", MINUTE, || {
        let object = kube::get(lab(), &["tenant", guest.0])?;
        let message = object["status"]["blockers"][0]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        // Routes have that name too, and end before.
        Ok(message.contains("Deployment").then_some(message))
    });
    // Others are looked after meanwhile.
    let others = repair(&crate::stage::namespace("acme"));
    assert!(others < Duration::from_secs(5), "{others:?}");
    let operation = kube::get(lab(), &["tenant", guest.0]).unwrap()["status"]["operation"].clone();
    hold(Value::Null).unwrap();
    println!("{}", told.unwrap());
    assert_eq!(operation["step"], "Workloads");
    kube::until("the tenant to be gone", 3 * MINUTE, || {
        Ok(kube::get(lab(), &["tenant", guest.0]).is_err().then_some(()))
    })
    .unwrap();
}

#[test]
fn a_tenant_without_quota_left_still_gets_its_certificate() {
    let guest = Guest::ready("crowded", 1);
    let namespace = namespace(guest.0);
    // A hostname that is added gets a certificate of its own.
    let is_there = || -> anyhow::Result<bool> {
        let object = kube::get(lab(), &["tenant", guest.0])?;
        let mut all = object["status"]["certificates"].as_array().into_iter().flatten();
        Ok(all.any(|one| one["name"] == "edge-tls-1"))
    };
    assert!(!is_there().unwrap());
    // Pods that wait for ever fill what is left of the quota.
    let hog = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "hog", "namespace": namespace},
        "spec": {"replicas": 60, "selector": {"matchLabels": {"app": "hog"}}, "template": {
            "metadata": {"labels": {"app": "hog"}}, "spec": {"automountServiceAccountToken": false,
                "nodeSelector": {"no": "node"},
                "securityContext": {"runAsNonRoot": true, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "hog", "image": "none", "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}},
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}}}});
    kube::apply(lab(), &[hog]).unwrap();
    kube::until("the quota to be full", MINUTE, || {
        let quota = kube::get(lab(), &["-n", &namespace, "resourcequota", "tenant"])?;
        Ok((quota["status"]["used"]["count/pods"] == quota["status"]["hard"]["count/pods"]).then_some(()))
    })
    .unwrap();
    change(
        guest.0,
        &json!({"hostnames": ["crowded.localhost", "more.crowded.localhost"]}),
    );
    kube::until("another certificate", MINUTE, || Ok(is_there()?.then_some(()))).unwrap();
    kube::kubectl(lab(), &["-n", &namespace, "delete", "deployment", "hog"]).unwrap();
    wait_ready(guest.0, 2 * MINUTE);
}
