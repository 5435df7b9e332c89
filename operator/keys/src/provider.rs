//! Who holds tenant keys. In: the name of a key, and data keys to wrap. Out: wrapped keys, versions, evidence.
//!
//! Two are here: `local`, whose root key lies in the cluster, and `pkcs11`, an HSM. There is room for others:
//!
//! - **Vault or OpenBao, engine `transit`**: `create` is `POST keys/NAME` (`aes256-gcm96`, `exportable=false`), and
//!   reads the key first; `wrap` is `encrypt/NAME` with the context in `associated_data`, the version is in
//!   `vault:vN:`; `unwrap` is `decrypt/NAME`; `rotate` reads `latest_version` before `keys/NAME/rotate`; `destroy` of
//!   versions is `min_decryption_version` and `trim`, of the whole `deletion_allowed` and DELETE, with the tombstone
//!   as a key of the same name in `kv`.
//! - **KMS v2 plugins** (`kmsapi v2`): `wrap` is `Encrypt`, whose `key_id` names the version; the protocol has no
//!   authenticated data, so the context goes, framed, before the plain key and is compared after `Decrypt`; `rotate`
//!   happens in the KMS and is seen in `Status`; `create` and `destroy` are Invalid: the key is the platform's, so its
//!   scope is `Platform`, and destruction by key isn't offered.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::{Context, KeyError, KeyName};

/// A plain data key. It is wiped when it is dropped.
pub struct DataKey(Zeroizing<Vec<u8>>);

impl DataKey {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Zeroizing<Vec<u8>>> for DataKey {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({} bytes)", self.0.len())
    }
}

/// A data key under a version of a tenant key.
#[derive(Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// The version of the tenant key, from 1.
    pub version: u32,
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wrapped(version {}, {} bytes)", self.version, self.bytes.len())
    }
}

/// Whether a version can still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Enabled,
    /// For good. The date stays.
    Destroyed {
        at: Timestamp,
    },
}

/// A version of a tenant key. Times are whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// From 1, without gaps.
    pub number: u32,
    pub created_at: Timestamp,
    pub state: State,
}

/// What is to be destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destroying {
    /// One version, which is not the current one.
    Version(u32),
    /// The whole key, and its name for good.
    All,
}

/// The evidence of a destruction, the same each time that it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destroyed {
    /// What was asked for, with the times at which it was destroyed.
    pub versions: Vec<Version>,
    /// What that was and where, in words.
    pub evidence: String,
}

/// What a provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub provider: String,
    /// Whether what protects the keys lies outside of the cluster.
    pub separated: bool,
}

/// Every act may be repeated, and is done by several processes at a time.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync + 'static {
    /// Makes a key, or gives the current version of the one that is there. A key whose versions were destroyed is
    /// Destroyed: it is never made again under its name.
    async fn create(&self, key: &KeyName) -> Result<Version, KeyError>;

    /// Wraps under the current version, and says which that is.
    async fn wrap(&self, key: &KeyName, context: &Context, plain: &DataKey) -> Result<Wrapped, KeyError>;

    async fn unwrap(&self, key: &KeyName, context: &Context, wrapped: &Wrapped) -> Result<DataKey, KeyError>;

    /// Makes version `from` + 1 if `from` is the current one, else gives the current one. A `from` that was never
    /// there is a Conflict.
    async fn rotate(&self, key: &KeyName, from: u32) -> Result<Version, KeyError>;

    /// All of them, the destroyed ones too, in the order of their numbers.
    async fn versions(&self, key: &KeyName) -> Result<Vec<Version>, KeyError>;

    /// Destroys for good. The current version goes only with the whole key; alone it is a Conflict.
    async fn destroy(&self, key: &KeyName, what: Destroying) -> Result<Destroyed, KeyError>;

    /// Whether it can be used right now.
    async fn health(&self) -> Result<Health, KeyError>;
}
