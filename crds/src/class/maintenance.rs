//! When what restarts pods may be done.

use std::ops::RangeInclusive;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{INSTANT, Span};

/// How long a window may be open: 15 minutes to a day.
pub const OPEN: RangeInclusive<Duration> = Duration::from_secs(15 * 60)..=Duration::from_secs(24 * 3600);

/// When what restarts pods may be done, for tenants that name no window of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClassMaintenance {
    /// The windows. Every day from 02:00 to 06:00 UTC when left out.
    #[serde(default = "nightly")]
    #[schemars(length(min = 1, max = 8))]
    pub windows: Vec<Window>,
}

impl Default for ClassMaintenance {
    fn default() -> Self {
        Self { windows: nightly() }
    }
}

fn nightly() -> Vec<Window> {
    vec![Window {
        rule: "FREQ=DAILY;BYHOUR=2;BYMINUTE=0;BYSECOND=0".to_owned(),
        time_zone: utc(),
        start: None,
        duration: "4h".into(),
    }]
}

/// A time that comes again, in which an instance may be changed in ways that restart its pods.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// When it opens: a recurrence rule of RFC 5545 with FREQ=DAILY, WEEKLY, MONTHLY or YEARLY, for example
    /// `FREQ=WEEKLY;BYDAY=SU;BYHOUR=3;BYMINUTE=0;BYSECOND=0`. One that can't be read stops upgrades, and nothing else.
    #[schemars(length(min = 10, max = 250))]
    #[x_kube(validation = Rule::new("self.matches('(?i)(^|[;:])FREQ=(DAILY|WEEKLY|MONTHLY|YEARLY)(;|$)')")
        .message("a window's rule has FREQ=DAILY, WEEKLY, MONTHLY or YEARLY, as in FREQ=WEEKLY;BYDAY=SU;BYHOUR=3;BYMINUTE=0;BYSECOND=0"))]
    pub rule: String,

    /// The time zone in which the rule is read, by its IANA name, for example `Europe/Berlin`.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9_+/-]+$"))]
    pub time_zone: String,

    /// The first time, as local time `2026-01-04T03:00:00`: needed with INTERVAL, and where the rule doesn't say on which days it comes;
    /// it gives the time of day where the rule has no BYHOUR. COUNT is refused: end a rule with UNTIL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 19, max = 19),
        regex(
            pattern = "^2[0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$"
        )
    )]
    pub start: Option<String>,

    /// How long it is open, from `15m` to `24h`.
    #[x_kube(validation = Rule::new("duration(self) >= duration('15m') && duration(self) <= duration('24h')")
        .message("a window's duration must be between 15m and 24h"))]
    pub duration: Span,
}

/// A time in which nothing is upgraded, whatever the windows say.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("self.from < self.until")
    .message("a freeze ends after it has begun: correct from or until"))]
#[serde(rename_all = "camelCase")]
pub struct Freeze {
    /// When it begins, with a zone: `2026-12-20T00:00:00+01:00`.
    #[schemars(regex(pattern = INSTANT))]
    pub from: Time,
    /// When it is over.
    #[schemars(regex(pattern = INSTANT))]
    pub until: Time,
    /// Why.
    #[schemars(length(min = 1, max = 200))]
    pub reason: String,
}

fn utc() -> String {
    "Etc/UTC".to_owned()
}
