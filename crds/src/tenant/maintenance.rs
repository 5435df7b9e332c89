//! When what restarts pods may be done.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Freeze, Window};

/// When what restarts pods may be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Maintenance {
    /// The windows; one that is open is enough. As the class says when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8))]
    pub windows: Vec<Window>,

    /// Times in which nothing is done even if a window is open, for example the days before a year's accounts are closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub freezes: Vec<Freeze>,
}
