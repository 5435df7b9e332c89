//! From findings and waits to conditions, blockers and events.
//!
//! Invariant: the previous status gives the times since when something holds, and nothing else: losing it changes no
//! decision.

use freehold_crds::{Blocker, Condition, TenantStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::input::Input;
use crate::outcome::{Event, Finding, Wait};

/// Conditions with their times: an unchanged status keeps the time of its transition.
pub fn conditions(input: &Input<'_>, findings: Vec<Finding>) -> Vec<Condition> {
    let before = previous(input)
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let condition = |finding: Finding| {
        let status = match finding.truth {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let same = before
            .iter()
            .find(|c| c.type_ == finding.topic && c.status == status);
        let since = same.map_or(Time(seconds(input.now)), |same| same.last_transition_time.clone());
        Condition {
            type_: finding.topic.to_owned(),
            status: status.to_owned(),
            reason: finding.reason.to_owned(),
            message: shorten(finding.message),
            observed_generation: input.tenant.metadata.generation,
            last_transition_time: since,
        }
    };
    findings.into_iter().map(condition).collect()
}

/// Blockers with their times. One for each reason: the first that was found.
pub fn blockers(input: &Input<'_>, waits: impl IntoIterator<Item = Wait>) -> Vec<Blocker> {
    let before = previous(input)
        .map(|status| status.blockers.as_slice())
        .unwrap_or_default();
    let mut blockers: Vec<Blocker> = Vec::new();
    for wait in waits {
        if blockers.iter().any(|blocker| blocker.reason == wait.reason) {
            continue;
        }
        let same = before.iter().find(|blocker| blocker.reason == wait.reason);
        blockers.push(Blocker {
            reason: wait.reason.to_owned(),
            message: shorten(wait.message),
            since: same.map_or(Time(seconds(input.now)), |same| same.since.clone()),
            unblocked_by: wait.unblocked_by,
        });
    }
    blockers
}

/// What people should see: readiness gained or lost, and each new blocker.
pub fn events(input: &Input<'_>, status: &TenantStatus) -> Vec<Event> {
    let before = previous(input);
    let ready = |status: &TenantStatus| status.conditions.iter().find(|c| c.type_ == "Ready").cloned();
    let mut events = Vec::new();
    let (was, is) = (before.and_then(ready), ready(status));
    if let Some(is) = is {
        let was = was.map(|was| was.status);
        if is.status == "True" && was.as_deref() != Some("True") {
            events.push(Event {
                warning: false,
                reason: "Ready".to_owned(),
                message: is.message,
            });
        } else if is.status == "False" && was.as_deref() == Some("True") {
            events.push(Event {
                warning: true,
                reason: is.reason,
                message: is.message,
            });
        }
    }
    let known = before
        .map(|status| status.blockers.as_slice())
        .unwrap_or_default();
    for blocker in &status.blockers {
        if !known.iter().any(|known| known.reason == blocker.reason) {
            let message = format!("{}; unblocked by: {}", blocker.message, blocker.unblocked_by);
            events.push(Event {
                warning: true,
                reason: blocker.reason.clone(),
                message: shorten(message),
            });
        }
    }
    events
}

fn previous<'a>(input: &Input<'a>) -> Option<&'a TenantStatus> {
    input.tenant.status.as_ref()
}

/// The API server keeps whole seconds.
fn seconds(now: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Messages of others can be long; a status is no log.
fn shorten(message: String) -> String {
    const MAX: usize = 500;
    if message.chars().count() <= MAX {
        return message;
    }
    let mut short: String = message.chars().take(MAX).collect();
    short.push('…');
    short
}
