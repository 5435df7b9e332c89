//! Where records are kept. In: a slot. Out: its content and revision. Invariant: a write that doesn't know the latest
//! revision is a Conflict.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::{KeyError, KeyName};

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot<'a> {
    Root,
    TenantKey(&'a KeyName),
}

/// What is there.
#[derive(Clone)]
pub struct Stored {
    pub content: Zeroizing<Vec<u8>>,
    pub revision: String,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Stored({} bytes, revision {})",
            self.content.len(),
            self.revision
        )
    }
}

/// Keeps records.
#[async_trait]
pub trait Vault: fmt::Debug + Send + Sync + 'static {
    async fn load(&self, slot: Slot<'_>) -> Result<Option<Stored>, KeyError>;

    /// Writes onto a revision; without one, only where nothing is. Else it is a Conflict.
    async fn save(&self, slot: Slot<'_>, content: &[u8], revision: Option<&str>) -> Result<(), KeyError>;

    /// Whether there is any tenant key.
    async fn holds_keys(&self) -> Result<bool, KeyError>;

    /// In words, for the evidence of a destruction.
    fn place(&self, key: &KeyName) -> String;
}

/// In memory, for tests: it ends with the process.
#[derive(Default)]
pub struct Memory(Mutex<Slots>);

/// Contents with their revisions; the root key has no name.
type Slots = BTreeMap<Option<KeyName>, (Vec<u8>, u64)>;

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

impl Memory {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(slot: Slot<'_>) -> Option<KeyName> {
        match slot {
            Slot::Root => None,
            Slot::TenantKey(key) => Some(key.clone()),
        }
    }

    /// Puts something there as a fault would; None removes it.
    pub fn plant(&self, slot: Slot<'_>, content: Option<&[u8]>) {
        let mut slots = self.slots();
        let name = Self::name(slot);
        let revision = slots.get(&name).map_or(0, |(_, revision)| *revision) + 1;
        match content {
            Some(content) => slots.insert(name, (content.to_vec(), revision)),
            None => slots.remove(&name),
        };
    }
}

#[async_trait]
impl Vault for Memory {
    async fn load(&self, slot: Slot<'_>) -> Result<Option<Stored>, KeyError> {
        Ok(self
            .slots()
            .get(&Self::name(slot))
            .map(|(content, revision)| Stored {
                content: Zeroizing::new(content.clone()),
                revision: revision.to_string(),
            }))
    }

    async fn save(&self, slot: Slot<'_>, content: &[u8], revision: Option<&str>) -> Result<(), KeyError> {
        let mut slots = self.slots();
        let name = Self::name(slot);
        let there = slots.get(&name).map(|(_, revision)| *revision);
        if there.map(|revision| revision.to_string()).as_deref() != revision {
            return Err(KeyError::Conflict("somebody else wrote it".into()));
        }
        slots.insert(name, (content.to_vec(), there.unwrap_or_default() + 1));
        Ok(())
    }

    async fn holds_keys(&self) -> Result<bool, KeyError> {
        Ok(self.slots().keys().any(Option::is_some))
    }

    fn place(&self, key: &KeyName) -> String {
        format!("memory, {key}")
    }
}
