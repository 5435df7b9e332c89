//! The tenant's own wishes about its database; the class gives the rest.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::Quantity;

/// Overrides of the class's database.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantDatabase {
    /// How many PostgreSQL instances: one primary, the others synchronous replicas. With two or more, no write that
    /// was acknowledged is lost when the primary is. With exactly two, writes wait while the replica is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3))]
    pub instances: Option<i32>,

    /// Size of each instance's volume, from `100Mi`. It can grow, never shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("quantity(self).compareTo(quantity('100Mi')) >= 0")
            .message("storageSize is at least 100Mi: less is too little for a database; was the unit left out, as in 10Gi?"),
        validation = Rule::new("quantity(self).compareTo(quantity(oldSelf)) >= 0")
            .message("storageSize can't shrink: a volume keeps its size; keep the old value or name a larger one")
    )]
    pub storage_size: Option<Quantity>,

    /// Size of a volume of its own for each instance's write-ahead log, from `2Gi`. It can grow, never shrink, and stays
    /// once it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("quantity(self).compareTo(quantity('2Gi')) >= 0")
            .message("walStorageSize is at least 2Gi: PostgreSQL keeps 1.5 GB of its log for checkpoints and replicas; was the unit left out, as in 2Gi?"),
        validation = Rule::new("quantity(self).compareTo(quantity(oldSelf)) >= 0")
            .message("walStorageSize can't shrink: a volume keeps its size; keep the old value or name a larger one")
    )]
    pub wal_storage_size: Option<Quantity>,
}
