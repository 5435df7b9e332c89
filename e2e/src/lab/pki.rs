//! The cluster's own keys and certificates: one CA, a certificate for each part, the key that signs service
//! account tokens, and the key that encrypts Secrets in etcd. Made anew for each cluster, valid 30 days.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use serde_json::json;
use time::{Duration, OffsetDateTime};

use super::net::{API_PORT, API_SERVICE, NodeId};
use super::{Lab, layout::INSIDE};

/// Makes all keys of a new cluster under `cluster/pki` and the kubeconfigs beside them.
pub fn create(lab: &Lab, nodes: &[NodeId]) -> Result<()> {
    let folder = lab.cluster().join("pki");
    fs::create_dir_all(&folder)?;
    let mut params = valid(CertificateParams::default());
    params.distinguished_name.push(DnType::CommonName, "freehold lab");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    write_pair(&folder, "ca", &certificate.pem(), &key)?;
    let ca = Ca {
        pem: certificate.pem(),
        issuer: Issuer::new(params, key),
    };

    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        API_SERVICE,
        NodeId(1).address(),
    ];
    ca.issue(&folder, "apiserver", "kube-apiserver", None, &names)?;
    for (file, name, group) in [
        ("admin", "freehold-lab-admin", Some("system:masters")),
        ("controller-manager", "system:kube-controller-manager", None),
        ("scheduler", "system:kube-scheduler", None),
        ("proxy", "system:kube-proxy", None),
        ("cilium", "cilium", Some("system:masters")),
    ] {
        let pair = ca.issue(&folder, file, name, group, &[])?;
        kubeconfig(lab, file, &ca.pem, &pair)?;
    }
    for node in nodes {
        let name = format!("system:node:{}", node.name());
        let pair = ca.issue(
            &folder,
            &node.name(),
            &name,
            Some("system:nodes"),
            &[&node.name(), node.address()],
        )?;
        kubeconfig(lab, &node.name(), &ca.pem, &pair)?;
    }
    fs::copy(lab.cluster().join("pki/admin.kubeconfig"), lab.kubeconfig())?;

    issuer(&folder)?;
    let signer = KeyPair::generate()?;
    write_secret(
        &folder.join("service-accounts.key"),
        signer.serialize_pem().as_bytes(),
    )?;
    let public = pem("PUBLIC KEY", &signer.subject_public_key_info());
    fs::write(folder.join("service-accounts.pub"), public)?;
    encryption(&folder)
}

/// The authority behind cert-manager's issuer `lab-ca`: what a public one is to a real platform.
fn issuer(folder: &Path) -> Result<()> {
    let mut params = valid(CertificateParams::default());
    params.distinguished_name.push(DnType::CommonName, "lab-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    write_pair(folder, "issuer", &certificate.pem(), &key)
}

struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

struct Pair {
    certificate: String,
    key: String,
}

impl Ca {
    fn issue(
        &self,
        folder: &Path,
        file: &str,
        name: &str,
        group: Option<&str>,
        sans: &[&str],
    ) -> Result<Pair> {
        let sans = sans.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut params = valid(CertificateParams::new(sans)?);
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        write_pair(folder, file, &certificate, &key)?;
        Ok(Pair {
            certificate,
            key: key.serialize_pem(),
        })
    }
}

fn valid(mut params: CertificateParams) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::minutes(5);
    params.not_after = now + Duration::days(30);
    params
}

/// A kubeconfig is YAML, and JSON is YAML; keys are embedded, so that the file can be copied.
fn kubeconfig(lab: &Lab, name: &str, ca: &str, pair: &Pair) -> Result<()> {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "freehold-lab",
        "clusters": [{"name": "freehold-lab", "cluster": {
            "server": format!("https://{}:{API_PORT}", NodeId(1).address()),
            "certificate-authority-data": STANDARD.encode(ca)}}],
        "users": [{"name": name, "user": {
            "client-certificate-data": STANDARD.encode(&pair.certificate),
            "client-key-data": STANDARD.encode(&pair.key)}}],
        "contexts": [{"name": "freehold-lab", "context": {"cluster": "freehold-lab", "user": name}}],
    });
    let path = lab.cluster().join(format!("pki/{name}.kubeconfig"));
    write_secret(&path, &serde_json::to_vec_pretty(&config)?)
}

/// Secrets in etcd are encrypted with a key that only the API server's node has (AES-GCM would need
/// rotation every 200,000 writes; `secretbox` doesn't).
fn encryption(folder: &Path) -> Result<()> {
    let mut random = [0u8; 32];
    let mut source = fs::File::open("/dev/urandom").context("open /dev/urandom")?;
    std::io::Read::read_exact(&mut source, &mut random)?;
    let config = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": [
            {"secretbox": {"keys": [{"name": "lab", "secret": STANDARD.encode(random)}]}},
            {"identity": {}}]}],
    });
    write_secret(
        &folder.join("encryption.json"),
        &serde_json::to_vec_pretty(&config)?,
    )
}

/// The path of a file of the PKI as the nodes see it.
pub fn inside(file: &str) -> String {
    format!("{INSIDE}/cluster/pki/{file}")
}

fn write_pair(folder: &Path, name: &str, certificate: &str, key: &KeyPair) -> Result<()> {
    fs::write(folder.join(format!("{name}.crt")), certificate)?;
    write_secret(
        &folder.join(format!("{name}.key")),
        key.serialize_pem().as_bytes(),
    )
}

fn write_secret(path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    Ok(())
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .filter_map(|c| std::str::from_utf8(c).ok())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}
