//! When what restarts pods may be done.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Window;

/// When what restarts pods may be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Maintenance {
    /// The windows; one that is open is enough.
    #[schemars(length(min = 1, max = 8))]
    pub windows: Vec<Window>,
}
