//! Which release a ring is to have.
//!
//! Invariant: nothing comes into a ring that wasn't verified in the one before, soaked and approved, but for an emergency and what goes back.

use freehold_crds::{Environment, Release, RingStatus, SOAK};
use jiff::{SignedDuration, Timestamp};
use semver::Version;

use super::approvals::{self, Word};
use super::ring::Turn;
use super::{Refused, replaced};

/// The word for an emergency that doesn't come.
pub const EMERGENCY: &str = "EmergencyRefused";

/// The release that a ring is to have, and what a later one waits for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target<'a> {
    pub release: Option<&'a str>,
    /// It comes by the emergency path.
    pub emergency: bool,
    /// What another one waits for, in words.
    pub waits: Option<String>,
    /// When that may be over.
    pub wake: Option<Timestamp>,
    /// What somebody has asked for here, and is not done.
    pub refused: Option<Refused>,
}

pub fn target<'a>(turn: &Turn<'a>) -> Target<'a> {
    let has = turn.has();
    let keeps = Target {
        release: has,
        ..Target::default()
    };
    let Some(emergency) = &turn.fleet.channel.spec.emergency else {
        return usual(turn, keeps);
    };
    let name = emergency.release.as_str();
    let Some(why) = refusal(turn, name) else {
        return if is_urgent(turn, has, name) {
            Target {
                release: Some(name),
                emergency: true,
                ..Target::default()
            }
        } else {
            usual(turn, keeps)
        };
    };
    // One that is gone says nothing of how old it is.
    let is_missed = published(turn, name).is_none() || is_urgent(turn, has, name);
    let refused = is_missed.then(|| Refused {
        reason: EMERGENCY,
        message: format!(
            "the emergency does not come into the ring {}: {why}",
            turn.ring.name
        ),
    });
    let usual = usual(turn, keeps);
    Target {
        refused: refused.or(usual.refused),
        ..usual
    }
}

/// Without an emergency that has yet to come.
fn usual<'a>(turn: &Turn<'a>, keeps: Target<'a>) -> Target<'a> {
    let has = keeps.release;
    if let Some(named) = &turn.ring.release {
        return by_name(turn, named, keeps);
    }
    if !turn.ring.auto_promote {
        return keeps;
    }
    let mut candidates = candidates(turn);
    candidates.retain(|name| has.is_none_or(|has| is_newer(turn, Some(name), has)));
    candidates.sort_by_key(|name| std::cmp::Reverse(version(turn, name)));
    // The newest that may come in; what newer ones wait for is told.
    let mut told = Target {
        waits: again(turn, has),
        ..keeps
    };
    for name in candidates {
        let entered = enter(turn, name, told.clone());
        if entered.release == Some(name) {
            return Target {
                wake: told.wake,
                ..entered
            };
        }
        told = Target {
            waits: told.waits.or(entered.waits),
            wake: [told.wake, entered.wake].into_iter().flatten().min(),
            ..told
        };
    }
    told
}

/// The release that the ring's spec names, if it may come.
fn by_name<'a>(turn: &Turn<'a>, named: &str, keeps: Target<'a>) -> Target<'a> {
    let Some((name, release)) = published(turn, named) else {
        return Target {
            waits: Some(format!(
                "the Release {named}, which does not exist, or is of another product"
            )),
            ..keeps
        };
    };
    if let Some(hotfix) = standing(turn).filter(|hotfix| is_newer(turn, Some(hotfix), name)) {
        return Target {
            release: Some(hotfix),
            waits: Some(format!(
                "another release than {name}, which is older than the emergency's: name {hotfix} or a newer one in release before the emergency \
                 is taken out"
            )),
            ..Target::default()
        };
    }
    if let Some(why) = too_early(turn, name) {
        return Target {
            waits: Some(format!("another release: {why}")),
            refused: Some(Refused {
                reason: "ReleaseRefused",
                message: format!("{}: {why}", turn.ring.name),
            }),
            ..keeps
        };
    }
    match keeps.release {
        Some(has) if name == has => keeps,
        _ if turn.replaced.contains(name) => Target {
            waits: Some(format!("another release: {}", replaced::told(name))),
            ..keeps
        },
        _ if release.spec.recall.is_some() => Target {
            waits: Some(format!("another release than {name}, which was recalled")),
            ..keeps
        },
        // What is older goes back at once: somebody says so.
        Some(has) if !is_newer(turn, Some(name), has) => Target {
            release: Some(name),
            ..Target::default()
        },
        _ => enter(turn, name, keeps),
    }
}

/// What is newer than what a ring has, and isn't what the channel knows.
fn again(turn: &Turn<'_>, has: Option<&str>) -> Option<String> {
    let replaced = turn.replaced.iter().copied();
    let newer = replaced.filter(|name| has.is_none_or(|has| is_newer(turn, Some(name), has)));
    let newest = newer.max_by_key(|name| version(turn, name))?;
    Some(format!("another release: {}", replaced::told(newest)))
}

/// The emergency's release, as long as that stands and may come here: what is older doesn't take its place.
pub fn standing<'a>(turn: &Turn<'a>) -> Option<&'a str> {
    let emergency = turn.fleet.channel.spec.emergency.as_ref()?;
    good(turn, &emergency.release)
}

/// Whether an emergency has yet to come to a ring: neither it nor anything newer was verified there.
fn is_urgent(turn: &Turn<'_>, has: Option<&str>, name: &str) -> bool {
    let verified = turn.verified();
    let is_there = verified.iter().any(|it| it.release == name);
    let is_past =
        has.is_some_and(|has| is_newer(turn, Some(has), name) && verified.iter().any(|it| it.release == has));
    !is_there && !is_past
}

/// Those that might come into a ring by themselves.
fn candidates<'a>(turn: &Turn<'a>) -> Vec<&'a str> {
    match turn.earlier.last() {
        None => {
            let all = turn.fleet.releases.keys();
            all.filter_map(|name| good(turn, name)).collect()
        }
        Some(earlier) => {
            let verified = earlier.verified.iter();
            verified.filter_map(|it| good(turn, &it.release)).collect()
        }
    }
}

/// Lets a release in, if it may come.
fn enter<'a>(turn: &Turn<'a>, name: &'a str, keeps: Target<'a>) -> Target<'a> {
    let waits = |what: String, wake| Target {
        waits: Some(what),
        wake,
        ..keeps.clone()
    };
    if let Some(why) = halted_before(turn, name) {
        return waits(format!("another release, or a word in resume there: {why}"), None);
    }
    if let Some(earlier) = turn.earlier.last() {
        let Some(verified) = earlier.verified.iter().find(|it| it.release == name) else {
            let before = &earlier.name;
            return waits(format!("{name} to be verified in the ring {before}"), None);
        };
        let soak = turn.ring.soak.within(*SOAK.start(), *SOAK.end());
        let soak = soak.unwrap_or(*SOAK.end());
        let soaked = SignedDuration::try_from(soak)
            .ok()
            .and_then(|soak| verified.at.0.checked_add(soak).ok());
        match soaked {
            Some(soaked) if soaked <= turn.fleet.now => {}
            soaked => {
                let until = soaked.map_or_else(|| "for ever".to_owned(), |until| format!("until {until}"));
                return waits(format!("{name} soaks {until}"), soaked);
            }
        }
    }
    if let Some(required) = &turn.ring.approval {
        match approvals::word(turn.fleet, &turn.ring.name, None, name, required) {
            Word::Given => {}
            Word::Waits(what) => return waits(what, None),
            Word::Rejected(by) => {
                return waits(
                    format!("another release than {name}, which {by} has rejected"),
                    None,
                );
            }
        }
    }
    Target {
        release: Some(name),
        ..Target::default()
    }
}

/// A release that may be given to anybody here.
fn good<'a>(turn: &Turn<'a>, name: &str) -> Option<&'a str> {
    let (name, _) = published(turn, name)?;
    refusal(turn, name).is_none().then_some(name)
}

/// Why a release may be given to nobody here; none when it may.
fn refusal(turn: &Turn<'_>, name: &str) -> Option<String> {
    let Some((name, release)) = published(turn, name) else {
        return Some(format!(
            "the Release {name} does not exist, or is of another product"
        ));
    };
    if let Some(recall) = &release.spec.recall {
        return Some(format!("{name} was recalled: {}", recall.reason));
    }
    if turn.replaced.contains(name) {
        return Some(replaced::told(name));
    }
    if version(turn, name).is_none() {
        return Some(format!("{name} has no strict semantic version"));
    }
    let halted = || {
        let mut halted = turn.before.filter(|_| !turn.resumes())?.halted.iter();
        let halt = halted.find(|halt| halt.release == name)?;
        Some(format!("{name} is halted there: {}", halt.message))
    };
    too_early(turn, name).or_else(halted)
}

/// Whether a release may still be given to tenants: it exists, wasn't recalled, is what the channel knows under its name, and is no preview where
/// none may come.
pub fn is_given(turn: &Turn<'_>, name: &str) -> bool {
    is_published(turn, name) && !turn.replaced.contains(name) && too_early(turn, name).is_none()
}

/// Whether it exists and wasn't recalled, whatever it is.
pub fn is_published(turn: &Turn<'_>, name: &str) -> bool {
    published(turn, name).is_some_and(|(_, release)| release.spec.recall.is_none())
}

fn published<'a>(turn: &Turn<'a>, name: &str) -> Option<(&'a str, &'a Release)> {
    let releases = turn.fleet.releases;
    let (name, release) = releases.get_key_value(name)?;
    (release.spec.product == turn.fleet.channel.spec.product).then_some((name.as_str(), release.as_ref()))
}

/// Why what was halted in an earlier ring goes no further here; none for an emergency, and where somebody goes back to what was verified here.
pub fn halted_before(turn: &Turn<'_>, release: &str) -> Option<String> {
    let is_named = turn.ring.release.as_deref() == Some(release);
    let goes_back = is_named && turn.verified().iter().any(|it| it.release == release);
    if goes_back || standing(turn) == Some(release) {
        return None;
    }
    let of = |ring: &RingStatus| {
        let halt = ring.halted.iter().find(|halt| halt.release == release)?;
        Some(format!(
            "{release} is halted in the ring {}: {}",
            ring.name, halt.message
        ))
    };
    turn.earlier.iter().find_map(of)
}

/// Why a preview may not come here, whoever names it; none when it may, or is none.
pub fn too_early(turn: &Turn<'_>, name: &str) -> Option<String> {
    let is_preview = turn
        .fleet
        .releases
        .get(name)
        .is_some_and(|release| is_preview(release));
    let environments = &turn.ring.tenants.environments;
    let tries = !environments.is_empty() && environments.iter().copied().all(takes_previews);
    (is_preview && !tries).then(|| {
        format!("{name} is a pre-release, which comes only where every environment of the ring is Development or Testing")
    })
}

pub fn is_preview(release: &Release) -> bool {
    Version::parse(&release.spec.version).is_ok_and(|version| !version.pre.is_empty())
}

/// Previews come to those only who try things out.
pub fn takes_previews(environment: Environment) -> bool {
    matches!(environment, Environment::Development | Environment::Testing)
}

pub fn is_halted(status: &RingStatus, release: &str) -> bool {
    status.halted.iter().any(|halt| halt.release == release)
}

fn version(turn: &Turn<'_>, name: &str) -> Option<Version> {
    Version::parse(&turn.fleet.releases.get(name)?.spec.version).ok()
}

/// Whether one release is newer than another. One that is gone is older than all.
pub fn is_newer(turn: &Turn<'_>, one: Option<&str>, than: &str) -> bool {
    one.is_some_and(|one| version(turn, one) > version(turn, than))
}
