//! Real verifiers judge what is issued: rustls in handshakes in memory, and the program `openssl`, which stands for
//! whatever is built on it (PostgreSQL). Each case is put to both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod openssl;
mod tls;

use std::net::IpAddr;

use freehold_pki::{AuthorityRequest, LeafRequest, Pair, Usage, authority, bundle, leaf, reissue};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

const NOW: i64 = 1_800_000_000;
const DAY: u64 = 24 * 3600;

/// What a certificate is shown as.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shown<'a> {
    /// By the server of this name.
    Server(&'a str),
    Client,
}

/// Why verifiers refuse, in the words of each.
struct Refusal {
    rustls: &'static str,
    openssl: &'static str,
}

const UNKNOWN_ISSUER: Refusal = Refusal {
    rustls: "UnknownIssuer",
    openssl: "unable to get local issuer certificate",
};
const NOT_PERMITTED: Refusal = Refusal {
    rustls: "NameConstraintViolation",
    openssl: "permitted subtree violation",
};
const EXCLUDED: Refusal = Refusal {
    rustls: "NameConstraintViolation",
    openssl: "excluded subtree violation",
};
const WRONG_PURPOSE: Refusal = Refusal {
    rustls: "InvalidPurpose",
    openssl: "unsuitable certificate purpose",
};
const OTHER_NAME: Refusal = Refusal {
    rustls: "NotValidForName",
    openssl: "hostname mismatch",
};

fn accepted(chain: &Pair, roots: &str, shown: Shown<'_>) {
    tls::shake(chain, roots, shown, NOW).unwrap();
    openssl::verify(chain, roots, shown, NOW).unwrap();
}

fn refused(chain: &Pair, roots: &str, shown: Shown<'_>, why: &Refusal) {
    let error = tls::shake(chain, roots, shown, NOW).unwrap_err();
    assert!(error.contains(why.rustls), "rustls: {error}");
    let error = openssl::verify(chain, roots, shown, NOW).unwrap_err();
    assert!(error.contains(why.openssl), "openssl: {error}");
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn tenant(tenant: &str, permitted: &[&str]) -> Pair {
    let request = AuthorityRequest {
        common_name: &format!("Freehold CA of {tenant}"),
        permitted: &names(permitted),
        lifetime_seconds: 3650 * DAY,
    };
    authority(&request, now()).unwrap()
}

fn issue(ca: &Pair, dns_names: &[&str], usage: Usage) -> Pair {
    let request = LeafRequest {
        common_name: "edge",
        dns_names: &names(dns_names),
        usage,
        lifetime_seconds: 7 * DAY,
    };
    leaf(ca, &request, now()).unwrap()
}

/// What somebody who stole acme's authority would make: anything. Beside the crate, which refuses to.
fn forged(ca: &Pair, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (Pair, KeyPair) {
    let common_name = |name: &str| {
        let mut distinguished = DistinguishedName::new();
        distinguished.push(DnType::CommonName, name);
        distinguished
    };
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = common_name("Freehold CA of acme");
    let issuer = Issuer::new(issuer, KeyPair::from_pem(&ca.key_pem).unwrap());
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = OffsetDateTime::from_unix_timestamp(NOW - 60).unwrap();
    params.not_after = OffsetDateTime::from_unix_timestamp(NOW + 3600).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let pair = Pair {
        certificate_pem: params.signed_by(&key, &issuer).unwrap().pem(),
        key_pem: key.serialize_pem().into(),
    };
    (pair, key)
}

fn forged_with(ca: &Pair, name: SanType) -> Pair {
    forged(ca, "forged", |params| params.subject_alt_names = vec![name]).0
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

#[test]
fn a_leaf_is_accepted_under_its_name_and_usage() {
    let ca = tenant("acme", &["acme.example"]);
    let roots = &ca.certificate_pem;
    let server = issue(&ca, &["acme.example", "db.acme.example"], Usage::Server);
    for name in ["acme.example", "db.acme.example"] {
        accepted(&server, roots, Shown::Server(name));
    }
    refused(&server, roots, Shown::Server("web.acme.example"), &OTHER_NAME);
    let both = issue(&ca, &["acme.example"], Usage::Both);
    accepted(&both, roots, Shown::Server("acme.example"));
    accepted(&both, roots, Shown::Client);
    // Without constraints, and without names.
    let free = tenant("free", &[]);
    let server = issue(&free, &["acme.example"], Usage::Server);
    accepted(&server, &free.certificate_pem, Shown::Server("acme.example"));
    accepted(&issue(&ca, &[], Usage::Client), roots, Shown::Client);
}

#[test]
fn a_tenants_leaf_is_refused_by_another_tenants_root() {
    let (acme, bolt) = (
        tenant("acme", &["acme.example"]),
        tenant("bolt", &["acme.example"]),
    );
    let server = issue(&acme, &["acme.example"], Usage::Server);
    let shown = Shown::Server("acme.example");
    refused(&server, &bolt.certificate_pem, shown, &UNKNOWN_ISSUER);
    // Of the same name, with another key.
    let impostor = tenant("acme", &["acme.example"]);
    assert!(tls::shake(&server, &impostor.certificate_pem, shown, NOW).is_err());
    assert!(openssl::verify(&server, &impostor.certificate_pem, shown, NOW).is_err());
}

#[test]
fn a_stolen_authority_is_good_for_its_tenants_names_and_below_them_only() {
    let ca = tenant("acme", &["acme.example"]);
    let roots = &ca.certificate_pem;
    accepted(
        &forged_with(&ca, dns("x.acme.example")),
        roots,
        Shown::Server("x.acme.example"),
    );
    for name in ["bolt.example", "badacme.example", "example"] {
        refused(
            &forged_with(&ca, dns(name)),
            roots,
            Shown::Server(name),
            &NOT_PERMITTED,
        );
    }
}

/// A subtree is more than its name (RFC 5280, 4.2.1.10): a name below it may be another tenant's.
#[test]
fn a_stolen_authority_is_good_for_a_name_below_its_own_before_its_own_clients_only() {
    let (acme, bolt) = (
        tenant("acme", &["acme.example"]),
        tenant("bolt", &["bolt.acme.example"]),
    );
    let shown = Shown::Server("bolt.acme.example");
    let forged = forged_with(&acme, dns("bolt.acme.example"));
    accepted(&forged, &acme.certificate_pem, shown);
    refused(&forged, &bolt.certificate_pem, shown, &UNKNOWN_ISSUER);
}

#[test]
fn a_stolen_authority_is_good_for_no_address() {
    let ca = tenant("acme", &["acme.example"]);
    for address in ["10.1.2.3", "fd00::7"] {
        let name = SanType::IpAddress(address.parse::<IpAddr>().unwrap());
        refused(
            &forged_with(&ca, name),
            &ca.certificate_pem,
            Shown::Server(address),
            &EXCLUDED,
        );
    }
}

#[test]
fn a_stolen_authority_is_good_for_no_mailbox() {
    let ca = tenant("acme", &["acme.example"]);
    for mailbox in ["root@bolt.example", "root@acme.example"] {
        let (forged, _) = forged(&ca, "forged", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.subject_alt_names = vec![SanType::Rfc822Name(mailbox.try_into().unwrap())];
        });
        refused(&forged, &ca.certificate_pem, Shown::Client, &NOT_PERMITTED);
    }
}

/// Path length 0. rustls doesn't look: of a root it knows name, key and constraints only (RFC 5280, 6.1.1 (d), asks
/// for no more). The constraints hold below it too.
#[test]
fn a_stolen_authority_gains_nothing_by_an_authority_below_it() {
    let ca = tenant("acme", &["acme.example"]);
    let (middle, key) = forged(&ca, "middle", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = Vec::new();
    });
    let middle = Pair {
        certificate_pem: middle.certificate_pem,
        key_pem: key.serialize_pem().into(),
    };
    let chain = |name| {
        let below = issue(&middle, &[name], Usage::Server);
        Pair {
            certificate_pem: below.certificate_pem + &middle.certificate_pem,
            key_pem: below.key_pem,
        }
    };
    let shown = Shown::Server("x.acme.example");
    let error = openssl::verify(&chain("x.acme.example"), &ca.certificate_pem, shown, NOW).unwrap_err();
    assert!(error.contains("path length constraint exceeded"), "{error}");
    let error = tls::shake(
        &chain("bolt.example"),
        &ca.certificate_pem,
        Shown::Server("bolt.example"),
        NOW,
    )
    .unwrap_err();
    assert!(error.contains(NOT_PERMITTED.rustls), "{error}");
}

#[test]
fn a_clients_leaf_is_no_servers_and_a_servers_no_clients() {
    let ca = tenant("acme", &["acme.example"]);
    let roots = &ca.certificate_pem;
    let client = issue(&ca, &["acme.example"], Usage::Client);
    accepted(&client, roots, Shown::Client);
    refused(&client, roots, Shown::Server("acme.example"), &WRONG_PURPOSE);
    let server = issue(&ca, &["acme.example"], Usage::Server);
    refused(&server, roots, Shown::Client, &WRONG_PURPOSE);
}

#[test]
fn while_an_authority_is_rotated_a_bundle_accepts_what_either_signed() {
    let (old, new) = (
        tenant("acme", &["acme.example"]),
        tenant("acme", &["acme.example"]),
    );
    for order in [[&old, &new], [&new, &old]] {
        let roots = bundle(order.map(|ca| ca.certificate_pem.as_str())).unwrap();
        for ca in [&old, &new] {
            let server = issue(ca, &["acme.example"], Usage::Server);
            accepted(&server, &roots, Shown::Server("acme.example"));
            accepted(&issue(ca, &[], Usage::Client), &roots, Shown::Client);
        }
    }
}

#[test]
fn an_authority_with_one_more_hostname_verifies_what_it_signed_before() {
    let old = tenant("acme", &["acme.example"]);
    let before = issue(&old, &["acme.example"], Usage::Server);
    let permitted = names(&["acme.example", "board.test"]);
    let new = reissue(&old, &permitted, 3650 * DAY, now()).unwrap();
    let after = issue(&new, &["board.test"], Usage::Server);
    accepted(&before, &new.certificate_pem, Shown::Server("acme.example"));
    accepted(&after, &new.certificate_pem, Shown::Server("board.test"));
    let shown = Shown::Server("board.test");
    refused(&after, &old.certificate_pem, shown, &NOT_PERMITTED);
}

/// Why each hostname has a certificate of its own: who was given the root before a hostname was added goes on to be served at those that
/// were there, with what was issued before and with what is issued after. One certificate for all would be refused at each of them.
#[test]
fn a_client_with_the_root_of_before_a_hostname_was_added_is_served_at_the_others() {
    let old = tenant("acme", &["acme.example"]);
    let before = issue(&old, &["acme.example"], Usage::Server);
    let permitted = names(&["acme.example", "board.test"]);
    let new = reissue(&old, &permitted, 3650 * DAY, now()).unwrap();
    let renewed = issue(&new, &["acme.example"], Usage::Server);
    let narrowed = reissue(&new, &names(&["acme.example"]), 3650 * DAY, now()).unwrap();
    let shown = Shown::Server("acme.example");
    for roots in [&old, &new, &narrowed] {
        accepted(&before, &roots.certificate_pem, shown);
        accepted(&renewed, &roots.certificate_pem, shown);
    }
    let of_both = issue(&new, &["acme.example", "board.test"], Usage::Server);
    accepted(&of_both, &new.certificate_pem, shown);
    for roots in [&old, &narrowed] {
        refused(&of_both, &roots.certificate_pem, shown, &NOT_PERMITTED);
    }
}

/// Key and name are the same, so either could end a path. rustls tries both; OpenSSL takes the one that comes first,
/// and refuses if that doesn't permit the name.
#[test]
fn of_an_authority_that_was_issued_anew_the_new_certificate_comes_first_or_alone() {
    let old = tenant("acme", &["acme.example"]);
    let permitted = names(&["acme.example", "board.test"]);
    let new = reissue(&old, &permitted, 3650 * DAY, now()).unwrap();
    let after = issue(&new, &["board.test"], Usage::Server);
    let shown = Shown::Server("board.test");
    let roots = |order: [&Pair; 2]| bundle(order.map(|ca| ca.certificate_pem.as_str())).unwrap();
    accepted(&after, &roots([&new, &old]), shown);
    tls::shake(&after, &roots([&old, &new]), shown, NOW).unwrap();
    let error = openssl::verify(&after, &roots([&old, &new]), shown, NOW).unwrap_err();
    assert!(error.contains(NOT_PERMITTED.openssl), "{error}");
}
