//! Certificates from the tenant's own authority.

use std::ops::RangeInclusive;
use std::time::Duration;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// The bounds of a certificate's lifetime: 10 minutes to 90 days.
pub const LIFETIME: RangeInclusive<Duration> = Duration::from_secs(600)..=Duration::from_secs(2160 * 3600);

/// Certificates from the tenant's own authority.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificates {
    /// How long a certificate is valid, from `10m` to `2160h`. It is renewed after two thirds of that.
    #[serde(default = "seven_days")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10m') && duration(self) <= duration('2160h')")
        .message("lifetime must be between 10m and 2160h (90 days)"))]
    pub lifetime: Span,
}

impl Default for Certificates {
    fn default() -> Self {
        Self {
            lifetime: seven_days(),
        }
    }
}

fn seven_days() -> Span {
    "168h".into()
}
