//! What encryption costs a database: the same PostgreSQL, the same file system, on a volume of each class of the lab's
//! driver, in turns. Minutes of measuring, so only when asked for: `cargo xtask bench`, with `FREEHOLD_ROUNDS` for more or
//! fewer than five.

use freehold_e2e::kube;
use freehold_e2e::lab::net::NodeId;
use freehold_e2e::lab::{shell, status};
use serde_json::{Value, json};

use crate::stage::{Guest, MINUTE, change, image, lab, namespace, wait_ready};

/// Transactions on an encrypted volume for each on one that isn't.
const LEAST: f64 = 0.8;
const POD: &str = "speed";
/// The class, and the folder in the pod.
const VOLUMES: [(&str, &str); 2] = [("encrypted", "/encrypted"), ("plain-control", "/plain")];
const BIN: &str = "/usr/lib/postgresql/17/bin";

/// One pod with a volume of each class.
fn start(tenant: &str, namespace: &str) {
    let name = |folder: &str| format!("{POD}{}", folder.replace('/', "-"));
    let mut objects: Vec<Value> = VOLUMES
        .iter()
        .map(|(class, folder)| {
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": name(folder), "namespace": namespace, "labels": {"freehold.dev/tenant": tenant}},
                "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
                    "resources": {"requests": {"storage": "3Gi"}}}})
        })
        .collect();
    let volumes = VOLUMES.map(
        |(_, folder)| json!({"name": name(folder), "persistentVolumeClaim": {"claimName": name(folder)}}),
    );
    let mounts = VOLUMES.map(|(_, folder)| json!({"name": name(folder), "mountPath": folder}));
    objects.push(
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD, "namespace": namespace},
        "spec": {"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
            "securityContext": {"runAsUser": 26, "runAsNonRoot": true, "fsGroup": 26,
                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "main", "image": image(), "command": ["sleep", "7200"],
                "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": mounts}],
            "volumes": volumes}}),
    );
    kube::apply(lab(), &objects).unwrap();
    let pod = ["-n", namespace, "pod", POD];
    kube::wait_condition(lab(), &pod, "Ready", "True", 2 * MINUTE).unwrap();
    for (_, folder) in VOLUMES {
        let make = format!(
            "{BIN}/initdb -D {folder}/pg -U postgres -A trust >/tmp/log && {} && {BIN}/pgbench -h /tmp -U postgres -i -q -s 20 \
             postgres 2>/tmp/log && {}",
            server(folder, "start"),
            server(folder, "stop")
        );
        sh(namespace, &make);
    }
}

fn sh(namespace: &str, script: &str) -> String {
    kube::exec(lab(), namespace, POD, &["sh", "-c", script]).unwrap()
}

fn server(folder: &str, act: &str) -> String {
    format!(
        "{BIN}/pg_ctl -D {folder}/pg -o \"-k /tmp -c listen_addresses=''\" -l /tmp/server -w {act} >/tmp/log"
    )
}

/// TPC-B's transactions per second, on a server that was started for it.
fn transactions(namespace: &str, folder: &str) -> f64 {
    let measure = format!(
        "{} && {BIN}/psql -h /tmp -U postgres -qc checkpoint && {BIN}/pgbench -h /tmp -U postgres -n -c 4 -j 2 -T 20 postgres; \
         {}",
        server(folder, "start"),
        server(folder, "stop")
    );
    let told = sh(namespace, &measure);
    let line = told.lines().find_map(|line| line.strip_prefix("tps = "));
    let number = line.and_then(|rest| rest.split(' ').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("{told}"))
}

/// What fio makes of a volume, from the node's side: MB/s of one large file with an fsync at its end, and small writes with
/// an fsync for each, by the second.
fn disk(namespace: &str, volume: &str) -> (f64, f64) {
    let pod = kube::get(lab(), &["-n", namespace, "pod", POD]).unwrap();
    let claims = kube::get(lab(), &["-n", namespace, "persistentvolumeclaims"]).unwrap();
    let claims = claims["items"].as_array().unwrap();
    let of_class = |claim: &&Value| {
        claim["spec"]["storageClassName"] == volume
            && claim["metadata"]["name"]
                .as_str()
                .is_some_and(|name| name.starts_with(POD))
    };
    let name = claims.iter().find(of_class).unwrap()["spec"]["volumeName"].clone();
    let node = pod["spec"]["nodeName"].as_str().unwrap();
    let folder = format!(
        "/mnt/cluster/{node}/kubelet/pods/{}/volumes/kubernetes.io~csi/{}/mount",
        pod["metadata"]["uid"].as_str().unwrap(),
        name.as_str().unwrap(),
    );
    let number = if node == "node2" { 2 } else { 1 };
    let fio = |args: &[&str]| -> Value {
        let mut command = status::enter(lab(), NodeId(number)).unwrap();
        command
            .args(["fio", "--name=fio", "--output-format=json", "--unlink=1"])
            .arg(format!("--directory={folder}"))
            .args(args);
        let told = shell::capture(&mut command).unwrap();
        let told: Value = serde_json::from_str(&told).unwrap();
        told["jobs"][0]["write"].clone()
    };
    let large = fio(&["--rw=write", "--bs=1M", "--size=512M", "--end_fsync=1"]);
    let small = [
        "--rw=randwrite",
        "--bs=8k",
        "--size=64M",
        "--fsync=1",
        "--time_based",
        "--runtime=10",
    ];
    let small = fio(&small);
    (
        large["bw_bytes"].as_f64().unwrap() / 1e6,
        small["iops"].as_f64().unwrap(),
    )
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    if all.len() % 2 == 1 {
        all[middle]
    } else {
        f64::midpoint(all[middle - 1], all[middle])
    }
}

/// What the kernel encrypts with: of the drivers of AES-XTS the one that it prefers.
fn cipher() -> String {
    let table = std::fs::read_to_string("/proc/crypto").unwrap();
    let field = |block: &str, key: &str| {
        let mut lines = block.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(name, _)| name.trim() == key);
        found.map(|(_, value)| value.trim().to_owned())
    };
    let drivers = table
        .split("\n\n")
        .filter(|block| field(block, "name").as_deref() == Some("xts(aes)"));
    let preferred = drivers.max_by_key(|block| {
        let priority = field(block, "priority");
        priority.and_then(|text| text.parse::<u32>().ok())
    });
    preferred
        .and_then(|block| field(block, "driver"))
        .unwrap_or_default()
}

#[test]
#[ignore = "minutes of measuring: cargo xtask bench"]
fn a_database_on_an_encrypted_volume_does_0_8_of_the_transactions_of_one_that_is_not() {
    let rounds: usize = std::env::var("FREEHOLD_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(5);
    let guest = Guest::ready("sprinter", 1);
    // Its own pods would take part in the race.
    change(guest.0, &json!({"desiredState": "Suspended"}));
    wait_ready(guest.0, 2 * MINUTE);
    let namespace = namespace(guest.0);
    start(guest.0, &namespace);
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let mut measured = [0.0; 2];
        // Each is the first as often as the other.
        for turn in 0..2 {
            let of = (round + turn) % 2;
            measured[of] = transactions(&namespace, VOLUMES[of].1);
        }
        let [encrypted, plain] = measured;
        println!(
            "round {round}: {encrypted:.0} transactions a second on the encrypted volume, {plain:.0} on the plain one"
        );
        ratios.push(encrypted / plain);
    }
    let ratio = median(ratios);
    println!(
        "pgbench, median of {rounds} rounds: {ratio:.2} times as many; cipher {}",
        cipher()
    );
    for (class, _) in VOLUMES {
        let (large, small) = disk(&namespace, class);
        println!(
            "fio, {class}: {large:.0} MB/s of one file, {small:.0} small writes a second, each with an fsync"
        );
    }
    // A kernel without the processor's instructions for AES computes it in C, in constant time: that is the cause then.
    let in_software = ["generic", "fixed-time", "lib"];
    if in_software.iter().any(|word| cipher().contains(word)) {
        println!("the kernel encrypts in software here: {LEAST} is not asked for");
        return;
    }
    assert!(ratio >= LEAST, "{ratio:.2} < {LEAST}");
}

#[test]
fn the_median_is_the_middle_and_the_cipher_is_known() {
    assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    assert!(cipher().contains("aes"), "{}", cipher());
}
