//! The TenantOperations of each tenant, as the watch and our own writes bring them: the newer word wins.

use std::collections::{BTreeMap, BTreeSet};

use freehold_crds::{OperationType, Phase, TenantOperation};
use freehold_plan::Operation;
use kube::ResourceExt;

use super::{Store, is_newer};

/// The versions of records by the names of tenant and record.
pub type OperationVersions = BTreeMap<(String, String), String>;

/// A record as the plan reads it. `None` for one without a date, which the API server never sends.
pub fn read(operation: &TenantOperation) -> Option<Operation> {
    Some(Operation {
        resource_version: operation.resource_version()?,
        created: operation.metadata.creation_timestamp.as_ref()?.0,
        spec: operation.spec.clone(),
        status: operation.status.clone().unwrap_or_default(),
    })
}

impl Store {
    /// Takes in a record that was seen or written. Gives whether that changed what is known.
    pub fn put_operation(&self, name: &str, operation: Operation) -> bool {
        let mut state = self.lock();
        let record = state.record(&operation.spec.tenant);
        let gone = record.gone_operations.get(name);
        if gone.is_some_and(|gone| !is_newer(&operation.resource_version, gone)) {
            return false;
        }
        record.gone_operations.remove(name);
        match record.observed.operations.get(name) {
            Some(known) if !is_newer(&operation.resource_version, &known.resource_version) => false,
            known => {
                let same = known.is_some_and(|known| known.status == operation.status);
                record.observed.operations.insert(name.to_owned(), operation);
                !same
            }
        }
    }

    /// Takes in that a record is gone, unless a newer one has taken its place.
    pub fn remove_operation(&self, tenant: &str, name: &str, resource_version: &str) -> bool {
        let mut state = self.lock();
        let record = state.record(tenant);
        let known = record.observed.operations.get(name);
        if known.is_some_and(|known| is_newer(&known.resource_version, resource_version)) {
            return false;
        }
        record
            .gone_operations
            .insert(name.to_owned(), resource_version.to_owned());
        record.observed.operations.remove(name).is_some()
    }

    /// The versions of the records that are known.
    pub fn operation_versions(&self) -> OperationVersions {
        let state = self.lock();
        let tenants = state.tenants.iter();
        tenants
            .flat_map(|(tenant, record)| {
                let operations = record.observed.operations.iter();
                operations.map(|(name, operation)| {
                    ((tenant.clone(), name.clone()), operation.resource_version.clone())
                })
            })
            .collect()
    }

    /// Whether an upgrade of a tenant was from a release or to it: it may be gone back to, whatever the tenant names now.
    pub fn went_through(&self, tenant: &str, release: &str) -> bool {
        let state = self.lock();
        let record = state.tenants.get(tenant);
        let operations = record
            .into_iter()
            .flat_map(|record| record.observed.operations.values());
        let mut upgrades = operations.filter_map(|operation| operation.spec.upgrade.as_ref());
        upgrades.any(|upgrade| upgrade.from == release || upgrade.to == release)
    }

    /// After a fresh listing: forgets what was known before it and was not in it. Gives the tenants that lost something.
    pub fn retain_operations(&self, before: &OperationVersions, listed: &BTreeSet<String>) -> Vec<String> {
        let mut state = self.lock();
        let mut losers = Vec::new();
        for ((tenant, name), version) in before {
            let Some(record) = state.tenants.get_mut(tenant) else {
                continue;
            };
            let known = record.observed.operations.get(name);
            if !listed.contains(name) && known.is_some_and(|known| known.resource_version == *version) {
                record.observed.operations.remove(name);
                losers.push(tenant.clone());
            }
        }
        losers
    }

    /// The deletions that are under way, by the names of their records.
    pub fn running_deletions(&self) -> Vec<(String, Operation)> {
        let state = self.lock();
        let records = state.tenants.values();
        records
            .flat_map(|record| &record.observed.operations)
            .filter(|(_, operation)| {
                operation.spec.r#type == OperationType::Deletion && operation.status.phase == Phase::Running
            })
            .map(|(name, operation)| (name.clone(), operation.clone()))
            .collect()
    }
}
