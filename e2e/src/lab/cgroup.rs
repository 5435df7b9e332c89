//! The lab's control groups: the kubelets' roots, one for each node, in every cgroup v1 hierarchy (or in the one of v2).
//! They are the only thing of the nodes that outlives their processes, so they are removed here.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::net::NodeId;

const MOUNT: &str = "/sys/fs/cgroup";
/// How many times the default all pods of a node weigh. Against them stands each runnable thread of the control plane, the kubelet
/// and the tests: those are in the root group, where a thread weighs as much as a group does by default. A node with systemd's
/// slices leaves its pods two thirds of the processors; so does this one until eight threads want one at the same time.
const TIMES: u32 = 16;
/// The files of the versions 1 and 2, with their defaults.
const WEIGHTS: [(&str, u32); 2] = [("cpu.shares", 1024), ("cpu.weight", 100)];

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
        for (file, default) in WEIGHTS {
            let path = group.join(file);
            if path.exists() {
                fs::write(&path, (default * TIMES).to_string())
                    .with_context(|| format!("write {}", path.display()))?;
            }
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

/// How many times the default all pods of a node weigh.
pub fn weight(node: NodeId) -> Option<u32> {
    hierarchies().into_iter().find_map(|hierarchy| {
        WEIGHTS.into_iter().find_map(|(file, default)| {
            let text = fs::read_to_string(hierarchy.join(root(node)).join(file)).ok()?;
            Some(text.trim().parse::<u32>().ok()? / default)
        })
    })
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
