//! Mint: key material, made here and nowhere else. Client and randomness required.
//!
//! In: an action that names what is wanted. Out: Secrets in the cluster, and their metadata. Invariants: a private key
//! or token is never logged, never in an error, never in a plan; an authority that exists is never replaced; a create
//! that is refused because something is there leaves it as it is.

mod certificate;
mod destruction;
mod ends;
mod issue;
pub mod keys;
mod token;

use std::collections::BTreeMap;

use freehold_plan::names::{AuthorityName, FREEHOLD, INCARNATION, MANAGED_BY, OWNER_TOKEN, TENANT_LABEL};
use freehold_plan::{Action, Certificate, Minted, Slot, Succession};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, ResourceExt};
use serde_json::json;
use tracing::info;

use self::issue::{Authorities, Issuer};
use crate::cluster::{Refusal, refusal};

/// The tenant for which something is minted.
#[derive(Clone, Copy, Debug)]
pub struct For<'a> {
    pub name: &'a str,
    /// Which life of it: what was minted in another is not its own.
    pub incarnation: &'a str,
    pub keys_namespace: &'a str,
    /// Where the TenantOperations are.
    pub operator_namespace: &'a str,
    /// The key service, where there is one.
    pub service: Option<&'a freehold_keys::client::Client>,
}

/// Why nothing was minted.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    #[error("can't {verb} Secret {namespace}/{name}")]
    Api {
        verb: &'static str,
        namespace: String,
        name: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("Secret {namespace}/{name} has no usable {what}")]
    Broken {
        namespace: String,
        name: String,
        what: &'static str,
    },
    #[error(transparent)]
    Issue(#[from] freehold_pki::Error),
    #[error("can't connect to the tenant's pods: {0} is not usable")]
    Unusable(&'static str),
    #[error("the system gives no randomness")]
    Randomness,
    #[error("can't look up {what}")]
    LookUp {
        what: &'static str,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("can't {verb} the tenant key")]
    Key {
        verb: &'static str,
        #[source]
        source: freehold_keys::KeyError,
    },
}

impl MintError {
    /// What the API server's refusal means, if it was one.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Api { source, .. } | Self::LookUp { source, .. } => Some(refusal(source)),
            Self::Broken { .. }
            | Self::Issue(_)
            | Self::Unusable(_)
            | Self::Randomness
            | Self::Key { .. } => None,
        }
    }
}

/// What is known after some actions, from the answers to the writes: the artefacts as the API server keeps them.
#[derive(Debug)]
pub struct Learned {
    pub minted: Minted,
    /// Something was there already, so what is known of it is to be read.
    pub unsure: bool,
    /// What went wrong with keys: the rest of the tenant does not wait for them.
    pub failed: Option<MintError>,
}

/// Carries out some actions. Each may be repeated.
pub async fn act(
    client: &Client,
    target: For<'_>,
    actions: &[Action],
    known: Minted,
    now: Timestamp,
) -> Result<Learned, MintError> {
    let mut learned = Learned {
        minted: known,
        unsure: false,
        failed: None,
    };
    let mut issuer = Issuer {
        client,
        target,
        now,
        known: None,
    };
    for action in actions {
        match action {
            _ if issuer.act(action, &mut learned).await? => {}
            Action::MintOwner { namespace } => {
                let data = [("token", token::random()?)];
                let secret = secret(OWNER_TOKEN, target, "Opaque", data);
                match create(client, namespace, secret).await? {
                    Some(_) => learned.minted.owner = Slot::Present(()),
                    None => learned.unsure = true,
                }
            }
            Action::ForgetAuthority => {
                forget(client, target, AuthorityName::of(target.name).as_str()).await?;
                learned.unsure = true;
            }
            about_keys => match keys::act(client, target, about_keys, &mut learned.minted.keys).await {
                Ok(certain) => learned.unsure |= !certain,
                Err(error) => {
                    learned.unsure = true;
                    learned.failed = Some(error);
                    continue;
                }
            },
        }
        info!(?action, "minted");
    }
    Ok(learned)
}

/// The metadata of a certificate in a Secret, parsed from the certificate itself.
pub async fn certificate(
    client: &Client,
    namespace: &str,
    name: &str,
    incarnation: &str,
) -> Result<Slot<Certificate>, MintError> {
    let secret = read(client, namespace, name).await?;
    Ok(secret.map_or(Slot::Absent, |secret| certificate_of(&secret, incarnation)))
}

/// The metadata of the authorities: that of the one that issues, and of those beside it.
pub async fn authorities(
    client: &Client,
    target: For<'_>,
) -> Result<(Slot<Certificate>, Succession), MintError> {
    let name = AuthorityName::of(target.name);
    let secret = read(client, target.keys_namespace, name.as_str()).await?;
    Ok(secret.map_or_else(Default::default, |secret| {
        match certificate_of(&secret, target.incarnation) {
            Slot::Present(current) => (Slot::Present(current), Authorities::facts(&secret)),
            other => (other, Succession::default()),
        }
    }))
}

fn certificate_of(secret: &Secret, incarnation: &str) -> Slot<Certificate> {
    if !is_for(secret, incarnation) {
        return Slot::Foreign;
    }
    let certificate = text(secret, "tls.crt").and_then(|pem| {
        let issuer = text(secret, "ca.crt").unwrap_or_else(|| pem.clone());
        certificate::facts(pem, &issuer).ok()
    });
    certificate.map_or(Slot::Broken, Slot::Present)
}

/// Whether a token is there.
pub async fn token(
    client: &Client,
    namespace: &str,
    name: &str,
    incarnation: &str,
) -> Result<Slot<()>, MintError> {
    Ok(match read(client, namespace, name).await? {
        None => Slot::Absent,
        Some(secret) if is_for(&secret, incarnation) => Slot::Present(()),
        Some(_) => Slot::Foreign,
    })
}

/// Deletes a Secret of the keys namespace, if it was made for this life of the tenant.
async fn forget(client: &Client, target: For<'_>, name: &str) -> Result<(), MintError> {
    let namespace = target.keys_namespace;
    let there = read(client, namespace, name).await?;
    let Some(there) = there.filter(|there| is_for(there, target.incarnation)) else {
        return Ok(());
    };
    let params = DeleteParams::default().preconditions(Preconditions {
        uid: there.uid(),
        resource_version: None,
    });
    match secrets(client, namespace).delete(name, &params).await {
        Err(source) if refusal(&source) != Refusal::NotFound => {
            Err(failed("delete", namespace, name, source))
        }
        _ => Ok(()),
    }
}

fn secret<K: Into<String>>(
    name: &str,
    target: For<'_>,
    kind: &str,
    data: impl IntoIterator<Item = (K, String)>,
) -> Secret {
    let labels = [
        (MANAGED_BY, FREEHOLD),
        ("app.kubernetes.io/part-of", FREEHOLD),
        (TENANT_LABEL, target.name),
    ];
    let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.map(own).into()),
            annotations: Some([own((INCARNATION, target.incarnation))].into()),
            ..ObjectMeta::default()
        },
        type_: Some(kind.to_owned()),
        data: Some(
            data.into_iter()
                .map(|(key, text)| (key.into(), ByteString(text.into_bytes())))
                .collect(),
        ),
        ..Secret::default()
    }
}

/// What is there already stays: then there is no answer.
async fn create(client: &Client, namespace: &str, secret: Secret) -> Result<Option<Secret>, MintError> {
    let params = PostParams {
        field_manager: Some(FREEHOLD.to_owned()),
        ..PostParams::default()
    };
    match secrets(client, namespace).create(&params, &secret).await {
        Ok(kept) => Ok(Some(kept)),
        Err(source) if refusal(&source) == Refusal::AlreadyExists => Ok(None),
        Err(source) => Err(failed("create", namespace, &secret.name_any(), source)),
    }
}

/// What is there is replaced if it was minted for this tenant. Where something is thought to be it is read first: a create would
/// be refused each time, and who is killed at each write would never come to the next.
async fn create_or_replace(
    client: &Client,
    namespace: &str,
    secret: Secret,
    incarnation: &str,
    is_thought_there: bool,
) -> Result<Option<Secret>, MintError> {
    let name = secret.name_any();
    if !is_thought_there && let Some(kept) = create(client, namespace, secret.clone()).await? {
        return Ok(Some(kept));
    }
    let Some(there) = read(client, namespace, &name).await? else {
        return match is_thought_there {
            true => create(client, namespace, secret).await,
            false => Ok(None),
        };
    };
    if !is_for(&there, incarnation) {
        return Ok(None);
    }
    let data = secret.data.into_iter().flatten();
    let data = data.map(|(key, value)| (key, Some(value))).collect();
    put(client, namespace, &there, data).await.map(Some)
}

/// Other content onto the version that was read. What has no value goes; what isn't named stays.
async fn put(
    client: &Client,
    namespace: &str,
    there: &Secret,
    data: BTreeMap<String, Option<ByteString>>,
) -> Result<Secret, MintError> {
    let name = there.name_any();
    let patch = json!({
        "metadata": { "uid": there.uid(), "resourceVersion": there.resource_version() },
        "data": data,
    });
    let params = PatchParams {
        field_manager: Some(FREEHOLD.to_owned()),
        ..PatchParams::default()
    };
    secrets(client, namespace)
        .patch(&name, &params, &Patch::Merge(patch))
        .await
        .map_err(|source| failed("patch", namespace, &name, source))
}

async fn read(client: &Client, namespace: &str, name: &str) -> Result<Option<Secret>, MintError> {
    secrets(client, namespace)
        .get_opt(name)
        .await
        .map_err(|source| failed("get", namespace, name, source))
}

fn secrets(client: &Client, namespace: &str) -> Api<Secret> {
    Api::namespaced(client.clone(), namespace)
}

fn is_for(secret: &Secret, incarnation: &str) -> bool {
    secret
        .annotations()
        .get(INCARNATION)
        .is_some_and(|found| found == incarnation)
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok()
}

fn broken(namespace: &str, name: &str, what: &'static str) -> MintError {
    MintError::Broken {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        what,
    }
}

fn failed(verb: &'static str, namespace: &str, name: &str, source: kube::Error) -> MintError {
    MintError::Api {
        verb,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        source: Box::new(source),
    }
}
