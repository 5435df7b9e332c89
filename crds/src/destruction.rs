//! `DestructionRecord`: that the keys of a tenant were destroyed, which, when, and what else held key material.
//!
//! Invariants: it is made before the destruction that it is about; the spec is immutable; it has no owner, and outlives the
//! tenant, its namespace and its operations.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// The keys of a tenant that were destroyed, or are about to be.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "freehold.dev",
    version = "v1alpha1",
    kind = "DestructionRecord",
    plural = "destructionrecords",
    singular = "destructionrecord",
    shortname = "tndr",
    status = "DestructionRecordStatus",
    doc = "The keys of a tenant that were destroyed, or are about to be, with what else held key material. Made by the operator before the destruction; it outlives the tenant.",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Tenant","type":"string","jsonPath":".spec.tenant"}"#,
    printcolumn = r#"{"name":"Provider","type":"string","jsonPath":".spec.provider"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Destroyed","type":"string","jsonPath":".status.destroyedAt"}"#,
    printcolumn = r#"{"name":"Elsewhere until","type":"string","jsonPath":".status.elsewhereUntil","description":"Until when backups may hold key material; empty when that is not known."}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(
    validation = Rule::new("self == oldSelf")
        .message("a DestructionRecord is immutable: another destruction is another record")
)]
#[serde(rename_all = "camelCase")]
pub struct DestructionRecordSpec {
    /// The tenant's name.
    #[schemars(length(min = 1, max = 63))]
    pub tenant: String,

    /// The tenant object's uid.
    #[schemars(length(min = 1, max = 63))]
    pub tenant_uid: String,

    /// Which life of a tenant of that name is meant.
    #[schemars(length(min = 1, max = 63))]
    pub incarnation: String,

    /// The namespace that holds what was encrypted.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,

    /// The TenantOperation that destroys.
    #[schemars(length(min = 1, max = 63))]
    pub operation: String,

    /// Where the tenant key is kept: `local`, `pkcs11`.
    #[schemars(length(min = 1, max = 63))]
    pub provider: String,

    /// The tenant key's name at the provider.
    #[schemars(length(min = 1, max = 63))]
    pub tenant_key: String,

    /// The versions of the tenant key that could still be used.
    #[schemars(length(max = 64))]
    pub versions: Vec<DestroyedVersion>,

    /// The data keys that were wrapped by them.
    #[schemars(length(max = 128))]
    pub data_keys: Vec<DestroyedDataKey>,

    /// When the destruction was asked for: the TenantOperation's creation.
    pub requested_at: Time,

    /// When its grace was over.
    pub grace_ended_at: Time,

    /// What else held key material, and for how long.
    #[schemars(length(max = 8))]
    pub elsewhere: Vec<Elsewhere>,
}

/// A version of a tenant key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DestroyedVersion {
    /// Its number, from 1.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub number: u32,
    /// When it was made.
    pub created_at: Time,
}

/// A data key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DestroyedDataKey {
    /// The PersistentVolume that it encrypts.
    #[schemars(length(min = 1, max = 253))]
    pub volume: String,
    /// The version of the tenant key that it was wrapped by.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub version: u32,
}

/// Something that held key material beside the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Elsewhere {
    /// What it is.
    #[schemars(length(min = 1, max = 200))]
    pub what: String,
    /// For how long after the destruction it may hold it, as the platform states. Not known when left out; see the note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_for: Option<Span>,
    /// What it held, and what ends that.
    #[schemars(length(min = 1, max = 500))]
    pub note: String,
}

/// What became of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DestructionRecordStatus {
    /// Whether they were destroyed.
    pub phase: DestructionPhase,
    /// When the last of them was, by the provider's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destroyed_at: Option<Time>,
    /// Until when something else may hold key material, as the platform states. Not known when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elsewhere_until: Option<Time>,
    /// What was done, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 1000)))]
    pub evidence: Vec<String>,
}

/// Whether keys were destroyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DestructionPhase {
    /// They are about to be.
    #[default]
    Pending,
    /// For good.
    Destroyed,
    /// Called off before anything was destroyed.
    Cancelled,
}
