//! A tenant's database and its volumes.

use serde_json::{Value, json};

use super::api::{Api, operator};
use super::marked::Marked;
use crate::stage::{lab, namespace};

#[test]
fn a_database_is_not_deleted_in_passing() {
    let administrator = Api::administrator(lab());
    let operator = Api::named(lab(), &operator());
    let policy = "freehold-clusters";
    let there = Marked::make(&operator, "story-databases");
    let clusters = |namespace: &str| format!("/apis/postgresql.cnpg.io/v1/namespaces/{namespace}/clusters");
    let acme = clusters(&namespace("acme"));
    for options in ["", "&propagationPolicy=Orphan"] {
        administrator
            .try_delete(&format!("{acme}/db"), options)
            .refused_by(policy, "delete the Tenant");
        administrator
            .try_delete(&acme, options)
            .refused_by(policy, "delete the Tenant");
    }
    operator.try_delete(&format!("{acme}/db"), "").taken();
    Api::named(lab(), "system:serviceaccount:kube-system:namespace-controller")
        .try_delete(&format!("{acme}/db"), "")
        .taken();
    // A claim of CloudNativePG's has the Cluster as its owner; nothing else ever has one.
    let claim = |owner: Value| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "story", "ownerReferences": owner},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
    };
    let owner = |version: &str, kind: &str| json!([{"apiVersion": version, "kind": kind, "name": "x", "uid": "7c9e6679-7425-40de-944b-e07fc1f90ae7"}]);
    let claims = |namespace: &str| format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims");
    let database = Api::named(lab(), "system:serviceaccount:cnpg-system:cnpg-manager");
    database
        .try_create(
            &claims(there.name),
            &claim(owner("postgresql.cnpg.io/v1", "Cluster")),
        )
        .taken();
    for user in [&administrator, &operator, &database] {
        for wrong in [
            owner("freehold.dev/v1alpha1", "Tenant"),
            owner("v1", "Namespace"),
            owner("apps/v1", "Deployment"),
        ] {
            user.try_create(&claims(there.name), &claim(wrong.clone()))
                .refused_by(policy, "leave out the ownerReferences");
            let patch = json!({"metadata": {"ownerReferences": wrong}});
            user.try_patch(&format!("{acme}/db"), &patch)
                .refused_by(policy, "leave out the ownerReferences");
        }
    }
    // Nor by the way of the status, whose writes may change what isn't status.
    operator.create(&claims(there.name), &claim(json!([]))).taken();
    let patch = json!({"metadata": {"ownerReferences": owner("v1", "Namespace")}});
    administrator
        .try_patch(&format!("{}/story/status", claims(there.name)), &patch)
        .refused_by(policy, "leave out the ownerReferences");
    administrator
        .try_create(&claims("default"), &claim(owner("apps/v1", "Deployment")))
        .taken();
}
