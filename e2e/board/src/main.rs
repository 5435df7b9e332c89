//! The sample product of Freehold's lab: a small Kanban application in three tiers, as a vendor would deploy it.

mod access_log;
mod api;
mod database;
mod export;
mod migrate;
mod probes;
mod problem;
mod random;
mod settings;
mod shutdown;
mod smoke;
mod tls;
mod upstream;
mod version;
mod web;

use clap::Parser;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[derive(Debug, Parser)]
#[command(name = "board", version = version::VERSION, about = "A small Kanban application in three tiers")]
enum Command {
    /// Serve the page, and pass /api on to the api tier.
    Web(shutdown::Listen),
    /// Serve the API.
    Api(shutdown::Listen),
    /// Bring the database's schema to what this version needs.
    Migrate(migrate::Args),
    /// Check an api from outside, with a round trip to its database that leaves nothing.
    Smoke(smoke::Args),
    /// Write the data as CSV.
    Export(export::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,tokio_postgres=warn"));
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let ended = match Command::parse() {
        Command::Web(listen) => web::run(&listen).await,
        Command::Api(listen) => api::run(&listen).await,
        Command::Migrate(args) => migrate::run(&args).await,
        Command::Smoke(args) => smoke::run(&args).await,
        Command::Export(args) => export::run(&args).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("board: {error:#}");
            ExitCode::FAILURE
        }
    }
}
