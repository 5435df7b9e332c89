//! One ring, one step further: its release, its wave, its gates.

use std::collections::{BTreeMap, BTreeSet};

use freehold_crds::{
    Failure, Freeze, Grant, Halt, Ring, RingPhase, RingStatus, SOAK, Verdict, VerifiedRelease,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::member::Member;
use super::target::{self, Target};
use super::wave::{Stand, Wave};
use super::{Advance, Fleet, gates, grants, replaced};
use crate::clock::stamp;
use crate::outcome::Event;

/// How many halts and verified releases are remembered, and failures told.
const REMEMBERED: usize = 8;
const TOLD: usize = 20;
/// The longest message in a list.
const SHORT: usize = 200;

/// What a ring is decided by.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    pub fleet: &'a Fleet<'a>,
    pub ring: &'a Ring,
    pub members: &'a [&'a Member],
    /// How it was.
    pub before: Option<&'a RingStatus>,
    /// How those before it are now.
    pub earlier: &'a [RingStatus],
    /// The one after it.
    pub next: Option<&'a Ring>,
    /// The grants that were there, by their tenants' uids.
    pub held: &'a BTreeMap<&'a str, &'a Grant>,
    /// The releases that aren't what the channel knows under their names.
    pub replaced: &'a BTreeSet<&'a str>,
}

impl<'a> Turn<'a> {
    /// The release that the ring has: one that was recalled it has no more.
    pub fn has(&self) -> Option<&'a str> {
        let before = self.before?;
        let has = before.release.as_deref()?;
        if target::is_published(self, has) || !self.fleet.releases.contains_key(has) {
            return Some(has);
        }
        self.verified().first().map(|it| it.release.as_str())
    }

    /// What was verified here, and may still be given.
    pub fn verified(&self) -> Vec<&'a VerifiedRelease> {
        let verified = self.before.into_iter().flat_map(|before| &before.verified);
        verified
            .filter(|it| target::is_given(self, &it.release))
            .collect()
    }

    /// The one of those that were verified which new tenants get.
    fn stable(&self, verified: &[VerifiedRelease]) -> Option<String> {
        let mut verified = verified.iter();
        let may = |it: &&VerifiedRelease| {
            target::is_given(self, &it.release) && target::halted_before(self, &it.release).is_none()
        };
        let stable = verified.find(may);
        stable.map(|it| it.release.clone())
    }

    /// Somebody lets it go on after a halt.
    pub fn resumes(&self) -> bool {
        self.before
            .is_some_and(|before| self.ring.resume.is_some() && self.ring.resume != before.resumed)
    }

    fn now(&self) -> Time {
        Time(stamp(self.fleet.now))
    }
}

/// Why nobody of a ring may begin now.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    Paused(String),
    Frozen(String),
    Halted(String),
    /// It isn't what came in.
    Replaced(String),
    Nothing,
}

pub fn advance(turn: &Turn<'_>, room: &mut usize, advance: &mut Advance) -> RingStatus {
    let now = turn.fleet.now;
    let target = target::target(turn);
    advance.wake_at(target.wake, now);
    advance.refused.extend(target.refused.clone());
    advance.in_emergency |= target.emergency;
    let mut status = taken_over(turn, &target);
    let Some(release) = target.release else {
        grants::keep(turn, &status, None, Some(&Stop::Nothing), advance);
        status.phase = RingPhase::Empty;
        status.tenants = count(turn.members.len());
        status.message = match target.waits {
            Some(waits) => format!("waits for {waits}"),
            None => "no release has come so far".to_owned(),
        };
        return status;
    };
    let wave = Wave::of(turn, release, target.emergency);
    advance.wake_at(wave.wake, now);
    status.canaries = wave.canaries(turn, &status.canaries);
    told(&wave, &mut status);
    judge(turn, &wave, &mut status, advance);
    let mut stop = stopped(turn, &target, &status, advance);
    let (given, cursor) = {
        let kept = grants::keep(turn, &status, Some(&wave), stop.as_ref(), advance);
        let back = grants::take_back(turn, &status, kept, room, advance);
        let given = match stop {
            None => grants::give(turn, &wave, &status, back, room, advance),
            Some(_) => back,
        };
        (given, wave.cursor(&advance.status.grants))
    };
    status.cursor = status.cursor.max(cursor);
    status.in_flight = count(given);
    let verified = status.verified.iter().any(|it| it.release == release);
    let is_rolled = stop.is_none() && given == 0 && wave.is_rolled(&status.canaries, verified);
    if is_rolled {
        gates::go_through(turn, &wave, &mut status);
        if let Some(gate) = status.gates.iter().find(|gate| gate.verdict == Verdict::Failed) {
            let why = format!(
                "the gate {}: {}",
                gate.name,
                gate.message.as_deref().unwrap_or("failed")
            );
            halt(turn, release, why, &mut status, advance);
            stop = halted(&status, release);
        }
    }
    finish(turn, &target, release, stop, is_rolled, &wave, status, advance)
}

/// What stays of how a ring was, and what begins anew with another release.
fn taken_over(turn: &Turn<'_>, target: &Target<'_>) -> RingStatus {
    let none = RingStatus::default();
    let before = turn.before.unwrap_or(&none);
    let resumes = turn.resumes();
    let mut status = RingStatus {
        name: turn.ring.name.clone(),
        release: target.release.map(str::to_owned),
        digest: target.release.and_then(|release| replaced::digest(turn, release)),
        verified: replaced::remembered(turn),
        halted: before.halted.clone(),
        resumed: turn.ring.resume.clone(),
        ..RingStatus::default()
    };
    status.stable = turn.stable(&status.verified);
    if resumes {
        status
            .halted
            .retain(|halt| Some(halt.release.as_str()) != target.release);
    }
    if before.release.as_deref() == target.release {
        status.since.clone_from(&before.since);
        status.canaries.clone_from(&before.canaries);
        status.cursor = before.cursor;
        status.gates.clone_from(&before.gates);
        status.forgiven = if resumes { before.failed } else { before.forgiven };
        if resumes {
            gates::again(&mut status.gates);
        }
    } else {
        status.since = target.release.map(|_| turn.now());
    }
    status
}

fn told(wave: &Wave<'_>, status: &mut RingStatus) {
    status.tenants = count(wave.places.len());
    status.current = count(wave.number(Stand::Current));
    status.waiting = count(wave.number(Stand::Waits));
    status.failed = count(wave.number(Stand::Failed));
    status.apart = count(wave.number(Stand::Apart));
    status.next_window = wave.next_window.map(Time);
    status.failures = wave
        .failures()
        .take(TOLD)
        .map(|(tenant, why)| Failure {
            tenant: tenant.to_owned(),
            message: short(why),
        })
        .collect();
}

/// Halts a release that fails too often.
fn judge(turn: &Turn<'_>, wave: &Wave<'_>, status: &mut RingStatus, advance: &mut Advance) {
    let failed = wave.number(Stand::Failed);
    // Those that came to it after all are not forgiven for others.
    status.forgiven = status.forgiven.min(count(failed));
    let forgiven = usize::try_from(status.forgiven).unwrap_or_default();
    let anew = failed.saturating_sub(forgiven);
    if anew == 0 || target::is_halted(status, wave.release) {
        return;
    }
    let tried = wave.number(Stand::Current) + failed;
    let is_canary = |name: &&str| {
        let mut canaries = wave
            .places
            .iter()
            .filter(|place| status.canaries.contains(&place.member.uid));
        canaries.any(|place| place.member.name == **name)
    };
    let many = match &turn.ring.failure_threshold {
        freehold_crds::Share::Number(_) => turn.ring.failure_threshold.of(tried).unwrap_or(1),
        freehold_crds::Share::Percent(_) => turn.ring.failure_threshold.of(tried).unwrap_or(1).max(2),
    };
    let first = wave.failures().map(|(name, why)| (name, why.to_owned())).next();
    let Some((name, why)) = first else { return };
    let canary = wave.failures().map(|(name, _)| name).find(|name| is_canary(name));
    let why = match canary {
        Some(canary) => format!("it failed for {canary} of the canary: {why}"),
        None if anew >= many => format!("it failed for {anew} of {tried} tenants, {name} the first: {why}"),
        None => return,
    };
    halt(turn, wave.release, why, status, advance);
}

fn halt(turn: &Turn<'_>, release: &str, why: String, status: &mut RingStatus, advance: &mut Advance) {
    advance.events.push(Event {
        warning: true,
        reason: "ReleaseHalted".to_owned(),
        message: format!("{release} is halted in the ring {}: {why}", turn.ring.name),
    });
    status.halted.insert(
        0,
        Halt {
            release: release.to_owned(),
            at: turn.now(),
            message: short(&why),
        },
    );
    status.halted.truncate(REMEMBERED);
    // Nobody else is to take it for good.
    status.verified.retain(|it| it.release != release);
    status.stable = turn.stable(&status.verified);
}

fn halted(status: &RingStatus, release: &str) -> Option<Stop> {
    let halt = status.halted.iter().find(|halt| halt.release == release)?;
    Some(Stop::Halted(halt.message.clone()))
}

fn stopped(turn: &Turn<'_>, target: &Target<'_>, status: &RingStatus, advance: &mut Advance) -> Option<Stop> {
    let release = target.release?;
    if let Some(halted) = halted(status, release) {
        return Some(halted);
    }
    if turn.replaced.contains(release) {
        return Some(Stop::Replaced(replaced::told(release)));
    }
    // The ring was for others when it came in.
    if let Some(why) = target::too_early(turn, release) {
        return Some(Stop::Paused(why));
    }
    if let Some(why) = target::halted_before(turn, release) {
        return Some(Stop::Paused(why));
    }
    let spec = &turn.fleet.channel.spec;
    if spec.paused {
        return Some(Stop::Paused("the channel is paused".to_owned()));
    }
    if turn.ring.paused {
        return Some(Stop::Paused("the ring is paused".to_owned()));
    }
    let freezes = || spec.freezes.iter().chain(&turn.ring.freezes);
    let now = turn.fleet.now;
    for freeze in freezes() {
        advance.wake_at(Some(freeze.from.0), now);
        advance.wake_at(Some(freeze.until.0), now);
    }
    let is_on = |freeze: &&Freeze| freeze.from.0 <= now && now < freeze.until.0;
    let until: Option<(&Freeze, Timestamp)> = freezes()
        .filter(is_on)
        .map(|freeze| (freeze, freeze.until.0))
        .max_by_key(|(_, until)| *until);
    let (freeze, until) = until.filter(|_| !target.emergency)?;
    Some(Stop::Frozen(format!("frozen until {until}: {}", freeze.reason)))
}

#[allow(
    clippy::too_many_arguments,
    reason = "what was found out about one ring, put together"
)]
fn finish(
    turn: &Turn<'_>,
    target: &Target<'_>,
    release: &str,
    stop: Option<Stop>,
    is_rolled: bool,
    wave: &Wave<'_>,
    mut status: RingStatus,
    advance: &mut Advance,
) -> RingStatus {
    let open = status.gates.iter().find(|gate| gate.verdict != Verdict::Passed);
    let (phase, message) = match (stop, open) {
        (Some(Stop::Halted(why)), _) => (RingPhase::Halted, format!("{release} is halted: {why}")),
        (Some(Stop::Replaced(why)), _) => (RingPhase::Halted, why),
        (Some(Stop::Paused(why)), _) => (RingPhase::Paused, why),
        (Some(Stop::Frozen(why)), _) => (RingPhase::Frozen, why),
        (Some(Stop::Nothing), _) => (RingPhase::Empty, String::new()),
        (None, Some(gate)) if is_rolled && gate.verdict == Verdict::Inconclusive => (
            RingPhase::Paused,
            format!(
                "the gate {} can't tell: {}; {}",
                gate.name,
                gate.message.as_deref().unwrap_or("no result"),
                if gates::had_nobody(gate) {
                    "it is tried as soon as one does"
                } else {
                    "a new word in resume tries again"
                }
            ),
        ),
        (None, Some(gate)) if is_rolled => (
            RingPhase::Verifying,
            format!(
                "waits for the gate {}: {}",
                gate.name,
                gate.message.as_deref().unwrap_or("it runs")
            ),
        ),
        (None, _) if is_rolled => {
            let mut known = status.verified.iter();
            let known = known.find(|it| it.release == release || target::is_given(turn, &it.release));
            if known.is_none_or(|it| it.release != release) {
                status.verified.retain(|it| it.release != release);
                status.verified.insert(
                    0,
                    VerifiedRelease {
                        release: release.to_owned(),
                        digest: status.digest.clone(),
                        at: turn.now(),
                    },
                );
                forget(turn, &mut status.verified);
                status.stable = Some(release.to_owned());
                advance.events.push(Event {
                    warning: false,
                    reason: "ReleaseVerified".to_owned(),
                    message: format!("{release} is verified in the ring {}", turn.ring.name),
                });
            }
            (RingPhase::Verified, format!("{release} is verified"))
        }
        (None, _) if !wave.canaries_run(&status.canaries) => {
            let mut message = format!("{release} comes to its first tenants");
            if let Some(opens) = wave.opens(&status.canaries) {
                advance.shut.insert(turn.ring.name.clone());
                message = format!("{message} when a window opens, at {opens}");
            }
            (RingPhase::Canary, message)
        }
        (None, _) if wave.part() == 0 => (
            RingPhase::Rolling,
            format!(
                "{release} waits for a tenant that is well: all {} are set apart",
                wave.places.len()
            ),
        ),
        (None, _) => {
            let mut message = format!("{release} comes to all tenants");
            if wave.unfit() > 0 {
                message = format!("{message}; {} lack what an upgrade needs", wave.unfit());
            }
            if wave.overdue > 0 {
                message = format!(
                    "{message}; {} have been installing it for over an hour",
                    wave.overdue
                );
            }
            (RingPhase::Rolling, message)
        }
    };
    status.phase = phase;
    status.message = match &target.waits {
        Some(waits) => format!("{message}; waits for {waits}"),
        None => message,
    };
    status
}

/// Of those that have soaked for the next ring the newest are enough; then those go that have come close upon one another, or none would ever
/// have soaked.
fn forget(turn: &Turn<'_>, verified: &mut Vec<VerifiedRelease>) {
    const KEPT: usize = 16;
    let soak = turn.next.map(|next| next.soak.within(*SOAK.start(), *SOAK.end()));
    let soak = soak
        .flatten()
        .and_then(|soak| SignedDuration::try_from(soak).ok());
    let soak = soak.unwrap_or(SignedDuration::ZERO);
    while verified.len() > KEPT {
        let soaked = verified
            .iter()
            .filter(|it| turn.fleet.now.duration_since(it.at.0) >= soak);
        if soaked.count() > 2 {
            verified.pop();
        } else {
            verified.remove(1);
        }
    }
}

pub fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn short(text: &str) -> String {
    text.chars().take(SHORT).collect()
}
