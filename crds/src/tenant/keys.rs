//! The customer's own wishes about keys.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Rotations of keys on demand, beside those that the class's cryptoperiods bring.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantKeys {
    /// Any word, for example a date or a ticket's number: each new one rotates the tenant key once, and is acknowledged
    /// in status.keys.tenantKey.acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[A-Za-z0-9]([-A-Za-z0-9_.:]*[A-Za-z0-9])?$")
    )]
    pub rotate_tenant_key: Option<String>,

    /// Any word: each new one encrypts the database's volumes once with new data keys, and is acknowledged in
    /// status.keys.dataKeysAcknowledged. It begins at once, whatever the maintenance windows are: the database gets one
    /// more instance for a while, and writes pause for some seconds when it switches over. Volumes of another StorageClass than the
    /// TenantClass names, which are not encrypted or with another key, are replaced by it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[A-Za-z0-9]([-A-Za-z0-9_.:]*[A-Za-z0-9])?$")
    )]
    pub rotate_data_keys: Option<String>,
}
