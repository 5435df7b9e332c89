//! `cargo xtask test`: all tests. What needs no cluster runs first, so that a typing error is told in
//! seconds; then the stories, each on the real cluster.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::demo;
use crate::lab::images::FEATURES;
use crate::lab::steps::shown;
use crate::lab::{Lab, packages, preflight};
use crate::tools::Tool;

/// The licence check.
const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    says: &["--version"],
    takes: "some minutes",
};

/// The stories that run beside each other.
const BESIDE: &str = "beside::";

/// Runs everything, or only what needs no cluster, or only the stories whose name holds `story`.
pub fn run(lab: &Lab, story: Option<&str>, only_offline: bool) -> Result<()> {
    let begin = Instant::now();
    preflight::check(lab)?;
    packages::install(lab)?;
    if story.is_none() {
        offline(lab)?;
    }
    if !only_offline {
        println!("== the lab and Freehold in it");
        drop(demo::prepare(lab)?);
        match story {
            None => all_stories(lab)?,
            Some(_) => stories(lab, "stories", story)?,
        }
        stories(lab, "csi", story)?;
    }
    if !only_offline && story.is_none() {
        // Last, for they end the lab.
        stories(lab, "lab", None)?;
    }
    println!("\nAll tests passed after {}.", shown(begin.elapsed()));
    Ok(())
}

/// What takes minutes: the figures of docs/lab.md that have this command, and faults at every single step, of which a test run has
/// one of each kind.
pub fn bench(lab: &Lab, names: &[String]) -> Result<()> {
    preflight::check(lab)?;
    packages::install(lab)?;
    packages::install_for_bench(lab)?;
    println!("== the lab and Freehold in it");
    drop(demo::prepare(lab)?);
    for test in ["stories", "lab"] {
        let mut command = tests(lab, test, ",freehold-e2e/browser");
        command.args(ONE_BY_ONE).arg("--ignored").args(names);
        step(&format!("bench: {test}"), &mut command)?;
    }
    Ok(())
}

/// Those that disturb nobody a few at a time, for most of their time is waiting; then the others one after the other.
fn all_stories(lab: &Lab) -> Result<()> {
    let mut together = tests(lab, "stories", "");
    together.args([BESIDE, "--test-threads=4", "--show-output"]);
    step("stories that run beside each other", &mut together)?;
    let mut alone = target(lab, "stories");
    alone.args(["--skip", BESIDE]);
    step("stories that have the cluster to themselves", &mut alone)
}

fn stories(lab: &Lab, test: &str, story: Option<&str>) -> Result<()> {
    let mut command = target(lab, test);
    command.args(story);
    step(test, &mut command)
}

/// For they share one cluster.
const ONE_BY_ONE: [&str; 2] = ["--test-threads=1", "--nocapture"];

fn target(lab: &Lab, test: &str) -> Command {
    let mut command = tests(lab, test, "");
    command.args(ONE_BY_ONE);
    command
}

/// As one of the whole workspace's: another choice of packages has other features of what they depend on, and all of it would be
/// compiled once more.
fn tests(lab: &Lab, test: &str, more: &str) -> Command {
    let features = format!("{FEATURES}{more}");
    let mut command = cargo(lab, &["test", "--workspace", "--locked", "--features", &features]);
    command.args(["--test", test, "--"]);
    command
}

fn offline(lab: &Lab) -> Result<()> {
    step("format", &mut cargo(lab, &["fmt", "--all", "--check"]))?;
    let lints = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    step("lints", &mut cargo(lab, &lints))?;
    step("licences, bans, sources", &mut deny(lab)?)?;
    // Generated files are checked by tests of the crates that generate them. `root`: loop devices and mounts, not for whoever
    // runs `cargo test` without rights.
    let units = [
        "test",
        "--workspace",
        "--locked",
        "--features",
        "freehold-csi/root",
    ];
    step("units", &mut cargo(lab, &units))?;
    // Builds zlint, and asks nothing of the cluster.
    stories(lab, "certificates", None)
}

fn cargo(lab: &Lab, args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(&lab.repo).args(args);
    command
}

fn deny(lab: &Lab) -> Result<Command> {
    let mut command = Command::new(CARGO_DENY.install(lab)?);
    // Advisories need a database that is fetched by git; `cargo deny check advisories` does it where there is a network.
    command.current_dir(&lab.repo).args([
        "--offline",
        "--all-features",
        "check",
        "licenses",
        "bans",
        "sources",
    ]);
    Ok(command)
}

fn step(name: &str, command: &mut Command) -> Result<()> {
    println!("== {name}");
    let begin = Instant::now();
    let status = command.status()?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    println!("== {name}: {}", shown(begin.elapsed()));
    Ok(())
}
