//! The class as this tenant has taken it over, and what has changed since.
//!
//! In: the class as it is, and the copy of it that stands in the tenant's namespace. Out: the class that holds for the
//! tenant, and the differences in words. Invariant: a change of a class reaches a tenant in that tenant's window, or with
//! its first installation; a class that is gone leaves the copy in force.

use freehold_crds::TenantClassSpec;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use super::Scene;
use super::maintenance::{self, Hours};
use super::namespace::{Holder, holder};
use crate::input::Input;
use crate::kind::Kind;
use crate::model::{self, namespace};
use crate::names::CLASS;
use crate::object::Object;
use crate::outcome::{Finding, Outcome, Wait};

pub const TOPIC: &str = "ClassCurrent";
const KEY: &str = "spec.json";
/// More differences than these are counted, not told.
const TOLD: usize = 4;

/// The class that holds for a tenant.
#[derive(Clone, Debug)]
pub struct Taken {
    pub spec: TenantClassSpec,
    /// What the class says now and the tenant has not taken over yet, in words.
    pub drift: Vec<String>,
    /// Why not yet, and when that changes.
    waits: Option<String>,
    pub wake: Option<Timestamp>,
}

/// Decides which class holds: the copy, or the one that it is taken over from.
pub fn taken(input: &Input<'_>) -> Option<Taken> {
    let now = input.class.map(|class| &class.spec);
    let (Some(copy), Some(now)) = (copy(input), now) else {
        let spec = copy(input).or(now.cloned())?;
        return Some(Taken {
            spec,
            drift: Vec::new(),
            waits: None,
            wake: None,
        });
    };
    let drift = differences(&copy, now);
    if drift.is_empty() {
        return Some(Taken {
            spec: copy,
            drift,
            waits: None,
            wake: None,
        });
    }
    if let Err(why) = model::allowed(input.tenant, now) {
        return Some(Taken {
            spec: copy,
            drift,
            waits: Some(format!(
                "it does not fit this tenant, and is not taken over: {why}"
            )),
            wake: None,
        });
    }
    // The class's windows as they are now: a mistake in the old ones could never be mended otherwise.
    let own = input.tenant.spec.maintenance.as_ref();
    let windows = own.map_or(&now.maintenance.windows, |own| &own.windows);
    let hours = maintenance::hours(windows, input.now);
    if let Ok(open @ Hours::Open { .. }) = &hours {
        return Some(Taken {
            spec: now.clone(),
            drift: Vec::new(),
            waits: None,
            // As long as the copy is the old one.
            wake: open.until(),
        });
    }
    let waits = match &hours {
        Ok(Hours::Shut { until: Some(until) }) => {
            format!("it is taken over when the window opens at {until}")
        }
        Ok(_) => "no window for it opens in the next years".to_owned(),
        Err(why) => format!("no window can be read: {why}"),
    };
    Some(Taken {
        spec: copy,
        drift,
        waits: Some(waits),
        wake: hours.ok().and_then(Hours::until),
    })
}

/// The copy, the finding about it, and the wait for a class that is gone.
pub fn plan(scene: Scene<'_>, taken: &Taken) -> Outcome {
    // A copy that says the same is left as it is, in whatever words.
    let text = written(scene.input)
        .filter(|_| copy(scene.input).as_ref() == Some(&taken.spec))
        .unwrap_or_else(|| serde_json::to_string(&taken.spec).unwrap_or_default());
    let map = ConfigMap {
        data: Some([(KEY.to_owned(), text)].into()),
        ..ConfigMap::default()
    };
    let mut outcome = Outcome::of(vec![Object::declare(
        scene.id(Kind::ConfigMap, CLASS),
        scene.marks(),
        &map,
    )]);
    let class = &scene.model.tenant.spec.class_name;
    if scene.input.class.is_none() {
        outcome.waits.push(Wait {
            reason: "ClassNotFound",
            message: format!(
                "the TenantClass {class} does not exist; what was taken over from it stays in force"
            ),
            unblocked_by: format!("create the TenantClass {class}"),
            stalls: true,
        });
    }
    outcome.findings.push(match &taken.waits {
        None => Finding::aside(
            TOPIC,
            Some(true),
            "TakenOver",
            format!("as the class {class} says"),
        ),
        Some(why) => {
            let mut told = taken
                .drift
                .iter()
                .take(TOLD)
                .cloned()
                .collect::<Vec<_>>()
                .join("; ");
            if taken.drift.len() > TOLD {
                told = format!("{told}; and {} more", taken.drift.len() - TOLD);
            }
            let message = format!("the class {class} changed: {told}; {why}");
            Finding::aside(TOPIC, Some(false), "ClassDrift", message)
        }
    });
    outcome.wake = taken.wake;
    outcome
}

fn written(input: &Input<'_>) -> Option<String> {
    if !matches!(holder(input), Holder::Us | Holder::Adoptable) {
        return None;
    }
    let namespace = namespace(input.tenant);
    let seen = input.observed.get(Kind::ConfigMap, namespace.as_str(), CLASS)?;
    seen.live["data"][KEY].as_str().map(str::to_owned)
}

fn copy(input: &Input<'_>) -> Option<TenantClassSpec> {
    serde_json::from_str(&written(input)?).ok()
}

/// What differs, as `path: before -> after`.
fn differences(before: &TenantClassSpec, after: &TenantClassSpec) -> Vec<String> {
    let value = |spec: &TenantClassSpec| serde_json::to_value(spec).unwrap_or_default();
    let mut found = Vec::new();
    compare("", &value(before), &value(after), &mut found);
    found
}

fn compare(path: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    if before == after {
        return;
    }
    if let (Value::Object(old), Value::Object(new)) = (before, after) {
        let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            compare(&path, &before[key], &after[key], found);
        }
        return;
    }
    let word = |value: &Value| match value {
        Value::Null => "unset".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    found.push(format!("{path}: {} -> {}", word(before), word(after)));
}
