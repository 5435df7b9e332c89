//! `TenantOperation`: one act on a tenant that can't simply be repeated.
//!
//! Invariants: the spec is immutable; the step stands in the status, guarded by the resource version, before its effect;
//! one runs at a time for a tenant. What is left is the history that an auditor reads.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::DeletionPolicy;

/// One act on a tenant that can't simply be repeated, with how far it is and what was done.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "freehold.dev",
    version = "v1alpha1",
    kind = "TenantOperation",
    plural = "tenantoperations",
    singular = "tenantoperation",
    shortname = "tnop",
    namespaced,
    status = "TenantOperationStatus",
    doc = "One act on a tenant that can't simply be repeated, with how far it is and what was done. Made by the operator in its own namespace; what is left is the history, of which the operator keeps the last (`operations.history` of the chart).",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Tenant","type":"string","jsonPath":".spec.tenant"}"#,
    printcolumn = r#"{"name":"Type","type":"string","jsonPath":".spec.type"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Step","type":"string","jsonPath":".status.step"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(
    validation = Rule::new("self == oldSelf")
        .message("a TenantOperation is immutable: another act is another object"),
    validation = Rule::new("self.type != 'Deletion' || has(self.deletion)")
        .message("an operation of type Deletion needs spec.deletion"),
    validation = Rule::new("self.type != 'TenantKeyRotation' || has(self.rotation)")
        .message("an operation of type TenantKeyRotation needs spec.rotation"),
    validation = Rule::new("self.type != 'AuthorityRotation' || has(self.authority)")
        .message("an operation of type AuthorityRotation needs spec.authority"),
    validation = Rule::new("self.type != 'Upgrade' || has(self.upgrade)")
        .message("an operation of type Upgrade needs spec.upgrade"),
    validation = Rule::new("self.type != 'DataKeyRotation' || has(self.reencryption)")
        .message("an operation of type DataKeyRotation needs spec.reencryption")
)]
#[serde(rename_all = "camelCase")]
pub struct TenantOperationSpec {
    /// The tenant's name.
    #[schemars(length(min = 1, max = 63))]
    pub tenant: String,

    /// Which life of a tenant of that name is meant.
    #[schemars(length(min = 1, max = 63))]
    pub incarnation: String,

    /// The tenant object's uid.
    #[schemars(length(min = 1, max = 63))]
    pub tenant_uid: String,

    /// What is done.
    pub r#type: OperationType,

    /// What a deletion does with the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<DeletionOperation>,

    /// Which key a rotation replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationOperation>,

    /// Which volumes are replaced by such with new keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reencryption: Option<ReencryptionOperation>,

    /// Which certificate authority is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<AuthorityOperation>,

    /// From which release to which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeOperation>,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperationType {
    /// Takes the tenant down after its protection was switched off.
    Deletion,
    /// Makes a new version of the tenant key, wraps every data key by it, and destroys the old version.
    TenantKeyRotation,
    /// Replaces every volume of the database by one with a new data key: an instance is added, the database switches over to
    /// it, and the old ones are removed.
    DataKeyRotation,
    /// Replaces the tenant's certificate authority: the new root comes into every bundle, every certificate is issued from it, and
    /// the old one goes. Other operations run beside it.
    AuthorityRotation,
    /// Replaces the release that runs by another one; undoes it when that one fails.
    Upgrade,
    /// Destroys the tenant key, after which nothing that was encrypted under it can be read: a terminated tenant's end.
    KeyDestruction,
}

/// What a deletion does with the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletionOperation {
    /// Kept or deleted, as it was asked for when the protection was switched off.
    pub policy: DeletionPolicy,
}

/// Which version of a key a rotation replaces, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationOperation {
    /// The version that is replaced; the next one has the number after it.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub from_version: u32,
    /// Why.
    pub reason: RotationReason,
    /// The word with which it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub token: Option<String>,
}

/// Which volumes are replaced, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReencryptionOperation {
    /// The volumes whose data is encrypted anew. Those that have data keys have them by these ids.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 253)))]
    pub volumes: Vec<String>,
    /// Why.
    pub reason: RotationReason,
    /// The word with which it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub token: Option<String>,
}

/// Which certificate authority is replaced, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityOperation {
    /// SHA-256 of the certificate of the authority that is replaced, in hexadecimal.
    #[schemars(length(min = 1, max = 64))]
    pub from: String,
    /// Why.
    pub reason: RotationReason,
    /// The word with which it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub token: Option<String>,
}

/// From which release to which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeOperation {
    /// The Release that ran before: what is gone back to.
    #[schemars(length(min = 1, max = 120))]
    pub from: String,
    /// Its version.
    #[schemars(length(min = 1, max = 63))]
    pub from_version: String,
    /// A digest of what of it reaches tenants: what is gone back to has the same. None in one that began before this was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub from_digest: Option<String>,
    /// The Release that is to run.
    #[schemars(length(min = 1, max = 120))]
    pub to: String,
    /// Its version.
    #[schemars(length(min = 1, max = 63))]
    pub to_version: String,
    /// A digest of what of it reaches tenants, as it was when this began: published again with other contents it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub to_digest: Option<String>,
    /// The channel that has granted it, with the ring: `board/production`. None when the tenant itself names the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 110))]
    pub granted_by: Option<String>,
    /// Why the tenant's window was not waited for, if it wasn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urgency: Option<crate::GrantKind>,
    /// The word with which one that had failed was asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub retry: Option<String>,
}

/// Why a key is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RotationReason {
    /// Its cryptoperiod is over.
    Cryptoperiod,
    /// Somebody asked for it.
    Requested,
    /// Somebody else may have it: there is no overlap.
    Compromised,
}

/// How far an operation is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TenantOperationStatus {
    /// Whether it waits, runs or has ended.
    pub phase: Phase,
    /// The step whose effects are under way: it was written before the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The step that is under way is not over before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_until: Option<Time>,
    /// When the first step was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// What was done, step by step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub evidence: Vec<Evidence>,
}

/// Where an operation stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Nothing was done yet.
    #[default]
    Pending,
    Running,
    Succeeded,
    /// What it was for could not be had, and what it had changed was undone.
    Failed,
    /// Given up: nothing more happens.
    Cancelled,
}

impl Phase {
    /// Whether nothing more happens.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// One step that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The step.
    pub step: String,
    /// When it was over.
    pub at: Time,
    /// What was done.
    pub message: String,
}
