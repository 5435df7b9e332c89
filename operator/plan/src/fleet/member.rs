//! A tenant as its channel sees it.

use std::collections::BTreeMap;

use freehold_crds::{Environment, Tenant};
use jiff::Timestamp;

use crate::concern::maintenance::Hours;

/// A tenant as its channel sees it: what its own plan found, never what its status says.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub name: String,
    /// The Tenant object's.
    pub uid: String,
    pub incarnation: String,
    /// The channel that it names.
    pub channel: String,
    pub labels: BTreeMap<String, String>,
    pub environment: Environment,
    /// Why it takes no part, if it doesn't.
    pub apart: Option<Apart>,
    /// The release that runs, with every pod ready; none while it is being installed, or between two.
    pub runs: Option<String>,
    /// What that release was when it came here, where it was noted.
    pub digest: Option<String>,
    /// Since when its users are not served, if they aren't.
    pub down_since: Option<Timestamp>,
    /// Whether what an upgrade needs of it isn't well: its database, its certificates, its keys. Of one that has leave for an upgrade, only whether that
    /// has waited for those too long.
    pub unfit: bool,
    /// The upgrade that is under way.
    pub under_way: Option<Way>,
    /// Why that comes to no end by itself, neither forwards nor backwards.
    pub stuck: Option<String>,
    /// The upgrade that has brought what runs.
    pub came: Option<Way>,
    /// Releases that failed here and were not asked for again, with the reason.
    pub failed: BTreeMap<String, String>,
    /// Whether what restarts pods may be done; none while its windows can't be read.
    pub hours: Option<Hours>,
    /// The grant that its plan knew of: when it was given, and for which release.
    pub grant: Option<(Timestamp, String)>,
    /// What came of the gates' tests that run beside it, by gate, release and attempt.
    pub tests: BTreeMap<Test, Tested>,
}

/// What a reason is cut to: so much a channel's status takes.
const TOLD: usize = 200;

/// As much of a reason as a channel's status takes.
pub fn cut(why: &str) -> String {
    why.chars().take(TOLD).collect()
}

/// Why a tenant takes no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// Suspended or terminated.
    Asleep,
    /// It is being deleted.
    Leaving,
    /// Somebody keeps it at one release.
    Pinned,
    /// Its spec can't be carried out.
    Invalid,
}

/// From one release to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    pub from: String,
    pub to: String,
}

/// One run of a gate's test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Test {
    pub gate: String,
    pub release: String,
    pub attempt: i32,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tested {
    Passed,
    Failed(String),
    /// It could not be run.
    Unknown(String),
}

/// What rings select by.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    pub labels: &'a BTreeMap<String, String>,
    pub environment: Environment,
}

impl<'a> Labels<'a> {
    /// Those of a tenant.
    pub fn of(tenant: &'a Tenant) -> Self {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        Self {
            labels: tenant.metadata.labels.as_ref().unwrap_or(&NONE),
            environment: tenant.spec.environment,
        }
    }
}

impl Member {
    /// What rings select by.
    pub fn selected_by(&self) -> Labels<'_> {
        Labels {
            labels: &self.labels,
            environment: self.environment,
        }
    }
}
