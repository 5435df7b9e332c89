//! PEM and DER of certificates. No client.

use aws_lc_rs::digest::{SHA256, digest};
use pem::{EncodeConfig, LineEnding, Pem};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, GeneralSubtree, ParsedExtension};
use x509_parser::parse_x509_certificate;

use crate::Error;

const TAG: &str = "CERTIFICATE";

/// What it is that is read, for errors.
#[derive(Clone, Copy, Debug)]
pub struct What(pub &'static str);

impl What {
    pub fn unreadable(self, why: &'static str) -> Error {
        Error::Unreadable { what: self.0, why }
    }
}

/// The DER of each certificate in a text. An error if there is none, or anything else.
pub fn ders(text: &str, what: What) -> Result<Vec<Vec<u8>>, Error> {
    let blocks = pem::parse_many(text).map_err(|_| what.unreadable("it is not PEM"))?;
    // The parser passes over a block without an end.
    if blocks.is_empty() || blocks.len() != text.matches("-----BEGIN ").count() {
        return Err(what.unreadable("it is not PEM"));
    }
    if blocks.iter().any(|block| block.tag() != TAG) {
        return Err(what.unreadable("it holds something else than certificates"));
    }
    Ok(blocks.into_iter().map(Pem::into_contents).collect())
}

/// The first certificate of a text, which is the one that the others lead up to.
pub fn first(text: &str, what: What) -> Result<Vec<u8>, Error> {
    let unreadable = || what.unreadable("it is not PEM");
    ders(text, what)?.into_iter().next().ok_or_else(unreadable)
}

pub fn certificate(der: &[u8], what: What) -> Result<X509Certificate<'_>, Error> {
    match parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(what.unreadable("it is not X.509")),
    }
}

pub fn pem(der: &[u8]) -> String {
    pem::encode_config(
        &Pem::new(TAG, der),
        EncodeConfig::new().set_line_ending(LineEnding::LF),
    )
}

/// SHA-256 of the DER form, in hexadecimal.
pub fn fingerprint(der: &[u8]) -> String {
    hex(digest(&SHA256, der).as_ref())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The subtrees of the domain name system that an authority is kept to; None if it isn't.
pub fn permitted(certificate: &X509Certificate<'_>, what: What) -> Result<Option<Vec<String>>, Error> {
    Ok(constraints(certificate, what)?.0)
}

/// The permitted and the excluded subtrees of the domain name system.
pub fn constraints(
    certificate: &X509Certificate<'_>,
    what: What,
) -> Result<(Option<Vec<String>>, Vec<String>), Error> {
    let constraints = certificate
        .name_constraints()
        .map_err(|_| what.unreadable("its constraints are broken"))?;
    let Some(constraints) = constraints else {
        return Ok((None, Vec::new()));
    };
    let permitted = dns(constraints.value.permitted_subtrees.as_deref());
    let excluded = dns(constraints.value.excluded_subtrees.as_deref());
    // Where no subtree of a kind is permitted, that kind isn't constrained (RFC 5280, 4.2.1.10).
    Ok((Some(permitted).filter(|names| !names.is_empty()), excluded))
}

fn dns(subtrees: Option<&[GeneralSubtree<'_>]>) -> Vec<String> {
    let names = subtrees.unwrap_or_default().iter();
    names
        .filter_map(|subtree| match subtree.base {
            GeneralName::DNSName(name) => Some(name.to_owned()),
            _ => None,
        })
        .collect()
}

pub fn key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
}
