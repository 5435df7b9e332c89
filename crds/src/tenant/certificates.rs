//! The customer's own wishes about its certificate authority.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Rotations of the tenant's certificate authority on demand, beside those that the end of its life brings.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantCertificates {
    /// Any word, for example a date or a ticket's number: each new one replaces the tenant's certificate authority once, and is
    /// acknowledged in status.authority.acknowledged. Nothing is interrupted: the new root stands in every bundle for as long as
    /// certificates.overlap of the class says before anything is issued from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[A-Za-z0-9]([-A-Za-z0-9_.:]*[A-Za-z0-9])?$")
    )]
    pub rotate_authority: Option<String>,

    /// Any word: each new one replaces a certificate authority that was compromised, at once and without an overlap, and is
    /// acknowledged in status.authority.revocationAcknowledged. THIS INTERRUPTS: connections between the tiers fail until every
    /// pod has read its new files, and clients that trust the old ca.crt refuse the gateway until they are given the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[A-Za-z0-9]([-A-Za-z0-9_.:]*[A-Za-z0-9])?$")
    )]
    pub revoke_authority: Option<String>,
}
