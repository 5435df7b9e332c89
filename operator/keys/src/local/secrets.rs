//! The vault of Secrets in the namespace of the keys. Client required.
//!
//! The Secrets' own types tell them from all others there; both keep what they are for good (a Secret's type can't be
//! changed).

use std::fmt;

use async_trait::async_trait;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use zeroize::Zeroizing;

use super::vault::{Slot, Stored, Vault};
use crate::refusal::{Did, failed};
use crate::{KeyError, KeyName};

const ROOT: &str = "root-key";
const ROOT_TYPE: &str = "freehold.dev/root-key";
const TENANT_KEY_TYPE: &str = "freehold.dev/tenant-key";
/// Where a Secret holds its content.
const CONTENT: &str = "content";

/// See the module.
#[derive(Clone)]
pub struct Secrets {
    api: Api<Secret>,
    namespace: String,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secrets").field(&self.namespace).finish()
    }
}

impl Secrets {
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
        }
    }

    fn did<'a>(&'a self, verb: &'static str, name: &'a str) -> Did<'a> {
        Did {
            verb,
            kind: "Secret",
            namespace: &self.namespace,
            name,
        }
    }
}

fn name(slot: Slot<'_>) -> String {
    match slot {
        Slot::Root => ROOT.to_owned(),
        Slot::TenantKey(key) => format!("tenant-key-{key}"),
    }
}

fn kind(slot: Slot<'_>) -> &'static str {
    match slot {
        Slot::Root => ROOT_TYPE,
        Slot::TenantKey(_) => TENANT_KEY_TYPE,
    }
}

#[async_trait]
impl Vault for Secrets {
    async fn load(&self, slot: Slot<'_>) -> Result<Option<Stored>, KeyError> {
        let name = name(slot);
        let found = self.api.get_opt(&name).await;
        let Some(secret) = found.map_err(|error| failed(self.did("get", &name), &error))? else {
            return Ok(None);
        };
        let broken = |what| {
            KeyError::Corrupt(format!(
                "Secret {}/{name} {what}: restore it from a backup",
                self.namespace
            ))
        };
        if secret.type_.as_deref() != Some(kind(slot)) {
            return Err(broken("is none of the key service's"));
        }
        let revision = secret.resource_version().unwrap_or_default();
        let content = secret.data.and_then(|mut data| data.remove(CONTENT));
        let ByteString(content) = content.ok_or_else(|| broken("has no content"))?;
        Ok(Some(Stored {
            content: Zeroizing::new(content),
            revision,
        }))
    }

    async fn save(&self, slot: Slot<'_>, content: &[u8], revision: Option<&str>) -> Result<(), KeyError> {
        let name = name(slot);
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                resource_version: revision.map(str::to_owned),
                labels: Some(crate::labels()),
                ..ObjectMeta::default()
            },
            type_: Some(kind(slot).to_owned()),
            data: Some([(CONTENT.to_owned(), ByteString(content.to_vec()))].into()),
            ..Secret::default()
        };
        let params = PostParams {
            field_manager: Some(crate::FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let (verb, written) = match revision {
            None => ("create", self.api.create(&params, &secret).await),
            Some(_) => ("update", self.api.replace(&name, &params, &secret).await),
        };
        written
            .map(|_| ())
            .map_err(|error| failed(self.did(verb, &name), &error))
    }

    async fn holds_keys(&self) -> Result<bool, KeyError> {
        let params = ListParams::default()
            .fields(&format!("type={TENANT_KEY_TYPE}"))
            .limit(1);
        let list = self.api.list_metadata(&params).await;
        let list = list.map_err(|error| failed(self.did("list", "*"), &error))?;
        Ok(!list.items.is_empty())
    }

    fn place(&self, key: &KeyName) -> String {
        format!("Secret {}/{}", self.namespace, name(Slot::TenantKey(key)))
    }
}
