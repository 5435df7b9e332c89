//! The tenant's authority and its certificates, without a client. `freehold-pki` makes them; here is what they say, and
//! what the plan sees of them.

use freehold_pki::{AuthorityRequest, Error, LeafRequest, Pair, Usage};
use freehold_plan::{Certificate, Leaf, ShownAs};
use jiff::Timestamp;

/// What an authority that ends lives on for, at least, when it is issued anew.
const LEAST_SECONDS: i64 = 3600;

/// A new authority, for these domains and what is below them.
pub fn authority(
    tenant: &str,
    permitted: &[String],
    lifetime_seconds: u64,
    now: Timestamp,
) -> Result<Pair, Error> {
    let request = AuthorityRequest {
        common_name: &format!("Freehold CA of {tenant}"),
        permitted,
        lifetime_seconds,
    };
    freehold_pki::authority(&request, now)
}

/// The same authority, for other domains, until the same day: its key gets no older than was thought of.
pub fn reissued(authority: &Pair, permitted: &[String], now: Timestamp) -> Result<Pair, Error> {
    let end = facts_of_root(authority.certificate_pem.clone())?.not_after;
    let left = end.duration_since(now).as_secs().max(LEAST_SECONDS);
    freehold_pki::reissue(authority, permitted, u64::try_from(left).unwrap_or_default(), now)
}

/// What an authority's own certificate says.
pub fn facts_of_root(pem: String) -> Result<Certificate, Error> {
    let roots = pem.clone();
    facts(pem, &roots)
}

/// With what the operator shows itself when it looks at what others trust.
pub fn looker(authority: &Pair, now: Timestamp) -> Result<Pair, Error> {
    let request = LeafRequest {
        common_name: "freehold",
        dns_names: &[],
        usage: Usage::Client,
        lifetime_seconds: 600,
    };
    freehold_pki::leaf(authority, &request, now)
}

/// What a server shows that nobody but the next authority vouches for.
pub fn proof(authority: &Pair, dns_name: &str, lifetime_seconds: u64, now: Timestamp) -> Result<Pair, Error> {
    let request = LeafRequest {
        common_name: "freehold",
        dns_names: &[dns_name.to_owned()],
        usage: Usage::Server,
        lifetime_seconds,
    };
    freehold_pki::leaf(authority, &request, now)
}

/// A new certificate of the tenant.
pub fn leaf(
    authority: &Pair,
    leaf: Leaf,
    dns_names: &[String],
    lifetime_seconds: u64,
    now: Timestamp,
) -> Result<Pair, Error> {
    let usage = match leaf.shown_as() {
        // Nobody looks for a server that has no name.
        ShownAs::Both if dns_names.is_empty() => Usage::Client,
        ShownAs::Both => Usage::Both,
        ShownAs::Server => Usage::Server,
        ShownAs::Client => Usage::Client,
    };
    let request = LeafRequest {
        common_name: leaf.common_name(),
        dns_names,
        usage,
        lifetime_seconds,
    };
    freehold_pki::leaf(authority, &request, now)
}

/// What a certificate says about itself, and which of the roots beside it vouches for it.
pub fn facts(pem: String, roots: &str) -> Result<Certificate, Error> {
    let facts = freehold_pki::facts(&pem, roots)?;
    let roots = freehold_pki::certificates(roots)?;
    let fingerprint = |root: &String| Ok(freehold_pki::facts(root, root)?.fingerprint);
    Ok(Certificate {
        fingerprint: facts.fingerprint,
        issuer: facts.issuer,
        roots: roots.iter().map(fingerprint).collect::<Result<_, Error>>()?,
        not_before: facts.not_before,
        not_after: facts.not_after,
        dns_names: facts.dns_names,
        permitted: facts.permitted,
        pem,
    })
}

#[cfg(test)]
mod tests {
    use freehold_plan::EdgeSlot;

    use super::*;

    const YEAR: u64 = 365 * 24 * 3600;

    #[test]
    fn a_certificate_tells_who_signed_it_also_when_that_one_was_issued_anew() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let names = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        let ours = authority("acme", &names(&["a.example"]), YEAR, now).unwrap();
        let other = authority("acme", &names(&["a.example"]), YEAR, now).unwrap();
        let made = leaf(
            &ours,
            Leaf::Edge(EdgeSlot::FIRST),
            &names(&["a.example"]),
            3600,
            now,
        )
        .unwrap();
        let read = |roots: &Pair| facts(made.certificate_pem.clone(), &roots.certificate_pem).unwrap();
        let of = |root: &Pair| facts(root.certificate_pem.clone(), &root.certificate_pem).unwrap();
        assert_eq!(read(&ours).issuer, Some(of(&ours).fingerprint));
        assert_eq!(read(&other).issuer, None);
        let more = reissued(&ours, &names(&["a.example", "b.example"]), now).unwrap();
        assert_eq!(read(&more).issuer, Some(of(&more).fingerprint));
        assert_eq!(read(&more).roots, [of(&more).fingerprint]);
        assert_eq!(of(&more).permitted, ["a.example", "b.example"]);
        assert_eq!(more.key_pem, ours.key_pem);
        let later = now + jiff::SignedDuration::from_hours(24);
        let more = reissued(&ours, &names(&["b.example"]), later).unwrap();
        let apart = of(&more).not_after.duration_since(of(&ours).not_after).as_secs();
        assert!(apart.abs() < 120, "its end moved by {apart} s");
    }

    #[test]
    fn nothing_is_issued_outside_of_what_the_authority_is_for() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let ours = authority("acme", &["a.example".to_owned()], YEAR, now).unwrap();
        let refused = leaf(
            &ours,
            Leaf::Web,
            &["web.tenant-b.svc.cluster.local".to_owned()],
            3600,
            now,
        );
        assert!(matches!(refused, Err(Error::Outside(_))));
    }
}
