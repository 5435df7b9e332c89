//! The pure core of Freehold: `plan(&Input) -> Plan`.
//!
//! In: a tenant with its class and release, what was seen in the cluster, the time, the configuration. Out: the objects
//! that are wanted, what is to be deleted, what is to be minted, the status, and the instant at which all this may
//! change by itself.
//!
//! Invariants:
//! - Total and pure: no client, no async, no clock, no randomness, no error. An invalid spec is a plan that says so and
//!   leaves what is there as it is.
//! - Nothing outside the tenant's own namespace (and its cluster-wide name) is written or deleted.
//! - No secret is ever in a plan.

mod clock;
mod concern;
mod contents;
pub mod fleet;
pub mod foreign;
mod history;
mod input;
mod kind;
mod leaf;
mod model;
pub mod names;
mod object;
mod operation;
mod outcome;
mod report;
pub mod rights;
mod seen;
mod summary;

use std::collections::BTreeSet;

use clock::soon;
use concern::namespace::{Holder, holder};
use concern::{Scene, class, deletion, rollout, teardown, termination, workload};
use freehold_crds::{OperationStatus, TenantStatus};

pub use concern::hostnames::is_takeable;
pub use concern::maintenance::{Hours, hours};
pub use input::releases_of;
pub use input::{
    Certificate, Config, DataKey, End, Endpoint, Ends, Input, KeyService, Keys, Minted, Neighbour, Observed,
    Operation, PRIVATE, Slot, StorageClass, Stranger, Succession, TenantKey, Verification,
};
pub use kind::{Ending, Kind, Row, Wave};
pub use leaf::{EdgeSlot, Leaf, ShownAs};
pub use model::{Invalid, Model, incarnation};
pub use object::{Id, Marks, Object, tenant_labels};
pub use outcome::{Action, EndGateway, EndService, Event, Finalizer, Forgotten, Plan, Record, Write};
pub use seen::{Facts, Seen};

use outcome::{APPLYING, Finding, Outcome, Wait};

/// What is to be done for one tenant, and what is to be reported about it.
pub fn plan(input: &Input<'_>) -> Plan {
    if input.tenant.metadata.deletion_timestamp.is_some() && !has_finalizer(input) {
        return Plan {
            status: input.tenant.status.clone().unwrap_or_default(),
            member: concern::upgrade::member(input, None, &[], &[]),
            ..Plan::default()
        };
    }
    let taken = class::taken(input);
    let class = taken.as_ref().map(|taken| &taken.spec);
    let delay = model::deletion_delay(class);
    if deletion::is_released(input, delay) {
        return ending(input);
    }
    let known = taken.as_ref().map_or(Ok(()), class::Taken::known);
    let model = known.and_then(|()| Model::read(input, class));
    let mut outcome = concern::namespace::plan(input);
    outcome.add(deletion::plan(input, delay));
    outcome.add(termination::plan(input, class));
    outcome.add(concern::keys::give_way(input, class));
    outcome.add(concern::upgrade::give_way(input));
    outcome.wake_at(concern::upgrade::unpinned(input));
    let status = match (&model, &taken) {
        (Ok(model), _) if concern::namespace::is_blocked(input) => TenantStatus {
            url: Some(model.url.clone()),
            ..base(input)
        },
        (Ok(model), Some(taken)) => {
            let scene = Scene { model, input };
            outcome.add(class::plan(scene, taken));
            outcome.add(concerns(scene));
            strangers(input, &mut outcome);
            refused(input, &mut outcome);
            applying(input, &mut outcome);
            TenantStatus {
                url: Some(model.url.clone()),
                version: workload::serving_version(&scene),
                certificates: concern::tls::status(input),
                authority: concern::tls::authority_status(&scene),
                components: workload::components(&scene),
                keys: concern::keys::status(&scene),
                ..base(input)
            }
        }
        (Err(invalid), _) => {
            outcome.wake_at(taken.as_ref().and_then(|taken| taken.wake));
            invalid_spec(input, invalid, &mut outcome)
        }
        // Without a class there is no model.
        (Ok(_), None) => base(input),
    };
    assemble(input, outcome, status, model.as_ref().ok())
}

/// What the status says whatever the spec does.
fn base(input: &Input<'_>) -> TenantStatus {
    let ours = !matches!(holder(input), Holder::Stranger | Holder::Earlier);
    let operation = [termination::destruction(input), deletion::announced(input)]
        .into_iter()
        .flatten()
        .find(|(_, operation)| !operation.status.phase.is_over());
    let operation = operation
        .or_else(|| concern::keys::under_way(input))
        .or_else(|| concern::upgrade::under_way(input))
        .or_else(|| concern::tls::under_way(input));
    TenantStatus {
        observed_generation: input.tenant.metadata.generation,
        namespace: ours.then(|| model::namespace(input.tenant).to_string()),
        incarnation: ours.then(|| incarnation(input)),
        operation: operation.map(|(name, operation)| OperationStatus {
            name: name.to_owned(),
            r#type: operation.spec.r#type,
            phase: operation.status.phase,
            step: operation.status.step.clone(),
            hold_until: operation.status.hold_until.clone(),
        }),
        ..TenantStatus::default()
    }
}

/// The last good objects stay, and the certificate is renewed.
fn invalid_spec(input: &Input<'_>, invalid: &Invalid, outcome: &mut Outcome) -> TenantStatus {
    outcome.waits.push(Wait {
        reason: invalid.reason(),
        message: invalid.to_string(),
        unblocked_by: invalid.unblocked_by(&input.tenant.spec.release),
        stalls: invalid.stalls(),
    });
    outcome.keep.extend(input.observed.objects.keys().cloned());
    outcome
        .objects
        // Keys are destroyed whatever else is wrong, and not without a record.
        .retain(|object| {
            object.id.kind == Kind::DestructionRecord || input.observed.objects.contains_key(&object.id)
        });
    let certificates = (holder(input) == Holder::Us).then(|| {
        outcome.add(concern::tls::renew_alone(input));
        concern::tls::status(input)
    });
    let previous = input.tenant.status.clone().unwrap_or_default();
    TenantStatus {
        url: previous.url,
        version: previous.version,
        certificates: certificates.unwrap_or_default(),
        ..base(input)
    }
}

fn concerns(scene: Scene<'_>) -> Outcome {
    let mut outcome = concern::access::plan(scene);
    for concern in [
        concern::quota::plan,
        concern::isolation::plan,
        concern::hostnames::plan,
        concern::settings::plan,
        concern::maintenance::plan,
        concern::storage::plan,
        concern::keys::plan,
        concern::database::plan,
        concern::upgrade::plan,
        concern::gates::plan,
        concern::migration::plan,
        concern::tls::plan,
        concern::gateway::plan,
        concern::workload::plan,
    ] {
        outcome.add(concern(scene));
    }
    one_at_a_time(&mut outcome);
    rollout::hold_back(&scene, &mut outcome);
    let policies = outcome
        .objects
        .iter()
        .filter(|object| object.id.kind == Kind::NetworkPolicy);
    let verified = concern::verification::plan(scene, &policies.collect::<Vec<_>>());
    outcome.add(verified);
    outcome
}

/// Of the operations that would begin now, the first: each of them is the tenant's lock, and none knows of the others yet.
fn one_at_a_time(outcome: &mut Outcome) {
    use freehold_crds::OperationType::{DataKeyRotation, TenantKeyRotation, Upgrade};
    let mut begun = false;
    outcome.records.retain(|record| {
        let locks = matches!(record, Record::Create { spec, .. }
            if matches!(spec.r#type, DataKeyRotation | TenantKeyRotation | Upgrade));
        let stays = !(locks && begun);
        begun |= locks;
        stays
    });
}

/// What others planted under our names is neither overwritten nor merged.
fn strangers(input: &Input<'_>, outcome: &mut Outcome) {
    // A claim that somebody else holds is told by its hostname.
    let strangers = input
        .observed
        .strangers
        .iter()
        .filter(|(id, _)| id.kind != Kind::HostnameClaim);
    for (id, stranger) in strangers {
        outcome.objects.retain(|object| object.id != *id);
        outcome.waits.push(Wait {
            reason: "ObjectNotOurs",
            message: format!("{id} exists and was not made by Freehold"),
            unblocked_by: format!("look where {id} comes from, and delete it"),
            stalls: true,
        });
        outcome.wake = [outcome.wake, Some(stranger.look_again)]
            .into_iter()
            .flatten()
            .min();
    }
}

/// What the API server does not take: said in the status, because the log is not the customer's. A refusal of what is
/// no longer asked for is of no interest any more.
fn refused(input: &Input<'_>, outcome: &mut Outcome) {
    for (id, why) in &input.observed.refused {
        let mut objects = outcome.objects.iter();
        if !objects.any(|object| object.id == *id && !is_there(input, object)) {
            continue;
        }
        outcome.waits.push(Wait {
            reason: "WriteRefused",
            message: format!("the API server refuses {id}: {why}"),
            unblocked_by: "correct what the message names in the tenant, its class or its release".to_owned(),
            stalls: false,
        });
    }
}

/// What was seen is about what was asked for before, as long as what is wanted now isn't there.
fn applying(input: &Input<'_>, outcome: &mut Outcome) {
    for object in &outcome.objects {
        let topic = match object.id.kind {
            Kind::Deployment => workload::TOPIC,
            Kind::Cluster => concern::database::TOPIC,
            Kind::Gateway | Kind::BackendTlsPolicy | Kind::HttpRoute => concern::gateway::TOPIC,
            Kind::Certificate => concern::tls::TOPIC,
            // Nothing can be served before.
            Kind::HostnameClaim => concern::hostnames::TOPIC,
            _ => continue,
        };
        if is_there(input, object) {
            continue;
        }
        let holds = |finding: &&mut Finding| finding.topic == topic && finding.truth == Some(true);
        if let Some(finding) = outcome.findings.iter_mut().find(holds) {
            *finding = Finding::new(topic, false, APPLYING, format!("{} is being written", object.id));
        }
        // Others may have nothing to say about what we write, so no event is sure to follow.
        outcome.wake = [outcome.wake, soon(input.now)].into_iter().flatten().min();
    }
}

/// Whether what is wanted is what was seen.
fn is_there(input: &Input<'_>, object: &Object) -> bool {
    let seen = input.observed.objects.get(&object.id);
    seen.is_some_and(|seen| !seen.ending && object.is_settled(&seen.live))
}

fn assemble(
    input: &Input<'_>,
    outcome: Outcome,
    mut status: TenantStatus,
    model: Option<&Model<'_>>,
) -> Plan {
    let Outcome {
        mut objects,
        keep,
        actions,
        records,
        mut findings,
        waits,
        asides,
        mut wake,
        doubts,
    } = outcome;
    objects.sort_by(|a, b| a.id.cmp(&b.id));
    // In a namespace that ends Kubernetes takes pods before policies; we must not be quicker with the policies.
    let prune = if model.is_some() && holder(input) == Holder::Us {
        pruned(input, &objects, &keep)
    } else {
        Vec::new()
    };
    let summary = summary::summarise(input, model, &findings, &waits);
    findings.splice(0..0, summary);
    status.conditions = report::conditions(input, findings);
    let member = concern::upgrade::member(input, model, &status.conditions, &waits);
    status.blockers = report::blockers(input, waits.into_iter().chain(asides));
    // What its channel is told of its windows is true until then.
    let hours = member.as_ref().and_then(|member| member.hours?.until());
    wake = [wake, hours].into_iter().flatten().min();
    Plan {
        prune,
        forget: history::surplus(input),
        actions,
        records,
        conditions: status.conditions.clone(),
        events: report::events(input, &status),
        finalizer: if has_finalizer(input) {
            Finalizer::Keep
        } else {
            Finalizer::Add
        },
        wake: wake.filter(|wake| *wake > input.now),
        doubts,
        status,
        member,
        objects,
    }
}

/// A set difference over the kinds that may be pruned, in the tenant's namespace.
fn pruned(input: &Input<'_>, objects: &[Object], keep: &BTreeSet<Id>) -> Vec<Id> {
    let namespace = model::namespace(input.tenant);
    let seen = input.observed.objects.iter();
    seen.filter(|(id, seen)| {
        // The unrestricted pods of the verification run elsewhere.
        (id.namespace == namespace.as_str() || id.kind == Kind::Pod)
            && id.kind.row().ending == Ending::Pruned
            && !seen.ending
            && !keep.contains(id)
            && !objects.iter().any(|object| object.id == **id)
    })
    .map(|(id, _)| id.clone())
    .collect()
}

fn has_finalizer(input: &Input<'_>) -> bool {
    input
        .tenant
        .metadata
        .finalizers
        .iter()
        .flatten()
        .any(|name| name == names::FINALIZER)
}

/// The plan of a tenant that was deleted, and may be.
fn ending(input: &Input<'_>) -> Plan {
    let teardown::Teardown {
        prune,
        finalizer,
        mut outcome,
    } = teardown::plan(input);
    // Whether and how its keys are destroyed, the deletion says now.
    let given_up = [
        termination::give_up(input),
        concern::upgrade::give_up(input),
        concern::tls::give_up(input),
    ];
    for record in given_up.into_iter().flatten() {
        outcome.records.push(record);
        outcome.wake_at(soon(input.now));
    }
    let Outcome {
        objects,
        keep: _,
        actions,
        records,
        mut findings,
        waits,
        asides: _,
        wake,
        doubts,
    } = outcome;
    let mut status = base(input);
    findings.push(Finding::new(
        "Reconciling",
        true,
        "TearingDown",
        "the tenant is being taken down",
    ));
    status.conditions = report::conditions(input, findings);
    status.blockers = report::blockers(input, waits);
    Plan {
        objects,
        prune,
        actions,
        records,
        conditions: status.conditions.clone(),
        events: report::events(input, &status),
        finalizer,
        wake,
        doubts,
        // Who takes over what it leaves goes by them.
        forget: Vec::new(),
        member: concern::upgrade::member(input, None, &status.conditions, &[]),
        status,
    }
}
