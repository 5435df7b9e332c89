//! A tenant that is deleted is gone, and nobody else notices.

use freehold_e2e::kube;

use crate::stage::{Guest, MINUTE, delete, lab, namespace, owner, wait_ready};

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
