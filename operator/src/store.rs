//! What the shell remembers of each tenant between passes: the reduced objects, records, strangers, minted metadata, and
//! the last status written.
//!
//! Invariants: an object is only replaced by a newer version of itself, and one that is gone does not come back by an
//! older word of it, so that the answers to our own writes and the watch may arrive in either order. An object that is
//! found by its label passes from one tenant to another as a whole.

pub mod operations;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use freehold_crds::TenantStatus;
use freehold_plan::names::{DECLARED, NamespaceName, RETAINED_AT};
use freehold_plan::{Action, Facts, Id, Kind, Minted, Observed, Seen, Stranger};
use jiff::{SignedDuration, Timestamp};

use state::{Acted, Record, State};

/// After so many failures in a row something is not a passing trouble.
pub const LASTING: u32 = 3;
/// Rights that were just given take a moment to be known everywhere, in which a few tries fail.
const LASTING_SINCE: SignedDuration = SignedDuration::from_secs(2);

#[derive(Debug, Default)]
pub struct Store {
    state: Mutex<State>,
}

/// How long the metadata of the minted Secrets is trusted, and in which namespace they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    pub until: Timestamp,
    pub namespace_uid: String,
}

/// The last status that was written, in case the watch is behind.
#[derive(Clone, Debug)]
pub struct Written {
    pub uid: String,
    pub resource_version: String,
    pub status: TenantStatus,
    pub at: Timestamp,
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
        Kind::HostnameClaim | Kind::DestructionRecord => label,
        Kind::Pod => tenant.or(label),
        _ => tenant,
    }
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
        let unknown = state.unknown.clone();
        let record = state.record(tenant);
        record
            .observed
            .strangers
            .retain(|_, stranger| stranger.look_again > now);
        Observed {
            neighbour,
            unknown,
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
        // Volumes are CloudNativePG's: only looked at.
        let watched_only = id.kind == Kind::Volume;
        if id.kind.row().namespaced && !watched_only && !known && !is_declared(&seen) {
            return BTreeSet::new();
        }
        let mut changed = state.pass_on(tenant, &id, &seen);
        changed.extend(state.set_free(tenant, &id, &seen));
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

    /// Takes in whether the cluster knows a kind. With the kind its objects are gone. Gives every tenant when that is new.
    pub fn set_known(&self, kind: Kind, known: bool) -> Vec<String> {
        if !known {
            self.retain(&self.versions(kind), &BTreeSet::new());
        }
        let mut state = self.lock();
        let is_new = if known {
            state.unknown.remove(&kind)
        } else {
            state.unknown.insert(kind)
        };
        if is_new {
            state.tenants.keys().cloned().collect()
        } else {
            Vec::new()
        }
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

    /// A write came back other than it was sent: something rewrites it. Gives how often in a row.
    pub fn rewritten(&self, tenant: &str, id: &Id, now: Timestamp, pause: impl Fn(u32) -> Duration) -> u32 {
        let mut state = self.lock();
        let (times, not_before) = state
            .record(tenant)
            .rewritten
            .entry(id.clone())
            .or_insert((0, now));
        *times = times.saturating_add(1);
        *not_before = now + pause(*times);
        *times
    }

    /// A write stands as it was sent.
    pub fn stands(&self, tenant: &str, id: &Id) {
        if let Some(record) = self.lock().tenants.get_mut(tenant) {
            record.rewritten.remove(id);
        }
    }

    /// When another write of an object is of use, if that isn't now: something rewrote the last one.
    pub fn not_before(&self, tenant: &str, id: &Id, now: Timestamp) -> Option<Timestamp> {
        let state = self.lock();
        let (_, not_before) = state.tenants.get(tenant)?.rewritten.get(id)?;
        Some(*not_before).filter(|instant| *instant > now)
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

    /// Makes passes read the minted Secrets from this instant on, if not before; gives when they do.
    pub fn doubt(&self, tenant: &str, from: Timestamp) -> Timestamp {
        match &mut self.lock().record(tenant).trust {
            Some(trust) => {
                trust.until = trust.until.min(from);
                trust.until
            }
            None => from,
        }
    }

    /// Makes the next pass of every tenant read them.
    pub fn distrust_all(&self) {
        for record in self.lock().tenants.values_mut() {
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

/// Resource versions are numbers that grow; Kubernetes promises it since 1.35, etcd always did it.
pub fn is_newer(a: &str, b: &str) -> bool {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a > b,
        _ => a != b,
    }
}
