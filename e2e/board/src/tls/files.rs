//! In: the folder. Out: the contents of its three files, and whether they are those that were there before.

use super::loaded::TlsError;
use sha2::{Digest, Sha256};
use std::{fs, path::Path};

/// No `Debug`: the key must not get into a log.
pub struct Files {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    pub authorities: Vec<u8>,
}

impl Files {
    pub fn read(folder: &Path) -> Result<Self, TlsError> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map_err(|source| TlsError::File { path, source })
        };
        Ok(Self {
            certificate: read("tls.crt")?,
            key: read("tls.key")?,
            authorities: read("ca.crt")?,
        })
    }

    /// What is compared, so that the key isn't kept a second time.
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for file in [&self.certificate, &self.key, &self.authorities] {
            digest.update(Sha256::digest(file));
        }
        digest.finalize().into()
    }
}
