//! `Release`: one version of a product, as its pipeline published it.
//!
//! Invariant: it is immutable but for its recall, by one rule that names every other field (a test holds it to that).

mod component;
mod file;
mod hooks;
mod recall;
mod schema;
mod source;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use component::{Component, Strategy, Tier, Variable};
pub use file::File;
pub use hooks::{Hook, Hooks};
pub use recall::{Recall, RecallAction};
pub use schema::{Schema, SchemaChange};
pub use source::Source;

/// Strict semantic versioning, without build metadata.
const STRICT: &str =
    "^(0|[1-9][0-9]*)\\.(0|[1-9][0-9]*)\\.(0|[1-9][0-9]*)(-[0-9A-Za-z]+([-.][0-9A-Za-z]+)*)?$";
/// A numeric identifier has no leading zero (semver 2.0.0, rule 9); RE2 has no look-ahead to say so in the pattern.
const NO_LEADING_ZERO: &str = r"!self.matches('^[^-]*-([^.]+\\.)*0[0-9]+(\\.|$)')";
const LEADING_ZERO: &str = "a numeric part of a pre-release has no leading zero: 1.5.0-rc.1, not 1.5.0-rc.01";

/// One version of a product: its components by tier, with images pinned by digest, the jobs that belong to it, and what it
/// asks of an upgrade.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "freehold.dev",
    version = "v1alpha1",
    kind = "Release",
    plural = "releases",
    singular = "release",
    doc = "One version of a product, as its pipeline published it. Immutable, but for its recall.",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Product","type":"string","jsonPath":".spec.product"}"#,
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".spec.version"}"#,
    printcolumn = r#"{"name":"Recalled","type":"string","jsonPath":".spec.recall.action","description":"What becomes of the tenants that have it, once it was recalled."}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Schema","type":"string","priority":1,"jsonPath":".spec.schema.change","description":"What it does to the database's schema."}"#,
    printcolumn = r#"{"name":"Commit","type":"string","priority":1,"jsonPath":".spec.source.commit"}"#
)]
#[x_kube(
    // All but `recall`. An optional field is compared where both sides have it; that one side alone has it is a change, too.
    validation = Rule::new("self.product == oldSelf.product && self.version == oldSelf.version \
            && self.components == oldSelf.components && self.schema == oldSelf.schema \
            && has(self.hooks) == has(oldSelf.hooks) && (!has(self.hooks) || self.hooks == oldSelf.hooks) \
            && has(self.source) == has(oldSelf.source) && (!has(self.source) || self.source == oldSelf.source) \
            && has(self.upgradeFrom) == has(oldSelf.upgradeFrom) && (!has(self.upgradeFrom) || self.upgradeFrom == oldSelf.upgradeFrom) \
            && has(self.notes) == has(oldSelf.notes) && (!has(self.notes) || self.notes == oldSelf.notes)")
        .message("a Release is immutable but for its recall: publish the change as a new version under a new name"),
    validation = Rule::new("!has(self.source) || self.source.tag == self.version || self.source.tag == 'v' + self.version")
        .message("source.tag must be the version, with or without a leading v: tag the commit as v and spec.version, or correct the one that is wrong"),
    validation = Rule::new("!has(self.hooks) || ((!has(self.hooks.migrate) || !has(self.hooks.migrate.component) || self.components.exists(c, c.name == self.hooks.migrate.component)) && (!has(self.hooks.smoke) || !has(self.hooks.smoke.component) || self.components.exists(c, c.name == self.hooks.smoke.component)) && (!has(self.hooks.export) || !has(self.hooks.export.component) || self.components.exists(c, c.name == self.hooks.export.component)))")
        .message("a hook's component must be one of spec.components: correct the name, or give the hook an image of its own")
)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSpec {
    /// The product's name.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub product: String,

    /// The version, by strict semantic versioning, for example `1.4.0` or `1.5.0-rc.1`.
    #[schemars(length(min = 5, max = 63), regex(pattern = STRICT))]
    #[x_kube(validation = Rule::new(NO_LEADING_ZERO).message(LEADING_ZERO))]
    pub version: String,

    /// The parts that run. Exactly one is of the tier Web: it is what the gateway reaches.
    #[schemars(
        length(min = 1, max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    #[x_kube(validation = Rule::new("self.exists_one(c, c.tier == 'Web')")
        .message("exactly one component must be of tier Web: it is what the gateway sends requests to"))]
    pub components: Vec<Component>,

    /// Jobs that belong to the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,

    /// Where it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,

    /// What the migration does to the database's schema, which decides how far back a tenant can go.
    #[serde(default)]
    pub schema: Schema,

    /// The versions that it may follow, as a requirement in the manner of Cargo, for example `>=1.2.0, <2.0.0`: a tenant that
    /// has another one gets a version in between first. Left out: it may follow any older one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = "^[-0-9A-Za-z.*<>=~^, ]+$"))]
    pub upgrade_from: Option<String>,

    /// What is new, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub notes: Option<String>,

    /// Takes the release back after it was published: no other tenant gets it any more. The one field that can be set later,
    /// changed, and taken out again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recall: Option<Recall>,
}
