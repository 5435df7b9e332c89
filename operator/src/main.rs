//! The binary `freehold`: the operator, and its offline commands.

#[cfg(test)]
mod api_double;
mod apply;
mod cli;
mod cluster;
mod election;
mod fleet;
mod keys;
mod mint;
mod observe;
mod offline;
mod orphans;
mod probe;
mod reconcile;
mod report;
mod run;
mod serve;
mod show;
mod store;
mod watch;
mod why;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::main() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("freehold: {error:#}");
            ExitCode::FAILURE
        }
    }
}
