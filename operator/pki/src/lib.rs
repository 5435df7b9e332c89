//! Certificates of the platform's own authorities: issued, issued anew, and read. No client, no runtime, no clock.
//!
//! In: names, lives, the authority's certificate with its key, and the time. Out: PEM, and facts that are read from it.
//! ECDSA on P-256 with SHA-256 everywhere. Invariants: what an authority says about itself is read from its
//! certificate, never assumed; nothing is issued that a verifier would refuse; keys are in no error and in no `Debug`.

mod authority;
mod bundle;
mod error;
mod facts;
mod leaf;
mod name;
mod parsed;
mod signer;
mod validity;

use std::fmt;

use aws_lc_rs::rand;
use rcgen::{Certificate, KeyPair, PKCS_ECDSA_P256_SHA256, SerialNumber};
use zeroize::Zeroizing;

pub use authority::{AuthorityRequest, authority, reissue};
pub use bundle::{bundle, certificates};
pub use error::Error;
pub use facts::{Facts, facts};
pub use leaf::{LeafRequest, Usage, leaf};
pub use parsed::pem;

/// Octets of a serial number: at most 20 (RFC 5280, 4.1.2.2).
const SERIAL_OCTETS: usize = 16;

/// A certificate with its key.
#[derive(Clone)]
pub struct Pair {
    pub certificate_pem: String,
    /// PKCS #8. Overwritten when it is dropped.
    pub key_pem: Zeroizing<String>,
}

impl Pair {
    fn new(certificate: &Certificate, key: &KeyPair) -> Self {
        Self {
            certificate_pem: certificate.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
        }
    }
}

/// Without the key: it must not reach a log.
impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

fn new_key() -> Result<Zeroizing<KeyPair>, Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .map(Zeroizing::new)
        .map_err(Error::Issue)
}

/// 126 bits of randomness. rcgen would derive the number from the key, and an authority that is issued anew with its
/// key would share issuer and number with the one before, which RFC 5280 (4.1.2.2) forbids.
fn new_serial() -> Result<SerialNumber, Error> {
    let mut octets = [0_u8; SERIAL_OCTETS];
    rand::fill(&mut octets).map_err(|_| Error::Randomness)?;
    // Positive, and never shortened by DER: the first bit is 0, the second 1.
    octets[0] = (octets[0] & 0x3f) | 0x40;
    Ok(SerialNumber::from_slice(&octets))
}
