//! A plan in a few lines: what a person checks.

use std::fmt::Write as _;

use freehold_plan::{Finalizer, Observed, Plan, Record, Write};

/// Writes, ends, actions, conditions that matter, blockers, wake.
pub fn show(plan: &Plan, observed: &Observed) -> String {
    let mut text = String::new();
    match plan.finalizer {
        Finalizer::Keep => {}
        Finalizer::Add => text.push_str("finalizer add\n"),
        Finalizer::Remove => text.push_str("finalizer remove\n"),
    }
    for write in plan.writes(observed) {
        let (verb, object) = match write {
            Write::Create(object) => ("create", object),
            Write::Apply(object, _) => ("apply", object),
        };
        writeln!(text, "{verb} {}", object.id).unwrap();
    }
    for id in &plan.prune {
        writeln!(text, "delete {id}").unwrap();
    }
    for forgotten in &plan.forget {
        writeln!(text, "forget {}", forgotten.name).unwrap();
    }
    for record in &plan.records {
        match record {
            Record::Create { name, spec } => {
                let policy = spec.deletion.as_ref().map(|deletion| deletion.policy);
                writeln!(text, "record {name}: {:?} {policy:?}", spec.r#type).unwrap();
            }
            Record::Advance { name, status, .. } => {
                let step = status.step.as_deref().unwrap_or("over");
                writeln!(text, "record {name}: {:?} {step}", status.phase).unwrap();
            }
            Record::Destruction { name, status, .. } => {
                writeln!(text, "account {name}: {:?}", status.phase).unwrap();
            }
        }
    }
    for action in &plan.actions {
        writeln!(text, "do {action:?}").unwrap();
    }
    for condition in &plan.conditions {
        if ["Ready", "Serving", "UpToDate", "Stalled"].contains(&condition.type_.as_str()) {
            writeln!(
                text,
                "{}={} {}: {}",
                condition.type_, condition.status, condition.reason, condition.message
            )
            .unwrap();
        }
    }
    for blocker in &plan.status.blockers {
        writeln!(text, "blocked by {}; {}", blocker.reason, blocker.unblocked_by).unwrap();
    }
    if let Some(wake) = plan.wake {
        writeln!(text, "wake {wake}").unwrap();
    }
    text
}
