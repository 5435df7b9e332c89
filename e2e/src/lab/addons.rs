//! What the cluster needs beside its processes: CRDs, DNS, storage, CloudNativePG, the gateway. Each is a
//! kustomization; the lab adds its own images.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::builds::module_dir;
use super::image::Image;
use super::steps::Outcome;
use super::{Lab, shell};

/// `kubectl` as the cluster's administrator.
pub fn kubectl(lab: &Lab) -> Command {
    let mut command = Command::new(lab.bin("kube"));
    command.arg("kubectl").arg("--kubeconfig").arg(lab.kubeconfig());
    command
}

/// Copies the manifests that come with Go modules, so that a warm start needs no Go.
pub fn collect(lab: &Lab) -> Result<Outcome> {
    let folder = lab.build().join("manifests");
    // Another name when there is more to be copied: a lab of before has the old one.
    let done = folder.join("done-2");
    if done.exists() {
        return Ok(Outcome::Fresh);
    }
    let gateway = folder.join("gateway-api");
    fs::create_dir_all(&gateway)?;
    let crds = module_dir(lab, "gateway", "sigs.k8s.io/gateway-api")?.join("config/crd/standard");
    copy_manifests(&crds, &gateway)?;
    let issuing = folder.join("cert-manager");
    fs::create_dir_all(&issuing)?;
    let crds = module_dir(lab, "certificates", "github.com/cert-manager/cert-manager")?.join("deploy/crds");
    copy_manifests(&crds, &issuing)?;
    let cnpg = module_dir(lab, "database", "github.com/cloudnative-pg/cloudnative-pg")?;
    let version = cnpg
        .to_string_lossy()
        .rsplit_once("@v")
        .map(|(_, v)| v.to_string())
        .unwrap_or_default();
    fs::copy(
        cnpg.join(format!("releases/cnpg-{version}.yaml")),
        folder.join("cnpg.yaml"),
    )?;
    fs::write(done, "")?;
    Ok(Outcome::Done)
}

fn copy_manifests(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "yaml") {
            fs::copy(&path, to.join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

/// Kinds of other projects: Cilium's, the Gateway API's, cert-manager's.
pub fn apply_crds(lab: &Lab) -> Result<Outcome> {
    for folder in [
        lab.build().join("cilium/crds/v2"),
        lab.build().join("cilium/crds/v2alpha1"),
        lab.build().join("manifests/gateway-api"),
        lab.build().join("manifests/cert-manager"),
    ] {
        let mut command = kubectl(lab);
        command
            .args(["apply", "--server-side", "--force-conflicts", "-f"])
            .arg(folder);
        shell::run(&mut command, &lab.log("addons"))?;
    }
    Ok(Outcome::Done)
}

pub fn apply_dns(lab: &Lab, coredns: &Image) -> Result<Outcome> {
    apply(
        lab,
        "dns",
        committed(lab, "dns"),
        json!([replace("coredns", coredns)]),
        json!([]),
    )
}

pub fn apply_gateway(lab: &Lab, traefik: &Image) -> Result<Outcome> {
    apply(
        lab,
        "gateway",
        committed(lab, "gateway"),
        json!([replace("traefik", traefik)]),
        json!([]),
    )
}

/// cert-manager, and the authority of the issuer `lab-ca`, whose key is made with the cluster's.
pub fn apply_certificates(lab: &Lab, manager: &Image) -> Result<Outcome> {
    apply(
        lab,
        "certificates",
        committed(lab, "certificates"),
        json!([replace("cert-manager", manager)]),
        json!([]),
    )?;
    let pki = lab.cluster().join("pki");
    let read = |file: &str| fs::read_to_string(pki.join(file)).with_context(|| format!("read {file}"));
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "lab-ca", "namespace": "cert-manager"},
        "stringData": {"tls.crt": read("issuer.crt")?, "tls.key": read("issuer.key")?},
    });
    let mut command = kubectl(lab);
    command.args(["apply", "--server-side", "--force-conflicts", "-f", "-"]);
    // By standard input: a key is no argument.
    shell::feed(&mut command, secret.to_string().as_bytes())?;
    Ok(Outcome::Done)
}

/// The provisioner's configuration holds a pod's manifest as text, whose image kustomize doesn't see.
pub fn apply_storage(lab: &Lab, provisioner: &Image, helper: &Image) -> Result<Outcome> {
    let text = fs::read_to_string(committed(lab, "storage").join("storage.yaml"))?;
    let base = lab.cluster().join("addons/storage.yaml");
    fs::create_dir_all(lab.cluster().join("addons"))?;
    fs::write(
        &base,
        text.replace("image: helper\n", &format!("image: {}\n", helper.reference)),
    )?;
    apply(
        lab,
        "storage",
        base,
        json!([replace("local-path-provisioner", provisioner)]),
        json!([]),
    )
}

/// The CSI driver with its sidecars: images by the names that they have in the manifest.
pub fn apply_volumes(lab: &Lab, all: &[(&str, &Image)]) -> Result<Outcome> {
    let images: Vec<Value> = all.iter().map(|(name, image)| replace(name, image)).collect();
    apply(lab, "csi", committed(lab, "csi"), images.into(), json!([]))
}

/// CloudNativePG's own manifest, with the lab's image, which is never pulled; `OPERATOR_IMAGE_NAME` is what it
/// gives to the init container of its pods.
pub fn apply_database(lab: &Lab, manager: &Image) -> Result<Outcome> {
    let container = "/spec/template/spec/containers/0";
    let patch = json!([
        {"op": "replace", "path": format!("{container}/imagePullPolicy"), "value": "IfNotPresent"},
        {"op": "replace", "path": format!("{container}/env/0/value"), "value": manager.reference},
        {"op": "test", "path": format!("{container}/env/0/name"), "value": "OPERATOR_IMAGE_NAME"},
    ]);
    let images = json!([replace("ghcr.io/cloudnative-pg/cloudnative-pg", manager)]);
    let base = lab.build().join("manifests/cnpg.yaml");
    apply(lab, "database", base, images, patch)
}

fn committed(lab: &Lab, name: &str) -> PathBuf {
    lab.repo.join("e2e/lab/addons").join(name)
}

/// An entry of kustomize's `images`.
pub fn replace(name: &str, image: &Image) -> Value {
    let (repository, digest) = image.reference.split_once('@').unwrap_or((&image.reference, ""));
    json!({"name": name, "newName": repository, "digest": digest})
}

/// Applies a base with images replaced and the Deployment patched.
fn apply(lab: &Lab, name: &str, base: PathBuf, images: Value, patch: Value) -> Result<Outcome> {
    let folder = lab.cluster().join("addons").join(name);
    fs::create_dir_all(&folder)?;
    let resource = if base.is_file() {
        fs::copy(&base, folder.join("base.yaml"))?;
        "base.yaml".to_string()
    } else {
        relative(&folder, &base)
    };
    let mut patches = Vec::new();
    if patch.as_array().is_some_and(|p| !p.is_empty()) {
        patches.push(json!({"target": {"kind": "Deployment"}, "patch": patch.to_string()}));
    }
    let kustomization = json!({"resources": [resource], "images": images, "patches": patches});
    apply_kustomization(lab, &folder, &kustomization)?;
    Ok(Outcome::Done)
}

/// Writes a kustomization into `folder` and applies it.
pub fn apply_kustomization(lab: &Lab, folder: &Path, kustomization: &Value) -> Result<()> {
    fs::write(
        folder.join("kustomization.yaml"),
        serde_json::to_vec_pretty(kustomization)?,
    )?;
    let mut command = kubectl(lab);
    command
        .args(["apply", "--server-side", "--force-conflicts", "-k"])
        .arg(folder);
    shell::run(&mut command, &lab.log("addons"))
}

/// kustomize takes bases by relative path only.
pub fn relative(from: &Path, to: &Path) -> String {
    let shared = from
        .components()
        .zip(to.components())
        .take_while(|(a, b)| a == b)
        .count();
    let mut path = PathBuf::new();
    for _ in from.components().skip(shared) {
        path.push("..");
    }
    path.extend(to.components().skip(shared));
    path.to_string_lossy().into_owned()
}

/// Waits until a Deployment or DaemonSet, `kind/name`, has all its pods ready.
pub fn rollout(lab: &Lab, namespace: &str, name: &str, seconds: u32) -> Result<Outcome> {
    let mut command = kubectl(lab);
    command.args([
        "-n",
        namespace,
        "rollout",
        "status",
        name,
        &format!("--timeout={seconds}s"),
    ]);
    match shell::capture(&mut command) {
        Ok(_) => Ok(Outcome::Done),
        Err(error) => bail!("{error:#}\n{}", pods(lab, namespace)),
    }
}

/// What the pods of a namespace say of themselves, for the message of a failure.
fn pods(lab: &Lab, namespace: &str) -> String {
    shell::capture(kubectl(lab).args(["-n", namespace, "get", "pods", "-o", "wide"])).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_named_by_the_way_there() {
        assert_eq!(
            relative(Path::new("/r/.lab/cluster/a"), Path::new("/r/e2e/lab/dns")),
            "../../../e2e/lab/dns"
        );
    }
}
