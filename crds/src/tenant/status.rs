//! What the operator reports. It is never read back for a decision: losing a status loses nothing but the times since
//! when conditions and blockers hold.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{OperationType, Phase};

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

    /// The certificate at the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateStatus>,

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
    /// When it ends to be valid.
    pub not_after: Time,
    /// When the next one is made.
    pub renew_at: Time,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
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
}
