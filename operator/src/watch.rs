//! Watches: they keep the store up to date, and name the tenants that need a pass.
//!
//! In: the API server's events. Out: the store, and names of tenants on a channel. A client is needed.

use std::collections::BTreeSet;
use std::sync::Arc;

use freehold_crds::TenantOperation;
use freehold_plan::names::{FREEHOLD, MANAGED_BY, TENANT_LABEL};
use freehold_plan::{Config, Id, Kind, Seen};
use futures::channel::mpsc::UnboundedSender;
use futures::{StreamExt, pin_mut};
use kube::api::{Api, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Error, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::cluster::api;
use crate::store::operations::{OperationVersions, read};
use crate::store::{Store, Versions, owner};

/// Names of tenants that need a pass.
pub type Wakes = UnboundedSender<String>;

/// Where objects lie that are found by their label.
#[derive(Clone, Debug)]
pub struct Places {
    /// The operator's own namespace: records and claims.
    pub own: String,
    /// Where the unrestricted pods of the verification run.
    pub probes: String,
}

impl Places {
    pub fn of(config: &Config) -> Self {
        let verification = config.verification.as_ref();
        Self {
            own: config.operator_namespace.clone(),
            probes: verification.map_or_else(String::new, |verification| verification.namespace.clone()),
        }
    }

    /// Whether a label is believed: where nobody but the operator writes.
    pub fn trusts(&self, kind: Kind, namespace: &str) -> bool {
        match kind {
            Kind::HostnameClaim => namespace == self.own,
            Kind::Pod => namespace == self.probes || owner(kind, namespace, "", None).is_some(),
            _ => true,
        }
    }
}

/// What every watch tells, and whom.
#[derive(Clone, Debug)]
pub struct Listeners {
    pub store: Arc<Store>,
    pub wakes: Wakes,
}

/// Told the kind once, when its first listing is through. It ends with the watch, or when it was used.
pub type Synced = mpsc::Sender<&'static str>;

impl Listeners {
    fn wake(&self, tenants: impl IntoIterator<Item = String>) {
        for tenant in tenants {
            // The receiver ends with the process only.
            let _ = self.wakes.unbounded_send(tenant);
        }
    }
}

/// Watches one kind for ever.
pub async fn kind(client: Client, kind: Kind, places: Places, listeners: Listeners, synced: Synced) {
    let selector = match kind {
        // CloudNativePG's, which puts the tenant's label on them.
        Kind::Volume => TENANT_LABEL.to_owned(),
        _ => format!("{MANAGED_BY}={FREEHOLD},{TENANT_LABEL}"),
    };
    let config = watcher::Config::default().labels(&selector);
    let namespace = match kind {
        Kind::HostnameClaim => places.own.as_str(),
        _ => "",
    };
    let mut listing = Listing::default();
    let on = |event| take(kind, event, &places, &listeners, &mut listing);
    // It goes on looking for a kind that is missing, every half a minute at least.
    let missing = || listeners.wake(listeners.store.set_known(kind, false));
    let api = api(&client, kind, namespace);
    follow(api, config, kind.row().kind, synced, on, missing).await;
}

/// Watches the TenantOperations for ever.
pub async fn operations(client: Client, places: Places, listeners: Listeners, synced: Synced) {
    let api: Api<TenantOperation> = Api::namespaced(client, &places.own);
    let mut listing = OperationListing::default();
    let on = |event| take_operation(event, &listeners, &mut listing);
    let config = watcher::Config::default();
    follow(api, config, "TenantOperation", synced, on, || ()).await;
}

async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    kind: &'static str,
    synced: Synced,
    mut on: impl FnMut(Event<K>),
    missing: impl Fn(),
) where
    K: kube::Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let stream = watcher(api, config).default_backoff();
    pin_mut!(stream);
    let mut synced = Some(synced);
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => {
                let done = matches!(event, Event::InitDone);
                on(event);
                if done && let Some(synced) = synced.take() {
                    debug!(kind, "listed");
                    let _ = synced.send(kind).await;
                }
            }
            Err(error) => {
                let is_missing = is_missing(&error);
                if is_missing {
                    missing();
                }
                if is_missing && let Some(synced) = synced.take() {
                    // The rest of the cluster must not wait for a kind that nobody installed.
                    warn!(
                        kind,
                        "the cluster does not know this kind: install what provides it"
                    );
                    let _ = synced.send(kind).await;
                } else {
                    info!(kind, %error, "the watch was interrupted");
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
    before: Versions,
}

fn take(
    kind: Kind,
    event: Event<DynamicObject>,
    places: &Places,
    listeners: &Listeners,
    listing: &mut Listing,
) {
    let store = &listeners.store;
    let reduce = |object: DynamicObject| {
        let namespace = object.namespace().unwrap_or_default();
        places
            .trusts(kind, &namespace)
            .then(|| reduce(kind, object))
            .flatten()
    };
    match event {
        Event::Init => {
            *listing = Listing {
                ids: BTreeSet::new(),
                before: store.versions(kind),
            }
        }
        Event::Apply(object) => {
            if let Some((tenant, id, seen)) = reduce(object) {
                listeners.wake(store.put_watched(&tenant, id, seen));
            }
        }
        Event::InitApply(object) => {
            if let Some((tenant, id, seen)) = reduce(object) {
                listing.ids.insert(id.clone());
                listeners.wake(store.put_watched(&tenant, id, seen));
            }
        }
        Event::InitDone => {
            let Listing { ids, before } = std::mem::take(listing);
            listeners.wake(store.retain(&before, &ids));
            listeners.wake(store.set_known(kind, true));
        }
        Event::Delete(object) => {
            if let Some((tenant, id, seen)) = reduce(object) {
                listeners.wake(store.remove(&tenant, &id, &seen.resource_version));
            }
        }
    }
}

#[derive(Debug, Default)]
struct OperationListing {
    names: BTreeSet<String>,
    before: OperationVersions,
}

fn take_operation(event: Event<TenantOperation>, listeners: &Listeners, listing: &mut OperationListing) {
    let store = &listeners.store;
    let put = |operation: &TenantOperation| {
        let changed = read(operation).is_some_and(|read| store.put_operation(&operation.name_any(), read));
        listeners.wake(changed.then(|| operation.spec.tenant.clone()));
    };
    match event {
        Event::Init => {
            *listing = OperationListing {
                names: BTreeSet::new(),
                before: store.operation_versions(),
            }
        }
        Event::Apply(operation) => put(&operation),
        Event::InitApply(operation) => {
            listing.names.insert(operation.name_any());
            put(&operation);
        }
        Event::InitDone => {
            let OperationListing { names, before } = std::mem::take(listing);
            listeners.wake(store.retain_operations(&before, &names));
        }
        Event::Delete(operation) => {
            let version = operation.resource_version().unwrap_or_default();
            let tenant = operation.spec.tenant.clone();
            let lost = store.remove_operation(&tenant, &operation.name_any(), &version);
            listeners.wake(lost.then_some(tenant));
        }
    }
}

/// An object as the store keeps it, with its tenant. `None` for one without a name, or that belongs to no tenant.
pub fn reduce(kind: Kind, object: DynamicObject) -> Option<(String, Id, Seen)> {
    let name = object.metadata.name.clone()?;
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let label = object.labels().get(TENANT_LABEL).map(String::as_str);
    let tenant = owner(kind, &namespace, &name, label)?.to_owned();
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "all of this is a test")]
mod tests {
    use futures::channel::mpsc::{UnboundedReceiver, unbounded};
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    fn places() -> Places {
        Places {
            own: "freehold-system".into(),
            probes: "freehold-probes".into(),
        }
    }

    fn listeners() -> (Listeners, UnboundedReceiver<String>) {
        let (wakes, woken) = unbounded();
        let store = Arc::new(Store::default());
        (Listeners { store, wakes }, woken)
    }

    fn woken(names: &mut UnboundedReceiver<String>) -> Vec<String> {
        let mut woken: Vec<String> = std::iter::from_fn(|| names.try_recv().ok()).collect();
        woken.sort();
        woken
    }

    fn pod(namespace: &str, version: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "verify-control", "namespace": namespace, "uid": "u", "resourceVersion": version,
                "labels": { "app.kubernetes.io/managed-by": "freehold", "freehold.dev/tenant": "acme" },
                "annotations": { "freehold.dev/declared": "x" },
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_with_a_tenant_s_label_is_its_own_in_the_namespace_of_the_probes_and_nobody_s_elsewhere() {
        let (listeners, mut names) = listeners();
        let mut listing = Listing::default();
        let mut on = |event| take(Kind::Pod, event, &places(), &listeners, &mut listing);
        on(Event::Apply(pod("default", "1")));
        on(Event::Apply(pod("freehold-system", "2")));
        assert_eq!(woken(&mut names), Vec::<String>::new());
        on(Event::Apply(pod("freehold-probes", "3")));
        on(Event::Apply(pod("tenant-globex", "4")));
        assert_eq!(woken(&mut names), ["acme", "globex"]);
        on(Event::Delete(pod("freehold-probes", "5")));
        assert_eq!(woken(&mut names), ["acme"]);
        // A listing without what was known takes it away.
        on(Event::Init);
        on(Event::InitDone);
        assert_eq!(woken(&mut names), ["globex"]);
    }

    #[test]
    fn a_kind_that_comes_and_goes_wakes_every_tenant_once_and_takes_its_objects_along() {
        let (listeners, mut names) = listeners();
        let mut listing = Listing::default();
        let certificate = || {
            let mut object = pod("tenant-acme", "7");
            object.types = None;
            object
        };
        let kind = Kind::Certificate;
        let store = &listeners.store;
        let mut on = |event| take(kind, event, &places(), &listeners, &mut listing);
        let unknown = || store.observed("acme", Timestamp::UNIX_EPOCH).unknown;
        on(Event::Apply(certificate()));
        assert_eq!(woken(&mut names), ["acme"]);
        listeners.wake(store.set_known(kind, false));
        listeners.wake(store.set_known(kind, false));
        assert_eq!(woken(&mut names), ["acme"]);
        assert!(unknown().contains(&kind));
        assert!(store.observed("acme", Timestamp::UNIX_EPOCH).objects.is_empty());
        on(Event::Init);
        on(Event::InitDone);
        assert_eq!(woken(&mut names), ["acme"]);
        assert!(unknown().is_empty());
        on(Event::Init);
        on(Event::InitDone);
        assert_eq!(woken(&mut names), Vec::<String>::new(), "nothing new");
    }

    fn operation(name: &str, version: &str, phase: &str) -> TenantOperation {
        let status: Value = json!({ "phase": phase });
        serde_json::from_value(json!({
            "apiVersion": "freehold.dev/v1alpha1", "kind": "TenantOperation",
            "metadata": {
                "name": name, "namespace": "freehold-system", "resourceVersion": version,
                "creationTimestamp": "2027-01-15T08:00:00Z",
            },
            "spec": { "tenant": "acme", "incarnation": "1", "tenantUid": "1", "type": "Deletion" },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn records_wake_their_tenant_when_they_change() {
        let (listeners, mut names) = listeners();
        let mut listing = OperationListing::default();
        let mut on = |event| take_operation(event, &listeners, &mut listing);
        on(Event::Init);
        on(Event::InitApply(operation("one", "1", "Pending")));
        on(Event::InitApply(operation("two", "2", "Succeeded")));
        on(Event::InitDone);
        assert_eq!(woken(&mut names), ["acme", "acme"]);
        on(Event::Apply(operation("one", "1", "Pending")));
        assert_eq!(woken(&mut names), Vec::<String>::new(), "as it was");
        on(Event::Apply(operation("one", "3", "Running")));
        assert_eq!(woken(&mut names), ["acme"]);
        on(Event::Init);
        on(Event::InitApply(operation("one", "3", "Running")));
        on(Event::InitDone);
        assert_eq!(woken(&mut names), ["acme"], "the other is gone");
        on(Event::Delete(operation("one", "4", "Running")));
        assert_eq!(woken(&mut names), ["acme"]);
        let observed = listeners.store.observed("acme", Timestamp::UNIX_EPOCH);
        assert!(observed.operations.is_empty());
    }
}
