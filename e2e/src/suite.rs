//! `cargo xtask test`: all tests. Format and lints come first, so that a typing error is told in seconds; then the units, while
//! the lab is made; then the stories that run beside each other, and then the others, one after the other.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};

use crate::demo;
use crate::lab::images::FEATURES;
use crate::lab::steps::shown;
use crate::lab::{Lab, packages, preflight, shell};
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
    match story {
        Some(story) => {
            println!("== the lab and Freehold in it");
            drop(demo::prepare(lab)?);
            stories(lab, "stories", Some(story))?;
            stories(lab, "csi", Some(story))?;
        }
        None => {
            lints(lab)?;
            if only_offline {
                units(lab)?;
            } else {
                all(lab)?;
            }
        }
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

fn all(lab: &Lab) -> Result<()> {
    thread::scope(|scope| {
        let units = scope.spawn(|| units(lab));
        println!("== the lab and Freehold in it, and the units meanwhile");
        let prepared = demo::prepare(lab).map(drop);
        if let Err(error) = &prepared {
            eprintln!("error: {error:#}\n(the units are waited for)");
        }
        let units = units.join().map_err(|_| anyhow!("the units' thread panicked"))?;
        prepared.and(units)
    })?;
    // After the units: with the processors taken by those, stories that wait for something wait too long.
    together(lab)?;
    let mut alone = target(lab, "stories");
    alone.args(["--skip", BESIDE]);
    step("stories that have the cluster to themselves", &mut alone)?;
    stories(lab, "csi", None)?;
    // Last, for they end the lab.
    stories(lab, "lab", None)
}

/// Those that disturb nobody a few at a time, for most of their time is waiting.
fn together(lab: &Lab) -> Result<()> {
    let mut together = tests(lab, "stories", "");
    together.args([BESIDE, "--test-threads=4", "--show-output"]);
    step("stories that run beside each other", &mut together)
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

fn lints(lab: &Lab) -> Result<()> {
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
    step("licences, bans, sources", &mut deny(lab)?)
}

/// What needs no cluster. It is told when it is over, for others are telling meanwhile. Where everybody wants the processors the
/// compiler goes last; the tests don't, for some of them say how long a thing may take. All of them run, also after one that failed.
fn units(lab: &Lab) -> Result<()> {
    // Generated files are checked by tests of the crates that generate them. `root`: loop devices and mounts, not for whoever
    // runs `cargo test` without rights. The certificates build zlint, and ask nothing of the cluster.
    let of_all = ["--features", "freehold-csi/root", "--no-fail-fast"];
    let certificates = ["--features", FEATURES, "--test", "certificates"];
    let begin = Instant::now();
    let log = lab.log("units");
    let _ = fs::remove_file(&log);
    let run = |which: &[&str]| {
        let test = ["test", "--workspace", "--locked"];
        let mut compile = Command::new("nice");
        compile.current_dir(&lab.repo).args(["-n", "10", "cargo"]);
        compile.args(test).arg("--no-run").args(which);
        shell::run(&mut compile, &log)?;
        shell::run(cargo(lab, &test).args(which), &log)
    };
    let outcome = run(&of_all).and_then(|()| run(&certificates));
    print!("{}", fs::read_to_string(&log).unwrap_or_default());
    println!("== units: {}", shown(begin.elapsed()));
    outcome
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
