//! What runs: every part with its state, version, memory and log. Read from the processes and the API server,
//! never from a note of what should be.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;

use super::builds::{self, PROGRAMS};
use super::net::NodeId;
use super::{Lab, addons, cgroup, host, parts, shell};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub running: bool,
    pub kubeconfig: PathBuf,
    pub parts: Vec<PartStatus>,
    /// Where the bytes of the volumes lie on this machine's disk, by node.
    pub volumes: BTreeMap<String, PathBuf>,
    /// Of the lab's processes and of the pods of its add-ons, not of tenants.
    pub memory_bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartStatus {
    pub name: String,
    pub node: String,
    /// `Running`, `Ready`, `NotReady` or `Stopped`.
    pub state: String,
    pub version: String,
    pub memory_bytes: u64,
    pub restarts: u64,
    pub log: String,
}

/// What runs in pods: part, namespace, its workload as `kind/name`, label selector of its pods.
const WORKLOADS: &[(&str, &str, &str, &str)] = &[
    ("coredns", "kube-system", "deployment/coredns", "k8s-app=kube-dns"),
    (
        "local-path-provisioner",
        "local-path-storage",
        "deployment/local-path-provisioner",
        "app=local-path-provisioner",
    ),
    (
        "csi-controller",
        "freehold-csi",
        "deployment/controller",
        "app=controller",
    ),
    ("csi-node", "freehold-csi", "daemonset/node", "app=node"),
    (
        "cnpg-manager",
        "cnpg-system",
        "deployment/cnpg-controller-manager",
        "app.kubernetes.io/name=cloudnative-pg",
    ),
    (
        "traefik",
        "traefik",
        "deployment/traefik",
        "app.kubernetes.io/name=traefik",
    ),
    (
        "cert-manager",
        "cert-manager",
        "deployment/cert-manager",
        "app.kubernetes.io/name=cert-manager",
    ),
    (
        "freehold-keys",
        "freehold-keys",
        "deployment/freehold-keys",
        "app.kubernetes.io/name=freehold-keys",
    ),
    (
        "freehold",
        "freehold-system",
        "deployment/freehold",
        "app.kubernetes.io/name=freehold",
    ),
];

/// Looks at everything; a lab that doesn't run is a status too, not an error.
pub fn read(lab: &Lab) -> Result<Status> {
    let mut status = Status {
        running: host::running(lab).is_some(),
        kubeconfig: lab.kubeconfig(),
        parts: Vec::new(),
        volumes: BTreeMap::new(),
        memory_bytes: 0,
    };
    if !status.running {
        return Ok(status);
    }
    let supervisor = host::running(lab).unwrap_or_default();
    status.parts.push(PartStatus {
        name: "supervisor".into(),
        node: "host".into(),
        state: "Running".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        memory_bytes: resident(supervisor as u32),
        restarts: 0,
        log: lab.log("host").display().to_string(),
    });
    for node in nodes(lab) {
        status.volumes.insert(node.name(), lab.volumes(&node.name()));
        status.parts.extend(processes(lab, node)?);
    }
    status.parts.extend(workloads(lab));
    status.memory_bytes = status.parts.iter().map(|p| p.memory_bytes).sum();
    Ok(status)
}

/// The nodes that run.
pub fn nodes(lab: &Lab) -> Vec<NodeId> {
    [NodeId(1), NodeId(2)]
        .into_iter()
        .filter(|n| init_pid(lab, *n).is_some())
        .collect()
}

/// A command that runs inside of a node's namespaces; arguments are to be added.
pub fn enter(lab: &Lab, node: NodeId) -> Result<Command> {
    let Some(pid) = init_pid(lab, node) else {
        bail!("{} does not run; start it with `cargo xtask up`", node.name())
    };
    let mut command = Command::new("nsenter");
    command.args(["-t", &pid.to_string(), "-n", "-m", "-p", "--"]);
    Ok(command)
}

/// A command that uses a node's network, and is a process of the host in all else; arguments are to be added.
pub fn enter_network(lab: &Lab, node: NodeId) -> Result<Command> {
    let Some(pid) = init_pid(lab, node) else {
        bail!("{} does not run; start it with `cargo xtask up`", node.name())
    };
    let mut command = Command::new("nsenter");
    command.args(["-t", &pid.to_string(), "-n", "--"]);
    Ok(command)
}

/// The first process of a node, as the host counts.
pub(super) fn init_pid(lab: &Lab, node: NodeId) -> Option<u32> {
    host::running(lab)?;
    fs::read_to_string(lab.cluster().join(node.name()).join("init.pid"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn processes(lab: &Lab, node: NodeId) -> Result<Vec<PartStatus>> {
    let record = lab.cluster().join(node.name()).join("parts.json");
    let record: Value =
        serde_json::from_slice(&fs::read(&record).with_context(|| format!("read {}", record.display()))?)?;
    let pids = host_pids(init_pid(lab, node).unwrap_or_default());
    let mut all = Vec::new();
    for part in parts::of(node) {
        let pid = record[part.name]["pid"]
            .as_u64()
            .and_then(|p| pids.get(&(p as u32)).copied());
        let memory = pid.map_or(0, resident);
        all.push(PartStatus {
            name: part.name.into(),
            node: node.name(),
            state: if memory > 0 { "Running" } else { "Stopped" }.into(),
            version: version(lab, part.name),
            memory_bytes: memory,
            restarts: record[part.name]["restarts"].as_u64().unwrap_or_default(),
            log: lab.log(part.name).display().to_string(),
        });
    }
    Ok(all)
}

/// Which PID of the host is which PID inside of the namespace that `init` is the first process of.
fn host_pids(init: u32) -> BTreeMap<u32, u32> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else {
            continue;
        };
        let field = |name: &str| {
            status
                .lines()
                .find_map(|l| l.strip_prefix(name))
                .unwrap_or_default()
        };
        let parent: u32 = field("PPid:").trim().parse().unwrap_or_default();
        let pids: Vec<u32> = field("NSpid:")
            .split_whitespace()
            .filter_map(|p| p.parse().ok())
            .collect();
        if let [outer, .., inner] = pids.as_slice()
            && parent == init
        {
            found.insert(*inner, *outer);
        }
    }
    found
}

fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = status.lines().find_map(|l| {
        l.strip_prefix("VmRSS:")?
            .trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or_default() << 10
}

fn version(lab: &Lab, part: &str) -> String {
    let program = match part {
        "etcd" => return builds::required(lab, "kube", "go.etcd.io/etcd/server/v3").unwrap_or_default(),
        // Of this workspace.
        "freehold" | "freehold-keys" | "csi-controller" | "csi-node" => {
            return env!("CARGO_PKG_VERSION").into();
        }
        other => PROGRAMS
            .iter()
            .find(|p| p.name == other)
            .or_else(|| PROGRAMS.iter().find(|p| p.name == "kube")),
    };
    program
        .and_then(|p| builds::required(lab, p.module, p.origin))
        .unwrap_or_default()
}

fn workloads(lab: &Lab) -> Vec<PartStatus> {
    let get = |args: &[&str]| -> Value {
        shell::capture(
            addons::kubectl(lab)
                .args(["--request-timeout=5s", "get", "-o", "json"])
                .args(args),
        )
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
    };
    let mut all = Vec::new();
    for (part, namespace, name, selector) in WORKLOADS {
        let workload = get(&["-n", namespace, name]);
        if workload.is_null() {
            continue;
        }
        let pods = get(&["-n", namespace, "pods", "-l", selector]);
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let memory = pods.iter().filter_map(pod_memory).sum();
        all.push(PartStatus {
            name: (*part).into(),
            node: "pods".into(),
            state: if is_ready(&workload) { "Ready" } else { "NotReady" }.into(),
            version: version(lab, part),
            memory_bytes: memory,
            restarts: pods.iter().map(restarts).sum(),
            log: format!("cargo xtask logs {part}"),
        });
    }
    all
}

/// Whether all pods of a Deployment or DaemonSet are ready.
fn is_ready(workload: &Value) -> bool {
    let status = &workload["status"];
    let (wanted, ready) = if workload["kind"] == "DaemonSet" {
        (&status["desiredNumberScheduled"], &status["numberReady"])
    } else {
        (&workload["spec"]["replicas"], &status["readyReplicas"])
    };
    ready.as_u64().unwrap_or_default() >= wanted.as_u64().unwrap_or(1)
}

/// Of all containers of a pod.
fn restarts(pod: &Value) -> u64 {
    let containers = pod["status"]["containerStatuses"].as_array();
    let counts = containers.into_iter().flatten();
    counts
        .filter_map(|container| container["restartCount"].as_u64())
        .sum()
}

fn pod_memory(pod: &Value) -> Option<u64> {
    let node = if pod["spec"]["nodeName"] == "node2" {
        NodeId(2)
    } else {
        NodeId(1)
    };
    cgroup::pod_memory(node, pod["metadata"]["uid"].as_str()?)
}

/// The table for people.
pub fn table(status: &Status) -> String {
    if !status.running {
        return "The lab does not run. Start it with `cargo xtask up`.\n".into();
    }
    let mut text = format!(
        "{:<24} {:<6} {:<9} {:<10} {:>8} {:>4}  LOG\n",
        "PART", "NODE", "STATE", "VERSION", "MEMORY", "RE"
    );
    for p in &status.parts {
        let memory = format!("{} MiB", p.memory_bytes >> 20);
        text += &format!(
            "{:<24} {:<6} {:<9} {:<10} {memory:>8} {:>4}  {}\n",
            p.name, p.node, p.state, p.version, p.restarts, p.log
        );
    }
    text += &format!(
        "\nmemory      {} MiB (tenants not counted)\n",
        status.memory_bytes >> 20
    );
    text += &format!("kubeconfig  {}\n", status.kubeconfig.display());
    for (node, path) in &status.volumes {
        text += &format!("volumes     {} ({node})\n", path.display());
    }
    text
}

/// Shows the log of a part: the file of a process, or the pods' of an add-on.
pub fn logs(lab: &Lab, part: &str, follow: bool) -> Result<()> {
    let mut command = match WORKLOADS.iter().find(|(name, ..)| *name == part) {
        Some((_, namespace, _, selector)) => {
            let mut command = addons::kubectl(lab);
            command.args([
                "-n",
                namespace,
                "logs",
                "--prefix",
                "--all-containers",
                "--tail=200",
            ]);
            command.args(["-l", selector]);
            command
        }
        None if lab.log(part).exists() => {
            let mut command = Command::new("tail");
            command.args(["-n", "200"]).arg(lab.log(part));
            command
        }
        None => bail!(
            "there is no log of {part:?}; `cargo xtask status` lists the parts, {} holds the files",
            lab.logs().display()
        ),
    };
    if follow {
        command.arg("-f");
    }
    let status = command.status()?;
    if !status.success() {
        bail!("the log of {part} can't be shown: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_daemon_set_is_ready_when_it_is_on_every_node_and_a_deployment_when_all_its_replicas_are() {
        let mut daemons =
            json!({"kind": "DaemonSet", "status": {"desiredNumberScheduled": 2, "numberReady": 1}});
        assert!(!is_ready(&daemons));
        daemons["status"]["numberReady"] = 2.into();
        assert!(is_ready(&daemons));
        let mut deployment = json!({"kind": "Deployment", "spec": {"replicas": 1}, "status": {}});
        assert!(!is_ready(&deployment));
        deployment["status"]["readyReplicas"] = 1.into();
        assert!(is_ready(&deployment));
    }

    #[test]
    fn restarts_are_those_of_all_containers_of_a_pod() {
        let pod = json!({"status": {"containerStatuses": [{"restartCount": 1}, {"restartCount": 2}]}});
        assert_eq!(restarts(&pod), 3);
        assert_eq!(restarts(&json!({})), 0);
    }
}
