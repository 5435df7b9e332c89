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
    let there = Marked::make(&operator, "tenant-story-databases");
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

/// Those of a tenant that is suspended, or that was kept, have no pod that holds them.
#[test]
fn a_volume_is_not_deleted_in_passing() {
    let administrator = Api::administrator(lab());
    let operator = Api::named(lab(), &operator());
    let policy = "freehold-clusters";
    let there = Marked::make(&operator, "tenant-story-volumes");
    let claims = |namespace: &str| format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims");
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "story"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    administrator.create(&claims(there.name), &volume).taken();
    let one = format!("{}/story", claims(there.name));
    let hint = "delete the Tenant instead";
    let refused = |user: &Api, namespace: &str, one: &str| {
        for options in [
            "",
            "&propagationPolicy=Orphan",
            "&propagationPolicy=Foreground",
            "&gracePeriodSeconds=0",
        ] {
            user.try_delete(one, options).refused_by(policy, hint);
            // The whole collection, as `--all` of some clients.
            user.try_delete(&claims(namespace), options)
                .refused_by(policy, hint);
        }
    };
    let database = Api::named(lab(), "system:serviceaccount:cnpg-system:cnpg-manager");
    let garbage = Api::named(
        lab(),
        "system:serviceaccount:kube-system:generic-garbage-collector",
    );
    refused(&administrator, there.name, &one);
    for user in [
        "system:serviceaccount:default:default",
        "system:serviceaccount:cnpg-system-two:cnpg-manager",
        "system:serviceaccount:kube-system-two:namespace-controller",
        &format!("system:serviceaccount:{}:db", there.name),
    ] {
        refused(&Api::named(lab(), user), there.name, &one);
    }
    for user in [&database, &operator, &garbage] {
        user.try_delete(&one, "").taken();
        user.try_delete(&claims(there.name), "").taken();
    }
    // An owner that isn't there is the same by the garbage collector's hand.
    let owner = |name: &str| {
        json!({"metadata": {"ownerReferences": [{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": name,
            "uid": "7c9e6679-7425-40de-944b-e07fc1f90ae7"}]}})
    };
    let hidden = "leave the ownerReferences of a claim to CloudNativePG";
    for path in [one.clone(), format!("{one}/status")] {
        administrator
            .try_patch(&path, &owner("gone"))
            .refused_by(policy, hidden);
    }
    database.try_patch(&one, &owner("db")).taken();
    // A real one has its owner, and what is written beside that is everybody's.
    let acme = namespace("acme");
    // Its number changes when the database moves to other volumes.
    let kept = administrator.get(&claims(&acme));
    let name = kept["items"][0]["metadata"]["name"].as_str().unwrap();
    let real = format!("{}/{name}", claims(&acme));
    refused(&administrator, &acme, &real);
    let mut renamed = administrator.get(&real)["metadata"]["ownerReferences"].clone();
    let label = json!({"metadata": {"labels": {"team": "platform"}}});
    administrator.try_patch(&real, &label).taken();
    administrator
        .try_patch(&real, &json!({"metadata": {"ownerReferences": renamed}}))
        .taken();
    renamed[0]["name"] = json!("gone");
    administrator
        .try_patch(&real, &json!({"metadata": {"ownerReferences": renamed}}))
        .refused_by(policy, hidden);

    // What was kept goes as a whole.
    let kept = json!({"metadata": {"annotations": {"freehold.dev/retained-at": "2026-01-04T03:00:00Z"}}});
    operator
        .send("PATCH", &there.path(), kept.to_string().as_bytes())
        .taken();
    refused(&administrator, there.name, &one);
    administrator.try_delete(&there.path(), "").taken();
    // Another's are its own affair.
    administrator.try_delete(&claims("default"), "").taken();
}
