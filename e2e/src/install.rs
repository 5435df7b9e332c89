//! Freehold in the lab: its charts by Helm, and the samples with the digests of the lab's own images.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::lab::builds;
use crate::lab::image::Image;
use crate::lab::steps::{Outcome, Step};
use crate::lab::up::{Made, import_step, made, make_step};
use crate::lab::{Lab, addons, images, net, shell};
use crate::{kube, leaving};

/// Where the chart is installed.
pub const NAMESPACE: &str = "freehold-system";
/// Where the storage driver runs.
const STORAGE: &str = "freehold-csi";
/// Where the key service runs, and the wrapped keys lie.
pub const KEYS: &str = "freehold-keys";
/// The samples' tenants.
pub const TENANTS: [&str; 2] = ["acme", "globex"];
/// The sample product's later versions: the first brings a migration, the second is broken.
pub const LATER: [&str; 2] = ["1.1.0", "1.2.0"];

/// The steps after the lab's own: images of this workspace, the charts.
pub fn steps<'a>(lab: &'a Lab, images: &'a Made) -> Vec<Step<'a>> {
    let base = ["root file system glibc"];
    vec![
        make_step(lab, images, "freehold", &base),
        // One after the other: Cargo locks its target folder.
        make_step(lab, images, "board", &["image freehold"]),
        import_step(lab, images, "freehold"),
        import_step(lab, images, "board"),
        Step::new(
            "Freehold's charts",
            &["ready", builds::TOGETHER, "import freehold"],
            || charts(lab, &made(images, "freehold")?),
        )
        .log(lab.log("helm")),
    ]
}

fn charts(lab: &Lab, image: &Image) -> Result<Outcome> {
    let (repository, digest) = image.reference.split_once('@').unwrap_or((&image.reference, ""));
    helm(
        lab,
        &[
            "upgrade",
            "--install",
            "freehold-crds",
            "charts/freehold-crds",
            "-n",
            NAMESPACE,
            "--create-namespace",
        ],
    )?;
    let repository = format!("image.repository={repository}");
    let digest = format!("image.digest={digest}");
    let unwrappers = format!("keys.unwrappers={{system:serviceaccount:{STORAGE}:{STORAGE}}}");
    let internet = format!("verification.targets.internet={}:443", net::INTERNET);
    helm(
        lab,
        &[
            "upgrade",
            "--install",
            "freehold",
            "charts/freehold",
            "-n",
            NAMESPACE,
            "--wait",
            "--timeout",
            "120s",
            "--set",
            &repository,
            "--set",
            &digest,
            "--set",
            &internet,
            "--set",
            &unwrappers,
            // A platform states for how long it keeps backups of etcd.
            "--set",
            "keys.backupsKeptFor=24h",
        ],
    )?;
    trust(lab)?;
    Ok(Outcome::Done)
}

/// Lets the storage driver know who signs for the key service. It may not read anything in the keys' namespace, and a pod
/// mounts what lies in its own.
fn trust(lab: &Lab) -> Result<()> {
    let authority = kube::get(lab, &["-n", KEYS, "configmap", "freehold-keys-ca"])?;
    let copy = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "freehold-keys-ca", "namespace": STORAGE},
        "data": authority["data"],
    });
    kube::apply(lab, &[copy])
}

/// Runs the lab's Helm in the checkout.
pub fn helm(lab: &Lab, args: &[&str]) -> Result<()> {
    let mut command = Command::new(lab.bin("helm"));
    command
        .current_dir(&lab.repo)
        .arg("--kubeconfig")
        .arg(lab.kubeconfig())
        .args(args);
    shell::run(&mut command, &lab.log("helm"))
}

/// Applies `manifests/samples` with the lab's images in the place of the samples' digests. A sample release that is another
/// now, by its text or because its image was built anew, is replaced: a Release can't be changed. Tenants that have it would keep what
/// they have, for to them a version has one content: the samples' are made anew.
pub fn samples(lab: &Lab, board: &Image, postgresql: &Image) -> Result<()> {
    let folder = overlay(lab, board, postgresql)?;
    let apply = || {
        let mut command = addons::kubectl(lab);
        shell::run(command.args(["apply", "-k"]).arg(&folder), &lab.log("samples"))
    };
    match apply() {
        Err(refusal) if format!("{refusal:#}").contains("a Release is immutable") => {
            println!(
                "The sample release is another now; it is replaced, and the samples' tenants are made anew."
            );
            for tenant in TENANTS {
                leaving::delete(lab, tenant, "Delete")?;
            }
            kube::kubectl(lab, &["delete", "release", "board-1.0.0"])?;
            apply()
        }
        applied => applied,
    }
}

/// Builds the sample product's later versions and applies a Release of each, beside the sample that [`samples`] applied. One
/// that was built anew is replaced, as there.
pub fn later_releases(lab: &Lab) -> Result<()> {
    let sample = kube::get(lab, &["release", "board-1.0.0"]).context("the samples aren't applied yet")?;
    for version in LATER {
        let name = format!("board-{version}");
        let image = images::make(lab, &name)?;
        images::import(lab, &image)?;
        let wanted = later(&sample, version, &image);
        if let Ok(there) = kube::get(lab, &["release", &name]) {
            if there["spec"] == wanted["spec"] {
                continue;
            }
            println!("Version {version} of the sample was built anew; Release {name} is replaced.");
            kube::kubectl(lab, &["delete", "release", &name])?;
        }
        kube::apply(lab, &[wanted])?;
    }
    Ok(())
}

/// The sample release as another version.
fn later(sample: &Value, version: &str, image: &Image) -> Value {
    let mut spec = sample["spec"].clone();
    spec["version"] = json!(version);
    if let Some(source) = spec.get_mut("source") {
        source["tag"] = json!(format!("v{version}"));
    }
    for component in spec["components"].as_array_mut().into_iter().flatten() {
        component["image"] = json!(image.tagged);
    }
    json!({"apiVersion": sample["apiVersion"], "kind": "Release", "metadata": {"name": format!("board-{version}")}, "spec": spec})
}

/// The kustomization that a platform engineer would keep beside the samples.
fn overlay(lab: &Lab, board: &Image, postgresql: &Image) -> Result<PathBuf> {
    let folder = lab.cluster().join("samples");
    fs::create_dir_all(&folder)?;
    let replace = |path: &str, value: &str| json!({"op": "replace", "path": path, "value": value});
    let release = json!([
        replace("/spec/components/0/image", &board.tagged),
        replace("/spec/components/1/image", &board.tagged)
    ]);
    // Nobody waits ten minutes for a tenant of the lab to end, or a minute for an upgrade.
    let class = json!([
        replace("/spec/database/image", &postgresql.tagged),
        replace("/spec/deletion/delay", "1s"),
        replace("/spec/upgrades/bake", "10s"),
        // The lab's default class does not encrypt.
        json!({"op": "add", "path": "/spec/database/storageClassName", "value": "encrypted"})
    ]);
    let kustomization = json!({
        "resources": [addons::relative(&folder, &lab.repo.join("manifests/samples"))],
        "patches": [
            {"target": {"kind": "Release"}, "patch": release.to_string()},
            {"target": {"kind": "TenantClass"}, "patch": class.to_string()},
        ],
    });
    fs::write(
        folder.join("kustomization.yaml"),
        serde_json::to_vec_pretty(&kustomization)?,
    )?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_release_is_the_sample_with_another_name_version_and_images() {
        let sample = json!({"apiVersion": "freehold.dev/v1alpha1", "kind": "Release",
            "metadata": {"name": "board-1.0.0", "uid": "1", "resourceVersion": "2"},
            "spec": {"product": "board", "version": "1.0.0", "hooks": {"migrate": {"component": "api", "args": ["migrate"]}},
                "components": [{"name": "web", "image": "old"}, {"name": "api", "image": "old", "replicas": 2}]}});
        let image = Image {
            reference: "board@sha256:1".into(),
            tagged: "board:1.1.0@sha256:1".into(),
            archive: PathBuf::new(),
        };
        let expected = json!({"apiVersion": "freehold.dev/v1alpha1", "kind": "Release", "metadata": {"name": "board-1.1.0"},
            "spec": {"product": "board", "version": "1.1.0", "hooks": {"migrate": {"component": "api", "args": ["migrate"]}},
                "components": [{"name": "web", "image": "board:1.1.0@sha256:1"},
                    {"name": "api", "image": "board:1.1.0@sha256:1", "replicas": 2}]}});
        assert_eq!(later(&sample, "1.1.0", &image), expected);
    }
}
