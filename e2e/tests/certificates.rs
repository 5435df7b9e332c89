//! zlint, which the CAs of browsers are checked with, against each kind of certificate that Freehold issues.
//! `cargo xtask test` runs this; it needs Go and no cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use freehold_e2e::lab::{Lab, builds, shell};
use freehold_pki::{AuthorityRequest, LeafRequest, Pair, Usage, authority, leaf, reissue};
use jiff::Timestamp;
use serde_json::Value;

/// The Baseline Requirements of the CA/Browser Forum: rules for those whom browsers trust. What RFCs ask for is never
/// on a list below.
const FOR_PUBLIC_AUTHORITIES: &str = "CABF_BR";
/// zlint's words for what is wrong. The others are: pass, info, NA (another kind of certificate), NE (not in effect yet).
const WRONG: [&str; 3] = ["warn", "error", "fatal"];

type Rules = &'static [(&'static str, &'static str)];

/// Rules that an authority of ours breaks, with the reason why each can't apply.
const AUTHORITIES: Rules = &[
    (
        "e_ca_country_name_missing",
        "it is a tenant's, not a company's: its name says whose",
    ),
    ("e_ca_organization_name_missing", "as with the country"),
    (
        "w_root_ca_basic_constraints_path_len_constraint_field_present",
        "a public root has authorities below it; this one signs leaves itself, and nothing may stand between",
    ),
];

/// Rules that a leaf for servers breaks.
const SERVERS: Rules = &[
    (
        "e_dnsname_not_valid_tld",
        "names of services in the cluster are no public names",
    ),
    (
        "e_sub_cert_aia_missing",
        "there is no place that is reached from everywhere, and whoever trusts the authority has its certificate",
    ),
    ("w_sub_cert_aia_does_not_contain_issuing_ca_url", "as above"),
    (
        "e_sub_cert_certificate_policies_missing",
        "policies say how a public CA looked into who asked",
    ),
    ("e_sub_cert_cert_policy_empty", "as above"),
    (
        "e_subject_common_name_not_exactly_from_san",
        "the common name is for people, and of one label, so that nobody takes it for the name of a host",
    ),
    (
        "w_subject_common_name_included",
        "as above; without it the subject would be empty, and the alternative names critical (RFC 5280, 4.2.1.6)",
    ),
    (
        "w_ext_subject_key_identifier_not_recommended_subscriber",
        "RFC 5280, 4.2.1.2: it SHOULD be there",
    ),
];

const DAY: u64 = 24 * 3600;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Each kind, with the rules that it breaks.
fn kinds() -> Vec<(&'static str, Pair, Rules)> {
    // Fixed, for rules come into effect on days; after all that this zlint knows.
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let hostnames = names(&["acme.example", "web.tenant-acme.svc.cluster.local"]);
    let request = |common_name, permitted| AuthorityRequest {
        common_name,
        permitted,
        lifetime_seconds: 3650 * DAY,
    };
    let ca = authority(&request("Freehold CA of acme", &hostnames), now).unwrap();
    let free = authority(&request("Freehold key service CA", &[]), now).unwrap();
    let more = names(&["acme.example", "board.test", "web.tenant-acme.svc.cluster.local"]);
    let again = reissue(&ca, &more, 3650 * DAY, now).unwrap();
    let issue = |dns_names, usage| {
        let request = LeafRequest {
            common_name: "edge",
            dns_names,
            usage,
            lifetime_seconds: 7 * DAY,
        };
        leaf(&ca, &request, now).unwrap()
    };
    vec![
        ("server", issue(&hostnames, Usage::Server), SERVERS),
        ("both", issue(&hostnames, Usage::Both), SERVERS),
        // zlint takes them for no certificates of websites, and asks only what RFCs ask.
        ("client", issue(&hostnames, Usage::Client), &[]),
        ("client without names", issue(&[], Usage::Client), &[]),
        ("authority", ca, AUTHORITIES),
        ("authority without constraints", free, AUTHORITIES),
        ("authority issued anew", again, AUTHORITIES),
    ]
}

/// Built once, though tests run side by side.
fn zlint() -> Command {
    static PROGRAM: LazyLock<PathBuf> =
        LazyLock::new(|| builds::on_demand(&Lab::of_this_checkout(), "zlint").unwrap());
    Command::new(&*PROGRAM)
}

/// The rules that a certificate breaks, and how many it keeps.
fn lint(lab: &Lab, kind: &str, pair: &Pair) -> (BTreeSet<String>, usize) {
    let folder = lab.build().join("zlint");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{kind}.pem"));
    fs::write(&path, &pair.certificate_pem).unwrap();
    let found = shell::capture(zlint().arg(&path)).unwrap();
    let found: BTreeMap<String, Value> = serde_json::from_str(&found).unwrap();
    let (mut broken, mut kept) = (BTreeSet::new(), 0);
    for (rule, verdict) in found {
        let result = verdict["result"].as_str().unwrap();
        if WRONG.contains(&result) {
            broken.insert(rule);
        } else if result == "pass" {
            kept += 1;
        }
    }
    (broken, kept)
}

#[test]
fn zlint_finds_nothing_but_rules_for_public_authorities() {
    let lab = Lab::of_this_checkout();
    for (kind, pair, rules) in kinds() {
        let (broken, kept) = lint(&lab, kind, &pair);
        println!("{kind}: {kept} rules kept, {} that don't apply", broken.len());
        let known: BTreeSet<String> = rules.iter().map(|(rule, _)| (*rule).to_owned()).collect();
        assert_eq!(
            broken, known,
            "{kind}: left what zlint found, right what is on the list"
        );
        assert!(kept > 40, "{kind}: only {kept} rules were looked at");
    }
}

#[test]
fn no_rule_of_an_rfc_is_on_the_list() {
    let listed = shell::capture(zlint().arg("-list-lints-json")).unwrap();
    let sources: BTreeMap<String, String> = listed
        .lines()
        .map(|line| {
            let rule: Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| rule[key].as_str().unwrap().to_owned();
            (text("name"), text("source"))
        })
        .collect();
    for (rule, reason) in AUTHORITIES.iter().chain(SERVERS) {
        assert_eq!(sources[*rule], FOR_PUBLIC_AUTHORITIES, "{rule}");
        println!("{rule}: {reason}");
    }
}
