//! The tenants that may be upgraded now.
//!
//! Invariants: a grant that is taken back counts until the tenant's own plan knows of it no more and nothing of it is under way; one whose
//! upgrade has begun is not taken back.

use std::collections::BTreeSet;

use freehold_crds::{Grant, GrantKind, RingStatus};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Advance;
use super::member::{Apart, Member};
use super::replaced;
use super::ring::{Stop, Turn};
use super::target;
use super::wave::{Stand, Wave, blamed, broken_at};
use crate::clock::{soon, stamp};
use crate::concern::maintenance::Hours;

/// A pass that works from an older view has ended after this (its own limit is a minute): a grant that was taken back counts so long.
const LINGERS: SignedDuration = SignedDuration::from_secs(65);

/// Keeps the grants that are still needed, and takes back the others; gives how many tenants of the ring are in flight.
pub fn keep(
    turn: &Turn<'_>,
    status: &RingStatus,
    wave: Option<&Wave<'_>>,
    stop: Option<&Stop>,
    advance: &mut Advance,
) -> usize {
    let mut flying = 0;
    for member in turn.members {
        let grant = turn.held.get(member.uid.as_str());
        let kept = grant.and_then(|grant| kept(turn, status, grant, member, wave, stop, advance));
        if flies(member, kept.as_ref()) {
            flying += 1;
        }
        advance.status.grants.extend(kept);
    }
    flying
}

/// Whether a tenant counts as in flight. One that is stuck, or has waited too long for what it needs, doesn't: it would be in the way of others for
/// as long as it takes somebody to mend it.
fn flies(member: &Member, grant: Option<&Grant>) -> bool {
    let sleeps = member.apart == Some(Apart::Asleep);
    let goes_on = member.stuck.is_none() && !member.unfit;
    match (grant, &member.under_way) {
        (Some(grant), Some(way)) if way.to == grant.release => goes_on,
        (Some(_), _) => true,
        (None, way) => way.is_some() && !sleeps && goes_on,
    }
}

fn kept(
    turn: &Turn<'_>,
    status: &RingStatus,
    grant: &Grant,
    member: &Member,
    wave: Option<&Wave<'_>>,
    stop: Option<&Stop>,
    advance: &mut Advance,
) -> Option<Grant> {
    let mut grant = Grant {
        ring: turn.ring.name.clone(),
        ..grant.clone()
    };
    if member
        .under_way
        .as_ref()
        .is_some_and(|way| way.to == grant.release)
    {
        return Some(grant);
    }
    let is_over = member.failed.contains_key(&grant.release)
        || (member.runs.as_deref() == Some(&grant.release) && member.under_way.is_none());
    if is_over {
        return None;
    }
    let is_open = grant.kind != GrantKind::Wave || matches!(member.hours, Some(Hours::Open { .. }));
    let is_meant = match grant.kind {
        GrantKind::RollBack => blamed(turn, status, member).is_some_and(|way| way.from == grant.release),
        GrantKind::Wave | GrantKind::Emergency => {
            stop.is_none()
                && wave.is_some_and(|wave| {
                    wave.release == grant.release && wave.emergency == (grant.kind == GrantKind::Emergency)
                })
        }
    };
    let goes_on = is_open
        && is_meant
        && member.apart.is_none()
        && (member.down_since.is_none() || grant.kind == GrantKind::RollBack)
        && target::is_given(turn, &grant.release);
    let now = turn.fleet.now;
    match &grant.withdrawn {
        None if goes_on => return Some(grant),
        None => grant.withdrawn = Some(Time(stamp(now))),
        Some(since) => {
            let known = (grant.at.0, grant.release.clone());
            let over = since.0.checked_add(LINGERS).ok();
            if over.is_none_or(|over| over <= now) && member.grant.as_ref() != Some(&known) {
                return None;
            }
        }
    }
    advance.wake_at(soon(now), now);
    Some(grant)
}

/// Gives leave to those that come next, as far as the ring's pace allows; gives how many are in flight then. A release that is gone is given to
/// nobody.
pub fn give(
    turn: &Turn<'_>,
    wave: &Wave<'_>,
    status: &RingStatus,
    flying: usize,
    room: &mut usize,
    advance: &mut Advance,
) -> usize {
    if !target::is_given(turn, wave.release) {
        return flying;
    }
    let canary = usize::try_from(turn.ring.canary).unwrap_or(1).max(1);
    let all_run = wave.canaries_run(&status.canaries);
    let most = turn.ring.max_concurrent.of(wave.part()).unwrap_or(1);
    let limit = if all_run {
        most.min(canary.max(wave.number(Stand::Current)))
    } else {
        most.min(canary)
    };
    let kind = if wave.emergency {
        GrantKind::Emergency
    } else {
        GrantKind::Wave
    };
    let mut flying = flying;
    let known = granted_to(advance);
    for place in &wave.places {
        if flying >= limit || *room == 0 {
            break;
        }
        let is_next = all_run || status.canaries.contains(&place.member.uid);
        if place.stand != Stand::Ready || !is_next || known.contains(&place.member.uid) {
            continue;
        }
        let grant = granted(turn, place.member, wave.release, kind);
        advance.status.grants.push(grant);
        flying += 1;
        *room -= 1;
    }
    flying
}

/// What a release has broken that is halted, or that another one has followed, goes back to what was there before, whatever holds up that other one.
/// Gives how many are in flight then.
pub fn take_back(
    turn: &Turn<'_>,
    status: &RingStatus,
    flying: usize,
    room: &mut usize,
    advance: &mut Advance,
) -> usize {
    let mut flying = flying;
    let known = granted_to(advance);
    let now = turn.fleet.now;
    for member in turn.members {
        let Some((way, broken)) = blamed(turn, status, member).zip(broken_at(member)) else {
            continue;
        };
        if broken > now {
            advance.wake_at(Some(broken), now);
            continue;
        }
        let is_idle = member.apart.is_none() && member.under_way.is_none() && member.stuck.is_none();
        let has_failed = |release: &String| member.failed.contains_key(release);
        let may =
            is_idle && target::is_given(turn, &way.from) && ![&way.from, &way.to].into_iter().any(has_failed);
        if *room == 0 || !may || known.contains(&member.uid) {
            continue;
        }
        let grant = granted(turn, member, &way.from, GrantKind::RollBack);
        advance.status.grants.push(grant);
        flying += 1;
        *room -= 1;
    }
    flying
}

fn granted_to(advance: &Advance) -> BTreeSet<String> {
    let grants = advance.status.grants.iter();
    grants.map(|grant| grant.uid.clone()).collect()
}

fn granted(turn: &Turn<'_>, member: &Member, release: &str, kind: GrantKind) -> Grant {
    Grant {
        tenant: member.name.clone(),
        uid: member.uid.clone(),
        ring: turn.ring.name.clone(),
        release: release.to_owned(),
        digest: replaced::digest(turn, release),
        kind,
        at: Time(stamp(turn.fleet.now)),
        withdrawn: None,
    }
}
