//! The operator itself: confined, replicated, quiet at rest, and clear about what it can't do.

use std::time::Duration;

use freehold_e2e::{install, kube};
use serde_json::json;

use crate::stage::{MINUTE, apply_samples, calm, lab, namespace, tenant_manifest, wait_ready};

#[test]
fn the_operator_runs_twice_without_privileges() {
    lab();
    let pods = kube::get(
        lab(),
        &[
            "-n",
            install::NAMESPACE,
            "pods",
            "-l",
            "app.kubernetes.io/name=freehold",
        ],
    )
    .unwrap();
    let pods = pods["items"].as_array().unwrap();
    assert_eq!(pods.len(), 2);
    for pod in pods {
        let container = &pod["spec"]["containers"][0]["securityContext"];
        assert_eq!(container["readOnlyRootFilesystem"], true);
        assert_eq!(container["allowPrivilegeEscalation"], false);
        assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);
    }
    // The API server itself judges the pods: a dry run of the label would warn about each that isn't restricted.
    let told = kube::kubectl(
        lab(),
        &[
            "label",
            "--dry-run=server",
            "--overwrite",
            "namespace",
            install::NAMESPACE,
            "pod-security.kubernetes.io/enforce=restricted",
        ],
    )
    .unwrap();
    assert!(!told.contains("violate"), "{told}");
    let operators: Vec<i32> = kube::processes("freehold", "run");
    assert_eq!(operators.len(), 2);
    for pid in operators {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(
            status.lines().any(|l| l == "CapEff:\t0000000000000000"),
            "{status}"
        );
        assert!(status.lines().any(|l| l.starts_with("Uid:\t10001")), "{status}");
    }
}

#[test]
fn at_rest_nothing_is_written() {
    calm();
    for tenant in ["acme", "globex"] {
        wait_ready(tenant, MINUTE);
    }
    let versions = || {
        let all = kube::get(
            lab(),
            &[
                "-A",
                "tenants,networkpolicies,deployments,services,gateways,backendtlspolicies,httproutes,certificates.cert-manager.io,namespaces,configmaps",
                "-l",
                "freehold.dev/tenant",
            ],
        )
        .unwrap();
        let mut found: Vec<String> = all["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|o| {
                format!(
                    "{} {} {}",
                    o["kind"], o["metadata"]["name"], o["metadata"]["resourceVersion"]
                )
            })
            .collect();
        let tenants = kube::get(lab(), &["tenants"]).unwrap();
        found.extend(
            tenants["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|o| format!("{} {}", o["metadata"]["name"], o["metadata"]["resourceVersion"])),
        );
        found
    };
    let before = versions();
    // A whole resync of the kubelet and of the gateway passes meanwhile.
    let changed = kube::until("a change at rest", Duration::from_secs(20), || {
        Ok((versions() != before).then(versions))
    });
    assert!(
        changed.is_err(),
        "something was written at rest: {before:?} -> {:?}",
        changed.unwrap()
    );
}

/// As a pipeline or a GitOps tool does it all day.
#[test]
fn the_same_manifests_applied_again_change_nothing() {
    calm();
    // Other stories may have changed what the manifests say.
    apply_samples();
    for tenant in ["acme", "globex"] {
        wait_ready(tenant, MINUTE);
    }
    let stands = || {
        let kinds = "tenants,tenantclasses,releases,tenantoperations";
        let all = kube::get(lab(), &["-A", kinds]).unwrap();
        let told = |object: &serde_json::Value| {
            let metadata = &object["metadata"];
            let version = [&metadata["generation"], &metadata["resourceVersion"]].map(ToString::to_string);
            format!("{} {} {}", object["kind"], metadata["name"], version.join(" "))
        };
        let mut told: Vec<String> = all["items"].as_array().unwrap().iter().map(told).collect();
        told.sort();
        told
    };
    let quiet = |before: &Vec<String>| {
        let changed = kube::until("a change", Duration::from_secs(10), || {
            Ok((stands() != *before).then(stands))
        });
        assert!(changed.is_err(), "{before:?} -> {:?}", changed.unwrap());
    };
    let before = stands();
    quiet(&before);
    apply_samples();
    quiet(&before);
}

#[test]
fn nonsense_is_refused_with_what_to_do() {
    lab();
    let cases = [
        ("/spec/owner/email", json!("nobody"), "email"),
        ("/spec/seats", json!(-1), "seats"),
        ("/spec/hostnames", json!(["UPPER.example"]), "hostnames"),
        ("/spec/hostnames", json!([]), "hostnames"),
        ("/spec/edition", json!("Platinum"), "edition"),
        (
            "/metadata/name",
            json!("a-name-that-is-far-longer-than-forty-characters"),
            "40",
        ),
    ];
    for (path, value, expected) in cases {
        let mut tenant = tenant_manifest("nonsense", 1);
        *tenant.pointer_mut(path).unwrap() = value;
        let error = kube::apply(lab(), &[tenant])
            .map(|()| "it was accepted".to_string())
            .unwrap_or_else(|e| format!("{e:#}"));
        assert!(error.contains(expected), "{path}: {error}");
    }
}

#[test]
fn a_database_whose_labels_were_taken_off_is_still_the_tenants() {
    wait_ready("globex", MINUTE);
    let namespace = namespace("globex");
    let name = ["-n", namespace.as_str(), "clusters.postgresql.cnpg.io", "db"];
    let before = kube::get(lab(), &name).unwrap();
    let take_off = ["label", "freehold.dev/tenant-", "app.kubernetes.io/managed-by-"];
    kube::kubectl(lab(), &[&take_off[..1], &name, &take_off[1..]].concat()).unwrap();
    let after = kube::until("the labels to be back", MINUTE, || {
        let object = kube::get(lab(), &name)?;
        Ok((object["metadata"]["labels"]["freehold.dev/tenant"] == "globex").then_some(object))
    })
    .unwrap();
    assert_eq!(
        before["metadata"]["uid"], after["metadata"]["uid"],
        "it is the same database"
    );
    let tenant = wait_ready("globex", MINUTE);
    assert!(
        !tenant["status"].to_string().contains("delete it"),
        "nobody is told to delete it: {}",
        tenant["status"]
    );
}
