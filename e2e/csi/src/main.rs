//! The driver's process. In: flags. Out: the services of `freehold_csi`, until it is told to end.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Parser;
use freehold_csi::busy::Busy;
use freehold_csi::key::{TestKey, Unwrap};
use freehold_csi::serve::{self, Driver};
use freehold_csi::staging::Staging;
use freehold_csi::store::Store;
use freehold_csi::{controller, node};
use freehold_keys::client::{Client, Settings, Source};
use freehold_keys::memory;

/// The lab's CSI driver: volumes that the kernel encrypts, each with a key of its own
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Where CSI is served: unix:PATH
    #[arg(long)]
    endpoint: String,
    /// The folder of the volumes, shared by the nodes that are to have them
    #[arg(long)]
    state_dir: PathBuf,
    /// The name of this node; without it only the controller is served
    #[arg(long)]
    node_id: Option<String>,
    /// kubelet's folder for registrations
    #[arg(long, requires = "node_id")]
    registration_dir: Option<PathBuf>,
    /// The key service: https://HOST:PORT
    #[arg(long, requires_all = ["key_service_ca", "token_file"])]
    key_service: Option<String>,
    /// Who signs the key service's certificate, in PEM; read at each connection
    #[arg(long)]
    key_service_ca: Option<PathBuf>,
    /// The ServiceAccount token for the key service; read at each call
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// A key in the place of the key service, for tests only
    #[arg(long, conflicts_with = "key_service")]
    test_key_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(cli: Cli) -> Result<()> {
    memory::keep_in().context("core dumps can't be switched off")?;
    let Some(socket) = cli.endpoint.strip_prefix("unix:").map(PathBuf::from) else {
        bail!("--endpoint is unix:PATH, not {:?}", cli.endpoint);
    };
    let store = Store::open(&cli.state_dir).with_context(|| format!("open {}", cli.state_dir.display()))?;
    let busy = Busy::default();
    let node = match &cli.node_id {
        None => None,
        Some(id) => Some(node::Service {
            store: store.clone(),
            staging: Staging { node: id.clone() },
            keys: keys(&cli)?,
            busy: busy.clone(),
        }),
    };
    serve::run(Driver {
        socket,
        controller: controller::Service { store, busy },
        node,
        registration: cli.registration_dir,
    })
    .await
}

fn keys(cli: &Cli) -> Result<Arc<dyn Unwrap>> {
    match (
        &cli.key_service,
        &cli.key_service_ca,
        &cli.token_file,
        &cli.test_key_file,
    ) {
        (Some(service), Some(authority), Some(token), None) => {
            let settings = Settings::new(
                service,
                Source::File(authority.clone()),
                Source::File(token.clone()),
            );
            Ok(Arc::new(Client::new(settings)?))
        }
        (None, _, _, Some(file)) => {
            tracing::warn!("keys come from a test key: no volume of this driver is safe");
            Ok(Arc::new(TestKey::read(file)?))
        }
        _ => bail!("a node needs --key-service, or --test-key-file in tests"),
    }
}
