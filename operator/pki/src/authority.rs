//! Authorities: made, and issued anew with their key. No client.

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, GeneralSubtree, IsCa,
    KeyUsagePurpose, NameConstraints,
};

use crate::signer::Signer;
use crate::validity::Validity;
use crate::{Error, Pair, name, new_key, new_serial};

/// The only host whose mailboxes a constrained authority may sign for. There is none of that name, and never will be
/// (RFC 6761, 6.4). It can't be said the other way: no constraint stands for all mailboxes (RFC 5280, 4.2.1.10).
const NO_MAIL_HOST: &str = "invalid";

/// An authority that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct AuthorityRequest<'a> {
    /// 1 to 64 characters.
    pub common_name: &'a str,
    /// The subtrees of the domain name system that it may sign for, without a dot before them: `acme.example` permits
    /// that and `a.b.acme.example`. Empty: it may sign for anything.
    pub permitted: &'a [String],
    pub lifetime_seconds: u64,
}

/// A new authority with a new key. It can't make authorities below it.
pub fn authority(request: &AuthorityRequest<'_>, now: Timestamp) -> Result<Pair, Error> {
    name::check_common(request.common_name)?;
    let mut params = params(request.permitted, request.lifetime_seconds, now)?;
    params.distinguished_name = common(request.common_name);
    let key = new_key()?;
    let certificate = params.self_signed(&*key).map_err(Error::Issue)?;
    Ok(Pair::new(&certificate, &key))
}

/// The same authority with other constraints and a new life: key, name and key identifier stay, so what it signed
/// before is verified by either. An expired one may be issued anew.
///
/// The new certificate replaces the old one in bundles, or comes before it: OpenSSL tries only the first of several with
/// one name and key, and refuses where that one doesn't permit a name (test: `chains`).
pub fn reissue(
    old: &Pair,
    permitted: &[String],
    lifetime_seconds: u64,
    now: Timestamp,
) -> Result<Pair, Error> {
    let signer = Signer::of(old)?;
    let mut params = params(permitted, lifetime_seconds, now)?;
    params.distinguished_name = signer.name.clone();
    params.key_identifier_method = signer.key_id.clone();
    let certificate = signer.sign(&params, &signer.key)?;
    Ok(Pair {
        certificate_pem: certificate.pem(),
        key_pem: old.key_pem.clone(),
    })
}

pub(crate) fn common(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn params(permitted: &[String], lifetime_seconds: u64, now: Timestamp) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(new_serial()?);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.name_constraints = constraints(permitted)?;
    Validity::starting(now, lifetime_seconds)?.set(&mut params)?;
    Ok(params)
}

/// A kind of name that the extension says nothing about is not constrained (RFC 5280, 4.2.1.10): so addresses and
/// mailboxes are ruled out by name. URIs can't be with rcgen 0.14, which has no subtree of that kind.
fn constraints(permitted: &[String]) -> Result<Option<NameConstraints>, Error> {
    if permitted.is_empty() {
        return Ok(None);
    }
    let mut subtrees = Vec::with_capacity(permitted.len() + 1);
    for subtree in permitted {
        name::check_dns(subtree)?;
        subtrees.push(GeneralSubtree::DnsName(subtree.clone()));
    }
    subtrees.push(GeneralSubtree::Rfc822Name(NO_MAIL_HOST.to_owned()));
    Ok(Some(NameConstraints {
        permitted_subtrees: subtrees,
        excluded_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    }))
}
