//! Where authority and leaf are kept, so that the replicas share them. Client required.

use std::fmt;

use freehold_pki::Pair;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tracing::info;
use zeroize::Zeroizing;

use super::issue::{self, Leaf};
use crate::KeyError;
use crate::refusal::{Did, failed};

const SECRET: &str = "keys-service-tls";
const SECRET_TYPE: &str = "freehold.dev/keys-service-tls";
/// The authority's certificate, for callers.
const CONFIG_MAP: &str = "freehold-keys-ca";
const CA: &str = "ca.crt";
/// How often a write is tried that another replica came before.
const ATTEMPTS: usize = 5;

/// See the module.
#[derive(Clone)]
pub struct Keeper {
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
    namespace: String,
    names: Vec<String>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keeper").field(&self.namespace).finish()
    }
}

/// What the Secret holds.
struct Kept {
    authority: Pair,
    leaf: Leaf,
    revision: Option<String>,
}

impl Keeper {
    /// `names` are what the leaf says.
    pub fn new(client: Client, namespace: &str, names: Vec<String>) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), namespace),
            config_maps: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            names,
        }
    }

    /// The leaf that is to be shown now: made or renewed if need be, its authority published.
    pub async fn look(&self, now: Timestamp) -> Result<Leaf, KeyError> {
        for _ in 0..ATTEMPTS {
            let kept = match self.load().await? {
                Some(kept) if !kept.leaf.is_due(now) => {
                    self.publish(&kept.authority.certificate_pem).await?;
                    return Ok(kept.leaf);
                }
                Some(Kept {
                    authority, revision, ..
                }) => Kept {
                    leaf: issue::leaf(&authority, &self.names, now)?,
                    authority,
                    revision,
                },
                None => {
                    let authority = issue::authority(now)?;
                    Kept {
                        leaf: issue::leaf(&authority, &self.names, now)?,
                        authority,
                        revision: None,
                    }
                }
            };
            match self.save(&kept).await {
                // What another replica wrote is as good.
                Err(KeyError::Conflict(_)) => {}
                Err(error) => return Err(error),
                Ok(()) => info!(not_after = %kept.leaf.not_after, "a certificate was made"),
            }
        }
        Err(KeyError::Unavailable(format!(
            "others keep changing Secret {}/{SECRET}",
            self.namespace
        )))
    }

    async fn load(&self) -> Result<Option<Kept>, KeyError> {
        let found = self.secrets.get_opt(SECRET).await;
        let Some(secret) = found.map_err(|error| failed(self.did("get", "Secret", SECRET), &error))? else {
            return Ok(None);
        };
        let revision = secret.resource_version();
        let mut data = secret.data.unwrap_or_default();
        let mut text = |key: &str| {
            let ByteString(bytes) = data.remove(key)?;
            String::from_utf8(bytes).ok()
        };
        let mut read = || {
            let authority = Pair {
                certificate_pem: text(CA)?,
                key_pem: Zeroizing::new(text("ca.key")?),
            };
            let leaf = Leaf::read(text("tls.crt")?, Zeroizing::new(text("tls.key")?))?;
            Some((authority, leaf))
        };
        let (authority, leaf) = read().ok_or_else(|| {
            KeyError::Corrupt(format!(
                "Secret {}/{SECRET} has no usable certificates: restore it, or delete it to have new ones made, \
                 which every caller must learn",
                self.namespace
            ))
        })?;
        Ok(Some(Kept {
            authority,
            leaf,
            revision,
        }))
    }

    async fn save(&self, kept: &Kept) -> Result<(), KeyError> {
        let entry = |key: &str, text: &str| (key.to_owned(), ByteString(text.as_bytes().to_vec()));
        let data = [
            entry(CA, &kept.authority.certificate_pem),
            entry("ca.key", &kept.authority.key_pem),
            entry("tls.crt", &kept.leaf.certificate_pem),
            entry("tls.key", &kept.leaf.key_pem),
        ];
        let secret = Secret {
            metadata: self.metadata(SECRET, kept.revision.clone()),
            type_: Some(SECRET_TYPE.to_owned()),
            data: Some(data.into()),
            ..Secret::default()
        };
        let (verb, written) = match kept.revision {
            None => ("create", self.secrets.create(&params(), &secret).await),
            Some(_) => ("update", self.secrets.replace(SECRET, &params(), &secret).await),
        };
        written
            .map(|_| ())
            .map_err(|error| failed(self.did(verb, "Secret", SECRET), &error))
    }

    /// Callers read the authority from there. It holds nothing secret.
    async fn publish(&self, authority: &str) -> Result<(), KeyError> {
        let did = |verb| self.did(verb, "ConfigMap", CONFIG_MAP);
        let found = self.config_maps.get_opt(CONFIG_MAP).await;
        let found = found.map_err(|error| failed(did("get"), &error))?;
        let there = found.as_ref().and_then(|map| map.data.as_ref()?.get(CA));
        if there.is_some_and(|there| there == authority) {
            return Ok(());
        }
        let revision = found.as_ref().and_then(ResourceExt::resource_version);
        let map = ConfigMap {
            metadata: self.metadata(CONFIG_MAP, revision),
            data: Some([(CA.to_owned(), authority.to_owned())].into()),
            ..ConfigMap::default()
        };
        let (verb, written) = match found {
            None => ("create", self.config_maps.create(&params(), &map).await),
            Some(_) => (
                "update",
                self.config_maps.replace(CONFIG_MAP, &params(), &map).await,
            ),
        };
        match written.map_err(|error| failed(did(verb), &error)) {
            // Another replica published the same.
            Ok(_) | Err(KeyError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn metadata(&self, name: &str, revision: Option<String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            resource_version: revision,
            labels: Some(crate::labels()),
            ..ObjectMeta::default()
        }
    }

    fn did<'a>(&'a self, verb: &'static str, kind: &'static str, name: &'a str) -> Did<'a> {
        Did {
            verb,
            kind,
            namespace: &self.namespace,
            name,
        }
    }
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(crate::FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}
