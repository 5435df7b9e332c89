//! A tenant that is deleted is gone, and nobody else notices.

use freehold_e2e::{kube, leaving};
use serde_json::json;

use crate::stage::{Guest, MINUTE, change, delete, lab, lane, namespace, owner, titles, wait_ready};

#[test]
fn a_deleted_tenant_is_gone_with_its_children_and_the_others_serve_on() {
    let guest = Guest::ready("leaver", 1);
    let gone = namespace(guest.0);
    drop(owner(guest.0));
    delete(guest.0, "Delete").unwrap();
    assert!(
        kube::get(lab(), &["namespace", &gone]).is_err(),
        "the namespace is gone before the tenant is"
    );
    let keys = kube::get(lab(), &["-n", "freehold-keys", "secrets"]).unwrap();
    let left = keys["items"]
        .as_array()
        .unwrap()
        .iter()
        .any(|s| s["metadata"]["name"].as_str().unwrap().contains("leaver"));
    assert!(!left, "its authority's key is gone");
    let volumes = kube::get(lab(), &["persistentvolumes"]).unwrap();
    let claimed = |v: &serde_json::Value| v["spec"]["claimRef"]["namespace"] == gone.as_str();
    kube::until("its volumes to be gone", MINUTE, || {
        let volumes = kube::get(lab(), &["persistentvolumes"])?;
        Ok((!volumes["items"].as_array().unwrap().iter().any(claimed)).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {volumes}"));
    wait_ready("acme", MINUTE);
    owner("acme").get("/api/boards").unwrap();
}

#[test]
fn what_a_deleted_tenant_leaves_behind_can_be_adopted_and_is_nobody_elses() {
    let guest = Guest::ready("revenant", 1);
    let namespace = namespace(guest.0);
    let first = kube::get(lab(), &["tenant", guest.0]).unwrap();
    let incarnation = first["status"]["incarnation"].as_str().unwrap().to_string();
    let user = owner(guest.0);
    let cards = lane(&user, "last words");
    user.post(&cards, &json!({"title": "remember me"})).unwrap();

    delete(guest.0, "Retain").unwrap();
    let kept = kube::get(lab(), &["namespace", &namespace]).unwrap();
    assert!(kept["metadata"]["annotations"]["freehold.dev/retained-at"].is_string());
    let pods = kube::get(lab(), &["-n", &namespace, "pods"]).unwrap();
    assert_eq!(pods["items"], json!([]), "nothing runs");
    let operations = kube::get(lab(), &["-n", "freehold-system", "tenantoperations"]).unwrap();
    let record = operations["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|o| o["spec"]["incarnation"] == incarnation.as_str());
    let record = record.expect("the deletion is on record");
    assert_eq!(record["status"]["phase"], "Succeeded");
    assert_eq!(record["status"]["evidence"].as_array().unwrap().len(), 6);

    // A new tenant of that name gets nothing of it by itself.
    guest.apply(1);
    let object = kube::wait_condition(lab(), &["tenant", guest.0], "Stalled", "True", MINUTE).unwrap();
    let blocker = &object["status"]["blockers"][0];
    assert_eq!(blocker["reason"], "NamespaceOfEarlierTenant");
    assert!(
        blocker["unblockedBy"].as_str().unwrap().contains(&incarnation),
        "{blocker}"
    );

    change(guest.0, &json!({"adopt": {"incarnation": incarnation}}));
    wait_ready(guest.0, 3 * MINUTE);
    assert!(titles(guest.0).contains("remember me"));
    owner(guest.0).get("/api/boards").unwrap();
}

/// Definitions that are deleted past admission take their objects with them; data has no owner among those.
#[test]
fn a_tenant_deleted_past_its_protection_is_held_and_serves_on() {
    let guest = Guest::ready("held", 1);
    // As whoever deletes the definition does: without the policy that asks for Deletable.
    let policy = ["validatingadmissionpolicybinding", "freehold-tenant-deletion"];
    let binding = kube::get(lab(), &policy).unwrap();
    kube::kubectl(lab(), &["delete", policy[0], policy[1]]).unwrap();
    let deleted = kube::until("the policy to be gone", MINUTE, || {
        Ok(kube::kubectl(lab(), &["delete", "tenant", guest.0, "--wait=false"]).ok())
    });
    let mut again = binding;
    again["metadata"] = json!({"name": policy[1], "labels": again["metadata"]["labels"],
        "annotations": again["metadata"]["annotations"]});
    kube::apply(lab(), &[again]).unwrap();
    deleted.unwrap();
    let object = kube::wait_condition(lab(), &["tenant", guest.0], "Stalled", "True", MINUTE).unwrap();
    assert_eq!(object["status"]["blockers"][0]["reason"], "DeletionHeld");
    assert_eq!(kube::condition(&object, "Serving"), "True");
    owner(guest.0).get("/api/boards").unwrap();
    leaving::release(lab(), guest.0, "Delete").unwrap();
    kube::until("the tenant to be let go", leaving::GONE, || {
        Ok(kube::get(lab(), &["tenant", guest.0]).is_err().then_some(()))
    })
    .unwrap();
}
