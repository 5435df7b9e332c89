//! Debian packages that the lab needs; installed when one is missing.

use std::process::Command;

use anyhow::{Context, Result};

use super::steps::Outcome;
use super::{Lab, shell};

/// Each with what needs it.
const PACKAGES: &[&str] = &[
    "bpftool",         // Cilium
    "ca-certificates", // downloads
    "clang-19",        // Cilium compiles its datapath when it starts
    "conntrack",       // kube-proxy
    "curl",            // tests, people
    "e2fsprogs",       // volumes of the CSI driver
    "iproute2",        // links
    "iptables",        // kube-proxy
    "jq",              // people
    "kmod",            // Cilium
    "libseccomp-dev",  // runc
    "llvm-19",         // Cilium
    "mmdebstrap",      // root file systems of images
    "openssl",         // tests of certificates
    "pkg-config",      // runc
    "postgresql",      // tests of the sample product
    "softhsm2",        // tests of the key service
    "util-linux",      // namespaces
];

/// What measuring needs besides.
const FOR_BENCH: &[&str] = &[
    "chromium", // open pages
    "fio",      // volumes
];

pub fn install(lab: &Lab) -> Result<Outcome> {
    install_all(lab, PACKAGES)
}

/// What `cargo xtask bench` needs besides the lab's own.
pub fn install_for_bench(lab: &Lab) -> Result<Outcome> {
    install_all(lab, FOR_BENCH)
}

fn install_all(lab: &Lab, wanted: &[&'static str]) -> Result<Outcome> {
    let missing: Vec<&str> = wanted.iter().copied().filter(|p| !installed(p)).collect();
    if missing.is_empty() {
        return Ok(Outcome::Fresh);
    }
    let log = lab.log("packages");
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(args);
        shell::run(&mut command, &log)
    };
    apt(&["update"]).context("the lab needs Debian 12 with its package mirror in reach")?;
    let install = [&["install", "-y", "--no-install-recommends"], missing.as_slice()].concat();
    apt(&install)?;
    Ok(Outcome::Done)
}

fn installed(package: &str) -> bool {
    shell::capture(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}
