//! Observe: what the plan is asked about. Client required, but at rest nothing is read: objects come from the watches,
//! and the metadata of minted Secrets is kept and read again once a day.

use freehold_crds::Tenant;
use freehold_plan::names::{AuthorityName, EDGE_CERTIFICATE, NamespaceName, OWNER_TOKEN};
use freehold_plan::{Facts, Id, Kind, Minted, Observed, Slot};
use jiff::{SignedDuration, Timestamp};
use kube::{Client, ResourceExt};

use crate::cluster::Refusal;
use crate::mint::{self, MintError};
use crate::store::{Store, Trust};

/// How long the metadata of minted Secrets is trusted.
const MINTED_TRUST: SignedDuration = SignedDuration::from_hours(24);
/// The same, when another's Secret stands in the place of ours: nothing tells when that is taken away.
const FOREIGN_TRUST: SignedDuration = SignedDuration::from_secs(30);

/// What was observed.
#[derive(Debug)]
pub struct Sight {
    pub observed: Observed,
    /// When to look again though nothing tells of a change.
    pub look_again: Option<Timestamp>,
}

/// Everything that is known of a tenant now.
pub async fn observe(
    client: &Client,
    store: &Store,
    keys_namespace: &str,
    tenant: &Tenant,
    now: Timestamp,
) -> Result<Sight, MintError> {
    let name = tenant.name_any();
    store.belongs_to(&name, &tenant.uid().unwrap_or_default());
    let namespace_uid = own_namespace(&store.observed(&name, now), tenant);
    let trusted = store
        .trust(&name)
        .is_some_and(|trust| now < trust.until && Some(&trust.namespace_uid) == namespace_uid.as_ref());
    if !trusted {
        let minted = read_minted(client, keys_namespace, tenant, namespace_uid.is_some()).await?;
        let trust = if has_foreign(&minted) {
            FOREIGN_TRUST
        } else {
            MINTED_TRUST
        };
        // While the namespace isn't there its Secrets weren't looked for, so the next pass looks again.
        let trust = namespace_uid.map(|namespace_uid| Trust {
            until: now + trust,
            namespace_uid,
        });
        store.set_minted(&name, minted, trust);
    }
    let observed = store.observed(&name, now);
    let look_again = has_foreign(&observed.minted).then(|| {
        store
            .trust(&name)
            .map_or(now + FOREIGN_TRUST, |trust| trust.until)
    });
    Ok(Sight { observed, look_again })
}

fn has_foreign(minted: &Minted) -> bool {
    let Minted {
        authority,
        edge,
        owner,
    } = minted;
    matches!(authority, Slot::Foreign) || matches!(edge, Slot::Foreign) || matches!(owner, Slot::Foreign)
}

/// The uid of the namespace, if it was made for this tenant: in another one nothing is read.
fn own_namespace(observed: &Observed, tenant: &Tenant) -> Option<String> {
    let name = NamespaceName::of(&tenant.name_any()).as_str().to_owned();
    let id = Id {
        kind: Kind::Namespace,
        namespace: String::new(),
        name,
    };
    let seen = observed.objects.get(&id)?;
    let ours = matches!(&seen.facts, Facts::Namespace { tenant_uid } if *tenant_uid == tenant.metadata.uid);
    ours.then(|| seen.uid.clone())
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
