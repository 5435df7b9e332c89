//! The marks by which a tenant's namespace is known, and how far its pods may go.

use freehold_e2e::install;
use serde_json::{Value, json};

use super::api::{Api, operator};
use super::marked::{INCARNATION, Marked, NAMESPACES, marked};
use super::table;
use crate::stage::{lab, namespace};

#[test]
fn a_tenant_namespaces_marks_are_the_operators() {
    let administrator = Api::administrator(lab());
    let operator = Api::named(lab(), &operator());
    let policy = "freehold-namespaces";
    let label = |key: &str, value: Value| json!({"metadata": {"labels": {key: value}}});
    let annotation = |key: &str, value: Value| json!({"metadata": {"annotations": {key: value}}});
    administrator
        .try_create(NAMESPACES, &marked("tenant-story"))
        .refused_by(policy, "leave out label freehold.dev/tenant=story");
    // A name alone is nobody's mark.
    let plain = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tenant-story"}});
    administrator.try_create(NAMESPACES, &plain).taken();

    let there = Marked::make(&operator, "tenant-story-admission");
    let theirs = "the marks of a tenant's namespace are the operator's";
    for patch in [
        label("freehold.dev/tenant", json!("other")),
        label("freehold.dev/tenant", Value::Null),
        label("freehold.dev/more", json!("x")),
        label("app.kubernetes.io/managed-by", Value::Null),
        label("pod-security.kubernetes.io/warn", json!("restricted")),
        annotation("freehold.dev/retained-at", json!("2026-01-04T03:00:00Z")),
        annotation("freehold.dev/tenant-uid", json!("x")),
        annotation(INCARNATION, Value::Null),
    ] {
        administrator
            .try_patch(&there.path(), &patch)
            .refused_by(policy, theirs);
    }
    administrator
        .try_patch(&there.path(), &label("team", json!("platform")))
        .taken();
    operator
        .try_patch(&there.path(), &label("freehold.dev/more", json!("x")))
        .taken();
    operator
        .try_patch(&there.path(), &annotation("freehold.dev/tenant-uid", json!("x")))
        .taken();
    for value in [Value::Null, json!("7c9e6679-7425-40de-944b-e07fc1f90ae7")] {
        operator
            .try_patch(&there.path(), &annotation(INCARNATION, value))
            .refused_by(policy, "never changes");
    }
    // One that is there already is nobody's to mark, the operator's least of all.
    for user in [&administrator, &operator] {
        for patch in [
            annotation(INCARNATION, json!("x")),
            label("freehold.dev/tenant", json!("story")),
        ] {
            user.try_patch(&format!("{NAMESPACES}/default"), &patch)
                .refused_by(
                    policy,
                    "a namespace that is there already is never made a tenant's",
                );
        }
        let owner = json!([{"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "7c9e6679-7425-40de-944b-e07fc1f90ae7"}]);
        user.try_patch(&there.path(), &json!({"metadata": {"ownerReferences": owner}}))
            .refused_by(policy, "has no ownerReferences");
    }

    administrator
        .try_delete(&there.path(), "")
        .refused_by(policy, "delete the Tenant instead (kubectl delete tenant story)");
    operator.try_delete(&there.path(), "").taken();
    let kept = annotation("freehold.dev/retained-at", json!("2026-01-04T03:00:00Z")).to_string();
    operator.send("PATCH", &there.path(), kept.as_bytes()).taken();
    administrator.try_delete(&there.path(), "").taken();
    // And so are the real ones.
    let acme = format!("{NAMESPACES}/{}", namespace("acme"));
    administrator
        .try_patch(&acme, &label("freehold.dev/tenant", json!("globex")))
        .refused_by(policy, theirs);
    administrator
        .try_delete(&acme, "")
        .refused_by(policy, "delete the Tenant instead");
}

#[test]
fn pod_security_is_not_lowered() {
    let administrator = Api::administrator(lab());
    let operator = Api::named(lab(), &operator());
    let policy = "freehold-namespaces";
    let there = Marked::make(&operator, "tenant-story-security");
    let acme = format!("{NAMESPACES}/{}", namespace("acme"));
    for value in [json!("privileged"), json!("baseline"), Value::Null] {
        let patch = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": value}}});
        administrator
            .try_patch(&there.path(), &patch)
            .refused_by(policy, "are the operator's");
        administrator
            .try_patch(&acme, &patch)
            .refused_by(policy, "are the operator's");
        for path in [&there.path(), &acme] {
            operator
                .try_patch(path, &patch)
                .refused_by(policy, "restricted, whoever writes it");
        }
    }
    // By the way of the status, whose writes may change labels.
    let lower = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}});
    administrator
        .try_patch(&format!("{acme}/status"), &lower)
        .refused_by(policy, "are the operator's");
    let mut ending = administrator.get(&acme);
    ending["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = json!("privileged");
    administrator
        .try_replace(&format!("{acme}/finalize"), &ending)
        .refused_by(policy, "are the operator's");
    let warns = json!({"metadata": {"labels": {"pod-security.kubernetes.io/warn": "privileged"}}});
    operator
        .try_patch(&there.path(), &warns)
        .refused_by(policy, "restricted, whoever writes it");
    let version = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce-version": "v1.36"}}});
    operator.try_patch(&there.path(), &version).taken();
    administrator
        .try_patch(&there.path(), &version)
        .refused_by(policy, "are the operator's");
    let bare = table::changed(
        &marked("tenant-story-bare"),
        &[("/metadata/labels", table::absent())],
    );
    operator
        .try_create(NAMESPACES, &bare)
        .refused_by(policy, "restricted, whoever writes it");
}

/// RBAC gives the operator all namespaces: what a leaked token could do with it.
#[test]
fn the_operator_makes_changes_and_deletes_only_tenants_namespaces() {
    let administrator = Api::administrator(lab());
    let operator = Api::named(lab(), &operator());
    let policy = "freehold-namespaces";
    let made = "the operator makes tenants' namespaces only";
    let changes = "the operator changes and deletes tenants' namespaces only";
    let plain = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    for wrong in [
        plain("story-admission"),
        plain("tenant-story-another"),
        marked("story-admission"),
        marked("kube-story"),
        marked("my-tenant-story"),
    ] {
        operator.try_create(NAMESPACES, &wrong).refused_by(policy, made);
    }
    operator
        .try_create(NAMESPACES, &marked("tenant-story-another"))
        .taken();
    for name in [
        "default",
        "kube-system",
        "cnpg-system",
        "freehold-keys",
        "freehold-probes",
        install::NAMESPACE,
    ] {
        let one = format!("{NAMESPACES}/{name}");
        for patch in [
            json!({"metadata": {"labels": {"team": "platform"}}}),
            json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}),
        ] {
            operator.try_patch(&one, &patch).refused_by(policy, changes);
            operator
                .try_patch(&format!("{one}/status"), &patch)
                .refused_by(policy, changes);
        }
        // Some of them the API server itself keeps.
        if !["default", "kube-system"].contains(&name) {
            operator.try_delete(&one, "").refused_by(policy, changes);
            administrator.try_delete(&one, "").taken();
        }
    }
    // The labels of its own it puts back, all of them.
    let there = Marked::make(&operator, "tenant-story-stripped");
    let stripped =
        json!({"metadata": {"labels": {"freehold.dev/tenant": null, "app.kubernetes.io/managed-by": null}}});
    operator
        .send("PATCH", &there.path(), stripped.to_string().as_bytes())
        .taken();
    let back = json!({"metadata": {"labels": marked(there.name)["metadata"]["labels"]}});
    operator.try_patch(&there.path(), &back).taken();
    operator.try_delete(&there.path(), "").taken();
}
