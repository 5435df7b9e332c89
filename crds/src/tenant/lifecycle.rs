//! Whether an instance runs, and how it ends.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether an instance runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DesiredState {
    #[default]
    Active,
    /// No pod runs, the database is hibernated, all data is kept.
    Suspended,
    /// The same, because the customer leaves. Until its keys are destroyed or it is deleted, it can be made Active again.
    Terminated,
}

/// What else is to become of a tenant that is terminated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Termination {
    /// Destroys the tenant key when deletion.terminationGrace of the class is over, counted from when this was asked for:
    /// then NOBODY CAN READ THE DATA ANY MORE, in backups of it neither. Needs desiredState Terminated and
    /// deletionProtection switched off; taking back any of the three calls it off as long as nothing was destroyed.
    #[serde(default)]
    pub destroy_keys: bool,
}

/// What becomes of the data of a tenant that is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Namespace, volumes, keys and a hibernated database stay, for `adopt` or for somebody to delete.
    #[default]
    Retain,
    /// Everything is deleted.
    Delete,
}

/// Takes over what an earlier tenant of this name left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Adoption {
    /// Which life of the tenant is taken over: the value of the annotation `freehold.dev/incarnation` of its namespace,
    /// and of status.incarnation of the earlier tenant. Nothing is taken over whose holder still exists.
    #[schemars(
        length(min = 36, max = 36),
        regex(pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    )]
    pub incarnation: String,
}
