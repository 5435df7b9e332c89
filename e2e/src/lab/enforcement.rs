//! A cluster whose network plug-in lets NetworkPolicies be: Cilium's enforcement, off and on while it runs.
//!
//! In: the lab and a switch. Out: a lab in which every pod's datapath follows it. The agents' API is asked over their Unix
//! sockets, which `/proc` shows through the nodes' mount namespaces. A restarted agent enforces again.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::net::NodeId;
use super::{Lab, shell, status};
use crate::kube;

/// How long the agent may take to give every pod its new datapath: each takes tenths of a second.
const LIMIT: Duration = Duration::from_secs(60);

/// Off while this lives, on again when it is dropped: a failing test must not leave the lab open for the next one.
#[derive(Debug)]
pub struct Unenforced<'a>(&'a Lab);

impl Unenforced<'_> {
    pub fn start(lab: &Lab) -> Result<Unenforced<'_>> {
        let guard = Unenforced(lab);
        enforcement(lab, false)?;
        Ok(guard)
    }
}

impl Drop for Unenforced<'_> {
    fn drop(&mut self) {
        if let Err(error) = enforcement(self.0, true) {
            eprintln!("NetworkPolicies are still not enforced: {error:#}");
        }
    }
}

/// Switches the enforcement of NetworkPolicies on or off for every pod, and returns once it holds. Connections that
/// are open stay open.
pub fn enforcement(lab: &Lab, on: bool) -> Result<()> {
    let wanted = if on { "default" } else { "never" };
    let nodes = status::nodes(lab);
    if nodes.is_empty() {
        bail!("the lab does not run; start it with `cargo xtask up`");
    }
    for node in nodes {
        let change = json!({"policy-enforcement": wanted}).to_string();
        call(lab, node, "PATCH", "/v1/config", Some(&change))?;
        let config = call(lab, node, "GET", "/v1/config", None)?;
        if config["spec"]["policy-enforcement"] != wanted {
            bail!(
                "{}: enforcement is {}",
                node.name(),
                config["spec"]["policy-enforcement"]
            );
        }
        let policy = call(lab, node, "GET", "/v1/policy", None)?;
        let revision = policy["revision"]
            .as_i64()
            .context("the agent names no revision")?;
        let what = format!("every pod of {} to have enforcement {wanted}", node.name());
        kube::until(&what, LIMIT, || {
            let pods = call(lab, node, "GET", "/v1/endpoint", None)?;
            let pods = pods.as_array().context("the agent lists no pods")?;
            Ok(pods.iter().all(|pod| follows(pod, on, revision)).then_some(()))
        })?;
    }
    Ok(())
}

/// Whether what is in the kernel for a pod was computed since the switch, which counts as a revision of all policies.
fn follows(pod: &Value, on: bool, revision: i64) -> bool {
    let policy = &pod["status"]["policy"];
    let enforced = &policy["realized"]["policy-enabled"];
    pod["status"]["state"] == "ready"
        && policy["realized"]["policy-revision"]
            .as_i64()
            .is_some_and(|found| found >= revision)
        && enforced == &policy["spec"]["policy-enabled"]
        && (on || enforced == "none")
}

fn call(lab: &Lab, node: NodeId, method: &str, path: &str, body: Option<&str>) -> Result<Value> {
    let Some(pid) = status::init_pid(lab, node) else {
        bail!("{} does not run", node.name())
    };
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--fail-with-body", "--max-time", "30"])
        .args([
            "--unix-socket",
            &format!("/proc/{pid}/root/run/cilium/cilium.sock"),
        ])
        .args(["--request", method]);
    if let Some(body) = body {
        command.args(["--header", "Content-Type: application/json", "--data", body]);
    }
    let answer = shell::capture(command.arg(format!("http://localhost{path}")))?;
    if answer.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&answer).with_context(|| format!("the agent answered {answer:?} to {method} {path}"))
}
