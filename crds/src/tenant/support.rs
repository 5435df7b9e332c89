//! Whether the vendor's support may ask for access.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The customer's word about support access.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Support {
    /// Whether support may ask for access; each access is granted for itself, for a limited time, and logged.
    pub consent: SupportConsent,
}

/// Whether support may ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SupportConsent {
    /// It may ask; the customer grants each access.
    #[default]
    OnRequest,
    /// It may not even ask.
    Never,
}
