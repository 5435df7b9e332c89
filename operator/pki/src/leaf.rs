//! Leaves: certificates of servers and of clients. No client of the API.

use jiff::Timestamp;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};

use crate::authority::common;
use crate::signer::Signer;
use crate::validity::Validity;
use crate::{Error, Pair, name, new_key, new_serial};

/// What a leaf may be shown as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Server,
    Client,
    Both,
}

impl Usage {
    fn purposes(self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Self::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Self::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Self::Both => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        }
    }
}

/// A leaf that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct LeafRequest<'a> {
    /// One label.
    pub common_name: &'a str,
    /// Only a client may have none.
    pub dns_names: &'a [String],
    pub usage: Usage,
    /// At most what is left of the authority's own.
    pub lifetime_seconds: u64,
}

/// A new leaf with a new key, signed by the authority.
pub fn leaf(authority: &Pair, request: &LeafRequest<'_>, now: Timestamp) -> Result<Pair, Error> {
    name::check_common_label(request.common_name)?;
    if request.dns_names.is_empty() && request.usage != Usage::Client {
        return Err(Error::Nameless);
    }
    let signer = Signer::of(authority)?;
    if now.as_second() >= signer.validity.not_after {
        let end = Timestamp::from_second(signer.validity.not_after);
        return Err(end.map_or(Error::Validity, Error::Expired));
    }
    let mut params = CertificateParams::default();
    params.serial_number = Some(new_serial()?);
    params.distinguished_name = common(request.common_name);
    params.subject_alt_names = alternative_names(&signer, request.dns_names)?;
    // Says CA:FALSE, and makes rcgen add the subject key identifier, which leaves should have (RFC 5280, 4.2.1.2).
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = request.usage.purposes();
    params.use_authority_key_identifier_extension = true;
    Validity::starting(now, request.lifetime_seconds)?
        .within(signer.validity)
        .set(&mut params)?;
    let key = new_key()?;
    let certificate = signer.sign(&params, &key)?;
    Ok(Pair::new(&certificate, &key))
}

/// Spelled out: rcgen takes four numbers for an address, and what was issued would never be what was asked for.
fn alternative_names(signer: &Signer, dns_names: &[String]) -> Result<Vec<SanType>, Error> {
    let mut names = Vec::with_capacity(dns_names.len());
    for dns_name in dns_names {
        name::check_dns(dns_name)?;
        if !signer.may_sign_for(dns_name) {
            return Err(Error::Outside(dns_name.clone()));
        }
        let text = dns_name.as_str().try_into().map_err(Error::Issue)?;
        names.push(SanType::DnsName(text));
    }
    Ok(names)
}
