//! A stand-in for CloudNativePG's controller, for more tenants than this machine has memory for: every `Cluster` of a
//! tenant is ready at once, with the Secrets that its users mount, the claims of its volumes, and no PostgreSQL behind it.
//!
//! The real controller is told to look at its own namespace alone for as long as this lives, so its webhooks go on
//! answering. In: a watch on all Clusters. Out, once for each: two Secrets, a claim for each volume, one status. No pod
//! mounts the claims, so a StorageClass that waits for one makes no disk.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Lab, addons, shell};
use crate::kube;

/// The API's path of all Clusters.
const CLUSTERS: &str = "/apis/postgresql.cnpg.io/v1/clusters";
/// What CloudNativePG says of a cluster that is well.
const HEALTHY: &str = "Cluster in healthy state";
const CONTROLLER: [&str; 3] = ["-n", "cnpg-system", "deployment/cnpg-controller-manager"];
/// Who it is: admission lets nobody else make a claim that a Cluster owns.
const ITSELF: [&str; 2] = [
    "--as=system:serviceaccount:cnpg-system:cnpg-manager",
    "--as-group=system:masters",
];

/// The stand-in at work; the real controller takes over again when it is dropped.
#[derive(Debug)]
pub struct Databases {
    lab: Lab,
    proxy: Child,
    socket: PathBuf,
    over: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Databases {
    /// Looks after the Clusters of all namespaces whose name begins with `prefix`.
    pub fn start(lab: &Lab, prefix: &str) -> Result<Databases> {
        let socket = std::env::temp_dir().join(format!("databases-{}.sock", std::process::id()));
        let proxy = tied(addons::kubectl(lab))
            .args(ITSELF)
            .arg("proxy")
            .arg(format!("--unix-socket={}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(shell::append(&lab.log("databases"))?)
            .spawn()
            .context("start the stand-in's proxy to the API server")?;
        // From here on dropping it cleans up, whatever fails.
        let mut this = Databases {
            lab: lab.clone(),
            proxy,
            socket,
            over: Arc::default(),
            worker: None,
        };
        real_controller(lab, "WATCH_NAMESPACE=cnpg-system")?;
        kube::until(
            "the stand-in's proxy to the API server",
            Duration::from_secs(10),
            || Ok(Api::new(&this.socket).get("/version").ok()),
        )?;
        let worker = Worker {
            api: Api::new(&this.socket),
            prefix: prefix.to_string(),
            authority: authority()?,
            over: this.over.clone(),
        };
        this.worker = Some(thread::spawn(move || worker.run()));
        Ok(this)
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Ends the watch, and with it the worker.
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
        let _ = std::fs::remove_file(&self.socket);
        if let Err(error) = real_controller(&self.lab, "WATCH_NAMESPACE-") {
            eprintln!("CloudNativePG's controller doesn't look at tenants again: {error:#}");
        }
    }
}

/// A command that ends with the thread that starts it: a killed test leaves nothing behind.
pub fn tied(command: Command) -> Command {
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "KILL"])
        .arg(command.get_program())
        .args(command.get_args());
    tied
}

fn real_controller(lab: &Lab, change: &str) -> Result<()> {
    let [n, namespace, deployment] = CONTROLLER;
    kube::kubectl(lab, &[n, namespace, "set", "env", deployment, change])?;
    kube::kubectl(
        lab,
        &[n, namespace, "rollout", "status", deployment, "--timeout=120s"],
    )
    .map(drop)
}

struct Worker {
    api: Api,
    prefix: String,
    authority: String,
    over: Arc<AtomicBool>,
}

impl Worker {
    /// Watches until it is over. The API server ends every watch after a while; a new one begins with all Clusters.
    fn run(&self) {
        while !self.over.load(Ordering::SeqCst) {
            if let Err(error) = self.watch()
                && !self.over.load(Ordering::SeqCst)
            {
                eprintln!("the databases' stand-in begins again: {error:#}");
                thread::sleep(Duration::from_millis(200));
            }
        }
    }

    fn watch(&self) -> Result<()> {
        let stream = self.api.send("GET", &format!("{CLUSTERS}?watch=1"), None)?;
        for line in BufReader::new(stream).lines() {
            let line = line?;
            let event: Value = serde_json::from_str(&line).with_context(|| format!("watch: {line}"))?;
            match event["type"].as_str() {
                Some("ADDED" | "MODIFIED") => self.serve(&event["object"])?,
                Some("ERROR") => bail!("watch: {}", event["object"]),
                _ => {}
            }
        }
        Ok(())
    }

    fn serve(&self, cluster: &Value) -> Result<()> {
        let metadata = &cluster["metadata"];
        let (Some(namespace), Some(name)) = (metadata["namespace"].as_str(), metadata["name"].as_str())
        else {
            return Ok(());
        };
        let leaving = !metadata["deletionTimestamp"].is_null();
        if leaving || !namespace.starts_with(&self.prefix) || is_ready(cluster) {
            return Ok(());
        }
        for secret in secrets(cluster, namespace, name, &self.authority) {
            let path = format!("/api/v1/namespaces/{namespace}/secrets");
            // There already (409) after a start anew; the namespace ends (403) or is gone (404): nobody waits for it.
            self.api.write("POST", &path, &secret, &[403, 404, 409])?;
        }
        for claim in claims(cluster, namespace, name) {
            let path = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims");
            self.api.write("POST", &path, &claim, &[403, 404, 409])?;
        }
        let path = format!("/apis/postgresql.cnpg.io/v1/namespaces/{namespace}/clusters/{name}/status");
        self.api
            .write("PATCH", &path, &json!({"status": status(cluster, name)}), &[404])
    }
}

fn instances(cluster: &Value) -> i64 {
    cluster["spec"]["instances"].as_i64().unwrap_or(1)
}

fn is_ready(cluster: &Value) -> bool {
    let status = &cluster["status"];
    kube::condition(cluster, "Ready") == "True"
        && status["readyInstances"] == instances(cluster)
        && status["phase"] == HEALTHY
}

fn status(cluster: &Value, name: &str) -> Value {
    let all = instances(cluster);
    let now = OffsetDateTime::now_utc();
    let (year, month, day) = now.to_calendar_date();
    let (hour, minute, second) = now.to_hms();
    let now = format!(
        "{year}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z",
        u8::from(month)
    );
    let names: Vec<String> = (1..=all).map(|at| format!("{name}-{at}")).collect();
    json!({
        "phase": HEALTHY, "instances": all, "readyInstances": all, "instanceNames": names,
        "currentPrimary": format!("{name}-1"), "targetPrimary": format!("{name}-1"),
        "conditions": [{"type": "Ready", "status": "True", "reason": "ClusterIsReady",
            "message": "Cluster is Ready", "lastTransitionTime": now}],
    })
}

/// As CloudNativePG makes them: owned by the Cluster, so that they go with it.
fn secrets(cluster: &Value, namespace: &str, name: &str, authority: &str) -> [Value; 2] {
    let uid = &cluster["metadata"]["uid"];
    let secret = |suffix: &str, kind: &str, data: Value| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "stringData": data, "metadata": {
            "name": format!("{name}-{suffix}"), "namespace": namespace, "labels": {"cnpg.io/cluster": name},
            "ownerReferences": owners(cluster, name)}})
    };
    // Nobody logs in with it: the uid is different for each, which is all that is asked of it.
    let account = json!({"username": "app", "password": uid, "dbname": "app", "port": "5432",
        "host": format!("{name}-rw")});
    [
        secret("app", "kubernetes.io/basic-auth", account),
        secret("ca", "Opaque", json!({"ca.crt": authority})),
    ]
}

fn owners(cluster: &Value, name: &str) -> Value {
    json!([{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": name, "uid": cluster["metadata"]["uid"],
        "controller": true}])
}

/// The claims of all instances: data, and WAL where the Cluster has volumes for it. They bear the labels that the Cluster
/// lets its objects inherit.
fn claims(cluster: &Value, namespace: &str, name: &str) -> Vec<Value> {
    let spec = &cluster["spec"];
    let roles = [
        ("", "PG_DATA", &spec["storage"]),
        ("-wal", "PG_WAL", &spec["walStorage"]),
    ];
    let claim = |serial: i64, suffix: &str, role: &str, storage: &Value| {
        let instance = format!("{name}-{serial}");
        let mut labels = spec["inheritedMetadata"]["labels"].clone();
        labels["cnpg.io/cluster"] = name.into();
        labels["cnpg.io/instanceName"] = instance.clone().into();
        labels["cnpg.io/pvcRole"] = role.into();
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": format!("{instance}{suffix}"), "namespace": namespace, "labels": labels,
                "annotations": {"cnpg.io/nodeSerial": serial.to_string(), "cnpg.io/pvcStatus": "ready"},
                "ownerReferences": owners(cluster, name)},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": storage["storageClass"],
                "resources": {"requests": {"storage": storage["size"]}}}})
    };
    (1..=instances(cluster))
        .flat_map(|serial| roles.map(|(suffix, role, storage)| (serial, suffix, role, storage)))
        .filter(|(.., storage)| !storage.is_null())
        .map(|(serial, suffix, role, storage)| claim(serial, suffix, role, storage))
        .collect()
}

/// One authority for all: clients parse it, and nobody connects.
fn authority() -> Result<String> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    Ok(params.self_signed(&KeyPair::generate()?)?.pem())
}

/// The API server as the administrator, through `kubectl proxy`: HTTP without TLS, a connection for each request.
struct Api {
    socket: PathBuf,
}

impl Api {
    fn new(socket: &Path) -> Api {
        Api {
            socket: socket.to_path_buf(),
        }
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut body = String::new();
        self.send("GET", path, None)?.read_to_string(&mut body)?;
        Ok(body)
    }

    /// A write whose outcome is success or one of `fine`.
    fn write(&self, method: &str, path: &str, body: &Value, fine: &[u16]) -> Result<()> {
        match self.send(method, path, Some(body)) {
            Ok(_) => Ok(()),
            Err(error) => match error.downcast_ref::<Refused>() {
                Some(refused) if fine.contains(&refused.0) => Ok(()),
                _ => Err(error.context(format!("{method} {path}"))),
            },
        }
    }

    /// Sends one request and gives the body of a success. HTTP/1.0: the body is not in chunks and ends with the connection.
    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<impl Read + use<>> {
        let mut stream = UnixStream::connect(&self.socket)?;
        let kind = if method == "PATCH" {
            "merge-patch+json"
        } else {
            "json"
        };
        let body = body.map(Value::to_string).unwrap_or_default();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/{kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = BufReader::new(stream);
        let mut line = String::new();
        answer.read_line(&mut line)?;
        let status: u16 = line
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse().ok())
            .with_context(|| format!("no HTTP: {line:?}"))?;
        while !matches!(line.as_str(), "" | "\r\n") {
            line.clear();
            answer.read_line(&mut line)?;
        }
        if !(200..300).contains(&status) {
            let mut told = String::new();
            answer.read_to_string(&mut told)?;
            return Err(anyhow::Error::new(Refused(status)).context(told));
        }
        Ok(answer)
    }
}

/// The status of an answer that isn't a success.
#[derive(Debug)]
struct Refused(u16);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HTTP {}", self.0)
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_instance_has_its_claims_with_the_labels_of_the_cluster_and_of_what_it_inherits() {
        let mut cluster = json!({
            "metadata": {"uid": "u"},
            "spec": {"instances": 2, "storage": {"size": "1Gi", "storageClass": "encrypted"},
                "inheritedMetadata": {"labels": {"freehold.dev/tenant": "acme"}}},
        });
        let names = |cluster: &Value| -> Vec<String> {
            let all = claims(cluster, "ns", "db");
            all.iter()
                .map(|claim| claim["metadata"]["name"].to_string())
                .collect()
        };
        assert_eq!(names(&cluster), [r#""db-1""#, r#""db-2""#]);
        let claim = claims(&cluster, "ns", "db").remove(1);
        assert_eq!(
            claim["metadata"]["labels"],
            json!({"freehold.dev/tenant": "acme", "cnpg.io/cluster": "db", "cnpg.io/instanceName": "db-2",
                "cnpg.io/pvcRole": "PG_DATA"})
        );
        assert_eq!(claim["metadata"]["ownerReferences"][0]["uid"], "u");
        assert_eq!(claim["spec"]["storageClassName"], "encrypted");
        cluster["spec"]["walStorage"] = json!({"size": "2Gi"});
        assert_eq!(names(&cluster)[1], r#""db-1-wal""#);
        assert_eq!(
            claims(&cluster, "ns", "db")[3]["spec"]["resources"]["requests"]["storage"],
            "2Gi"
        );
    }
}
