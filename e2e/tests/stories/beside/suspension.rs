//! A suspended tenant runs nothing, keeps everything, and wakes.

use freehold_e2e::kube;
use serde_json::json;

use crate::stage::{Guest, MINUTE, change, lab, lane, namespace, owner, titles, wait_ready};

#[test]
fn a_suspended_tenant_runs_no_pod_keeps_its_data_and_wakes() {
    let guest = Guest::ready("sleeper", 1);
    let namespace = namespace(guest.0);
    let user = owner(guest.0);
    let cards = lane(&user, "before the night");
    user.post(&cards, &json!({"title": "still here"})).unwrap();

    change(guest.0, &json!({"desiredState": "Suspended"}));
    let tenant = wait_ready(guest.0, 2 * MINUTE);
    assert_eq!(kube::condition(&tenant, "Serving"), "False");
    kube::until("every pod to be gone", MINUTE, || {
        // The job that migrated the schema ran long ago, and stays to be read.
        let running = "--field-selector=status.phase!=Succeeded";
        let pods = kube::get(lab(), &["-n", &namespace, "pods", running])?;
        Ok((pods["items"].as_array().is_some_and(Vec::is_empty)).then_some(()))
    })
    .unwrap();
    let volumes = kube::get(lab(), &["-n", &namespace, "persistentvolumeclaims"]).unwrap();
    assert_eq!(
        volumes["items"].as_array().unwrap().len(),
        1,
        "the volume is kept"
    );

    change(guest.0, &json!({"desiredState": "Active"}));
    let tenant = wait_ready(guest.0, 3 * MINUTE);
    assert_eq!(kube::condition(&tenant, "Serving"), "True");
    assert!(titles(guest.0).contains("still here"));
    owner(guest.0).get("/api/boards").unwrap();
}
