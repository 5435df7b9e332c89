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

use freehold_plan::names::{FINALIZER, FREEHOLD};
use freehold_plan::{Config, Facts, Finalizer, Id, Kind, Observed, Plan, Seen, Wave, Write, tenant_labels};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kube::api::{
    Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tracing::info;

use crate::cluster::{Refusal, api_of, refusal};
use crate::mint::{self, MintError};
use crate::observe::{MINTED_TRUST, is_held, own_namespace};
use crate::reconcile::backoff;
use crate::store::{LASTING, Store, Trust, is_declared};
use crate::watch::reduce;
use ending::End;
use freehold_crds::Tenant;

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
        let results: Vec<_> = futures::stream::iter(under_way)
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
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
    }
    for id in &plan.prune {
        prune(pass, observed, id).await?;
        done.writes += 1;
    }
    if plan.finalizer == Finalizer::Remove {
        set_finalizer(pass, false).await?;
        done.writes += 1;
    }
    failed.map_or(Ok(done), Err)
}

fn is_deleted(pass: Pass<'_>) -> bool {
    pass.tenant.metadata.deletion_timestamp.is_some()
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Written,
    /// Not all is as it was thought: what was found out is taken in, and the plan is to be made anew.
    Found,
    /// The same of a hostname: nothing may be served under a name that may be another's.
    Claimed,
}

/// Whether what the API server kept is not what was sent: a webhook of somebody's, most likely. Writing it again at once
/// would go on for ever, so the next write waits ever longer, and the status says it.
fn comes_back_changed(pass: Pass<'_>, write: &Write<'_>, kept: &DynamicObject) -> bool {
    let (Write::Create(object) | Write::Apply(object, _)) = write;
    let tenant = pass.tenant.name_any();
    let seen = reduce(object.id.kind, kept.clone());
    if seen.is_none_or(|(_, _, seen)| object.is_settled(&seen.live)) {
        pass.store.stands(&tenant, &object.id);
        return false;
    }
    let times = pass
        .store
        .rewritten(&tenant, &object.id, pass.now, |times| backoff(&tenant, times));
    if times >= LASTING {
        let why = "what is written comes back changed: look for a mutating webhook or policy that changes it";
        pass.store.refused(&tenant, object.id.clone(), why.to_owned());
    }
    true
}

/// What was written; `None` when it is not as it was seen, see [`Outcome::Found`].
type Answer = Option<DynamicObject>;

async fn carry_out(pass: Pass<'_>, observed: &Observed, write: Write<'_>) -> Result<Outcome, ApplyError> {
    let (verb, result) = match write {
        Write::Create(object) => ("create", create(pass, &object.id, &object.body).await),
        Write::Apply(object, uid) => {
            // Of several that want a claim which was given up, one gets it.
            let seen = observed.objects.get(&object.id);
            let onto = seen
                .filter(|_| object.id.kind == Kind::HostnameClaim)
                .map(|seen| seen.resource_version.as_str());
            let written = match onto {
                Some(onto) => claims::patch(pass, &object.id, &object.body, uid, onto).await,
                None => patch(pass, &object.id, &object.body, uid).await,
            };
            ("patch", written)
        }
    };
    let id = id_of(&write);
    match result {
        Ok(Some(written)) => {
            info!(%id, verb, "written");
            let was_refused = pass.store.accepted(&pass.tenant.name_any(), id);
            if comes_back_changed(pass, &write, &written) {
                remember(pass, id, written);
                return Ok(Outcome::Written);
            }
            remember(pass, id, written);
            Ok(if was_refused {
                Outcome::Found
            } else {
                Outcome::Written
            })
        }
        Ok(None) if id.kind == Kind::HostnameClaim => Ok(Outcome::Claimed),
        Ok(None) => Ok(Outcome::Found),
        Err(source) => {
            if refusal(&source) == Refusal::NotFound && verb == "patch" {
                // Gone since it was seen: the watch will say so.
                return Ok(Outcome::Written);
            }
            if let kube::Error::Api(status) = &source {
                let tenant = pass.tenant.name_any();
                let lasting = match refusal(&source) {
                    Refusal::Invalid => true,
                    // Not found by a create: the kind is unknown to the cluster, or the namespace has just gone.
                    Refusal::Forbidden | Refusal::NotFound => pass.store.unwritten(&tenant, id, pass.now),
                    Refusal::Other if status.code >= 500 => pass.store.unwritten(&tenant, id, pass.now),
                    _ => false,
                };
                if lasting {
                    pass.store.refused(&tenant, id.clone(), status.message.clone());
                }
            }
            Err(ApplyError::Object {
                verb,
                id: Box::new(id.clone()),
                source: Box::new(source),
            })
        }
    }
}

/// A create.
async fn create(pass: Pass<'_>, id: &Id, body: &Value) -> Result<Answer, kube::Error> {
    let api = api_of(pass.client, id);
    let object: DynamicObject = serde_json::from_value(body.clone()).map_err(kube::Error::SerdeError)?;
    let params = PostParams {
        field_manager: Some(FREEHOLD.to_owned()),
        ..PostParams::default()
    };
    match api.create(&params, &object).await {
        Err(error) if refusal(&error) == Refusal::AlreadyExists => {
            let Some(there) = api.get_opt(&id.name).await? else {
                return Err(error);
            };
            if id.kind == Kind::HostnameClaim {
                claims::found(pass, id, there);
                return Ok(None);
            }
            if is_ours(pass, id, &there) {
                adopt(pass, id, there).await?;
                return Ok(None);
            }
            info!(%id, "somebody else's object stands in the place of ours");
            pass.store
                .stranger(&pass.tenant.name_any(), id.clone(), pass.now + LOOK_AGAIN);
            Ok(None)
        }
        result => result.map(Some),
    }
}

/// Whether what stands there was made by us for this tenant: by marks that say so, not by the labels that anybody may
/// have taken off. It is asked only of the tenant's namespace, and of what is in it when it is ours.
fn is_ours(pass: Pass<'_>, id: &Id, there: &DynamicObject) -> bool {
    match reduce(id.kind, there.clone()) {
        Some((tenant, _, seen)) if tenant == pass.tenant.name_any() => match seen.facts {
            facts @ Facts::Namespace { .. } => is_held(&facts, pass.tenant),
            _ => is_declared(&seen),
        },
        _ => false,
    }
}

/// Takes in an object of ours that no watch told of, and puts back the labels by which it is watched.
async fn adopt(pass: Pass<'_>, id: &Id, there: DynamicObject) -> Result<(), kube::Error> {
    let tenant = pass.tenant.name_any();
    let labels = tenant_labels(&tenant);
    let lost = labels
        .iter()
        .any(|(key, value)| there.labels().get(key) != Some(value));
    // A pod of the verification lives for a minute: nobody misses its labels.
    let there = if lost && id.kind != Kind::Pod {
        info!(%id, "labels put back");
        let patch = json!({
            "metadata": { "uid": there.uid(), "resourceVersion": there.resource_version(), "labels": labels },
        });
        let params = PatchParams {
            field_manager: Some(FREEHOLD.to_owned()),
            ..PatchParams::default()
        };
        api_of(pass.client, id)
            .patch(&id.name, &params, &Patch::Merge(&patch))
            .await?
    } else {
        there
    };
    if let Some((tenant, id, seen)) = reduce(id.kind, there) {
        pass.store.put_read(&tenant, id, seen);
    }
    Ok(())
}

/// A server-side apply onto the object that was seen.
async fn patch(pass: Pass<'_>, id: &Id, body: &Value, uid: &str) -> Result<Answer, kube::Error> {
    let api = api_of(pass.client, id);
    let there = api.get_opt(&id.name).await?;
    let Some(there) = there.filter(|there| there.uid().as_deref() == Some(uid)) else {
        pass.store.missed(&pass.tenant.name_any(), id, uid);
        return Ok(None);
    };
    take_over_fields(&api, &there).await?;
    let mut body = body.clone();
    body["metadata"]["uid"] = uid.into();
    api.patch(
        &id.name,
        &PatchParams::apply(FREEHOLD).force(),
        &Patch::Apply(&body),
    )
    .await
    .map(Some)
}

/// Turns the ownership that a create left into that of an apply. Server-side apply takes a field away only when it is
/// no longer applied and nobody else owns it, and a create counts as somebody else. Gives the version that it left.
async fn take_over_fields(
    api: &Api<DynamicObject>,
    object: &DynamicObject,
) -> Result<Option<String>, kube::Error> {
    let ours = |operation: &str| {
        let operation = operation.to_owned();
        object.managed_fields().iter().position(|entry| {
            entry.manager.as_deref() == Some(FREEHOLD)
                && entry.operation.as_deref() == Some(operation.as_str())
                && entry.subresource.is_none()
        })
    };
    let Some(created) = ours("Update") else {
        return Ok(object.resource_version());
    };
    let mut entries = object.managed_fields().to_vec();
    if ours("Apply").is_some() {
        entries.remove(created);
    } else if let Some(entry) = entries.get_mut(created) {
        entry.operation = Some("Apply".to_owned());
    }
    let patch = json!({
        "metadata": {
            "resourceVersion": object.resource_version(),
            "uid": object.uid(),
            "managedFields": entries,
        },
    });
    let params = PatchParams {
        field_manager: Some(FREEHOLD.to_owned()),
        ..PatchParams::default()
    };
    let patched = api
        .patch(&object.name_any(), &params, &Patch::Merge(&patch))
        .await?;
    Ok(patched.resource_version())
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
        let until = pass.now + MINTED_TRUST;
        let trust = Trust { until, namespace_uid };
        pass.store.set_minted(&name, learned.minted, Some(trust));
    }
    Ok(learned.failed.map_or(Minting::Done, Minting::Failed))
}

/// Deletes in the foreground: the object stays until what it owns is gone, its pods too.
async fn prune(pass: Pass<'_>, observed: &Observed, id: &Id) -> Result<(), ApplyError> {
    let Some(Seen { uid, .. }) = observed.objects.get(id) else {
        return Ok(());
    };
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        preconditions: Some(Preconditions {
            uid: Some(uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api_of(pass.client, id).delete(&id.name, &params).await {
        Ok(answer) => {
            info!(%id, "deleted");
            if let Some(object) = answer.left() {
                remember(pass, id, object);
            }
            Ok(())
        }
        Err(source) if matches!(refusal(&source), Refusal::NotFound | Refusal::Conflict) => Ok(()),
        Err(source) => Err(ApplyError::Object {
            verb: "delete",
            id: Box::new(id.clone()),
            source: Box::new(source),
        }),
    }
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
