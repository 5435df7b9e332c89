//! `freehold probe`: tries to connect to some targets, once, all at the same time. No client, any user, and nothing is
//! written but the word that the pod leaves behind.

use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cli::print;

/// For finding the address and for connecting.
const PATIENCE: Duration = Duration::from_secs(3);
/// Where Kubernetes takes up a container's last word.
const LAST_WORD: &str = "/dev/termination-log";
/// Bytes of it that are kept.
const LAST_WORD_MAX: usize = 4096;

/// What is tried.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// A target as `NAME=HOST:PORT`; may be given several times.
    #[arg(long = "target", required = true, value_parser = target)]
    pub targets: Vec<Target>,
}

/// A target with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    pub address: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Told {
    target: String,
    /// None when not even an address was found: then nothing was tried.
    reached: Option<bool>,
}

fn target(text: &str) -> Result<Target, String> {
    let wrong = || format!("{text} is not NAME=HOST:PORT");
    let (name, address) = text.split_once('=').ok_or_else(wrong)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    if name.is_empty() || host.is_empty() || port.parse::<u16>().is_err() {
        return Err(wrong());
    }
    Ok(Target {
        name: name.to_owned(),
        address: address.to_owned(),
    })
}

/// Tries, and tells. What is not reached is no failure.
pub fn main(args: &ProbeArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let told = word(runtime.block_on(attempt(&args.targets)));
    // A resolver without an answer would hold the process longer than its patience.
    runtime.shutdown_background();
    if let Ok(mut file) = std::fs::OpenOptions::new().write(true).open(LAST_WORD) {
        // Who waits for it takes silence for what it is.
        let _ = file.write_all(told.as_bytes());
    }
    print(&format!("{told}\n"))
}

/// In the order of the targets.
async fn attempt(targets: &[Target]) -> Vec<Told> {
    let mut attempts = JoinSet::new();
    for (at, Target { address, .. }) in targets.iter().enumerate() {
        let address = address.clone();
        attempts.spawn(async move {
            let Ok(Ok(found)) = timeout(PATIENCE, lookup_host(address)).await else {
                return (at, None);
            };
            let found: Vec<_> = found.collect();
            let connected = timeout(PATIENCE, TcpStream::connect(found.as_slice())).await;
            (at, Some(matches!(connected, Ok(Ok(_)))))
        });
    }
    let mut reached = vec![None; targets.len()];
    while let Some(attempt) = attempts.join_next().await {
        if let Ok((at, found)) = attempt {
            reached[at] = found;
        }
    }
    let named = targets.iter().zip(reached);
    named
        .map(|(target, reached)| Told {
            target: target.name.clone(),
            reached,
        })
        .collect()
}

/// As much as is kept: a list that was cut off could not be read, so whole targets are left out.
fn word(mut told: Vec<Told>) -> String {
    loop {
        let text = serde_json::to_string(&told).unwrap_or_default();
        if text.len() <= LAST_WORD_MAX || told.pop().is_none() {
            return text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        let one = |name: &str, address: &str| Target {
            name: name.into(),
            address: address.into(),
        };
        assert_eq!(
            target("the API server=kubernetes.default.svc.cluster.local:443"),
            Ok(one("the API server", "kubernetes.default.svc.cluster.local:443"))
        );
        assert_eq!(target("v6=[fd00::1]:80"), Ok(one("v6", "[fd00::1]:80")));
        for bad in ["x", "x=host", "=host:1", "x=:1", "x=host:70000"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn what_listens_is_reached_and_nothing_else_is() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap().to_string();
        let closed = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().to_string()
        };
        let target = |name: &str, address: String| Target {
            name: name.into(),
            address,
        };
        let targets = [
            target("closed", closed),
            target("open", open),
            target("nobody", "no-such-host.invalid:1".into()),
        ];
        let told = word(attempt(&targets).await);
        assert_eq!(
            told,
            r#"[{"target":"closed","reached":false},{"target":"open","reached":true},{"target":"nobody","reached":null}]"#
        );
    }

    #[test]
    fn the_last_word_is_short_enough_and_can_be_read() {
        let told = |at: usize| Told {
            target: format!("target {at} {}", "x".repeat(100)),
            reached: Some(true),
        };
        let text = word((0..100).map(told).collect());
        assert!(text.len() <= LAST_WORD_MAX);
        let list: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert!(list.len() > 20);
    }
}
