//! How tenants end.

use std::ops::RangeInclusive;
use std::time::Duration;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// The bounds of the delay: a second to 30 days.
pub const DELAY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(720 * 3600);

/// The bounds of the grace: a second to 30 days.
pub const GRACE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(720 * 3600);

/// How tenants end.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassDeletion {
    /// How long after a tenant's deletionProtection was switched off it may be deleted, from `1s` to `720h`.
    #[serde(default = "ten_minutes")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('720h')")
        .message("deletion.delay must be between 1s and 720h (30 days)"))]
    pub delay: Span,

    /// How long after the destruction of a terminated tenant's keys was asked for it is carried out, from `1s` to `720h`.
    /// Until then it can be called off.
    #[serde(default = "two_weeks")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('720h')")
        .message("deletion.terminationGrace must be between 1s and 720h (30 days)"))]
    pub termination_grace: Span,
}

impl Default for ClassDeletion {
    fn default() -> Self {
        Self {
            delay: ten_minutes(),
            termination_grace: two_weeks(),
        }
    }
}

fn ten_minutes() -> Span {
    "10m".into()
}

/// Half of the 30 days within which data is promised to be gone.
fn two_weeks() -> Span {
    "336h".into()
}
