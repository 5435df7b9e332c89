//! Which tenants need a pass: those that changed, those whose class or release did, and those named by the watches of
//! objects. The applier never runs two passes of one tenant at the same time.

use std::convert::Infallible;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use freehold_crds::{Release, Tenant, TenantClass};
use futures::channel::mpsc::UnboundedReceiver;
use futures::{Stream, StreamExt, pin_mut};
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::ReconcileRequest;
use kube::runtime::reflector::{self, ObjectRef, Store as Reflector};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource, ResourceExt};
use tracing::info;

use crate::store::Store;
use crate::watch::Wakes;

/// The user's objects, kept up to date.
#[derive(Debug)]
pub struct Sources {
    pub tenants: Reflector<Tenant>,
    pub classes: Reflector<TenantClass>,
    pub releases: Reflector<Release>,
}

/// Watches tenants, classes and releases. Returns when each has been listed.
pub async fn watch(client: Client, store: Arc<Store>, wakes: Wakes) -> anyhow::Result<Sources> {
    let wake = wakes.clone();
    let tenants = follow(
        client.clone(),
        move |event: &Event<Tenant>, _: &Reflector<Tenant>| match event {
            Event::Apply(tenant) | Event::InitApply(tenant) => {
                let _ = wake.unbounded_send(tenant.name_any());
            }
            Event::Delete(tenant) => store.forget(&tenant.name_any()),
            Event::Init | Event::InitDone => {}
        },
    );
    let (of_tenants, wake) = (tenants.clone(), wakes.clone());
    let classes = follow(
        client.clone(),
        move |event: &Event<TenantClass>, _: &Reflector<TenantClass>| {
            if let Some(name) = changed(event) {
                wake_those(&of_tenants, &wake, |tenant| tenant.spec.class_name == name);
            }
        },
    );
    let (of_tenants, wake) = (tenants.clone(), wakes);
    let releases = follow(client, move |event: &Event<Release>, _: &Reflector<Release>| {
        if let Some(name) = changed(event) {
            wake_those(&of_tenants, &wake, |tenant| tenant.spec.release.name == name);
        }
    });
    tenants.wait_until_ready().await?;
    classes.wait_until_ready().await?;
    releases.wait_until_ready().await?;
    Ok(Sources {
        tenants,
        classes,
        releases,
    })
}

/// The names on the channel as the applier wants them.
pub fn requests(
    woken: UnboundedReceiver<String>,
) -> impl Stream<Item = Result<ReconcileRequest<Tenant>, Infallible>> {
    woken.map(|name| Ok(ObjectRef::<Tenant>::new(&name).into()))
}

fn changed<K: ResourceExt>(event: &Event<K>) -> Option<String> {
    match event {
        Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) => Some(object.name_any()),
        Event::Init | Event::InitDone => None,
    }
}

/// Names every tenant for which something holds.
pub fn wake_those(tenants: &Reflector<Tenant>, wakes: &Wakes, holds: impl Fn(&Tenant) -> bool) {
    for tenant in tenants.state() {
        if holds(&tenant) {
            let _ = wakes.unbounded_send(tenant.name_any());
        }
    }
}

fn follow<K>(client: Client, on: impl Fn(&Event<K>, &Reflector<K>) + Send + 'static) -> Reflector<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Default,
{
    let (reader, writer) = reflector::store();
    let stream = watcher(Api::<K>::all(client), watcher::Config::default()).default_backoff();
    let stream = reflector::reflector(writer, stream);
    let own = reader.clone();
    tokio::spawn(async move {
        pin_mut!(stream);
        while let Some(event) = stream.next().await {
            match event {
                Ok(event) => on(&event, &own),
                Err(error) => info!(kind = %K::kind(&()), %error, "the watch was interrupted"),
            }
        }
    });
    reader
}
