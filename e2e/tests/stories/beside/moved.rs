//! A release that is published again under its name with other contents, as by a tag that was moved, reaches nobody; nor does one
//! whose image can not be had.

use std::collections::BTreeMap;

use freehold_e2e::kube;
use serde_json::{Value, json};

use crate::stage::{Guest, MINUTE, always_open, change, lab, namespace, owner, tenant_manifest, wait_ready};

/// Of a product of its own, so that no channel takes it for one of its releases.
const NAME: &str = "moved-1.0.0";
const PULLED_BY_NOBODY: &str = "moved-1.0.1";
const NO_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// The sample's release under another name, told apart by a variable.
fn published(contents: &str) {
    let mut release = kube::get(lab(), &["release", "board-1.0.0"]).unwrap();
    release["metadata"] = json!({"name": NAME});
    release["spec"]["product"] = json!("moved");
    release["spec"]["components"][0]["env"] = json!([{"name": "CONTENTS", "value": contents}]);
    publish(&release);
}

/// In the place of one that may be there under that name: a Release is immutable.
fn publish(release: &Value) {
    let name = release["metadata"]["name"].as_str().unwrap();
    kube::kubectl(lab(), &["delete", "release", name, "--ignore-not-found"]).unwrap();
    kube::apply(lab(), std::slice::from_ref(release)).unwrap();
}

/// The next one, of which one image can be had nowhere.
fn without_its_image() {
    let mut release = kube::get(lab(), &["release", NAME]).unwrap();
    release["metadata"] = json!({"name": PULLED_BY_NOBODY});
    release["spec"]["version"] = json!("1.0.1");
    release["spec"]["source"]["tag"] = json!("v1.0.1");
    let image = &mut release["spec"]["components"][0]["image"];
    // Nobody answers there, and at once.
    *image = json!(format!("localhost:1/board:1.0.1@{NO_DIGEST}"));
    publish(&release);
}

/// Which change of each Deployment this is, and what its pods are made from.
fn deployments(namespace: &str) -> BTreeMap<String, (Value, Value)> {
    let all = kube::get(lab(), &["-n", namespace, "deployments"]).unwrap();
    let all = all["items"].as_array().unwrap().iter();
    let told = all.map(|deployment| {
        let name = deployment["metadata"]["name"].as_str().unwrap().to_owned();
        let generation = deployment["metadata"]["generation"].clone();
        (name, (generation, deployment["spec"]["template"].clone()))
    });
    told.collect()
}

/// Waits for the condition `ReleaseCurrent`; its reason.
fn current(tenant: &str, status: &str) -> String {
    let object = kube::wait_condition(lab(), &["tenant", tenant], "ReleaseCurrent", status, MINUTE).unwrap();
    assert_eq!(
        kube::condition(&object, "Serving"),
        "True",
        "it serves all the time"
    );
    let mut conditions = object["status"]["conditions"].as_array().unwrap().iter();
    let found = conditions.find(|condition| condition["type"] == "ReleaseCurrent");
    found.unwrap()["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_release_that_is_published_again_with_other_contents_reaches_nobody() {
    let guest = Guest::absent("unmoved");
    published("first");
    let mut manifest = tenant_manifest(guest.0, 1);
    manifest["spec"]["release"] = json!({"name": NAME});
    // Its window is open: it is not that which holds it back.
    manifest["spec"]["maintenance"] = always_open();
    kube::apply(lab(), &[manifest]).unwrap();
    wait_ready(guest.0, 4 * MINUTE);
    let namespace = namespace(guest.0);
    let before = deployments(&namespace);
    assert_eq!(before.len(), 2);

    published("second");
    assert_eq!(current(guest.0, "False"), "ReleaseReplaced");
    let tenant = kube::get(lab(), &["tenant", guest.0]).unwrap();
    assert_eq!(kube::condition(&tenant, "Stalled"), "True");
    let blocker = &tenant["status"]["blockers"][0];
    assert_eq!(blocker["reason"], "ReleaseReplaced");
    let told = blocker["message"].as_str().unwrap();
    assert!(
        told.contains("1.0.0 was published again with other contents"),
        "{told}"
    );
    assert_eq!(deployments(&namespace), before, "what runs stays as it is");
    owner(guest.0).get("/api/boards").unwrap();

    published("first");
    assert_eq!(current(guest.0, "True"), "Current");
    wait_ready(guest.0, MINUTE);
    assert_eq!(deployments(&namespace), before);

    without_its_image();
    let ask = |name: &str| change(guest.0, &json!({"release": {"name": name}}));
    ask(PULLED_BY_NOBODY);
    kube::until("the image that is not there to be told", MINUTE, || {
        let tenant = kube::get(lab(), &["tenant", guest.0])?;
        let Some(blocker) = kube::blocker(&tenant, "UpgradeWaits") else {
            return Ok(None);
        };
        let told = blocker["message"].as_str().unwrap();
        if !told.contains(NO_DIGEST) {
            return Ok(None);
        }
        println!("{told}");
        assert_eq!(kube::condition(&tenant, "Serving"), "True");
        assert_eq!(kube::condition(&tenant, "UpToDate"), "False");
        Ok(Some(()))
    })
    .unwrap();
    assert_eq!(deployments(&namespace), before, "nothing was changed");
    owner(guest.0).get("/api/boards").unwrap();
    // Taken back, before the time for images is over.
    ask(NAME);
    wait_ready(guest.0, MINUTE);
    assert_eq!(deployments(&namespace), before);
    guest.gone();
    kube::kubectl(lab(), &["delete", "release", NAME, PULLED_BY_NOBODY]).unwrap();
}
