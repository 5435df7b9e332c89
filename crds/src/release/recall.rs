//! What is said of a release after it was published.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a release is no longer to be used, and what becomes of the tenants that have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recall {
    /// Why, for whoever finds it later.
    #[schemars(length(min = 1, max = 500))]
    pub reason: String,

    /// What becomes of the tenants that have it: they go back to the version that they had before, as far as the schema allows
    /// (`RollBack`), keep it until a later version takes its place (`RollForward`), or keep it until somebody decides (`Hold`).
    pub action: RecallAction,
}

/// What becomes of the tenants that have a release that was recalled. No other tenant gets it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RecallAction {
    /// They go back to the version that they had before, as far as the schema allows.
    RollBack,
    /// They keep it until a later version takes its place: for one that can't be left backwards.
    RollForward,
    /// They keep it until somebody decides.
    Hold,
}
