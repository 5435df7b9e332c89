//! The service's authority and leaf, without a client. `freehold-pki` makes them; here is what they say.

use std::fmt;

use freehold_pki::{AuthorityRequest, LeafRequest, Pair, Usage};
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::KeyError;

const DAY: u64 = 24 * 3600;
/// Ten years: a new one is made when its Secret is deleted, and then every caller must learn it.
const AUTHORITY_SECONDS: u64 = 10 * 365 * DAY;
const LEAF_SECONDS: u64 = 7 * DAY;
const AUTHORITY_NAME: &str = "Freehold key service CA";
const LEAF_NAME: &str = "freehold-keys";

/// What the server shows.
#[derive(Clone)]
pub struct Leaf {
    pub certificate_pem: String,
    pub key_pem: Zeroizing<String>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leaf(until {})", self.not_after)
    }
}

impl Leaf {
    /// Reads one that was kept.
    pub(super) fn read(certificate_pem: String, key_pem: Zeroizing<String>) -> Option<Self> {
        let facts = freehold_pki::facts(&certificate_pem, &certificate_pem).ok()?;
        Some(Self {
            certificate_pem,
            key_pem,
            not_before: facts.not_before,
            not_after: facts.not_after,
        })
    }

    /// Whether two thirds of its life are over.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let (from, to) = (self.not_before.as_second(), self.not_after.as_second());
        now.as_second() >= from + (to - from) * 2 / 3
    }
}

/// The names of the service in a namespace.
pub fn names(namespace: &str) -> Vec<String> {
    let name = format!("freehold-keys.{namespace}.svc");
    vec![format!("{name}.cluster.local"), name]
}

/// A new authority. It has no constraints: whoever holds its key holds the service.
pub(super) fn authority(now: Timestamp) -> Result<Pair, KeyError> {
    let request = AuthorityRequest {
        common_name: AUTHORITY_NAME,
        permitted: &[],
        lifetime_seconds: AUTHORITY_SECONDS,
    };
    freehold_pki::authority(&request, now).map_err(|error| failed(&error))
}

/// A new leaf, signed by the authority.
pub(super) fn leaf(authority: &Pair, names: &[String], now: Timestamp) -> Result<Leaf, KeyError> {
    let request = LeafRequest {
        common_name: LEAF_NAME,
        dns_names: names,
        usage: Usage::Server,
        lifetime_seconds: LEAF_SECONDS,
    };
    let made = freehold_pki::leaf(authority, &request, now).map_err(|error| failed(&error))?;
    Leaf::read(made.certificate_pem, made.key_pem)
        .ok_or_else(|| KeyError::Unavailable("the certificate that was made can't be read".into()))
}

/// What is kept and can't be used stays, and somebody has to look at it.
fn failed(error: &freehold_pki::Error) -> KeyError {
    use freehold_pki::Error;
    match error {
        Error::Unreadable { .. } | Error::NotAuthority(_) | Error::ForeignKey | Error::Expired(_) => {
            KeyError::Corrupt(format!("the service's authority can't be used: {error}"))
        }
        Error::InvalidName(_)
        | Error::Outside(_)
        | Error::Nameless
        | Error::CommonName(_)
        | Error::Validity => KeyError::Invalid(error.to_string()),
        Error::Issue(source) => KeyError::Unavailable(format!("{error}: {source}")),
        Error::Randomness => KeyError::Unavailable(error.to_string()),
    }
}
