//! `ReleaseApproval`: somebody's word about a release.
//!
//! Invariant: an admission policy (chart `freehold`, `templates/admission.yaml`) admits it only from the person and the groups that it names, so
//! that whoever reads it can believe it; it is immutable.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Somebody's word about a release: whether it may come into a ring, or passes a manual gate there.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "freehold.dev",
    version = "v1alpha1",
    kind = "ReleaseApproval",
    plural = "releaseapprovals",
    singular = "releaseapproval",
    shortname = "rappr",
    doc = "Somebody's word about a release: whether it may come into a ring, or passes a manual gate there. Immutable; only the person that it names can create it.",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Channel","type":"string","jsonPath":".spec.channel"}"#,
    printcolumn = r#"{"name":"Ring","type":"string","jsonPath":".spec.ring"}"#,
    printcolumn = r#"{"name":"Release","type":"string","jsonPath":".spec.release"}"#,
    printcolumn = r#"{"name":"Gate","type":"string","jsonPath":".spec.gate"}"#,
    printcolumn = r#"{"name":"Decision","type":"string","jsonPath":".spec.decision"}"#,
    printcolumn = r#"{"name":"Approver","type":"string","jsonPath":".spec.approver"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(
    validation = Rule::new("self == oldSelf")
        .message("a ReleaseApproval is immutable: another word is another object; delete this one to take it back")
)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseApprovalSpec {
    /// Name of the ReleaseChannel.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub channel: String,

    /// The ring that it may come into, or whose gate it passes.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub ring: String,

    /// Name of the Release object.
    #[schemars(
        length(min = 1, max = 120),
        regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub release: String,

    /// The manual gate that this is about; about entering the ring when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 30), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub gate: Option<String>,

    /// What is said. One that rejects outweighs all that approve.
    pub decision: Decision,

    /// Who says so: the user's name as the API server knows it (`kubectl auth whoami`). Nobody can create it for somebody else. It counts for
    /// nothing when that is the release's author, or when the release doesn't say who its author is.
    #[schemars(length(min = 1, max = 253))]
    pub approver: String,

    /// The groups in whose name: the approver must be a member of each.
    #[schemars(
        length(min = 1, max = 8),
        inner(length(min = 1, max = 253)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub groups: Vec<String>,

    /// Why, for whoever asks later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub comment: Option<String>,
}

/// A word about a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Decision {
    Approve,
    Reject,
}
