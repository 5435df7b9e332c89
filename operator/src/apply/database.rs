//! What CloudNativePG is told otherwise than by its `Cluster`'s spec: which instance is to be the primary, and which is to
//! go. Client required.
//!
//! In: an action. Out: one patch, or none. Invariants: what the plan went by is looked up again right before, and the patch
//! is onto the version that was read; nothing is done while a switch-over is under way, and never to the primary.

use freehold_plan::names::{CLUSTER_LABEL, DATABASE, FREEHOLD};
use freehold_plan::{Action, Facts, Id, Kind};
use jiff::Timestamp;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tracing::info;

use super::ApplyError;
use crate::cluster::{Refusal, api, refusal};
use crate::watch::reduce;

/// CloudNativePG removes an instance with this mark together with its volumes, unless it is the primary.
const UNRECOVERABLE: &str = "alpha.cnpg.io/unrecoverable";
/// CloudNativePG's mark on the claims of an instance.
const INSTANCE_LABEL: &str = "cnpg.io/instanceName";

/// Whether an action is one of these.
pub(super) fn is_about_database(action: &Action) -> bool {
    matches!(action, Action::SwitchOver { .. } | Action::RetireInstance { .. })
}

/// Carries out an action. What isn't as the plan saw it is left as it is: another pass follows.
pub(super) async fn act(client: &Client, action: &Action, now: Timestamp) -> Result<(), ApplyError> {
    let (namespace, kind, name, result) = match action {
        Action::SwitchOver { namespace, to } => {
            let done = switch_over(client, namespace, to, now).await;
            (namespace, Kind::Cluster, DATABASE, done)
        }
        Action::RetireInstance {
            namespace,
            instance,
            volumes,
        } => {
            let done = retire(client, namespace, instance, volumes).await;
            (namespace, Kind::Pod, instance.as_str(), done)
        }
        _ => return Ok(()),
    };
    match result {
        Ok(true) => {
            info!(?action, "done");
            Ok(())
        }
        Ok(false) => Ok(()),
        Err(source) if matches!(refusal(&source), Refusal::NotFound | Refusal::Conflict) => Ok(()),
        Err(source) => Err(ApplyError::Object {
            verb: "patch",
            id: Box::new(Id {
                kind,
                namespace: namespace.clone(),
                name: name.to_owned(),
            }),
            source: Box::new(source),
        }),
    }
}

/// As `kubectl cnpg promote` does it.
async fn switch_over(
    client: &Client,
    namespace: &str,
    to: &str,
    now: Timestamp,
) -> Result<bool, kube::Error> {
    let clusters = api(client, Kind::Cluster, namespace);
    let Some(cluster) = clusters.get_opt(DATABASE).await? else {
        return Ok(false);
    };
    let database = Database::of(&cluster);
    if !database.is_settled() || !database.is_healthy(to) || database.primary == Some(to) {
        return Ok(false);
    }
    let patch = json!({
        "metadata": { "resourceVersion": cluster.resource_version(), "uid": cluster.uid() },
        "status": {
            "targetPrimary": to,
            "targetPrimaryTimestamp": now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
            "phase": "Switchover in progress",
            "phaseReason": format!("Switching over to {to}"),
        },
    });
    clusters
        .patch_status(DATABASE, &params(), &Patch::Merge(&patch))
        .await?;
    Ok(true)
}

async fn retire(
    client: &Client,
    namespace: &str,
    instance: &str,
    volumes: &[String],
) -> Result<bool, kube::Error> {
    let Some(cluster) = api(client, Kind::Cluster, namespace).get_opt(DATABASE).await? else {
        return Ok(false);
    };
    let database = Database::of(&cluster);
    let wanted = cluster.data["spec"]["instances"].as_u64().unwrap_or(u64::MAX);
    let pods: Api<DynamicObject> = pods(client, namespace);
    let all = pods
        .list(&ListParams::default().labels(&format!("{CLUSTER_LABEL}={DATABASE}")))
        .await?;
    // The status may not have told yet of a pod that is gone, or going, or is to go (while it switches over CloudNativePG removes nobody),
    // or that was the primary until just now: without the one that follows already, writes wait for that one.
    let stays = |pod: &&DynamicObject| {
        let name = pod.name_any();
        let goes = pod.metadata.deletion_timestamp.is_some() || pod.annotations().contains_key(UNRECOVERABLE);
        !goes && name != instance && database.is_healthy(&name) && is_ready(pod)
    };
    let others = all.items.iter().filter(stays).count();
    // One less than is asked for is what the tenant has at rest.
    let enough = u64::try_from(others).is_ok_and(|others| others + 1 >= wanted);
    if !database.is_settled() || database.primary == Some(instance) || !enough {
        return Ok(false);
    }
    let Some(pod) = all.items.iter().find(|pod| pod.name_any() == instance) else {
        return Ok(false);
    };
    if !lies_on(client, namespace, instance, volumes).await? {
        return Ok(false);
    }
    let patch = json!({
        "metadata": {
            "resourceVersion": pod.resource_version(),
            "uid": pod.uid(),
            "annotations": { UNRECOVERABLE: "true" },
        },
    });
    pods.patch_metadata(instance, &params(), &Patch::Merge(&patch))
        .await?;
    Ok(true)
}

fn is_ready(pod: &DynamicObject) -> bool {
    let conditions = pod.data["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Whether an instance lies on these volumes: CloudNativePG gives a name again when its instance is gone.
async fn lies_on(
    client: &Client,
    namespace: &str,
    instance: &str,
    volumes: &[String],
) -> Result<bool, kube::Error> {
    let claims = api(client, Kind::Volume, namespace)
        .list(&ListParams::default().labels(&format!("{INSTANCE_LABEL}={instance}")))
        .await?;
    let mut found = claims
        .items
        .into_iter()
        .filter_map(|claim| reduce(Kind::Volume, claim));
    Ok(found.any(|(_, _, seen)| match seen.facts {
        Facts::Volume { volume, .. } => !seen.ending && volumes.contains(&volume),
        _ => false,
    }))
}

fn pods(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let pod = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
    Api::namespaced_with(client.clone(), namespace, &pod)
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(FREEHOLD.to_owned()),
        ..PatchParams::default()
    }
}

/// What a Cluster's status says of its instances.
struct Database<'a> {
    primary: Option<&'a str>,
    target: Option<&'a str>,
    status: &'a Value,
}

impl<'a> Database<'a> {
    fn of(cluster: &'a DynamicObject) -> Self {
        let status = &cluster.data["status"];
        Self {
            primary: status["currentPrimary"].as_str(),
            target: status["targetPrimary"].as_str(),
            status,
        }
    }

    fn is_settled(&self) -> bool {
        self.primary.is_some() && self.primary == self.target
    }

    fn is_healthy(&self, instance: &str) -> bool {
        let names = self.status["instancesStatus"]["healthy"].as_array();
        names.into_iter().flatten().any(|name| name == instance)
    }
}
