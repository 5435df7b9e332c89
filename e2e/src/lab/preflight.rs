//! What the machine must have before anything is touched. Each finding is one line that says what to do.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use serde_json::Value;

use super::net::{HOST_LINK, HTTPS_PORT, NODE_NET, unlink_host};
use super::{Lab, host, shell};

/// Free disk for a cold start: Go's and Cargo's caches, binaries, images, volumes (measured: 22 GiB).
const COLD_GIB: u64 = 25;
/// The same where Go's caches are filled already (measured: 11 GiB). Whether they are can't be told beforehand.
const WARM_GIB: u64 = 13;
/// A lab that was built before needs room for volumes alone.
const BUILT_GIB: u64 = 3;
/// The idle lab takes under 3 GiB; linking Kubernetes takes about as much again.
const MEMORY_GIB: u64 = 6;

/// Checks the machine; changes nothing but what a killed lab left behind.
pub fn check(lab: &Lab) -> Result<()> {
    if std::env::consts::OS != "linux" {
        bail!("the lab needs Linux: it is made of namespaces and control groups");
    }
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the lab needs root: it makes namespaces, links and mounts (in namespaces of its own); run it with sudo"
        );
    }
    for (program, hint) in [
        (
            "apt-get",
            "the lab needs Debian 12 or later: it installs its tools with apt-get",
        ),
        (
            "go",
            "the lab needs Go 1.26 or later in the PATH: https://go.dev/dl",
        ),
    ] {
        if shell::capture(Command::new("sh").args(["-c", &format!("command -v {program}")])).is_err() {
            bail!("{hint}");
        }
    }
    disk(lab)?;
    if host::running(lab).is_none() {
        memory()?;
        network()?;
    }
    Ok(())
}

fn memory() -> Result<()> {
    let info = fs::read_to_string("/proc/meminfo")?;
    let line = info.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
    enough("free memory", MEMORY_GIB, kib.unwrap_or(u64::MAX) >> 20)
}

fn disk(lab: &Lab) -> Result<()> {
    let existing = lab.dir.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let stat = nix::sys::statvfs::statvfs(existing)?;
    let free = (stat.blocks_available() * stat.fragment_size()) >> 30;
    let what = format!("free disk under {}", existing.display());
    if let Some(warning) = room(lab.bin("traefik").exists(), &what, free)? {
        eprintln!("{warning}");
    }
    Ok(())
}

/// Too little is an error; what may be too little is a warning.
fn room(built: bool, what: &str, free: u64) -> Result<Option<String>> {
    enough(what, if built { BUILT_GIB } else { WARM_GIB }, free)?;
    Ok((!built && free < COLD_GIB).then(|| {
        format!("warning: a first start takes up to {COLD_GIB} GiB of {what}, there are {free}; enough where Go's caches are filled")
    }))
}

fn enough(what: &str, need: u64, found: u64) -> Result<()> {
    if found < need {
        bail!("the lab needs {need} GiB of {what}, there are {found}");
    }
    Ok(())
}

fn network() -> Result<()> {
    if let Some(other) = host::elsewhere() {
        bail!("a lab of another checkout runs on this machine ({other}); run `cargo xtask down` there");
    }
    // A supervisor that was killed leaves its link for as long as the kernel keeps the node's namespace.
    if Path::new("/sys/class/net").join(HOST_LINK).exists() {
        unlink_host();
    }
    if let Err(error) = TcpListener::bind(("127.0.0.1", HTTPS_PORT)) {
        bail!(
            "port {HTTPS_PORT} on 127.0.0.1, where tenants are served, can't be had ({error}); see `ss -ltnp sport = :{HTTPS_PORT}`"
        );
    }
    let Ok(routes) = shell::capture(Command::new("ip").args(["-j", "route", "show"])) else {
        return Ok(()); // iproute2 is installed later; then nothing can have been set up by it
    };
    let routes: Value = serde_json::from_str(&routes).unwrap_or_default();
    for route in routes.as_array().into_iter().flatten() {
        let destination = route["dst"].as_str().unwrap_or_default();
        if overlaps(destination, NODE_NET) {
            bail!(
                "the lab's addresses {NODE_NET} are in use on this machine: route {destination} by {}",
                route["dev"]
            );
        }
    }
    Ok(())
}

/// Whether two IPv4 networks share addresses. `default` and what isn't IPv4 doesn't count.
fn overlaps(a: &str, b: &str) -> bool {
    let (Some((a, a_bits)), Some((b, b_bits))) = (parse(a), parse(b)) else {
        return false;
    };
    let bits = a_bits.min(b_bits);
    bits > 0 && (a ^ b) >> (32 - bits) == 0
}

fn parse(network: &str) -> Option<(u32, u32)> {
    let (address, bits) = network.split_once('/').unwrap_or((network, "32"));
    Some((
        address.parse::<std::net::Ipv4Addr>().ok()?.to_bits(),
        bits.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::{enough, overlaps, room};

    #[test]
    fn too_little_is_said_with_what_is_needed_and_what_is_there() {
        assert!(enough("free memory", 6, 6).is_ok());
        let told = enough("free memory", 6, 5).unwrap_err().to_string();
        assert_eq!(told, "the lab needs 6 GiB of free memory, there are 5");
    }

    #[test]
    fn disk_that_may_do_is_a_warning_and_disk_that_can_not_is_an_error() {
        let warns = |built, free| room(built, "free disk", free).unwrap().is_some();
        assert!(!warns(false, 25) && warns(false, 24) && warns(false, 13));
        assert!(room(false, "free disk", 12).is_err());
        assert!(!warns(true, 3) && room(true, "free disk", 2).is_err());
    }

    #[test]
    fn networks_that_share_addresses_are_found() {
        assert!(overlaps("10.0.0.0/8", "10.77.0.0/24"));
        assert!(overlaps("10.77.0.9", "10.77.0.0/24"));
        assert!(!overlaps("10.78.0.0/16", "10.77.0.0/24"));
        assert!(!overlaps("default", "10.77.0.0/24"));
    }
}
