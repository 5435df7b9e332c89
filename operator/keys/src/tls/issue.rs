//! The authority and the leaf, without a client: ECDSA P-256, authority key identifier on, validity always set.

use std::fmt;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use time::OffsetDateTime;
use x509_parser::pem::parse_x509_pem;
use zeroize::Zeroizing;

use crate::KeyError;

const DAY: i64 = 24 * 3600;
/// Ten years: a new one is made when its Secret is deleted, and then every caller must learn it.
const AUTHORITY_SECONDS: i64 = 10 * 365 * DAY;
const LEAF_SECONDS: i64 = 7 * DAY;
/// Clocks differ a little.
const SKEW_SECONDS: i64 = 60;
const AUTHORITY_NAME: &str = "Freehold key service CA";

/// A certificate with its key.
pub(super) struct Authority {
    pub certificate_pem: String,
    pub key_pem: Zeroizing<String>,
}

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
        let (_, parsed) = parse_x509_pem(certificate_pem.as_bytes()).ok()?;
        let validity = parsed.parse_x509().ok()?.validity().clone();
        let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        Some(Self {
            certificate_pem,
            key_pem,
            not_before: Timestamp::from_second(not_before).ok()?,
            not_after: Timestamp::from_second(not_after).ok()?,
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

fn authority_params(now: Timestamp) -> Result<CertificateParams, KeyError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(AUTHORITY_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.not_before = at(now.as_second() - SKEW_SECONDS)?;
    params.not_after = at(now.as_second() + AUTHORITY_SECONDS)?;
    Ok(params)
}

/// A new authority.
pub(super) fn authority(now: Timestamp) -> Result<Authority, KeyError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let certificate = authority_params(now)?.self_signed(&key).map_err(failed)?;
    Ok(Authority {
        certificate_pem: certificate.pem(),
        key_pem: Zeroizing::new(key.serialize_pem()),
    })
}

/// A new leaf, signed by the authority.
pub(super) fn leaf(authority: &Authority, names: &[String], now: Timestamp) -> Result<Leaf, KeyError> {
    let broken = |_| KeyError::Corrupt("the authority's key can't be used".into());
    let issuer = Issuer::new(
        authority_params(now)?,
        KeyPair::from_pem(&authority.key_pem).map_err(broken)?,
    );
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::default();
    params.subject_alt_names = names
        .iter()
        .map(|name| Ok(SanType::DnsName(name.as_str().try_into()?)))
        .collect::<Result<_, rcgen::Error>>()
        .map_err(failed)?;
    params.distinguished_name = named("freehold-keys");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = at(now.as_second() - SKEW_SECONDS)?;
    params.not_after = at(now.as_second() + LEAF_SECONDS)?;
    let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
    let key_pem = Zeroizing::new(key.serialize_pem());
    Leaf::read(certificate.pem(), key_pem)
        .ok_or_else(|| KeyError::Unavailable("the certificate that was made can't be read".into()))
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn at(seconds: i64) -> Result<OffsetDateTime, KeyError> {
    OffsetDateTime::from_unix_timestamp(seconds)
        .map_err(|_| KeyError::Invalid("a time is out of range".into()))
}

fn failed(error: rcgen::Error) -> KeyError {
    KeyError::Unavailable(format!("no certificate can be made: {error}"))
}
