//! Room for hundreds of tenants on one small machine: nodes without a kubelet whose pods only say that they run (kwok),
//! and databases that only say that they are ready. Everything else of the lab is real: the API server, the controllers,
//! the scheduler, the gateway. In: a running lab. Out: nodes with [`LABEL`] and [`TAINT`] for as long as [`Scale`] lives.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::kube;
pub use crate::lab::audit::{Marker, Requests, mark, requests_of};
use crate::lab::databases::{Databases, tied};
use crate::lab::{Lab, builds, shell};

/// The label of the nodes, for a `nodeSelector`: key and value.
pub const LABEL: (&str, &str) = ("type", "kwok");
/// The taint (`NoSchedule`) that keeps every pod off that doesn't ask for them: key and value.
pub const TAINT: (&str, &str) = ("kwok.x-k8s.io/node", "fake");
/// What a tenant's namespace begins with.
pub const TENANTS: &str = "tenant-";
/// How the operator is called in the audit log.
pub const OPERATOR: &str = "system:serviceaccount:freehold-system:freehold";

/// Pods that a node takes; Kubernetes' own limit is 110 because real ones need something.
const PODS: u32 = 4000;

/// kwok's own stages, of its module: nodes are ready and stay so; pods run at once, those of Jobs complete, those that
/// are deleted vanish.
const STAGES: [&str; 5] = [
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
];

/// Fake nodes and databases. Keep it in the thread that started it: its processes end with that thread, so that a
/// killed test leaves none.
#[derive(Debug)]
pub struct Scale {
    lab: Lab,
    kwok: Kwok,
    _databases: Databases,
}

#[derive(Debug)]
struct Kwok(Child);

impl Drop for Kwok {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Scale {
    /// Builds kwok if it isn't there, and returns when all nodes are ready.
    pub fn start(lab: &Lab, nodes: u32) -> Result<Scale> {
        let scale = Scale {
            kwok: kwok(lab)?,
            _databases: Databases::start(lab, TENANTS)?,
            lab: lab.clone(),
        };
        let all: Vec<Value> = (1..=nodes).map(node).collect();
        kube::apply(lab, &all)?;
        let selector = format!("{}={}", LABEL.0, LABEL.1);
        kube::kubectl(
            lab,
            &[
                "wait",
                "--for=condition=Ready",
                "nodes",
                "-l",
                &selector,
                "--timeout=60s",
            ],
        )?;
        Ok(scale)
    }

    /// The PID of kwok's process.
    pub fn pid(&self) -> u32 {
        self.kwok.0.id()
    }
}

impl Drop for Scale {
    /// Kubernetes collects pods that are still on the nodes; nobody else would end them.
    fn drop(&mut self) {
        let selector = format!("{}={}", LABEL.0, LABEL.1);
        let delete = |args: &[&str]| {
            if let Err(error) = kube::kubectl(&self.lab, args) {
                eprintln!("of the fake nodes something is left: {error:#}");
            }
        };
        delete(&["delete", "nodes", "-l", &selector]);
    }
}

fn node(number: u32) -> Value {
    let room = json!({"cpu": "1000", "memory": "4Ti", "pods": PODS.to_string(), "ephemeral-storage": "4Ti"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": format!("kwok-{number}"), "labels": {LABEL.0: LABEL.1}},
        "spec": {"taints": [{"key": TAINT.0, "value": TAINT.1, "effect": "NoSchedule"}]},
        "status": {"allocatable": room, "capacity": room},
    })
}

fn kwok(lab: &Lab) -> Result<Kwok> {
    let program = builds::on_demand(lab, "kwok")?;
    let stages = builds::module_dir(lab, "kwok", "sigs.k8s.io/kwok")?.join("kustomize/stage");
    let mut command = Command::new(program);
    command
        .arg(format!("--kubeconfig={}", lab.kubeconfig().display()))
        .arg(format!(
            "--manage-nodes-with-label-selector={}={}",
            LABEL.0, LABEL.1
        ))
        .arg("--node-lease-duration-seconds=40")
        // Not the pods' addresses of real nodes: the network plug-in must not take these for its own.
        .arg("--cidr=10.99.0.0/16");
    for stage in STAGES {
        command.arg(format!("--config={}", stages.join(stage).display()));
    }
    let log = shell::append(&lab.log("kwok"))?;
    let child = tied(command)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("start kwok")?;
    Ok(Kwok(child))
}
