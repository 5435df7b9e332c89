//! Everything that is built from Go modules: one table, one recipe. Versions are pinned by the modules'
//! `go.mod` and `go.sum` under `e2e/lab/`; a build whose inputs didn't change is not repeated.

mod workspace;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::steps::Outcome;
use super::{Lab, shell};

/// How a program is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// In one call with others of the workspace: what several share (Kubernetes' client, gRPC) is compiled once.
    Together,
    /// In the workspace too, but in a call of its own: its imports don't go with the others'.
    Alone,
    /// By its own go.mod: it needs other versions of libraries than the workspace has, or cgo.
    Apart,
}

/// One program: the module under `e2e/lab/` that pins it, its package, and how it is built.
#[derive(Debug)]
pub struct Program {
    pub name: &'static str,
    pub module: &'static str,
    /// As seen from `e2e/lab/`.
    pub package: &'static str,
    /// What `status` reports; the module that holds the package, as `go list -m` names it.
    pub origin: &'static str,
    pub call: Call,
    pub tags: &'static str,
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
        call: Call::Together,
        tags: "",
        cgo: false,
    }
}

const fn apart(program: Program) -> Program {
    Program {
        call: Call::Apart,
        ..program
    }
}

/// The step that builds a program.
pub fn step(program: &Program) -> String {
    match program.call {
        Call::Together => TOGETHER.into(),
        Call::Alone | Call::Apart => format!("build {}", program.name),
    }
}

/// The step that builds all that are built together.
pub const TOGETHER: &str = "build Go programs";

/// For every program; it means something to those of Kubernetes, and the others don't have the variable.
const LDFLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3";

/// What the linker would drop isn't made at all: a sixth less time, a quarter less of Go's cache.
const GCFLAGS: &str = "-gcflags=all=-dwarf=false";

/// The compiler frees its memory less often (Go's default is 100): a sixth less time again.
const COMPILER_GOGC: &str = "400";

const CONTAINERD: &str = "github.com/containerd/containerd/v2";
const CILIUM: &str = "github.com/cilium/cilium";

/// In the order in which a cold run should build them.
pub const PROGRAMS: &[Program] = &[
    go("kube", "kube", "./kube", "k8s.io/kubernetes"),
    go("pause", "pause", "./pause", "freehold.dev/lab/pause"),
    go("coredns", "dns", "./dns", "github.com/coredns/coredns"),
    go(
        "cnpg-manager",
        "database",
        "github.com/cloudnative-pg/cloudnative-pg/cmd/manager",
        "github.com/cloudnative-pg/cloudnative-pg",
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
        "./certificates",
        "github.com/cert-manager/cert-manager",
    ),
    go("helm", "helm", "helm.sh/helm/v4/cmd/helm", "helm.sh/helm/v4"),
    Program {
        // It imports a library under a name that differs in case from the others'.
        call: Call::Alone,
        ..go(
            "local-path-provisioner",
            "storage",
            "github.com/rancher/local-path-provisioner",
            "github.com/rancher/local-path-provisioner",
        )
    },
    apart(go(
        "containerd",
        "node",
        "github.com/containerd/containerd/v2/cmd/containerd",
        CONTAINERD,
    )),
    apart(go(
        "ctr",
        "node",
        "github.com/containerd/containerd/v2/cmd/ctr",
        CONTAINERD,
    )),
    apart(go(
        "containerd-shim-runc-v2",
        "node",
        "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        CONTAINERD,
    )),
    apart(go(
        "loopback",
        "node",
        "github.com/containernetworking/plugins/plugins/main/loopback",
        "github.com/containernetworking/plugins",
    )),
    Program {
        tags: "seccomp",
        cgo: true,
        ..apart(go(
            "runc",
            "runc",
            "github.com/opencontainers/runc",
            "github.com/opencontainers/runc",
        ))
    },
    Program {
        tags: "osusergo",
        ..apart(go(
            "cilium-agent",
            "cilium",
            "github.com/cilium/cilium/daemon",
            CILIUM,
        ))
    },
    Program {
        tags: "osusergo",
        ..apart(go(
            "cilium-cni",
            "cilium",
            "github.com/cilium/cilium/plugins/cilium-cni",
            CILIUM,
        ))
    },
];

/// Built by whoever asks for one ([`on_demand`]): `up` doesn't wait for them.
const ON_DEMAND: &[Program] = &[
    go("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok", "sigs.k8s.io/kwok"),
    // It needs a later CSI specification than Kubernetes has.
    apart(go(
        "csi-sanity",
        "csi-sanity",
        "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity",
        "github.com/kubernetes-csi/csi-test/v5",
    )),
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

/// Builds into `.lab/bin` all that are built together, those whose inputs changed.
pub fn build_together(lab: &Lab) -> Result<Outcome> {
    build_all(lab, PROGRAMS.iter().filter(|p| p.call == Call::Together))
}

/// Builds one program into `.lab/bin`.
pub fn build(lab: &Lab, program: &Program) -> Result<Outcome> {
    build_all(lab, std::iter::once(program))
}

/// In one call; of several, all are built the same way.
fn build_all<'a>(lab: &Lab, programs: impl Iterator<Item = &'a Program>) -> Result<Outcome> {
    let mut stale = Vec::new();
    for program in programs {
        let stamp = Stamp::of(lab, program.name, &inputs(lab, program)?);
        if !stamp.holds() || !lab.bin(program.name).exists() {
            stale.push((program, stamp));
        }
    }
    let Some((first, _)) = stale.first() else {
        return Ok(Outcome::Fresh);
    };
    let fresh = lab.build().join("fresh");
    for folder in [&fresh, &lab.dir.join("bin")] {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let mut command = Command::new("go");
    command
        .env("CGO_ENABLED", if first.cgo { "1" } else { "0" })
        .env("GOGC", COMPILER_GOGC)
        .args(["build", "-v", "-trimpath", "-buildvcs=false", GCFLAGS])
        .args(["-tags", first.tags, "-ldflags", LDFLAGS]);
    if first.call == Call::Apart {
        command
            .current_dir(lab.go_module(first.module))
            .env("GOWORK", "off");
    } else {
        command
            .current_dir(lab.go_modules())
            .env("GOWORK", workspace::make(lab)?);
    }
    if first.name == "cilium-agent" {
        command
            .arg("-modfile")
            .arg(cilium_source(lab, &lab.go_module("cilium"))?);
    }
    // A folder as the target: each gets the name of its package.
    command.arg("-o").arg(format!("{}/", fresh.display()));
    command.args(stale.iter().map(|(program, _)| program.package));
    shell::run(&mut command, &lab.log(&log_of(first)))?;
    for (program, stamp) in stale {
        let built = program.package.rsplit('/').next().unwrap_or(program.package);
        // Made beside and renamed: a program that runs can't be overwritten.
        fs::rename(fresh.join(built), lab.bin(program.name))
            .with_context(|| format!("take {built} as {}", program.name))?;
        stamp.set()?;
    }
    Ok(Outcome::Done)
}

/// The name of the log of a program's build.
pub fn log_of(program: &Program) -> String {
    step(program).replace(' ', "-")
}

/// Everything that decides what comes out: the module's files, those of the workspace, and the flags.
fn inputs(lab: &Lab, program: &Program) -> Result<Vec<u8>> {
    let mut all = format!("{program:?} {LDFLAGS} {GCFLAGS}").into_bytes();
    let mut files = Vec::new();
    let module = lab.go_module(program.module);
    collect(&module, &mut files).with_context(|| format!("read {}", module.display()))?;
    if program.call != Call::Apart {
        files.extend(workspace::inputs(lab)?);
        all.extend(workspace::PROVIDERS.as_bytes());
    }
    files.sort();
    for file in files {
        all.extend(fs::read(file)?);
    }
    Ok(all)
}

/// Copies a module out of Go's cache, whose files can't be written.
fn copy_source(from: &Path, to: &Path, log: &Path) -> Result<()> {
    shell::run(Command::new("cp").arg("-r").arg(from).arg(to), log)?;
    shell::run(Command::new("chmod").args(["-R", "u+w"]).arg(to), log)
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
        .env("GOWORK", "off")
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
    copy_source(&origin, &source, &log)?;
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

    #[test]
    fn the_workspace_holds_what_is_built_in_it_and_raises_no_programs_version() {
        let lab = Lab::of_this_checkout();
        let workspace = workspace::used(&lab).unwrap();
        let programs = || PROGRAMS.iter().chain(ON_DEMAND);
        let built: BTreeSet<&str> = programs()
            .filter(|p| p.call != Call::Apart)
            .map(|p| p.module)
            .collect();
        assert_eq!(built, workspace.iter().map(String::as_str).collect());
        let version = |module: &str, origin: &str| {
            let text = required(&lab, module, origin)?;
            semver::Version::parse(text.trim_start_matches('v')).ok()
        };
        for program in programs().filter(|p| p.call != Call::Apart) {
            let own = version(program.module, program.origin);
            for other in &workspace {
                assert!(
                    version(other, program.origin) <= own,
                    "{other} asks for a newer {} than {}",
                    program.origin,
                    program.module
                );
            }
        }
    }

    #[test]
    fn no_two_that_are_built_together_have_the_same_name() {
        let together: Vec<&str> = PROGRAMS
            .iter()
            .filter(|p| p.call == Call::Together)
            .map(|p| p.package.rsplit('/').next().unwrap())
            .collect();
        let distinct: BTreeSet<&str> = together.iter().copied().collect();
        assert_eq!(distinct.len(), together.len(), "{together:?}");
    }
}
