//! Rules for passwords and sessions; the product keeps them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rules for passwords. Length counts, not kinds of characters (NIST SP 800-63B, 5.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PasswordPolicy {
    /// The least number of characters.
    #[schemars(range(min = 8, max = 128))]
    pub min_length: i32,
    /// After how many days a password must be changed; never when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3650))]
    pub max_age_days: Option<i32>,
    /// After how many wrong passwords in a row an account is locked for a while.
    #[schemars(range(min = 3, max = 100))]
    pub lockout_attempts: i32,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self {
            min_length: 12,
            max_age_days: None,
            lockout_attempts: 10,
        }
    }
}

/// Rules for sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionPolicy {
    /// After how many minutes without a request a session ends.
    #[schemars(range(min = 5, max = 1440))]
    pub idle_minutes: i32,
    /// After how many hours a session ends, whatever is done in it.
    #[schemars(range(min = 1, max = 720))]
    pub max_hours: i32,
}

impl Default for SessionPolicy {
    fn default() -> Self {
        Self {
            idle_minutes: 30,
            max_hours: 12,
        }
    }
}
