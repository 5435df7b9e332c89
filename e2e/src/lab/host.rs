//! The supervisor on the host: it starts the nodes in their namespaces, links them, forwards the tenants' port, and
//! ends it all when it gets a signal or when a node ends. It holds the lab's lock for as long as it lives.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

use super::net::{self, GATEWAY_NODE_PORT, HTTPS_PORT, NodeId};
use super::{Lab, cgroup, forwarder, shell};

static NODE_ENDED: AtomicBool = AtomicBool::new(false);

/// Runs until it is told to end (SIGTERM, SIGINT) or a node ends by itself.
pub fn run(lab: &Lab, nodes: u8) -> Result<()> {
    let _lock = take_lock(lab)?;
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    signals.thread_block()?;
    let target: SocketAddr = format!("{}:{GATEWAY_NODE_PORT}", NodeId(1).address()).parse()?;
    forwarder::start(HTTPS_PORT, target)?;
    let mut children = Vec::new();
    let started = start_nodes(lab, nodes, &mut children);
    if started.is_ok() {
        watch_children(&mut children, &signals);
    }
    for child in &mut children {
        let _ = child.kill();
        let _ = child.wait();
    }
    net::unlink_host();
    remove_groups();
    started
}

fn start_nodes(lab: &Lab, nodes: u8, children: &mut Vec<Child>) -> Result<()> {
    let mut first = None;
    for node in (1..=nodes).map(NodeId) {
        cgroup::create(node)?;
        let child = spawn_node(lab, node)?;
        let outer = child.id();
        children.push(child);
        let init = first_process(outer)?;
        fs::write(lab.cluster().join(node.name()).join("init.pid"), init.to_string())?;
        match first {
            None => {
                net::link_host(init)?;
                start_internet(lab, init, children)?;
                first = Some(init);
            }
            Some(first) => net::link_nodes(first, init)?,
        }
    }
    Ok(())
}

fn start_internet(lab: &Lab, first: u32, children: &mut Vec<Child>) -> Result<()> {
    let child = spawn_node(lab, NodeId::OUTSIDE)?;
    let outer = child.id();
    children.push(child);
    net::link_internet(first, first_process(outer)?)
}

/// `setpriv` ties the node's life to this process even when this one is killed, `unshare` ties the namespaces to its own.
fn spawn_node(lab: &Lab, node: NodeId) -> Result<Child> {
    let log = shell::append(&lab.log(&node.name()))?;
    Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "-n",
            "-m",
            "-p",
            "-f",
            "--kill-child",
            "--propagation",
            "private",
        ])
        .arg(lab.bin("lab"))
        .args(["node", "--dir"])
        .arg(&lab.dir)
        .args(["--index", &node.0.to_string()])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {}", node.name()))
}

/// The child of `unshare`: the first process of the node's PID namespace.
fn first_process(unshare: u32) -> Result<u32> {
    let children = format!("/proc/{unshare}/task/{unshare}/children");
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let pid = fs::read_to_string(&children)
            .ok()
            .and_then(|c| c.split_whitespace().next()?.parse().ok());
        if let Some(pid) = pid {
            return Ok(pid);
        }
        if Instant::now() > deadline {
            bail!("the node's first process did not start");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn watch_children(children: &mut [Child], signals: &SigSet) {
    std::thread::scope(|scope| {
        for child in children {
            scope.spawn(|| {
                let status = child.wait();
                if !NODE_ENDED.swap(true, Ordering::SeqCst) {
                    eprintln!("a node ended: {status:?}");
                    let _ = nix::sys::signal::kill(Pid::this(), Signal::SIGTERM);
                }
            });
        }
        let _ = signals.wait();
        NODE_ENDED.store(true, Ordering::SeqCst);
        kill_nodes();
    });
}

/// Kills the children that this process started (the `unshare` of each node).
fn kill_nodes() {
    let this = std::process::id();
    let children = fs::read_to_string(format!("/proc/{this}/task/{this}/children")).unwrap_or_default();
    for pid in children.split_whitespace().filter_map(|p| p.parse().ok()) {
        let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Groups can be removed once the kernel has let go of their last process.
fn remove_groups() {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !cgroup::left().is_empty() && Instant::now() < deadline {
        cgroup::remove_all();
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn take_lock(lab: &Lab) -> Result<Flock<File>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(lab.lock())?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            lock.set_len(0)?;
            write!(lock, "{}", std::process::id())?;
            Ok(lock)
        }
        Err((_, errno)) => bail!("the lab runs already ({errno})"),
    }
}

/// The supervisor's PID when the lab of this checkout runs.
pub fn running(lab: &Lab) -> Option<i32> {
    let mut file = File::open(lab.lock()).ok()?;
    let mut pid = String::new();
    file.read_to_string(&mut pid).ok()?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => None,
        Err(_) => pid.trim().parse().ok(),
    }
}

/// The folder of a lab that runs on this machine, whichever checkout it is of.
pub fn elsewhere() -> Option<String> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<&[u8]> = line.split(|b| *b == 0).collect();
        match words.as_slice() {
            [program, b"host", b"--dir", folder, ..] if program.ends_with(b"/bin/lab") => {
                Some(String::from_utf8_lossy(folder).into_owned())
            }
            _ => None,
        }
    })
}

/// In a second or two, unless the machine is busy with something else.
const STARTED: Duration = Duration::from_secs(60);

/// Starts the supervisor as a process of its own that outlives this command.
pub fn spawn(lab: &Lab, nodes: u8) -> Result<()> {
    let log = shell::append(&lab.log("host"))?;
    let mut child = Command::new("setsid")
        .arg("--fork")
        .arg(lab.bin("lab"))
        .args(["host", "--dir"])
        .arg(&lab.dir)
        .args(["--nodes", &nodes.to_string()])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("start the lab's supervisor")?;
    child.wait()?;
    let deadline = Instant::now() + STARTED;
    let ready = lab.cluster().join(NodeId(nodes).name()).join("parts.json");
    while !ready.exists() {
        if Instant::now() > deadline {
            bail!("the nodes did not start within {} s", STARTED.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Ends the lab and waits until nothing of it is left but files: no process, link or control group.
pub fn stop(lab: &Lab) -> Result<bool> {
    let Some(pid) = running(lab) else {
        net::unlink_host();
        remove_groups();
        return Ok(false);
    };
    nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGTERM).context("end the lab's supervisor")?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while running(lab).is_some() {
        if Instant::now() > deadline {
            bail!(
                "the lab did not end within 30 s; its log: {}",
                lab.log("host").display()
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(true)
}
