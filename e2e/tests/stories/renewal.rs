//! Certificates are renewed, and nobody who connects every 50 ms notices: at the edge, from web to application, from application
//! to database.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freehold_e2e::prober::{APPLICATION, DATABASE, EDGE, Prober, Report};
use freehold_e2e::tls::{self, End};
use freehold_e2e::{install, kube};
use freehold_pki::{LeafRequest, Pair, Usage};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::stage::{Guest, MINUTE, calm, lab, namespace, operator_away};

/// The shortest life that a class may say.
const LIFE: Duration = Duration::from_secs(600);
/// How long a certificate that is put there is still valid: longer than its renewal, and the way to whoever shows it, take.
const LEFT: Duration = Duration::from_secs(150);
/// Each leaf, the end of [`tls::ends`] that shows it, what it is for.
const LEAVES: [(&str, Option<&str>, Usage); 5] = [
    ("edge-tls", Some("gateway"), Usage::Server),
    ("web-tls", Some("web"), Usage::Both),
    ("application-tls", Some("application"), Usage::Both),
    ("database-tls", Some("database"), Usage::Server),
    ("replication-tls", None, Usage::Client),
];
/// After this a prober has seen every end at rest.
const REST: Duration = Duration::from_secs(10);

fn certificate(tenant: &str, secret: &str) -> String {
    kube::secret(lab(), &namespace(tenant), secret, "tls.crt").unwrap()
}

/// All leaves of a tenant, as they are now.
fn certificates(tenant: &str) -> Vec<String> {
    LEAVES
        .iter()
        .map(|(secret, ..)| certificate(tenant, secret))
        .collect()
}

/// Waits until the operator has put another in the place of each of `before`; those that are there then.
fn until_renewed(tenant: &str, before: &[String], limit: Duration) {
    kube::until("every leaf to be renewed", limit, || {
        let now = certificates(tenant);
        let same = now.iter().zip(before).any(|(now, before)| now == before);
        Ok((!same).then_some(()))
    })
    .unwrap();
}

/// Waits until every end shows none of `before`.
fn until_shown(ends: &[End], before: &[String]) {
    for end in ends {
        let what = format!("{} to show its new certificate", end.name);
        kube::until(&what, 2 * MINUTE, || {
            let shown = tls::shown(lab(), end)?;
            let is_new = |shown: &String| before.iter().all(|old| !old.contains(shown.trim()));
            Ok(shown.filter(is_new).map(drop))
        })
        .unwrap();
    }
}

/// Nothing failed, and every lane saw its server's certificate change, under the root that it had.
fn assert_unnoticed(report: &Report) {
    println!("{report}");
    report.flawless().unwrap();
    for name in [EDGE, APPLICATION, DATABASE] {
        let lane = report.lane(name).unwrap();
        assert!(lane.leaves.len() >= 2, "{name} showed {:?}", lane.leaves);
        assert_eq!(lane.issuers(), 1, "{name}");
    }
    let expected = (report.seconds * 20.0 * 3.0 * 0.95) as u64;
    assert!(
        report.handshakes() >= expected,
        "{} < {expected}",
        report.handshakes()
    );
}

/// Puts a certificate in the place of each that has [`LEFT`] to live, and had lived for as long as its authority: time that has
/// passed. The operator renews it by the same rule as any other.
fn age(tenant: &str) {
    let back = LIFE - LEFT;
    let begin = Timestamp::now() - SignedDuration::from_secs(back.as_secs() as i64);
    // It begins a minute before.
    issue_each(tenant, begin, LIFE.as_secs() + 60);
}

fn authority(tenant: &str) -> Pair {
    let part = |key: &str| kube::secret(lab(), install::KEYS, &format!("tenant-{tenant}-ca"), key).unwrap();
    Pair {
        certificate_pem: part("tls.crt"),
        key_pem: part("tls.key").into(),
    }
}

fn put(namespace: &str, secret: &str, made: &Pair) {
    let data = json!({"data": {
        "tls.crt": STANDARD.encode(&made.certificate_pem), "tls.key": STANDARD.encode(&*made.key_pem)}});
    // Through a file: a key must not be in a process's arguments.
    let patch = tls::file(lab(), "aged", &data.to_string()).unwrap();
    let file = patch.display().to_string();
    let what = ["-n", namespace, "patch", "secret", secret];
    let args = [&what[..], &["--type=merge", "--patch-file", &file]].concat();
    kube::kubectl(lab(), &args).unwrap();
    std::fs::remove_file(&patch).unwrap();
}

/// Has the tenant's authority end as soon as it is there.
pub fn end_authority(tenant: &str) {
    let old = authority(tenant);
    let facts = freehold_pki::facts(&old.certificate_pem, &old.certificate_pem).unwrap();
    // Certificates begin a minute back.
    let ended = freehold_pki::reissue(&old, &facts.permitted, 61, Timestamp::now()).unwrap();
    put(install::KEYS, &format!("tenant-{tenant}-ca"), &ended);
}

/// Puts a certificate in the place of each, as the tenant's authority would have issued it at an instant.
pub fn issue_each(tenant: &str, at: Timestamp, lifetime_seconds: u64) {
    let namespace = namespace(tenant);
    let authority = authority(tenant);
    for (secret, _, usage) in LEAVES {
        let there = freehold_pki::facts(&certificate(tenant, secret), &authority.certificate_pem).unwrap();
        let request = LeafRequest {
            common_name: match secret {
                "replication-tls" => "streaming_replica",
                _ => secret.trim_end_matches("-tls"),
            },
            dns_names: &there.dns_names,
            usage,
            lifetime_seconds,
        };
        let made = freehold_pki::leaf(&authority, &request, at).unwrap();
        put(&namespace, secret, &made);
    }
}

/// Over what the primary sends its changes to the replica: suite, and the number of the replica's certificate.
fn replica(tenant: &str) -> Option<(String, String)> {
    let over = "select cipher, client_serial from pg_stat_replication join pg_stat_ssl using (pid) where state = 'streaming'";
    let row = kube::sql(lab(), &namespace(tenant), "db", over).ok()?;
    let (suite, serial) = row.split_once('|')?;
    assert_eq!(suite, "TLS_AES_256_GCM_SHA384");
    Some((suite.to_owned(), serial.to_owned()))
}

/// A replica that has to connect anew shows its new certificate, and is taken.
fn until_replicated(tenant: &str, before: &(String, String)) {
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_replication";
    kube::until(
        "the replica to come back with its new certificate",
        2 * MINUTE,
        || {
            let now = replica(tenant);
            if now.as_ref() == Some(before) {
                kube::sql(lab(), &namespace(tenant), "db", end)?;
            }
            Ok(now.filter(|now| now != before))
        },
    )
    .map(|now| println!("replication: {now:?}, before {before:?}"))
    .unwrap();
}

#[test]
fn leaves_that_are_due_are_renewed_under_a_load_and_no_handshake_fails() {
    calm();
    let guest = Guest::ready("perennial", 1);
    let ends = tls::ends(lab(), guest.0).unwrap();
    let first = certificates(guest.0);
    let prober = Prober::start(lab(), guest.0).unwrap();
    std::thread::sleep(REST);
    // Secrets aren't watched: an operator that starts reads them.
    let away = operator_away();
    age(guest.0);
    let aged = certificates(guest.0);
    let begin = Instant::now();
    drop(away);
    until_renewed(guest.0, &aged, LEFT);
    let renewed = begin.elapsed();
    until_shown(&ends, &[first, aged].concat());
    println!(
        "all renewed after {:.0} s, shown after {:.0} s",
        renewed.as_secs_f64(),
        begin.elapsed().as_secs_f64()
    );
    std::thread::sleep(REST);
    assert_unnoticed(&prober.stop().unwrap());
}

#[test]
#[ignore = "minutes: cargo xtask bench a_replica_comes_back"]
fn a_replica_comes_back_with_its_renewed_certificate() {
    calm();
    let guest = Guest::ready("biennial", 2);
    let replica = replica(guest.0).unwrap();
    let away = operator_away();
    age(guest.0);
    let aged = certificates(guest.0);
    drop(away);
    until_renewed(guest.0, &aged, LEFT);
    until_replicated(guest.0, &replica);
}
