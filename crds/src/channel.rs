//! `ReleaseChannel`: the way of a product's releases to its tenants, by rings.
//!
//! The spec is the platform's, or its GitOps'; the status says which release each ring has, and holds the grants without which no
//! tenant of the channel begins an upgrade.

mod ring;
mod status;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Freeze;
pub use ring::{Gate, RequiredApproval, Ring, SOAK, Selection, Share};
pub use status::{
    EmergencyRecord, Failure, GateStatus, Grant, GrantKind, Halt, ReleaseChannelStatus, RingPhase,
    RingStatus, Verdict, VerifiedRelease,
};

/// The most tenants of a channel that are upgraded at one time, whatever its rings say: each stands in the status, which stays
/// small thereby.
pub const GRANTS: i32 = 250;

/// The way of a product's releases to its tenants: through rings, in order, each with its tenants, its gates and its pace.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "freehold.dev",
    version = "v1alpha1",
    kind = "ReleaseChannel",
    plural = "releasechannels",
    singular = "releasechannel",
    shortname = "rch",
    status = "ReleaseChannelStatus",
    doc = "The way of a product's releases to its tenants: through rings, in order, each with its tenants, its gates and its pace.",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Product","type":"string","jsonPath":".spec.product"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("a channel's name has at most 63 characters and no dot: tenants and approvals name it so; take a shorter one")
)]
#[x_kube(
    validation = Rule::new("self.product == oldSelf.product")
        .message("a channel keeps its product: another product gets a channel of its own")
)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseChannelSpec {
    /// The product whose releases come this way.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub product: String,

    /// The rings, in the order in which a release comes through them: for example dev, qe, integration, production. A tenant is of
    /// the first ring that selects it.
    #[schemars(
        length(min = 1, max = 12),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub rings: Vec<Ring>,

    /// No tenant begins an upgrade while this is true. Those that have begun are brought to their end.
    #[serde(default)]
    pub paused: bool,

    /// Times in which no tenant of any ring begins an upgrade.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub freezes: Vec<Freeze>,

    /// Brings a release to every ring at once, without soak, gates, approvals, windows and freezes: for a hole that must be closed now. The
    /// number of tenants that are upgraded at one time and the threshold of failures hold still. What was done is recorded in the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Emergency>,
}

/// A release that must be everywhere now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Emergency {
    /// Name of a Release object.
    #[schemars(
        length(min = 1, max = 120),
        regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub release: String,
    /// Why, for whoever asks later.
    #[schemars(length(min = 1, max = 500))]
    pub reason: String,
}
