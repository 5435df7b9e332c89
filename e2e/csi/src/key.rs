//! From the wrapped key of a volume to the plain one. In: the Secret that kubelet hands over, and the volume's id. Out:
//! the key, which is wiped when it is dropped.
//!
//! Invariant: the data key's id is the volume's own, never one that the Secret names: a Secret that was copied from
//! another volume opens nothing.

mod local;

use std::collections::HashMap;
use std::fmt::Debug;

use freehold_keys::client::Client;
use freehold_keys::{Context, DataKey, Envelope, KeyError, Purpose};

use crate::failure::Failure;
use crate::kernel::KEY_BYTES;

pub use local::TestKey;

/// Whoever can unwrap: the key service, or a key of the tests.
#[tonic::async_trait]
pub trait Unwrap: Debug + Send + Sync + 'static {
    async fn unwrap(&self, envelope: &Envelope, volume: &str) -> Result<DataKey, KeyError>;
}

#[tonic::async_trait]
impl Unwrap for Client {
    async fn unwrap(&self, envelope: &Envelope, volume: &str) -> Result<DataKey, KeyError> {
        let context = Context::new(&envelope.incarnation, Purpose::Volume, volume)?;
        Client::unwrap(self, &envelope.key, &context, &envelope.wrapped).await
    }
}

/// The plain key of a volume.
pub async fn of_volume(
    keys: &dyn Unwrap,
    secret: &HashMap<String, String>,
    volume: &str,
) -> Result<DataKey, Failure> {
    if secret.is_empty() {
        return Err(Failure::Invalid(format!(
            "volume {volume} is encrypted: its StorageClass must name the Secret with its key (csi.storage.k8s.io/node-stage-secret-name: ${{pv.name}})"
        )));
    }
    let envelope = Envelope::from_texts(|key| secret.get(key).map(String::as_str))?;
    let key = keys.unwrap(&envelope, volume).await?;
    if key.as_bytes().len() != KEY_BYTES {
        return Err(Failure::state(
            volume,
            format!("its key has not the {KEY_BYTES} bytes that AES-256-XTS takes"),
        ));
    }
    Ok(key)
}
