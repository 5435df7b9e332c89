//! The provider `pkcs11`: tenant keys are objects of an HSM's token, which never leave it.
//!
//! In: the module's path, the token's label, and a file with the PIN. Invariants: keys are made by the token, sensitive
//! and not extractable, and one that isn't is Corrupt; a tombstone is written before its key is deleted; a PIN that the
//! token refused is not tried again, for tokens lock themselves.
//!
//! PKCS#11 has no conditional write, so two processes may make one version at the same time. Both keys stay, new data
//! keys are wrapped by one of them, and what was wrapped by the other opens all the same.

mod connection;
mod label;
mod objects;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::lifecycle::{doomed, enabled, never, now};
use crate::sealed::{self, Sealed};
use crate::{Context, DataKey, Destroyed, Destroying, Health, KeyError, KeyName, Provider, Version, Wrapped};
use connection::{Connection, Fault};
use objects::Held;

const TAG_BITS: u64 = 128;

/// Where the HSM is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The HSM maker's library.
    pub module: PathBuf,
    pub token_label: String,
    /// Read each time that a session is opened.
    pub pin_file: PathBuf,
}

/// See the module.
#[derive(Clone)]
pub struct Pkcs11 {
    /// One session: the calls block, and a pool would only queue inside of the token.
    connection: Arc<Mutex<Connection>>,
}

impl fmt::Debug for Pkcs11 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pkcs11")
    }
}

impl Pkcs11 {
    /// Loads the module. The token is looked for when it is first used.
    pub fn new(settings: Settings) -> Result<Self, KeyError> {
        Ok(Self {
            connection: Arc::new(Mutex::new(Connection::load(settings)?)),
        })
    }

    /// Runs an act on a thread that may block. An act that lost its session is done again on a new one, once; so each
    /// begins with a look at what is there. A caller that gives up leaves the thread behind, but never two.
    async fn on_token<T: Send + 'static>(
        &self,
        act: impl Fn(&Session) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, KeyError> {
        let mut connection = self.connection.clone().lock_owned().await;
        spawn_blocking(move || connection.act(act))
            .await
            .map_err(|_| KeyError::Unavailable("the call of the PKCS#11 module ended".into()))?
    }
}

#[async_trait]
impl Provider for Pkcs11 {
    async fn create(&self, key: &KeyName) -> Result<Version, KeyError> {
        let key = key.clone();
        self.on_token(move |session| {
            let held = Held::list(session, &key)?;
            match held.current() {
                Some(current) => Ok(enabled(&key, current)?),
                None => objects::make(session, &key, 1, now()),
            }
        })
        .await
    }

    async fn wrap(&self, key: &KeyName, context: &Context, plain: &DataKey) -> Result<Wrapped, KeyError> {
        let (key, data) = (key.clone(), context.authenticated_data());
        let plain = Zeroizing::new(plain.as_bytes().to_vec());
        self.on_token(move |session| {
            let held = Held::list(session, &key)?;
            let version = enabled(&key, held.some_current(&key)?)?.number;
            let bytes = seal(session, held.first(&key, version)?, &data, &plain)?;
            Ok(Wrapped { version, bytes })
        })
        .await
    }

    async fn unwrap(&self, key: &KeyName, context: &Context, wrapped: &Wrapped) -> Result<DataKey, KeyError> {
        let (key, data, wrapped) = (key.clone(), context.authenticated_data(), wrapped.clone());
        self.on_token(move |session| {
            let held = Held::list(session, &key)?;
            enabled(&key, held.version(&key, wrapped.version)?)?;
            for handle in held.handles(wrapped.version) {
                if let Some(plain) = open(session, handle, &data, &wrapped.bytes)? {
                    return Ok(plain);
                }
            }
            Err(KeyError::Refused(format!("{key}, version {}", wrapped.version)).into())
        })
        .await
    }

    async fn rotate(&self, key: &KeyName, from: u32) -> Result<Version, KeyError> {
        let key = key.clone();
        self.on_token(move |session| {
            let held = Held::list(session, &key)?;
            let current = held.some_current(&key)?;
            held.version(&key, from).map_err(|_| never(&key, from))?;
            let current = enabled(&key, current)?;
            if current.number != from {
                return Ok(current);
            }
            objects::make(session, &key, from + 1, now())
        })
        .await
    }

    async fn versions(&self, key: &KeyName) -> Result<Vec<Version>, KeyError> {
        let key = key.clone();
        self.on_token(move |session| {
            let held = Held::list(session, &key)?;
            held.some_current(&key)?;
            Ok(held.versions())
        })
        .await
    }

    async fn destroy(&self, key: &KeyName, what: Destroying) -> Result<Destroyed, KeyError> {
        let key = key.clone();
        let versions = self
            .on_token(move |session| {
                let held = Held::list(session, &key)?;
                held.some_current(&key)?;
                let numbers = doomed(&key, &held.versions(), what)?;
                for number in &numbers {
                    held.destroy(session, &key, *number, now())?;
                }
                let mut versions = Held::list(session, &key)?.versions();
                versions.retain(|version| numbers.contains(&version.number));
                Ok(versions)
            })
            .await?;
        let token = self.connection.lock().await.token().to_owned();
        Ok(Destroyed {
            versions,
            evidence: format!(
                "the AES-256 keys were deleted from {token}; backups of the HSM hold them until they expire"
            ),
        })
    }

    async fn health(&self) -> Result<Health, KeyError> {
        self.on_token(|session| Ok(objects::look(session)?)).await?;
        Ok(Health {
            provider: "pkcs11".into(),
            separated: true,
        })
    }
}

fn seal(session: &Session, key: ObjectHandle, data: &[u8], plain: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut nonce = [0; 12];
    session.generate_random_slice(&mut nonce)?;
    let body = {
        let mechanism = Mechanism::AesGcm(GcmParams::new(&mut nonce, data, TAG_BITS.into())?);
        session.encrypt(&mechanism, key, plain)?
    };
    // Some tokens choose their own nonce, and write it there.
    Ok(sealed::join(&nonce, &body))
}

/// Nothing if it was not sealed with this key and this data.
fn open(session: &Session, key: ObjectHandle, data: &[u8], bytes: &[u8]) -> Result<Option<DataKey>, Fault> {
    let Some(Sealed { mut nonce, body }) = Sealed::parse(bytes) else {
        return Ok(None);
    };
    let mechanism = Mechanism::AesGcm(GcmParams::new(&mut nonce, data, TAG_BITS.into())?);
    match session.decrypt(&mechanism, key, body) {
        Ok(plain) => Ok(Some(DataKey::new(plain))),
        Err(Error::Pkcs11(RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange, _)) => Ok(None),
        // What tokens say of a wrong tag, and of a fault of their own too: SoftHSM says the first. If the key can do
        // its work right now, then it was the ciphertext.
        Err(error @ Error::Pkcs11(RvError::GeneralError | RvError::FunctionFailed, _)) => {
            if works(session, key)? {
                Ok(None)
            } else {
                Err(error.into())
            }
        }
        Err(error) => Err(error.into()),
    }
}

fn works(session: &Session, key: ObjectHandle) -> Result<bool, Fault> {
    let probe = seal(session, key, b"probe", b"probe")?;
    let Some(Sealed { mut nonce, body }) = Sealed::parse(&probe) else {
        return Ok(false);
    };
    let mechanism = Mechanism::AesGcm(GcmParams::new(&mut nonce, b"probe", TAG_BITS.into())?);
    Ok(session.decrypt(&mechanism, key, body)? == b"probe")
}
