//! Certificates and tokens, without a client: ECDSA P-256, authority key identifier on, validity always set.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freehold_plan::Certificate;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

/// Ten years: the authority's own rotation comes with a later version.
const AUTHORITY_SECONDS: i64 = 10 * 365 * 24 * 3600;
/// Clocks differ a little.
const SKEW_SECONDS: i64 = 60;
/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 32;

/// What was made. Not `Debug`: the key must not reach a log.
pub struct Made {
    pub certificate_pem: String,
    pub key_pem: String,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("can't make a certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("a time is out of range")]
    Time(#[from] time::error::ComponentRange),
    #[error("the system gives no randomness")]
    Randomness,
    #[error("a certificate can't be read: {0}")]
    Unreadable(&'static str),
}

/// The authority's own parameters: the issuer's name in every leaf comes from them.
fn authority_params(tenant: &str, now: Timestamp) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("Freehold CA of {tenant}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.not_before = at(now.as_second() - SKEW_SECONDS)?;
    params.not_after = at(now.as_second() + AUTHORITY_SECONDS)?;
    Ok(params)
}

/// A new authority.
pub fn authority(tenant: &str, now: Timestamp) -> Result<Made, IssueError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = authority_params(tenant, now)?.self_signed(&key)?;
    Ok(Made {
        certificate_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
    })
}

/// A new certificate for servers, signed by the authority. It doesn't outlive the authority.
pub fn leaf(
    tenant: &str,
    authority_pem: &str,
    authority_key_pem: &str,
    dns_names: &[String],
    lifetime_seconds: u64,
    now: Timestamp,
) -> Result<Made, IssueError> {
    let authority = facts(authority_pem, authority_pem)?;
    let issuer = Issuer::new(
        authority_params(tenant, now)?,
        KeyPair::from_pem(authority_key_pem)?,
    );
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let lifetime = i64::try_from(lifetime_seconds).unwrap_or(AUTHORITY_SECONDS);
    let mut params = CertificateParams::default();
    // Spelled out: rcgen takes four numbers for an address, and what was issued would never be what was asked for.
    params.subject_alt_names = dns_names
        .iter()
        .map(|name| Ok(SanType::DnsName(name.as_str().try_into()?)))
        .collect::<Result<_, rcgen::Error>>()?;
    params.distinguished_name = named("edge");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = at(now.as_second() - SKEW_SECONDS)?;
    params.not_after = at((now.as_second() + lifetime).min(authority.not_after.as_second()))?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Made {
        certificate_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
    })
}

/// 32 random bytes in base64url.
pub fn token() -> Result<String, IssueError> {
    let mut bytes = [0_u8; TOKEN_BYTES];
    rand::fill(&mut bytes).map_err(|_| IssueError::Randomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What a certificate says about itself, and the fingerprint of the one that signed it.
pub fn facts(pem: &str, issuer_pem: &str) -> Result<Certificate, IssueError> {
    let (_, issuer) =
        parse_x509_pem(issuer_pem.as_bytes()).map_err(|_| IssueError::Unreadable("the issuer is not PEM"))?;
    let (_, parsed) = parse_x509_pem(pem.as_bytes()).map_err(|_| IssueError::Unreadable("it is not PEM"))?;
    let certificate = parsed
        .parse_x509()
        .map_err(|_| IssueError::Unreadable("it is not X.509"))?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| IssueError::Unreadable("its names are broken"))?
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    let mut dns_names: Vec<String> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect();
    dns_names.sort();
    let time = |seconds| {
        Timestamp::from_second(seconds).map_err(|_| IssueError::Unreadable("its validity is out of range"))
    };
    Ok(Certificate {
        fingerprint: fingerprint(&parsed.contents),
        issuer: fingerprint(&issuer.contents),
        not_before: time(certificate.validity().not_before.timestamp())?,
        not_after: time(certificate.validity().not_after.timestamp())?,
        dns_names,
        pem: pem.to_owned(),
    })
}

fn fingerprint(der: &[u8]) -> String {
    Sha256::digest(der)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn at(seconds: i64) -> Result<OffsetDateTime, IssueError> {
    Ok(OffsetDateTime::from_unix_timestamp(seconds)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_says_what_was_asked_for_and_who_signed_it() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let ca = authority("acme", now).unwrap();
        let names = ["b.example".to_owned(), "a.example".to_owned()];
        let made = leaf("acme", &ca.certificate_pem, &ca.key_pem, &names, 604_800, now).unwrap();
        let facts = facts(&made.certificate_pem, &ca.certificate_pem).unwrap();
        assert_eq!(facts.dns_names, ["a.example", "b.example"]);
        assert_eq!(facts.not_before.as_second(), 1_800_000_000 - 60);
        assert_eq!(facts.not_after.as_second(), 1_800_000_000 + 604_800);
        assert_eq!(
            facts.issuer,
            super::facts(&ca.certificate_pem, &ca.certificate_pem)
                .unwrap()
                .fingerprint
        );
    }

    #[test]
    fn the_authority_key_identifier_is_that_of_the_authority() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let ca = authority("acme", now).unwrap();
        let made = leaf(
            "acme",
            &ca.certificate_pem,
            &ca.key_pem,
            &["a.example".into()],
            3600,
            now,
        )
        .unwrap();
        let (_, ca) = parse_x509_pem(ca.certificate_pem.as_bytes()).unwrap();
        let (_, leaf) = parse_x509_pem(made.certificate_pem.as_bytes()).unwrap();
        let (ca, leaf) = (ca.parse_x509().unwrap(), leaf.parse_x509().unwrap());
        assert_eq!(leaf.issuer().to_string(), ca.subject().to_string());
        let text = format!("{:?}", leaf.extensions());
        let subject_key = ca.extensions().iter().find_map(|e| match e.parsed_extension() {
            x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => Some(format!("{id:?}")),
            _ => None,
        });
        assert!(text.contains(&subject_key.unwrap()));
    }

    #[test]
    fn a_hostname_of_numbers_stays_a_hostname() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let ca = authority("acme", now).unwrap();
        let names = ["10.1.2.3".to_owned()];
        let made = leaf("acme", &ca.certificate_pem, &ca.key_pem, &names, 3600, now).unwrap();
        assert_eq!(
            facts(&made.certificate_pem, &ca.certificate_pem)
                .unwrap()
                .dns_names,
            names
        );
    }

    #[test]
    fn tokens_have_256_bits_and_differ() {
        let (one, other) = (token().unwrap(), token().unwrap());
        assert_eq!(one.len(), 43);
        assert_ne!(one, other);
    }
}
