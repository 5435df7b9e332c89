//! What this build is, fixed at compile time by a feature (see `build.rs`). No input, no client.

use serde::Serialize;

pub const PRODUCT: &str = "board";
pub const VERSION: &str = env!("BOARD_VERSION");
/// The least schema version that this build needs. A newer one is fine: migrations only expand. 1.1.0 came with migration 4.
pub const SCHEMA: i32 = if cfg!(has_due_date) { 4 } else { 3 };
/// Digest of the version and of the page's files.
pub const ASSETS: &str = env!("BOARD_ASSETS");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    Web,
    Api,
}

/// The answer to `GET /version`.
#[derive(Debug, Serialize)]
pub struct Version {
    pub product: &'static str,
    pub version: &'static str,
    pub tier: &'static str,
    pub schema: i32,
}

impl Version {
    pub fn of(tier: Tier) -> Self {
        let tier = match tier {
            Tier::Web => "web",
            Tier::Api => "api",
        };
        Self {
            product: PRODUCT,
            version: VERSION,
            tier,
            schema: SCHEMA,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_follow_the_version() {
        let minor: u32 = VERSION.split('.').nth(1).unwrap().parse().unwrap();
        assert_eq!(cfg!(has_due_date), minor >= 1);
        assert_eq!(cfg!(broken), minor == 2);
        assert_eq!(SCHEMA, if minor >= 1 { 4 } else { 3 });
    }
}
