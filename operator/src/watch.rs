//! Watches: they keep the store up to date, and name the tenants that need a pass.
//!
//! In: the API server's events. Out: the store, and names of tenants on a channel. A client is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use freehold_plan::names::{FREEHOLD, MANAGED_BY, TENANT_LABEL};
use freehold_plan::{Id, Kind, Seen};
use futures::channel::mpsc::UnboundedSender;
use futures::{StreamExt, pin_mut};
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Error};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::cluster::api;
use crate::store::{Store, owner};

/// Names of tenants that need a pass.
pub type Wakes = UnboundedSender<String>;

/// Watches one kind for ever. `synced` is told once, when the first listing is through.
pub async fn kind(client: Client, kind: Kind, store: Arc<Store>, wakes: Wakes, synced: mpsc::Sender<Kind>) {
    let selector = format!("{MANAGED_BY}={FREEHOLD},{TENANT_LABEL}");
    let stream = watcher(
        api(&client, kind, ""),
        watcher::Config::default().labels(&selector),
    )
    .default_backoff();
    pin_mut!(stream);
    let mut listing = Listing::default();
    let mut synced = Some(synced);
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => {
                let done = matches!(event, Event::InitDone);
                take(kind, event, &store, &wakes, &mut listing);
                if done && let Some(synced) = synced.take() {
                    debug!(kind = kind.row().kind, "listed");
                    let _ = synced.send(kind).await;
                }
            }
            Err(error) => {
                if is_missing(&error)
                    && let Some(synced) = synced.take()
                {
                    // The rest of the cluster must not wait for a kind that nobody installed.
                    warn!(
                        kind = kind.row().kind,
                        "the cluster does not know this kind: install what provides it"
                    );
                    let _ = synced.send(kind).await;
                } else {
                    info!(kind = kind.row().kind, %error, "the watch was interrupted");
                }
            }
        }
    }
}

/// What a listing has brought so far.
#[derive(Debug, Default)]
struct Listing {
    ids: BTreeSet<Id>,
    /// What was known when it began.
    before: BTreeMap<Id, String>,
}

fn take(kind: Kind, event: Event<DynamicObject>, store: &Store, wakes: &Wakes, listing: &mut Listing) {
    let wake = |tenant: String| {
        // The receiver ends with the process only.
        let _ = wakes.unbounded_send(tenant);
    };
    match event {
        Event::Init => {
            *listing = Listing {
                ids: BTreeSet::new(),
                before: store.versions(kind),
            }
        }
        Event::Apply(object) => {
            if let Some((tenant, id, seen)) = reduce(kind, object)
                && store.put_watched(&tenant, id, seen)
            {
                wake(tenant);
            }
        }
        Event::InitApply(object) => {
            if let Some((tenant, id, seen)) = reduce(kind, object) {
                listing.ids.insert(id.clone());
                if store.put_watched(&tenant, id, seen) {
                    wake(tenant);
                }
            }
        }
        Event::InitDone => {
            let Listing { ids, before } = std::mem::take(listing);
            store.retain(&before, &ids).into_iter().for_each(wake);
        }
        Event::Delete(object) => {
            if let Some((tenant, id, seen)) = reduce(kind, object)
                && store.remove(&tenant, &id, &seen.resource_version)
            {
                wake(tenant);
            }
        }
    }
}

/// An object as the store keeps it, with its tenant. `None` for one without a name, or in no tenant's namespace.
pub fn reduce(kind: Kind, object: DynamicObject) -> Option<(String, Id, Seen)> {
    let name = object.metadata.name.clone()?;
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let tenant = owner(kind, &namespace, &name)?.to_owned();
    let object = serde_json::to_value(object).ok()?;
    Some((
        tenant,
        Id {
            kind,
            namespace,
            name,
        },
        Seen::reduce(kind, object)?,
    ))
}

fn is_missing(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(Error::Api(status))
        | watcher::Error::WatchStartFailed(Error::Api(status)) => status.code == 404,
        _ => false,
    }
}
