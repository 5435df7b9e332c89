//! Orphans: tenants that are gone though they were not let go. Somebody took the finalizer off past admission, or deleted the
//! definitions; what had begun is finished from its record, and what nobody holds is counted. Client required, but
//! nothing is read while there are none.
//!
//! Invariant: a Tenant of the same name that exists by now is another: nothing that it holds is touched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use freehold_crds::{Tenant, TenantOperationSpec};
use freehold_plan::names::FINALIZER;
use freehold_plan::{Facts, Finalizer, Input, Kind, Observed, Operation, Plan, plan};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store as Reflector};
use serde_json::json;
use tracing::{info, warn};

use crate::apply::{self, ApplyError, Done, Pass};
use crate::mint::For;
use crate::observe::{life, read_minted};
use crate::reconcile::{Context, PASS_MAX};
use crate::store::{Lived, Store, namespace_of};

/// How often it is looked whether there is one: this costs no request.
const EVERY: Duration = Duration::from_secs(5);
/// Passes of one orphan without a pause; each takes a step at most.
const AT_ONCE: usize = 32;

/// Looks for orphans from time to time, for ever.
pub async fn follow(context: Arc<Context>, tenants: Reflector<Tenant>) {
    loop {
        finish(&context, &tenants).await;
        count(&context, &tenants);
        tokio::time::sleep(EVERY).await;
    }
}

/// Takes the deletions that nobody holds any more as far as they go now.
pub async fn finish(context: &Context, tenants: &Reflector<Tenant>) {
    for (name, operation) in context.store.running_deletions() {
        let holder = tenants.get(&ObjectRef::new(&operation.spec.tenant));
        if holder.as_ref().and_then(|tenant| tenant.uid()).as_ref() == Some(&operation.spec.tenant_uid) {
            continue;
        }
        let Some(ghost) = ghost(&operation.spec) else {
            continue;
        };
        if is_adopted(&context.store, &operation, holder.as_deref()) {
            continue;
        }
        for _ in 0..AT_ONCE {
            let pass = pass(context, &ghost, &name, Timestamp::now());
            match tokio::time::timeout(PASS_MAX, pass).await {
                Ok(Ok(done)) if done.again => {}
                Ok(Ok(_)) | Err(_) => break,
                Ok(Err(error)) => {
                    warn!(operation = name, %error, "the deletion of a tenant that is gone does not go on");
                    break;
                }
            }
        }
    }
}

/// The Tenant as far as its record tells; it is asked for nothing but its end.
fn ghost(spec: &TenantOperationSpec) -> Option<Tenant> {
    let adopt = (spec.incarnation != spec.tenant_uid).then(|| json!({ "incarnation": spec.incarnation }));
    serde_json::from_value(json!({
        "apiVersion": "freehold.dev/v1alpha1",
        "kind": "Tenant",
        "metadata": {
            "name": spec.tenant,
            "uid": spec.tenant_uid,
            "deletionTimestamp": Timestamp::UNIX_EPOCH,
            "finalizers": [FINALIZER],
        },
        "spec": {
            "displayName": spec.tenant, "owner": { "email": "" }, "seats": 1, "region": "", "className": "",
            "release": { "name": "" }, "hostnames": [], "adopt": adopt,
        },
    }))
    .ok()
}

/// Whether another Tenant goes on with this life: then its end has to wait for that one's.
fn is_adopted(store: &Store, operation: &Operation, holder: Option<&Tenant>) -> bool {
    let life = &operation.spec.incarnation;
    let adopts = holder.and_then(|tenant| tenant.spec.adopt.as_ref());
    if adopts.is_some_and(|adopt| adopt.incarnation == *life) {
        return true;
    }
    let observed = store.observed(&operation.spec.tenant, Timestamp::now());
    let seen = observed.objects.get(&namespace_of(&operation.spec.tenant));
    seen.is_some_and(|seen| {
        matches!(&seen.facts, Facts::Namespace { tenant_uid, incarnation: Some(found) }
            if found == life && tenant_uid.as_ref() != Some(&operation.spec.tenant_uid))
    })
}

/// One pass, without status and finalizer: there is nothing to write them to.
async fn pass(context: &Context, ghost: &Tenant, name: &str, now: Timestamp) -> Result<Done, ApplyError> {
    let config = context
        .config
        .read()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone();
    let mut observed = context.store.observed(&ghost.name_any(), now);
    only_its_own(&mut observed, ghost);
    let incarnation = life(ghost, &observed, &config, now);
    let target = For {
        name: &ghost.name_any(),
        incarnation: &incarnation,
        keys_namespace: &config.keys_namespace,
        operator_namespace: &config.operator_namespace,
        service: context.keys.as_ref(),
    };
    let (minted, failed) = read_minted(&context.client, target, false, Observed::default().minted).await;
    if let Some(failed) = failed {
        return Err(ApplyError::Mint(failed));
    }
    observed.minted = minted;
    let plan = plan(&Input {
        tenant: ghost,
        class: None,
        channel: None,
        releases: &BTreeMap::new(),
        observed: &observed,
        now,
        config: &config,
    });
    if plan.finalizer == Finalizer::Remove {
        return Ok(Done::default());
    }
    let plan = Plan {
        finalizer: Finalizer::Keep,
        ..plan
    };
    let pass = Pass {
        client: &context.client,
        store: &context.store,
        config: &config,
        tenant: ghost,
        incarnation: &incarnation,
        service: context.keys.as_ref(),
        now,
    };
    let done = apply::apply(pass, &observed, &plan).await?;
    if done.writes > 0 {
        info!(
            tenant = ghost.name_any(),
            operation = name,
            writes = done.writes,
            "finishing the deletion of a tenant that is gone"
        );
    }
    Ok(done)
}

/// Leaves out what the namespace holds when another Tenant holds the namespace.
fn only_its_own(observed: &mut Observed, ghost: &Tenant) {
    let id = namespace_of(&ghost.name_any());
    let is_its = observed.objects.get(&id).is_none_or(|seen| {
        matches!(&seen.facts, Facts::Namespace { tenant_uid, .. } if *tenant_uid == ghost.metadata.uid)
    });
    if !is_its {
        // Claims say themselves to whom they belong.
        observed.objects.retain(|id, _| id.kind == Kind::HostnameClaim);
    }
}

/// Counts the namespaces that no Tenant holds, that were not kept on purpose, and whose end is not under way.
pub fn count(context: &Context, tenants: &Reflector<Tenant>) {
    let running = context.store.running_deletions();
    let is_orphaned = |lived: &Lived| {
        let holder = tenants.get(&ObjectRef::new(&lived.tenant));
        let held = lived.tenant_uid.is_some() && holder.and_then(|tenant| tenant.uid()) == lived.tenant_uid;
        let ends = running
            .iter()
            .any(|(_, operation)| Some(&operation.spec.tenant_uid) == lived.tenant_uid.as_ref());
        !held && !lived.retained && !ends
    };
    let mut orphaned: Vec<String> = context
        .store
        .lived()
        .into_iter()
        .filter(is_orphaned)
        .map(|lived| lived.tenant)
        .collect();
    orphaned.sort();
    let before = context.metrics.orphans(orphaned.len());
    if before != orphaned.len() && !orphaned.is_empty() {
        let some: Vec<&String> = orphaned.iter().take(10).collect();
        warn!(
            count = orphaned.len(),
            tenants = ?some,
            "namespaces of tenants that are gone: create the Tenant again with spec.adopt.incarnation, then delete it as any other"
        );
    }
}
