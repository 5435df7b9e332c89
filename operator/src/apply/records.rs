//! Records: TenantOperations are written before the effects that they announce, and what became of keys is told in their
//! DestructionRecord. Records of long ago are deleted. Client required.
//!
//! Invariants: a step is taken only onto the version that was seen. A leader that slept meanwhile is refused, and does
//! nothing of what it had planned. That a destruction was called off is written only when the key service has just said that
//! the key is there.

use freehold_crds::{DestructionRecordStatus, TenantOperation, TenantOperationStatus};
use freehold_plan::names::FREEHOLD;
use freehold_plan::{Forgotten, Id, Kind, Observed, Plan, Record, tenant_labels};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Map, Value, json};
use tracing::{info, warn};

use super::{ApplyError, Done, LOOK_AGAIN, Pass};
use crate::cluster::{Refusal, api_of, refusal};
use crate::mint;
use crate::reconcile::backoff;
use crate::store::operations::read;

const OPERATION: &str = "TenantOperation";
const DESTRUCTION: &str = "DestructionRecord";

/// Writes the records of a plan, and says whether the pass is over: whatever else the plan says follows in the next one,
/// from what is on record then. An error says that nothing was recorded.
pub(super) async fn write(
    pass: Pass<'_>,
    observed: &Observed,
    plan: &Plan,
    done: &mut Done,
) -> Result<bool, ApplyError> {
    for record in &plan.records {
        let (verb, kind, name, result) = match record {
            Record::Create { name, spec } => {
                let created = create(pass, name, spec.clone()).await;
                (
                    "create",
                    OPERATION,
                    name,
                    created.map(|created| remember(pass, name, &created)),
                )
            }
            Record::Advance {
                name,
                resource_version,
                status,
            } => {
                let before = observed.operations.get(name).map(|operation| &operation.status);
                let advanced = advance(pass, name, resource_version, before, status).await;
                (
                    "patch",
                    OPERATION,
                    name,
                    advanced.map(|advanced| remember(pass, name, &advanced)),
                )
            }
            Record::Destruction {
                name,
                resource_version,
                only_if_whole,
                status,
            } => {
                if *only_if_whole && !is_whole(pass).await? {
                    // What the plan went by was read before that: the next pass reads it anew.
                    done.again = true;
                    return Ok(true);
                }
                let told = tell(pass, name, resource_version, status).await;
                ("patch", DESTRUCTION, name, told)
            }
        };
        match result {
            Ok(()) => {
                done.writes += 1;
                done.again = true;
            }
            Err(source) => match refusal(&source) {
                // It is on record, and the watch has yet to tell.
                Refusal::AlreadyExists => done.wake = Some(pass.now + LOOK_AGAIN),
                Refusal::Conflict => overtaken(pass, name, verb, done),
                Refusal::NotFound if verb == "patch" => overtaken(pass, name, verb, done),
                _ => {
                    return Err(ApplyError::Record {
                        verb,
                        kind,
                        name: name.clone(),
                        source: Box::new(source),
                    });
                }
            },
        }
        if done.outdated {
            break;
        }
    }
    Ok(done.again || done.outdated)
}

/// Deletes the records that a plan keeps no longer. Each goes to the log before, as a whole: who archives that has the history for as
/// long as it is wanted. Nothing waits for this: what can't be deleted is tried again later.
pub(super) async fn forget(pass: Pass<'_>, observed: &Observed, plan: &Plan, done: &mut Done) {
    let tenant = pass.tenant.name_any();
    for Forgotten {
        name,
        resource_version,
    } in &plan.forget
    {
        let Some(record) = observed.operations.get(name) else {
            continue;
        };
        let record = json!({ "spec": record.spec, "status": record.status });
        info!(name, %record, "a record of long ago is kept no longer");
        let preconditions = Preconditions {
            resource_version: Some(resource_version.clone()),
            uid: None,
        };
        let params = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match api(pass).delete(name, &params).await {
            Ok(_) => done.writes += 1,
            Err(source) if refusal(&source) == Refusal::NotFound => {}
            Err(source) => {
                warn!(name, error = %source, "it can't be deleted");
                return done.wake_at(pass.now + LOOK_AGAIN);
            }
        }
        pass.store.remove_operation(&tenant, name, resource_version);
    }
}

/// Somebody else was quicker. Not in a hot loop: it may take the watch a moment to tell.
fn overtaken(pass: Pass<'_>, name: &str, verb: &'static str, done: &mut Done) {
    info!(name, verb, "the record is not as it was seen");
    let tenant = pass.tenant.name_any();
    *done = Done {
        again: false,
        outdated: true,
        wake: Some(pass.now + backoff(&tenant, pass.store.failed(&tenant))),
        ..*done
    };
}

/// Takes in what was written, without waiting for the watch.
fn remember(pass: Pass<'_>, name: &str, written: &TenantOperation) {
    if let Some(written) = read(written) {
        info!(name, phase = ?written.status.phase, step = written.status.step, "recorded");
        pass.store.put_operation(name, written);
    }
}

fn api(pass: Pass<'_>) -> Api<TenantOperation> {
    Api::namespaced(pass.client.clone(), &pass.config.operator_namespace)
}

async fn create(
    pass: Pass<'_>,
    name: &str,
    spec: freehold_crds::TenantOperationSpec,
) -> Result<TenantOperation, kube::Error> {
    let mut operation = TenantOperation::new(name, spec);
    *operation.labels_mut() = tenant_labels(&pass.tenant.name_any());
    let params = PostParams {
        field_manager: Some(FREEHOLD.to_owned()),
        ..PostParams::default()
    };
    api(pass).create(&params, &operation).await
}

/// The status as a whole: what is no longer in it is taken away.
async fn advance(
    pass: Pass<'_>,
    name: &str,
    resource_version: &str,
    before: Option<&TenantOperationStatus>,
    status: &TenantOperationStatus,
) -> Result<TenantOperation, kube::Error> {
    let map = |status| match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let mut whole = map(status);
    for (key, _) in before.map(map).unwrap_or_default() {
        whole.entry(key).or_insert(Value::Null);
    }
    let patch = json!({ "metadata": { "resourceVersion": resource_version }, "status": whole });
    let params = PatchParams {
        field_manager: Some(FREEHOLD.to_owned()),
        ..PatchParams::default()
    };
    api(pass).patch_status(name, &params, &Patch::Merge(&patch)).await
}

/// Whether a version of the tenant key is left, by the key service at this moment.
async fn is_whole(pass: Pass<'_>) -> Result<bool, ApplyError> {
    let name = pass.tenant.name_any();
    let whole = mint::keys::is_whole(super::target(pass, &name)).await;
    if !matches!(whole, Ok(true)) {
        pass.store.distrust(&name);
    }
    Ok(whole?)
}

/// What became of keys, onto the DestructionRecord that was seen.
async fn tell(
    pass: Pass<'_>,
    name: &str,
    resource_version: &str,
    status: &DestructionRecordStatus,
) -> Result<(), kube::Error> {
    let id = Id {
        kind: Kind::DestructionRecord,
        namespace: String::new(),
        name: name.to_owned(),
    };
    let patch = json!({ "metadata": { "resourceVersion": resource_version }, "status": status });
    let params = PatchParams {
        field_manager: Some(FREEHOLD.to_owned()),
        ..PatchParams::default()
    };
    let told = api_of(pass.client, &id)
        .patch_status(name, &params, &Patch::Merge(&patch))
        .await?;
    info!(%id, phase = ?status.phase, "recorded");
    super::remember(pass, &id, told);
    Ok(())
}
