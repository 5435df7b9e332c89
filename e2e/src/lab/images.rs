//! The lab's images: one table. Root file systems come from Debian packages, programs from the lab's Go
//! modules or from this workspace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::builds::Stamp;
use super::image::{self, Image, Recipe};
use super::net::NodeId;
use super::status;
use super::steps::Outcome;
use super::{Lab, shell};

/// A root file system made of Debian packages of trixie.
#[derive(Debug)]
pub struct Rootfs {
    pub name: &'static str,
    variant: &'static str,
    packages: &'static str,
    hooks: &'static [&'static str],
}

/// The C library and CA certificates alone, for programs that are linked against it.
pub const GLIBC: Rootfs = Rootfs {
    name: "glibc",
    variant: "extract",
    packages: "base-files,libc6,libgcc-s1,ca-certificates",
    hooks: &["--customize-hook=rm -rf \"$1/usr/share/doc\" \"$1/usr/share/man\" \"$1/usr/share/locale\""],
};

/// With what makes and grows ext4, for the CSI driver.
pub const EXT4: Rootfs = Rootfs {
    name: "ext4",
    packages: "base-files,libc6,libgcc-s1,e2fsprogs",
    ..GLIBC
};

/// PostgreSQL with the user ID that CloudNativePG runs it as, and a shell for the volumes' helper pods.
pub const POSTGRESQL: Rootfs = Rootfs {
    name: "postgresql",
    variant: "minbase",
    packages: "postgresql-17",
    hooks: &[
        "--essential-hook=echo postgres:x:26:26:PostgreSQL:/var/lib/postgresql:/bin/sh >> \"$1/etc/passwd\"; echo postgres:x:26: >> \"$1/etc/group\"",
        "--customize-hook=rm -rf \"$1/usr/share/doc\" \"$1/usr/share/man\" \"$1/usr/share/locale\" \"$1/var/lib/postgresql/17\" \"$1/var/cache/apt\" \"$1/var/lib/apt/lists\"",
    ],
};

impl Rootfs {
    pub fn tar(&self, lab: &Lab) -> PathBuf {
        lab.build().join(format!("{}.tar", self.name))
    }

    pub fn make(&self, lab: &Lab) -> Result<Outcome> {
        let target = self.tar(lab);
        let stamp = Stamp::of(
            lab,
            &format!("rootfs-{}", self.name),
            format!("{self:?}").as_bytes(),
        );
        if stamp.holds() && target.exists() {
            return Ok(Outcome::Fresh);
        }
        fs::create_dir_all(lab.build())?;
        let partial = target.with_extension("partial.tar");
        let mut command = Command::new("mmdebstrap");
        command
            .env("SOURCE_DATE_EPOCH", "0")
            .arg(format!("--variant={}", self.variant))
            .arg(format!("--include={}", self.packages))
            .args(self.hooks)
            .arg("trixie")
            .arg(&partial);
        shell::run(&mut command, &lab.log(&format!("rootfs-{}", self.name)))?;
        fs::rename(partial, target)?;
        stamp.set()?;
        Ok(Outcome::Done)
    }
}

/// Images of the cluster's own parts: name, program of `.lab/bin`, path in the image.
const OF_PROGRAMS: &[(&str, &str, &str)] = &[
    ("pause", "pause", "/pause"),
    ("coredns", "coredns", "/coredns"),
    ("cloudnative-pg", "cnpg-manager", "/operator/manager_amd64"),
    ("traefik", "traefik", "/traefik"),
    ("cert-manager", "cert-manager", "/cert-manager"),
    ("csi-provisioner", "csi-provisioner", "/csi-provisioner"),
    ("csi-resizer", "csi-resizer", "/csi-resizer"),
    (
        "local-path-provisioner",
        "local-path-provisioner",
        "/usr/bin/local-path-provisioner",
    ),
];

/// Images of this workspace: name, crate, tag, features beside those of all.
const OF_WORKSPACE: &[(&str, &str, &str, &str)] = &[
    ("freehold", "freehold", env!("CARGO_PKG_VERSION"), ""),
    ("freehold-csi", "freehold-csi", env!("CARGO_PKG_VERSION"), ""),
    ("board", "board", "1.0.0", ""),
    ("board-1.1.0", "board", "1.1.0", ",board/v1-1"),
    ("board-1.2.0", "board", "1.2.0", ",board/v1-2"),
];

/// What the workspace is built with for images and tests alike, so that everything is compiled once.
pub const FEATURES: &str = "freehold-csi/root,freehold-e2e/lab";

/// All names that `cargo xtask image` takes.
pub fn names() -> Vec<&'static str> {
    let workspace = OF_WORKSPACE.iter().map(|(name, ..)| *name);
    OF_PROGRAMS
        .iter()
        .map(|(name, ..)| *name)
        .chain(["postgresql"])
        .chain(workspace)
        .collect()
}

/// Makes the image `name` from what was built before; for crates of the workspace it builds them.
pub fn make(lab: &Lab, name: &str) -> Result<Image> {
    let archive = lab.dir.join("images").join(format!("{name}.tar"));
    fs::create_dir_all(lab.dir.join("images"))?;
    let recipe = recipe(lab, name)?;
    image::build(&recipe, &archive)
}

fn recipe(lab: &Lab, name: &str) -> Result<Recipe> {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut recipe = Recipe {
        repository: format!("freehold.lab/{name}"),
        tag: "lab".into(),
        user: "65532:65532".into(),
        path: path.into(),
        ..Recipe::default()
    };
    if name == "postgresql" {
        recipe.base = Some(POSTGRESQL.tar(lab));
        recipe.tag = "17".into();
        recipe.user = "26:26".into();
        recipe.path = format!("/usr/lib/postgresql/17/bin:{path}");
        recipe.env = vec!["LANG=C.UTF-8".into()];
        return Ok(recipe);
    }
    if let Some((_, program, target)) = OF_PROGRAMS.iter().find(|(n, ..)| *n == name) {
        recipe.files = vec![(lab.bin(program), target.to_string(), 0o755)];
        recipe.entrypoint = vec![target.to_string()];
        if name == "cloudnative-pg" {
            recipe.files.push((lab.bin(program), "/manager".into(), 0o755));
            recipe.entrypoint = vec!["/manager".into()];
        }
        if name == "pause" {
            recipe.user = "65535:65535".into();
        }
        return Ok(recipe);
    }
    let Some((_, package, tag, more)) = OF_WORKSPACE.iter().find(|(n, ..)| *n == name) else {
        bail!("there is no image {name:?}; there are: {}", names().join(", "));
    };
    let binary = cargo_build(lab, package, tag, more)?;
    recipe.base = Some(GLIBC.tar(lab));
    recipe.repository = format!("freehold.lab/{package}");
    recipe.tag = (*tag).into();
    recipe.files = vec![(binary, format!("/{package}"), 0o755)];
    recipe.entrypoint = vec![format!("/{package}")];
    recipe.user = "10001:10001".into();
    if name == "freehold-csi" {
        recipe.base = Some(EXT4.tar(lab));
        recipe.user = "0:0".into();
    }
    Ok(recipe)
}

/// Builds a crate of the workspace for an image.
fn cargo_build(lab: &Lab, package: &str, tag: &str, more: &str) -> Result<PathBuf> {
    let mut command = Command::new("cargo");
    // A test among them: without one the features of what only tests depend on don't count, and everything below would be
    // compiled once more.
    command
        .current_dir(&lab.repo)
        .args(["build", "--locked", "--workspace", "--features"])
        .arg(format!("{FEATURES}{more}"))
        .args(["--bins", "--test", "lab", "--target-dir"])
        .arg(lab.repo.join("target"));
    shell::run(&mut command, &lab.log(&format!("cargo-{package}")))?;
    // The next version's build overwrites it, so each is kept under its own name.
    let kept = lab.build().join(format!("{package}-{tag}"));
    fs::copy(program(lab, package), &kept).with_context(|| format!("keep the binary of {package}"))?;
    Ok(kept)
}

/// Where the program of a crate of the workspace is, once an image was made of it.
pub fn program(lab: &Lab, package: &str) -> PathBuf {
    lab.repo.join("target/debug").join(package)
}

/// Imports an image on all nodes that run, unless it is there.
pub fn import(lab: &Lab, image: &Image) -> Result<Outcome> {
    let mut outcome = Outcome::Fresh;
    for node in status::nodes(lab) {
        if !present(lab, node, &image.reference) {
            let log = lab.log("import");
            shell::run(
                ctr(lab, node)?
                    .args(["images", "import", "--local"])
                    .arg(inside(lab, &image.archive)),
                &log,
            )?;
            outcome = Outcome::Done;
        }
    }
    Ok(outcome)
}

fn present(lab: &Lab, node: NodeId, reference: &str) -> bool {
    let Ok(mut ctr) = ctr(lab, node) else { return false };
    shell::capture(ctr.args(["images", "ls", "-q", &format!("name=={reference}")]))
        .is_ok_and(|found| found.trim() == reference)
}

/// containerd's client in a node's namespaces.
fn ctr(lab: &Lab, node: NodeId) -> Result<Command> {
    let mut command = status::enter(lab, node)?;
    command.args([
        "/mnt/bin/ctr",
        "--address",
        "/run/containerd.sock",
        "--namespace",
        "k8s.io",
    ]);
    Ok(command)
}

fn inside(lab: &Lab, path: &Path) -> PathBuf {
    Path::new(super::layout::INSIDE).join(path.strip_prefix(&lab.dir).unwrap_or(path))
}
