//! How long issuing takes: `cargo test --release -p freehold-pki --test figures -- --nocapture`.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use freehold_pki::{AuthorityRequest, LeafRequest, Usage, authority, facts, leaf};
use jiff::Timestamp;

const LEAVES: usize = 1000;

fn median(mut act: impl FnMut()) -> Duration {
    let mut all: Vec<Duration> = (0..LEAVES)
        .map(|_| {
            let begin = Instant::now();
            act();
            begin.elapsed()
        })
        .collect();
    all.sort();
    all[LEAVES / 2]
}

/// No limit: machines differ. What it says is printed.
#[test]
fn the_time_that_issuing_takes() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let permitted = ["acme.example".to_owned()];
    let wanted = AuthorityRequest {
        common_name: "Freehold CA of acme",
        permitted: &permitted,
        lifetime_seconds: 1_000_000,
    };
    let ca = authority(&wanted, now).unwrap();
    let request = LeafRequest {
        common_name: "edge",
        dns_names: &permitted,
        usage: Usage::Server,
        lifetime_seconds: 604_800,
    };
    let made = leaf(&ca, &request, now).unwrap();
    let authorities = median(|| drop(authority(&wanted, now).unwrap()));
    let leaves = median(|| drop(leaf(&ca, &request, now).unwrap()));
    let reads = median(|| drop(facts(&made.certificate_pem, &ca.certificate_pem).unwrap()));
    println!(
        "median of {LEAVES}: authority {authorities:?}, leaf {leaves:?}, facts with its issuer {reads:?}"
    );
}
