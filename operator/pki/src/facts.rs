//! What a certificate says about itself, and who signed it. No client.

use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::Error;
use crate::parsed::{self, What};

const CERTIFICATE: What = What("a certificate");
const ISSUERS: What = What("the bundle of issuers");

/// A certificate without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// SHA-256 of the DER form, in hexadecimal.
    pub fingerprint: String,
    /// The fingerprint of the certificate that signed it: the first of the bundle with its issuer's name whose key
    /// verifies its signature. An authority that was issued anew has the same key as before, so both would do.
    pub issuer: Option<String>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// Sorted.
    pub dns_names: Vec<String>,
    /// The subtrees that an authority is kept to, as they stand there. Empty: none.
    pub permitted: Vec<String>,
    pub common_name: Option<String>,
    /// In hexadecimal.
    pub serial: String,
}

/// Reads the first certificate of `pem`. `issuers` are one or more certificates; a self-signed one is its own issuer
/// only if it is among them. The validity of an issuer doesn't count.
pub fn facts(pem: &str, issuers: &str) -> Result<Facts, Error> {
    let der = parsed::first(pem, CERTIFICATE)?;
    let certificate = parsed::certificate(&der, CERTIFICATE)?;
    let time = |seconds| {
        Timestamp::from_second(seconds).map_err(|_| CERTIFICATE.unreadable("its validity is out of range"))
    };
    let mut common_names = certificate.subject().iter_common_name();
    Ok(Facts {
        fingerprint: parsed::fingerprint(&der),
        issuer: signed_by(&certificate, issuers)?,
        not_before: time(certificate.validity().not_before.timestamp())?,
        not_after: time(certificate.validity().not_after.timestamp())?,
        dns_names: dns_names(&certificate)?,
        permitted: parsed::permitted(&certificate, CERTIFICATE)?.unwrap_or_default(),
        common_name: common_names
            .next()
            .and_then(|name| name.as_str().ok())
            .map(str::to_owned),
        serial: parsed::hex(certificate.raw_serial()),
    })
}

fn signed_by(certificate: &X509Certificate<'_>, issuers: &str) -> Result<Option<String>, Error> {
    for der in parsed::ders(issuers, ISSUERS)? {
        let issuer = parsed::certificate(&der, ISSUERS)?;
        if issuer.subject().as_raw() == certificate.issuer().as_raw()
            && certificate.verify_signature(Some(issuer.public_key())).is_ok()
        {
            return Ok(Some(parsed::fingerprint(&der)));
        }
    }
    Ok(None)
}

fn dns_names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, Error> {
    let extension = certificate
        .subject_alternative_name()
        .map_err(|_| CERTIFICATE.unreadable("its names are broken"))?;
    let names = extension.map_or([].as_slice(), |extension| {
        extension.value.general_names.as_slice()
    });
    let mut names: Vec<String> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect();
    names.sort();
    Ok(names)
}
