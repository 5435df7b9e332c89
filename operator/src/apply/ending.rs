//! The end of a tenant, as far as the plan can't see it. Client required.
//!
//! Invariant: what is to be deleted is read before it counts as gone.

use freehold_crds::{DeletionPolicy, OperationType, Phase};
use freehold_plan::{Action, Finalizer, Observed, Plan};
use kube::ResourceExt;
use tracing::warn;

use super::write::{adopt, is_ours};
use super::{ApplyError, Pass, is_deleted};
use crate::cluster::api_of;
use crate::observe::is_held;
use crate::store::namespace_of;

/// Whether the end of a tenant may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    GoesOn,
    /// Its namespace stands there after all, and is known now.
    Found,
    /// Its namespace stands there and should not.
    Held,
}

/// Before a step of a tenant's end is taken, and before it is let go, its namespace is read when it is not known: the
/// watch tells of the end of a namespace too when only its labels were taken off. What is deleted must be gone; what is
/// kept may stand.
pub(super) async fn look(pass: Pass<'_>, observed: &Observed, plan: &Plan) -> Result<End, ApplyError> {
    let lets_go = plan.finalizer == Finalizer::Remove || plan.actions.contains(&Action::ForgetAuthority);
    if !is_deleted(pass) || (plan.records.is_empty() && !lets_go) {
        return Ok(End::GoesOn);
    }
    let id = namespace_of(&pass.tenant.name_any());
    if let Some(seen) = observed.objects.get(&id) {
        let stays = lets_go && deletes(pass, observed) && is_held(&seen.facts, pass.tenant);
        if stays {
            warn!(%id, "it stands there though its deletion is on record: the tenant is not let go");
        }
        return Ok(if stays { End::Held } else { End::GoesOn });
    }
    let failed = |verb, source| ApplyError::Object {
        verb,
        id: Box::new(id.clone()),
        source: Box::new(source),
    };
    let there = api_of(pass.client, &id)
        .get_opt(&id.name)
        .await
        .map_err(|source| failed("get", source))?;
    match there {
        Some(there) if is_ours(pass, &id, &there) => {
            let adopted = adopt(pass, &id, there).await;
            adopted
                .map(|()| End::Found)
                .map_err(|source| failed("patch", source))
        }
        _ => Ok(End::GoesOn),
    }
}

/// Whether this tenant's end takes its data with it.
fn deletes(pass: Pass<'_>, observed: &Observed) -> bool {
    observed.operations.values().any(|operation| {
        let spec = &operation.spec;
        spec.r#type == OperationType::Deletion
            && Some(&spec.tenant_uid) == pass.tenant.metadata.uid.as_ref()
            && operation.status.phase != Phase::Cancelled
            && spec.deletion.as_ref().map(|deletion| deletion.policy) == Some(DeletionPolicy::Delete)
    })
}
