//! Where a channel's releases stand. Bounded whatever the number of tenants: counts, lists with a cap, and the grants.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Condition;

/// Where a channel's releases stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReleaseChannelStatus {
    /// The generation that this was said of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling and Stalled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Each ring, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 12), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub rings: Vec<RingStatus>,
    /// The tenants that may be upgraded now. No other one of the channel begins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 250))]
    pub grants: Vec<Grant>,
    /// The last uses of `spec.emergency`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub emergencies: Vec<EmergencyRecord>,
}

/// Where one ring stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RingStatus {
    /// Its name.
    pub name: String,
    /// What it does now.
    pub phase: RingPhase,
    /// Why, and what it waits for, in words.
    pub message: String,
    /// The release that is brought to its tenants, or was last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// A digest of what of it reaches tenants, as it was when it came in: published again with other contents it comes to nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub digest: Option<String>,
    /// Since when that is its release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The last release that was verified here: what a new tenant gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,
    /// Releases that were verified here, the last one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub verified: Vec<VerifiedRelease>,
    /// Uids of the tenants that have the release first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub canaries: Vec<String>,
    /// How far the wave has come in the order of its tenants, in hundredths of a percent of the ring: behind the last one that has the release,
    /// tried it, or was given leave for it.
    pub cursor: i32,
    /// Tenants of the ring.
    pub tenants: i32,
    /// Those that run the release.
    pub current: i32,
    /// Those that are upgraded now.
    pub in_flight: i32,
    /// Those whose window is shut.
    pub waiting: i32,
    /// Those that the release has failed for.
    pub failed: i32,
    /// Those that don't take part: asleep, pinned, leaving, not serving before, without what an upgrade needs, or too long without their first
    /// release.
    pub apart: i32,
    /// Some of those that it has failed for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub failures: Vec<Failure>,
    /// How the release does at the gates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub gates: Vec<GateStatus>,
    /// Releases that were halted here: they are not tried again, unless `resume` says so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub halted: Vec<Halt>,
    /// The word of `resume` that was heard last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed: Option<String>,
    /// How many failures of the release were forgiven by that word.
    #[serde(skip_serializing_if = "is_none")]
    pub forgiven: i32,
    /// When the window of one of those that wait opens next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_window: Option<Time>,
}

fn is_none(number: &i32) -> bool {
    *number == 0
}

/// What a ring does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RingPhase {
    /// There is no release for it yet.
    #[default]
    Empty,
    /// Its first tenants get the release.
    Canary,
    /// All the others do.
    Rolling,
    /// All have it that can: the gates are gone through.
    Verifying,
    /// The release is verified here.
    Verified,
    /// The release has failed here.
    Halted,
    /// Nobody begins, because somebody said so, or because a gate can't tell.
    Paused,
    /// Nobody begins before the freeze is over.
    Frozen,
}

/// A release that all tenants of a ring run, and that has passed its gates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedRelease {
    /// Name of the Release object.
    pub release: String,
    /// A digest of what of it reaches tenants: published again with other contents it is not verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub digest: Option<String>,
    /// When it was verified.
    pub at: Time,
}

/// A tenant that a release has failed for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The tenant's name.
    pub tenant: String,
    /// Why.
    #[schemars(length(max = 200))]
    pub message: String,
}

/// How a release does at a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateStatus {
    /// The gate.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
    /// The tenant beside which the test runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Which attempt this is: another one begins by `resume`.
    #[serde(default)]
    pub attempt: i32,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub message: Option<String>,
}

/// What came of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// Nothing yet.
    Pending,
    Passed,
    /// The release is halted.
    Failed,
    /// The test itself could not be had: the ring pauses.
    Inconclusive,
}

/// A release that was halted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Halt {
    /// Name of the Release object.
    pub release: String,
    /// When.
    pub at: Time,
    /// Why.
    #[schemars(length(max = 200))]
    pub message: String,
}

/// One tenant's leave to be upgraded now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The tenant's name.
    pub tenant: String,
    /// The Tenant object's uid: one that was created anew under its name doesn't have it.
    pub uid: String,
    /// Its ring.
    pub ring: String,
    /// The release that it is to have, by the name of its object.
    pub release: String,
    /// A digest of what of it reaches tenants: nobody begins with one of that name that has other contents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub digest: Option<String>,
    /// Why.
    pub kind: GrantKind,
    /// When it was given.
    pub at: Time,
    /// When it was taken back: who has not begun until then doesn't any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Time>,
}

/// Why a tenant gets another release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GrantKind {
    /// The wave has reached it.
    Wave,
    /// An emergency: its window isn't waited for.
    Emergency,
    /// The release that it has broke it, and the one before comes back: its window isn't waited for.
    RollBack,
}

/// A use of the emergency path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmergencyRecord {
    /// Name of the Release object.
    pub release: String,
    /// Why, as it was said.
    pub reason: String,
    /// When it began.
    pub at: Time,
}
