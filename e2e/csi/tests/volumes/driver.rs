//! The driver as a process: it can be killed, and it can have mounts of its own, as on a node.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint};

use crate::bench::Bench;

/// The binary as it is deployed, with a key of the tests.
pub struct Driver {
    process: Child,
    socket: PathBuf,
}

impl Driver {
    /// Where this process is.
    pub fn start(bench: &Bench) -> Driver {
        Driver::run(Command::new(env!("CARGO_BIN_EXE_freehold-csi")), bench, "n1")
    }

    /// With programs in place of the system's.
    pub fn with_programs(bench: &Bench, folder: &Path) -> Driver {
        let mut command = Command::new(env!("CARGO_BIN_EXE_freehold-csi"));
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", folder.display()));
        Driver::run(command, bench, "n1")
    }

    /// In a mount namespace of its own: what it mounts is seen by no other node.
    pub fn apart(bench: &Bench, node: &str) -> Driver {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        command.arg(env!("CARGO_BIN_EXE_freehold-csi"));
        Driver::run(command, bench, node)
    }

    fn run(mut command: Command, bench: &Bench, node: &str) -> Driver {
        let key = bench.root.join("key.json");
        fs::write(&key, r#"{"key": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="}"#).unwrap();
        let socket = bench.root.join(format!("{node}.sock"));
        let _ = fs::remove_file(&socket);
        let process = command
            .arg(format!("--endpoint=unix:{}", socket.display()))
            .arg(format!("--state-dir={}", bench.root.join("store").display()))
            .arg(format!("--test-key-file={}", key.display()))
            .args(["--node-id", node])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !socket.exists() {
            assert!(Instant::now() < deadline, "the driver doesn't listen");
            std::thread::sleep(Duration::from_millis(2));
        }
        Driver { process, socket }
    }

    pub async fn channel(&self) -> Channel {
        let endpoint = format!("unix://{}", self.socket.display());
        let endpoint = Endpoint::from_shared(endpoint).unwrap();
        // The socket is there a moment before somebody listens.
        for _ in 0..100 {
            if let Ok(channel) = endpoint.connect().await {
                return channel;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("the driver doesn't answer")
    }

    /// A path as this process sees it.
    pub fn sees(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.process.id()));
        root.join(path.strip_prefix("/").unwrap())
    }

    /// Whether a device is mounted anywhere where this process is.
    pub fn has_mounted(&self, number: &str) -> bool {
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", self.process.id())).unwrap();
        table.contains(&format!(" {number} "))
    }

    /// As the kernel does when memory is short.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        let status = self.process.wait().unwrap();
        assert_eq!(status.signal(), Some(9));
    }
}

/// A test that fails leaves no process.
impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
