//! Tenants and what is recorded of them are kept: from a slip of the hand, and from who may do everything by RBAC.

use freehold_e2e::kube;
use serde_json::{Value, json};

use super::api::{Api, operator};
use super::{records, table, tenants};
use crate::stage::{MINUTE, lab};

const TENANTS: &str = "/apis/freehold.dev/v1alpha1/tenants";

#[test]
fn a_tenant_cannot_be_deleted_until_it_says_deletable() {
    let api = Api::administrator(lab());
    let policy = "freehold-tenant-deletion";
    let hint = "set its spec.deletionProtection to false";
    let acme = format!("{TENANTS}/acme");
    for options in [
        "",
        "&propagationPolicy=Orphan",
        "&propagationPolicy=Foreground",
        "&gracePeriodSeconds=0",
    ] {
        api.try_delete(&acme, options).refused_by(policy, hint);
        // What `--all` of other clients than kubectl sends.
        api.try_delete(TENANTS, options).refused_by(policy, hint);
    }
    // For real, as people do it: it must be the policy that keeps the tenant, not the dry run.
    for args in [
        &["acme"][..],
        &["--all"],
        &["acme", "--cascade=orphan"],
        &["acme", "--force", "--grace-period=0"],
    ] {
        let call = [&["delete", "tenants", "--wait=false"], args].concat();
        let told = kube::kubectl(lab(), &call).unwrap_err().to_string();
        assert!(told.contains(hint), "{told}");
    }
    assert!(api.get(&acme)["metadata"]["deletionTimestamp"].is_null());
    // Nor by the operator, and nor in one go with the protection's end: the condition comes a while later.
    Api::named(lab(), &operator())
        .try_delete(&acme, "")
        .refused_by(policy, hint);
}

#[test]
fn a_tenants_finalizer_is_the_operators() {
    let administrator = Api::administrator(lab());
    let operator = Api::named(lab(), &operator());
    let policy = "freehold-tenant-metadata";
    let acme = format!("{TENANTS}/acme");
    let hint = "set and taken off by the operator alone";
    let finalizers = |value: Value| json!({"metadata": {"finalizers": value}});
    kube::until("the finalizer", MINUTE, || {
        let there = &administrator.get(&acme)["metadata"]["finalizers"];
        Ok(there.to_string().contains("freehold.dev/teardown").then_some(()))
    })
    .unwrap();
    administrator
        .try_patch(&acme, &finalizers(Value::Null))
        .refused_by(policy, hint);
    administrator
        .try_patch(&acme, &finalizers(json!(["example.com/other"])))
        .refused_by(policy, hint);
    administrator
        .try_patch(
            &acme,
            &finalizers(json!(["freehold.dev/teardown", "example.com/other"])),
        )
        .taken();
    operator.try_patch(&acme, &finalizers(Value::Null)).taken();
    let planted = table::changed(
        &tenants::base(),
        &[("/metadata/finalizers", json!(["freehold.dev/teardown"]))],
    );
    administrator
        .try_create(TENANTS, &planted)
        .refused_by(policy, hint);
    operator.try_create(TENANTS, &planted).taken();
    // Who sets an owner lets the garbage collector delete.
    let owner = json!([{"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "7c9e6679-7425-40de-944b-e07fc1f90ae7"}]);
    let owned = table::changed(&tenants::base(), &[("/metadata/ownerReferences", owner.clone())]);
    for user in [&administrator, &operator] {
        user.try_create(TENANTS, &owned)
            .refused_by(policy, "has no ownerReferences");
        user.try_patch(&acme, &json!({"metadata": {"ownerReferences": owner}}))
            .refused_by(policy, "has no ownerReferences");
    }
}

#[test]
fn a_forged_status_is_refused() {
    let administrator = Api::administrator(lab());
    let operator = Api::named(lab(), &operator());
    let acme = format!("{TENANTS}/acme");
    let forged = json!({"status": {"conditions": [{"type": "Deletable", "status": "True", "reason": "Forged", "message": "",
        "lastTransitionTime": "2026-01-04T03:00:00Z"}]}});
    let status = format!("{acme}/status");
    administrator
        .try_patch(&status, &forged)
        .refused_by("freehold-status", "written by the operator alone");
    Api::named(lab(), "system:serviceaccount:default:default")
        .try_patch(&status, &forged)
        .refused_by("freehold-status", "written by the operator alone");
    operator.try_patch(&status, &forged).taken();
    // Beside the spec it is passed over, as for every kind with that subresource.
    let kept = administrator.try_patch(&acme, &forged).taken();
    assert!(!kept["status"].to_string().contains("Forged"), "{kept}");
    // What the operator writes down of its acts is its own too.
    for (plural, object) in [
        ("tenantoperations", records::operation()),
        ("hostnameclaims", records::claim()),
    ] {
        let path = records::path(plural);
        let object = table::changed(&object, &[("/metadata/name", json!("story-forged"))]);
        administrator
            .try_create(&path, &object)
            .refused_by("freehold-", "by the operator alone");
        operator.try_create(&path, &object).taken();
    }
}

/// What is held by a claim goes by the tenant; what was given up may be set free by hand.
#[test]
fn claims_are_kept_as_long_as_they_are_held() {
    let administrator = Api::administrator(lab());
    let operator = Api::named(lab(), &operator());
    let given_up = [
        ("/spec/state", json!("GivenUp")),
        ("/spec/givenUpAt", json!("2026-01-04T03:00:00Z")),
    ];
    let free = table::changed(&records::claim(), &given_up);
    let held = records::claim();
    // Not where the operator looks, which would act on them. Admission is the same everywhere.
    let path = in_default("hostnameclaims");
    let one = format!("{path}/story-admission");
    for (object, may_go) in [(held, false), (free, true)] {
        operator.send("DELETE", &one, b"");
        operator.create(&path, &elsewhere(&object)).taken();
        administrator
            .try_patch(&one, &json!({"metadata": {"labels": {"mine": "x"}}}))
            .refused_by("freehold-", "by the operator alone");
        let answer = administrator.try_delete(&one, "");
        match may_go {
            true => drop(answer.taken()),
            false => answer.refused_by("freehold-hostname-claims", "take it out of spec.hostnames"),
        }
        operator.send("DELETE", &one, b"").taken();
    }
}

fn in_default(plural: &str) -> String {
    format!("/apis/freehold.dev/v1alpha1/namespaces/default/{plural}")
}

fn elsewhere(object: &Value) -> Value {
    table::changed(object, &[("/metadata/namespace", json!("default"))])
}

/// An upgrade or a rotation that has ended the operator may delete. What runs is a tenant's lock, and how a tenant ended is kept for good:
/// what is made here of that stays in the lab.
#[test]
fn operations_are_kept_by_the_operator_and_it_deletes_only_those_that_have_ended_and_are_repeated() {
    let administrator = Api::administrator(lab());
    let operator = Api::named(lab(), &operator());
    let policy = "freehold-operations";
    let path = in_default("tenantoperations");
    let rotation = table::changed(
        &elsewhere(&records::operation()),
        &[
            ("/spec/type", json!("TenantKeyRotation")),
            ("/spec/deletion", table::absent()),
            ("/spec/rotation", json!({"fromVersion": 1, "reason": "Requested"})),
        ],
    );
    let kept = table::changed(
        &elsewhere(&records::operation()),
        &[("/metadata/name", json!("story-kept"))],
    );
    for object in [rotation, kept] {
        let one = format!("{path}/{}", object["metadata"]["name"].as_str().unwrap());
        let is_kept = object["spec"]["type"] == "Deletion";
        if !api_knows(&administrator, &one) {
            administrator
                .try_create(&path, &object)
                .refused_by(policy, "by the operator alone");
            operator.create(&path, &object).taken();
        }
        administrator
            .try_patch(&one, &json!({"metadata": {"labels": {"mine": "x"}}}))
            .refused_by(policy, "by the operator alone");
        let status = format!("{one}/status");
        let phase = |phase: &str| json!({"status": {"phase": phase}});
        administrator
            .try_patch(&status, &phase("Succeeded"))
            .refused_by("freehold-status", "by the operator alone");
        for (now, is_over) in [
            ("Running", false),
            ("Cancelled", true),
            ("Failed", true),
            ("Succeeded", true),
        ] {
            operator
                .send("PATCH", &status, phase(now).to_string().as_bytes())
                .taken();
            administrator
                .try_delete(&one, "")
                .refused_by(policy, "history of a tenant");
            let answer = operator.try_delete(&one, "");
            match is_over && !is_kept {
                true => drop(answer.taken()),
                false => answer.refused_by(policy, "only when it has ended"),
            }
        }
        if !is_kept {
            operator.send("DELETE", &one, b"").taken();
        }
    }
}

/// Nobody deletes the evidence, the operator neither: what is made here stays in the lab, as everywhere.
#[test]
fn records_of_destroyed_keys_are_made_by_the_operator_and_kept_from_everybody() {
    let administrator = Api::administrator(lab());
    let operator = Api::named(lab(), &operator());
    let policy = "freehold-destruction-records";
    // Not the table's name: what exists is refused there.
    let mut record = records::destruction();
    record["metadata"]["name"] = json!("story-kept");
    let one = format!("{}/story-kept", records::DESTRUCTIONS);
    administrator
        .try_create(records::DESTRUCTIONS, &record)
        .refused_by(policy, "made by the operator alone");
    if api_knows(&administrator, &one) {
        println!("the record of an earlier run is there still");
    } else {
        operator.create(records::DESTRUCTIONS, &record).taken();
    }
    administrator
        .try_patch(&one, &json!({"metadata": {"labels": {"mine": "x"}}}))
        .refused_by(policy, "made by the operator alone");
    let told = json!({"status": {"phase": "Destroyed"}});
    administrator
        .try_patch(&format!("{one}/status"), &told)
        .refused_by("freehold-status", "by the operator alone");
    operator.try_patch(&format!("{one}/status"), &told).taken();
    for user in [&administrator, &operator] {
        user.try_delete(&one, "").refused_by(policy, "kept for good");
    }
    administrator
        .try_delete(records::DESTRUCTIONS, "")
        .refused_by(policy, "kept for good");
}

fn api_knows(api: &Api, path: &str) -> bool {
    api.send("GET", path, b"").is_taken()
}

#[test]
fn the_definitions_are_not_deleted_in_passing() {
    let api = Api::administrator(lab());
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let hint = "freehold.dev/allow-deletion=true";
    for plural in [
        "tenants",
        "tenantclasses",
        "releases",
        "releasechannels",
        "releaseapprovals",
        "tenantoperations",
        "hostnameclaims",
        "destructionrecords",
    ] {
        let one = format!("{path}/{plural}.freehold.dev");
        for user in [&api, &Api::named(lab(), &operator())] {
            user.try_delete(&one, "").refused_by("freehold-definitions", hint);
        }
    }
    // Some of all of them are ours.
    api.try_delete(path, "").refused_by("freehold-definitions", hint);
    // Really annotated: a dry run keeps nothing to look at.
    let one = format!("{path}/releases.freehold.dev");
    let mark = |value: Value| {
        json!({"metadata": {"annotations": {"freehold.dev/allow-deletion": value}}}).to_string()
    };
    api.send("PATCH", &one, mark(json!("yes")).as_bytes()).taken();
    api.try_delete(&one, "").refused_by("freehold-definitions", hint);
    api.send("PATCH", &one, mark(json!("true")).as_bytes()).taken();
    let answer = api.try_delete(&one, "");
    api.send("PATCH", &one, mark(Value::Null).as_bytes()).taken();
    answer.taken();
    // Another's are its own affair.
    assert!(
        api.try_delete(&format!("{path}/backups.postgresql.cnpg.io"), "")
            .is_taken()
    );
}
