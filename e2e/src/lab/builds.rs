//! Everything that is built from Go modules: one table, one recipe. Versions are pinned by the modules'
//! `go.mod` and `go.sum` under `e2e/lab/`; a build whose inputs didn't change is not repeated.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::steps::Outcome;
use super::{Lab, shell};

/// One program: the module under `e2e/lab/` that pins it, its package, and how it is built.
#[derive(Debug)]
pub struct Program {
    pub name: &'static str,
    pub module: &'static str,
    pub package: &'static str,
    /// What `status` reports; the module that holds the package, as `go list -m` names it.
    pub origin: &'static str,
    pub tags: &'static str,
    pub ldflags: &'static str,
    pub cgo: bool,
}

const fn go(
    name: &'static str,
    module: &'static str,
    package: &'static str,
    origin: &'static str,
) -> Program {
    Program {
        name,
        module,
        package,
        origin,
        tags: "",
        ldflags: "",
        cgo: false,
    }
}

const CONTAINERD: &str = "github.com/containerd/containerd/v2";
const CILIUM: &str = "github.com/cilium/cilium";

/// In the order in which a cold run should build them: what the node needs first.
pub const PROGRAMS: &[Program] = &[
    Program {
        ldflags: "-X k8s.io/component-base/version.gitVersion=v1.36.3",
        ..go("kube", "kube", ".", "k8s.io/kubernetes")
    },
    go(
        "containerd",
        "node",
        "github.com/containerd/containerd/v2/cmd/containerd",
        CONTAINERD,
    ),
    go(
        "ctr",
        "node",
        "github.com/containerd/containerd/v2/cmd/ctr",
        CONTAINERD,
    ),
    go(
        "containerd-shim-runc-v2",
        "node",
        "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        CONTAINERD,
    ),
    go(
        "loopback",
        "node",
        "github.com/containernetworking/plugins/plugins/main/loopback",
        "github.com/containernetworking/plugins",
    ),
    Program {
        tags: "seccomp",
        cgo: true,
        ..go(
            "runc",
            "runc",
            "github.com/opencontainers/runc",
            "github.com/opencontainers/runc",
        )
    },
    Program {
        tags: "osusergo",
        ..go(
            "cilium-agent",
            "cilium",
            "github.com/cilium/cilium/daemon",
            CILIUM,
        )
    },
    Program {
        tags: "osusergo",
        ..go(
            "cilium-cni",
            "cilium",
            "github.com/cilium/cilium/plugins/cilium-cni",
            CILIUM,
        )
    },
    go("pause", "pause", ".", "freehold.dev/lab/pause"),
    go(
        "coredns",
        "dns",
        "github.com/coredns/coredns",
        "github.com/coredns/coredns",
    ),
    go(
        "cnpg-manager",
        "database",
        "github.com/cloudnative-pg/cloudnative-pg/cmd/manager",
        "github.com/cloudnative-pg/cloudnative-pg",
    ),
    go(
        "local-path-provisioner",
        "storage",
        "github.com/rancher/local-path-provisioner",
        "github.com/rancher/local-path-provisioner",
    ),
    go(
        "csi-provisioner",
        "csi-provisioner",
        "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner",
        "github.com/kubernetes-csi/external-provisioner/v6",
    ),
    go(
        "csi-resizer",
        "csi-resizer",
        "github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer",
        "github.com/kubernetes-csi/external-resizer/v2",
    ),
    go(
        "traefik",
        "gateway",
        "github.com/traefik/traefik/v3/cmd/traefik",
        "github.com/traefik/traefik/v3",
    ),
    go(
        "cert-manager",
        "certificates",
        ".",
        "github.com/cert-manager/cert-manager",
    ),
    go("helm", "helm", "helm.sh/helm/v4/cmd/helm", "helm.sh/helm/v4"),
];

/// Built by whoever asks for one ([`on_demand`]): `up` doesn't wait for them.
const ON_DEMAND: &[Program] = &[
    go("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok", "sigs.k8s.io/kwok"),
    go(
        "csi-sanity",
        "csi-sanity",
        "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity",
        "github.com/kubernetes-csi/csi-test/v5",
    ),
    go(
        "zlint",
        "zlint",
        "github.com/zmap/zlint/v3/cmd/zlint",
        "github.com/zmap/zlint/v3",
    ),
];

/// The path of a program that is no part of the cluster; built if it isn't there.
pub fn on_demand(lab: &Lab, name: &str) -> Result<PathBuf> {
    let program = ON_DEMAND
        .iter()
        .find(|p| p.name == name)
        .with_context(|| format!("there is no program {name}"))?;
    build(lab, program)?;
    Ok(lab.bin(name))
}

/// Builds one program into `.lab/bin`.
pub fn build(lab: &Lab, program: &Program) -> Result<Outcome> {
    let module = lab.go_module(program.module);
    let stamp = Stamp::of(lab, program.name, &inputs(&module, program)?);
    let target = lab.bin(program.name);
    if stamp.holds() && target.exists() {
        return Ok(Outcome::Fresh);
    }
    let mut command = Command::new("go");
    command
        .current_dir(&module)
        .env("CGO_ENABLED", if program.cgo { "1" } else { "0" })
        .args(["build", "-trimpath", "-buildvcs=false", "-tags", program.tags])
        .args(["-ldflags", &format!("-s -w {}", program.ldflags)]);
    if program.name == "cilium-agent" {
        command.arg("-modfile").arg(cilium_source(lab, &module)?);
    }
    // Written beside and renamed: a program that runs can't be overwritten.
    let fresh = target.with_extension("new");
    command.arg("-o").arg(&fresh).arg(program.package);
    shell::run(&mut command, &lab.log(&format!("build-{}", program.name)))?;
    fs::rename(&fresh, &target)?;
    stamp.set()?;
    Ok(Outcome::Done)
}

/// Everything that decides what comes out: the module's files and the flags.
fn inputs(module: &Path, program: &Program) -> Result<Vec<u8>> {
    let mut all = format!("{program:?}").into_bytes();
    let mut files = Vec::new();
    collect(module, &mut files).with_context(|| format!("read {}", module.display()))?;
    files.sort();
    for file in files {
        all.extend(fs::read(file)?);
    }
    Ok(all)
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, into)?
        } else {
            into.push(path)
        }
    }
    Ok(())
}

/// A mark that a result was made from certain inputs.
#[derive(Debug)]
pub struct Stamp {
    path: PathBuf,
    digest: String,
}

impl Stamp {
    pub fn of(lab: &Lab, name: &str, inputs: &[u8]) -> Stamp {
        let digest = Sha256::digest(inputs)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        Stamp {
            path: lab.build().join("stamps").join(name),
            digest,
        }
    }

    pub fn holds(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|found| found == self.digest)
    }

    pub fn set(&self) -> Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&self.path, &self.digest).with_context(|| format!("write {}", self.path.display()))
    }
}

/// Where the module that holds `package` lies, of those that a lab module requires.
pub fn module_dir(lab: &Lab, module: &str, package: &str) -> Result<PathBuf> {
    let mut command = Command::new("go");
    // -mod=mod, so that a module that is required but not unpacked yet is fetched.
    command
        .current_dir(lab.go_module(module))
        .args(["mod", "download", "-json", package]);
    let found: serde_json::Value = serde_json::from_str(&shell::capture(&mut command)?)?;
    let dir = found["Dir"]
        .as_str()
        .with_context(|| format!("go mod download {package} names no folder"))?;
    Ok(PathBuf::from(dir))
}

/// The agent stops where /proc/modules is missing, as on a kernel without loadable modules. So it is built
/// from a copy of its source with one file replaced (Go lets nobody overlay files of its module cache).
/// Returns the go.mod that names the copy. The agent also gets its copy of the datapath's C source here.
fn cilium_source(lab: &Lab, module: &Path) -> Result<PathBuf> {
    let home = lab.build().join("cilium");
    let source = home.join("source");
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home)?;
    let origin = module_dir(lab, "cilium", CILIUM)?;
    let log = lab.log("build-cilium-agent");
    let copy = |from: &Path, to: &Path| shell::run(Command::new("cp").arg("-r").arg(from).arg(to), &log);
    copy(&origin, &source)?;
    shell::run(Command::new("chmod").args(["-R", "u+w"]).arg(&source), &log)?;
    copy(
        &module.join("overlay/modules_linux.go"),
        &source.join("pkg/datapath/linux/modules/modules_linux.go"),
    )?;
    copy(&source.join("bpf"), &home.join("bpf"))?;
    copy(
        &source.join("pkg/k8s/apis/cilium.io/client/crds"),
        &home.join("crds"),
    )?;
    compilers(&home.join("bin"))?;
    let modfile = home.join("go.mod");
    fs::copy(module.join("go.mod"), &modfile)?;
    fs::copy(module.join("go.sum"), home.join("go.sum"))?;
    let replace = format!("{CILIUM}={}", source.display());
    shell::run(
        Command::new("go")
            .args(["mod", "edit", "-replace", &replace])
            .arg(&modfile),
        &log,
    )?;
    Ok(modfile)
}

/// The agent calls `clang` and `llc`; Debian's carry their version in the name, and a newer compiler's
/// warnings are not errors of the datapath.
fn compilers(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(folder)?;
    for (name, call) in [("clang", "clang-19 -Wno-error -w"), ("llc", "llc-19")] {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\nexec {call} \"$@\"\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The version of `origin` that a lab module requires, as its go.mod says.
pub fn required(lab: &Lab, module: &str, origin: &str) -> Option<String> {
    let text = fs::read_to_string(lab.go_module(module).join("go.mod")).ok()?;
    text.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        (words.next() == Some(origin)).then(|| words.next().unwrap_or_default().to_string())
    })
}

/// The lab modules that the table uses: a folder without a program is a leftover.
#[cfg(test)]
fn modules() -> std::collections::BTreeSet<&'static str> {
    PROGRAMS.iter().chain(ON_DEMAND).map(|p| p.module).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_program_has_a_pinned_version_and_every_module_a_program() {
        let lab = Lab::of_this_checkout();
        for program in PROGRAMS.iter().chain(ON_DEMAND).filter(|p| p.name != "pause") {
            let version = required(&lab, program.module, program.origin).unwrap_or_default();
            assert!(
                version.starts_with('v'),
                "{}: {} is not in go.mod",
                program.name,
                program.origin
            );
        }
        let folders: BTreeSet<String> = fs::read_dir(lab.repo.join("e2e/lab"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.join("go.mod").exists())
            .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(folders, modules().into_iter().map(String::from).collect());
    }
}
