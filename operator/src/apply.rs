//! Apply: carries out a plan, wave after wave. Client required.
//!
//! In: the plan and what was observed. Out: writes, and what came back goes into the store at once, so that the next
//! pass need not wait for the watch. Invariants: a record is written before any effect, and then the pass is over; a first
//! write is a create, so that what somebody planted there is found and left alone; a later one is a server-side apply onto
//! the uid that was seen; a wave that failed ends the pass, and so does a hostname that turns out to be another's.

mod claims;
mod database;
mod ending;
mod records;
mod write;

use freehold_crds::Tenant;
use freehold_keys::KeyError;
use freehold_plan::names::{FINALIZER, FREEHOLD, NamespaceName};
use freehold_plan::{Config, Finalizer, Id, Kind, Observed, Plan, Wave, Write};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::cluster::{Refusal, refusal};
use crate::mint::{self, MintError};
use crate::observe::{own_namespace, trusted_for};
use crate::reconcile::backoff;
use crate::store::{Store, Trust};
use crate::watch::reduce;
use ending::End;
use write::{Outcome, carry_out, prune};

/// Writes of one wave that are under way at the same time.
const PARALLEL: usize = 6;
/// When a stranger in the place of ours is looked at again.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("can't {verb} {id}")]
    Object {
        verb: &'static str,
        id: Box<Id>,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("can't {verb} {kind} {name}")]
    Record {
        verb: &'static str,
        kind: &'static str,
        name: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("can't change the finalizers of the tenant")]
    Finalizer(#[source] Box<kube::Error>),
    #[error(transparent)]
    Mint(#[from] MintError),
}

impl ApplyError {
    /// The API server's answer, if there was one.
    pub fn answer(&self) -> Option<&kube::Error> {
        match self {
            Self::Object { source, .. } | Self::Record { source, .. } | Self::Finalizer(source) => {
                Some(source)
            }
            Self::Mint(MintError::Api { source, .. } | MintError::LookUp { source, .. }) => Some(source),
            Self::Mint(_) => None,
        }
    }

    /// Whether the key service gave no answer.
    pub fn is_key_service_away(&self) -> bool {
        let source = match self {
            Self::Mint(MintError::Key { source, .. }) => source,
            _ => return false,
        };
        matches!(source, KeyError::Unavailable(_))
    }
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub writes: usize,
    /// Something is to be looked at again at once: another object was found than was seen, a record was written, or key
    /// material was minted.
    pub again: bool,
    /// What the plan went by is not so, and nothing of it is to be reported.
    pub outdated: bool,
    /// When something is to be tried again that did not help the last time.
    pub wake: Option<Timestamp>,
}

impl Done {
    /// There is something to be tried again at this instant, if not before.
    fn wake_at(&mut self, instant: Timestamp) {
        self.wake = Some(self.wake.map_or(instant, |wake| wake.min(instant)));
    }
}

/// What a pass works with.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    pub client: &'a Client,
    pub store: &'a Store,
    pub config: &'a Config,
    pub tenant: &'a Tenant,
    /// Which life of the tenant it is.
    pub incarnation: &'a str,
    /// The key service, where there is one.
    pub service: Option<&'a freehold_keys::client::Client>,
    pub now: Timestamp,
}

/// Carries out a plan.
pub async fn apply(pass: Pass<'_>, observed: &Observed, plan: &Plan) -> Result<Done, ApplyError> {
    let mut done = Done::default();
    match ending::look(pass, observed, plan).await? {
        End::GoesOn => {}
        End::Found => {
            done.again = true;
            return Ok(done);
        }
        End::Held => {
            done.outdated = true;
            done.wake = Some(pass.now + LOOK_AGAIN);
            return Ok(done);
        }
    }
    if plan.finalizer == Finalizer::Add {
        set_finalizer(pass, true).await?;
        done.writes += 1;
    }
    let mut failed = None;
    if !plan.records.is_empty() {
        match records::write(pass, observed, plan, &mut done).await {
            Ok(true) => return Ok(done),
            Ok(false) => {}
            // A tenant that lives is repaired and served even when nothing can be put on record.
            Err(error) if !is_deleted(pass) => failed = Some(error),
            Err(error) => return Err(error),
        }
    }
    let writes = plan.writes(observed);
    let mut may_write = has_written(pass, observed);
    for wave in Wave::ALL {
        if wave == Wave::Exposure {
            // Certificates stand before what serves with them; the database, which takes longest, goes first.
            match mint(pass, plan).await? {
                Minting::Nothing => {}
                Minting::Done => done.again = true,
                // The next try is the failed pass's.
                Minting::Failed(error) => failed = Some(ApplyError::Mint(error)),
                Minting::NotBefore(instant) => {
                    done.wake_at(instant);
                }
            }
        }
        let mut under_way = Vec::new();
        for write in writes.iter().filter(|write| id_of(write).kind.row().wave == wave) {
            if let Some(instant) = pass
                .store
                .not_before(&pass.tenant.name_any(), id_of(write), pass.now)
            {
                done.wake_at(instant);
                continue;
            }
            under_way.push(carry_out(pass, observed, *write));
        }
        let mut under_way = under_way.into_iter();
        let mut results = Vec::new();
        if wave > Wave::Access
            && !may_write
            && let Some(first) = under_way.next()
        {
            results.push(Ok(first.await?));
            may_write = true;
        }
        let others = futures::stream::iter(under_way).buffer_unordered(PARALLEL);
        results.extend(others.collect::<Vec<_>>().await);
        let mut stop = false;
        for result in results {
            let outcome = result?;
            done.writes += 1;
            done.again |= outcome != Outcome::Written;
            stop |= outcome == Outcome::Claimed;
        }
        if stop || (done.again && is_another_s(&writes, pass)) {
            return Ok(done);
        }
        if wave == Wave::Namespace && !done.again {
            trust_new_namespace(pass, &writes);
        }
    }
    for id in &plan.prune {
        prune(pass, observed, id).await?;
        done.writes += 1;
    }
    records::forget(pass, observed, plan, &mut done).await;
    if plan.finalizer == Finalizer::Remove {
        set_finalizer(pass, false).await?;
        done.writes += 1;
    }
    failed.map_or(Ok(done), Err)
}

/// Whether a write in the tenant's namespace has gone through already. The API server knows our right there a moment after the
/// binding is written: until one write has shown it the others wait, so that one is refused and not each.
fn has_written(pass: Pass<'_>, observed: &Observed) -> bool {
    let namespace = NamespaceName::of(&pass.tenant.name_any());
    let mut seen = observed.objects.keys();
    seen.any(|id| id.namespace == namespace.as_str() && id.kind.row().wave > Wave::Access)
}

fn is_deleted(pass: Pass<'_>) -> bool {
    pass.tenant.metadata.deletion_timestamp.is_some()
}

/// In a namespace that was made a moment ago there is nothing yet that was minted, and no pass needs to look for it. What
/// somebody else puts there meanwhile the create finds.
fn trust_new_namespace(pass: Pass<'_>, writes: &[Write<'_>]) {
    let name = pass.tenant.name_any();
    let own = NamespaceName::of(&name);
    let is_new = |write: &Write<'_>| matches!(write, Write::Create(object) if object.id.kind == Kind::Namespace && object.id.name == own.as_str());
    if !writes.iter().any(is_new) {
        return;
    }
    let observed = pass.store.observed(&name, pass.now);
    if let Some(namespace_uid) = own_namespace(&observed, pass.tenant) {
        let until = pass.now + trusted_for(&observed.minted);
        let trust = Trust { until, namespace_uid };
        pass.store.set_minted(&name, observed.minted, Some(trust));
    }
}

/// After a stranger was found where the namespace should be, nothing may be written into it.
fn is_another_s(writes: &[Write<'_>], pass: Pass<'_>) -> bool {
    let observed = pass.store.observed(&pass.tenant.name_any(), pass.now);
    writes.iter().any(|write| {
        let id = id_of(write);
        id.kind == Kind::Namespace && observed.strangers.contains_key(id)
    })
}

fn id_of<'a>(write: &Write<'a>) -> &'a Id {
    match write {
        Write::Create(object) | Write::Apply(object, _) => &object.id,
    }
}

enum Minting {
    Nothing,
    Done,
    /// What is about keys; the rest was minted.
    Failed(MintError),
    /// The same was minted a moment ago, and is still asked for.
    NotBefore(Timestamp),
}

fn target<'a>(pass: Pass<'a>, name: &'a str) -> mint::For<'a> {
    mint::For {
        name,
        incarnation: pass.incarnation,
        keys_namespace: &pass.config.keys_namespace,
        operator_namespace: &pass.config.operator_namespace,
        service: pass.service,
    }
}

async fn mint(pass: Pass<'_>, plan: &Plan) -> Result<Minting, ApplyError> {
    let name = pass.tenant.name_any();
    let target = target(pass, &name);
    let pause = |times| backoff(&name, times);
    let may = pass.store.may_act(&name, &plan.actions, pass.now, pause);
    if plan.actions.is_empty() {
        return Ok(Minting::Nothing);
    }
    let (databases, minted): (Vec<_>, Vec<_>) = plan
        .actions
        .iter()
        .cloned()
        .partition(database::is_about_database);
    if let Err(not_before) = may {
        return Ok(Minting::NotBefore(not_before));
    }
    if !minted.is_empty() {
        // Whatever comes of it, what is known of the Secrets is out of date.
        pass.store.distrust(&name);
    }
    for action in &databases {
        database::act(pass.client, action, pass.now).await?;
    }
    if minted.is_empty() {
        return Ok(Minting::Nothing);
    }
    let observed = pass.store.observed(&name, pass.now);
    let namespace_uid = own_namespace(&observed, pass.tenant);
    let learned = mint::act(pass.client, target, &minted, observed.minted, pass.now).await?;
    if !learned.unsure
        && let Some(namespace_uid) = namespace_uid
    {
        let until = pass.now + trusted_for(&learned.minted);
        let trust = Trust { until, namespace_uid };
        pass.store.set_minted(&name, learned.minted, Some(trust));
    }
    Ok(learned.failed.map_or(Minting::Done, Minting::Failed))
}

fn remember(pass: Pass<'_>, id: &Id, object: DynamicObject) {
    if let Some((tenant, id, seen)) = reduce(id.kind, object) {
        pass.store.put(&tenant, id, seen);
    }
}

/// Adds or removes our finalizer, and leaves those of others alone: the resource version guards the list.
async fn set_finalizer(pass: Pass<'_>, held: bool) -> Result<(), ApplyError> {
    let mut finalizers = pass.tenant.finalizers().to_vec();
    finalizers.retain(|name| name != FINALIZER);
    if held {
        finalizers.push(FINALIZER.to_owned());
    }
    let patch = json!({
        "metadata": { "finalizers": finalizers, "resourceVersion": pass.tenant.resource_version() },
    });
    let api: Api<Tenant> = Api::all(pass.client.clone());
    let params = PatchParams {
        field_manager: Some(FREEHOLD.to_owned()),
        ..PatchParams::default()
    };
    match api
        .patch_metadata(&pass.tenant.name_any(), &params, &Patch::Merge(&patch))
        .await
    {
        Err(source) if refusal(&source) != Refusal::NotFound => Err(ApplyError::Finalizer(Box::new(source))),
        _ => Ok(()),
    }
}
