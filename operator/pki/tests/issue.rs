//! What is issued is what was asked for, and what nobody would accept is refused.
#![allow(clippy::unwrap_used, clippy::panic)]

use freehold_pki::{
    AuthorityRequest, Error, LeafRequest, Pair, Usage, authority, bundle, certificates, facts, leaf, reissue,
};
use jiff::Timestamp;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::X509Certificate;

const NOW: i64 = 1_800_000_000;
const DAY: u64 = 24 * 3600;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn acme(permitted: &[&str]) -> Pair {
    let request = AuthorityRequest {
        common_name: "Freehold CA of acme",
        permitted: &names(permitted),
        lifetime_seconds: 3650 * DAY,
    };
    authority(&request, at(NOW)).unwrap()
}

fn request(dns_names: &[String], usage: Usage) -> LeafRequest<'_> {
    LeafRequest {
        common_name: "edge",
        dns_names,
        usage,
        lifetime_seconds: 7 * DAY,
    }
}

fn server(authority: &Pair, dns_names: &[&str]) -> Result<Pair, Error> {
    leaf(authority, &request(&names(dns_names), Usage::Server), at(NOW))
}

fn read<T>(pem: &str, look: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    let (_, parsed) = parse_x509_pem(pem.as_bytes()).unwrap();
    look(&parsed.parse_x509().unwrap())
}

/// Subject key identifier and authority key identifier.
fn key_ids(pem: &str) -> (Vec<u8>, Vec<u8>) {
    read(pem, |certificate| {
        let (mut own, mut above) = (Vec::new(), Vec::new());
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => own = id.0.to_vec(),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    above = id.key_identifier.as_ref().unwrap().0.to_vec();
                }
                _ => {}
            }
        }
        (own, above)
    })
}

fn fingerprint(pem: &str) -> String {
    facts(pem, pem).unwrap().fingerprint
}

#[test]
fn an_authority_signs_certificates_and_nothing_below_itself() {
    let ca = acme(&["acme.example", "acme.svc.cluster.local"]);
    read(&ca.certificate_pem, |certificate| {
        let basic = certificate.basic_constraints().unwrap().unwrap();
        assert!(basic.critical && basic.value.ca);
        assert_eq!(basic.value.path_len_constraint, Some(0));
        let usage = certificate.key_usage().unwrap().unwrap();
        assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
        assert!(!usage.value.digital_signature());
        assert_eq!(certificate.subject().as_raw(), certificate.issuer().as_raw());
    });
    let (own, above) = key_ids(&ca.certificate_pem);
    assert_eq!(own, above);
    assert_eq!(own.len(), 20);
    let facts = facts(&ca.certificate_pem, &ca.certificate_pem).unwrap();
    assert_eq!(facts.issuer, Some(facts.fingerprint.clone()));
    assert_eq!(facts.common_name.as_deref(), Some("Freehold CA of acme"));
    assert_eq!(facts.permitted, ["acme.example", "acme.svc.cluster.local"]);
    assert_eq!(facts.not_before, at(NOW - 60));
    assert_eq!(facts.not_after, at(NOW - 60 + 3650 * 24 * 3600));
}

#[test]
fn a_constrained_authority_is_kept_from_addresses_and_mailboxes_too() {
    let ca = acme(&["acme.example"]);
    read(&ca.certificate_pem, |certificate| {
        let constraints = certificate.name_constraints().unwrap().unwrap();
        assert!(constraints.critical);
        let excluded = constraints.value.excluded_subtrees.as_ref().unwrap();
        let zeros = |length| GeneralName::IPAddress(&[0; 32][..length]);
        let bases: Vec<_> = excluded.iter().map(|subtree| subtree.base.clone()).collect();
        assert_eq!(bases, [zeros(8), zeros(32)]);
        let permitted = constraints.value.permitted_subtrees.as_ref().unwrap();
        assert!(
            permitted
                .iter()
                .any(|subtree| subtree.base == GeneralName::RFC822Name("invalid"))
        );
    });
    let free = acme(&[]);
    read(&free.certificate_pem, |certificate| {
        assert_eq!(certificate.name_constraints().unwrap(), None);
    });
}

#[test]
fn a_leaf_says_what_was_asked_for_and_who_signed_it() {
    let ca = acme(&[]);
    let made = server(&ca, &["b.example", "a.example"]).unwrap();
    let facts = facts(&made.certificate_pem, &ca.certificate_pem).unwrap();
    assert_eq!(facts.dns_names, ["a.example", "b.example"]);
    assert_eq!(facts.not_before, at(NOW - 60));
    assert_eq!(facts.not_after, at(NOW - 60 + 604_800));
    assert_eq!(facts.issuer, Some(fingerprint(&ca.certificate_pem)));
    assert_eq!(facts.common_name.as_deref(), Some("edge"));
    assert!(facts.permitted.is_empty());
    assert_eq!(key_ids(&made.certificate_pem).1, key_ids(&ca.certificate_pem).0);
    assert_eq!(key_ids(&made.certificate_pem).0.len(), 20);
    read(&made.certificate_pem, |certificate| {
        let usage = certificate.key_usage().unwrap().unwrap();
        assert!(usage.critical);
        assert_eq!(usage.value.flags, 1, "digitalSignature alone");
        assert!(!certificate.is_ca());
        read(&ca.certificate_pem, |ca| {
            assert_eq!(certificate.issuer().as_raw(), ca.subject().as_raw());
        });
    });
}

#[test]
fn a_leaf_is_good_for_its_usage_alone() {
    let ca = acme(&[]);
    for (usage, for_servers, for_clients) in [
        (Usage::Server, true, false),
        (Usage::Client, false, true),
        (Usage::Both, true, true),
    ] {
        let made = leaf(&ca, &request(&names(&["a.example"]), usage), at(NOW)).unwrap();
        read(&made.certificate_pem, |certificate| {
            let extended = certificate.extended_key_usage().unwrap().unwrap().value;
            assert_eq!(
                (extended.server_auth, extended.client_auth),
                (for_servers, for_clients)
            );
            assert!(!extended.any);
        });
    }
}

#[test]
fn only_a_client_may_have_no_names() {
    let ca = acme(&["acme.example"]);
    let client = leaf(&ca, &request(&[], Usage::Client), at(NOW)).unwrap();
    let facts = facts(&client.certificate_pem, &ca.certificate_pem).unwrap();
    assert!(facts.dns_names.is_empty());
    for usage in [Usage::Server, Usage::Both] {
        let refused = leaf(&ca, &request(&[], usage), at(NOW));
        assert!(matches!(refused, Err(Error::Nameless)));
    }
}

#[test]
fn a_hostname_of_numbers_stays_a_hostname() {
    let ca = acme(&[]);
    let made = server(&ca, &["10.1.2.3"]).unwrap();
    let facts = facts(&made.certificate_pem, &ca.certificate_pem).unwrap();
    assert_eq!(facts.dns_names, ["10.1.2.3"]);
}

#[test]
fn names_that_nobody_would_accept_are_refused() {
    let ca = acme(&["acme.example"]);
    assert!(server(&ca, &["acme.example", "API.acme.example"]).is_ok());
    for outside in ["evil.example", "badacme.example", "example", "10.1.2.3"] {
        match server(&ca, &["acme.example", outside]) {
            Err(Error::Outside(name)) => assert_eq!(name, outside),
            other => panic!("{outside}: {other:?}"),
        }
    }
    for bad in ["", "*.acme.example", "acme.example.", "a b.acme.example"] {
        assert!(matches!(server(&ca, &[bad]), Err(Error::InvalidName(_))), "{bad}");
    }
    let names = names(&["acme.example"]);
    let mut wanted = request(&names, Usage::Server);
    wanted.common_name = "acme.example";
    assert!(matches!(leaf(&ca, &wanted, at(NOW)), Err(Error::CommonName(_))));
    let bad = AuthorityRequest {
        common_name: "",
        permitted: &[],
        lifetime_seconds: 1,
    };
    assert!(matches!(authority(&bad, at(NOW)), Err(Error::CommonName(_))));
    let bad = AuthorityRequest {
        common_name: "ca",
        permitted: &[".acme.example".to_owned()],
        lifetime_seconds: 1,
    };
    assert!(matches!(authority(&bad, at(NOW)), Err(Error::InvalidName(_))));
}

#[test]
fn a_leaf_lives_within_its_authority() {
    let ca = acme(&[]);
    let names = names(&["a.example"]);
    let mut wanted = request(&names, Usage::Server);
    wanted.lifetime_seconds = 36_500 * DAY;
    let life = |now| {
        let made = leaf(&ca, &wanted, at(now))?;
        let facts = facts(&made.certificate_pem, &ca.certificate_pem)?;
        Ok::<_, Error>((facts.not_before.as_second(), facts.not_after.as_second()))
    };
    let end = NOW - 60 + 3650 * 24 * 3600;
    assert_eq!(life(NOW).unwrap(), (NOW - 60, end));
    // A clock that was set back.
    assert_eq!(life(NOW - 3600).unwrap(), (NOW - 60, end));
    assert_eq!(life(end - 1).unwrap(), (end - 61, end));
    assert!(matches!(life(end), Err(Error::Expired(when)) if when == at(end)));
}

#[test]
fn a_validity_that_is_empty_or_out_of_range_is_refused() {
    let ca = acme(&[]);
    let names = names(&["a.example"]);
    let wanted = |lifetime_seconds| LeafRequest {
        lifetime_seconds,
        ..request(&names, Usage::Server)
    };
    for lifetime in [0, u64::MAX, i64::MAX.unsigned_abs()] {
        let refused = leaf(&ca, &wanted(lifetime), at(NOW));
        assert!(matches!(refused, Err(Error::Validity)), "{lifetime}");
    }
    // Over before the authority begins.
    let refused = leaf(&ca, &wanted(10), at(NOW - 3600));
    assert!(matches!(refused, Err(Error::Validity)));
    for (now, lifetime) in [(0, 3600), (NOW, 8000 * 366 * DAY)] {
        let request = AuthorityRequest {
            common_name: "ca",
            permitted: &[],
            lifetime_seconds: lifetime,
        };
        let refused = authority(&request, at(now));
        assert!(matches!(refused, Err(Error::Validity)), "{now} {lifetime}");
    }
}

#[test]
fn serial_numbers_are_random_and_positive() {
    let ca = acme(&[]);
    let again = reissue(&ca, &[], DAY, at(NOW)).unwrap();
    let one = server(&ca, &["a.example"]).unwrap();
    let other = server(&ca, &["a.example"]).unwrap();
    let mut serials: Vec<String> = [&ca, &again, &one, &other]
        .iter()
        .map(|pair| facts(&pair.certificate_pem, &ca.certificate_pem).unwrap().serial)
        .collect();
    for serial in &serials {
        assert_eq!(serial.len(), 32, "{serial}");
        assert!(("4".."8").contains(&&serial[..1]), "{serial}");
    }
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 4);
}

#[test]
fn an_authority_that_is_issued_anew_is_the_same_to_verifiers() {
    let old = acme(&["acme.example"]);
    let before = server(&old, &["acme.example"]).unwrap();
    let later = NOW + 100 * 24 * 3600;
    let permitted = names(&["acme.example", "board.acme.test"]);
    let new = reissue(&old, &permitted, 10 * DAY, at(later)).unwrap();
    assert_eq!(new.key_pem, old.key_pem);
    let [was, is] = [&old, &new].map(|pair| facts(&pair.certificate_pem, &pair.certificate_pem).unwrap());
    assert_ne!(was.fingerprint, is.fingerprint);
    assert_eq!(was.common_name, is.common_name);
    assert_eq!(is.permitted, permitted);
    assert_eq!(
        (is.not_before, is.not_after),
        (at(later - 60), at(later - 60 + 864_000))
    );
    assert_eq!(key_ids(&old.certificate_pem), key_ids(&new.certificate_pem));
    let signer = facts(&before.certificate_pem, &new.certificate_pem)
        .unwrap()
        .issuer;
    assert_eq!(signer, Some(is.fingerprint));
    assert!(server(&old, &["board.acme.test"]).is_err());
    let wanted = names(&["board.acme.test"]);
    assert!(leaf(&new, &request(&wanted, Usage::Server), at(later)).is_ok());
    // One that expired comes back.
    let long_after = at(NOW + 4000 * 24 * 3600);
    assert!(reissue(&old, &[], DAY, long_after).is_ok());
}

#[test]
fn what_is_no_authority_with_its_own_key_signs_nothing() {
    let (ca, other) = (acme(&[]), acme(&[]));
    let made = server(&ca, &["a.example"]).unwrap();
    let mixed = Pair {
        certificate_pem: ca.certificate_pem.clone(),
        key_pem: other.key_pem.clone(),
    };
    assert!(matches!(server(&mixed, &["a.example"]), Err(Error::ForeignKey)));
    assert!(matches!(
        reissue(&mixed, &[], DAY, at(NOW)),
        Err(Error::ForeignKey)
    ));
    assert!(matches!(
        server(&made, &["a.example"]),
        Err(Error::NotAuthority(_))
    ));
    for (certificate, key) in [
        ("", ca.key_pem.as_str()),
        ("no PEM", &ca.key_pem),
        (&ca.key_pem, &ca.key_pem),
        (&ca.certificate_pem, ""),
        (&ca.certificate_pem, &ca.certificate_pem),
    ] {
        let broken = Pair {
            certificate_pem: certificate.to_owned(),
            key_pem: key.to_owned().into(),
        };
        let refused = server(&broken, &["a.example"]);
        assert!(matches!(refused, Err(Error::Unreadable { .. })), "{refused:?}");
    }
}

#[test]
fn the_issuer_is_who_really_signed() {
    let (ca, other) = (acme(&[]), acme(&[]));
    let made = server(&ca, &["a.example"]).unwrap();
    // Of the same name, so only the signature tells.
    let issuer = |issuers: &str| facts(&made.certificate_pem, issuers).unwrap().issuer;
    assert_eq!(issuer(&other.certificate_pem), None);
    assert_eq!(issuer(&made.certificate_pem), None);
    let both = bundle([other.certificate_pem.as_str(), &ca.certificate_pem]).unwrap();
    assert_eq!(issuer(&both), Some(fingerprint(&ca.certificate_pem)));
    assert!(facts(&made.certificate_pem, "").is_err());
    assert!(facts("", &ca.certificate_pem).is_err());
}

#[test]
fn a_bundle_has_each_certificate_once_in_order() {
    let (one, two) = (acme(&[]), acme(&[]));
    let all = [&two.certificate_pem, &one.certificate_pem, &two.certificate_pem];
    let text = bundle(all.map(String::as_str)).unwrap();
    assert_eq!(text, format!("{}{}", two.certificate_pem, one.certificate_pem));
    assert_eq!(
        certificates(&text).unwrap(),
        [two.certificate_pem.clone(), one.certificate_pem.clone()]
    );
    assert_eq!(bundle([text.as_str()]).unwrap(), text);
    // Fingerprints count, not how the text is broken.
    let windows = one.certificate_pem.replace('\n', "\r\n");
    assert_eq!(
        bundle([windows.as_str(), &one.certificate_pem]).unwrap(),
        one.certificate_pem
    );
    assert_eq!(bundle([]).unwrap(), "");
    let half = &two.certificate_pem[..200];
    for bad in [
        "",
        "text",
        &one.key_pem,
        half,
        &format!("{}{half}", one.certificate_pem),
    ] {
        assert!(certificates(bad).is_err(), "{bad}");
        assert!(bundle([bad]).is_err(), "{bad}");
    }
}

#[test]
fn a_key_is_not_in_what_is_printed() {
    let ca = acme(&[]);
    let printed = format!("{ca:?}");
    assert!(printed.contains("BEGIN CERTIFICATE"));
    let secret = ca.key_pem.lines().nth(1).unwrap();
    assert!(!printed.contains(secret) && !printed.contains("PRIVATE"));
}
