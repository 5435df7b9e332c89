//! The tenant's authority and the gateway's certificate, without a client. `freehold-pki` makes them; here is what they
//! say, and what the plan sees of them.

use freehold_pki::{AuthorityRequest, Error, LeafRequest, Pair, Usage};
use freehold_plan::Certificate;
use jiff::Timestamp;

/// Ten years: the authority's own rotation comes with a later version.
const AUTHORITY_SECONDS: u64 = 10 * 365 * 24 * 3600;

/// A new authority.
pub fn authority(tenant: &str, now: Timestamp) -> Result<Pair, Error> {
    let request = AuthorityRequest {
        common_name: &format!("Freehold CA of {tenant}"),
        permitted: &[],
        lifetime_seconds: AUTHORITY_SECONDS,
    };
    freehold_pki::authority(&request, now)
}

/// A new certificate for the gateway.
pub fn edge(
    authority: &Pair,
    dns_names: &[String],
    lifetime_seconds: u64,
    now: Timestamp,
) -> Result<Pair, Error> {
    let request = LeafRequest {
        common_name: "edge",
        dns_names,
        usage: Usage::Server,
        lifetime_seconds,
    };
    freehold_pki::leaf(authority, &request, now)
}

/// What a certificate says about itself. If none of `issuers` signed it, its issuer is empty: the plan takes it for one
/// that was minted under another authority, and has it minted again.
pub fn facts(pem: String, issuers: &str) -> Result<Certificate, Error> {
    let facts = freehold_pki::facts(&pem, issuers)?;
    Ok(Certificate {
        fingerprint: facts.fingerprint,
        issuer: facts.issuer.unwrap_or_default(),
        not_before: facts.not_before,
        not_after: facts.not_after,
        dns_names: facts.dns_names,
        pem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_that_another_authority_signed_is_not_taken_for_ours() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let (ours, other) = (authority("acme", now).unwrap(), authority("acme", now).unwrap());
        let made = edge(&ours, &["b.example".into(), "a.example".into()], 3600, now).unwrap();
        let read = |issuers: &Pair| facts(made.certificate_pem.clone(), &issuers.certificate_pem).unwrap();
        let fingerprint = facts(ours.certificate_pem.clone(), &ours.certificate_pem)
            .unwrap()
            .fingerprint;
        assert_eq!(read(&ours).issuer, fingerprint);
        assert_eq!(read(&ours).dns_names, ["a.example", "b.example"]);
        assert_eq!(read(&other).issuer, "");
    }
}
