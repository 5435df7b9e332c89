//! Report: one status patch, only if something changed, and an Event for each transition. Client required.

use freehold_crds::{Tenant, TenantStatus};
use freehold_plan::Plan;
use freehold_plan::names::FREEHOLD;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use tracing::{info, warn};

use crate::cluster::{Refusal, refusal};
use crate::store::{Store, Written, is_newer};

/// The status is its own applier, so that it never takes fields from the spec's writers.
pub const STATUS_MANAGER: &str = "freehold-status";
/// Where events about cluster-scoped objects are kept.
const EVENTS_NAMESPACE: &str = "default";

#[derive(Debug, thiserror::Error)]
#[error("can't write the status of the tenant")]
pub struct ReportError(#[source] pub Box<kube::Error>);

/// The tenant with the newest status that is known: the watch may be behind our own write.
pub fn freshest(store: &Store, tenant: &Tenant) -> Tenant {
    let mut tenant = tenant.clone();
    if let Some(written) = store.written(&tenant.name_any())
        && Some(&written.uid) == tenant.metadata.uid.as_ref()
        && is_newer(
            &written.resource_version,
            tenant.metadata.resource_version.as_deref().unwrap_or_default(),
        )
    {
        tenant.status = Some(written.status);
    }
    tenant
}

/// What nobody waits for is told at most so often: while a tenant is made, something changes every second.
const PACE: SignedDuration = SignedDuration::from_secs(10);

/// What became of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    pub written: bool,
    /// When what was held back is to be told.
    pub due: Option<Timestamp>,
}

/// Writes the status if it differs from the one before.
pub async fn report(
    client: &Client,
    store: &Store,
    tenant: &Tenant,
    plan: &Plan,
    identity: &str,
    now: Timestamp,
) -> Result<Reported, ReportError> {
    if is_same(tenant.status.as_ref(), &plan.status) {
        return Ok(Reported::default());
    }
    let name = tenant.name_any();
    let due = store.written(&name).map_or(now, |written| written.at + PACE);
    if due > now && !is_urgent(tenant.status.as_ref(), &plan.status) {
        return Ok(Reported {
            written: false,
            due: Some(due),
        });
    }
    let api: Api<Tenant> = Api::all(client.clone());
    let body = json!({
        "apiVersion": Tenant::api_version(&()),
        "kind": Tenant::kind(&()),
        "metadata": { "name": name, "uid": tenant.uid() },
        "status": plan.status,
    });
    match api
        .patch_status(
            &name,
            &PatchParams::apply(STATUS_MANAGER).force(),
            &Patch::Apply(&body),
        )
        .await
    {
        Ok(written) => store.set_written(
            &name,
            Written {
                uid: written.uid().unwrap_or_default(),
                resource_version: written.resource_version().unwrap_or_default(),
                status: plan.status.clone(),
                at: now,
            },
        ),
        Err(error) if refusal(&error) == Refusal::NotFound => return Ok(Reported::default()),
        Err(error) => return Err(ReportError(Box::new(error))),
    }
    for event in &plan.events {
        info!(tenant = name, reason = event.reason, "{}", event.message);
        publish(client, tenant.object_ref(&()), event, identity, now).await;
    }
    Ok(Reported {
        written: true,
        due: None,
    })
}

/// Whether somebody may wait for what is new: everything but how far a concern has come, and how many pods there are. Bad
/// news is never held back.
fn is_urgent(before: Option<&TenantStatus>, after: &TenantStatus) -> bool {
    /// Those that sum a tenant up, and those that people and pipelines ask for.
    const ASKED: [&str; 8] = [
        "Ready",
        "Stalled",
        "Serving",
        "UpToDate",
        "Deletable",
        "KeysDestroyed",
        "ClassCurrent",
        "IsolationVerified",
    ];
    let told = |status: &TenantStatus| {
        let asked = status
            .conditions
            .iter()
            .filter(|c| ASKED.contains(&c.type_.as_str()));
        let asked: Vec<(String, String)> = asked.map(|c| (c.type_.clone(), c.status.clone())).collect();
        let rest = TenantStatus {
            conditions: Vec::new(),
            components: Vec::new(),
            ..status.clone()
        };
        (rest, asked)
    };
    let is_worse = |before: &TenantStatus| {
        let mut good = before.conditions.iter().filter(|c| c.status == "True");
        good.any(|was| {
            after
                .conditions
                .iter()
                .any(|c| c.type_ == was.type_ && c.status != "True")
        })
    };
    before.is_none_or(|before| is_worse(before) || told(before) != told(after))
}

/// Compares in the form in which the API server keeps it.
fn is_same(before: Option<&TenantStatus>, after: &TenantStatus) -> bool {
    let before = before.cloned().unwrap_or_default();
    serde_json::to_value(before).ok() == serde_json::to_value(after).ok()
}

/// An Event of our own making: kube's recorder folds events whose notes alone differ. One that is lost is no loss.
pub async fn publish(
    client: &Client,
    regarding: ObjectReference,
    event: &freehold_plan::Event,
    identity: &str,
    now: Timestamp,
) {
    let body = Event {
        metadata: ObjectMeta {
            generate_name: regarding.name.as_ref().map(|name| format!("{name}-")),
            namespace: Some(EVENTS_NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        reporting_controller: Some("freehold.dev/operator".to_owned()),
        reporting_instance: Some(identity.to_owned()),
        action: Some("Reconcile".to_owned()),
        reason: Some(event.reason.clone()),
        note: Some(event.message.chars().take(1000).collect()),
        regarding: Some(regarding),
        type_: Some(if event.warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    };
    let params = PostParams {
        field_manager: Some(FREEHOLD.to_owned()),
        ..PostParams::default()
    };
    let api: Api<Event> = Api::namespaced(client.clone(), EVENTS_NAMESPACE);
    if let Err(error) = api.create(&params, &body).await {
        warn!(%error, "an event could not be written");
    }
}

#[cfg(test)]
mod tests {
    use freehold_crds::ComponentStatus;
    use serde_json::json;

    use super::*;

    fn status(ready: &str, database: &str, available: i32) -> TenantStatus {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "R", "message": "", "lastTransitionTime": "2027-01-15T08:00:00Z"});
        let conditions = json!([condition("Ready", ready), condition("DatabaseReady", database)]);
        TenantStatus {
            conditions: serde_json::from_value(conditions).unwrap_or_default(),
            components: vec![ComponentStatus {
                name: "web".into(),
                available,
                wanted: 2,
            }],
            ..TenantStatus::default()
        }
    }

    #[test]
    fn how_far_a_tenant_has_come_can_wait_and_everything_else_can_not() {
        let before = status("False", "False", 0);
        assert!(!is_urgent(Some(&before), &status("False", "True", 0)));
        assert!(!is_urgent(Some(&before), &status("False", "False", 1)));
        assert!(is_urgent(Some(&before), &status("True", "False", 0)));
        assert!(is_urgent(Some(&status("False", "True", 0)), &before), "bad news");
        assert!(is_urgent(None, &before));
        let mut blocked = before.clone();
        blocked.url = Some("https://acme.example".into());
        assert!(is_urgent(Some(&before), &blocked));
    }
}
