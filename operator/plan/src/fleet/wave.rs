//! How each tenant of a ring stands to a release, in the order in which it comes to them: by a hash of incarnation and release, so that it is
//! another order each time.

use std::collections::BTreeSet;

use freehold_crds::{Grant, RingStatus};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::member::{Apart, Member, Way};
use super::replaced;
use super::ring::{Turn, count};
use super::target;
use crate::concern::maintenance::Hours;
use crate::names::digest;

/// After this a tenant that doesn't serve with a release is broken by it.
const BROKEN: SignedDuration = SignedDuration::from_mins(2);
/// So long after it was verified in a ring, or another one came, a release is blamed for tenants that go down.
const WATCHED: SignedDuration = SignedDuration::from_hours(1);
/// So long tenants that get a release as their first one are waited for.
const INSTALLS: SignedDuration = SignedDuration::from_hours(1);
/// A tenant whose window opens within this may be of the canary.
const SOON: SignedDuration = SignedDuration::from_hours(24);
/// The cursor counts the ring in so many parts.
const PARTS: usize = 10_000;

/// How a tenant stands to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It runs it, and serves.
    Current,
    /// It failed here, is stuck, or broke it afterwards.
    Failed,
    /// It takes no part: asleep, pinned, leaving, not serving or without what an upgrade needs before, stuck with another one, or it gets its first
    /// release, and that is another one or takes too long.
    Apart,
    /// It gets this very release as its first one.
    Installs,
    /// It may begin now.
    Ready,
    /// Its window is shut.
    Waits,
    /// An upgrade is under way.
    Flies,
}

/// One tenant.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    pub member: &'a Member,
    pub stand: Stand,
    order: u64,
    /// Its window opens soon.
    soon: bool,
    why: Option<&'a str>,
}

/// A release on its way through a ring.
#[derive(Clone, Debug)]
pub struct Wave<'a> {
    pub release: &'a str,
    pub emergency: bool,
    /// Whether it is new enough here that a tenant which stops serving is its fault.
    is_watched: bool,
    /// In the order in which they come.
    pub places: Vec<Place<'a>>,
    /// When one that fails is known to be broken.
    pub wake: Option<Timestamp>,
    pub next_window: Option<Timestamp>,
    /// What the release is here.
    digest: Option<String>,
    /// How many have been installing it for too long.
    pub overdue: usize,
}

impl<'a> Wave<'a> {
    pub fn of(turn: &Turn<'a>, release: &'a str, emergency: bool) -> Self {
        let now = turn.fleet.now;
        let installs = installs(turn, release);
        let by_name = |named: &str| {
            let stands = || target::standing(turn) == Some(release);
            named == release || (target::is_newer(turn, Some(release), named) && stands())
        };
        let is_named = !emergency && turn.ring.release.as_deref().is_some_and(by_name);
        let mut wave = Self {
            release,
            emergency,
            is_watched: is_watched(turn, release),
            places: Vec::with_capacity(turn.members.len()),
            wake: None,
            next_window: None,
            digest: replaced::digest(turn, release),
            overdue: 0,
        };
        for member in turn.members {
            let (mut stand, why) = wave.stand(member, installs, now);
            if !is_named && target::is_newer(turn, member.runs.as_deref(), release) {
                // Nobody goes back because others do: it mends more, or its own recall says what becomes of it.
                stand = Stand::Apart;
            }
            if stand == Stand::Waits
                && let Some(Hours::Shut { until: Some(until) }) = member.hours
            {
                wave.next_window = [wave.next_window, Some(until)].into_iter().flatten().min();
            }
            let order = u64::from_str_radix(&digest(&[&member.incarnation, release]), 16);
            wave.places.push(Place {
                member,
                stand,
                order: order.unwrap_or_default(),
                soon: is_soon(member, now) || emergency,
                why,
            });
        }
        wave.places
            .sort_by(|a, b| (a.order, &a.member.name).cmp(&(b.order, &b.member.name)));
        wave
    }

    fn stand(
        &mut self,
        member: &'a Member,
        installs: Option<Timestamp>,
        now: Timestamp,
    ) -> (Stand, Option<&'a str>) {
        let came = member.came.as_ref().is_some_and(|came| came.to == self.release);
        // While its pods aren't all ready nobody can say that it runs; it has it all the same.
        let runs = match member.runs.as_deref() {
            Some(runs) => runs == self.release,
            None => came,
        };
        if let Some(why) = member.failed.get(self.release) {
            return (Stand::Failed, Some(why));
        }
        if member.apart == Some(Apart::Asleep) {
            return (Stand::Apart, None);
        }
        match (&member.under_way, &member.stuck) {
            (Some(way), Some(why)) if way.to == self.release => return (Stand::Failed, Some(why)),
            (Some(_), Some(_)) => return (Stand::Apart, None),
            (Some(_), None) if member.unfit => return (Stand::Apart, None),
            (Some(_), None) => return (Stand::Flies, None),
            (None, _) => {}
        }
        if member.apart.is_some() {
            return (Stand::Apart, None);
        }
        if runs && self.is_other(member) {
            // Neither does it run this one, nor can it get it: its own plan says so.
            return (Stand::Apart, None);
        }
        if runs {
            let broken = broken_at(member).filter(|_| came && self.is_watched);
            return match broken {
                Some(broken) if broken <= now => {
                    (Stand::Failed, Some("it does not serve its users any more"))
                }
                broken => {
                    self.wake = [self.wake, broken].into_iter().flatten().min();
                    (Stand::Current, None)
                }
            };
        }
        if member.down_since.is_some() || member.unfit {
            return (Stand::Apart, None);
        }
        if member.runs.is_none() {
            return (self.installs(installs, now), None);
        }
        let stand = match member.hours {
            _ if self.emergency => Stand::Ready,
            Some(Hours::Open { .. }) => Stand::Ready,
            Some(Hours::Shut { .. }) => Stand::Waits,
            None => Stand::Apart,
        };
        (stand, None)
    }

    /// One that runs nothing yet.
    fn installs(&mut self, until: Option<Timestamp>, now: Timestamp) -> Stand {
        match until {
            None => Stand::Apart,
            Some(until) if until <= now => {
                self.overdue += 1;
                Stand::Apart
            }
            until => {
                self.wake = [self.wake, until].into_iter().flatten().min();
                Stand::Installs
            }
        }
    }

    /// Whether what a tenant has of that name is not what the release is here.
    fn is_other(&self, member: &Member) -> bool {
        matches!((&self.digest, &member.digest), (Some(here), Some(there)) if here != there)
    }

    pub fn number(&self, stand: Stand) -> usize {
        self.places.iter().filter(|place| place.stand == stand).count()
    }

    /// Those that take part.
    pub fn part(&self) -> usize {
        self.places.len() - self.number(Stand::Apart)
    }

    /// Whether nobody is there who could ever have it, or all are kept from it on purpose.
    fn is_left_alone(&self) -> bool {
        let is_kept = |place: &Place<'_>| match place.member.apart {
            // It waits for its first release, as a rule.
            Some(Apart::Invalid) => place.member.runs.is_some(),
            apart => apart.is_some(),
        };
        self.places.iter().all(is_kept)
    }

    /// Whether those that have it say anything of it: where more lack what an upgrade needs the fault is likely the platform's, and passes; where
    /// more can't install it, likely its own.
    fn is_proven(&self) -> bool {
        self.number(Stand::Current) >= (self.unfit() + self.overdue).max(1)
    }

    /// How many are set apart because they lack what an upgrade needs.
    pub fn unfit(&self) -> usize {
        let is_unfit = |place: &&Place<'_>| {
            place.stand == Stand::Apart && place.member.unfit && place.member.apart.is_none()
        };
        self.places.iter().filter(is_unfit).count()
    }

    /// When the first tenants' windows open, where those are all that they wait for.
    pub fn opens(&self, canaries: &[String]) -> Option<Timestamp> {
        let places = || canaries.iter().filter_map(|uid| self.place(uid));
        if !places().all(|place| matches!(place.stand, Stand::Current | Stand::Waits)) {
            return None;
        }
        let waiting = places().filter(|place| place.stand == Stand::Waits);
        waiting.filter_map(|place| place.member.hours?.until()).min()
    }

    pub fn failures(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let failed = self.places.iter().filter(|place| place.stand == Stand::Failed);
        failed.map(|place| (place.member.name.as_str(), place.why.unwrap_or_default()))
    }

    pub fn place(&self, uid: &str) -> Option<&Place<'a>> {
        self.places.iter().find(|place| place.member.uid == uid)
    }

    /// The uids of those that have the release first: those that were chosen, as long as they take part, and others in the places of those
    /// that don't.
    pub fn canaries(&self, turn: &Turn<'_>, chosen: &[String]) -> Vec<String> {
        let many = usize::try_from(turn.ring.canary).unwrap_or(1).max(1);
        let resumes = turn.resumes();
        let stays = |uid: &&String| {
            self.place(uid).is_some_and(|place| {
                place.stand != Stand::Apart && !(resumes && place.stand == Stand::Failed)
            })
        };
        let mut canaries: Vec<String> = chosen.iter().filter(stays).cloned().collect();
        let may = self.places.iter().filter(|place| match place.stand {
            Stand::Current | Stand::Ready | Stand::Flies | Stand::Installs => true,
            Stand::Waits => place.soon,
            Stand::Apart | Stand::Failed => false,
        });
        for place in may {
            if canaries.len() >= many {
                break;
            }
            if !canaries.contains(&place.member.uid) {
                canaries.push(place.member.uid.clone());
            }
        }
        canaries
    }

    /// Whether all of the canary run the release.
    pub fn canaries_run(&self, canaries: &[String]) -> bool {
        canaries
            .iter()
            .filter_map(|uid| self.place(uid))
            .all(|place| place.stand == Stand::Current)
    }

    /// Whether everybody has it who can have it now, and enough have, unless nobody is to have it, or it was verified before.
    pub fn is_rolled(&self, canaries: &[String], verified: bool) -> bool {
        let open = [Stand::Ready, Stand::Flies, Stand::Installs];
        let somebody = verified || self.is_proven() || self.is_left_alone();
        somebody && self.canaries_run(canaries) && open.iter().all(|stand| self.number(*stand) == 0)
    }

    /// How far it has come: behind the last one that has it, tried it, or was given leave.
    pub fn cursor(&self, grants: &[Grant]) -> i32 {
        let granted: BTreeSet<&str> = grants.iter().map(|grant| grant.uid.as_str()).collect();
        let reached = |place: &&Place<'_>| {
            matches!(place.stand, Stand::Current | Stand::Failed | Stand::Flies)
                || granted.contains(place.member.uid.as_str())
        };
        let last = self.places.iter().rposition(|place| reached(&place));
        let come = last.map_or(0, |last| last + 1);
        count((come * PARTS).checked_div(self.places.len()).unwrap_or_default())
    }
}

/// Until when tenants that get a release as their first one are waited for; none where they get another one.
fn installs(turn: &Turn<'_>, release: &str) -> Option<Timestamp> {
    if !turn.verified().is_empty() {
        return None;
    }
    let before = turn
        .before
        .filter(|before| before.release.as_deref() == Some(release));
    let since = before.and_then(|before| before.since.as_ref());
    since
        .map_or(turn.fleet.now, |since| since.0)
        .checked_add(INSTALLS)
        .ok()
}

/// The way on which a tenant came to what is to blame when it doesn't serve: a release that was halted in this ring, or that another one has followed
/// there before anybody knew.
pub fn blamed<'a>(turn: &Turn<'_>, status: &RingStatus, member: &'a Member) -> Option<&'a Way> {
    let came = member.came.as_ref()?;
    let release = Some(came.to.as_str());
    let followed = status
        .since
        .as_ref()
        .filter(|_| status.release.as_deref() != release);
    let is_of_then = |since: &Time| {
        member
            .down_since
            .is_some_and(|down| down.duration_since(since.0) < WATCHED)
    };
    let is_halted = target::is_halted(status, &came.to);
    (is_halted || (is_watched(turn, &came.to) && followed.is_some_and(is_of_then))).then_some(came)
}

/// When it is sure that a tenant that is down doesn't come back by itself.
pub fn broken_at(member: &Member) -> Option<Timestamp> {
    member.down_since?.checked_add(BROKEN).ok()
}

/// A release that has been verified here for a while is no suspect when a tenant goes down: an outage must not halt it.
fn is_watched(turn: &Turn<'_>, release: &str) -> bool {
    let verified = turn.verified();
    let verified = verified.iter().find(|it| it.release == release);
    verified.is_none_or(|it| turn.fleet.now.duration_since(it.at.0) < WATCHED)
}

fn is_soon(member: &Member, now: Timestamp) -> bool {
    match member.hours {
        Some(Hours::Open { .. }) => true,
        Some(Hours::Shut { until: Some(until) }) => until.duration_since(now) <= SOON,
        _ => false,
    }
}
