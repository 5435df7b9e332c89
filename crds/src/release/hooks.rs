//! Jobs that belong to a release.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Jobs that belong to a release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hooks {
    /// Brings the database's schema to this version; runs before the components take their new images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrate: Option<Hook>,
    /// Tries the product out after an upgrade, before it counts as done: when it fails, the upgrade is undone.
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
