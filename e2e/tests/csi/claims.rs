//! Claims in the lab's cluster: made, used by a pod that isn't root, grown, and gone from the disk. The stories prove
//! the encrypted ones, whose keys Freehold brings; here it is the driver's place in the cluster.

use std::time::Duration;

use freehold_e2e::kube;
use freehold_e2e::lab::{Lab, images, up};
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);

fn claim(size: &str, class: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "csi-test", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "resources": {"requests": {"storage": size}}}})
}

fn pod(lab: &Lab) -> Value {
    let image = images::make(lab, "postgresql").unwrap();
    images::import(lab, &image).unwrap();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "csi-test", "namespace": "default"},
        "spec": {"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
            "securityContext": {"runAsUser": 26, "runAsNonRoot": true, "fsGroup": 26},
            "containers": [{"name": "main", "image": image.reference, "command": ["sleep", "3600"],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "csi-test"}}]}})
}

fn start(lab: &Lab) {
    kube::apply(lab, &[pod(lab)]).unwrap();
    let ready = kube::wait_condition(
        lab,
        &["-n", "default", "pod", "csi-test"],
        "Ready",
        "True",
        MINUTE,
    );
    ready.unwrap();
}

fn stop(lab: &Lab) {
    kube::kubectl(
        lab,
        &["-n", "default", "delete", "pod", "csi-test", "--ignore-not-found"],
    )
    .unwrap();
}

fn sh(lab: &Lab, script: &str) -> String {
    kube::exec(lab, "default", "csi-test", &["sh", "-c", script]).unwrap()
}

fn megabytes(lab: &Lab) -> u64 {
    sh(lab, "df -BM --output=size /data | tail -1 | tr -dc 0-9")
        .parse()
        .unwrap()
}

fn tidy(lab: &Lab) {
    stop(lab);
    let delete = ["-n", "default", "delete", "pvc", "csi-test", "--ignore-not-found"];
    kube::kubectl(lab, &delete).unwrap();
}

#[test]
fn a_claim_becomes_a_volume_that_a_pod_owns_that_grows_and_that_is_deleted_with_its_disk() {
    let lab = Lab::of_this_checkout();
    assert!(up::nodes_running(&lab) > 0, "the lab must run");
    tidy(&lab);
    kube::apply(&lab, &[claim("100Mi", "plain-control")]).unwrap();
    start(&lab);
    sh(&lab, "echo kept > /data/file");
    assert!(megabytes(&lab) < 100);
    let found = kube::get(&lab, &["-n", "default", "pvc", "csi-test"]).unwrap();
    let volume = found["spec"]["volumeName"].as_str().unwrap().to_owned();
    let disk = lab.cluster().join("volumes/volumes").join(&volume);
    assert!(disk.join("disk").exists(), "{}", disk.display());

    kube::apply(&lab, &[claim("200Mi", "plain-control")]).unwrap();
    // The disk grows at once; without CAP_SYS_RESOURCE the file system does when the volume is next staged.
    kube::until("the disk to grow", MINUTE, || {
        Ok((disk.join("disk").metadata()?.len() == 200 << 20).then_some(()))
    })
    .unwrap();
    stop(&lab);
    // A pod that follows at once finds the volume still staged.
    kube::until("the volume to be unstaged", MINUTE, || {
        Ok((!disk.join("holder").exists()).then_some(()))
    })
    .unwrap();
    start(&lab);
    assert!(megabytes(&lab) > 150);
    assert_eq!(sh(&lab, "cat /data/file").trim(), "kept");
    kube::until("the claim to say its new size", MINUTE, || {
        let found = kube::get(&lab, &["-n", "default", "pvc", "csi-test"])?;
        Ok((found["status"]["capacity"]["storage"] == "200Mi").then_some(()))
    })
    .unwrap();

    tidy(&lab);
    kube::until("the disk to go", MINUTE, || Ok((!disk.exists()).then_some(()))).unwrap();
}

#[test]
fn an_encrypted_volume_without_its_key_waits_and_says_for_what() {
    let lab = Lab::of_this_checkout();
    assert!(up::nodes_running(&lab) > 0, "the lab must run");
    tidy(&lab);
    // The claim is no tenant's, so nobody makes a key for it.
    kube::apply(&lab, &[claim("100Mi", "encrypted"), pod(&lab)]).unwrap();
    kube::until("kubelet to say what is missing", MINUTE, || {
        let events = kube::kubectl(
            &lab,
            &[
                "-n",
                "default",
                "get",
                "events",
                "-o",
                "jsonpath={.items[*].message}",
            ],
        )?;
        let volume = kube::get(&lab, &["-n", "default", "pvc", "csi-test"])?;
        let Some(volume) = volume["spec"]["volumeName"].as_str() else {
            return Ok(None);
        };
        let missing = format!("secrets \"{volume}\" not found");
        Ok(events.contains(&missing).then_some(()))
    })
    .unwrap();
    let found = kube::get(&lab, &["-n", "default", "pod", "csi-test"]).unwrap();
    assert_ne!(kube::condition(&found, "Ready"), "True");
    tidy(&lab);
}
