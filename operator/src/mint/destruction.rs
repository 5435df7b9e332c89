//! The destruction of a tenant's keys. Client required.
//!
//! In: the TenantOperation that says so. Out: no version of the tenant key, no wrapped data key, and the provider's evidence.
//! Invariants: as long as something is left to lose, what depends on it is looked up in the cluster right before: that the
//! tenant asks for it still, that the operation is at that step, that no pod is left which could hold a volume open. The
//! tenant key goes first: without it nothing else opens anything.

use freehold_crds::{DesiredState, Phase, Tenant, TenantOperation};
use freehold_keys::client::Client as Service;
use freehold_keys::{Destroying, KeyError};
use freehold_plan::names::NamespaceName;
use freehold_plan::{Keys, Slot};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use tracing::{info, warn};

use super::keys::{list, name, versions};
use super::{For, MintError, forget};

/// The step of the operation in which it happens.
const STEP: &str = "Destroy";

/// Destroys them, or learns why not.
pub async fn destroy(
    client: &Client,
    service: &Service,
    target: For<'_>,
    operation: &str,
    keys: &mut Keys,
) -> Result<(), MintError> {
    let key = versions(target).await.map_err(MintError::key("read"))?;
    let is_whole = key.present().is_none_or(|key| !key.versions.is_empty());
    if is_whole && let Some(why) = objection(client, target, operation).await? {
        warn!(tenant = target.name, operation, why, "the keys are not destroyed");
        keys.held = Some(why);
        return Ok(());
    }
    let evidence = match service.destroy(&name(target)?, Destroying::All).await {
        Ok(destroyed) => destroyed.evidence,
        // There is nothing to say of a key that nobody knows.
        Err(KeyError::NotFound(_)) => String::new(),
        Err(error) => return Err(MintError::key("destroy")(error)),
    };
    for volume in list(client, target).await?.into_keys() {
        forget(client, target, &volume).await?;
    }
    info!(tenant = target.name, operation, "the keys were destroyed");
    *keys = Keys {
        tenant: versions(target).await.map_err(MintError::key("read"))?,
        data: list(client, target).await?,
        ..Keys::default()
    };
    if let Slot::Present(key) = &mut keys.tenant {
        key.evidence = Some(evidence);
    }
    Ok(())
}

/// What stands against it at this moment.
async fn objection(client: &Client, target: For<'_>, operation: &str) -> Result<Option<String>, MintError> {
    if !is_asked(client, target).await? {
        return Ok(Some("the tenant does not ask for it any more".to_owned()));
    }
    if !is_on_record(client, target, operation).await? {
        return Ok(Some(format!(
            "TenantOperation {operation} is not at the step {STEP}"
        )));
    }
    let left = pods(client, target).await?;
    Ok((!left.is_empty()).then(|| format!("pods are left: {}", left.join(", "))))
}

async fn is_asked(client: &Client, target: For<'_>) -> Result<bool, MintError> {
    let tenants: Api<Tenant> = Api::all(client.clone());
    let tenant = tenants.get_opt(target.name).await.map_err(failed("the tenant"))?;
    Ok(tenant.is_some_and(|tenant| {
        let asked = tenant.spec.termination.as_ref();
        tenant.spec.desired_state == DesiredState::Terminated
            && asked.is_some_and(|asked| asked.destroy_keys)
            && !tenant.spec.deletion_protection
    }))
}

async fn is_on_record(client: &Client, target: For<'_>, operation: &str) -> Result<bool, MintError> {
    let operations: Api<TenantOperation> = Api::namespaced(client.clone(), target.operator_namespace);
    let found = operations
        .get_opt(operation)
        .await
        .map_err(failed("the TenantOperation"))?;
    Ok(found.is_some_and(|found| {
        let status = found.status.unwrap_or_default();
        found.spec.tenant == target.name
            && found.spec.incarnation == target.incarnation
            && status.phase == Phase::Running
            && status.step.as_deref() == Some(STEP)
    }))
}

/// Pods that may have a volume open. One that is being deleted is there until its volumes are not.
async fn pods(client: &Client, target: For<'_>) -> Result<Vec<String>, MintError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NamespaceName::of(target.name).as_str());
    let listed = pods
        .list(&ListParams::default())
        .await
        .map_err(failed("the tenant's pods"))?;
    let left = listed.iter().filter(|pod| !has_ended(pod));
    Ok(left.take(5).map(ResourceExt::name_any).collect())
}

/// Whether a pod has ended for good. Its phase alone does not say so: of one whose node is lost the control plane says that
/// it failed (<https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-garbage-collection>), and what runs
/// there may run on. So its kubelet must have said of each container that it has ended; one that no kubelet ever had needs
/// nobody's word.
fn has_ended(pod: &Pod) -> bool {
    let Some(status) = &pod.status else {
        return false;
    };
    if !matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return false;
    }
    let (containers, node) = pod
        .spec
        .as_ref()
        .map_or((0, None), |spec| (spec.containers.len(), spec.node_name.as_ref()));
    let told = status.container_statuses.as_ref().map_or(0, Vec::len);
    let all = [
        &status.init_container_statuses,
        &status.container_statuses,
        &status.ephemeral_container_statuses,
    ];
    let mut all = all.into_iter().flatten().flatten();
    let over = |status: &ContainerStatus| {
        let state = status.state.as_ref();
        state.is_some_and(|state| state.terminated.is_some())
    };
    node.is_none() || (told > 0 && told >= containers && all.all(over))
}

fn failed(what: &'static str) -> impl FnOnce(kube::Error) -> MintError {
    move |source| MintError::LookUp {
        what,
        source: Box::new(source),
    }
}
