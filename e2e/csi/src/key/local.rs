//! A key in a file, for tests without a key service. It wraps as the service's own providers do, AES-256-GCM over the
//! volume's context, so that a test fails where the driver would.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freehold_keys::{Context, DataKey, Envelope, KeyError, Purpose, Wrapped};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Unwrap;

/// What the file holds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Content {
    /// 32 bytes as Base64.
    key: Zeroizing<String>,
    /// csi-sanity gives the same Secret to every volume: then this is the id that it is made for.
    data_key_id: Option<String>,
}

pub struct TestKey {
    key: LessSafeKey,
    data_key_id: Option<String>,
}

impl fmt::Debug for TestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestKey")
    }
}

impl TestKey {
    pub fn read(path: &Path) -> Result<TestKey> {
        let text = Zeroizing::new(fs::read(path).with_context(|| format!("read {}", path.display()))?);
        let content: Content = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not {{\"key\": …}}", path.display()))?;
        let bytes = Zeroizing::new(STANDARD.decode(content.key.as_bytes())?);
        let mut key = TestKey::new(&bytes)?;
        key.data_key_id = content.data_key_id;
        Ok(key)
    }

    /// Of 32 bytes.
    pub fn new(bytes: &[u8]) -> Result<TestKey> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| anyhow::anyhow!("a key has 32 bytes"))?;
        Ok(TestKey {
            key: LessSafeKey::new(key),
            data_key_id: None,
        })
    }

    /// Wraps a volume's key, as the operator would have it done.
    pub fn wrap(&self, incarnation: &str, volume: &str, plain: &DataKey) -> Result<Envelope> {
        let context = Context::new(incarnation, Purpose::Volume, volume)?;
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce)?;
        let mut bytes = plain.as_bytes().to_vec();
        let aad = Aad::from(context.authenticated_data());
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut bytes)?;
        Ok(Envelope {
            key: "test".parse()?,
            incarnation: incarnation.to_owned(),
            wrapped: Wrapped {
                version: 1,
                bytes: [&nonce[..], &bytes].concat(),
            },
        })
    }
}

#[tonic::async_trait]
impl Unwrap for TestKey {
    async fn unwrap(&self, envelope: &Envelope, volume: &str) -> Result<DataKey, KeyError> {
        let id = self.data_key_id.as_deref().unwrap_or(volume);
        let context = Context::new(&envelope.incarnation, Purpose::Volume, id)?;
        let refused = || KeyError::Refused(format!("not one of {id}"));
        let (nonce, sealed) = envelope
            .wrapped
            .bytes
            .split_at_checked(NONCE_LEN)
            .ok_or_else(refused)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused())?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let aad = Aad::from(context.authenticated_data());
        let plain = self
            .key
            .open_in_place(nonce, aad, &mut bytes)
            .map_err(|_| refused())?;
        Ok(DataKey::new(plain.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wrapped_key_opens_for_its_own_volume_and_for_no_other() {
        let key = TestKey::new(&[7; 32]).unwrap();
        let envelope = key
            .wrap("5f0c", "pvc-1", &DataKey::new((0..64).collect()))
            .unwrap();
        let plain = key.unwrap(&envelope, "pvc-1").await.unwrap();
        assert_eq!(plain.as_bytes(), (0..64).collect::<Vec<u8>>());
        let copied = key.unwrap(&envelope, "pvc-2").await;
        assert!(matches!(copied, Err(KeyError::Refused(_))), "{copied:?}");
        let reborn = Envelope {
            incarnation: "5f0d".into(),
            ..envelope.clone()
        };
        assert!(key.unwrap(&reborn, "pvc-1").await.is_err());
        let other = TestKey::new(&[8; 32]).unwrap();
        assert!(other.unwrap(&envelope, "pvc-1").await.is_err());
    }
}
