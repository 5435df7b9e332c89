//! From a channel to its tenants: which of them may be upgraded now, and how far each ring is.
//!
//! In: the channel, its tenants as their own plans see them, the product's releases, what people said of them, and an instant. Out: the channel's
//! status, in which the grants stand, and the instant at which this changes its mind.
//!
//! Invariants: pure, as the plan of a tenant is; what it says is the same when it is asked again about its own answer.

mod approvals;
mod gates;
mod grants;
pub mod member;
mod replaced;
mod report;
mod ring;
mod target;
mod wave;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use freehold_crds::{
    EmergencyRecord, GRANTS, Grant, Release, ReleaseApproval, ReleaseChannel, ReleaseChannelStatus, Ring,
    RingPhase, RingStatus, Selection, Tenant,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::clock::stamp;
use crate::outcome::Event;
use member::{Labels, Member};
pub use target::{is_preview, takes_previews};

/// What a channel is decided by.
#[derive(Clone, Copy, Debug)]
pub struct Fleet<'a> {
    pub channel: &'a ReleaseChannel,
    /// The tenants that name it, all of them.
    pub members: &'a [&'a Member],
    /// The product's releases, by name.
    pub releases: &'a BTreeMap<String, Arc<Release>>,
    /// Those that name the channel.
    pub approvals: &'a [&'a ReleaseApproval],
    pub now: Timestamp,
}

/// What becomes of a channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advance {
    pub status: ReleaseChannelStatus,
    pub events: Vec<Event>,
    /// The instant at which this changes its mind by itself.
    pub wake: Option<Timestamp>,
    refused: Vec<Refused>,
    /// Whether a ring has the emergency's release by that path.
    in_emergency: bool,
    /// The rings that wait for nothing but the windows of their first tenants.
    shut: BTreeSet<String>,
}

/// What somebody has asked for, and is not done: a word, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    reason: &'static str,
    message: String,
}

impl Advance {
    fn wake_at(&mut self, wake: Option<Timestamp>, now: Timestamp) {
        let wake = wake.filter(|wake| *wake > now);
        self.wake = [self.wake, wake].into_iter().flatten().min();
    }
}

/// Takes every ring of a channel further.
pub fn advance(fleet: &Fleet<'_>) -> Advance {
    let none = ReleaseChannelStatus::default();
    let channel = fleet.channel;
    let before = channel.status.as_ref().unwrap_or(&none);
    let mut rings: Vec<Vec<&Member>> = vec![Vec::new(); channel.spec.rings.len()];
    for member in fleet.members {
        if let Some(place) = place(channel, member.selected_by()) {
            rings[place].push(member);
        }
    }
    let mut advance = Advance::default();
    // Those of tenants that are gone are not in the way of others.
    let there: BTreeSet<&str> = fleet.members.iter().map(|member| member.uid.as_str()).collect();
    let held = before.grants.iter().map(|grant| (grant.uid.as_str(), grant));
    let held: BTreeMap<&str, &Grant> = held.filter(|(uid, _)| there.contains(uid)).collect();
    let mut room = usize::try_from(GRANTS)
        .unwrap_or_default()
        .saturating_sub(held.len());
    let replaced = replaced::find(fleet, before);
    let mut earlier: Vec<RingStatus> = Vec::new();
    for (place, (ring, members)) in channel.spec.rings.iter().zip(&rings).enumerate() {
        let turn = ring::Turn {
            fleet,
            ring,
            members,
            before: before.rings.iter().find(|status| status.name == ring.name),
            earlier: &earlier,
            next: channel.spec.rings.get(place + 1),
            held: &held,
            replaced: &replaced,
        };
        let status = ring::advance(&turn, &mut room, &mut advance);
        earlier.push(status);
    }
    advance.status.rings = earlier;
    advance.status.emergencies = emergencies(fleet, before, advance.in_emergency);
    advance.status.grants.sort_by(|a, b| a.tenant.cmp(&b.tenant));
    advance.status.observed_generation = channel.metadata.generation;
    advance.status.conditions = report::conditions(fleet, before, &advance);
    advance
}

/// Each use of the emergency path once, the last ones; one that has come to no ring is none.
fn emergencies(fleet: &Fleet<'_>, before: &ReleaseChannelStatus, in_emergency: bool) -> Vec<EmergencyRecord> {
    const KEPT: usize = 10;
    let mut records = before.emergencies.clone();
    if let Some(emergency) = fleet.channel.spec.emergency.as_ref().filter(|_| in_emergency) {
        let is_it = |record: &EmergencyRecord| {
            record.release == emergency.release && record.reason == emergency.reason
        };
        if !records.last().is_some_and(is_it) {
            records.push(EmergencyRecord {
                release: emergency.release.clone(),
                reason: emergency.reason.clone(),
                at: Time(stamp(fleet.now)),
            });
        }
    }
    let old = records.len().saturating_sub(KEPT);
    records.split_off(old)
}

fn place(channel: &ReleaseChannel, labels: Labels<'_>) -> Option<usize> {
    let mut rings = channel.spec.rings.iter();
    rings.position(|ring| selects(&ring.tenants, labels))
}

/// The ring of a tenant: the first one that selects it.
pub fn ring_of<'a>(channel: &'a ReleaseChannel, labels: Labels<'_>) -> Option<&'a Ring> {
    channel.spec.rings.get(place(channel, labels)?)
}

fn selects(selection: &Selection, labels: Labels<'_>) -> bool {
    let Selection {
        environments,
        match_labels,
    } = selection;
    let mut wanted = match_labels.iter();
    (environments.is_empty() || environments.contains(&labels.environment))
        && wanted.all(|(name, value)| labels.labels.get(name) == Some(value))
}

/// A tenant's leave to be upgraded, as long as it wasn't taken back.
pub fn grant_of<'a>(channel: &'a ReleaseChannel, tenant: &Tenant) -> Option<&'a Grant> {
    let uid = tenant.metadata.uid.as_deref()?;
    let mut grants = channel.status.as_ref()?.grants.iter();
    grants.find(|grant| grant.uid == uid && grant.withdrawn.is_none())
}

/// The release that a tenant gets which has none yet: its ring's stable one, or where there is none that which has just come into it, unless it is
/// halted; and what it was then.
pub fn first_of<'a>(channel: &'a ReleaseChannel, tenant: &Tenant) -> Option<(&'a str, Option<&'a str>)> {
    let ring = ring_of(channel, Labels::of(tenant))?;
    let rings = &channel.status.as_ref()?.rings;
    let place = rings.iter().position(|status| status.name == ring.name)?;
    let status = &rings[place];
    let Some(stable) = status.stable.as_deref() else {
        let comes = status.release.as_deref()?;
        let urgent = channel.spec.emergency.as_ref();
        let is_urgent = urgent.is_some_and(|urgent| urgent.release == comes);
        let mut earlier = rings[..place].iter().filter(|_| !is_urgent).chain([status]);
        let is_held = status.phase == RingPhase::Halted || earlier.any(|ring| target::is_halted(ring, comes));
        return (!is_held).then_some((comes, status.digest.as_deref()));
    };
    let verified = status.verified.iter().find(|it| it.release == stable);
    Some((stable, verified.and_then(|it| it.digest.as_deref())))
}
