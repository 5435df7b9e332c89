//! `freehold keys`: the key service as a process. Client required.
//!
//! In: which provider holds the keys, and who may ask. Invariants: the process leaves no memory behind for others to read;
//! the PIN comes from a file, never from an argument or the environment; nothing is served before the certificate is there.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use freehold_keys::Provider;
use freehold_keys::local::{Local, Secrets};
use freehold_keys::memory;
use freehold_keys::pkcs11::{self, Pkcs11};
use freehold_keys::server::{Callers, Reviewer, Service};
use freehold_keys::tls::{self, Identity, Keeper};
use jiff::Timestamp;
use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tracing::info;

use crate::cli::LogFormat;
use crate::run::install_crypto;
use crate::serve::{Health, serve};

/// How the key service runs; each flag has an environment variable for the chart.
#[derive(Clone, Debug, Args)]
pub struct KeysArgs {
    /// Who holds the keys.
    #[arg(long, env = "KEY_PROVIDER", value_enum, default_value_t = ProviderKind::Local)]
    pub provider: ProviderKind,
    /// The namespace in which it keeps what it keeps.
    #[arg(long, env = "POD_NAMESPACE", default_value = "freehold-keys")]
    pub namespace: String,
    /// The address of the service.
    #[arg(long, env = "KEY_SERVICE_LISTEN", default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
    /// The address of /healthz, /readyz and /metrics.
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:8080")]
    pub probes: SocketAddr,
    /// The username that may make, rotate and destroy keys, and never sees one.
    #[arg(long, env = "KEY_OPERATOR", default_value = "system:serviceaccount:freehold-system:freehold", value_parser = NonEmptyStringValueParser::new())]
    pub operator: String,
    /// A username that may unwrap data keys, and nothing else; may be given several times.
    #[arg(long = "unwrapper", env = "KEY_UNWRAPPERS", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    pub unwrappers: Vec<String>,
    /// The HSM's PKCS#11 module.
    #[arg(long, env = "PKCS11_MODULE", required_if_eq("provider", "pkcs11"))]
    pub pkcs11_module: Option<PathBuf>,
    /// The label of the HSM's token.
    #[arg(long, env = "PKCS11_TOKEN_LABEL", required_if_eq("provider", "pkcs11"))]
    pub pkcs11_token_label: Option<String>,
    /// The file with the PIN of the token's user.
    #[arg(long, env = "PKCS11_PIN_FILE", required_if_eq("provider", "pkcs11"))]
    pub pkcs11_pin_file: Option<PathBuf>,
    /// The form of the log.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What is logged, for example `info`. Acts on keys are logged whatever it says.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProviderKind {
    /// A root key in the cluster, in the same namespace: whoever reads its Secrets has the keys.
    Local,
    /// An HSM.
    Pkcs11,
}

/// With the acts on keys, which are on record whatever else is logged.
pub fn log_level(level: &str) -> String {
    format!("{level},freehold_keys::audit=info")
}

pub fn main(args: KeysArgs) -> anyhow::Result<()> {
    memory::keep_in().context("core dumps can't be switched off")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(args))
}

async fn run(args: KeysArgs) -> anyhow::Result<()> {
    install_crypto()?;
    let unwrappers: BTreeSet<String> = args.unwrappers.iter().cloned().collect();
    let callers = Callers::new(args.operator.clone(), unwrappers)?;
    let config = Config::infer()
        .await
        .context("no way to the API server is known")?;
    let client = Client::try_from(config).context("the client can't be made")?;
    let provider = provider(&args, &client)?;
    let health = Health::default();
    let mut background = JoinSet::new();
    background.spawn(serve(args.probes, health.clone()));
    let keeper = Keeper::new(client.clone(), &args.namespace, tls::names(&args.namespace));
    let leaf = keeper.look(Timestamp::now()).await?;
    let identity = Arc::new(Identity::new(&leaf)?);
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("can't listen on {}", args.listen))?;
    let shown = identity.clone();
    background.spawn(async move {
        tls::follow(keeper, shown, leaf).await;
        Ok(())
    });
    info!(
        provider = ?args.provider,
        operator = args.operator,
        unwrappers = ?args.unwrappers,
        version = env!("CARGO_PKG_VERSION"),
        "serving keys"
    );
    health.set_ready();
    let mut terminate = signal(SignalKind::terminate()).context("no handler for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no handler for SIGINT")?;
    let end = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let service = Service::new(provider, callers, Reviewer::new(client));
    tokio::select! {
        served = service.serve(listener, identity, end) => served.context("the service ended"),
        Some(ended) = background.join_next() => {
            ended.context("a task ended")?.context("the server of the probes ended")
        }
    }
}

/// The one that the flags name. An HSM is not asked yet: one that is away for a while must not keep the service down.
fn provider(args: &KeysArgs, client: &Client) -> anyhow::Result<Arc<dyn Provider>> {
    match args.provider {
        ProviderKind::Local => {
            let secrets = Secrets::new(client.clone(), &args.namespace);
            Ok(Arc::new(Local::new(secrets)))
        }
        ProviderKind::Pkcs11 => {
            let settings = pkcs11::Settings {
                module: args.pkcs11_module.clone().context("--pkcs11-module is missing")?,
                token_label: args
                    .pkcs11_token_label
                    .clone()
                    .context("--pkcs11-token-label is missing")?,
                pin_file: args
                    .pkcs11_pin_file
                    .clone()
                    .context("--pkcs11-pin-file is missing")?,
            };
            Ok(Arc::new(Pkcs11::new(settings)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::keys_args;

    #[test]
    fn an_hsm_needs_its_module_its_token_and_its_pin() {
        let args = keys_args(&["freehold", "keys"]).unwrap();
        assert_eq!(args.provider, ProviderKind::Local);
        let mut given = vec!["freehold", "keys", "--provider=pkcs11"];
        for more in [
            "--pkcs11-module=/m.so",
            "--pkcs11-token-label=t",
            "--pkcs11-pin-file=/pin",
        ] {
            assert!(keys_args(&given).is_err(), "{given:?}");
            given.push(more);
        }
        assert_eq!(keys_args(&given).unwrap().provider, ProviderKind::Pkcs11);
    }

    #[test]
    fn unwrappers_are_told_one_by_one_or_in_one_list() {
        let args = ["freehold", "keys", "--unwrapper=a,b", "--unwrapper=c"];
        assert_eq!(keys_args(&args).unwrap().unwrappers, ["a", "b", "c"]);
        assert!(keys_args(&["freehold", "keys", "--unwrapper="]).is_err());
    }

    #[test]
    fn acts_are_logged_whatever_else_is() {
        assert_eq!(log_level("error"), "error,freehold_keys::audit=info");
    }
}
