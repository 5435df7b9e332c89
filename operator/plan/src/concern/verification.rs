//! Whether the isolation holds, tried by packets: short-lived pods with each tier's labels, but outside of its Services,
//! try to reach what no tenant may reach; an unrestricted one must reach the same targets in the same run.
//!
//! In: the policies, what the pods told, the record of the last run. Out: the pods of a run, the record, the condition. A run
//! stands in the record before its first pod; what was found stands there after its last. Invariant: True needs that every
//! pod told that everything was blocked and that the unrestricted one reached it all; one that got through is False; all
//! else is Unknown.

mod pods;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Scene, workload};
use crate::clock::{jitter, soon, stamp};
use crate::input::Verification;
use crate::names::{ISOLATION, digest};
use crate::object::Object;
use crate::outcome::{Finding, Outcome, Wait};
use crate::seen::Facts;
pub use pods::places;
use pods::{CONTROL, pods, probe, targets};

pub const TOPIC: &str = "IsolationVerified";
/// A run that takes longer is given up.
const PATIENCE: SignedDuration = SignedDuration::from_secs(120);
/// When a run that found a hole is repeated; one that proved nothing, after twice as long each time.
const AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// What stands in the ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Log {
    /// The run that is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<Run>,
    /// The last one that is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Last>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    started_at: Timestamp,
    /// Digest of the policies that are tried.
    policies: String,
    /// The address of another tenant's database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    neighbour: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Last {
    at: Timestamp,
    policies: String,
    /// None when nothing was proved.
    isolated: Option<bool>,
    /// How many runs in a row proved nothing.
    #[serde(default)]
    doubtful: u32,
    /// Whether there was another tenant to be tried.
    #[serde(default)]
    neighbour: bool,
    /// In words.
    message: String,
    /// By place and target: reached or blocked.
    found: BTreeMap<String, BTreeMap<String, String>>,
}

/// One line of what a pod tells, as `freehold probe` writes it.
#[derive(Debug, Deserialize)]
struct Told {
    target: String,
    /// None when not even an address was found.
    reached: Option<bool>,
}

/// `wanted` are the policies that are tried.
pub fn plan(scene: Scene<'_>, wanted: &[&Object]) -> Outcome {
    let Some(config) = &scene.input.config.verification else {
        let message = "the operator was started without an image for it";
        return Outcome {
            findings: vec![Finding::aside(TOPIC, None, "NotConfigured", message)],
            ..Outcome::default()
        };
    };
    let log = scene.recorded::<Log>(ISOLATION);
    let policies = policies(wanted);
    let mut outcome = Outcome::default();
    let mut next = log.clone();
    match &log.run {
        Some(run) => {
            let until = run.started_at.checked_add(PATIENCE).unwrap_or(Timestamp::MAX);
            let told = told(&scene, config, run);
            if told.values().all(Option::is_some) || scene.input.now >= until {
                let doubtful = log.last.as_ref().map_or(0, |last| last.doubtful);
                next.last = Some(judge(&scene, config, run, &told, doubtful));
                next.run = None;
            } else {
                // A pod is immutable: one that is there is left as it is.
                let (there, missing): (Vec<Object>, _) = pods(&scene, config, run)
                    .into_iter()
                    .partition(|pod| scene.input.observed.objects.contains_key(&pod.id));
                outcome.keep.extend(there.into_iter().map(|pod| pod.id));
                outcome.objects.extend(missing);
                outcome.wake_at(Some(until));
            }
        }
        None => match due(&scene, config, log.last.as_ref(), &policies) {
            Some(at) if at <= scene.input.now => {
                next.run = may_run(&scene, wanted).then(|| Run {
                    started_at: stamp(scene.input.now),
                    policies: policies.clone(),
                    neighbour: scene
                        .input
                        .observed
                        .neighbour
                        .as_ref()
                        .map(|other| other.address.clone()),
                });
            }
            later => outcome.wake_at(later),
        },
    }
    if next != log {
        outcome.wake_at(soon(scene.input.now));
    }
    if next != Log::default() {
        outcome.objects.push(scene.record(ISOLATION, &next));
    }
    report(&scene, config, &next, &policies, &mut outcome);
    outcome
}

/// When the next run is due; at once when there was none, or when the policies are others now.
fn due(scene: &Scene<'_>, config: &Verification, last: Option<&Last>, policies: &str) -> Option<Timestamp> {
    // One that was alone in the cluster is tried when another comes.
    let company = scene.input.observed.neighbour.is_some();
    let Some(last) = last.filter(|last| last.policies == policies && last.neighbour >= company) else {
        return Some(Timestamp::MIN);
    };
    let every = match last.isolated {
        Some(true) => config.every,
        Some(false) => AGAIN.min(config.every),
        None => (AGAIN * (1 << last.doubtful.saturating_sub(1).min(10))).min(config.every),
    };
    // Up to a tenth earlier.
    let early = jitter(&[scene.model.uid, TOPIC], every.as_secs() / 10);
    last.at.checked_add(every - early).ok()
}

/// Not before the tenant serves: its own start comes first, and policies that are being written prove nothing.
fn may_run(scene: &Scene<'_>, wanted: &[&Object]) -> bool {
    let observed = &scene.input.observed.objects;
    let stands = |object: &&Object| {
        observed
            .get(&object.id)
            .is_some_and(|seen| object.is_settled(&seen.live))
    };
    !scene.model.suspended && workload::serves(scene.input, Some(scene.model)) && wanted.iter().all(stands)
}

fn policies(wanted: &[&Object]) -> String {
    let bodies: Vec<String> = wanted.iter().map(|object| object.body.to_string()).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    digest(&bodies)
}

/// What each pod of a run told, if it did.
fn told(
    scene: &Scene<'_>,
    config: &Verification,
    run: &Run,
) -> BTreeMap<String, Option<BTreeMap<String, Option<bool>>>> {
    let mut names: Vec<&str> = places(scene, config).iter().map(|place| place.name).collect();
    names.push(CONTROL);
    let word = |name: &str| {
        let id = probe(scene, config, run, name);
        let seen = scene.input.observed.objects.get(&id)?;
        match &seen.facts {
            Facts::Pod {
                over: true,
                told: Some(text),
                ..
            } => {
                let lines: Vec<Told> = serde_json::from_str(text).unwrap_or_default();
                Some(
                    lines
                        .into_iter()
                        .map(|line| (line.target, line.reached))
                        .collect(),
                )
            }
            // It ended without a word: it will say nothing more.
            Facts::Pod {
                over: true,
                told: None,
                ..
            } => Some(BTreeMap::new()),
            _ => None,
        }
    };
    names
        .into_iter()
        .map(|name| (name.to_owned(), word(name)))
        .collect()
}

fn judge(
    scene: &Scene<'_>,
    config: &Verification,
    run: &Run,
    told: &BTreeMap<String, Option<BTreeMap<String, Option<bool>>>>,
    doubtful: u32,
) -> Last {
    let targets = targets(scene, config, run);
    let reached = |place: &str, what: &str| told.get(place)?.as_ref()?.get(what).copied().flatten();
    let mut holes = Vec::new();
    let mut doubts = Vec::new();
    for place in places(scene, config) {
        for (what, _) in targets.iter().filter(|(what, _)| place.forbidden.contains(what)) {
            match reached(place.name, what) {
                Some(true) => holes.push(format!("the tier {} reaches {what}", place.name)),
                Some(false) => {}
                None => doubts.push(format!("the tier {} did not tell about {what}", place.name)),
            }
        }
    }
    for (what, _) in &targets {
        match reached(CONTROL, what) {
            Some(true) => {}
            Some(false) => doubts.push(format!("the unrestricted pod does not reach {what} either")),
            None => doubts.push(format!("the unrestricted pod did not tell about {what}")),
        }
    }
    let (isolated, message) = if !holes.is_empty() {
        (Some(false), holes.join("; "))
    } else if !doubts.is_empty() {
        (None, doubts.join("; "))
    } else {
        let names: Vec<&str> = targets.iter().map(|(what, _)| *what).collect();
        (Some(true), format!("no tier reaches {}", names.join(", ")))
    };
    let word = |reached: &Option<bool>| {
        match reached {
            Some(true) => "reached",
            Some(false) => "blocked",
            None => "not found",
        }
        .to_owned()
    };
    let found = told.iter().map(|(place, found)| {
        let found = found
            .iter()
            .flatten()
            .map(|(what, reached)| (what.clone(), word(reached)));
        (place.clone(), found.collect())
    });
    Last {
        at: stamp(scene.input.now),
        policies: run.policies.clone(),
        isolated,
        doubtful: if isolated.is_none() {
            doubtful.saturating_add(1)
        } else {
            0
        },
        neighbour: run.neighbour.is_some(),
        message,
        found: found.collect(),
    }
}

fn report(scene: &Scene<'_>, config: &Verification, log: &Log, policies: &str, outcome: &mut Outcome) {
    let Some(last) = &log.last else {
        let message = "the first verification follows when the tenant serves";
        outcome
            .findings
            .push(Finding::aside(TOPIC, None, "NotYetVerified", message));
        return;
    };
    let at = last.at;
    // Twice the time: a tenant that sleeps, or whose verification never comes to pass, is not verified for ever.
    let stale = at.checked_add(config.every * 2).unwrap_or(Timestamp::MAX);
    if last.isolated == Some(true) {
        outcome.wake_at(Some(stale).filter(|stale| *stale > scene.input.now));
    }
    outcome.findings.push(match last.isolated {
        Some(true) if last.policies != policies => {
            let message = format!("the policies are others since {at}; they are verified when the tenant serves");
            Finding::aside(TOPIC, None, "Outdated", message)
        }
        Some(true) if stale <= scene.input.now => {
            let message = format!("verified last at {at}, and not since; it follows when the tenant serves");
            Finding::aside(TOPIC, None, "Outdated", message)
        }
        Some(true) => {
            let alone = if last.neighbour { "" } else { " (no other tenant was there to be tried)" };
            let message = format!("at {at}: {}{alone}", last.message);
            Finding::aside(TOPIC, Some(true), "Verified", message)
        }
        None => Finding::aside(TOPIC, None, "Inconclusive", format!("at {at}: {}", last.message)),
        Some(false) => {
            outcome.waits.push(Wait {
                reason: "IsolationBroken",
                message: format!("at {at}: {}", last.message),
                unblocked_by: "use a network plug-in that enforces NetworkPolicies in both directions; tried again every 10 \
                               minutes, and after each change of the policies"
                    .to_owned(),
                stalls: true,
            });
            Finding::aside(TOPIC, Some(false), "IsolationBroken", format!("at {at}: {}", last.message))
        }
    });
}
