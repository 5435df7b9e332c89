//! What is remembered, and how it hangs together: which databases answer, and who knows of an object that may pass from
//! one tenant to another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use freehold_plan::names::{DATABASE, NamespaceName};
use freehold_plan::{Action, Facts, Id, Kind, Neighbour, Observed, Seen};
use jiff::Timestamp;

use super::{Trust, Written, is_newer, owner};

/// So many ends are remembered of a tenant: late words of an object come within seconds of its end.
const ENDS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) tenants: HashMap<String, Record>,
    /// Kinds that the cluster doesn't know.
    pub(super) unknown: BTreeSet<Kind>,
    /// Tenants whose database answers.
    pub(super) answering: BTreeMap<String, String>,
    /// Which tenants know of an object that is found by its label, or wait for it.
    pub(super) shared: HashMap<Id, BTreeSet<String>>,
}

#[derive(Debug, Default)]
pub(super) struct Record {
    /// The uid of the Tenant that this is remembered of.
    pub(super) tenant_uid: Option<String>,
    pub(super) observed: Observed,
    /// At which version an object was gone.
    pub(super) gone: BTreeMap<Id, String>,
    /// The same for records.
    pub(super) gone_operations: BTreeMap<String, String>,
    pub(super) trust: Option<Trust>,
    pub(super) acted: Option<Acted>,
    /// Writes that failed in a row: how often, and since when.
    pub(super) unwritten: BTreeMap<Id, (u32, Timestamp)>,
    /// Writes that came back other than they were sent: how often in a row, and when the next is of use.
    pub(super) rewritten: BTreeMap<Id, (u32, Timestamp)>,
    pub(super) status: Option<Written>,
    pub(super) failures: u32,
}

/// What was minted last, how often in a row, and when it may be minted again.
#[derive(Debug)]
pub(super) struct Acted {
    pub(super) actions: Vec<Action>,
    pub(super) times: u32,
    pub(super) not_before: Timestamp,
}

/// Whether an object is found by its label.
fn is_shared(id: &Id) -> bool {
    owner(id.kind, &id.namespace, &id.name, None).is_none()
}

impl State {
    pub(super) fn record(&mut self, tenant: &str) -> &mut Record {
        self.tenants.entry(tenant.to_owned()).or_default()
    }

    pub(super) fn put(&mut self, tenant: &str, id: Id, seen: Seen) -> bool {
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

    pub(super) fn unset(&mut self, tenant: &str, id: &Id) -> bool {
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
    pub(super) fn lose(&mut self, tenant: &str, id: &Id, resource_version: &str) -> bool {
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
    pub(super) fn unblock(&mut self, tenant: &str, id: &Id) -> bool {
        self.tenants
            .get_mut(tenant)
            .is_some_and(|record| record.observed.strangers.remove(id).is_some())
    }

    /// An object that is found by its label is this tenant's: those who knew it at an older version lose it. Names them.
    pub(super) fn pass_on(&mut self, tenant: &str, id: &Id, seen: &Seen) -> BTreeSet<String> {
        let mut changed = self.sharers(id, tenant);
        changed.retain(|other| {
            let record = self.tenants.get(other);
            let known = record.and_then(|record| record.observed.objects.get(id));
            let is_older =
                known.is_some_and(|known| is_newer(&seen.resource_version, &known.resource_version));
            is_older && self.lose(other, id, &seen.resource_version)
        });
        changed
    }

    /// Those who wait for a claim look again once it was given up. Names them.
    pub(super) fn set_free(&mut self, tenant: &str, id: &Id, seen: &Seen) -> BTreeSet<String> {
        if !matches!(
            seen.facts,
            Facts::Claim {
                given_up_at: Some(_),
                ..
            }
        ) {
            return BTreeSet::new();
        }
        let mut changed = self.sharers(id, tenant);
        changed.retain(|other| self.unblock(other, id));
        changed
    }

    /// The others that know of an object, or wait for it.
    pub(super) fn sharers(&self, id: &Id, tenant: &str) -> BTreeSet<String> {
        let sharers = self.shared.get(id).into_iter().flatten();
        sharers.filter(|name| *name != tenant).cloned().collect()
    }

    pub(super) fn share(&mut self, tenant: &str, id: &Id) {
        if is_shared(id) {
            self.shared
                .entry(id.clone())
                .or_default()
                .insert(tenant.to_owned());
        }
    }

    /// Keeps track of the databases that answer.
    pub(super) fn note(&mut self, tenant: &str, id: &Id) {
        if id.kind != Kind::Cluster || id.name != DATABASE {
            return;
        }
        let seen = self
            .tenants
            .get(tenant)
            .and_then(|record| record.observed.objects.get(id));
        let address = seen.and_then(|seen| match &seen.facts {
            Facts::Database {
                ready: true,
                address: Some(address),
                ..
            } if !seen.ending => Some(address.clone()),
            _ => None,
        });
        match address {
            Some(address) => self.answering.insert(tenant.to_owned(), address),
            None => self.answering.remove(tenant),
        };
    }

    /// The next tenant, by name, whose database answers; after the last comes the first.
    pub(super) fn neighbour(&self, tenant: &str) -> Option<Neighbour> {
        let mut after = self
            .answering
            .range::<str, _>((Bound::Excluded(tenant), Bound::Unbounded));
        let (next, address) = after.next().or_else(|| self.answering.first_key_value())?;
        (next != tenant).then(|| Neighbour {
            namespace: NamespaceName::of(next).as_str().to_owned(),
            address: address.clone(),
        })
    }
}

impl Record {
    pub(super) fn reset(&mut self) {
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

    pub(super) fn is_empty(&self) -> bool {
        self.observed.objects.is_empty() && self.observed.operations.is_empty()
    }

    pub(super) fn forget_oldest_end(&mut self) {
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
