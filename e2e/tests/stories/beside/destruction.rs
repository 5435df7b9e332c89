//! A tenant whose keys are destroyed: nobody can read its data any more, and the record of that outlives it.

use std::time::Instant;

use freehold_e2e::raw::Canaries;
use freehold_e2e::{install, kube};
use serde_json::{Value, json};

use crate::keys::{disk, volumes};
use crate::stage::{
    Guest, MINUTE, change, delete, image, lab, lane, namespace, owner, tenant_manifest, wait_ready,
};

const WORDS: usize = 40;
/// The class of a tenant whose keys may go soon.
const CLASS: &str = "brief";

/// A copy of the sample class with a short grace.
fn brief_class() {
    let mut class = kube::get(lab(), &["tenantclass", "standard"]).unwrap();
    class["metadata"] = json!({"name": CLASS});
    class["spec"]["deletion"]["terminationGrace"] = json!("10s");
    kube::apply(lab(), &[class]).unwrap();
}

fn guest(name: &'static str) -> Guest {
    let guest = Guest::absent(name);
    brief_class();
    let mut manifest = tenant_manifest(name, 1);
    manifest["spec"]["className"] = json!(CLASS);
    kube::apply(lab(), &[manifest]).unwrap();
    wait_ready(name, 4 * MINUTE);
    guest
}

fn tenant(name: &str) -> Value {
    kube::get(lab(), &["tenant", name]).unwrap()
}

/// The records of a life.
fn records(incarnation: &str) -> Vec<Value> {
    let all = kube::get(lab(), &["destructionrecords"]).unwrap();
    let all = all["items"].as_array().unwrap().iter();
    all.filter(|record| record["spec"]["incarnation"] == incarnation)
        .cloned()
        .collect()
}

/// What the key service keeps of a tenant key.
fn kept(incarnation: &str) -> Value {
    let name = format!("tenant-key-{incarnation}");
    let secret = kube::get(lab(), &["-n", install::KEYS, "secret", &name]).unwrap();
    let keys = secret["data"].as_object().unwrap();
    let content = kube::secret(lab(), install::KEYS, &name, keys.keys().next().unwrap()).unwrap();
    serde_json::from_str(&content).unwrap()
}

fn secret(volume: &str) -> anyhow::Result<Value> {
    kube::get(lab(), &["-n", install::KEYS, "secret", volume])
}

/// A pod that mounts the database's volume; what the kubelet says of that.
fn mounting_is_refused(namespace: &str, pod: &str, why: &str) {
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "namespace": namespace},
        "spec": {
            "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0, "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "reader", "image": image(), "imagePullPolicy": "Never", "command": ["ls", "/data"],
                "resources": {"requests": {"cpu": "5m", "memory": "8Mi"}, "limits": {"memory": "64Mi"}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "db-1"}}]},
    });
    kube::apply(lab(), &[manifest]).unwrap();
    let told = kube::until(&format!("the staging to be refused: {why}"), 2 * MINUTE, || {
        let select = format!("--field-selector=reason=FailedMount,involvedObject.name={pod}");
        let events = kube::get(lab(), &["-n", namespace, "events", &select])?;
        let events = events["items"].as_array().cloned().unwrap_or_default();
        let mut told = events.iter().filter_map(|event| event["message"].as_str());
        Ok(told.find(|text| text.contains(why)).map(str::to_owned))
    });
    let object = kube::get(lab(), &["-n", namespace, "pod", pod]).unwrap();
    kube::kubectl(lab(), &["-n", namespace, "delete", "pod", pod, "--timeout=60s"]).unwrap();
    println!("  {pod}: {}", told.unwrap());
    assert_eq!(object["status"]["phase"], "Pending", "nothing was read");
}

#[test]
fn a_terminated_tenant_whose_keys_are_destroyed_can_be_read_by_nobody() {
    let guest = guest("shredded");
    let own = namespace(guest.0);
    let life = tenant(guest.0)["status"]["incarnation"]
        .as_str()
        .unwrap()
        .to_owned();
    let canaries = Canaries::new(&format!("shred{:x}", std::process::id()));
    let user = owner(guest.0);
    let cards = lane(&user, "Last words");
    for number in 0..WORDS {
        user.post(&cards, &json!({"title": canaries.word(number)}))
            .unwrap();
    }
    kube::sql(lab(), &own, "db", "checkpoint").unwrap();
    let volume = volumes(&own).remove(0);
    let wrapped = secret(&volume).unwrap();

    // Protected it keeps its keys, and says what that takes.
    change(
        guest.0,
        &json!({"desiredState": "Terminated", "termination": {"destroyKeys": true}}),
    );
    let held = kube::wait_condition(lab(), &["tenant", guest.0], "Stalled", "True", MINUTE).unwrap();
    assert_eq!(held["status"]["blockers"][0]["reason"], "DestructionProtected");
    assert_eq!(
        kube::condition(&held, "Serving"),
        "False",
        "access is cut at once"
    );
    assert_eq!(records(&life), [] as [Value; 0]);

    let begin = Instant::now();
    change(guest.0, &json!({"deletionProtection": false}));
    let done =
        kube::wait_condition(lab(), &["tenant", guest.0], "KeysDestroyed", "True", 3 * MINUTE).unwrap();
    println!(
        "destroyed {:.1} s after it was asked for",
        begin.elapsed().as_secs_f64()
    );
    assert_eq!(kube::condition(&done, "KeysCurrent"), "False");
    let record = records(&life).remove(0);
    println!(
        "{}",
        serde_json::to_string_pretty(&json!([record["spec"], record["status"]])).unwrap()
    );
    assert_eq!(record["metadata"]["ownerReferences"], Value::Null);
    assert_eq!(record["spec"]["tenant"], guest.0);
    assert_eq!(record["spec"]["namespace"], own.as_str());
    assert_eq!(record["spec"]["dataKeys"][0]["volume"], volume.as_str());
    assert_eq!(record["spec"]["versions"][0]["number"], 1);
    assert_eq!(record["spec"]["elsewhere"][0]["what"], "backups of etcd");
    let status = &record["status"];
    assert_eq!(status["phase"], "Destroyed");
    assert!(
        status["destroyedAt"].is_string() && status["elsewhereUntil"].is_string(),
        "{status}"
    );
    assert!(
        status["evidence"].to_string().contains("removed from"),
        "{status}"
    );

    // At the key service its versions are dates; the wrapped data key is gone; the words are not on the disk.
    for version in kept(&life)["versions"].as_array().unwrap() {
        assert!(
            version["destroyedAt"].is_i64() && version["wrapped"].is_null(),
            "{version}"
        );
    }
    assert!(secret(&volume).is_err());
    nix::unistd::sync();
    assert!(
        freehold_e2e::raw::allocated(&disk(&volume)).unwrap() > 10 << 20,
        "the data is there"
    );
    assert_eq!(canaries.in_file(&disk(&volume)).unwrap(), [].into());

    // Without its key the volume is not staged, nor with a copy of the wrapped key that somebody had kept.
    mounting_is_refused(&own, "without-key", "MountVolume.MountDevice");
    let metadata = &wrapped["metadata"];
    let mut copy = wrapped.clone();
    copy["metadata"] = json!({
        "name": volume, "namespace": install::KEYS, "labels": metadata["labels"], "annotations": metadata["annotations"],
    });
    kube::apply(lab(), &[copy]).unwrap();
    mounting_is_refused(&own, "with-a-copy", "destroyed");

    // Nothing of it starts any more.
    change(guest.0, &json!({"desiredState": "Active", "termination": null}));
    let stalled = kube::wait_condition(lab(), &["tenant", guest.0], "Stalled", "True", MINUTE).unwrap();
    assert_eq!(stalled["status"]["blockers"][0]["reason"], "TenantKeyDestroyed");
    let pods = kube::get(
        lab(),
        &["-n", &own, "pods", "--field-selector=status.phase!=Succeeded"],
    )
    .unwrap();
    assert_eq!(pods["items"], json!([]));

    delete(guest.0, "Delete").unwrap();
    assert!(kube::get(lab(), &["namespace", &own]).is_err());
    assert!(secret(&volume).is_err(), "the copy is gone with it");
    assert_eq!(records(&life), [record], "the record stays as it was");
    kube::kubectl(lab(), &["delete", "tenantclass", CLASS]).unwrap();
}

#[test]
fn in_its_grace_a_terminated_tenant_wakes_with_its_data() {
    let guest = Guest::ready("reprieved", 1);
    let life = tenant(guest.0)["status"]["incarnation"]
        .as_str()
        .unwrap()
        .to_owned();
    let user = owner(guest.0);
    let cards = lane(&user, "Second thoughts");
    user.post(&cards, &json!({"title": "not yet"})).unwrap();
    change(
        guest.0,
        &json!({"desiredState": "Terminated", "termination": {"destroyKeys": true}, "deletionProtection": false}),
    );
    kube::wait_condition(lab(), &["tenant", guest.0], "KeysDestroyed", "False", MINUTE).unwrap();
    let waiting = wait_ready(guest.0, 2 * MINUTE);
    let conditions = waiting["status"]["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|found| found["type"] == "Ready").unwrap();
    assert_eq!(ready["reason"], "Terminated");
    let told = ready["message"].as_str().unwrap();
    assert!(told.contains("is destroyed from"), "{told}");
    change(
        guest.0,
        &json!({"desiredState": "Active", "termination": null, "deletionProtection": true}),
    );
    let awake = wait_ready(guest.0, 3 * MINUTE);
    assert_eq!(kube::condition(&awake, "Serving"), "True");
    assert!(crate::stage::titles(guest.0).contains("not yet"));
    let operations = kube::get(lab(), &["-n", install::NAMESPACE, "tenantoperations"]).unwrap();
    let operations = operations["items"].as_array().unwrap().iter();
    let mut destructions = operations.filter(|operation| {
        operation["spec"]["type"] == "KeyDestruction" && operation["spec"]["incarnation"] == life.as_str()
    });
    assert_eq!(destructions.next().unwrap()["status"]["phase"], "Cancelled");
    assert_eq!(records(&life), [] as [Value; 0]);
}
