//! The operator as a process of the host, in the place of the lab's Deployment and in the first node's network: what it reads and writes can be
//! watched and injured ([`crate::fault_proxy`]), and it can be killed at any instant. In: a lab with Freehold in it,
//! and a binary. The environment and the arguments are the Deployment's own, so that what the chart gains counts here too.
//!
//! Invariant: its only way to the API server is the proxy, with the rights of the ServiceAccount. So one that is left
//! behind, because the test was killed, finds no API server and ends with its lease.
//!
//! The identity is the same in each life. `kube-lease-manager` compares the lease's holder with its own identity and
//! nothing else: a lease that the life before left is its own, even one that has expired, and it leads at once. The next
//! thing that it does is to renew it. With an identity for each life it would first wait for the lease's end, 15 s.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::fault_proxy::{FaultProxy, Victim};
use crate::install::{KEYS, NAMESPACE};
use crate::kube;
use crate::lab::net::{DNS_SERVICE, HOST_ADDRESS, NodeId};
use crate::lab::{Lab, addons, images, shell, status};

const DEPLOYMENT: &str = "freehold";
/// It asks the cluster's DNS, as a pod does: the gateway's address is a name there.
const IN_THE_CLUSTER: &str = r#"/bin/mount --bind "$0" /etc/resolv.conf; exec "$@""#;
/// Its name in the election.
pub const IDENTITY: &str = "operator-on-host";
const SOON: Duration = Duration::from_secs(60);

/// The binary to run: `$FREEHOLD_BINARY`, else the one that the lab's image is made of.
pub fn binary(lab: &Lab) -> Result<PathBuf> {
    let given = std::env::var_os("FREEHOLD_BINARY").map(PathBuf::from);
    let found = given.or_else(|| Some(images::program(lab, DEPLOYMENT)).filter(|path| path.exists()));
    found.context("there is no operator to run: cargo xtask image freehold")
}

/// The operator on the host with the proxy before it, in the place of the Deployment, which runs again once this
/// is dropped, in a panic too.
#[derive(Debug)]
pub struct StandIn<'a> {
    // Dropped in this order: the process ends before its successors start.
    pub process: Arc<Process>,
    pub proxy: FaultProxy,
    _keys: KeyService,
    _paused: Paused<'a>,
}

impl<'a> StandIn<'a> {
    /// Ends the Deployment's pods and starts `binary` with `more` in its environment; returns when that leads.
    pub fn start(lab: &'a Lab, binary: &Path, more: &[(&str, &str)]) -> Result<StandIn<'a>> {
        let deployment = kube::get(lab, &["-n", NAMESPACE, "deployment", DEPLOYMENT])?;
        let pod = &deployment["spec"]["template"]["spec"];
        let account = pod["serviceAccountName"].as_str().unwrap_or("default");
        let proxy = FaultProxy::start(lab, NAMESPACE, account)?;
        let keys = KeyService::open(lab, account)?;
        let more = [more, &keys.environment()].concat();
        let process = Arc::new(Process::new(lab, binary, &more, &proxy.url(), pod)?);
        let paused = Paused::now(lab, &deployment)?;
        process.start()?;
        let stand_in = StandIn {
            process,
            proxy,
            _keys: keys,
            _paused: paused,
        };
        let lease = ["-n", NAMESPACE, "lease", "freehold"];
        kube::until("the operator on the host to lead", SOON, || {
            Ok((kube::get(lab, &lease)?["spec"]["holderIdentity"] == IDENTITY).then_some(()))
        })?;
        Ok(stand_in)
    }
}

/// The way to the key service, and the token for it, for a process outside of the cluster.
#[derive(Debug)]
struct KeyService {
    forward: Child,
    address: String,
    token: String,
}

impl KeyService {
    fn open(lab: &Lab, account: &str) -> Result<KeyService> {
        let token = lab.cluster().join("key-service-token");
        let audience = ["--audience", "freehold-keys", "--duration", "2h"];
        let made = [&["-n", NAMESPACE, "create", "token", account], &audience[..]].concat();
        fs::write(&token, kube::kubectl(lab, &made)?)?;
        let port = TcpListener::bind((HOST_ADDRESS, 0))?.local_addr()?.port();
        let log = shell::append(&lab.log("key-service-forward"))?;
        let forward = addons::kubectl(lab)
            .args([
                "-n",
                KEYS,
                "port-forward",
                "service/freehold-keys",
                "--address",
                HOST_ADDRESS,
            ])
            .arg(format!("{port}:8443"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start kubectl port-forward")?;
        let address = format!("{HOST_ADDRESS}:{port}");
        let opened = KeyService {
            forward,
            address,
            token: token.to_string_lossy().into_owned(),
        };
        kube::until("the way to the key service", SOON, || {
            Ok(TcpStream::connect(&opened.address).is_ok().then_some(()))
        })?;
        Ok(opened)
    }

    fn environment(&self) -> [(&str, &str); 2] {
        [
            ("KEY_SERVICE_ADDRESS", &self.address),
            ("KEY_SERVICE_TOKEN_FILE", &self.token),
        ]
    }
}

impl Drop for KeyService {
    fn drop(&mut self) {
        let _ = self.forward.kill();
        let _ = self.forward.wait();
    }
}

/// The Deployment without pods, as long as this lives.
#[derive(Debug)]
struct Paused<'a> {
    lab: &'a Lab,
    replicas: u64,
}

impl<'a> Paused<'a> {
    fn now(lab: &'a Lab, deployment: &Value) -> Result<Paused<'a>> {
        // None are there if a test was killed before it could restore them; then the chart's default is right.
        let replicas = deployment["spec"]["replicas"]
            .as_u64()
            .filter(|replicas| *replicas > 0)
            .unwrap_or(2);
        let paused = Paused { lab, replicas };
        paused.scale(0)?;
        kube::until("the Deployment's operators to end", SOON, || {
            Ok(kube::processes("freehold", "run").is_empty().then_some(()))
        })?;
        Ok(paused)
    }

    fn scale(&self, replicas: u64) -> Result<()> {
        let replicas = format!("--replicas={replicas}");
        kube::kubectl(
            self.lab,
            &["-n", NAMESPACE, "scale", "deployment", DEPLOYMENT, &replicas],
        )
        .map(drop)
    }

    fn restore(&self) -> Result<()> {
        self.scale(self.replicas)?;
        let deployment = format!("deployment/{DEPLOYMENT}");
        kube::kubectl(
            self.lab,
            &["-n", NAMESPACE, "rollout", "status", &deployment, "--timeout=60s"],
        )
        .map(drop)
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            eprintln!("the Deployment {DEPLOYMENT} could not be restored: {error:#}");
        }
    }
}

/// One process at a time, started again and again with the same identity.
#[derive(Debug)]
pub struct Process {
    lab: Lab,
    binary: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    kubeconfig: PathBuf,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Process {
    fn new(lab: &Lab, binary: &Path, more: &[(&str, &str)], server: &str, pod: &Value) -> Result<Process> {
        let kubeconfig = lab.cluster().join("operator-on-host.kubeconfig");
        fs::write(&kubeconfig, serde_json::to_vec_pretty(&config(server))?)?;
        let mut environment = environment(pod)?;
        environment.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let container = &pod["containers"][0];
        let arguments = container["args"].as_array().into_iter().flatten();
        Ok(Process {
            lab: lab.clone(),
            binary: binary.to_path_buf(),
            arguments: arguments
                .filter_map(|word| word.as_str().map(String::from))
                .collect(),
            environment,
            kubeconfig,
            log: lab.log("operator-on-host"),
            child: Mutex::new(None),
        })
    }

    /// Lets it end in order, as a pod that is deleted: it gives its lease back.
    pub fn stop(&self) -> Result<()> {
        let Some(mut child) = self.child().take() else {
            return Ok(());
        };
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
        let status = child.wait()?;
        if !status.success() {
            bail!("the operator ended with {status}; see {}", self.log.display());
        }
        Ok(())
    }

    /// Whether it runs; one that ended by itself does not.
    pub fn is_running(&self) -> bool {
        self.child()
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Victim for Process {
    fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn start(&self) -> Result<()> {
        let log = shell::append(&self.log)?;
        let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let names = self.lab.cluster().join("operator-on-host.resolv.conf");
        fs::write(&names, format!("nameserver {DNS_SERVICE}\n"))?;
        let mut command = status::enter_network(&self.lab, NodeId(1))?;
        // The same process all the way: it is killed by its number.
        command
            .args(["/usr/bin/unshare", "--mount", "/bin/sh", "-ec", IN_THE_CLUSTER])
            .arg(&names)
            .arg(&self.binary)
            .args(&self.arguments)
            .args(["--identity", IDENTITY, "--listen", &listen]);
        command
            .env_clear()
            .envs(self.environment.iter().cloned())
            .env("KUBECONFIG", &self.kubeconfig);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("start {}", self.binary.display()))?;
        *self.child() = Some(child);
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn config(server: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
        "clusters": [{"name": "proxy", "cluster": {"server": server}}],
        "users": [{"name": "none", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "none"}}],
    })
}

/// The environment of the pod's container. What can't be known here is an error, so that the process is never
/// quietly another than the pod's.
fn environment(pod: &Value) -> Result<Vec<(String, String)>> {
    let entries = pod["containers"][0]["env"].as_array().into_iter().flatten();
    entries
        .map(|entry| {
            let name = entry["name"].as_str().unwrap_or_default();
            let field = entry["valueFrom"]["fieldRef"]["fieldPath"].as_str();
            let value = match (entry.get("valueFrom"), field) {
                (None, _) => entry["value"].as_str().unwrap_or_default(),
                (_, Some("metadata.name")) => IDENTITY,
                (_, Some("metadata.namespace")) => NAMESPACE,
                (_, Some("spec.serviceAccountName")) => {
                    pod["serviceAccountName"].as_str().unwrap_or("default")
                }
                (Some(source), _) => {
                    bail!("{name} comes from {source}, which a process of the host doesn't have")
                }
            };
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_the_pods() {
        let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
        let mut pod = json!({"serviceAccountName": "sa", "containers": [{"env": [
            {"name": "POD_NAME", "valueFrom": field("metadata.name")},
            {"name": "POD_NAMESPACE", "valueFrom": field("metadata.namespace")},
            {"name": "SERVICE_ACCOUNT", "valueFrom": field("spec.serviceAccountName")},
            {"name": "CONCURRENCY", "value": "8"}, {"name": "EMPTY"}]}]});
        let expected = [
            ("POD_NAME", IDENTITY),
            ("POD_NAMESPACE", NAMESPACE),
            ("SERVICE_ACCOUNT", "sa"),
            ("CONCURRENCY", "8"),
            ("EMPTY", ""),
        ];
        let found = environment(&pod).unwrap();
        assert_eq!(
            found,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        pod["containers"][0]["env"][0]["valueFrom"] = field("status.podIP");
        assert!(environment(&pod).unwrap_err().to_string().contains("POD_NAME"));
    }
}
