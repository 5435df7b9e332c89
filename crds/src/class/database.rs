//! The database that tenants of a class get.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{Quantity, Resources};

/// The database that tenants of a class get.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.instances <= self.maxInstances")
        .message("instances is more than maxInstances: lower the one or raise the other"),
    validation = Rule::new("!has(self.maxStorageSize) || quantity(self.storageSize).compareTo(quantity(self.maxStorageSize)) <= 0")
        .message("storageSize is more than maxStorageSize: lower the one or raise the other"),
    validation = Rule::new("!has(self.maxStorageSize) || !has(self.walStorageSize) || quantity(self.walStorageSize).compareTo(quantity(self.maxStorageSize)) <= 0")
        .message("walStorageSize is more than maxStorageSize: lower the one or raise the other"),
    validation = Rule::new("!has(oldSelf.walStorageSize) || has(self.walStorageSize)")
        .message("walStorageSize can't be removed once it was set: databases keep their volumes; keep the value or create another class")
)]
#[serde(rename_all = "camelCase")]
pub struct ClassDatabase {
    /// The PostgreSQL image with tag and digest, `name:17@sha256:…`: the tag begins with the major version, which
    /// CloudNativePG reads there.
    #[schemars(
        length(max = 300),
        regex(pattern = "^[a-z0-9]([-a-z0-9._/:]*[a-z0-9])?:[0-9]+[-A-Za-z0-9._]*@sha256:[0-9a-f]{64}$")
    )]
    pub image: String,

    /// How many instances: one primary, the others synchronous replicas.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 3))]
    pub instances: i32,

    /// How many instances a tenant may ask for at most.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 3))]
    pub max_instances: i32,

    /// Size of each instance's volume, from `100Mi`. Volumes can grow, never shrink.
    #[x_kube(
        validation = Rule::new("quantity(self).compareTo(quantity('100Mi')) >= 0")
            .message("storageSize is at least 100Mi: less is too little for a database; was the unit left out, as in 10Gi?"),
        validation = Rule::new("quantity(self).compareTo(quantity(oldSelf)) >= 0")
            .message("storageSize can't shrink: volumes keep their size; keep the old value or create another class")
    )]
    pub storage_size: Quantity,

    /// The largest volume that a tenant may ask for; no bound when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_storage_size: Option<Quantity>,

    /// Size of a volume of its own for each instance's write-ahead log, from `2Gi`; the log lies beside the data when left
    /// out. Like the data's it can grow, never shrink, and a database that has one keeps it. One that has none gets it by a
    /// restart of its instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("quantity(self).compareTo(quantity('2Gi')) >= 0")
            .message("walStorageSize is at least 2Gi: PostgreSQL keeps 1.5 GB of its log for checkpoints and replicas; was the unit left out, as in 2Gi?"),
        validation = Rule::new("quantity(self).compareTo(quantity(oldSelf)) >= 0")
            .message("walStorageSize can't shrink: volumes keep their size; keep the old value or create another class")
    )]
    pub wal_storage_size: Option<Quantity>,

    /// The StorageClass of the volumes; the cluster's default when left out. It must encrypt: docs/guide/keys.md has the
    /// drivers that Freehold knows, and the parameter that each needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,

    /// Takes a StorageClass that does not encrypt, or of which Freehold can't tell. For tests; the data then lies in the
    /// clear on the storage.
    #[serde(default)]
    pub allow_unencrypted: bool,

    /// What each instance asks for and may use.
    #[serde(default)]
    pub resources: Resources,
}

fn one() -> i32 {
    1
}

fn three() -> i32 {
    3
}
