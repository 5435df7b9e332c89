//! Freehold in the lab: its charts by Helm, and the samples with the digests of the lab's own images.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use crate::kube;
use crate::lab::image::Image;
use crate::lab::steps::{Outcome, Step};
use crate::lab::up::{Made, import_step, made, make_step};
use crate::lab::{Lab, addons, net, shell};

/// Where the chart is installed.
pub const NAMESPACE: &str = "freehold-system";
/// Where the storage driver runs.
const STORAGE: &str = "freehold-csi";
/// Where the key service runs, and the wrapped keys lie.
pub const KEYS: &str = "freehold-keys";

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
            &["ready", "build helm", "import freehold"],
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

/// Applies `manifests/samples` with the lab's images in the place of the samples' digests. A sample release
/// that was built anew from changed code is replaced: a Release can't be changed.
pub fn samples(lab: &Lab, board: &Image, postgresql: &Image) -> Result<()> {
    let folder = overlay(lab, board, postgresql)?;
    let stale = kube::get(lab, &["release", "board-1.0.0"]).is_ok_and(|release| !uses(&release, board));
    if stale {
        println!("The sample release was built anew; Release board-1.0.0 is replaced.");
        kube::kubectl(lab, &["delete", "release", "board-1.0.0"])?;
    }
    let mut command = addons::kubectl(lab);
    shell::run(command.args(["apply", "-k"]).arg(folder), &lab.log("samples"))
}

fn uses(release: &Value, image: &Image) -> bool {
    release["spec"]["components"][0]["image"] == image.tagged.as_str()
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
    // Nobody waits ten minutes for a tenant of the lab to end.
    let class = json!([
        replace("/spec/database/image", &postgresql.tagged),
        replace("/spec/deletion/delay", "1s"),
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
