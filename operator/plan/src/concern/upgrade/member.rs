//! A tenant as its channel sees it, from what this pass knows.
//!
//! In: what the plan was asked about, its model, and the conditions that it has come to. Out: a `Member`, for a tenant that names a channel.
//! Invariant: of the conditions only the time since when nobody is served is taken; all else is told from objects and operations.

use std::collections::BTreeMap;

use freehold_crds::{Condition, DesiredState, Phase};
use jiff::Timestamp;

use super::super::{Scene, gates, namespace, rollout};
use super::{Step, asked, path, steps, under_way, upgrades, why};
use crate::fleet;
use crate::fleet::member::{Apart, Member, Way, cut};
use crate::input::{Input, Operation};
use crate::model::{Model, incarnation};
use crate::operation::Step as _;
use crate::outcome::Wait;
use crate::seen::Facts;

/// A tenant as its channel sees it; none when it names no channel.
pub fn of(
    input: &Input<'_>,
    model: Option<&Model<'_>>,
    conditions: &[Condition],
    waits: &[Wait],
) -> Option<Member> {
    let tenant = input.tenant;
    let channel = tenant.spec.release.channel.clone()?;
    let apart = apart(input, model);
    let flies = under_way(input).is_some();
    let grant = input.channel.and_then(|channel| fleet::grant_of(channel, tenant));
    Some(Member {
        name: tenant.metadata.name.clone().unwrap_or_default(),
        uid: tenant.metadata.uid.clone().unwrap_or_default(),
        incarnation: incarnation(input),
        channel,
        labels: tenant.metadata.labels.clone().unwrap_or_default(),
        environment: tenant.spec.environment,
        apart,
        runs: runs(input).map(str::to_owned),
        digest: rollout::digest(input).map(str::to_owned),
        down_since: down_since(input, conditions).filter(|_| !is_quiet(apart)),
        unfit: match model.filter(|_| grant.is_none() && !flies) {
            Some(model) => steps::lacks(&Scene { model, input }).is_some(),
            None => waits
                .iter()
                .any(|wait| wait.reason == steps::WAITS && wait.stalls),
        },
        under_way: under_way(input).and_then(|(_, operation)| way(operation)),
        stuck: stuck(waits)
            .or_else(|| no_way_back(input, model))
            .map(|why| cut(&why)),
        came: came(input),
        failed: failed(input),
        hours: model.and_then(|model| model.hours.clone().ok()),
        grant: grant.map(|grant| (grant.at.0, grant.release.clone())),
        tests: gates::tested(input, model),
    })
}

/// Why an upgrade comes to no end by itself, if one doesn't, by what this plan says of it.
fn stuck(waits: &[Wait]) -> Option<String> {
    let stuck = waits
        .iter()
        .find(|wait| matches!(wait.reason, "UpgradeStuck" | "RollBackStuck"));
    stuck.map(|wait| wait.message.clone())
}

/// What is to come back can't be read, so nothing is done at all.
fn no_way_back(input: &Input<'_>, model: Option<&Model<'_>>) -> Option<String> {
    let (_, operation) = under_way(input).filter(|_| model.is_none())?;
    let why = why(operation).filter(|_| Step::of(operation) == Some(Step::RollBack))?;
    Some(format!("{}: {}; what ran before can't come back", why.0, why.1))
}

fn apart(input: &Input<'_>, model: Option<&Model<'_>>) -> Option<Apart> {
    let tenant = input.tenant;
    let is_asleep =
        tenant.spec.desired_state != DesiredState::Active || model.is_some_and(|model| model.suspended);
    if tenant.metadata.deletion_timestamp.is_some() {
        Some(Apart::Leaving)
    } else if is_asleep {
        Some(Apart::Asleep)
    } else if model.is_none() || namespace::is_blocked(input) {
        Some(Apart::Invalid)
    } else {
        asked::pin(input).map(|_| Apart::Pinned)
    }
}

/// Whether nobody expects it to serve.
fn is_quiet(apart: Option<Apart>) -> bool {
    matches!(apart, Some(Apart::Asleep | Apart::Leaving))
}

/// The release that every component runs, with every pod ready.
fn runs<'a>(input: &Input<'a>) -> Option<&'a str> {
    let runs = rollout::uniform(input)?;
    let is_settled = |facts: &Facts| matches!(facts, Facts::Deployment { settled: true, .. });
    let mut seen = rollout::deployments(input);
    let settled = seen.by_ref().filter(|seen| is_settled(&seen.facts)).count();
    let all = rollout::deployments(input).count();
    // One that is missing is none that is ready.
    let wanted = input
        .releases
        .get(runs)
        .map_or(all, |release| release.spec.components.len());
    (settled == all && all >= wanted).then_some(runs)
}

/// Since when its users are not served, if they were before.
fn down_since(input: &Input<'_>, conditions: &[Condition]) -> Option<Timestamp> {
    let serving = conditions.iter().find(|condition| condition.type_ == "Serving")?;
    (serving.status == "False" && was_installed(input)).then_some(serving.last_transition_time.0)
}

/// Whether it ran at any time: there was something to upgrade, or every Deployment was ready once.
fn was_installed(input: &Input<'_>) -> bool {
    let is_complete = |facts: &Facts| matches!(facts, Facts::Deployment { complete: true, .. });
    let mut seen = rollout::deployments(input).peekable();
    upgrades(input).next().is_some() || (seen.peek().is_some() && seen.all(|seen| is_complete(&seen.facts)))
}

fn way(operation: &Operation) -> Option<Way> {
    let upgrade = operation.spec.upgrade.as_ref()?;
    Some(Way {
        from: upgrade.from.clone(),
        to: upgrade.to.clone(),
    })
}

/// The upgrade that has brought what is there, whether all of it is ready or not.
fn came(input: &Input<'_>) -> Option<Way> {
    let runs = rollout::uniform(input)?;
    let done = upgrades(input).filter(|(_, operation)| {
        let to = operation.spec.upgrade.as_ref().map(|upgrade| upgrade.to.as_str());
        operation.status.phase == Phase::Succeeded && to == Some(runs)
    });
    let (_, last) = done.max_by_key(|(_, operation)| operation.ended())?;
    way(last)
}

/// The releases that failed here, each with the reason: those that nobody asked for again, and that did not come after all.
fn failed(input: &Input<'_>) -> BTreeMap<String, String> {
    let retry = &input.tenant.spec.release.retry;
    let mut over: Vec<&Operation> = upgrades(input).map(|(_, operation)| operation).collect();
    over.sort_by_key(|operation| operation.ended());
    let mut failed = BTreeMap::new();
    for operation in over {
        let Some(upgrade) = &operation.spec.upgrade else {
            continue;
        };
        match operation.status.phase {
            Phase::Succeeded => drop(failed.remove(&upgrade.to)),
            Phase::Failed if upgrade.retry == *retry && path::is_of(input, upgrade) => {
                let why = why(operation)
                    .map_or_else(|| "it failed".to_owned(), |(step, why)| format!("{step}: {why}"));
                failed.insert(upgrade.to.clone(), cut(&why));
            }
            _ => {}
        }
    }
    failed
}
