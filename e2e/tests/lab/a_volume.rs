//! A volume goes with its pod from one node to the other, and is never on both.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use freehold_csi::loops::Device;
use freehold_e2e::lab::Lab;
use freehold_e2e::{demo, kube};
use serde_json::{Value, json};

use crate::{ok, two_nodes};

const MINUTE: Duration = Duration::from_secs(60);
const NAME: &str = "mover";
const NAMESPACE: &str = "tenant-mover";

/// A file of the samples, as the API server would get it.
fn sample(lab: &Lab, file: &str) -> Value {
    let path = lab.repo.join("manifests/samples").join(file);
    let local = ["annotate", "--local", "-o", "json", "lab=test", "-f"];
    let text = kube::kubectl(lab, &[&local, &[path.to_str().unwrap()][..]].concat()).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A tenant, for the sake of its keys; it sleeps, and with the samples' placeholders of images no pod of its own could start.
fn tenant(lab: &Lab) {
    let mut class = sample(lab, "class.yaml");
    class["spec"]["database"]["storageClassName"] = "encrypted".into();
    let tenant = json!({"apiVersion": "freehold.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": NAME}, "spec": {
        "displayName": NAME, "owner": {"email": "owner@mover.example"}, "edition": "Standard", "seats": 5,
        "region": "eu-central", "className": "standard", "release": {"name": "board-1.0.0"},
        "hostnames": ["mover.localhost"], "desiredState": "Suspended"}});
    kube::apply(lab, &[class, sample(lab, "release.yaml"), tenant]).unwrap();
    kube::until("the tenant's namespace", MINUTE, || {
        Ok(kube::get(lab, &["-n", NAMESPACE, "serviceaccount", "default"]).ok())
    })
    .unwrap();
}

/// A pod that writes its name and a number five times a second, and goes on writing for as long as it may when it is told
/// to end: meanwhile its successor is there already, and wants the volume.
fn writer(image: &str) -> [Value; 2] {
    let script =
        "n=0; while :; do n=$((n+1)); echo \"$POD $n\" >> /data/log; sync /data/log; sleep 0.2; done";
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"freehold.dev/tenant": NAME}},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "encrypted",
            "resources": {"requests": {"storage": "100Mi"}}}});
    let pod = json!({
        "terminationGracePeriodSeconds": 5, "automountServiceAccountToken": false,
        "securityContext": {"runAsUser": 26, "runAsNonRoot": true, "fsGroup": 26,
            "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "main", "image": image, "command": ["sh", "-c", script],
            "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": NAME}}]});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": NAME}},
            "template": {"metadata": {"labels": {"app": NAME}}, "spec": pod}}});
    [claim, deployment]
}

/// The pod that runs on a node, once it is ready.
fn pod_on(lab: &Lab, node: &str) -> String {
    kube::until(&format!("the pod on {node}"), 2 * MINUTE, || {
        let pods = pods(lab)?;
        let there = |pod: &&Value| pod["spec"]["nodeName"] == node && kube::condition(pod, "Ready") == "True";
        let found = pods.iter().find(there);
        Ok(found.and_then(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)))
    })
    .unwrap()
}

/// What is in the volume: who wrote which number, in the order in which it was written.
fn lines(lab: &Lab, pod: &str) -> Vec<String> {
    let text = kube::exec(lab, NAMESPACE, pod, &["cat", "/data/log"]).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The processes of a node, in whatever namespaces of their own, by the host's count: the descendants of its first.
fn processes(lab: &Lab, node: &str) -> BTreeSet<u32> {
    let first = fs::read_to_string(lab.cluster().join(node).join("init.pid")).unwrap();
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let (Some(pid), Some(Ok(parent))) = (pid, parent.map(|text| text.trim().parse())) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut next) = (BTreeSet::new(), vec![first.trim().parse().unwrap()]);
    while let Some(pid) = next.pop() {
        next.extend(children.get(&pid).into_iter().flatten());
        found.insert(pid);
    }
    found
}

/// How many processes of a node have a volume's disk mounted. The kernel keeps the key with the mounted file system.
fn mounted(lab: &Lab, node: &str, disk: &Path) -> usize {
    // Not kept: a device that is open isn't let go of.
    let Some(number) = Device::find(disk).unwrap().map(|device| device.number) else {
        return 0;
    };
    let mark = format!(" {number} ");
    let has = |pid: &u32| {
        let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        table.contains(&mark)
    };
    processes(lab, node).iter().filter(|pid| has(pid)).count()
}

/// How often the storage driver of a node says that it did something with a volume.
fn times(lab: &Lab, node: &str, volume: &str, did: &str) -> usize {
    let on = format!("--field-selector=spec.nodeName={node}");
    let pods = kube::get(lab, &["-n", "freehold-csi", "pods", "-l", "app=node", &on]).unwrap();
    let pod = pods["items"][0]["metadata"]["name"].as_str().unwrap();
    let all = kube::kubectl(lab, &["-n", "freehold-csi", "logs", pod]).unwrap();
    let said = format!(r#""message":"{did}""#);
    let about = all.lines().filter(|line| line.contains(volume));
    about.filter(|line| line.contains(&said)).count()
}

/// Takes everything off a node that isn't bound to it.
fn drain(lab: &Lab, node: &str) {
    // CloudNativePG holds its pods of one instance against a drain.
    let others = "--pod-selector=!cnpg.io/cluster";
    let how = [
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--timeout=120s",
    ];
    kube::kubectl(lab, &[&["drain", node, others], &how[..]].concat()).unwrap();
}

/// The tenant key, as the status tells it.
fn key(lab: &Lab) -> Value {
    let tenant = kube::get(lab, &["tenant", NAME]).unwrap();
    tenant["status"]["keys"]["tenantKey"].clone()
}

/// Kills whoever has keys in hand, on both nodes, as soon as there is a driver among them; says how many these were.
fn strike() -> usize {
    let drivers = kube::until("a driver that runs", MINUTE, || {
        let drivers = kube::processes("freehold-csi", "--node-id");
        Ok((!drivers.is_empty()).then_some(drivers))
    })
    .unwrap();
    let all = [drivers, kube::commands("freehold", "keys")].concat();
    kube::kill(&all);
    all.len()
}

/// The pods that want the volume, those that end among them.
fn pods(lab: &Lab) -> anyhow::Result<Vec<Value>> {
    let pods = kube::get(lab, &["-n", NAMESPACE, "pods", "-l", &format!("app={NAME}")])?;
    Ok(pods["items"].as_array().cloned().unwrap_or_default())
}

/// What was there before, then all of one pod's lines, to its last breath, and then all of its successor's.
fn follow(lines: &[String], before: &[String], [old, new]: [&str; 2]) {
    assert_eq!(lines[..before.len()], *before, "what was written is there");
    let rest = &lines[before.len()..];
    let of_old = rest.iter().take_while(|line| line.starts_with(old)).count();
    assert!(of_old > 0 && rest.len() > of_old, "{rest:?}");
    assert!(
        rest[of_old..].iter().all(|line| line.starts_with(new)),
        "{rest:?}"
    );
}

#[test]
fn moves_between_nodes_with_its_pod_and_leaves_no_key_behind() {
    let lab = two_nodes();
    drop(demo::prepare(&lab).unwrap());
    let image = ok(&["image", "postgresql"]).trim().to_string();
    tenant(&lab);
    kube::kubectl(&lab, &["cordon", "node2"]).unwrap();
    kube::apply(&lab, &writer(&image)).unwrap();
    let first = pod_on(&lab, "node1");
    kube::until("ten lines", MINUTE, || {
        Ok((lines(&lab, &first).len() >= 10).then_some(()))
    })
    .unwrap();
    let claim = kube::get(&lab, &["-n", NAMESPACE, "pvc", NAME]).unwrap();
    let volume = claim["spec"]["volumeName"].as_str().unwrap();
    let folder: PathBuf = lab.cluster().join("volumes/volumes").join(volume);
    let holder = || fs::read_to_string(folder.join("holder")).unwrap_or_default();
    let on = |node: &str| mounted(&lab, node, &folder.join("disk"));
    assert_eq!(holder(), "node1");
    assert!(on("node1") > 0 && on("node2") == 0);
    let before = lines(&lab, &first);

    kube::kubectl(&lab, &["uncordon", "node2"]).unwrap();
    let begin = Instant::now();
    drain(&lab, "node1");
    let drained = begin.elapsed();
    let second = pod_on(&lab, "node2");
    println!(
        "node1 drained after {:.1} s, the pod ready on node2 after {:.1} s",
        drained.as_secs_f64(),
        begin.elapsed().as_secs_f64()
    );
    assert_ne!(first, second);
    assert_eq!(holder(), "node2");
    assert_eq!(
        on("node1"),
        0,
        "nothing on node1 has the file system, nor its key"
    );
    assert!(on("node2") > 0);
    let after = lines(&lab, &second);
    follow(&after, &before, [&first, &second]);
    assert_eq!(times(&lab, "node1", volume, "staged"), 1);
    assert!(times(&lab, "node1", volume, "unstaged") > 0);
    assert!(times(&lab, "node2", volume, "staged") > 0);

    // And back, while the tenant key is rotated: whoever has keys in hand is killed when the pod ends, and when its successor is about
    // to get the volume.
    let before = lines(&lab, &second);
    // Operator and key service were drained too: until the one has heard the other it tells of no key.
    let version = kube::until("the tenant key to be told", 2 * MINUTE, || {
        Ok(key(&lab)["version"].as_u64())
    })
    .unwrap();
    kube::kubectl(&lab, &["uncordon", "node1"]).unwrap();
    let word = json!({"spec": {"keys": {"rotateTenantKey": "on-the-way"}}}).to_string();
    kube::kubectl(&lab, &["patch", "tenant", NAME, "--type=merge", "-p", &word]).unwrap();
    let begin = Instant::now();
    let killed = std::thread::scope(|scope| {
        let drained = scope.spawn(|| drain(&lab, "node2"));
        let ends = |pod: &Value| !pod["metadata"]["deletionTimestamp"].is_null();
        kube::until("the pod to end", MINUTE, || {
            Ok(pods(&lab)?.iter().any(ends).then_some(()))
        })
        .unwrap();
        let first = strike();
        let comes = |pod: &Value| pod["spec"]["nodeName"] == "node1";
        kube::until("its successor", 2 * MINUTE, || {
            Ok(pods(&lab)?.iter().any(comes).then_some(()))
        })
        .unwrap();
        let killed = [first, strike()];
        drained.join().unwrap();
        killed
    });
    assert!(
        killed[0] >= 3 && killed[1] >= 1,
        "two drivers and a key service at least, then what runs again: {killed:?}"
    );
    let third = pod_on(&lab, "node1");
    println!(
        "node2 drained and the pod ready on node1 after {:.1} s, with {} processes killed",
        begin.elapsed().as_secs_f64(),
        killed[0] + killed[1]
    );
    assert_eq!(holder(), "node1");
    assert!(on("node1") > 0);
    assert_eq!(
        on("node2"),
        0,
        "nothing on node2 has the file system, nor its key"
    );
    follow(&lines(&lab, &third), &before, [&second, &third]);
    let rotated = kube::until("the rotation to be over", 3 * MINUTE, || {
        let key = key(&lab);
        Ok((key["acknowledged"] == "on-the-way").then_some(key))
    })
    .unwrap();
    assert_eq!(rotated["version"], version + 1);
    assert_eq!(
        rotated["versions"].as_array().unwrap().len(),
        1,
        "the old one is destroyed: {rotated}"
    );
    kube::wait_condition(&lab, &["tenant", NAME], "KeysCurrent", "True", MINUTE).unwrap();
}
