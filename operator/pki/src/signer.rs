//! An authority as its certificate says it is, with the key. No client.

use rcgen::{
    Certificate, CertificateParams, DistinguishedName, DnType, DnValue, Issuer, KeyIdMethod, KeyPair,
    PublicKeyData as _,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};
use zeroize::Zeroizing;

use crate::parsed::{self, What};
use crate::validity::Validity;
use crate::{Error, Pair, name};

const AUTHORITY: What = What("the authority's certificate");
const KEY: What = What("the authority's key");
const MADE: What = What("the certificate that was made");

pub struct Signer {
    pub name: DistinguishedName,
    /// Of its name: verifiers compare issuer and subject octet by octet, or nearly so (RFC 5280, 7.1).
    name_der: Vec<u8>,
    pub key_id: KeyIdMethod,
    pub key: Zeroizing<KeyPair>,
    pub validity: Validity,
    permitted: Option<Vec<String>>,
    excluded: Vec<String>,
}

impl Signer {
    /// Reads it. An error unless the key is the certificate's and the certificate an authority's.
    pub fn of(pair: &Pair) -> Result<Self, Error> {
        let der = parsed::first(&pair.certificate_pem, AUTHORITY)?;
        let certificate = parsed::certificate(&der, AUTHORITY)?;
        may_sign(&certificate)?;
        let key_id = parsed::key_id(&certificate)
            // RFC 5280, 4.2.1.2: in every authority's certificate.
            .ok_or(Error::NotAuthority("it has no key identifier"))?;
        // The reason is left out: it may quote the text.
        let key = KeyPair::from_pem(&pair.key_pem)
            .map(Zeroizing::new)
            .map_err(|_| KEY.unreadable("it is not PEM of a private key"))?;
        if key.subject_public_key_info() != certificate.public_key().raw {
            return Err(Error::ForeignKey);
        }
        let (permitted, excluded) = parsed::constraints(&certificate, AUTHORITY)?;
        Ok(Self {
            name: distinguished(certificate.subject())?,
            name_der: certificate.subject().as_raw().to_vec(),
            key_id: KeyIdMethod::PreSpecified(key_id),
            key,
            validity: Validity {
                not_before: certificate.validity().not_before.timestamp(),
                not_after: certificate.validity().not_after.timestamp(),
            },
            permitted,
            excluded,
        })
    }

    /// Whether verifiers would let it sign for a name.
    pub fn may_sign_for(&self, dns_name: &str) -> bool {
        let is_within = |subtree: &String| name::is_within(dns_name, subtree);
        self.permitted
            .as_ref()
            .is_none_or(|permitted| permitted.iter().any(is_within))
            && !self.excluded.iter().any(is_within)
    }

    pub fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Result<Certificate, Error> {
        let mut own = CertificateParams::default();
        own.distinguished_name = self.name.clone();
        own.key_identifier_method = self.key_id.clone();
        let issuer = Issuer::new(own, &*self.key);
        let certificate = params.signed_by(key, &issuer).map_err(Error::Issue)?;
        let made = parsed::certificate(certificate.der(), MADE)?;
        if made.issuer().as_raw() != self.name_der {
            return Err(unusual());
        }
        Ok(certificate)
    }
}

fn may_sign(certificate: &X509Certificate<'_>) -> Result<(), Error> {
    if !certificate.is_ca() {
        return Err(Error::NotAuthority("it doesn't say that it is"));
    }
    let usage = certificate
        .key_usage()
        .map_err(|_| AUTHORITY.unreadable("its key usage is broken"))?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(Error::NotAuthority("its key may not sign certificates"));
    }
    Ok(())
}

/// The same name for rcgen, which reads none itself. What it can't repeat is found when the result is compared.
fn distinguished(name: &X509Name<'_>) -> Result<DistinguishedName, Error> {
    let mut distinguished = DistinguishedName::new();
    for attribute in name.iter_attributes() {
        let kind: Option<Vec<u64>> = attribute.attr_type().iter().map(Iterator::collect);
        let (Some(kind), Some(value)) = (kind, value(attribute)) else {
            return Err(unusual());
        };
        distinguished.push(DnType::from_oid(&kind), value);
    }
    Ok(distinguished)
}

fn value(attribute: &AttributeTypeAndValue<'_>) -> Option<DnValue> {
    let text = attribute.as_str().ok()?;
    match attribute.attr_value().tag() {
        Tag::Utf8String => Some(DnValue::Utf8String(text.to_owned())),
        Tag::PrintableString => text.try_into().ok().map(DnValue::PrintableString),
        Tag::Ia5String => text.try_into().ok().map(DnValue::Ia5String),
        _ => None,
    }
}

fn unusual() -> Error {
    AUTHORITY.unreadable("its name is of a form that can't be repeated")
}
