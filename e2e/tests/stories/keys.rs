//! Each tenant's data lies on the disk under keys of its own, which live apart, are rotated without a pause, and without
//! which nothing can be read.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use freehold_e2e::raw::Canaries;
use freehold_e2e::{install, kube};
use serde_json::{Value, json};

use crate::stage::{
    MINUTE, Writer, assert_nothing_lost, change, image, lab, lane, logs, namespace, operations,
    operator_away, owner, wait_ready,
};

const CANARIES: usize = 1000;
/// In one card.
const TOGETHER: usize = 20;

/// The raw disk of a volume, as the storage driver keeps it.
pub fn disk(volume: &str) -> PathBuf {
    let found = lab()
        .cluster()
        .join("volumes")
        .join("volumes")
        .join(volume)
        .join("disk");
    assert!(found.exists(), "{} is not there", found.display());
    found
}

/// The PersistentVolumes of a namespace's claims.
pub fn volumes(namespace: &str) -> Vec<String> {
    let claims = kube::get(lab(), &["-n", namespace, "persistentvolumeclaims"]).unwrap();
    let claims = claims["items"].as_array().unwrap();
    let volume = |claim: &Value| claim["spec"]["volumeName"].as_str().unwrap().to_owned();
    claims.iter().map(volume).collect()
}

fn status(tenant: &str) -> Value {
    kube::get(lab(), &["tenant", tenant]).unwrap()["status"]["keys"].clone()
}

/// A pod that writes the same words onto a volume that is not encrypted; gone when it is dropped.
struct Control;

impl Control {
    fn write(canaries: &Canaries) -> Control {
        let words: Vec<String> = (0..CANARIES).map(|n| canaries.word(n)).collect();
        let control = Control;
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "control", "namespace": "default"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "plain-control",
                "resources": {"requests": {"storage": "100Mi"}}},
        });
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "control", "namespace": "default"},
            "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "control", "image": image(), "imagePullPolicy": "Never",
                    "command": ["sleep", "600"],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}], "securityContext": {"runAsUser": 0}}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "control"}}]},
        });
        kube::apply(lab(), &[claim, pod]).unwrap();
        let wait = ["wait", "--for=condition=Ready", "pod/control", "--timeout=60s"];
        kube::kubectl(lab(), &wait).unwrap();
        // Through standard input: in the pod's arguments they would stand in etcd.
        let mut write = freehold_e2e::lab::addons::kubectl(lab());
        write.args([
            "exec",
            "-i",
            "control",
            "--",
            "sh",
            "-c",
            "cat > /data/words && sync",
        ]);
        freehold_e2e::lab::shell::feed(&mut write, words.join("\n").as_bytes()).unwrap();
        control
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = kube::kubectl(
            lab(),
            &[
                "delete",
                "pod/control",
                "pvc/control",
                "--ignore-not-found",
                "--timeout=60s",
            ],
        );
    }
}

#[test]
fn nothing_that_a_tenant_stores_lies_in_the_clear_anywhere() {
    let run = format!("{:x}", std::process::id());
    let canaries = Canaries::new(&run);
    let user = owner("acme");
    let path = lane(&user, "Canaries");
    for first in (0..CANARIES).step_by(TOGETHER) {
        let words: Vec<String> = (first..first + TOGETHER).map(|n| canaries.word(n)).collect();
        user.post(
            &path,
            &json!({"title": canaries.word(first), "description": words.join(" ")}),
        )
        .unwrap();
    }
    let namespace = namespace("acme");
    let stored = "select count(*) from cards where title like 'canary%'";
    let stored = kube::sql(lab(), &namespace, "db", stored).unwrap();
    assert!(stored.parse::<usize>().unwrap() >= CANARIES / TOGETHER);
    kube::sql(lab(), &namespace, "db", "checkpoint").unwrap();
    let control = Control::write(&canaries);
    nix::unistd::sync();
    let plain = volumes("default");
    let disk_of_control = disk(&plain[0]);
    assert_eq!(
        canaries.in_file(&disk_of_control).unwrap().len(),
        CANARIES,
        "the search finds what is there"
    );
    for volume in volumes(&namespace) {
        let disk = disk(&volume);
        assert!(
            freehold_e2e::raw::allocated(&disk).unwrap() > 10 << 20,
            "a database is on it"
        );
        assert_eq!(canaries.in_file(&disk).unwrap(), [].into(), "{volume}");
    }
    // Container layers, pods' logs, etcd, and whatever else the lab keeps: nowhere but on the control's disk.
    let begin = Instant::now();
    let found = canaries.below(&lab().cluster()).unwrap();
    println!(
        "{CANARIES} words: {} files searched for in {:.1} s hold some: {found:?}",
        lab().cluster().display(),
        begin.elapsed().as_secs_f64()
    );
    assert_eq!(found.into_keys().collect::<Vec<_>>(), [disk_of_control]);
    drop(control);
}

/// Restarts of a tenant's pods, and who they are.
fn pods(namespace: &str) -> Vec<String> {
    let pods = kube::get(
        lab(),
        &["-n", namespace, "pods", "--field-selector=status.phase=Running"],
    )
    .unwrap();
    let told = |pod: &Value| {
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        format!(
            "{} {} {restarts}",
            pod["metadata"]["name"], pod["metadata"]["uid"]
        )
    };
    pods["items"].as_array().unwrap().iter().map(told).collect()
}

#[test]
fn the_tenant_key_is_rotated_on_demand_and_nothing_restarts() {
    wait_ready("acme", MINUTE);
    let namespace = namespace("acme");
    let (before, running) = (status("acme"), pods(&namespace));
    let version = before["tenantKey"]["version"].as_u64().unwrap();
    let user = owner("acme");
    let writer = Writer::start(user, lane(&owner("acme"), "Rotation"), "survives rotation");
    writer.wait_for(5, MINUTE);
    let begin = Instant::now();
    let word = format!("story-{version}");
    change("acme", &json!({"keys": {"rotateTenantKey": word}}));
    let after = kube::until("the rotation to be acknowledged", MINUTE, || {
        let now = status("acme");
        Ok((now["tenantKey"]["acknowledged"] == word.as_str()).then_some(now))
    })
    .unwrap();
    let took = begin.elapsed();
    writer.wait_for(5, MINUTE);
    let (acknowledged, longest) = writer.stop();
    assert_nothing_lost("acme", &acknowledged);
    assert_eq!(after["tenantKey"]["version"], version + 1);
    let versions = after["tenantKey"]["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 1, "the old version is destroyed: {versions:?}");
    assert_eq!(
        versions[0]["protects"],
        after["dataKeys"].as_array().unwrap().len()
    );
    assert_eq!(pods(&namespace), running);
    println!(
        "rotated after {:.1} s; {} cards meanwhile, none lost, longest pause {:.2} s",
        took.as_secs_f64(),
        acknowledged.len(),
        longest.as_secs_f64()
    );
    let record = kube::kubectl(lab(), &["-n", install::NAMESPACE, "get", "tenantoperations"]).unwrap();
    assert!(record.contains("TenantKeyRotation"), "{record}");
}

/// As many as are kept by default: `operations.history` of the chart.
const HISTORY: usize = 20;

#[test]
fn the_records_of_rotations_are_bounded_and_a_word_is_not_heard_again() {
    wait_ready("acme", MINUTE);
    let names = || -> BTreeSet<String> {
        let all = operations("acme", "TenantKeyRotation");
        let name = |operation: &Value| operation["metadata"]["name"].as_str().unwrap().to_owned();
        all.iter().map(name).collect()
    };
    let first = status("acme")["tenantKey"]["version"].as_u64().unwrap();
    let word = |turn: &str| format!("history-{first}-{turn}");
    let rotate = |turn: &str| {
        change("acme", &json!({"keys": {"rotateTenantKey": word(turn)}}));
        kube::until("the rotation to be acknowledged", MINUTE, || {
            Ok((status("acme")["tenantKey"]["acknowledged"] == word(turn).as_str()).then_some(()))
        })
        .unwrap();
    };
    let mut forgotten = BTreeSet::new();
    let mut before = names();
    // One more than are kept.
    for turn in 0..=HISTORY {
        rotate(&turn.to_string());
        let now = names();
        forgotten.extend(before.difference(&now).cloned());
        before = now;
    }
    kube::until("the oldest to be forgotten", MINUTE, || {
        let now = names();
        forgotten.extend(before.difference(&now).cloned());
        before = now;
        Ok((before.len() == HISTORY).then_some(()))
    })
    .unwrap();
    assert!(!forgotten.is_empty());
    // What was deleted is in the log, whole.
    let log = logs(install::NAMESPACE, "app.kubernetes.io/name=freehold");
    for name in &forgotten {
        let mut lines = log.lines().filter(|line| line.contains(name.as_str()));
        assert!(
            lines.any(|line| line.contains("fromVersion") && line.contains("Succeeded")),
            "{name} is not in the log"
        );
    }
    // Another operator knows no more than what is left: it hears the next word, and none of those before.
    drop(operator_away());
    rotate("after");
    let after = status("acme");
    assert_eq!(after["tenantKey"]["version"], first + 2 + HISTORY as u64);
    kube::until("one more to be forgotten", MINUTE, || {
        Ok((names().len() == HISTORY).then_some(()))
    })
    .unwrap();
    let last = operations("acme", "TenantKeyRotation");
    let tokens = last
        .iter()
        .map(|operation| &operation["spec"]["rotation"]["token"]);
    assert!(tokens.into_iter().any(|token| *token == word("after").as_str()));
}

#[test]
fn while_the_key_service_is_away_tenants_serve_and_say_so() {
    wait_ready("acme", MINUTE);
    let scale = |replicas: &str| {
        let replicas = format!("--replicas={replicas}");
        let deployment = [
            "-n",
            install::KEYS,
            "scale",
            "deployment",
            "freehold-keys",
            &replicas,
        ];
        kube::kubectl(lab(), &deployment).unwrap();
    };
    let user = owner("acme");
    let writer = Writer::start(user, lane(&owner("acme"), "Sealed"), "survives sealed keys");
    scale("0");
    let found = std::panic::catch_unwind(|| {
        let object =
            kube::wait_condition(lab(), &["tenant", "acme"], "KeysCurrent", "False", 2 * MINUTE).unwrap();
        assert_eq!(kube::condition(&object, "Ready"), "True");
        assert_eq!(kube::condition(&object, "Serving"), "True");
    });
    scale("2");
    found.unwrap();
    writer.wait_for(5, MINUTE);
    let (acknowledged, _) = writer.stop();
    assert_nothing_lost("acme", &acknowledged);
    kube::wait_condition(lab(), &["tenant", "acme"], "KeysCurrent", "True", 2 * MINUTE).unwrap();
}

/// The users that a process runs as and that its files in /proc belong to: root, when its memory is nobody else's (`proc(5)`).
fn users(pid: i32) -> (u32, u32) {
    use std::os::unix::fs::MetadataExt;
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).unwrap();
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let user = user.unwrap().split_whitespace().next().unwrap();
    (user.parse().unwrap(), std::fs::metadata(&path).unwrap().uid())
}

#[test]
fn what_holds_keys_writes_no_core_dump() {
    wait_ready("acme", MINUTE);
    let holders = [
        kube::commands("freehold", "run"),
        kube::commands("freehold", "keys"),
        kube::processes("freehold-csi", "--node-id"),
    ];
    for pids in holders {
        assert!(!pids.is_empty());
        for pid in pids {
            let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
            let core = limits.lines().find(|line| line.starts_with("Max core file size"));
            let words: Vec<&str> = core.unwrap().split_whitespace().collect();
            assert_eq!(words[4..6], ["0", "0"], "{limits}");
            let (user, owner) = users(pid);
            // Of root's own it can't be told.
            assert!(
                user == 0 || owner == 0,
                "others of the user {user} can read {pid}"
            );
        }
    }
}

/// Who may read every Secret of the keys' namespace, each with the reason. What is there is wrapped, but for the provider
/// `local`, whose root key is there too.
const READERS: [(&str, &str); 10] = [
    (
        "Group system:masters",
        "the cluster's administrators, past all rights",
    ),
    (
        "ServiceAccount freehold-system/freehold",
        "the operator: tenants' authorities, and which data keys there are",
    ),
    (
        "ServiceAccount freehold-keys/freehold-keys",
        "the key service: what its provider keeps",
    ),
    (
        "ServiceAccount cnpg-system/cnpg-manager",
        "CloudNativePG's own manifest: Secrets of the whole cluster",
    ),
    (
        "ServiceAccount traefik/traefik",
        "the lab's gateway: Secrets of the whole cluster, for certificates that routes name",
    ),
    (
        "ServiceAccount cert-manager/cert-manager",
        "cert-manager, as in its own manifest: Secrets of the whole cluster, for issuers' keys and what it issues",
    ),
    (
        "ServiceAccount kube-system/generic-garbage-collector",
        "Kubernetes: everything, to collect what has no owner",
    ),
    (
        "ServiceAccount kube-system/namespace-controller",
        "Kubernetes: everything, to empty namespaces that end",
    ),
    (
        "ServiceAccount kube-system/resourcequota-controller",
        "Kubernetes: everything, to count it",
    ),
    (
        "User system:kube-controller-manager",
        "Kubernetes: tokens of service accounts",
    ),
];

/// Whether a role reads Secrets of these names, one at least.
fn reads_secrets(role: &Value, names: &BTreeSet<&str>) -> bool {
    rules(role).any(|rule| {
        let only: Vec<&str> = words(rule, "resourceNames").collect();
        has(rule, "apiGroups", &["", "*"])
            && has(rule, "resources", &["secrets", "*"])
            && has(rule, "verbs", &["get", "list", "watch", "*"])
            && (only.is_empty() || only.iter().any(|name| names.contains(name)))
    })
}

/// Whether a role starts pods, by whatever makes some, or gets into those that run: a pod can mount every Secret of its namespace.
fn starts_pods(role: &Value) -> bool {
    rules(role).any(|rule| {
        let makers = [
            "*",
            "pods",
            "pods/exec",
            "pods/ephemeralcontainers",
            "deployments",
            "replicasets",
            "statefulsets",
            "daemonsets",
            "replicationcontrollers",
            "jobs",
            "cronjobs",
        ];
        has(rule, "apiGroups", &["", "apps", "batch", "*"])
            && has(rule, "resources", &makers)
            && has(rule, "verbs", &["create", "update", "patch", "*"])
            && words(rule, "resourceNames").next().is_none()
    })
}

fn rules(role: &Value) -> impl Iterator<Item = &Value> {
    role["rules"].as_array().into_iter().flatten()
}

fn words<'a>(rule: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    rule[key]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

fn has(rule: &Value, key: &str, of: &[&str]) -> bool {
    words(rule, key).any(|word| of.contains(&word))
}

#[test]
fn who_may_read_the_keys_is_known_and_each_has_a_reason() {
    wait_ready("acme", MINUTE);
    let all = |kinds: &str| {
        let list = kube::get(lab(), &["-n", install::KEYS, kinds]).unwrap();
        list["items"].as_array().unwrap().clone()
    };
    let roles = all("clusterroles,roles");
    let bindings = all("clusterrolebindings,rolebindings");
    let name_of = |object: &Value| (object["kind"].clone(), object["metadata"]["name"].clone());
    let who = |may: &dyn Fn(&Value) -> bool| {
        let mut found = BTreeSet::new();
        for binding in &bindings {
            let wanted = (
                binding["roleRef"]["kind"].clone(),
                binding["roleRef"]["name"].clone(),
            );
            if !roles.iter().any(|role| name_of(role) == wanted && may(role)) {
                continue;
            }
            for subject in binding["subjects"].as_array().into_iter().flatten() {
                let text = |key: &str| subject[key].as_str().unwrap_or_default().to_owned();
                let namespace = match text("namespace") {
                    namespace if namespace.is_empty() => String::new(),
                    namespace => format!("{namespace}/"),
                };
                found.insert(format!("{} {namespace}{}", text("kind"), text("name")));
            }
        }
        found
    };
    let secrets = all("secrets");
    let names: BTreeSet<&str> = secrets
        .iter()
        .filter_map(|secret| secret["metadata"]["name"].as_str())
        .collect();
    assert!(names.contains("root-key"), "{names:?}");
    for (who, why) in READERS {
        println!("  {who}: {why}");
    }
    // Nodes are no binding: the Node authorizer lets each read the keys of the volumes that its pods use.
    let expected: BTreeSet<String> = READERS.iter().map(|(who, _)| (*who).to_owned()).collect();
    assert_eq!(who(&|role| reads_secrets(role, &names)), expected);

    // Whoever starts a pod there reads them by it: none does but Kubernetes' own controllers, and who reads them anyway.
    let others: Vec<String> = who(&starts_pods)
        .into_iter()
        .filter(|who| !expected.contains(who) && !who.starts_with("ServiceAccount kube-system/"))
        .collect();
    assert_eq!(others, [] as [String; 0]);
}
