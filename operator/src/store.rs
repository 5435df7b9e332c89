//! What the shell remembers of each tenant between passes: the reduced objects, records, strangers, minted metadata, and
//! the last status written.
//!
//! Invariants: an object is only replaced by a newer version of itself, and one that is gone does not come back by an
//! older word of it, so that the answers to our own writes and the watch may arrive in either order. An object that is
//! found by its label passes from one tenant to another as a whole.

pub mod operations;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use freehold_crds::TenantStatus;
use freehold_plan::names::{DATABASE, DECLARED, NamespaceName, RETAINED_AT};
use freehold_plan::{Action, Facts, Id, Kind, Minted, Observed, Seen, Stranger};
use jiff::{SignedDuration, Timestamp};

/// After so many failures in a row something is not a passing trouble.
pub const LASTING: u32 = 3;
/// Rights that were just given take a moment to be known everywhere, in which a few tries fail.
const LASTING_SINCE: SignedDuration = SignedDuration::from_secs(2);
/// So many ends are remembered of a tenant: late words of an object come within seconds of its end.
const ENDS: usize = 64;

#[derive(Debug, Default)]
pub struct Store {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tenants: HashMap<String, Record>,
    /// Tenants whose database answers.
    answering: BTreeSet<String>,
    /// Which tenants know of an object that is found by its label, or wait for it.
    shared: HashMap<Id, BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct Record {
    /// The uid of the Tenant that this is remembered of.
    tenant_uid: Option<String>,
    observed: Observed,
    /// At which version an object was gone.
    gone: BTreeMap<Id, String>,
    /// The same for records.
    gone_operations: BTreeMap<String, String>,
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

/// A namespace that belongs to a life of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lived {
    pub tenant: String,
    /// The Tenant that holds it, or held it last.
    pub tenant_uid: Option<String>,
    /// It was kept on purpose when its tenant ended.
    pub retained: bool,
}

/// The versions of objects by their tenants.
pub type Versions = HashMap<String, BTreeMap<Id, String>>;

/// The tenant to which an object belongs: by the name of its namespace, for labels can be changed by whoever may write
/// it; in the operator's own namespaces, where nobody else writes, by its label.
pub fn owner<'a>(kind: Kind, namespace: &'a str, name: &'a str, label: Option<&'a str>) -> Option<&'a str> {
    let home = if kind.row().namespaced { namespace } else { name };
    // The API admits only tenants whose name fits into that of the namespace.
    let tenant = home
        .strip_prefix("tenant-")
        .filter(|tenant| NamespaceName::of(tenant).as_str() == home);
    match kind {
        Kind::HostnameClaim => label,
        Kind::Pod => tenant.or(label),
        _ => tenant,
    }
}

/// Whether an object is found by its label.
fn is_shared(id: &Id) -> bool {
    owner(id.kind, &id.namespace, &id.name, None).is_none()
}

/// Whether an object in a tenant's namespace was declared by Freehold.
pub fn is_declared(seen: &Seen) -> bool {
    seen.live["metadata"]["annotations"].get(DECLARED).is_some()
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a pass leaves no half-written record: each method writes once.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that is known of a tenant. Strangers whose time is up are forgotten, so that they are looked at again.
    pub fn observed(&self, tenant: &str, now: Timestamp) -> Observed {
        let mut state = self.lock();
        let neighbour = state.neighbour(tenant);
        let record = state.record(tenant);
        record
            .observed
            .strangers
            .retain(|_, stranger| stranger.look_again > now);
        Observed {
            neighbour,
            ..record.observed.clone()
        }
    }

    /// Takes in an object that was written. Gives whether that changed what is known.
    pub fn put(&self, tenant: &str, id: Id, seen: Seen) -> bool {
        let mut state = self.lock();
        state.pass_on(tenant, &id, &seen);
        state.put(tenant, id, seen)
    }

    /// Takes in an object that a watch brought, and names the tenants for which that changed something. One that carries
    /// our labels but was never declared by us, and is not known, was planted: it stays unknown, so that the create finds
    /// it there and says so.
    pub fn put_watched(&self, tenant: &str, id: Id, seen: Seen) -> BTreeSet<String> {
        let mut state = self.lock();
        let known = state.tenants.get(tenant).is_some_and(|record| {
            let known = record.observed.objects.get(&id);
            known.is_some_and(|known| known.uid == seen.uid)
        });
        if id.kind.row().namespaced && !known && !is_declared(&seen) {
            return BTreeSet::new();
        }
        let mut changed = state.pass_on(tenant, &id, &seen);
        if state.put(tenant, id, seen) {
            changed.insert(tenant.to_owned());
        }
        changed
    }

    /// Takes in an object that was read just now: it is there, whatever was heard of its end. The watch says that an
    /// object is gone when it has only lost the labels by which it is watched.
    pub fn put_read(&self, tenant: &str, id: Id, seen: Seen) {
        let mut state = self.lock();
        state.record(tenant).gone.remove(&id);
        state.put(tenant, id, seen);
    }

    /// Takes in that an object of that uid isn't there, found by reading: without its labels no watch tells.
    pub fn missed(&self, tenant: &str, id: &Id, uid: &str) {
        let mut state = self.lock();
        let known = state
            .tenants
            .get(tenant)
            .and_then(|record| record.observed.objects.get(id));
        if known.is_some_and(|known| known.uid == uid) {
            state.unset(tenant, id);
        }
    }

    /// Takes in that an object is gone, unless a newer one has taken its place. Names the tenants that lost it, or that
    /// waited for its end.
    pub fn remove(&self, tenant: &str, id: &Id, resource_version: &str) -> BTreeSet<String> {
        let mut state = self.lock();
        let mut changed = state.sharers(id, tenant);
        changed.retain(|other| state.lose(other, id, resource_version) | state.unblock(other, id));
        if state.lose(tenant, id, resource_version) {
            changed.insert(tenant.to_owned());
        }
        changed
    }

    /// The versions of a kind's objects that are known.
    pub fn versions(&self, kind: Kind) -> Versions {
        let state = self.lock();
        let of = |record: &Record| {
            let objects = record.observed.objects.iter();
            objects
                .filter(|(id, _)| id.kind == kind)
                .map(|(id, seen)| (id.clone(), seen.resource_version.clone()))
                .collect()
        };
        let tenants = state.tenants.iter();
        tenants
            .map(|(tenant, record)| (tenant.clone(), of(record)))
            .collect()
    }

    /// After a fresh listing of a kind: forgets what was known before it and was not in it. What was written since
    /// stays: it may be younger than the listing. Gives the tenants that lost something.
    pub fn retain(&self, before: &Versions, listed: &BTreeSet<Id>) -> Vec<String> {
        let mut state = self.lock();
        let mut lost = Vec::new();
        for (tenant, versions) in before {
            let Some(record) = state.tenants.get(tenant) else {
                continue;
            };
            let is_same = |id: &Id, version: &String| {
                let known = record.observed.objects.get(id);
                known.is_some_and(|known| known.resource_version == *version)
            };
            let gone = versions
                .iter()
                .filter(|(id, version)| !listed.contains(id) && is_same(id, version));
            lost.extend(gone.map(|(id, _)| (tenant.clone(), id.clone())));
        }
        for (tenant, id) in &lost {
            state.unset(tenant, id);
        }
        let mut losers: Vec<String> = lost.into_iter().map(|(tenant, _)| tenant).collect();
        losers.sort();
        losers.dedup();
        losers
    }

    /// Remembers that another's object stands in the place of ours.
    pub fn stranger(&self, tenant: &str, id: Id, look_again: Timestamp) {
        let mut state = self.lock();
        state.share(tenant, &id);
        let strangers = &mut state.record(tenant).observed.strangers;
        strangers.insert(id, Stranger { look_again });
    }

    /// Remembers why the API server refused an object.
    pub fn refused(&self, tenant: &str, id: Id, why: String) {
        self.lock().record(tenant).observed.refused.insert(id, why);
    }

    /// Counts a failed write; gives whether it has failed so often and for so long that it is no passing trouble.
    pub fn unwritten(&self, tenant: &str, id: &Id, now: Timestamp) -> bool {
        let mut state = self.lock();
        let (times, since) = state
            .record(tenant)
            .unwritten
            .entry(id.clone())
            .or_insert((0, now));
        *times = times.saturating_add(1);
        *times >= LASTING && now.duration_since(*since) >= LASTING_SINCE
    }

    /// The API server took a write of this object. Gives whether it had been refused before.
    pub fn accepted(&self, tenant: &str, id: &Id) -> bool {
        self.lock().tenants.get_mut(tenant).is_some_and(|record| {
            record.unwritten.remove(id);
            record.observed.refused.remove(id).is_some()
        })
    }

    /// Whether and how far the metadata of the minted Secrets can be trusted.
    pub fn trust(&self, tenant: &str) -> Option<Trust> {
        self.lock().tenants.get(tenant)?.trust.clone()
    }

    /// Takes in what was read of the minted Secrets. Without trust the next pass reads them again.
    pub fn set_minted(&self, tenant: &str, minted: Minted, trust: Option<Trust>) {
        let mut state = self.lock();
        let record = state.record(tenant);
        record.observed.minted = minted;
        record.trust = trust;
    }

    /// Makes the next pass read the minted Secrets.
    pub fn distrust(&self, tenant: &str) {
        if let Some(record) = self.lock().tenants.get_mut(tenant) {
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
        let mut state = self.lock();
        let record = state.record(tenant);
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
        self.lock().tenants.get(tenant)?.status.clone()
    }

    pub fn set_written(&self, tenant: &str, written: Written) {
        self.lock().record(tenant).status = Some(written);
    }

    /// Counts a failed pass; gives how many there were in a row.
    pub fn failed(&self, tenant: &str) -> u32 {
        let mut state = self.lock();
        let record = state.record(tenant);
        record.failures = record.failures.saturating_add(1);
        record.failures
    }

    /// How many passes failed in a row.
    pub fn failures(&self, tenant: &str) -> u32 {
        self.lock()
            .tenants
            .get(tenant)
            .map_or(0, |record| record.failures)
    }

    pub fn succeeded(&self, tenant: &str) {
        if let Some(record) = self.lock().tenants.get_mut(tenant) {
            record.failures = 0;
        }
    }

    /// The Tenant is gone: its objects and records are still watched, but nothing is remembered of its Secrets and status.
    pub fn forget(&self, tenant: &str) {
        let mut state = self.lock();
        if let Some(record) = state.tenants.get_mut(tenant) {
            record.reset();
            if record.is_empty() {
                state.tenants.remove(tenant);
            }
        }
    }

    /// Whose record this is. What was remembered of another Tenant of that name is forgotten, but for its objects and
    /// records, which the watches keep up to date.
    pub fn belongs_to(&self, tenant: &str, uid: &str) {
        let mut state = self.lock();
        let record = state.record(tenant);
        if record.tenant_uid.as_deref() != Some(uid) {
            record.reset();
            record.tenant_uid = Some(uid.to_owned());
        }
    }

    /// After a fresh listing of the Tenants, with their uids: forgets what was remembered of others.
    pub fn keep_only(&self, listed: &BTreeMap<String, String>) {
        self.lock().tenants.retain(|tenant, record| {
            if record.tenant_uid.is_some() && record.tenant_uid.as_ref() != listed.get(tenant) {
                record.reset();
                return !record.is_empty();
            }
            true
        });
    }

    /// Ends that were told with versions that no API server would give.
    #[cfg(test)]
    pub fn forget_ends(&self, tenant: &str) {
        self.lock().record(tenant).gone.clear();
    }

    /// Every namespace that belongs to a life of a tenant.
    pub fn lived(&self) -> Vec<Lived> {
        let state = self.lock();
        let lived = |(tenant, record): (&String, &Record)| {
            let seen = record.observed.objects.get(&namespace_of(tenant))?;
            match &seen.facts {
                Facts::Namespace {
                    tenant_uid,
                    incarnation: Some(_),
                } => Some(Lived {
                    tenant: tenant.clone(),
                    tenant_uid: tenant_uid.clone(),
                    retained: seen.live["metadata"]["annotations"].get(RETAINED_AT).is_some(),
                }),
                _ => None,
            }
        };
        state.tenants.iter().filter_map(lived).collect()
    }
}

/// The id of a tenant's namespace.
pub fn namespace_of(tenant: &str) -> Id {
    Id {
        kind: Kind::Namespace,
        namespace: String::new(),
        name: NamespaceName::of(tenant).as_str().to_owned(),
    }
}

impl State {
    fn record(&mut self, tenant: &str) -> &mut Record {
        self.tenants.entry(tenant.to_owned()).or_default()
    }

    fn put(&mut self, tenant: &str, id: Id, seen: Seen) -> bool {
        let record = self.record(tenant);
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
                record.observed.objects.insert(id.clone(), seen);
                self.share(tenant, &id);
                self.note(tenant, &id);
                !same
            }
        }
    }

    fn unset(&mut self, tenant: &str, id: &Id) -> bool {
        let lost = self
            .tenants
            .get_mut(tenant)
            .is_some_and(|record| record.observed.objects.remove(id).is_some());
        if let Some(sharers) = self.shared.get_mut(id) {
            sharers.remove(tenant);
            if sharers.is_empty() {
                self.shared.remove(id);
            }
        }
        self.note(tenant, id);
        lost
    }

    /// Forgets an object that was gone at a version, unless a newer one is known.
    fn lose(&mut self, tenant: &str, id: &Id, resource_version: &str) -> bool {
        let Some(record) = self.tenants.get_mut(tenant) else {
            return false;
        };
        let known = record.observed.objects.get(id);
        if known.is_some_and(|known| is_newer(&known.resource_version, resource_version)) {
            return false;
        }
        record.gone.insert(id.clone(), resource_version.to_owned());
        record.forget_oldest_end();
        self.unset(tenant, id)
    }

    /// Whoever waited for an object to go needn't wait any more.
    fn unblock(&mut self, tenant: &str, id: &Id) -> bool {
        self.tenants
            .get_mut(tenant)
            .is_some_and(|record| record.observed.strangers.remove(id).is_some())
    }

    /// An object that is found by its label is this tenant's: those who knew it at an older version lose it, and those who
    /// wait for its end look again once it was given up. Names them.
    fn pass_on(&mut self, tenant: &str, id: &Id, seen: &Seen) -> BTreeSet<String> {
        let mut changed = self.sharers(id, tenant);
        let given_up = matches!(
            seen.facts,
            Facts::Claim {
                given_up_at: Some(_),
                ..
            }
        );
        changed.retain(|other| {
            let objects = |state: &Self| {
                let known = state.tenants.get(other)?.observed.objects.get(id)?;
                Some(is_newer(&seen.resource_version, &known.resource_version))
            };
            let lost = objects(self) == Some(true) && self.lose(other, id, &seen.resource_version);
            lost | (given_up && self.unblock(other, id))
        });
        changed
    }

    /// The others that know of an object, or wait for it.
    fn sharers(&self, id: &Id, tenant: &str) -> BTreeSet<String> {
        let sharers = self.shared.get(id).into_iter().flatten();
        sharers.filter(|name| *name != tenant).cloned().collect()
    }

    fn share(&mut self, tenant: &str, id: &Id) {
        if is_shared(id) {
            self.shared
                .entry(id.clone())
                .or_default()
                .insert(tenant.to_owned());
        }
    }

    /// Keeps track of the databases that answer.
    fn note(&mut self, tenant: &str, id: &Id) {
        if id.kind != Kind::Cluster || id.name != DATABASE {
            return;
        }
        let seen = self
            .tenants
            .get(tenant)
            .and_then(|record| record.observed.objects.get(id));
        let answers = |seen: &Seen| !seen.ending && matches!(seen.facts, Facts::Database { ready: true, .. });
        if seen.is_some_and(answers) {
            self.answering.insert(tenant.to_owned());
        } else {
            self.answering.remove(tenant);
        }
    }

    /// The namespace of the next tenant, by name, whose database answers; after the last comes the first.
    fn neighbour(&self, tenant: &str) -> Option<String> {
        let mut after = self
            .answering
            .range::<str, _>((Bound::Excluded(tenant), Bound::Unbounded));
        let next = after.next().or_else(|| self.answering.first())?;
        (next != tenant).then(|| NamespaceName::of(next).as_str().to_owned())
    }
}

impl Record {
    fn reset(&mut self) {
        let Observed {
            objects, operations, ..
        } = std::mem::take(&mut self.observed);
        *self = Self {
            observed: Observed {
                objects,
                operations,
                ..Observed::default()
            },
            gone: std::mem::take(&mut self.gone),
            gone_operations: std::mem::take(&mut self.gone_operations),
            ..Self::default()
        };
    }

    fn is_empty(&self) -> bool {
        self.observed.objects.is_empty() && self.observed.operations.is_empty()
    }

    fn forget_oldest_end(&mut self) {
        if self.gone.len() <= ENDS {
            return;
        }
        let number = |version: &String| version.parse::<u64>().unwrap_or_default();
        let oldest = self.gone.iter().min_by_key(|(_, version)| number(version));
        if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
            self.gone.remove(&oldest);
        }
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
            assert_eq!(
                owner(Kind::Service, namespace.as_str(), "web", None),
                Some(tenant)
            );
            assert_eq!(owner(Kind::Namespace, "", namespace.as_str(), None), Some(tenant));
        }
        assert_eq!(owner(Kind::Service, "default", "tenant-acme", Some("acme")), None);
    }

    #[test]
    fn what_the_watch_brings_late_does_not_undo_our_own_write() {
        let store = Store::default();
        assert!(store.put("acme", id(), seen("10")));
        assert!(!store.put("acme", id(), seen("9")));
        assert!(
            store.remove("acme", &id(), "9").is_empty(),
            "the end of an older object of that name"
        );
        assert_eq!(store.remove("acme", &id(), "11"), ["acme".to_owned()].into());
    }

    #[test]
    fn the_answer_to_our_delete_does_not_bring_back_what_the_watch_has_seen_go() {
        let store = Store::default();
        store.put("acme", id(), seen("10"));
        assert!(!store.remove("acme", &id(), "12").is_empty());
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
