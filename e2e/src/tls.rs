//! Handshakes with every end of a tenant's connections, by OpenSSL's own client on the node: it is allowed to reach each pod. In:
//! whom to connect to, and what to offer. Out: what was agreed on, or that nothing was.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::kube;
use crate::lab::net::NodeId;
use crate::lab::{Lab, status};

/// One end of a tenant's connections.
#[derive(Clone, Debug)]
pub struct End {
    pub name: &'static str,
    /// Address and port.
    pub address: String,
    /// The name that its certificate bears.
    pub host: String,
    /// Whether TLS begins after a word of PostgreSQL's protocol.
    pub is_database: bool,
}

/// What both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub suite: String,
    /// OpenSSL's word about the chain and the name: `OK`, or what is wrong.
    pub verified: String,
}

impl Agreed {
    pub fn is_verified(&self) -> bool {
        self.verified == "OK"
    }
}

/// The gateway, the web tier, the application tier, the database.
pub fn ends(lab: &Lab, tenant: &str) -> Result<Vec<End>> {
    let object = kube::get(lab, &["tenant", tenant])?;
    let namespace = object["status"]["namespace"]
        .as_str()
        .context("no namespace yet")?;
    let hostname = object["spec"]["hostnames"][0].as_str().context("no hostname")?;
    let gateway = kube::get(lab, &["-n", "traefik", "service", "traefik"])?;
    let address = |service: &serde_json::Value| -> Result<String> {
        let spec = &service["spec"];
        let address = spec["clusterIP"].as_str().context("no address")?;
        Ok(format!("{address}:{}", spec["ports"][0]["port"]))
    };
    let mut ends = vec![End {
        name: "gateway",
        address: address(&gateway)?,
        host: hostname.to_owned(),
        is_database: false,
    }];
    for (name, service) in [("web", "web"), ("application", "api"), ("database", "db-rw")] {
        ends.push(End {
            name,
            address: address(&kube::get(lab, &["-n", namespace, "service", service])?)?,
            host: format!("{service}.{namespace}.svc.cluster.local"),
            is_database: name == "database",
        });
    }
    Ok(ends)
}

/// A handshake with what else OpenSSL's client is told; nothing when it failed.
pub fn handshake(lab: &Lab, end: &End, roots: &str, more: &[&str]) -> Result<Option<Agreed>> {
    let roots = file(lab, "roots", roots)?;
    let mut command = status::enter(lab, NodeId(1))?;
    command
        .args([
            "timeout",
            "10",
            "openssl",
            "s_client",
            "-brief",
            "-no_ign_eof",
            "-connect",
        ])
        .arg(&end.address)
        .args(["-servername", &end.host, "-verify_hostname", &end.host, "-CAfile"])
        .arg(roots)
        .args(more);
    if end.is_database {
        command.args(["-starttls", "postgres"]);
    }
    command.stdin(std::process::Stdio::null());
    let output = command.output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let field = |name: &str| {
        let mut lines = told.lines();
        lines
            .find_map(|line| line.strip_prefix(name))
            .map(|rest| rest.trim().to_owned())
    };
    let Some(suite) = field("Ciphersuite:") else {
        return Ok(None);
    };
    let verified = field("Verification:");
    Ok(Some(Agreed {
        suite,
        verified: verified
            .or_else(|| field("Verification error:"))
            .unwrap_or_default(),
    }))
}

/// The certificate that an end shows, in PEM; nothing when there was no handshake.
pub fn shown(lab: &Lab, end: &End) -> Result<Option<String>> {
    const FIRST: &str = "-----BEGIN CERTIFICATE-----";
    const LAST: &str = "-----END CERTIFICATE-----";
    let mut command = status::enter(lab, NodeId(1))?;
    command
        .args(["timeout", "10", "openssl", "s_client", "-no_ign_eof", "-connect"])
        .arg(&end.address)
        .args(["-servername", &end.host]);
    if end.is_database {
        command.args(["-starttls", "postgres"]);
    }
    command.stdin(std::process::Stdio::null());
    let output = command.output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    let from = told.find(FIRST).map(|at| &told[at..]);
    let found = from.and_then(|text| text.find(LAST).map(|at| &text[..at + LAST.len()]));
    Ok(found.map(str::to_owned))
}

/// One request by curl on the node: the status code, `000` when there was no answer.
pub fn ask(lab: &Lab, url: &str, end: &End, more: &[&str]) -> Result<String> {
    let mut command = status::enter(lab, NodeId(1))?;
    let (address, port) = end.address.rsplit_once(':').context("no port")?;
    command
        .args(["curl", "--silent", "--max-time", "10", "--output", "/dev/null"])
        .args(["--write-out", "%{http_code} %{redirect_url}", "--connect-to"])
        .arg(format!("::{address}:{port}"))
        .args(more)
        .arg(url);
    let output = command.output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A file that only root reads, for what a client is given.
pub fn file(lab: &Lab, name: &str, text: &str) -> Result<PathBuf> {
    let folder = lab.cluster().join("users");
    fs::create_dir_all(&folder)?;
    let path = folder.join(name);
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path)
}

/// The certificate, the key and the roots of one of a tenant's Secrets, as files.
pub fn identity(lab: &Lab, namespace: &str, secret: &str) -> Result<[PathBuf; 3]> {
    let part = |key: &str| -> Result<PathBuf> {
        let text = kube::secret(lab, namespace, secret, key)?;
        file(lab, &format!("{namespace}-{secret}-{key}"), &text)
    };
    Ok([part("tls.crt")?, part("tls.key")?, part("ca.crt")?])
}

/// What PostgreSQL's own client says on the node: its answer, or its error.
pub fn psql(lab: &Lab, conninfo: &str, password: &str) -> Result<std::result::Result<String, String>> {
    let mut command = status::enter(lab, NodeId(1))?;
    command
        .env("PGPASSWORD", password)
        .args(["timeout", "10", "psql", "-X", "-A", "-t", "-c", "select 1"])
        .arg(conninfo);
    let output = command.output()?;
    if output.status.success() {
        return Ok(Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()));
    }
    Ok(Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// What the demo shows: with what each connection of a tenant is encrypted.
pub fn show(lab: &Lab, tenant: &str) -> Result<()> {
    let namespace = crate::http::namespace(lab, tenant)?;
    let roots = kube::get(lab, &["-n", &namespace, "configmap", "ca"])?;
    let roots = roots["data"]["ca.crt"].as_str().context("no roots")?;
    println!("\nEvery connection is encrypted, by certificates of the tenant's own authority:");
    for end in ends(lab, tenant)? {
        let agreed = handshake(lab, &end, roots, &[])?.context("no handshake")?;
        let name = if agreed.is_verified() {
            &end.host
        } else {
            &agreed.verified
        };
        println!("  {tenant:<8} {:<12} {:<30} {name}", end.name, agreed.suite);
    }
    Ok(())
}
