//! The binary `freehold`: the operator, and its offline commands.

#[cfg(test)]
mod api_double;
mod apply;
mod cli;
mod cluster;
mod election;
mod mint;
mod observe;
mod offline;
mod reconcile;
mod report;
mod run;
mod serve;
mod store;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("freehold: {error:#}");
            ExitCode::FAILURE
        }
    }
}
