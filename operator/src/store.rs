//! What the shell remembers of each tenant between passes: the reduced objects, strangers, minted metadata, and the last
//! status written.
//!
//! Invariant: an object is only replaced by a newer version of itself, and one that is gone does not come back by an
//! older word of it, so that the answers to our own writes and the watch may arrive in either order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use freehold_crds::TenantStatus;
use freehold_plan::names::{DECLARED, NamespaceName};
use freehold_plan::{Action, Id, Kind, Minted, Observed, Seen, Stranger};
use jiff::{SignedDuration, Timestamp};

/// After so many failures in a row something is not a passing trouble.
pub const LASTING: u32 = 3;
/// Rights that were just given take a moment to be known everywhere, in which a few tries fail.
const LASTING_SINCE: SignedDuration = SignedDuration::from_secs(2);

#[derive(Debug, Default)]
pub struct Store {
    tenants: Mutex<HashMap<String, Record>>,
}

#[derive(Debug, Default)]
struct Record {
    /// The uid of the Tenant that this is remembered of.
    tenant_uid: Option<String>,
    observed: Observed,
    /// At which version an object was gone.
    gone: BTreeMap<Id, String>,
    trust: Option<Trust>,
    acted: Option<Acted>,
    /// Writes that failed in a row: how often, and since when.
    unwritten: BTreeMap<Id, (u32, Timestamp)>,
    status: Option<Written>,
    failures: u32,
}

/// How long the metadata of the minted Secrets is trusted, and in which namespace they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    pub until: Timestamp,
    pub namespace_uid: String,
}

/// What was minted last, how often in a row, and when it may be minted again.
#[derive(Debug)]
struct Acted {
    actions: Vec<Action>,
    times: u32,
    not_before: Timestamp,
}

/// The last status that was written, in case the watch is behind.
#[derive(Clone, Debug)]
pub struct Written {
    pub uid: String,
    pub resource_version: String,
    pub status: TenantStatus,
}

/// The tenant to which an object belongs, by the name of its namespace: labels can be changed by whoever may write it.
pub fn owner<'a>(kind: Kind, namespace: &'a str, name: &'a str) -> Option<&'a str> {
    let namespace = if kind.row().namespaced { namespace } else { name };
    // The API admits only tenants whose name fits into that of the namespace.
    let tenant = namespace.strip_prefix("tenant-")?;
    (NamespaceName::of(tenant).as_str() == namespace).then_some(tenant)
}

/// Whether an object in a tenant's namespace was declared by Freehold.
pub fn is_declared(seen: &Seen) -> bool {
    seen.live["metadata"]["annotations"].get(DECLARED).is_some()
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Record>> {
        // A panic in a pass leaves no half-written record: each method writes once.
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that is known of a tenant. Strangers whose time is up are forgotten, so that they are looked at again.
    pub fn observed(&self, tenant: &str, now: Timestamp) -> Observed {
        let mut tenants = self.lock();
        let record = tenants.entry(tenant.to_owned()).or_default();
        record
            .observed
            .strangers
            .retain(|_, stranger| stranger.look_again > now);
        record.observed.clone()
    }

    /// Takes in an object that was seen or written. Gives the tenant when that changed what is known.
    pub fn put(&self, tenant: &str, id: Id, seen: Seen) -> bool {
        let mut tenants = self.lock();
        let record = tenants.entry(tenant.to_owned()).or_default();
        if record
            .gone
            .get(&id)
            .is_some_and(|gone| !is_newer(&seen.resource_version, gone))
        {
            return false;
        }
        record.gone.remove(&id);
        record.observed.strangers.remove(&id);
        let known = record.observed.objects.get(&id);
        if known.is_none_or(|known| known.live != seen.live) {
            // Not for a mere change of its status: what was refused would be again.
            record.observed.refused.remove(&id);
        }
        match record.observed.objects.get(&id) {
            Some(known) if !is_newer(&seen.resource_version, &known.resource_version) => false,
            known => {
                let same = known.is_some_and(|known| {
                    known.uid == seen.uid
                        && known.ending == seen.ending
                        && known.facts == seen.facts
                        && known.live == seen.live
                });
                record.observed.objects.insert(id, seen);
                !same
            }
        }
    }

    /// Takes in an object that a watch brought. One that carries our labels but was never declared by us, and is not
    /// known, was planted: it stays unknown, so that the create finds it there and says so.
    pub fn put_watched(&self, tenant: &str, id: Id, seen: Seen) -> bool {
        let known = self.lock().get(tenant).is_some_and(|record| {
            let known = record.observed.objects.get(&id);
            known.is_some_and(|known| known.uid == seen.uid)
        });
        if id.kind.row().namespaced && !known && !is_declared(&seen) {
            return false;
        }
        self.put(tenant, id, seen)
    }

    /// Takes in an object that was read just now: it is there, whatever was heard of its end. The watch says that an
    /// object is gone when it has only lost the labels by which it is watched.
    pub fn put_read(&self, tenant: &str, id: Id, seen: Seen) {
        if let Some(record) = self.lock().get_mut(tenant) {
            record.gone.remove(&id);
        }
        self.put(tenant, id, seen);
    }

    /// Takes in that an object of that uid isn't there, found by reading: without its labels no watch tells.
    pub fn missed(&self, tenant: &str, id: &Id, uid: &str) {
        if let Some(record) = self.lock().get_mut(tenant)
            && record
                .observed
                .objects
                .get(id)
                .is_some_and(|known| known.uid == uid)
        {
            record.observed.objects.remove(id);
        }
    }

    /// Takes in that an object is gone, unless a newer one has taken its place.
    pub fn remove(&self, tenant: &str, id: &Id, resource_version: &str) -> bool {
        let mut tenants = self.lock();
        let Some(record) = tenants.get_mut(tenant) else {
            return false;
        };
        let newer_known = record
            .observed
            .objects
            .get(id)
            .is_some_and(|known| is_newer(&known.resource_version, resource_version));
        if newer_known {
            return false;
        }
        record.gone.insert(id.clone(), resource_version.to_owned());
        record.observed.objects.remove(id).is_some()
    }

    /// The versions of a kind's objects that are known.
    pub fn versions(&self, kind: Kind) -> BTreeMap<Id, String> {
        let tenants = self.lock();
        let objects = tenants.values().flat_map(|record| &record.observed.objects);
        objects
            .filter(|(id, _)| id.kind == kind)
            .map(|(id, seen)| (id.clone(), seen.resource_version.clone()))
            .collect()
    }

    /// After a fresh listing of a kind: forgets what was known before it and was not in it. What was written since
    /// stays: it may be younger than the listing. Gives the tenants that lost something.
    pub fn retain(&self, before: &BTreeMap<Id, String>, listed: &BTreeSet<Id>) -> Vec<String> {
        let mut losers = Vec::new();
        for (tenant, record) in self.lock().iter_mut() {
            let count = record.observed.objects.len();
            record
                .observed
                .objects
                .retain(|id, seen| listed.contains(id) || before.get(id) != Some(&seen.resource_version));
            if record.observed.objects.len() != count {
                losers.push(tenant.clone());
            }
        }
        losers
    }

    /// Remembers that another's object stands in the place of ours.
    pub fn stranger(&self, tenant: &str, id: Id, look_again: Timestamp) {
        let mut tenants = self.lock();
        let record = tenants.entry(tenant.to_owned()).or_default();
        record.observed.strangers.insert(id, Stranger { look_again });
    }

    /// Remembers why the API server refused an object.
    pub fn refused(&self, tenant: &str, id: Id, why: String) {
        let mut tenants = self.lock();
        tenants
            .entry(tenant.to_owned())
            .or_default()
            .observed
            .refused
            .insert(id, why);
    }

    /// Counts a failed write; gives whether it has failed so often and for so long that it is no passing trouble.
    pub fn unwritten(&self, tenant: &str, id: &Id, now: Timestamp) -> bool {
        let mut tenants = self.lock();
        let record = tenants.entry(tenant.to_owned()).or_default();
        let (times, since) = record.unwritten.entry(id.clone()).or_insert((0, now));
        *times = times.saturating_add(1);
        *times >= LASTING && now.duration_since(*since) >= LASTING_SINCE
    }

    /// The API server took a write of this object. Gives whether it had been refused before.
    pub fn accepted(&self, tenant: &str, id: &Id) -> bool {
        self.lock().get_mut(tenant).is_some_and(|record| {
            record.unwritten.remove(id);
            record.observed.refused.remove(id).is_some()
        })
    }

    /// Whether and how far the metadata of the minted Secrets can be trusted.
    pub fn trust(&self, tenant: &str) -> Option<Trust> {
        self.lock().get(tenant)?.trust.clone()
    }

    /// Takes in what was read of the minted Secrets. Without trust the next pass reads them again.
    pub fn set_minted(&self, tenant: &str, minted: Minted, trust: Option<Trust>) {
        let mut tenants = self.lock();
        let record = tenants.entry(tenant.to_owned()).or_default();
        record.observed.minted = minted;
        record.trust = trust;
    }

    /// Makes the next pass read the minted Secrets.
    pub fn distrust(&self, tenant: &str) {
        if let Some(record) = self.lock().get_mut(tenant) {
            record.trust = None;
        }
    }

    /// Whether some actions may be carried out now, or not before which instant: what was carried out and is wanted
    /// again at once did not help, and would not help more often.
    pub fn may_act(
        &self,
        tenant: &str,
        actions: &[Action],
        now: Timestamp,
        pause: impl Fn(u32) -> Duration,
    ) -> Result<(), Timestamp> {
        let mut tenants = self.lock();
        let record = tenants.entry(tenant.to_owned()).or_default();
        if actions.is_empty() {
            record.acted = None;
            return Ok(());
        }
        let times = match &record.acted {
            Some(acted) if acted.actions == actions && now < acted.not_before => return Err(acted.not_before),
            Some(acted) if acted.actions == actions => acted.times.saturating_add(1),
            _ => 1,
        };
        record.acted = Some(Acted {
            actions: actions.to_vec(),
            times,
            not_before: now + pause(times),
        });
        Ok(())
    }

    pub fn written(&self, tenant: &str) -> Option<Written> {
        self.lock().get(tenant)?.status.clone()
    }

    pub fn set_written(&self, tenant: &str, written: Written) {
        self.lock().entry(tenant.to_owned()).or_default().status = Some(written);
    }

    /// Counts a failed pass; gives how many there were in a row.
    pub fn failed(&self, tenant: &str) -> u32 {
        let mut tenants = self.lock();
        let record = tenants.entry(tenant.to_owned()).or_default();
        record.failures = record.failures.saturating_add(1);
        record.failures
    }

    /// How many passes failed in a row.
    pub fn failures(&self, tenant: &str) -> u32 {
        self.lock().get(tenant).map_or(0, |record| record.failures)
    }

    pub fn succeeded(&self, tenant: &str) {
        if let Some(record) = self.lock().get_mut(tenant) {
            record.failures = 0;
        }
    }

    /// The Tenant is gone: its objects are still watched, but nothing is remembered of its Secrets and status.
    pub fn forget(&self, tenant: &str) {
        let mut tenants = self.lock();
        if let Some(record) = tenants.get_mut(tenant) {
            record.reset();
            if record.observed.objects.is_empty() {
                tenants.remove(tenant);
            }
        }
    }

    /// Whose record this is. What was remembered of another Tenant of that name is forgotten, but for its objects,
    /// which the watches keep up to date.
    pub fn belongs_to(&self, tenant: &str, uid: &str) {
        let mut tenants = self.lock();
        let record = tenants.entry(tenant.to_owned()).or_default();
        if record.tenant_uid.as_deref() != Some(uid) {
            record.reset();
            record.tenant_uid = Some(uid.to_owned());
        }
    }

    /// After a fresh listing of the Tenants, with their uids: forgets what was remembered of others.
    pub fn keep_only(&self, listed: &BTreeMap<String, String>) {
        self.lock().retain(|tenant, record| {
            if record.tenant_uid.is_some() && record.tenant_uid.as_ref() != listed.get(tenant) {
                record.reset();
                return !record.observed.objects.is_empty();
            }
            true
        });
    }
}

impl Record {
    fn reset(&mut self) {
        let objects = std::mem::take(&mut self.observed.objects);
        *self = Self {
            observed: Observed {
                objects,
                ..Observed::default()
            },
            gone: std::mem::take(&mut self.gone),
            ..Self::default()
        };
    }
}

/// Resource versions are numbers that grow; Kubernetes promises it since 1.35, etcd always did it.
pub fn is_newer(a: &str, b: &str) -> bool {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a > b,
        _ => a != b,
    }
}

#[cfg(test)]
mod tests {
    use freehold_plan::Facts;
    use serde_json::json;

    use super::*;

    fn id() -> Id {
        Id {
            kind: Kind::ConfigMap,
            namespace: "tenant-acme".into(),
            name: "settings".into(),
        }
    }

    fn seen(version: &str) -> Seen {
        Seen {
            uid: "u".into(),
            resource_version: version.into(),
            ending: false,
            created: false,
            live: json!({"data": version}),
            facts: Facts::None,
        }
    }

    #[test]
    fn an_object_belongs_to_the_tenant_in_whose_namespace_it_is() {
        let longest = "x".repeat(40);
        for tenant in ["acme", "a-b", &longest] {
            let namespace = NamespaceName::of(tenant);
            assert_eq!(owner(Kind::Service, namespace.as_str(), "web"), Some(tenant));
            assert_eq!(owner(Kind::Namespace, "", namespace.as_str()), Some(tenant));
        }
        assert_eq!(owner(Kind::Service, "default", "tenant-acme"), None);
    }

    #[test]
    fn what_the_watch_brings_late_does_not_undo_our_own_write() {
        let store = Store::default();
        assert!(store.put("acme", id(), seen("10")));
        assert!(!store.put("acme", id(), seen("9")));
        assert!(
            !store.remove("acme", &id(), "9"),
            "the end of an older object of that name"
        );
        assert!(store.remove("acme", &id(), "11"));
    }

    #[test]
    fn the_answer_to_our_delete_does_not_bring_back_what_the_watch_has_seen_go() {
        let store = Store::default();
        store.put("acme", id(), seen("10"));
        assert!(store.remove("acme", &id(), "12"));
        assert!(
            !store.put("acme", id(), seen("11")),
            "the answer to the delete, late"
        );
        assert!(store.put("acme", id(), seen("13")), "a new object of that name");
    }

    #[test]
    fn a_fresh_listing_takes_away_what_is_gone_and_leaves_what_was_written_since() {
        let store = Store::default();
        store.put("acme", id(), seen("10"));
        let before = store.versions(Kind::ConfigMap);
        let mut written = id();
        written.name = "written-since".into();
        store.put("acme", written.clone(), seen("12"));
        assert_eq!(store.retain(&before, &[id()].into()), Vec::<String>::new());
        assert_eq!(store.retain(&before, &BTreeSet::new()), ["acme"]);
        let left = store.observed("acme", Timestamp::UNIX_EPOCH).objects;
        assert_eq!(left.keys().collect::<Vec<_>>(), [&written]);
    }

    #[test]
    fn a_stranger_is_forgotten_when_it_is_time_to_look_again() {
        let store = Store::default();
        let later = Timestamp::from_second(100).unwrap();
        store.stranger("acme", id(), later);
        assert_eq!(
            store
                .observed("acme", Timestamp::from_second(99).unwrap())
                .strangers
                .len(),
            1
        );
        assert_eq!(store.observed("acme", later).strangers.len(), 0);
    }
}
