//! What the operator reports. It is never read back for a decision: losing a status loses nothing but the times since
//! when conditions and blockers hold.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{OperationType, Phase};

/// How many certificates a tenant may have.
pub const CERTIFICATES_MAX: usize = 16;

/// What is so at the moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TenantStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The namespace that holds everything of this tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,

    /// Which life of a tenant of this name it is: what `adopt` takes, and what everything that holds data is marked with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,

    /// Where the instance is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,

    /// The version that serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,

    /// Conditions. `Ready`, `Reconciling` and `Stalled` are those of kstatus; `Serving` says whether users are served,
    /// apart from `UpToDate`, which says whether what serves is what was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,

    /// What is waited for, and what ends the wait.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["reason"])
    )]
    pub blockers: Vec<Blocker>,

    /// The certificates of the gateway, of the tiers and of the database.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = CERTIFICATES_MAX),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub certificates: Vec<CertificateStatus>,

    /// The tenant's certificate authority, which issues those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<AuthorityStatus>,

    /// The keys that this tenant's data is encrypted with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeysStatus>,

    /// The TenantOperation that runs or waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationStatus>,

    /// The release's components, in one line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub components: Vec<ComponentStatus>,
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Blocker {
    /// One word for it.
    pub reason: String,
    /// What is the matter.
    pub message: String,
    /// Since when.
    pub since: Time,
    /// What ends it: somebody's deed, or an event.
    pub unblocked_by: String,
}

/// A certificate, without its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// The Secret in the tenant's namespace that it lies in.
    pub name: String,
    /// When it ends to be valid.
    pub not_after: Time,
    /// When the next one is made.
    pub renew_at: Time,
    /// SHA-256 of the certificate, in hexadecimal. Not told of one that an issuer of the platform issued: the operator doesn't
    /// read its Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// A certificate authority, without its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityStatus {
    /// SHA-256 of its certificate, in hexadecimal.
    pub fingerprint: String,
    /// When it ends to be valid.
    pub not_after: Time,
    /// When it is replaced by a new one.
    pub rotate_at: Time,
    /// The fingerprint of the one that is trusted already and issues next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The fingerprint of the one before, which is trusted still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The last word of spec.certificates.rotateAuthority that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<String>,
    /// The last word of spec.certificates.revokeAuthority that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_acknowledged: Option<String>,
}

/// The keys of a tenant, without key material.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeysStatus {
    /// Where the tenant key is kept: `local`, `pkcs11`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Whose key encrypts the volumes; where some are older than the StorageClass of the TenantClass, that of the least encrypted.
    pub scope: KeyScope,
    /// The key that wraps the data keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_key: Option<TenantKeyStatus>,
    /// The keys of the volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"])
    )]
    pub data_keys: Vec<DataKeyStatus>,
    /// When the volumes are encrypted with new data keys by their cryptoperiod: from then on, in a maintenance window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_keys_rotate_at: Option<Time>,
    /// The last word of spec.keys.rotateDataKeys that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_keys_acknowledged: Option<String>,
}

/// Whose key encrypts the volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyScope {
    /// The tenant's own: destroying it destroys this tenant's data and nobody else's.
    Tenant,
    /// The platform's, by the storage's own means.
    Platform,
    /// Volumes lie in the clear, as the class allows or allowed when they were made.
    Nobody,
}

/// The tenant key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantKeyStatus {
    /// Its name at the provider.
    pub name: String,
    /// The version that wraps.
    pub version: u32,
    /// When it is rotated by its cryptoperiod.
    pub rotate_at: Time,
    /// The last word of spec.keys.rotateTenantKey that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<String>,
    /// The versions that can still be used, the current one among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["version"])
    )]
    pub versions: Vec<KeyVersionStatus>,
}

/// A version of the tenant key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyVersionStatus {
    /// Its number, from 1.
    pub version: u32,
    /// When it was made.
    pub created_at: Time,
    /// How many data keys are wrapped by it.
    pub protects: u32,
}

/// A data key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataKeyStatus {
    /// Its id: the name of the PersistentVolume that it encrypts.
    pub id: String,
    /// The version of the tenant key that it is wrapped by.
    pub tenant_key_version: u32,
    /// When it was made.
    pub created_at: Time,
}

/// One component of the release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// The component's name.
    pub name: String,
    /// How many pods are available.
    pub available: i32,
    /// How many pods are wanted.
    pub wanted: i32,
}

/// An operation in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationStatus {
    /// The name of the TenantOperation in the operator's namespace.
    pub name: String,
    /// What it does.
    pub r#type: OperationType,
    /// How far it is.
    pub phase: Phase,
    /// The step that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// That step is not over before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_until: Option<Time>,
}
