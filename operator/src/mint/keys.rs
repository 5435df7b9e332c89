//! The keys of a tenant's own: asked for at the key service, which makes them; kept here in their wrapped form only.
//! Client required.
//!
//! In: an action that names what is wanted. Out: Secrets in the keys namespace, and what is known of the keys. Invariants: no
//! plain key is ever here; a Secret that is there is never replaced, only its key wrapped anew, onto the version that was
//! read; before something is destroyed, what depends on it is looked up again in the cluster.

use std::collections::BTreeMap;

use freehold_keys::{
    Context, Destroyed, Destroying, Envelope, KeyError, KeyName, Purpose, State, Version, Wrapped,
};
use freehold_plan::names::TENANT_LABEL;
use freehold_plan::{Action, DataKey, Keys, Slot, TenantKey};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{PersistentVolume, Secret};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use super::{For, MintError, create, destruction, failed, forget, is_for, put, secret, secrets};
use crate::cluster::Refusal;

/// Tells the wrapped data keys from the other Secrets of a tenant there.
const KIND: &str = "freehold.dev/data-key";
/// What fscrypt takes for AES-256-XTS.
const LENGTH: usize = 64;

impl MintError {
    pub(super) fn key(verb: &'static str) -> impl FnOnce(KeyError) -> Self {
        move |source| Self::Key { verb, source }
    }
}

/// What is known of the keys, read anew.
pub async fn read(client: &Client, target: For<'_>, before: Keys) -> (Keys, Option<MintError>) {
    let mut failed = None;
    let mut keys = match known(client, target, &before).await {
        Ok((data, refused)) => Keys {
            data,
            refused,
            held: before.held.clone(),
            ..Keys::default()
        },
        Err(error) => {
            failed = Some(error);
            Keys {
                unread: true,
                ..before.clone()
            }
        }
    };
    keys.tenant = match versions(target).await {
        Ok(Slot::Present(mut key)) => {
            // Said once, and the same for ever.
            key.evidence = before.tenant.present().and_then(|known| known.evidence.clone());
            key.retired = before.tenant.present().and_then(|known| known.retired.clone());
            Slot::Present(key)
        }
        Ok(slot) => slot,
        Err(KeyError::Corrupt(_)) => Slot::Broken,
        // The service's health is watched elsewhere: it brings a pass when it answers again. What was known is shown
        // meanwhile, and nothing is decided by it: the key may have been rotated or destroyed since.
        Err(_) => {
            keys.unread = true;
            match before.tenant {
                Slot::Present(key) => Slot::Present(key),
                _ => Slot::Unread,
            }
        }
    };
    (keys, failed)
}

/// Carries out an action that is about keys. Gives whether what is known afterwards is certain.
pub async fn act(
    client: &Client,
    target: For<'_>,
    action: &Action,
    keys: &mut Keys,
) -> Result<bool, MintError> {
    let Some(service) = target.service else {
        return Ok(true);
    };
    let name = name(target)?;
    match action {
        Action::MakeTenantKey => {
            service.create(&name).await.map_err(MintError::key("make"))?;
            keys.tenant = versions(target).await.map_err(MintError::key("read"))?;
        }
        Action::RotateTenantKey { from } => {
            service
                .rotate(&name, *from)
                .await
                .map_err(MintError::key("rotate"))?;
            keys.tenant = versions(target).await.map_err(MintError::key("read"))?;
        }
        Action::MakeDataKey { volume } => {
            let context = context(target, volume)?;
            let wrapped = service
                .generate(&name, &context, LENGTH)
                .await
                .map_err(MintError::key("make a data key under"))?;
            let mut secret = secret(volume, target, KIND, texts(target, &name, wrapped));
            let labels = secret.metadata.labels.get_or_insert_default();
            labels.insert(KIND.to_owned(), Purpose::Volume.as_str().to_owned());
            match create(client, target.keys_namespace, secret).await? {
                Some(kept) => {
                    keys.data
                        .insert(volume.clone(), data_key(&kept, target.incarnation));
                }
                None => return Ok(false),
            }
        }
        Action::RewrapDataKeys { volumes } => {
            for volume in volumes {
                let slot = match rewrap(client, target, &name, volume).await? {
                    Rewrapped::Kept(kept) => data_key(&kept, target.incarnation),
                    // Until somebody puts another Secret there it is not asked for again.
                    Rewrapped::Refused(tried) => {
                        keys.refused.insert(volume.clone(), tried);
                        Slot::Broken
                    }
                    Rewrapped::Gone => return Ok(false),
                };
                keys.data.insert(volume.clone(), slot);
            }
            // It may have been rolled back since it was looked at: what wraps isn't always what was last seen.
            keys.tenant = versions(target).await.map_err(MintError::key("read"))?;
        }
        Action::DestroyVersions { versions: unused } => {
            keys.data = list(client, target).await?;
            let mut told = Vec::new();
            for version in unused {
                let by =
                    |slot: &Slot<DataKey>| !matches!(slot, Slot::Present(key) if key.version != *version);
                if keys.data.values().any(by) {
                    return Ok(false);
                }
                let destroyed = service
                    .destroy(&name, Destroying::Version(*version))
                    .await
                    .map_err(MintError::key("destroy a version of"))?;
                told.extend(evidence(&destroyed));
            }
            keys.tenant = versions(target).await.map_err(MintError::key("read"))?;
            if let Slot::Present(key) = &mut keys.tenant {
                key.retired = Some(told.join("; ")).filter(|told| !told.is_empty());
            }
        }
        Action::ForgetDataKey { volume } => {
            if is_there(client, volume).await? {
                keys.kept.insert(volume.clone());
                return Ok(true);
            }
            forget(client, target, volume).await?;
            keys.data.remove(volume);
            keys.kept.remove(volume);
            keys.gone.insert(volume.clone());
        }
        Action::ForgetKeys => {
            for volume in list(client, target).await?.into_keys() {
                forget(client, target, &volume).await?;
            }
            match service.destroy(&name, Destroying::All).await {
                Ok(_) | Err(KeyError::NotFound(_) | KeyError::Destroyed(_)) => {}
                Err(error) => return Err(MintError::key("destroy")(error)),
            }
            *keys = Keys::default();
        }
        Action::DestroyKeys { operation } => {
            destruction::destroy(client, service, target, operation, keys).await?;
        }
        Action::MintAuthority { .. }
        | Action::ReissueAuthority { .. }
        | Action::MintNextAuthority { .. }
        | Action::PromoteAuthority { .. }
        | Action::DropNextAuthority
        | Action::RetireAuthority
        | Action::LookAtEnds { .. }
        | Action::MintProof { .. }
        | Action::MintCertificate { .. }
        | Action::ShareRoots { .. }
        | Action::MintOwner { .. }
        | Action::ForgetAuthority
        | Action::SwitchOver { .. }
        | Action::RetireInstance { .. } => {}
    }
    Ok(true)
}

/// What the provider says of the versions that it has destroyed, for the record.
fn evidence(destroyed: &Destroyed) -> Vec<String> {
    let told = |version: &Version| match version.state {
        State::Destroyed { at } => Some(format!(
            "version {} was destroyed at {at}: {}",
            version.number, destroyed.evidence
        )),
        State::Enabled => None,
    };
    destroyed.versions.iter().filter_map(told).collect()
}

pub(super) fn name(target: For<'_>) -> Result<KeyName, MintError> {
    KeyName::of_incarnation(target.incarnation).map_err(MintError::key("name"))
}

fn context(target: For<'_>, volume: &str) -> Result<Context, MintError> {
    Context::new(target.incarnation, Purpose::Volume, volume).map_err(MintError::key("name a data key of"))
}

/// Whether a version of the tenant key is left that can be used.
pub async fn is_whole(target: For<'_>) -> Result<bool, MintError> {
    let key = versions(target).await.map_err(MintError::key("read"))?;
    Ok(key.present().is_some_and(|key| !key.versions.is_empty()))
}

pub(super) async fn versions(target: For<'_>) -> Result<Slot<TenantKey>, KeyError> {
    let Some(service) = target.service else {
        return Ok(Slot::Absent);
    };
    let name = KeyName::of_incarnation(target.incarnation)?;
    let listed = match service.versions(&name).await {
        Ok(listed) => listed,
        Err(KeyError::NotFound(_)) => return Ok(Slot::Absent),
        Err(error) => return Err(error),
    };
    let last = listed
        .iter()
        .map(|version| version.number)
        .max()
        .unwrap_or_default();
    let usable = listed
        .iter()
        .filter(|version| version.state == State::Enabled)
        .map(|version| (version.number, version.created_at));
    let versions: BTreeMap<u32, Timestamp> = usable.collect();
    let destroyed = listed.iter().filter_map(|version| match version.state {
        State::Destroyed { at } => Some(at),
        State::Enabled => None,
    });
    Ok(Slot::Present(TenantKey {
        destroyed_at: destroyed.max().filter(|_| versions.is_empty()),
        evidence: None,
        retired: None,
        versions,
        last,
    }))
}

/// What the driver is handed.
fn texts(target: For<'_>, name: &KeyName, wrapped: Wrapped) -> BTreeMap<String, String> {
    let envelope = Envelope {
        key: name.clone(),
        incarnation: target.incarnation.to_owned(),
        wrapped,
    };
    envelope.to_texts()
}

fn envelope(secret: &Secret) -> Result<Envelope, KeyError> {
    Envelope::from_texts(|key| std::str::from_utf8(&secret.data.as_ref()?.get(key)?.0).ok())
}

fn data_key(secret: &Secret, incarnation: &str) -> Slot<DataKey> {
    if !is_for(secret, incarnation) {
        return Slot::Foreign;
    }
    let created = secret.metadata.creation_timestamp.as_ref();
    // One that was copied from another tenant bears our mark and opens nothing here.
    let is_ours =
        |envelope: &Envelope| envelope.incarnation == incarnation && envelope.key.as_str() == incarnation;
    match envelope(secret) {
        Ok(envelope) if is_ours(&envelope) => Slot::Present(DataKey {
            version: envelope.wrapped.version,
            created: created.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        }),
        Ok(_) | Err(_) => Slot::Broken,
    }
}

/// The data keys that bear the tenant's name; those of another life of it are not its own.
pub(super) async fn list(
    client: &Client,
    target: For<'_>,
) -> Result<BTreeMap<String, Slot<DataKey>>, MintError> {
    let listed = found(client, target).await?.into_iter();
    Ok(listed
        .map(|secret| (secret.name_any(), data_key(&secret, target.incarnation)))
        .collect())
}

/// The same, but that those which are as they were when they were refused are broken.
async fn known(
    client: &Client,
    target: For<'_>,
    before: &Keys,
) -> Result<(BTreeMap<String, Slot<DataKey>>, BTreeMap<String, String>), MintError> {
    let mut refused = BTreeMap::new();
    let mut data = BTreeMap::new();
    for secret in found(client, target).await? {
        let volume = secret.name_any();
        let mut slot = data_key(&secret, target.incarnation);
        let tried = before.refused.get(&volume);
        if let Some(tried) = tried.filter(|tried| secret.resource_version().as_ref() == Some(*tried)) {
            refused.insert(volume.clone(), tried.clone());
            slot = Slot::Broken;
        }
        data.insert(volume, slot);
    }
    Ok((data, refused))
}

async fn found(client: &Client, target: For<'_>) -> Result<Vec<Secret>, MintError> {
    let selector = format!("{TENANT_LABEL}={},{KIND}", target.name);
    let listed = secrets(client, target.keys_namespace)
        .list(&ListParams::default().labels(&selector))
        .await
        .map_err(|source| failed("list", target.keys_namespace, "(data keys)", source))?;
    let ours = listed.items.into_iter();
    Ok(ours.filter(|secret| is_for(secret, target.incarnation)).collect())
}

/// What comes of a data key that was to be wrapped anew.
enum Rewrapped {
    Kept(Box<Secret>),
    /// It doesn't open, now or ever: the Secret's resource version.
    Refused(String),
    /// Or written meanwhile.
    Gone,
}

/// The Secret with its key wrapped by the current version.
async fn rewrap(
    client: &Client,
    target: For<'_>,
    name: &KeyName,
    volume: &str,
) -> Result<Rewrapped, MintError> {
    let Some(service) = target.service else {
        return Ok(Rewrapped::Gone);
    };
    let namespace = target.keys_namespace;
    let there = super::read(client, namespace, volume).await?;
    let Some(there) = there.filter(|there| is_for(there, target.incarnation)) else {
        return Ok(Rewrapped::Gone);
    };
    let wrapped = envelope(&there)
        .map_err(MintError::key("read a data key of"))?
        .wrapped;
    let anew = match service.rewrap(name, &context(target, volume)?, &wrapped).await {
        Err(KeyError::Refused(_)) => {
            return Ok(Rewrapped::Refused(there.resource_version().unwrap_or_default()));
        }
        anew => anew.map_err(MintError::key("wrap a data key by"))?,
    };
    let data = texts(target, name, anew).into_iter();
    let data = data
        .map(|(key, text)| (key, Some(ByteString(text.into_bytes()))))
        .collect();
    match put(client, namespace, &there, data).await {
        Err(error) if matches!(error.refusal(), Some(Refusal::NotFound | Refusal::Conflict)) => {
            Ok(Rewrapped::Gone)
        }
        written => written.map(Box::new).map(Rewrapped::Kept),
    }
}

/// Whether a volume is there still.
async fn is_there(client: &Client, volume: &str) -> Result<bool, MintError> {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let found = volumes
        .get_opt(volume)
        .await
        .map_err(|source| failed("get the PersistentVolume of", "", volume, source))?;
    Ok(found.is_some())
}
