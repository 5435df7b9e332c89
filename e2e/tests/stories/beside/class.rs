//! A class's change reaches each tenant in that tenant's window, and shows until then.

use freehold_e2e::kube;
use serde_json::{Value, json};

use crate::stage::{Guest, MINUTE, always_open, change, lab, tenant_manifest, wait_ready};

/// A copy of the sample class under another name, with other windows.
fn class(name: &str, window: &Value) -> Value {
    let mut class = kube::get(lab(), &["tenantclass", "standard"]).unwrap();
    class["metadata"] = json!({"name": name});
    class["spec"]["maintenance"] = json!({"windows": [window]});
    class
}

/// Half a day away from now, so that it is shut.
fn shut_window() -> Value {
    let hours = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        / 3600;
    let hour = (hours + 12) % 24;
    json!({"rule": format!("FREQ=DAILY;BYHOUR={hour};BYMINUTE=0;BYSECOND=0"), "duration": "1h"})
}

/// How many its namespace may have: what the class says, and room for what passes.
fn pods(tenant: &str) -> i64 {
    let namespace = format!("tenant-{tenant}");
    let quota = kube::get(lab(), &["-n", &namespace, "resourcequota", "tenant"]).unwrap();
    let hard = quota["spec"]["hard"]["count/pods"].as_str().unwrap();
    hard.parse().unwrap()
}

#[test]
fn a_changed_class_shows_as_drift_and_is_taken_over_in_the_window() {
    lab();
    kube::apply(lab(), &[class("drifting", &shut_window())]).unwrap();
    let guest = Guest::absent("drifter");
    let mut manifest = tenant_manifest(guest.0, 1);
    manifest["spec"]["className"] = json!("drifting");
    kube::apply(lab(), &[manifest]).unwrap();
    wait_ready(guest.0, 4 * MINUTE);
    let before = pods(guest.0);

    let patch = json!({"spec": {"quota": {"pods": 45}}}).to_string();
    kube::kubectl(
        lab(),
        &["patch", "tenantclass", "drifting", "--type=merge", "-p", &patch],
    )
    .unwrap();
    let object = kube::wait_condition(lab(), &["tenant", guest.0], "UpToDate", "False", MINUTE).unwrap();
    let conditions = object["status"]["conditions"].as_array().unwrap();
    let drift = conditions.iter().find(|c| c["type"] == "UpToDate").unwrap();
    assert_eq!(drift["reason"], "ClassDrift");
    let told = drift["message"].as_str().unwrap();
    assert!(told.contains("quota.pods: 40 -> 45"), "{told}");
    assert_eq!(
        kube::condition(&object, "Ready"),
        "True",
        "it runs as it should until then"
    );
    assert_eq!(pods(guest.0), before);

    change(guest.0, &json!({"maintenance": always_open()}));
    kube::wait_condition(lab(), &["tenant", guest.0], "UpToDate", "True", MINUTE).unwrap();
    assert_eq!(pods(guest.0), before + 5);

    // A window that can't be read says so, and the tenant serves.
    change(
        guest.0,
        &json!({"maintenance": {"windows": [{"rule": "FREQ=DAILY;BYHOUR=25", "duration": "1h"}]}}),
    );
    let object = kube::wait_condition(lab(), &["tenant", guest.0], "Stalled", "True", MINUTE).unwrap();
    assert_eq!(object["status"]["blockers"][0]["reason"], "InvalidWindow");
    assert_eq!(kube::condition(&object, "Serving"), "True");
    guest.gone();
    kube::kubectl(lab(), &["delete", "tenantclass", "drifting"]).unwrap();
}
