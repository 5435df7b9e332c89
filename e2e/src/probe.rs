//! Who reaches whom, by packet: short-lived pods that try TCP connections. A pod with a tenant's labels but
//! outside of its Services stands for a hostile tenant; an unrestricted control pod must reach the same targets in the same
//! run, or a blocked connection proves nothing. The control pod is on the node's network: a pod of any namespace would be
//! stopped by the policies of the targets themselves, while the node reaches every pod that runs on it.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::kube;
use crate::lab::Lab;

/// The namespace of the control pod; no policies there.
pub const CONTROL: &str = "freehold-probe";

/// Somewhere to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub what: String,
    pub host: String,
    pub port: u16,
}

/// What a probe found for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub target: Target,
    pub reached: bool,
}

/// Starts a pod that does nothing but wait for probes. `labels` decide which policies hold for it.
pub fn start(lab: &Lab, namespace: &str, name: &str, image: &str, labels: &Value) -> Result<()> {
    run(lab, namespace, name, image, labels, false)
}

fn run(
    lab: &Lab,
    namespace: &str,
    name: &str,
    image: &str,
    labels: &Value,
    host_network: bool,
) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "hostNetwork": host_network, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0, "enableServiceLinks": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "probe", "image": image, "command": ["sleep", "infinity"],
                "resources": {"requests": {"cpu": "5m", "memory": "8Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]},
    });
    remove(lab, namespace, name);
    kube::apply(lab, &[pod])?;
    kube::wait_condition(
        lab,
        &["-n", namespace, "pod", name],
        "Ready",
        "True",
        Duration::from_secs(60),
    )?;
    Ok(())
}

/// The control pod, in a namespace of its own.
pub fn start_control(lab: &Lab, image: &str) -> Result<()> {
    kube::apply(
        lab,
        &[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CONTROL}})],
    )?;
    kube::until(
        "the control namespace's service account",
        Duration::from_secs(30),
        || Ok(kube::get(lab, &["-n", CONTROL, "serviceaccount", "default"]).ok()),
    )?;
    run(lab, CONTROL, "control", image, &json!({}), true)
}

pub fn remove(lab: &Lab, namespace: &str, name: &str) {
    let _ = kube::kubectl(
        lab,
        &[
            "-n",
            namespace,
            "delete",
            "pod",
            name,
            "--ignore-not-found",
            "--wait=true",
        ],
    );
}

/// Tries each target once from a pod; a connection that isn't there within two seconds counts as blocked.
pub fn reach(lab: &Lab, namespace: &str, pod: &str, targets: &[Target]) -> Result<Vec<Found>> {
    let mut script = String::new();
    for target in targets {
        let Target { host, port, .. } = target;
        script += &format!(
            "timeout 2 bash -c '</dev/tcp/{host}/{port}' 2>/dev/null && echo reached || echo blocked\n"
        );
    }
    let output = kube::exec(lab, namespace, pod, &["bash", "-c", &script])?;
    let lines: Vec<&str> = output.lines().collect();
    let mut found = Vec::new();
    for (at, target) in targets.iter().enumerate() {
        let line = lines
            .get(at)
            .with_context(|| format!("the probe in {namespace} printed {output:?}"))?;
        found.push(Found {
            target: target.clone(),
            reached: *line == "reached",
        });
    }
    Ok(found)
}

/// A target by the address of a Service.
pub fn service(lab: &Lab, what: &str, namespace: &str, name: &str, port: u16) -> Result<Target> {
    let object = kube::get(lab, &["-n", namespace, "service", name])?;
    let host = object["spec"]["clusterIP"]
        .as_str()
        .context("the Service has no address")?
        .to_string();
    Ok(Target {
        what: what.into(),
        host,
        port,
    })
}

/// A target by the address of the first running pod with these labels.
pub fn pod(lab: &Lab, what: &str, namespace: &str, selector: &str, port: u16) -> Result<Target> {
    let list = kube::get(
        lab,
        &[
            "-n",
            namespace,
            "pods",
            "-l",
            selector,
            "--field-selector=status.phase=Running",
        ],
    )?;
    let host = list["items"][0]["status"]["podIP"]
        .as_str()
        .with_context(|| format!("no pod {selector} in {namespace}"))?;
    Ok(Target {
        what: what.into(),
        host: host.to_string(),
        port,
    })
}
