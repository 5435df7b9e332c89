//! `Release`: one version of a product, as its pipeline published it. Immutable.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Resources;

/// One version of a product: its components by tier, with images pinned by digest, and the jobs that belong to it.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "freehold.dev",
    version = "v1alpha1",
    kind = "Release",
    plural = "releases",
    singular = "release",
    doc = "One version of a product, as its pipeline published it. Immutable.",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Product","type":"string","jsonPath":".spec.product"}"#,
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".spec.version"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(
    validation = Rule::new("self == oldSelf")
        .message("a Release is immutable: publish the change as a new version under a new name"),
    validation = Rule::new("!has(self.hooks) || ((!has(self.hooks.migrate) || !has(self.hooks.migrate.component) || self.components.exists(c, c.name == self.hooks.migrate.component)) && (!has(self.hooks.smoke) || !has(self.hooks.smoke.component) || self.components.exists(c, c.name == self.hooks.smoke.component)) && (!has(self.hooks.export) || !has(self.hooks.export.component) || self.components.exists(c, c.name == self.hooks.export.component)))")
        .message("a hook's component must be one of spec.components: correct the name, or give the hook an image of its own")
)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSpec {
    /// The product's name.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub product: String,

    /// The version, by strict semantic versioning, for example `1.4.0` or `1.5.0-rc.1`.
    #[schemars(
        length(min = 5, max = 63),
        regex(
            pattern = "^(0|[1-9][0-9]*)\\.(0|[1-9][0-9]*)\\.(0|[1-9][0-9]*)(-[0-9A-Za-z]+([-.][0-9A-Za-z]+)*)?$"
        )
    )]
    // A numeric identifier has no leading zero (semver 2.0.0, rule 9); RE2 has no look-ahead to say so in the pattern.
    #[x_kube(validation = Rule::new(r"!self.matches('^[^-]*-([^.]+\\.)*0[0-9]+(\\.|$)')")
        .message("a numeric part of a pre-release has no leading zero: 1.5.0-rc.1, not 1.5.0-rc.01"))]
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
}

/// A part of the product that runs as pods.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("self.tier == 'Worker' || has(self.port)")
    .message("a component of tier Web or Application needs a port: name the one on which it serves HTTP"))]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Its name, also that of its Service.
    #[schemars(length(min = 1, max = 30), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(
        validation = Rule::new("self != 'db' && !self.startsWith('db-')")
            .message("names 'db' and 'db-…' belong to the database: take another name"),
        validation = Rule::new("!(self in ['hooks', 'default'])")
            .message("names 'hooks' and 'default' are those of the release's jobs and of the namespace's own account: take another name")
    )]
    pub name: String,

    /// Its tier, which decides what it may reach and what it is given.
    pub tier: Tier,

    /// The image, pinned by digest: `name@sha256:…` or `name:tag@sha256:…`.
    #[schemars(
        length(max = 300),
        regex(pattern = "^[a-z0-9]([-a-zA-Z0-9._/:]*[a-zA-Z0-9])?@sha256:[0-9a-f]{64}$")
    )]
    pub image: String,

    /// Arguments for the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 256)))]
    pub args: Vec<String>,

    /// The port on which it serves HTTP; below 1024 is for root, which nothing here is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 65535))]
    pub port: Option<i32>,

    /// How many pods.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 20))]
    pub replicas: i32,

    /// What each pod asks for and may use.
    #[serde(default)]
    pub resources: Resources,

    /// Answers 200 when requests may be sent to the pod.
    #[serde(default = "readyz")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^/[-A-Za-z0-9._~/]*$"))]
    pub readiness_path: String,

    /// Answers 200 as long as the process is worth keeping.
    #[serde(default = "healthz")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^/[-A-Za-z0-9._~/]*$"))]
    pub liveness_path: String,
}

fn one() -> i32 {
    1
}

fn readyz() -> String {
    "/readyz".to_owned()
}

fn healthz() -> String {
    "/healthz".to_owned()
}

/// Where a component stands between the user and the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Tier {
    /// Reached by the gateway, reaches the application tier. Holds no credentials.
    Web,
    /// Reached by the web tier, reaches the database.
    Application,
    /// Reached by nobody, reaches the database.
    Worker,
}

/// Jobs that belong to a release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hooks {
    /// Brings the database's schema to this version; runs before the components take their new images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrate: Option<Hook>,
    /// Tries the product out after an upgrade. Not run yet: reserved for upgrades.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoke: Option<Hook>,
    /// Writes the customer's data in an open format. Not run yet: reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<Hook>,
}

/// A job: an image and its arguments.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.component) != has(self.image)")
    .message("a hook names either a component, whose image it takes, or an image of its own"))]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// The component whose image is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 30))]
    pub component: Option<String>,

    /// An image of its own, pinned by digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 300),
        regex(pattern = "^[a-z0-9]([-a-zA-Z0-9._/:]*[a-zA-Z0-9])?@sha256:[0-9a-f]{64}$")
    )]
    pub image: Option<String>,

    /// Arguments for the image's entry point.
    #[schemars(length(min = 1, max = 16), inner(length(max = 256)))]
    pub args: Vec<String>,

    /// After how many seconds the job counts as failed.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 10, max = 86400))]
    pub timeout_seconds: i32,
}

fn ten_minutes() -> i32 {
    600
}
