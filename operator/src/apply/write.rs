//! Single writes: a create, an apply onto what was seen, a delete. Client required.
//!
//! In: what the plan says of one object. Out: the write, and what came back is taken in. Invariants: an object that was not made
//! by us is left alone; a write is onto the uid that was seen; what comes back changed is not written again at once.

use freehold_plan::names::FREEHOLD;
use freehold_plan::{Facts, Id, Kind, Observed, Seen, Write, tenant_labels};
use kube::ResourceExt;
use kube::api::{
    Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use serde_json::{Value, json};
use tracing::info;

use super::{ApplyError, LOOK_AGAIN, Pass, claims, id_of, remember};
use crate::cluster::{Refusal, api_of, refusal};
use crate::observe::is_held;
use crate::reconcile::backoff;
use crate::store::{LASTING, is_declared};
use crate::watch::reduce;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Written,
    /// Not all is as it was thought: what was found out is taken in, and the plan is to be made anew.
    Found,
    /// The same of a hostname: nothing may be served under a name that may be another's.
    Claimed,
}

/// Whether what the API server kept is not what was sent: a webhook of somebody's, most likely. Writing it again at once
/// would go on for ever, so the next write waits ever longer, and the status says it.
fn comes_back_changed(pass: Pass<'_>, write: &Write<'_>, kept: &DynamicObject) -> bool {
    let (Write::Create(object) | Write::Apply(object, _)) = write;
    let tenant = pass.tenant.name_any();
    let seen = reduce(object.id.kind, kept.clone());
    if seen.is_none_or(|(_, _, seen)| object.is_settled(&seen.live)) {
        pass.store.stands(&tenant, &object.id);
        return false;
    }
    let times = pass
        .store
        .rewritten(&tenant, &object.id, pass.now, |times| backoff(&tenant, times));
    if times >= LASTING {
        let why = "what is written comes back changed: look for a mutating webhook or policy that changes it";
        pass.store.refused(&tenant, object.id.clone(), why.to_owned());
    }
    true
}

/// What was written; `None` when it is not as it was seen, see [`Outcome::Found`].
pub(super) type Answer = Option<DynamicObject>;

pub(super) async fn carry_out(
    pass: Pass<'_>,
    observed: &Observed,
    write: Write<'_>,
) -> Result<Outcome, ApplyError> {
    let (verb, result) = match write {
        Write::Create(object) => ("create", create(pass, &object.id, &object.body).await),
        Write::Apply(object, uid) => {
            // Of several that want a claim which was given up, one gets it.
            let seen = observed.objects.get(&object.id);
            let onto = seen
                .filter(|_| object.id.kind == Kind::HostnameClaim)
                .map(|seen| seen.resource_version.as_str());
            let written = match onto {
                Some(onto) => claims::patch(pass, &object.id, &object.body, uid, onto).await,
                None => patch(pass, &object.id, &object.body, uid).await,
            };
            ("patch", written)
        }
    };
    let id = id_of(&write);
    match result {
        Ok(Some(written)) => {
            info!(%id, verb, "written");
            let was_refused = pass.store.accepted(&pass.tenant.name_any(), id);
            if comes_back_changed(pass, &write, &written) {
                remember(pass, id, written);
                return Ok(Outcome::Written);
            }
            remember(pass, id, written);
            Ok(if was_refused {
                Outcome::Found
            } else {
                Outcome::Written
            })
        }
        Ok(None) if id.kind == Kind::HostnameClaim => Ok(Outcome::Claimed),
        Ok(None) => Ok(Outcome::Found),
        Err(source) => {
            if refusal(&source) == Refusal::NotFound && verb == "patch" {
                // Gone since it was seen: the watch will say so.
                return Ok(Outcome::Written);
            }
            if let kube::Error::Api(status) = &source {
                let tenant = pass.tenant.name_any();
                let lasting = match refusal(&source) {
                    Refusal::Invalid => true,
                    // Not found by a create: the kind is unknown to the cluster, or the namespace has just gone.
                    Refusal::Forbidden | Refusal::NotFound => pass.store.unwritten(&tenant, id, pass.now),
                    Refusal::Other if status.code >= 500 => pass.store.unwritten(&tenant, id, pass.now),
                    _ => false,
                };
                if lasting {
                    pass.store.refused(&tenant, id.clone(), status.message.clone());
                }
            }
            Err(ApplyError::Object {
                verb,
                id: Box::new(id.clone()),
                source: Box::new(source),
            })
        }
    }
}

/// A create.
async fn create(pass: Pass<'_>, id: &Id, body: &Value) -> Result<Answer, kube::Error> {
    let api = api_of(pass.client, id);
    let object: DynamicObject = serde_json::from_value(body.clone()).map_err(kube::Error::SerdeError)?;
    let params = PostParams {
        field_manager: Some(FREEHOLD.to_owned()),
        ..PostParams::default()
    };
    match api.create(&params, &object).await {
        Err(error) if refusal(&error) == Refusal::AlreadyExists => {
            let Some(there) = api.get_opt(&id.name).await? else {
                return Err(error);
            };
            if id.kind == Kind::HostnameClaim {
                claims::found(pass, id, there);
                return Ok(None);
            }
            if is_ours(pass, id, &there) {
                adopt(pass, id, there).await?;
                return Ok(None);
            }
            info!(%id, "somebody else's object stands in the place of ours");
            pass.store
                .stranger(&pass.tenant.name_any(), id.clone(), pass.now + LOOK_AGAIN);
            Ok(None)
        }
        result => result.map(Some),
    }
}

/// Whether what stands there was made by us for this tenant: by marks that say so, not by the labels that anybody may
/// have taken off. It is asked only of the tenant's namespace, and of what is in it when it is ours.
pub(super) fn is_ours(pass: Pass<'_>, id: &Id, there: &DynamicObject) -> bool {
    match reduce(id.kind, there.clone()) {
        Some((tenant, _, seen)) if tenant == pass.tenant.name_any() => match seen.facts {
            facts @ Facts::Namespace { .. } => is_held(&facts, pass.tenant),
            _ => is_declared(&seen),
        },
        _ => false,
    }
}

/// Takes in an object of ours that no watch told of, and puts back the labels by which it is watched.
pub(super) async fn adopt(pass: Pass<'_>, id: &Id, there: DynamicObject) -> Result<(), kube::Error> {
    let tenant = pass.tenant.name_any();
    let labels = tenant_labels(&tenant);
    let lost = labels
        .iter()
        .any(|(key, value)| there.labels().get(key) != Some(value));
    // A pod of the verification lives for a minute: nobody misses its labels.
    let there = if lost && id.kind != Kind::Pod {
        info!(%id, "labels put back");
        let patch = json!({
            "metadata": { "uid": there.uid(), "resourceVersion": there.resource_version(), "labels": labels },
        });
        let params = PatchParams {
            field_manager: Some(FREEHOLD.to_owned()),
            ..PatchParams::default()
        };
        api_of(pass.client, id)
            .patch(&id.name, &params, &Patch::Merge(&patch))
            .await?
    } else {
        there
    };
    if let Some((tenant, id, seen)) = reduce(id.kind, there) {
        pass.store.put_read(&tenant, id, seen);
    }
    Ok(())
}

/// A server-side apply onto the object that was seen.
async fn patch(pass: Pass<'_>, id: &Id, body: &Value, uid: &str) -> Result<Answer, kube::Error> {
    let api = api_of(pass.client, id);
    let there = api.get_opt(&id.name).await?;
    let Some(there) = there.filter(|there| there.uid().as_deref() == Some(uid)) else {
        pass.store.missed(&pass.tenant.name_any(), id, uid);
        return Ok(None);
    };
    take_over_fields(&api, &there).await?;
    let mut body = body.clone();
    body["metadata"]["uid"] = uid.into();
    api.patch(
        &id.name,
        &PatchParams::apply(FREEHOLD).force(),
        &Patch::Apply(&body),
    )
    .await
    .map(Some)
}

/// Turns the ownership that a create left into that of an apply. Server-side apply takes a field away only when it is
/// no longer applied and nobody else owns it, and a create counts as somebody else. Gives the version that it left.
pub(super) async fn take_over_fields(
    api: &Api<DynamicObject>,
    object: &DynamicObject,
) -> Result<Option<String>, kube::Error> {
    let ours = |operation: &str| {
        let operation = operation.to_owned();
        object.managed_fields().iter().position(|entry| {
            entry.manager.as_deref() == Some(FREEHOLD)
                && entry.operation.as_deref() == Some(operation.as_str())
                && entry.subresource.is_none()
        })
    };
    let Some(created) = ours("Update") else {
        return Ok(object.resource_version());
    };
    let mut entries = object.managed_fields().to_vec();
    if ours("Apply").is_some() {
        entries.remove(created);
    } else if let Some(entry) = entries.get_mut(created) {
        entry.operation = Some("Apply".to_owned());
    }
    let patch = json!({
        "metadata": {
            "resourceVersion": object.resource_version(),
            "uid": object.uid(),
            "managedFields": entries,
        },
    });
    let params = PatchParams {
        field_manager: Some(FREEHOLD.to_owned()),
        ..PatchParams::default()
    };
    let patched = api
        .patch(&object.name_any(), &params, &Patch::Merge(&patch))
        .await?;
    Ok(patched.resource_version())
}

/// Deletes in the foreground: the object stays until what it owns is gone, its pods too.
pub(super) async fn prune(pass: Pass<'_>, observed: &Observed, id: &Id) -> Result<(), ApplyError> {
    let Some(Seen { uid, .. }) = observed.objects.get(id) else {
        return Ok(());
    };
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        preconditions: Some(Preconditions {
            uid: Some(uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api_of(pass.client, id).delete(&id.name, &params).await {
        Ok(answer) => {
            info!(%id, "deleted");
            if let Some(object) = answer.left() {
                remember(pass, id, object);
            }
            Ok(())
        }
        Err(source) if matches!(refusal(&source), Refusal::NotFound | Refusal::Conflict) => Ok(()),
        Err(source) => Err(ApplyError::Object {
            verb: "delete",
            id: Box::new(id.clone()),
            source: Box::new(source),
        }),
    }
}
