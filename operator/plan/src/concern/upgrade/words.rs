//! What is said of an upgrade: in the condition, and when it has failed.

use freehold_crds::GrantKind;

use super::{Step, TOPIC, channel, hold, steps};
use crate::concern::Scene;
use crate::input::Operation;
use crate::operation::Step as _;
use crate::outcome::{Finding, Wait};

/// Why a window was not waited for, in words.
pub fn at_once(urgency: Option<GrantKind>) -> &'static str {
    match urgency {
        Some(GrantKind::Emergency) => " at once: it is an emergency",
        Some(GrantKind::RollBack) => " at once: what runs broke the tenant",
        Some(GrantKind::Wave) | None => "",
    }
}

/// Why nothing is tried again, and what would.
pub fn failure(scene: &Scene<'_>, name: &str, operation: &Operation) -> Wait {
    let upgrade = operation.spec.upgrade.as_ref();
    let to = upgrade.map_or("", |upgrade| upgrade.to_version.as_str());
    let from = upgrade.map_or("", |upgrade| upgrade.from_version.as_str());
    let why = why(operation);
    let why = why.map_or_else(String::new, |(step, why)| format!(" in the step {step}: {why}"));
    let mended = channel::mended(scene.input);
    // Nobody goes back any further by itself while this waits for somebody.
    let before = upgrade.and_then(|upgrade| scene.input.releases.get(&upgrade.from));
    let recall = before.and_then(|before| before.spec.recall.as_ref());
    let recall = recall.map_or_else(String::new, |recall| {
        format!(", which was recalled: {}", recall.reason)
    });
    Wait {
        reason: "UpgradeFailed",
        message: format!("the upgrade to {to} failed{why}; {from} runs on{recall}"),
        unblocked_by: format!(
            "{mended}, or set spec.release.retry to a new word to try {to} again; \
             `kubectl describe tenantoperation -n {} {name}` has the whole story",
            scene.input.config.operator_namespace
        ),
        stalls: true,
    }
}

/// The step in which an upgrade failed, and why.
pub fn why(operation: &Operation) -> Option<(&str, &str)> {
    let mut evidence = operation.status.evidence.iter().rev();
    evidence.find_map(|line| Some((line.step.as_str(), line.message.strip_prefix(steps::FAILED)?)))
}

/// In words, for the condition.
pub fn told((name, operation): (&str, &Operation)) -> Finding {
    let upgrade = operation.spec.upgrade.as_ref();
    let to = upgrade.map_or("", |upgrade| upgrade.to_version.as_str());
    let at_once = at_once(upgrade.and_then(|upgrade| upgrade.urgency));
    let step = Step::of(operation);
    let (reason, message) = match step {
        Some(Step::RollBack) => ("RollingBack", format!("{to} failed and is being undone ({name})")),
        None => (
            "Upgrading",
            format!("the upgrade to {to} begins{at_once} ({name})"),
        ),
        Some(step) => {
            let until = hold(operation).map_or_else(String::new, |until| format!(" until {until}"));
            let until = if step == Step::Bake { until } else { String::new() };
            (
                "Upgrading",
                format!("to {to}{at_once}: {}{until} ({name})", step.as_str()),
            )
        }
    };
    Finding::new(TOPIC, false, reason, message)
}
