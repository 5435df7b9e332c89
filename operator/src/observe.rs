//! Observe: what the plan is asked about. Client required, but at rest nothing is read: objects come from the watches,
//! and the metadata of minted Secrets is kept and read again once a day.

use freehold_crds::Tenant;
use freehold_plan::names::{AuthorityName, EDGE_CERTIFICATE, NamespaceName, OWNER_TOKEN};
use freehold_plan::{Facts, Id, Kind, Minted, Observed};
use jiff::{SignedDuration, Timestamp};
use kube::{Client, ResourceExt};

use crate::cluster::Refusal;
use crate::mint::{self, MintError};
use crate::store::Store;

/// How long the metadata of minted Secrets is trusted.
const MINTED_TRUST: SignedDuration = SignedDuration::from_hours(24);

/// Everything that is known of a tenant now.
pub async fn observe(
    client: &Client,
    store: &Store,
    keys_namespace: &str,
    tenant: &Tenant,
    now: Timestamp,
) -> Result<Observed, MintError> {
    let name = tenant.name_any();
    store.belongs_to(&name, &tenant.uid().unwrap_or_default());
    let (_, read_at) = store.minted(&name);
    if read_at.is_none_or(|at| now.duration_since(at) >= MINTED_TRUST) {
        let ours = is_ours(&store.observed(&name, now), tenant);
        let minted = read_minted(client, keys_namespace, tenant, ours).await?;
        // While the namespace isn't there its Secrets weren't looked for, so the next pass looks again.
        store.set_minted(&name, minted, ours.then_some(now));
    }
    Ok(store.observed(&name, now))
}

/// Whether the namespace was made for this tenant: in another one nothing is read.
fn is_ours(observed: &Observed, tenant: &Tenant) -> bool {
    let name = NamespaceName::of(&tenant.name_any()).as_str().to_owned();
    let id = Id {
        kind: Kind::Namespace,
        namespace: String::new(),
        name,
    };
    observed.objects.get(&id).is_some_and(
        |seen| matches!(&seen.facts, Facts::Namespace { tenant_uid } if *tenant_uid == tenant.metadata.uid),
    )
}

async fn read_minted(
    client: &Client,
    keys_namespace: &str,
    tenant: &Tenant,
    with_namespace: bool,
) -> Result<Minted, MintError> {
    let name = tenant.name_any();
    let uid = tenant.uid().unwrap_or_default();
    let authority =
        mint::certificate(client, keys_namespace, AuthorityName::of(&name).as_str(), &uid).await?;
    let mut minted = Minted {
        authority,
        ..Minted::default()
    };
    if with_namespace {
        let namespace = NamespaceName::of(&name);
        let namespace = namespace.as_str();
        // The right to read here comes with our own binding, which a first pass hasn't written yet.
        minted.edge = denied_is_absent(mint::certificate(client, namespace, EDGE_CERTIFICATE, &uid).await)?;
        minted.owner = denied_is_absent(mint::token(client, namespace, OWNER_TOKEN, &uid).await)?;
    }
    Ok(minted)
}

fn denied_is_absent<T: Default>(result: Result<T, MintError>) -> Result<T, MintError> {
    match result {
        Err(error) if error.refusal() == Some(Refusal::Forbidden) => Ok(T::default()),
        other => other,
    }
}
