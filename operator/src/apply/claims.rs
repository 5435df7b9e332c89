//! Hostname claims: a create that meets another's is how one learns that the name is taken. Client required.
//!
//! Invariant: a claim that was given up is taken only as it was seen: of several that want it, one gets it.

use freehold_plan::names::FREEHOLD;
use freehold_plan::{Id, Seen, is_takeable};
use kube::ResourceExt;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::Value;
use tracing::info;

use super::write::{Answer, take_over_fields};
use super::{LOOK_AGAIN, Pass};
use crate::cluster::{Refusal, api_of, refusal};

/// A claim stands there: one that may be taken becomes known, so that the next pass applies onto it.
pub(super) fn found(pass: Pass<'_>, id: &Id, there: DynamicObject) {
    let tenant = pass.tenant.name_any();
    let seen = serde_json::to_value(there)
        .ok()
        .and_then(|there| Seen::reduce(id.kind, there));
    let takeable = seen.filter(|seen| {
        let hold = pass.config.hostname_hold;
        is_takeable(&seen.facts, &tenant, hold, pass.now)
    });
    if let Some(seen) = takeable {
        pass.store.put_read(&tenant, id.clone(), seen);
    } else {
        info!(%id, "the hostname is another tenant's");
        pass.store.stranger(&tenant, id.clone(), pass.now + LOOK_AGAIN);
    }
}

/// An apply onto the claim as it was seen, and no other version of it.
pub(super) async fn patch(
    pass: Pass<'_>,
    id: &Id,
    body: &Value,
    uid: &str,
    onto: &str,
) -> Result<Answer, kube::Error> {
    let api = api_of(pass.client, id);
    let tenant = pass.tenant.name_any();
    let Some(there) = api.get_opt(&id.name).await? else {
        pass.store.missed(&tenant, id, uid);
        return Ok(None);
    };
    if there.uid().as_deref() != Some(uid) || there.resource_version().as_deref() != Some(onto) {
        pass.store.missed(&tenant, id, uid);
        found(pass, id, there);
        return Ok(None);
    }
    let write = async {
        let version = take_over_fields(&api, &there).await?;
        let mut body = body.clone();
        body["metadata"]["uid"] = uid.into();
        body["metadata"]["resourceVersion"] = version.into();
        let params = PatchParams::apply(FREEHOLD).force();
        api.patch(&id.name, &params, &Patch::Apply(&body)).await
    };
    match write.await {
        Err(error) if refusal(&error) == Refusal::Conflict => {
            // Somebody was quicker: the next pass looks who.
            pass.store.missed(&tenant, id, uid);
            Ok(None)
        }
        result => result.map(Some),
    }
}
