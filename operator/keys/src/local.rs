//! The provider `local`: a root key, and tenant keys wrapped by it, kept in a [`Vault`]. For clusters without an HSM.
//!
//! Not separated: whoever reads the vault has the root key and what it opens. Invariants: the root key is made only
//! where there is no tenant key; what is there and can't be read, or was made under another root key, is Corrupt, and
//! stays as it is; a destroyed version's key is gone from the record in the same write that says so.

mod record;
mod secrets;
mod vault;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::lifecycle::{contended, doomed, enabled, never, now};
use crate::sealed::{self, KEY};
use crate::{Context, DataKey, Destroyed, Destroying, Health, KeyError, KeyName, Provider, Version, Wrapped};
use record::Record;
pub use secrets::Secrets;
pub use vault::{Memory, Slot, Stored, Vault};

/// How often a write is tried that others came before.
const ATTEMPTS: usize = 5;

/// See the module.
#[derive(Debug)]
pub struct Local<V> {
    vault: V,
}

impl<V: Vault> Local<V> {
    pub fn new(vault: V) -> Self {
        Self { vault }
    }

    /// The root key of a vault that must have one.
    async fn root(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.find_root().await?.ok_or_else(lost_root)
    }

    async fn find_root(&self) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
        let Some(stored) = self.vault.load(Slot::Root).await? else {
            return Ok(None);
        };
        if stored.content.len() != KEY {
            return Err(KeyError::Corrupt(
                "the root key does not have 256 bits: restore it from a backup".into(),
            ));
        }
        Ok(Some(stored.content))
    }

    /// The root key, made if this is the beginning.
    async fn root_or_first(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        if let Some(root) = self.find_root().await? {
            return Ok(root);
        }
        if self.vault.holds_keys().await? {
            // Another process may have made both since the first look. If not, it is lost.
            return self.root().await;
        }
        let made = sealed::random(KEY)?;
        match self.vault.save(Slot::Root, &made, None).await {
            // Another process was first: its root key is the one.
            Ok(()) | Err(KeyError::Conflict(_)) => self.root().await,
            Err(error) => Err(error),
        }
    }

    async fn find(&self, key: &KeyName) -> Result<Option<(Record, String)>, KeyError> {
        let stored = self.vault.load(Slot::TenantKey(key)).await?;
        let read = |Stored { content, revision }| Ok((Record::read(key, &content)?, revision));
        stored.map(read).transpose()
    }

    async fn record(&self, key: &KeyName) -> Result<(Record, String), KeyError> {
        self.find(key)
            .await?
            .ok_or_else(|| KeyError::NotFound(key.to_string()))
    }

    async fn save(&self, key: &KeyName, record: &Record, revision: Option<&str>) -> Result<(), KeyError> {
        self.vault
            .save(Slot::TenantKey(key), &record.write()?, revision)
            .await
    }
}

#[async_trait]
impl<V: Vault> Provider for Local<V> {
    async fn create(&self, key: &KeyName) -> Result<Version, KeyError> {
        let root = self.root_or_first().await?;
        for _ in 0..ATTEMPTS {
            if let Some((record, _)) = self.find(key).await? {
                let current = enabled(key, record.current()?)?;
                record.open(&root, current.number)?;
                return Ok(current);
            }
            let mut record = Record::empty(key);
            let version = record.add(&root, now())?;
            match self.save(key, &record, None).await {
                Err(KeyError::Conflict(_)) => {}
                result => return result.map(|()| version),
            }
        }
        Err(contended(key))
    }

    async fn wrap(&self, key: &KeyName, context: &Context, plain: &DataKey) -> Result<Wrapped, KeyError> {
        let (record, _) = self.record(key).await?;
        let version = enabled(key, record.current()?)?.number;
        let secret = record.open(&self.root().await?, version)?;
        let bytes = sealed::seal(&secret, &context.authenticated_data(), plain.as_bytes())?;
        Ok(Wrapped { version, bytes })
    }

    async fn unwrap(&self, key: &KeyName, context: &Context, wrapped: &Wrapped) -> Result<DataKey, KeyError> {
        let (record, _) = self.record(key).await?;
        enabled(key, record.version(wrapped.version)?)?;
        let secret = record.open(&self.root().await?, wrapped.version)?;
        match sealed::open(&secret, &context.authenticated_data(), &wrapped.bytes)? {
            Some(plain) => Ok(DataKey::from(plain)),
            None => Err(KeyError::Refused(format!("{key}, version {}", wrapped.version))),
        }
    }

    async fn rotate(&self, key: &KeyName, from: u32) -> Result<Version, KeyError> {
        for _ in 0..ATTEMPTS {
            let (mut record, revision) = self.record(key).await?;
            record.version(from).map_err(|_| never(key, from))?;
            let current = enabled(key, record.current()?)?;
            let root = self.root().await?;
            record.open(&root, current.number)?;
            if current.number != from {
                return Ok(current);
            }
            let version = record.add(&root, now())?;
            match self.save(key, &record, Some(&revision)).await {
                Err(KeyError::Conflict(_)) => {}
                result => return result.map(|()| version),
            }
        }
        Err(contended(key))
    }

    async fn versions(&self, key: &KeyName) -> Result<Vec<Version>, KeyError> {
        let (record, _) = self.record(key).await?;
        if let Ok(current) = enabled(key, record.current()?) {
            record.open(&self.root().await?, current.number)?;
        }
        Ok(record.versions())
    }

    async fn destroy(&self, key: &KeyName, what: Destroying) -> Result<Destroyed, KeyError> {
        for _ in 0..ATTEMPTS {
            let (mut record, revision) = self.record(key).await?;
            let numbers = doomed(key, &record.versions(), what)?;
            if record.destroy(&numbers, now()) {
                match self.save(key, &record, Some(&revision)).await {
                    Err(KeyError::Conflict(_)) => continue,
                    result => result?,
                }
            }
            let mut versions = record.versions();
            versions.retain(|version| numbers.contains(&version.number));
            return Ok(Destroyed {
                versions,
                evidence: format!(
                    "the wrapped AES-256 keys were removed from {}; backups of it hold them until they expire",
                    self.vault.place(key)
                ),
            });
        }
        Err(contended(key))
    }

    async fn health(&self) -> Result<Health, KeyError> {
        if self.find_root().await?.is_none() && self.vault.holds_keys().await? {
            self.root().await?;
        }
        Ok(Health {
            provider: "local".into(),
            separated: false,
        })
    }
}

fn lost_root() -> KeyError {
    KeyError::Corrupt(
        "there are tenant keys and no root key: restore the Secret `root-key` from a backup; a new one would open none of them"
            .into(),
    )
}
