//! The service's own certificate: made, kept in a Secret, renewed at two thirds of its life, and taken up without a
//! restart. Client required for keeping.
//!
//! Its authority is published in a ConfigMap, for callers. Invariants: the replicas share one authority and one leaf;
//! what is kept and can't be read is Corrupt, and stays; the authority's key leaves this module only into its Secret.

mod issue;
mod kept;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::{KeyError, suites};
pub use issue::{Leaf, names};
pub use kept::Keeper;

/// How often it is looked whether another replica renewed it, and whether it is time.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// For one look: an API server that hangs must not end the renewals.
const LOOK: Duration = Duration::from_secs(30);

/// What new connections are shown.
#[derive(Debug)]
pub struct Identity(RwLock<Arc<ServerConfig>>);

impl Identity {
    pub fn new(leaf: &Leaf) -> Result<Self, KeyError> {
        Ok(Self(RwLock::new(config(leaf)?)))
    }

    pub fn current(&self) -> Arc<ServerConfig> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn replace(&self, leaf: &Leaf) -> Result<(), KeyError> {
        let config = config(leaf)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }
}

fn config(leaf: &Leaf) -> Result<Arc<ServerConfig>, KeyError> {
    let broken = |what: &str| KeyError::Corrupt(format!("the service's {what} can't be used"));
    let chain = CertificateDer::pem_slice_iter(leaf.certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| broken("certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).map_err(|_| broken("key"))?;
    let mut config = ServerConfig::builder_with_provider(suites::provider())
        .with_protocol_versions(suites::VERSIONS)
        .map_err(|_| broken("TLS version"))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|_| broken("certificate"))?;
    config.alpn_protocols = vec![suites::ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// Keeps the identity fresh until the process ends.
pub async fn follow(keeper: Keeper, identity: Arc<Identity>, mut shown: Leaf) {
    loop {
        sleep(LOOK_EVERY).await;
        let looked = match timeout(LOOK, keeper.look(Timestamp::now())).await {
            Ok(looked) => looked,
            Err(_) => Err(KeyError::Unavailable(format!(
                "the API server did not answer within {LOOK:?}"
            ))),
        };
        let replaced = looked.and_then(|leaf| {
            if leaf.certificate_pem != shown.certificate_pem {
                identity.replace(&leaf)?;
                info!(not_after = %leaf.not_after, "a new certificate is shown");
                shown = leaf;
            }
            Ok(())
        });
        if let Err(error) = replaced {
            warn!(%error, not_after = %shown.not_after, "the certificate could not be looked after");
        }
    }
}
