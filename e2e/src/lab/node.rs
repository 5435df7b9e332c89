//! One node, seen from inside: the first process of its PID namespace. It makes the mounts that the node
//! needs, starts the node's parts in their order, restarts those that end, and reaps what they leave.
//! When it ends, the kernel ends every process of the node, pods included.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::internet;
use super::net::{METADATA, NodeId, ip};
use super::parts::{self, Part};
use super::{Lab, layout::INSIDE, shell};

/// How long a part that ended stays down; also how often the supervisor looks.
const RESTART_AFTER: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(50);

/// Sets the node up and supervises it; returns only with an error.
pub fn run(lab: &Path, node: NodeId) -> Result<()> {
    if node == NodeId::OUTSIDE {
        return internet::run();
    }
    mounts(lab)?;
    wait_for_link()?;
    network(node)?;
    if node.0 == 1 {
        metadata_listener()?;
    }
    supervise(&Lab::at(Path::new(INSIDE)), node)
}

fn mounts(lab: &Path) -> Result<()> {
    let bind = |from: &Path, to: &str| {
        mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("bind {to}"))
    };
    let fresh = |kind: &str, to: &str| {
        mount(Some(kind), to, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mount {to}"))
    };
    bind(lab, INSIDE)?;
    fresh("proc", "/proc")?;
    fresh("tmpfs", "/run")?;
    for folder in ["/run/netns", "/run/cilium", "/run/lock"] {
        fs::create_dir_all(folder)?;
    }
    // Mounts of pods and volumes must be seen by containerd and kubelet alike.
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SHARED,
        None::<&str>,
    )?;
    Ok(())
}

/// The supervisor moves the link in once this process runs.
pub(super) fn wait_for_link() -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while ip("-o link show eth0 up").map_or(true, |found| found.is_empty()) {
        if Instant::now() > deadline {
            anyhow::bail!("the link eth0 did not come up within 10 s");
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}

fn network(node: NodeId) -> Result<()> {
    ip("link set lo up")?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("switch forwarding on")?;
    if node.0 == 1 {
        // A bridge without ports holds the address: the kernel has no `dummy` links everywhere.
        ip("link add metadata0 type bridge")?;
        ip(&format!("address add {METADATA}/32 dev metadata0"))?;
        ip("link set metadata0 up")?;
    }
    Ok(())
}

/// Answers on the address where cloud providers give out credentials: what tenants must never reach.
fn metadata_listener() -> Result<()> {
    let listener = TcpListener::bind((METADATA, 80)).context("listen on the metadata address")?;
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            use std::io::Write;
            let body = "lab metadata\n";
            let _ = write!(
                client,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    Ok(())
}

struct Running {
    part: Part,
    pid: Option<Pid>,
    not_before: Instant,
    restarts: u32,
}

fn supervise(lab: &Lab, node: NodeId) -> Result<()> {
    let mut all: Vec<Running> = parts::of(node)
        .into_iter()
        .map(|part| Running {
            part,
            pid: None,
            not_before: Instant::now(),
            restarts: 0,
        })
        .collect();
    loop {
        reap(&mut all);
        let mut changed = false;
        for running in &mut all {
            let due = running.pid.is_none() && Instant::now() >= running.not_before;
            if due && running.part.after.is_none_or(accepts) {
                running.pid = Some(start(lab, &running.part)?);
                changed = true;
            }
        }
        if changed {
            record(lab, node, &all)?;
        }
        std::thread::sleep(TICK);
    }
}

fn start(lab: &Lab, part: &Part) -> Result<Pid> {
    let log = shell::append(&lab.log(part.name))?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(&part.program);
    command
        .args(&part.args)
        .env_clear()
        .env("PATH", format!("{INSIDE}/build/cilium/bin:{INSIDE}/bin:{path}"))
        .env("HOME", "/root")
        .envs(part.env.iter().copied())
        .current_dir(INSIDE)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    let child = command.spawn().with_context(|| format!("start {}", part.name))?;
    Ok(Pid::from_raw(child.id() as i32))
}

/// As the first process of the namespace this one inherits every orphan, containers' shims among them.
fn reap(all: &mut [Running]) {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        let Some(pid) = status.pid() else { return };
        if matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..))
            && let Some(running) = all.iter_mut().find(|r| r.pid == Some(pid))
        {
            eprintln!("{} ended ({status:?}); it is started again", running.part.name);
            running.pid = None;
            running.restarts += 1;
            running.not_before = Instant::now() + RESTART_AFTER;
        }
    }
}

/// Which process is which part, for `status`: PIDs as this namespace counts them.
fn record(lab: &Lab, node: NodeId, all: &[Running]) -> Result<()> {
    let parts: BTreeMap<&str, serde_json::Value> = all
        .iter()
        .map(|r| {
            let pid = r.pid.map(Pid::as_raw);
            (
                r.part.name,
                serde_json::json!({ "pid": pid, "restarts": r.restarts }),
            )
        })
        .collect();
    let path = lab.cluster().join(node.name()).join("parts.json");
    fs::write(&path, serde_json::to_vec(&parts)?).with_context(|| format!("write {}", path.display()))
}

fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}
