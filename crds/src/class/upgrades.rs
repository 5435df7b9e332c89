//! How a tenant comes from one release to the next.

use std::ops::RangeInclusive;
use std::time::Duration;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// How long a release is watched after it was rolled out: a second to a day.
pub const BAKE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
/// How long a release may take until all of its pods are ready: a minute to a day.
pub const ROLL: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(24 * 3600);

/// How a tenant comes from one release to the next.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upgrades {
    /// How long a release that was rolled out and tried out must run well before the upgrade counts as done, from `1s` to `24h`.
    /// Until then it is undone by itself. A pod that stops being ready is noticed after 10 s: less than that shows only what fails at once.
    #[serde(default = "a_minute")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')")
        .message("upgrades.bake must be between 1s and 24h"))]
    pub bake: Span,

    /// After this a release whose pods aren't all ready has failed, from `1m` to `24h`.
    #[serde(default = "ten_minutes")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('24h')")
        .message("upgrades.rollTimeout must be between 1m and 24h"))]
    pub roll_timeout: Span,
}

impl Default for Upgrades {
    fn default() -> Self {
        Self {
            bake: a_minute(),
            roll_timeout: ten_minutes(),
        }
    }
}

fn a_minute() -> Span {
    "1m".into()
}

fn ten_minutes() -> Span {
    "10m".into()
}
