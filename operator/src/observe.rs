//! Observe: what the plan is asked about. Client required, but at rest nothing is read: objects come from the watches,
//! and the metadata of minted Secrets is kept and read again once a day.

use std::collections::BTreeMap;

use freehold_crds::{OperationType, Phase, Tenant};
use freehold_plan::names::{NamespaceName, OWNER_TOKEN};
use freehold_plan::{Config, Facts, Input, Leaf, Minted, Observed, Slot, incarnation};
use jiff::{SignedDuration, Timestamp};
use kube::{Client, ResourceExt};

use crate::cluster::Refusal;
use crate::mint::{self, MintError};
use crate::store::{Store, Trust, namespace_of};

/// How long the metadata of minted Secrets is trusted.
const MINTED_TRUST: SignedDuration = SignedDuration::from_hours(24);
/// The same, when another's Secret stands in the place of ours, or one is lost: nothing tells when that is put right.
pub const FOREIGN_TRUST: SignedDuration = SignedDuration::from_secs(30);

/// What was observed.
#[derive(Debug)]
pub struct Sight {
    pub observed: Observed,
    /// Which life of the tenant this is.
    pub incarnation: String,
    /// When to look again though nothing tells of a change.
    pub look_again: Option<Timestamp>,
    /// Why a minted Secret could not be read: the pass goes on with what was known of it, and is repeated.
    pub failed: Option<MintError>,
}

/// Everything that is known of a tenant now.
pub async fn observe(
    client: &Client,
    store: &Store,
    config: &Config,
    service: Option<&freehold_keys::client::Client>,
    tenant: &Tenant,
    now: Timestamp,
) -> Sight {
    let name = tenant.name_any();
    store.belongs_to(&name, &tenant.uid().unwrap_or_default());
    let known = store.observed(&name, now);
    let namespace_uid = own_namespace(&known, tenant);
    let incarnation = life(tenant, &known, config, now);
    let trusted = store
        .trust(&name)
        .is_some_and(|trust| now < trust.until && Some(&trust.namespace_uid) == namespace_uid.as_ref());
    let mut failed = None;
    if !trusted {
        // A tenant that is taken down needs neither certificate nor token; one that is only held does.
        let with_namespace = namespace_uid.is_some() && !is_taken_down(&known, tenant);
        let target = mint::For {
            name: &name,
            incarnation: &incarnation,
            keys_namespace: &config.keys_namespace,
            operator_namespace: &config.operator_namespace,
            service,
        };
        let minted;
        if with_namespace || tenant.metadata.deletion_timestamp.is_some() || tenant.spec.adopt.is_some() {
            (minted, failed) = read_minted(client, target, with_namespace, known.minted).await;
        } else {
            // Nothing of it is there yet. Should there be keys all the same, the create finds them.
            minted = Minted {
                authority: known.minted.authority,
                succession: known.minted.succession,
                keys: known.minted.keys,
                ..Minted::default()
            };
        }
        let trust = trusted_for(&minted);
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
        incarnation,
        look_again,
        failed,
    }
}

fn is_taken_down(known: &Observed, tenant: &Tenant) -> bool {
    let uid = tenant.metadata.uid.as_deref().unwrap_or_default();
    let mut operations = known
        .operations
        .values()
        .filter(|operation| operation.spec.r#type == OperationType::Deletion)
        .filter(|operation| operation.spec.tenant_uid == uid);
    operations.any(|operation| matches!(operation.status.phase, Phase::Running | Phase::Succeeded))
}

/// Which life of the tenant this is, as far as it is known by now.
pub fn life(tenant: &Tenant, observed: &Observed, config: &Config, now: Timestamp) -> String {
    incarnation(&Input {
        tenant,
        class: None,
        channel: None,
        releases: &BTreeMap::new(),
        observed,
        now,
        config,
    })
}

/// For how long what is known of the minted Secrets is believed.
pub fn trusted_for(minted: &Minted) -> SignedDuration {
    if waits_for_a_person(minted) {
        FOREIGN_TRUST
    } else {
        MINTED_TRUST
    }
}

/// Whether something stands there that only a person can put right. What is lost of the keys the plan tells: it takes the volumes
/// to know that.
fn waits_for_a_person(minted: &Minted) -> bool {
    let Minted {
        authority,
        leaves,
        owner,
        keys,
        succession: _,
        ends: _,
    } = minted;
    keys.unread
        || matches!(keys.tenant, Slot::Unread | Slot::Broken)
        || matches!(authority, Slot::Foreign | Slot::Broken)
        || leaves.values().any(|leaf| matches!(leaf, Slot::Foreign))
        || matches!(owner, Slot::Foreign)
}

/// The uid of the namespace, if it was made for this tenant or is to be taken over: in another one nothing is read.
pub fn own_namespace(observed: &Observed, tenant: &Tenant) -> Option<String> {
    let seen = observed.objects.get(&namespace_of(&tenant.name_any()))?;
    is_held(&seen.facts, tenant).then(|| seen.uid.clone())
}

/// Whether a namespace is this tenant's, or that of an earlier one whose life it goes on with. No other Tenant holds it
/// then, for there is only one of a name.
pub fn is_held(facts: &Facts, tenant: &Tenant) -> bool {
    let Facts::Namespace {
        tenant_uid,
        incarnation,
    } = facts
    else {
        return false;
    };
    let adopts = tenant.spec.adopt.as_ref().map(|adopt| &adopt.incarnation);
    *tenant_uid == tenant.metadata.uid || (incarnation.is_some() && incarnation.as_ref() == adopts)
}

/// What is known of the minted Secrets, read anew.
pub async fn read_minted(
    client: &Client,
    target: mint::For<'_>,
    with_namespace: bool,
    before: Minted,
) -> (Minted, Option<MintError>) {
    let mint::For {
        name,
        incarnation: life,
        keys_namespace: _,
        operator_namespace: _,
        service,
    } = target;
    let mut failed = None;
    let (authority, succession) = match mint::authorities(client, target).await {
        Ok((authority, succession)) => (Ok(authority), succession),
        Err(error) => (Err(error), before.succession),
    };
    let mut minted = Minted {
        authority: known(authority, before.authority, &mut failed),
        succession,
        ends: before.ends,
        ..Minted::default()
    };
    if service.is_some() {
        let (keys, unread) = mint::keys::read(client, target, before.keys).await;
        minted.keys = keys;
        failed = failed.or(unread);
    }
    if with_namespace {
        let namespace = NamespaceName::of(name);
        let namespace = namespace.as_str();
        // The right to read here comes with our own binding, which a first pass hasn't written yet, and a second one may have
        // written a moment ago. Who may not read the first of them may read none; who may read that and not another has a role of
        // another release, and doesn't know what is there.
        let mut denied = false;
        let mut leaves = before.leaves;
        for (n, leaf) in Leaf::ALL.into_iter().enumerate() {
            let read = unless(denied, mint::certificate(client, namespace, leaf.secret(), life)).await;
            denied |= n == 0 && is_denied(&read);
            let read = if denied { denied_is_absent(read) } else { read };
            let before = leaves.remove(&leaf).unwrap_or_default();
            let slot = known(read, before, &mut failed);
            minted.leaves.insert(leaf, slot);
        }
        let owner = unless(denied, mint::token(client, namespace, OWNER_TOKEN, life)).await;
        let owner = if denied { denied_is_absent(owner) } else { owner };
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

/// What is there, or nothing when it isn't to be asked.
async fn unless<T: Default>(
    denied: bool,
    read: impl Future<Output = Result<T, MintError>>,
) -> Result<T, MintError> {
    if denied { Ok(T::default()) } else { read.await }
}

fn is_denied<T>(read: &Result<T, MintError>) -> bool {
    matches!(read, Err(error) if error.refusal() == Some(Refusal::Forbidden))
}

fn denied_is_absent<T: Default>(read: Result<T, MintError>) -> Result<T, MintError> {
    if is_denied(&read) { Ok(T::default()) } else { read }
}
