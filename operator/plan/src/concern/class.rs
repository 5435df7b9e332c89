//! The class as this tenant has taken it over, and what has changed since.
//!
//! In: the class as it is, and the copy of it that stands in the tenant's namespace. Out: the class that holds for the
//! tenant, and the differences in words. Invariant: a change of a class reaches a tenant in that tenant's window, or with
//! its first installation; a class that is gone leaves the copy in force; a copy that can't be read is none of these, and
//! nothing changes until a window opens, or until somebody puts it back or deletes it.

use std::ops::RangeInclusive;
use std::time::Duration;

use freehold_crds::{DELAY, GRACE, Span, TenantClassSpec};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use super::Scene;
use super::maintenance::{self, Hours};
use super::namespace::{Holder, holder};
use crate::input::Input;
use crate::kind::Kind;
use crate::model::{self, Invalid, namespace};
use crate::names::{CLASS, DATABASE};
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
    /// The copy as it is written, where it says this; in whatever words.
    written: Option<String>,
    /// What the class says now and the tenant has not taken over yet, in words, and why not yet.
    drift: Option<(Vec<String>, String)>,
    /// Why it is not known what holds: then `spec` serves for nothing but its graces, which are the longest.
    unknown: Option<Invalid>,
    /// When that changes.
    pub wake: Option<Timestamp>,
}

impl Taken {
    /// The class as it is now, which is written down anew. `wake` is when that would no longer be so.
    fn anew(now: &TenantClassSpec, wake: Option<Timestamp>) -> Self {
        Self {
            spec: now.clone(),
            written: None,
            drift: None,
            unknown: None,
            wake,
        }
    }

    /// Whether it is known at all what holds.
    pub fn known(&self) -> Result<(), Invalid> {
        self.unknown.clone().map_or(Ok(()), Err)
    }
}

/// Decides which class holds: the copy, or the one that it is taken over from.
pub fn taken(input: &Input<'_>) -> Option<Taken> {
    let now = input.class.map(|class| &class.spec);
    let (written, copy) = match copy(input) {
        None => return now.map(|now| Taken::anew(now, None)),
        Some(Err(why)) => return now.map(|now| damaged(input, now, &why)),
        Some(Ok(copy)) => copy,
    };
    let in_force = Taken {
        spec: copy,
        written: Some(written),
        drift: None,
        unknown: None,
        wake: None,
    };
    let Some(now) = now.filter(|now| **now != in_force.spec) else {
        return Some(in_force);
    };
    let differences = differences(&in_force.spec, now);
    if let Err(why) = model::allowed(input.tenant, now) {
        let why = format!("it does not fit this tenant, and is not taken over: {why}");
        return Some(Taken {
            drift: Some((differences, why)),
            ..in_force
        });
    }
    match opening(input, now) {
        // As long as the copy is the old one.
        Ok(until) => Some(Taken::anew(now, until)),
        Err((why, wake)) => Some(Taken {
            drift: Some((differences, why)),
            wake,
            ..in_force
        }),
    }
}

/// Whether the class as it is now may be taken over, and until when; else why not yet, and when that changes.
fn opening(
    input: &Input<'_>,
    now: &TenantClassSpec,
) -> Result<Option<Timestamp>, (String, Option<Timestamp>)> {
    // Where there is no database yet, nothing can be disturbed, and what keeps it from being made may be what was mended.
    let database = input
        .observed
        .get(Kind::Cluster, namespace(input.tenant).as_str(), DATABASE);
    if database.is_none() {
        return Ok(None);
    }
    // The class's windows as they are now: a mistake in the old ones could never be mended otherwise.
    match maintenance::of(input.tenant, now, input.now) {
        Ok(Hours::Open { until }) => Ok(Some(until)),
        Ok(Hours::Shut { until: Some(until) }) => {
            let why = format!("it is taken over when the window opens at {until}");
            Err((why, Some(until)))
        }
        Ok(Hours::Shut { until: None }) => Err(("no window for it opens in the next years".to_owned(), None)),
        Err(why) => Err((format!("no window can be read: {why}"), None)),
    }
}

/// What held can't be read any more. It is not what the class says now, which may disturb the tenant, so that has to wait for a
/// window like any other change; what runs stays as it is meanwhile.
fn damaged(input: &Input<'_>, now: &TenantClassSpec, why: &str) -> Taken {
    let (when, wake) = match (model::allowed(input.tenant, now), opening(input, now)) {
        (Ok(()), Ok(until)) => return Taken::anew(now, until),
        (Ok(()), Err(waits)) => waits,
        (Err(why), _) => (format!("it does not fit this tenant: {why}"), None),
    };
    let mut spec = now.clone();
    let longest = |range: &RangeInclusive<Duration>| Span(format!("{}s", range.end().as_secs()));
    spec.deletion.delay = longest(&DELAY);
    spec.deletion.termination_grace = longest(&GRACE);
    Taken {
        spec,
        written: None,
        drift: None,
        unknown: Some(Invalid::ClassCopy {
            namespace: namespace(input.tenant).as_str().to_owned(),
            why: why.to_owned(),
            when: format!("as for the class as it is now, {when}"),
        }),
        wake,
    }
}

/// The copy, the finding about it, and the wait for a class that is gone.
pub fn plan(scene: Scene<'_>, taken: &Taken) -> Outcome {
    let text = taken.written.clone();
    let text = text.unwrap_or_else(|| serde_json::to_string(&taken.spec).unwrap_or_default());
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
    outcome.findings.push(match &taken.drift {
        None => Finding::aside(
            TOPIC,
            Some(true),
            "TakenOver",
            format!("as the class {class} says"),
        ),
        Some((differences, why)) => {
            let mut told = differences[..differences.len().min(TOLD)].join("; ");
            if differences.len() > TOLD {
                told = format!("{told}; and {} more", differences.len() - TOLD);
            }
            let message = format!("the class {class} changed: {told}; {why}");
            Finding::aside(TOPIC, Some(false), "ClassDrift", message)
        }
    });
    outcome.wake = taken.wake;
    outcome
}

/// The copy in the tenant's namespace, as it is written and as it reads; an error when it does not.
fn copy(input: &Input<'_>) -> Option<Result<(String, TenantClassSpec), String>> {
    if !matches!(holder(input), Holder::Us | Holder::Adoptable) {
        return None;
    }
    let namespace = namespace(input.tenant);
    let seen = input.observed.get(Kind::ConfigMap, namespace.as_str(), CLASS)?;
    let Some(written) = seen.live["data"][KEY].as_str() else {
        return Some(Err(format!("it has no {KEY}")));
    };
    let read = serde_json::from_str(written);
    Some(
        read.map(|spec| (written.to_owned(), spec))
            .map_err(|error| error.to_string()),
    )
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
