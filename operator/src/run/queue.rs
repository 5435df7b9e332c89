//! Which tenants need a pass: those that changed, those whose class or release did, and those named by the watches of
//! objects. The applier never runs two passes of one tenant at the same time.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use freehold_crds::{Release, ReleaseApproval, ReleaseChannel, Tenant, TenantClass};
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

use crate::fleet::{Members, concerned};
use crate::store::Store;
use crate::watch::Wakes;

/// The user's objects, kept up to date.
#[derive(Debug)]
pub struct Sources {
    pub tenants: Reflector<Tenant>,
    pub classes: Reflector<TenantClass>,
    pub releases: Reflector<Release>,
    pub channels: Reflector<ReleaseChannel>,
    pub approvals: Reflector<ReleaseApproval>,
}

/// Watches tenants, classes and releases. Returns when each has been listed.
pub async fn watch(
    client: Client,
    store: Arc<Store>,
    wakes: Wakes,
    members: Arc<Members>,
) -> anyhow::Result<Sources> {
    let (wake, of_channels, known) = (wakes.clone(), members.clone(), store.clone());
    let tenants = follow(
        client.clone(),
        move |event: &Event<Tenant>, tenants: &Reflector<Tenant>| {
            tenant_changed(event, tenants, &store, &wake);
            of_channels.poke();
        },
    );
    let (of_tenants, wake) = (tenants.clone(), wakes.clone());
    let classes = follow(
        client.clone(),
        move |event: &Event<TenantClass>, _: &Reflector<TenantClass>| {
            named_changed(event, &of_tenants, &wake, |tenant, name| {
                tenant.spec.class_name == name
            });
        },
    );
    let (of_tenants, wake, of_channels) = (tenants.clone(), wakes.clone(), members.clone());
    let releases = follow(
        client.clone(),
        move |event: &Event<Release>, _: &Reflector<Release>| {
            named_changed(event, &of_tenants, &wake, |tenant, name| {
                may_have(&known, tenant, name)
            });
            of_channels.poke();
        },
    );
    let (of_tenants, of_channels) = (tenants.clone(), members.clone());
    let mut before = HashMap::new();
    let channels = follow(
        client.clone(),
        move |event: &Event<ReleaseChannel>, _: &Reflector<ReleaseChannel>| {
            channel_changed(event, &mut before, &of_tenants, &wakes);
            of_channels.poke();
        },
    );
    let approvals = follow(
        client,
        move |_: &Event<ReleaseApproval>, _: &Reflector<ReleaseApproval>| members.poke(),
    );
    tenants.wait_until_ready().await?;
    classes.wait_until_ready().await?;
    releases.wait_until_ready().await?;
    channels.wait_until_ready().await?;
    approvals.wait_until_ready().await?;
    Ok(Sources {
        tenants,
        classes,
        releases,
        channels,
        approvals,
    })
}

/// The names on the channel as the applier wants them.
pub fn requests(
    woken: UnboundedReceiver<String>,
) -> impl Stream<Item = Result<ReconcileRequest<Tenant>, Infallible>> {
    woken.map(|name| Ok(ObjectRef::<Tenant>::new(&name).into()))
}

/// A listing takes effect as a whole, at its end: only then does the reflector show what is in it, so only then is a
/// pass of use. A Tenant that ended while nobody watched is in no event, so its record goes then too.
fn tenant_changed(event: &Event<Tenant>, tenants: &Reflector<Tenant>, store: &Store, wakes: &Wakes) {
    match event {
        Event::Apply(tenant) => {
            let _ = wakes.unbounded_send(tenant.name_any());
        }
        Event::Delete(tenant) => store.forget(&tenant.name_any()),
        Event::InitDone => {
            let listed = tenants.state();
            store.keep_only(
                &listed
                    .iter()
                    .map(|tenant| (tenant.name_any(), tenant.uid().unwrap_or_default()))
                    .collect(),
            );
            wake_those(tenants, wakes, |_| true);
        }
        Event::Init | Event::InitApply(_) => {}
    }
}

/// A channel changed: of its tenants those are woken whom that concerns.
fn channel_changed(
    event: &Event<ReleaseChannel>,
    before: &mut HashMap<String, ReleaseChannel>,
    tenants: &Reflector<Tenant>,
    wakes: &Wakes,
) {
    let concerned = match event {
        Event::Apply(channel) => {
            let known = before.insert(channel.name_any(), channel.clone());
            concerned(known.as_ref(), channel)
        }
        Event::Delete(channel) => {
            before.remove(&channel.name_any());
            None
        }
        Event::InitDone | Event::Init | Event::InitApply(_) => None,
    };
    named_changed(event, tenants, wakes, |tenant, name| {
        tenant.spec.release.channel.as_deref() == Some(name)
            && concerned
                .as_ref()
                .is_none_or(|names| names.contains(&tenant.name_any()))
    });
}

/// Whether a release may be one of this tenant's: which of them a channel has brought, or is gone back to, its spec doesn't say.
fn may_have(store: &Store, tenant: &Tenant, release: &str) -> bool {
    let asked = &tenant.spec.release;
    asked.channel.is_some()
        || asked.name.as_deref() == Some(release)
        || store.went_through(&tenant.name_any(), release)
}

/// A class or release changed, or all of them were listed anew.
fn named_changed<K: ResourceExt>(
    event: &Event<K>,
    tenants: &Reflector<Tenant>,
    wakes: &Wakes,
    names: impl Fn(&Tenant, &str) -> bool,
) {
    match event {
        Event::Apply(object) | Event::Delete(object) => {
            let changed = object.name_any();
            wake_those(tenants, wakes, |tenant| names(tenant, &changed));
        }
        Event::InitDone => wake_those(tenants, wakes, |_| true),
        Event::Init | Event::InitApply(_) => {}
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

fn follow<K>(client: Client, mut on: impl FnMut(&Event<K>, &Reflector<K>) + Send + 'static) -> Reflector<K>
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "all of this is a test")]
mod tests {
    use freehold_plan::{Facts, Id, Kind, Seen};
    use futures::channel::mpsc::unbounded;
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn tenant(name: &str, uid: &str) -> Tenant {
        let documents = crate::offline::read(&[
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/samples")
        ])
        .unwrap();
        let mut tenant = documents.tenants[0].clone();
        tenant.metadata.name = Some(name.to_owned());
        tenant.metadata.uid = Some(uid.to_owned());
        tenant
    }

    /// What the names on the channel are after each event; the reflector takes each in first, as `follow` has it.
    fn woken(events: Vec<Event<Tenant>>, store: &Store) -> Vec<Vec<String>> {
        let (tenants, mut writer) = reflector::store();
        let (wakes, mut names) = unbounded();
        let each = events.into_iter().map(|event| {
            writer.apply_watcher_event(&event);
            tenant_changed(&event, &tenants, store, &wakes);
            let mut woken: Vec<String> = std::iter::from_fn(|| names.try_recv().ok()).collect();
            woken.sort();
            woken
        });
        each.collect()
    }

    #[test]
    fn a_listing_wakes_every_tenant_at_its_end_when_the_reflector_shows_them() {
        let (acme, globex) = (tenant("acme", "1"), tenant("globex", "2"));
        let events = vec![
            Event::Init,
            Event::InitApply(acme),
            Event::InitApply(globex),
            Event::InitDone,
        ];
        let nobody = Vec::<String>::new();
        assert_eq!(
            woken(events, &Store::default()),
            [
                nobody.clone(),
                nobody.clone(),
                nobody,
                vec!["acme".into(), "globex".into()]
            ]
        );
    }

    #[test]
    fn a_listing_of_classes_wakes_every_tenant() {
        let (tenants, mut writer) = reflector::store();
        writer.apply_watcher_event(&Event::Apply(tenant("acme", "1")));
        let (wakes, mut names) = unbounded();
        named_changed(&Event::<TenantClass>::InitDone, &tenants, &wakes, |_, _| false);
        assert_eq!(names.try_recv().unwrap(), "acme");
    }

    #[test]
    fn a_release_wakes_those_that_name_it_and_those_that_went_through_it() {
        let store = Store::default();
        let operation: freehold_crds::TenantOperation = serde_json::from_value(json!({
            "apiVersion": "freehold.dev/v1alpha1", "kind": "TenantOperation",
            "metadata": {
                "name": "acme-upgrade", "resourceVersion": "7", "creationTimestamp": "2027-01-15T08:00:00Z",
            },
            "spec": {
                "tenant": "acme", "tenantUid": "1", "incarnation": "1", "type": "Upgrade", "upgrade": {
                    "from": "board-0.9.0", "fromVersion": "0.9.0", "to": "board-1.1.0", "toVersion": "1.1.0",
                },
            },
        }))
        .unwrap();
        let operation = crate::store::operations::read(&operation).unwrap();
        store.put_operation("acme-upgrade", operation);
        let (acme, globex) = (tenant("acme", "1"), tenant("globex", "2"));
        let named = acme.spec.release.name.clone().unwrap();
        let may = |tenant: &Tenant, release: &str| may_have(&store, tenant, release);
        assert!(may(&acme, &named) && may(&globex, &named));
        for release in ["board-0.9.0", "board-1.1.0"] {
            assert!(may(&acme, release) && !may(&globex, release), "{release}");
        }
        assert!(!may(&acme, "board-2.0.0"));
    }

    #[test]
    fn after_a_listing_nothing_is_remembered_of_a_tenant_that_is_gone_or_was_made_anew() {
        let store = Store::default();
        let id = |tenant: &str| Id {
            kind: Kind::ConfigMap,
            namespace: format!("tenant-{tenant}"),
            name: "settings".into(),
        };
        let later = Timestamp::from_second(100).unwrap();
        for name in ["acme", "globex", "initech"] {
            store.belongs_to(name, "1");
            let seen = Seen {
                uid: "u".into(),
                resource_version: "1".into(),
                ending: false,
                created: false,
                live: json!({}),
                facts: Facts::None,
            };
            store.put(name, id(name), seen);
            store.refused(name, id(name), "no".into());
        }
        let events = vec![
            Event::Init,
            Event::InitApply(tenant("acme", "1")),
            Event::InitApply(tenant("globex", "another")),
            Event::InitDone,
        ];
        woken(events, &store);
        let refused = |name: &str| store.observed(name, later).refused.len();
        assert_eq!(
            [refused("acme"), refused("globex"), refused("initech")],
            [1, 0, 0]
        );
        let objects = store.observed("globex", later).objects;
        assert_eq!(objects.len(), 1, "what its watch has brought stays");
    }
}
