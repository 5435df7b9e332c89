//! The tests of a channel's gates that run beside this tenant: each a job of its own, as the release's own test is.
//!
//! In: which gates of the tenant's ring wait for a test beside it. Out: their jobs, and what came of them. Invariants: a test has passed only
//! when its job has, while the tenant ran nothing but the release that is tested; and it has failed only when its container ran and ended
//! with an error of its own. All else is not known.

use std::collections::BTreeMap;

use freehold_crds::{Gate, GateStatus, Hook as Test, Verdict};

use super::Scene;
use super::hook::Hook;
use super::{rollout, upgrade};
use crate::fleet::member::{Labels, Test as Run, Tested, cut};
use crate::fleet::ring_of;
use crate::input::Input;
use crate::kind::Kind;
use crate::model::{Model, hook_job, namespace};
use crate::names::JobName;
use crate::object::{Id, Object};
use crate::outcome::Outcome;
use crate::seen::Facts;

/// One test that is to run, or ran, beside this tenant.
struct Trial<'a> {
    test: &'a Test,
    run: Run,
    verdict: Verdict,
}

/// Those of the gates of the tenant's ring, for the ring's release.
fn trials<'a>(input: &Input<'a>) -> Vec<Trial<'a>> {
    let name = input.tenant.metadata.name.as_deref();
    let Some(channel) = input.channel else {
        return Vec::new();
    };
    let Some(ring) = ring_of(channel, Labels::of(input.tenant)) else {
        return Vec::new();
    };
    let mut rings = channel.status.iter().flat_map(|status| &status.rings);
    let Some(status) = rings.find(|status| status.name == ring.name) else {
        return Vec::new();
    };
    let Some(release) = &status.release else {
        return Vec::new();
    };
    let trial = |gate: &'a GateStatus| {
        let spec: &'a Gate = ring.gates.iter().find(|spec| spec.name == gate.name)?;
        Some(Trial {
            test: spec.test.as_ref()?,
            run: Run {
                gate: gate.name.clone(),
                release: release.clone(),
                attempt: gate.attempt,
            },
            verdict: gate.verdict,
        })
    };
    let beside = status.gates.iter().filter(|gate| gate.tenant.as_deref() == name);
    beside.filter_map(trial).collect()
}

fn id(input: &Input<'_>, trial: &Trial<'_>) -> Id {
    let Test {
        component,
        image,
        args,
        timeout_seconds: _,
    } = trial.test;
    let mut test: Vec<String> = [component, image]
        .map(|part| part.clone().unwrap_or_default())
        .into();
    test.extend_from_slice(args);
    let Run {
        gate,
        release,
        attempt,
    } = &trial.run;
    Id {
        kind: Kind::Job,
        namespace: namespace(input.tenant).as_str().to_owned(),
        name: JobName::of_gate(gate, release, *attempt, &test)
            .as_str()
            .to_owned(),
    }
}

/// The tests that run now, and those whose logs say why a release did not get through.
pub fn plan(scene: Scene<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    for trial in trials(scene.input) {
        let id = id(scene.input, &trial);
        let is_there = scene.input.observed.objects.contains_key(&id);
        let is_over = outcome_of(scene.input, &id).is_some();
        let is_wanted = trial.run.release == scene.model.release && !scene.model.suspended;
        let stands = is_wanted && stands(scene.input, &trial);
        match trial.verdict {
            Verdict::Passed => {}
            Verdict::Failed | Verdict::Inconclusive if is_there => drop(outcome.keep.insert(id)),
            Verdict::Failed | Verdict::Inconclusive => {}
            // One that runs while another release comes tells nothing of either, and nothing runs beside a tenant that sleeps.
            Verdict::Pending if is_there && (is_over || stands) => drop(outcome.keep.insert(id)),
            Verdict::Pending if is_there || !stands || !rollout::is_rolled_out(&scene) => {}
            Verdict::Pending => outcome.objects.extend(job(&scene, &trial, id)),
        }
    }
    outcome
}

fn job(scene: &Scene<'_>, trial: &Trial<'_>, id: Id) -> Option<Object> {
    let job = hook_job(trial.test, &scene.model.components)?;
    let hook = Hook {
        name: "gate",
        job: &job,
        upgrade: None,
        retries: 0,
        database: false,
        judged: true,
    };
    Some(hook.object_of(scene, id))
}

/// Whether the tenant runs the release that is tested, and no other one is on its way.
fn stands(input: &Input<'_>, trial: &Trial<'_>) -> bool {
    upgrade::under_way(input).is_none() && rollout::uniform(input) == Some(trial.run.release.as_str())
}

/// What came of the tests that are to run now, by gate, release and attempt; those that have not ended are not in it.
pub fn tested(input: &Input<'_>, model: Option<&Model<'_>>) -> BTreeMap<Run, Tested> {
    let pending = trials(input)
        .into_iter()
        .filter(|trial| trial.verdict == Verdict::Pending);
    pending
        .filter_map(|trial| Some((trial.run.clone(), verdict(input, model, &trial)?)))
        .collect()
}

fn verdict(input: &Input<'_>, model: Option<&Model<'_>>, trial: &Trial<'_>) -> Option<Tested> {
    let unknown = |why: String| Some(Tested::Unknown(cut(&why)));
    let id = id(input, trial);
    let job = &id.name;
    match outcome_of(input, &id) {
        Some(_) if rollout::uniform(input) != Some(trial.run.release.as_str()) => unknown(format!(
            "{job}: the tenant does not run {} any more",
            trial.run.release
        )),
        Some(Facts::Job { succeeded: true, .. }) => Some(Tested::Passed),
        Some(Facts::Job {
            failed: Some(why),
            judged: true,
            ..
        }) => Some(Tested::Failed(cut(&format!("{job}: {why}")))),
        Some(Facts::Job {
            failed: Some(why), ..
        }) => unknown(format!("{job} did not come to its end: {why}")),
        _ => {
            if let Some(why) = input.observed.refused.get(&id) {
                return unknown(format!("the API server refuses {job}: {why}"));
            }
            let model = model.filter(|model| model.release == trial.run.release)?;
            if hook_job(trial.test, &model.components).is_none() {
                let component = trial.test.component.as_deref().unwrap_or_default();
                return unknown(format!(
                    "{} has no component {component} to test with",
                    trial.run.release
                ));
            }
            None
        }
    }
}

/// What is known of a job that has ended.
fn outcome_of<'a>(input: &'a Input<'_>, id: &Id) -> Option<&'a Facts> {
    let facts = &input.observed.objects.get(id)?.facts;
    matches!(
        facts,
        Facts::Job { succeeded: true, .. } | Facts::Job { failed: Some(_), .. }
    )
    .then_some(facts)
}
