//! The key service as the operator sees it: whether it answers, and what its provider is. Client required.
//!
//! In: the service's own word, from time to time. Out: the configuration that plans are told of, and a pass for every tenant
//! when that changed. Nothing is asked of the API server here but, when the service can't be reached, who signs for it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use freehold_crds::Tenant;
use freehold_keys::client::{Client as Keys, Settings, Source};
use freehold_plan::KeyService;
use freehold_plan::rights::KEY_SERVICE_AUTHORITY;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::Api;
use kube::runtime::reflector::Store as Reflector;
use tracing::{info, warn};

use super::queue::wake_those;
use crate::cli::RunArgs;
use crate::reconcile::Context;
use crate::watch::Wakes;

const EVERY: Duration = Duration::from_secs(10);
/// Silent so many times before it counts: one lost answer is no news.
const SILENT: u32 = 2;

/// Who signs the service's certificate, as it was last read.
#[derive(Clone)]
pub struct Authority {
    client: Client,
    namespace: String,
    pem: Arc<RwLock<String>>,
}

impl Authority {
    async fn read(&self) -> anyhow::Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let map = maps.get(KEY_SERVICE_AUTHORITY).await?;
        let pem = map.data.and_then(|mut data| data.remove("ca.crt"));
        let pem = pem.context("it has no ca.crt")?;
        *self.pem.write().unwrap_or_else(PoisonError::into_inner) = pem;
        Ok(())
    }
}

/// A client of the service, if the operator was told of one.
pub fn connect(client: &Client, args: &RunArgs) -> anyhow::Result<Option<(Keys, Authority)>> {
    let Some(endpoint) = &args.key_service else {
        return Ok(None);
    };
    let pem: Arc<RwLock<String>> = Arc::default();
    let shown = pem.clone();
    let authority = Source::Call(Arc::new(move || {
        Ok(shown.read().unwrap_or_else(PoisonError::into_inner).clone())
    }));
    let token = Source::File(args.key_service_token_file.clone());
    let settings = Settings {
        address: args.key_service_address.clone(),
        ..Settings::new(endpoint, authority, token)
    };
    let keys =
        Keys::new(settings).with_context(|| format!("{endpoint} is not the address of a key service"))?;
    let authority = Authority {
        client: client.clone(),
        namespace: args.keys_namespace.clone(),
        pem,
    };
    Ok(Some((keys, authority)))
}

/// Asks for ever.
pub async fn follow(
    context: Arc<Context>,
    keys: Keys,
    authority: Authority,
    tenants: Reflector<Tenant>,
    wakes: Wakes,
) {
    let mut silent = 0;
    loop {
        tokio::time::sleep(EVERY).await;
        let heard = ask(&keys, &authority).await;
        silent = if heard.failure.is_some() { silent + 1 } else { 0 };
        if take(&context, heard, silent) {
            wake_those(&tenants, &wakes, |_| true);
        }
    }
}

/// Takes in what was heard; gives whether that is news.
fn take(context: &Context, heard: KeyService, silent: u32) -> bool {
    let mut config = context.config.write().unwrap_or_else(PoisonError::into_inner);
    let before = config.key_service.clone().unwrap_or_default();
    let now = match &heard.failure {
        None => heard,
        // What it is, is known from before.
        Some(_) if silent >= SILENT || before.provider.is_none() => KeyService {
            failure: heard.failure,
            ..before.clone()
        },
        Some(_) => before.clone(),
    };
    if now == before {
        return false;
    }
    match &now.failure {
        Some(failure) => warn!(failure, "the key service does not answer"),
        None => {
            info!(provider = now.provider, "the key service answers");
            // What could not be read of it is read now.
            context.store.distrust_all();
        }
    }
    config.key_service = Some(now);
    true
}

/// What the service says of itself, or why it does not.
pub async fn ask(keys: &Keys, authority: &Authority) -> KeyService {
    let answer = match keys.health().await {
        Err(_) => match authority.read().await {
            Ok(()) => keys.health().await.map_err(|error| error.to_string()),
            Err(error) => Err(format!(
                "the ConfigMap {KEY_SERVICE_AUTHORITY} can't be read: {error:#}"
            )),
        },
        Ok(health) => Ok(health),
    };
    match answer {
        Ok(health) => KeyService {
            provider: Some(health.provider),
            separated: health.separated,
            failure: None,
        },
        Err(failure) => KeyService {
            failure: Some(failure),
            ..KeyService::default()
        },
    }
}
