//! What holds keys leaves no memory behind, from before it first speaks to the cluster.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

/// Ended when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a command of the binary, and waits until it connects to an API server, which never answers.
fn started(command: &str) -> (Running, TcpListener) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let address = server.local_addr().unwrap();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "c", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    });
    let path = std::env::temp_dir().join(format!("memory-{command}-{}", std::process::id()));
    fs::write(&path, kubeconfig.to_string()).unwrap();
    let mut child = Running(
        Command::new(env!("CARGO_BIN_EXE_freehold"))
            .arg(command)
            .env("KUBECONFIG", &path)
            .env("LISTEN", "127.0.0.1:0")
            .env("KEY_SERVICE_LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let begin = Instant::now();
    while server.accept().is_err() {
        assert!(child.0.try_wait().unwrap().is_none(), "{command} ended");
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "{command} connects to nobody"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    fs::remove_file(&path).unwrap();
    (child, server)
}

#[test]
fn neither_the_operator_nor_the_key_service_writes_a_core_dump() {
    for command in ["run", "keys"] {
        let (child, _server) = started(command);
        let process = format!("/proc/{}", child.0.id());
        let limits = fs::read_to_string(format!("{process}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size"));
        let words: Vec<&str> = core.unwrap().split_whitespace().collect();
        assert_eq!(words[4..6], ["0", "0"], "{command}: {limits}");
    }
}
