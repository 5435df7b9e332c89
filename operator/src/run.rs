//! `freehold run`: wires the watches, the election and the passes together. Client required.
//!
//! Invariants: the process leaves no memory behind for others to read; no pass before every watch has its first listing, or what
//! exists would look missing.

mod api_server;
mod key_service;
mod queue;
mod storage_classes;

use std::sync::{Arc, RwLock};

use anyhow::Context as _;
use freehold_keys::memory;
use freehold_plan::rights::TENANT_ROLE;
use freehold_plan::{Config, Endpoint, KeyService, Kind, Verification};
use futures::channel::mpsc::unbounded;
use futures::{StreamExt, pin_mut};
use kube::runtime::controller::{self, applier};
use kube::{Client, Config as ClientConfig};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, info};

use crate::cli::RunArgs;
use crate::election::Election;
use crate::fleet::{self, Members};
use crate::orphans;
use crate::reconcile::{Context, on_error, reconcile};
use crate::serve::{Health, serve};
use crate::store::Store;
use crate::watch::{self, Listeners, Places};

pub fn main(args: RunArgs) -> anyhow::Result<()> {
    // Every tenant's authority issues from here.
    memory::keep_in().context("core dumps can't be switched off")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(args))
}

async fn run(args: RunArgs) -> anyhow::Result<()> {
    install_crypto()?;
    let health = Health::default();
    let mut server = tokio::spawn(serve(args.listen, health.clone()));
    let client = connect().await?;
    health.set_ready();
    let mut election = Election::stand(client.clone(), &args.namespace, &args.identity).await?;
    info!(
        identity = args.identity,
        version = env!("CARGO_PKG_VERSION"),
        "standing for election"
    );
    let mut terminate = signal(SignalKind::terminate()).context("no handler for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no handler for SIGINT")?;
    tokio::select! {
        won = election.won() => won?,
        served = &mut server => return served?.context("the server of the probes ended"),
        _ = terminate.recv() => { election.resign().await; return Ok(()); }
        _ = interrupt.recv() => { election.resign().await; return Ok(()); }
    }
    info!("leading");
    health.metrics.leads(true);
    let result = tokio::select! {
        lost = election.lost() => return Err(lost.into()),
        served = &mut server => served?.context("the server of the probes ended"),
        ended = lead(client, &args, &health) => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    info!("ending");
    election.resign().await;
    result
}

/// The one crypto provider of this process.
pub fn install_crypto() -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another crypto provider is installed already"))
}

async fn connect() -> anyhow::Result<Client> {
    let config = ClientConfig::infer()
        .await
        .context("no way to the API server is known")?;
    let client = Client::try_from(config).context("the client can't be made")?;
    let version = client
        .apiserver_version()
        .await
        .context("the API server does not answer")?;
    info!(version = version.git_version, "connected");
    Ok(client)
}

/// Works until the process ends.
async fn lead(client: Client, args: &RunArgs, health: &Health) -> anyhow::Result<()> {
    let store = Arc::new(Store::default());
    let (wakes, woken) = unbounded();
    let watches = Kind::ALL.len() + 1;
    let (synced, mut listed) = mpsc::channel(watches);
    let places = Places::of(&config(args, Vec::new()));
    let listeners = Listeners {
        store: store.clone(),
        wakes: wakes.clone(),
    };
    // All of this ends with the leadership: dropping the set ends its tasks.
    let mut background = JoinSet::new();
    for kind in Kind::ALL {
        background.spawn(watch::kind(
            client.clone(),
            kind,
            places.clone(),
            listeners.clone(),
            synced.clone(),
        ));
    }
    background.spawn(watch::operations(client.clone(), places, listeners, synced));
    let members = Arc::new(Members::default());
    let queue::Sources {
        tenants,
        classes,
        releases,
        channels,
        approvals,
    } = queue::watch(client.clone(), store.clone(), wakes.clone(), members.clone()).await?;
    let given: Vec<Endpoint> = args
        .api_server
        .iter()
        .flat_map(|endpoints| endpoints.0.clone())
        .collect();
    let discover = given.is_empty();
    let api_server = if discover {
        api_server::discover(&client).await?
    } else {
        given
    };
    info!(?api_server, "database pods may reach the API server there");
    for _ in 0..watches {
        listed.recv().await.context("a watch ended")?;
    }
    let mut told = config(args, api_server);
    told.storage_classes = Some(
        storage_classes::list(&client)
            .await
            .context("can't list the StorageClasses")?,
    );
    let service = key_service::connect(&client, args)?;
    if let Some((keys, authority)) = &service {
        // Before the passes begin, or each start would unsay and say again what every tenant's status has of it.
        told.key_service = Some(key_service::ask(keys, authority).await);
    }
    let (keys, authority) = service.unzip();
    let context = Arc::new(Context {
        client: client.clone(),
        store,
        classes,
        releases,
        channels,
        members,
        config: RwLock::new(told),
        keys: keys.clone(),
        identity: args.identity.clone(),
        metrics: health.metrics.clone(),
    });
    if discover {
        background.spawn(api_server::follow(
            context.clone(),
            tenants.clone(),
            wakes.clone(),
        ));
    }
    background.spawn(storage_classes::follow(
        context.clone(),
        tenants.clone(),
        wakes.clone(),
    ));
    if let (Some(keys), Some(authority)) = (keys, authority) {
        background.spawn(key_service::follow(
            context.clone(),
            keys,
            authority,
            tenants.clone(),
            wakes,
        ));
    }
    info!("every kind is listed: passes begin");
    background.spawn(orphans::follow(context.clone(), tenants.clone()));
    let sources = fleet::Sources {
        tenants: tenants.clone(),
        approvals,
    };
    background.spawn(fleet::follow(context.clone(), sources));
    let config = controller::Config::default().concurrency(args.concurrency);
    let passes = applier(
        |tenant, context| Box::pin(reconcile(tenant, context)),
        on_error,
        context,
        tenants,
        queue::requests(woken),
        config,
    );
    pin_mut!(passes);
    while let Some(pass) = passes.next().await {
        if let Err(error) = pass {
            debug!(%error, "pass");
        }
    }
    anyhow::bail!("the queue of passes ended")
}

/// What every plan is told of the platform.
fn config(args: &RunArgs, api_server: Vec<Endpoint>) -> Config {
    let verification = args.verification_image.as_ref().map(|image| Verification {
        image: image.clone(),
        namespace: args.verification_namespace.clone(),
        every: args.verify_every,
        metadata: args.metadata_target.0.clone(),
        internet: args.internet_target.0.clone(),
    });
    Config {
        operator_namespace: args.namespace.clone(),
        operator_service_account: args.service_account.clone(),
        tenant_role: TENANT_ROLE.to_owned(),
        keys_namespace: args.keys_namespace.clone(),
        database_operator_namespace: args.database_operator_namespace.clone(),
        api_server,
        cluster_cidrs: args.cluster_cidrs.clone(),
        hostname_hold: args.hostname_hold,
        operation_history: args.operation_history.into(),
        verification,
        // It was not heard of yet.
        key_service: args.key_service.as_ref().map(|_| KeyService::default()),
        key_backups_kept_for: args.key_backups_kept_for.clone(),
        storage_classes: None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "all of this is a test")]
mod tests {
    use super::*;

    fn told(args: &[&str]) -> Config {
        config(
            &crate::cli::run_args(&[&["freehold", "run"], args].concat()),
            Vec::new(),
        )
    }

    #[test]
    fn without_flags_it_is_as_the_plan_has_it_offline() {
        assert_eq!(told(&[]), Config::default());
    }

    #[test]
    fn with_an_image_the_isolation_is_verified() {
        let config = told(&[
            "--verification-image=freehold",
            "--metadata-target=",
            "--cluster-cidr=10.0.0.0/8,fc00::/7",
            "--cluster-cidr=192.0.2.0/24",
        ]);
        let verification = config.verification.unwrap();
        assert_eq!(verification.namespace, "freehold-probes");
        assert_eq!(verification.every, jiff::SignedDuration::from_hours(6));
        assert_eq!(verification.metadata, None);
        assert_eq!(verification.internet.as_deref(), Some("1.1.1.1:443"));
        assert_eq!(config.cluster_cidrs, ["10.0.0.0/8", "fc00::/7", "192.0.2.0/24"]);
    }
}
