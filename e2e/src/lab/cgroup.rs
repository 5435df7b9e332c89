//! The lab's control groups: the kubelets' roots, one for each node, in every cgroup v1 hierarchy (or in the one of v2).
//! They are the only thing of the nodes that outlives their processes, so they are removed here.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::net::NodeId;

const MOUNT: &str = "/sys/fs/cgroup";

/// The kubelet's `cgroupRoot` of a node.
pub fn root(node: NodeId) -> String {
    format!("freehold-{}", node.name())
}

/// Makes a node's root group in every hierarchy; the kubelet asks for it to be there.
pub fn create(node: NodeId) -> Result<()> {
    // The unified hierarchy beside those of v1 has no controllers; the runtime makes its groups there itself.
    for hierarchy in hierarchies().into_iter().filter(|h| !h.ends_with("unified")) {
        let group = hierarchy.join(root(node));
        fs::create_dir_all(&group).with_context(|| format!("create {}", group.display()))?;
        if hierarchy.ends_with("cpuset") {
            inherit_cpuset(&hierarchy, &group);
        }
    }
    Ok(())
}

/// A new cpuset group of v1 is empty, and a process can't be put into an empty one.
fn inherit_cpuset(from: &Path, to: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(value) = fs::read(from.join(file)) {
            let _ = fs::write(to.join(file), value);
        }
    }
}

/// Removes what is left of all nodes' groups, deepest first. Groups that still hold processes stay.
pub fn remove_all() {
    for hierarchy in hierarchies() {
        for node in [NodeId(1), NodeId(2)] {
            remove(&hierarchy.join(root(node)));
        }
    }
}

fn remove(group: &Path) {
    if let Ok(entries) = fs::read_dir(group) {
        for entry in entries
            .flatten()
            .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// The groups of the lab that exist, for `down` to report.
pub fn left() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        for node in [NodeId(1), NodeId(2)] {
            let group = hierarchy.join(root(node));
            if group.exists() {
                found.push(group);
            }
        }
    }
    found
}

/// Anonymous memory in bytes of one pod on one node, from the memory hierarchy.
pub fn pod_memory(node: NodeId, pod_uid: &str) -> Option<u64> {
    let base = [PathBuf::from(MOUNT).join("memory"), PathBuf::from(MOUNT)]
        .into_iter()
        .map(|m| m.join(root(node)).join("kubepods"))
        .find(|p| p.exists())?;
    let name = format!("pod{pod_uid}");
    let group = ["", "burstable", "besteffort"]
        .iter()
        .map(|q| base.join(q).join(&name))
        .find(|p| p.exists())?;
    let stat = fs::read_to_string(group.join("memory.stat")).ok()?;
    let value = |key: &str| {
        stat.lines()
            .find_map(|l| l.strip_prefix(key)?.trim().parse::<u64>().ok())
    };
    value("total_rss ").or_else(|| value("anon "))
}

fn hierarchies() -> Vec<PathBuf> {
    let base = Path::new(MOUNT);
    if base.join("cgroup.controllers").exists() {
        return vec![base.to_path_buf()];
    }
    let Ok(entries) = fs::read_dir(base) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.path())
        .filter(|p| p.join("cgroup.procs").exists())
        .collect()
}
