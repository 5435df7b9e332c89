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
    /// Why a minted Secret could not be read: the pass goes on with what was known of it, and is repeated.
    pub failed: Option<MintError>,
}

/// Everything that is known of a tenant now.
pub async fn observe(
    client: &Client,
    store: &Store,
    keys_namespace: &str,
    tenant: &Tenant,
    now: Timestamp,
) -> Sight {
    let name = tenant.name_any();
    store.belongs_to(&name, &tenant.uid().unwrap_or_default());
    let namespace_uid = own_namespace(&store.observed(&name, now), tenant);
    let trusted = store
        .trust(&name)
        .is_some_and(|trust| now < trust.until && Some(&trust.namespace_uid) == namespace_uid.as_ref());
    let mut failed = None;
    if !trusted {
        // A tenant that ends needs neither certificate nor token.
        let with_namespace = namespace_uid.is_some() && tenant.metadata.deletion_timestamp.is_none();
        let before = store.observed(&name, now).minted;
        let minted;
        (minted, failed) = read_minted(client, keys_namespace, tenant, with_namespace, before).await;
        let trust = if waits_for_a_person(&minted) {
            FOREIGN_TRUST
        } else {
            MINTED_TRUST
        };
        // While the namespace isn't there its Secrets weren't looked for, so the next pass looks again.
        let trust = namespace_uid
            .filter(|_| failed.is_none())
            .map(|namespace_uid| Trust {
                until: now + trust,
                namespace_uid,
            });
        store.set_minted(&name, minted, trust);
    }
    let observed = store.observed(&name, now);
    let look_again = waits_for_a_person(&observed.minted).then(|| {
        store
            .trust(&name)
            .map_or(now + FOREIGN_TRUST, |trust| trust.until)
    });
    Sight {
        observed,
        look_again,
        failed,
    }
}

/// Whether something stands there that only a person can put right.
fn waits_for_a_person(minted: &Minted) -> bool {
    let Minted {
        authority,
        edge,
        owner,
    } = minted;
    matches!(authority, Slot::Foreign | Slot::Broken)
        || matches!(edge, Slot::Foreign)
        || matches!(owner, Slot::Foreign)
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
    before: Minted,
) -> (Minted, Option<MintError>) {
    let name = tenant.name_any();
    let uid = tenant.uid().unwrap_or_default();
    let mut failed = None;
    let authority = mint::certificate(client, keys_namespace, AuthorityName::of(&name).as_str(), &uid).await;
    let mut minted = Minted {
        authority: known(authority, before.authority, &mut failed),
        ..Minted::default()
    };
    if with_namespace {
        let namespace = NamespaceName::of(&name);
        let namespace = namespace.as_str();
        // The right to read here comes with our own binding, which a first pass hasn't written yet.
        let edge = denied_is_absent(mint::certificate(client, namespace, EDGE_CERTIFICATE, &uid).await);
        minted.edge = known(edge, before.edge, &mut failed);
        let owner = denied_is_absent(mint::token(client, namespace, OWNER_TOKEN, &uid).await);
        minted.owner = known(owner, before.owner, &mut failed);
    }
    (minted, failed)
}

/// What was read, or else what was known before.
fn known<T>(read: Result<Slot<T>, MintError>, before: Slot<T>, failed: &mut Option<MintError>) -> Slot<T> {
    match (read, before) {
        (Ok(slot), _) => slot,
        (Err(error), before) => {
            *failed = Some(error);
            match before {
                Slot::Present(known) => Slot::Present(known),
                _ => Slot::Unread,
            }
        }
    }
}

fn denied_is_absent<T: Default>(result: Result<T, MintError>) -> Result<T, MintError> {
    match result {
        Err(error) if error.refusal() == Some(Refusal::Forbidden) => Ok(T::default()),
        other => other,
    }
}
