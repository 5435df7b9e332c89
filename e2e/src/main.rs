//! `cargo xtask`: the lab, the demo and the tests of Freehold.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use freehold_e2e::lab::net::NodeId;
use freehold_e2e::lab::{Lab, host, node, status, up};
use freehold_e2e::{coverage, demo, prober, suite};

/// A real cluster on this machine, the demo on it, and all tests.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
enum Cmd {
    /// Start the lab: build what is missing, then a cluster that is ready
    Up {
        /// Number of nodes
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
        nodes: u8,
    },
    /// End the lab; what was built stays in .lab/
    Down,
    /// Show every part with its state, version, memory and log
    Status {
        #[arg(long, short, value_enum, default_value = "table")]
        output: Output,
    },
    /// Print the path of the administrator's kubeconfig
    Kubeconfig,
    /// Run kubectl against the lab
    #[command(disable_help_flag = true)]
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Show the log of one part
    Logs {
        part: String,
        #[arg(long, short)]
        follow: bool,
    },
    /// Build one image and import it
    Image { name: String },
    /// Start the lab, install Freehold, apply the samples, and show what two tenants can do
    Demo,
    /// Run all tests: format, lints, licences, units, generated files, and the stories in the lab
    Test {
        /// Run only the stories in the lab whose name holds this
        #[arg(long)]
        story: Option<String>,
        /// Run only what needs no cluster
        #[arg(long, conflicts_with = "story")]
        offline: bool,
    },
    /// Measure and try what takes minutes: pgbench and fio on encrypted and plain volumes, a succession of authorities under a
    /// load of new connections, a release through three rings, the operator killed after every write of everything
    Bench {
        /// Run only the measurements whose name holds one of these
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Show how many lines of the product the unit tests run, and with --with-lab the stories too
    Coverage {
        /// Run stories against an instrumented operator as well
        #[arg(long)]
        with_lab: bool,
        /// Fail if less than this percentage of all lines is covered
        #[arg(long, value_name = "PERCENT")]
        fail_under: Option<f64>,
    },
    #[command(hide = true)]
    Host {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        nodes: u8,
    },
    #[command(hide = true)]
    Node {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        index: u8,
    },
    #[command(hide = true)]
    Prober,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let lab = Lab::of_this_checkout();
    match Cli::parse().command {
        Cmd::Up { nodes } => up::up(&lab, nodes),
        Cmd::Down => up::down(&lab),
        Cmd::Status { output } => {
            let status = status::read(&lab)?;
            match output {
                Output::Table => print!("{}", status::table(&status)),
                Output::Json => println!("{}", serde_json::to_string_pretty(&status)?),
            }
            Ok(())
        }
        Cmd::Kubeconfig => {
            println!("{}", lab.kubeconfig().display());
            Ok(())
        }
        Cmd::Kubectl { args } => up::exec_kubectl(&lab, &args),
        Cmd::Logs { part, follow } => status::logs(&lab, &part, follow),
        Cmd::Image { name } => up::image(&lab, &name),
        Cmd::Demo => demo::run(&lab),
        Cmd::Test { story, offline } => suite::run(&lab, story.as_deref(), offline),
        Cmd::Bench { names } => suite::bench(&lab, &names),
        Cmd::Coverage { with_lab, fail_under } => coverage::run(&lab, with_lab, fail_under),
        Cmd::Host { dir, nodes } => host::run(&Lab::at(&dir), nodes),
        Cmd::Node { dir, index } => node::run(&dir, NodeId(index)),
        Cmd::Prober => prober::process(),
    }
}
