//! The destruction of a terminated tenant's keys: announced, delayed, on record before it happens, and for good.
//!
//! In: what the tenant asks for, its class, the keys, the operations of this life. Out: records, the condition
//! `KeysDestroyed`, and one action for the shell. Invariants: never without the explicit field, nor while the tenant is
//! protected, nor where other keys than the tenant's own encrypt its data; the grace counts from the record's own creation,
//! which the API server dated; the DestructionRecord stands before the destruction; once something was destroyed there is no
//! way back, and until then there always is; that nothing was destroyed is said only when no call that would do it can be under
//! way any more; no key is made in the place of one that was destroyed.

mod account;
mod objection;

use std::time::Duration;

use freehold_crds::{DesiredState, OperationType, Phase, Tenant, TenantClassSpec, TenantOperationSpec};
use jiff::{SignedDuration, Timestamp};

use super::namespace::is_blocked;
use crate::clock::soon;
use crate::input::{Input, Operation, TenantKey};
use crate::model::{incarnation, namespace, termination_grace};
use crate::operation::{self, Step as _, advance, cancel, free_name};
use crate::outcome::{Action, Finding, Outcome, Record, Wait};
use crate::seen::Facts;
use objection::{objection, tenant_key};

pub const TOPIC: &str = "KeysDestroyed";
const ACT: &str = "key-destruction";
/// After this no call to the key service can be under way any more that was begun before: its client waits for 5 s, its
/// server no longer, and a pass takes a minute at most.
const SETTLES: SignedDuration = SignedDuration::from_mins(2);

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing of the tenant runs any more, so that no kernel holds a key.
    Stop,
    /// The DestructionRecord says what is about to be destroyed.
    Record,
    /// The provider destroys the tenant key; the wrapped data keys are deleted.
    Destroy,
    /// The DestructionRecord says that it was.
    Evidence,
    /// Not on the way: a word was taken back when the provider may have been asked already.
    CallOff,
}

impl operation::Step for Step {
    const ALL: &'static [(Self, &'static str)] = &[
        // First, so that it comes after none.
        (Self::CallOff, "CallOff"),
        (Self::Stop, "Stop"),
        (Self::Record, "Record"),
        (Self::Destroy, "Destroy"),
        (Self::Evidence, "Evidence"),
    ];
}

/// A TenantOperation with its name.
type Named<'a> = (&'a str, &'a Operation);

/// The destruction of this life's keys: announced, under way or over.
pub fn destruction<'a>(input: &'a Input<'_>) -> Option<Named<'a>> {
    let life = incarnation(input);
    let mut operations = input.observed.operations.iter();
    operations
        .find(|(_, operation)| {
            operation.spec.r#type == OperationType::KeyDestruction
                && operation.spec.incarnation == life
                && operation.status.phase != Phase::Cancelled
        })
        .map(|(name, operation)| (name.as_str(), operation))
}

/// Whether it is under way.
fn runs(input: &Input<'_>) -> bool {
    destruction(input).is_some_and(|(_, operation)| operation.status.phase == Phase::Running)
}

/// Whether a deletion has to wait for its end: not for one that can't come to its end, because the key is not there any more.
pub fn holds_deletion(input: &Input<'_>) -> bool {
    let asked = |operation: &Operation| matches!(Step::of(operation), Some(Step::Destroy | Step::CallOff));
    let lost = tenant_key(input).is_err_and(|wait| wait.stalls);
    runs(input) && !(lost && destruction(input).is_some_and(|(_, operation)| asked(operation)))
}

/// Whether its time has come and nothing stands against it: other acts on the keys are given up then, by who began them.
pub fn is_due(input: &Input<'_>, class: Option<&TenantClassSpec>) -> bool {
    let due = |operation: &Operation| {
        operation.status.phase == Phase::Pending
            && account::due(operation, termination_grace(class)) <= input.now
    };
    !is_blocked(input)
        && is_wished(input.tenant)
        && destruction(input).is_some_and(|(_, operation)| due(operation))
        && objection(input, class).is_none()
}

/// Whether it is under way, or about to be: nobody else changes the keys then.
pub fn is_imminent(input: &Input<'_>, grace: Duration) -> bool {
    destruction(input).is_some_and(|(_, operation)| match operation.status.phase {
        Phase::Pending => account::due(operation, grace) <= input.now,
        Phase::Running => true,
        Phase::Succeeded | Phase::Failed | Phase::Cancelled => false,
    })
}

/// Whether keys were destroyed, or may have been: nothing is started any more.
pub fn is_final(input: &Input<'_>) -> bool {
    let by_operation = destruction(input).is_some_and(|(_, operation)| match operation.status.phase {
        Phase::Succeeded => true,
        Phase::Running => {
            let step = Step::of(operation);
            matches!(step, Some(Step::Destroy | Step::Evidence | Step::CallOff))
        }
        Phase::Pending | Phase::Failed | Phase::Cancelled => false,
    });
    by_operation || account::of_the_destroyed(input).is_some()
}

/// What is left to say of keys that are no more.
pub fn epitaph(input: &Input<'_>) -> Option<String> {
    if let Some((record, at)) = account::of_the_destroyed(input) {
        return Some(format!(
            "the tenant key was destroyed on {at}, as it was asked for: DestructionRecord {record}"
        ));
    }
    let (name, operation) = destruction(input).filter(|_| is_final(input))?;
    let record = account::name(input, (name, operation));
    let message = match account::destroyed_at(input, operation) {
        Some(at) => format!("the tenant key was destroyed on {at}: DestructionRecord {record} is to say so"),
        None => words(name, operation),
    };
    Some(message)
}

fn words(name: &str, operation: &Operation) -> String {
    match Step::of(operation) {
        Some(Step::CallOff) => format!("the destruction of the tenant key is being called off ({name})"),
        _ => format!("the tenant key is being destroyed ({name})"),
    }
}

/// One that comes to nothing, because the tenant is taken down.
pub fn give_up(input: &Input<'_>) -> Option<Record> {
    let open = destruction(input).filter(|(_, operation)| !operation.status.phase.is_over());
    open.map(|operation| cancel(operation, input.now, None))
}

/// The condition, the records, and the one act.
pub fn plan(input: &Input<'_>, class: Option<&TenantClassSpec>) -> Outcome {
    let mut outcome = Outcome::default();
    if is_blocked(input) {
        return outcome;
    }
    match destruction(input) {
        None if is_final(input) => tell_end(input, &mut outcome),
        None if corrects(input, &mut outcome) => {}
        None if is_wished(input.tenant) => announce(input, class, &mut outcome),
        None => {}
        Some(operation) => match operation.1.status.phase {
            Phase::Pending => wait_out(input, class, operation, &mut outcome),
            Phase::Running => carry_on(input, class, operation, &mut outcome),
            Phase::Succeeded => tell_end(input, &mut outcome),
            Phase::Failed | Phase::Cancelled => {}
        },
    }
    if !outcome.records.is_empty() {
        outcome.wake_at(soon(input.now));
    }
    outcome
}

/// What was called off may have happened all the same.
fn corrects(input: &Input<'_>, outcome: &mut Outcome) -> bool {
    let key = tenant_key(input).ok().filter(|key| key.versions.is_empty());
    let record = key.and_then(|key| account::corrected(input, key));
    outcome.records.extend(record);
    !outcome.records.is_empty()
}

fn is_wished(tenant: &Tenant) -> bool {
    let asked = tenant.spec.termination.as_ref();
    tenant.spec.desired_state == DesiredState::Terminated && asked.is_some_and(|asked| asked.destroy_keys)
}

fn announce(input: &Input<'_>, class: Option<&TenantClassSpec>, outcome: &mut Outcome) {
    if input.tenant.metadata.deletion_timestamp.is_some() {
        return;
    }
    if let Some(objection) = objection(input, class) {
        outcome.findings.push(waiting(objection.message.clone()));
        outcome.waits.push(objection);
        return;
    }
    outcome.findings.push(waiting(
        "the destruction of the keys is being announced".to_owned(),
    ));
    outcome.records.push(Record::Create {
        name: free_name(input, ACT),
        spec: TenantOperationSpec {
            tenant: input.tenant.metadata.name.clone().unwrap_or_default(),
            tenant_uid: input.tenant.metadata.uid.clone().unwrap_or_default(),
            incarnation: incarnation(input),
            r#type: OperationType::KeyDestruction,
            deletion: None,
            rotation: None,
            authority: None,
            upgrade: None,
            reencryption: None,
        },
    });
}

/// The grace, in which it can be called off.
fn wait_out(input: &Input<'_>, class: Option<&TenantClassSpec>, operation: Named<'_>, outcome: &mut Outcome) {
    let (name, announced) = operation;
    let objection = objection(input, class).filter(|_| is_wished(input.tenant));
    let refused = objection.as_ref().is_some_and(|objection| objection.stalls);
    if !is_wished(input.tenant) || refused {
        outcome.records.push(cancel(operation, input.now, None));
        outcome.waits.extend(objection);
        return;
    }
    let due = account::due(announced, termination_grace(class));
    if due > input.now {
        outcome.wake_at(Some(due));
        outcome.findings.push(waiting(format!(
            "the tenant key is destroyed from {due} on ({name}), after which nobody can read the data any more; until \
             then it is called off by taking spec.termination out"
        )));
        return;
    }
    let other = input.observed.operations.iter().find(|(other, operation)| {
        other.as_str() != name
            && operation.spec.incarnation == announced.spec.incarnation
            && operation.spec.r#type != OperationType::Deletion
            && !operation.status.phase.is_over()
    });
    if let Some((other, _)) = other {
        // A rotation gives way, see [`is_due`].
        outcome
            .findings
            .push(waiting(format!("waiting for the end of {other}")));
        return;
    }
    match objection.map_or_else(|| tenant_key(input), Err) {
        Err(wait) => {
            outcome.findings.push(waiting(wait.message.clone()));
            outcome.waits.push(wait);
        }
        Ok(_) => {
            let first = Some(Step::Stop.as_str());
            outcome.records.push(advance(operation, input.now, None, first));
            outcome.findings.push(under_way(format!("{name} begins")));
        }
    }
}

/// The next step of a destruction that has begun.
fn carry_on(input: &Input<'_>, class: Option<&TenantClassSpec>, operation: Named<'_>, outcome: &mut Outcome) {
    let (name, running) = operation;
    let Some(step) = Step::of(running) else {
        let first = Some(Step::Stop.as_str());
        outcome.records.push(advance(operation, input.now, None, first));
        return;
    };
    let withdrawn = !is_wished(input.tenant) || input.tenant.spec.deletion_protection;
    let key = tenant_key(input);
    // As long as a version is left, nothing was destroyed: the tenant key goes first, and as a whole.
    let is_gone = || key.as_ref().is_ok_and(|key| key.versions.is_empty());
    match step {
        Step::Stop | Step::Record if withdrawn => {
            outcome
                .records
                .extend(account::called_off(input, operation, false));
            outcome.records.push(cancel(operation, input.now, None));
            return;
        }
        Step::Destroy if withdrawn && !is_gone() => {
            // Nobody asks the provider from this step on; who did before may not have been heard yet.
            let step = Step::CallOff.as_str();
            let why = "it was called off when the key service may have been asked already".to_owned();
            outcome.records.extend(account::unknown(input, operation));
            let record = advance(operation, input.now, Some((step, why)), Some(step));
            outcome.records.push(record);
            return;
        }
        Step::CallOff => return call_off(input, operation, key, outcome),
        _ => {}
    }
    let done = match step {
        Step::Stop => stopped(input, outcome),
        Step::Evidence => account::told(input, operation, outcome),
        Step::CallOff => None,
        Step::Record | Step::Destroy => match key {
            Ok(key) if step == Step::Record => {
                let grace = termination_grace(class);
                account::recorded(input, operation, key, grace, outcome)
            }
            Ok(key) => destroyed(input, operation, key, outcome),
            Err(wait) => {
                outcome.waits.push(wait);
                None
            }
        },
    };
    if let Some(done) = done {
        let over = Some((step.as_str(), done));
        let next = step.next().map(Step::as_str);
        outcome.records.push(advance(operation, input.now, over, next));
    }
    let message = outcome.waits.first().map(|wait| wait.message.clone());
    let message = message.unwrap_or_else(|| words(name, running));
    outcome.findings.push(under_way(message));
}

/// Over when the key service says, after everything that was asked before must have come to its end, what is left.
fn call_off(input: &Input<'_>, operation: Named<'_>, key: Result<&TenantKey, Wait>, outcome: &mut Outcome) {
    let (name, running) = operation;
    let mut message = words(name, running);
    let settled = settled(running);
    match key {
        // It was heard: there is no way back.
        Ok(key) if key.versions.is_empty() => {
            let step = Some(Step::Destroy.as_str());
            outcome.records.push(advance(operation, input.now, None, step));
        }
        Ok(_) if settled <= input.now => {
            outcome
                .records
                .extend(account::called_off(input, operation, true));
            outcome.records.push(cancel(operation, input.now, None));
        }
        Ok(_) => {
            outcome.wake_at(Some(settled));
            message = format!("{message}: whether it was heard already is known at {settled}");
        }
        Err(wait) => {
            message.clone_from(&wait.message);
            outcome.waits.push(wait);
        }
    }
    outcome
        .findings
        .push(Finding::new(TOPIC, false, "CallingOff", message));
}

/// When everything has come to its end that was asked of the key service before the destruction was called off.
fn settled(operation: &Operation) -> Timestamp {
    let mut evidence = operation.status.evidence.iter().rev();
    let since = evidence.find(|evidence| evidence.step == Step::CallOff.as_str());
    since.map_or(operation.created, |since| since.at.0) + SETTLES
}

/// What of the tenant runs: no volume may be staged anywhere, or a kernel has its key.
fn stopped(input: &Input<'_>, outcome: &mut Outcome) -> Option<String> {
    let own = namespace(input.tenant);
    let objects = input.observed.objects.iter();
    let runs = objects
        .filter(|(id, _)| id.namespace == own.as_str())
        .filter(|(_, seen)| match &seen.facts {
            Facts::Database { hibernated, .. } => !hibernated,
            Facts::Deployment {
                settled,
                wanted,
                available,
                ..
            } => !settled || *wanted > 0 || *available > 0,
            Facts::Job {
                succeeded, failed, ..
            } => !succeeded && failed.is_none(),
            Facts::Pod { over, .. } => !over,
            _ => false,
        });
    let names: Vec<String> = runs.take(5).map(|(id, _)| id.to_string()).collect();
    if names.is_empty() {
        return Some("the database is hibernated, and nothing of the product runs".to_owned());
    }
    outcome.waits.push(Wait {
        reason: "DestructionStops",
        message: format!(
            "before its keys are destroyed everything stops: {}",
            names.join(", ")
        ),
        unblocked_by: "the end of what is named; a database that is not healthy is not hibernated".to_owned(),
        stalls: false,
    });
    None
}

/// Told from what is there: no version and no wrapped key is left, and the provider has said so.
fn destroyed(
    input: &Input<'_>,
    (name, _): Named<'_>,
    key: &TenantKey,
    outcome: &mut Outcome,
) -> Option<String> {
    let keys = &input.observed.minted.keys;
    let gone = key.versions.is_empty() && keys.data.is_empty();
    if let Some((at, evidence)) = key.destroyed_at.zip(key.evidence.as_ref()).filter(|_| gone) {
        return Some(format!(
            "every version of the tenant key was destroyed at {at}, every wrapped data key was deleted; the provider: \
             {evidence}"
        ));
    }
    outcome.actions.push(Action::DestroyKeys {
        operation: name.to_owned(),
    });
    if let Some(held) = &keys.held {
        outcome.waits.push(Wait {
            reason: "DestructionHeld",
            message: format!("the keys are not destroyed yet: {held}"),
            unblocked_by: "the end of what is named; it is looked at again every minute".to_owned(),
            stalls: false,
        });
    }
    None
}

/// As it was asked for, unless more is asked for than can be.
fn tell_end(input: &Input<'_>, outcome: &mut Outcome) {
    let epitaph = epitaph(input).unwrap_or_default();
    if input.tenant.spec.desired_state != DesiredState::Terminated {
        outcome.waits.push(Wait {
            reason: "TenantKeyDestroyed",
            message: format!("nothing can be started: {epitaph}"),
            unblocked_by: "nothing brings the key back: set desiredState to Terminated, or delete the tenant"
                .to_owned(),
            stalls: true,
        });
    }
    outcome
        .findings
        .push(Finding::aside(TOPIC, Some(true), "Destroyed", epitaph));
}

fn waiting(message: String) -> Finding {
    Finding::aside(TOPIC, Some(false), "Waiting", message)
}

fn under_way(message: String) -> Finding {
    Finding::new(TOPIC, false, "DestroyingKeys", message)
}
