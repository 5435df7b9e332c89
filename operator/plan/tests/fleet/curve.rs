//! How many tenants a bad release reaches before it is halted: the table in docs/reference/halts.md.

use std::fmt::Write as _;
use std::path::Path;

use freehold_crds::{Environment, RingPhase};
use serde_json::json;

use crate::world::{Fate, World, at};

const TENANTS: usize = 500;
const SEEDS: u64 = 40;

/// A number below a million that depends on all of them alike.
fn lot(seed: u64, name: &str) -> u64 {
    // FNV-1a, then a finalizer (MurmurHash3's), for names differ in their last letters only.
    let bytes = seed.to_le_bytes().into_iter().chain(name.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (hash ^ (hash >> 33)) % 1_000_000
}

/// How many tenants it reached, how many of these it failed for, and whether it was halted.
fn tried(per_million: u64, seed: u64) -> (usize, usize, bool) {
    let mut world = World::new(&json!([{"name": "all"}])).with(TENANTS, Environment::Production, "1.0.0");
    // Another order each time.
    for tenant in &mut world.tenants {
        tenant.member.incarnation = format!("{seed}-{}", tenant.member.name);
    }
    world.publish("1.0.0");
    world.until(at(60));
    world.publish("1.1.0");
    world.fate = Box::new(move |name, _| {
        let fails = lot(seed, name) < per_million;
        if fails { Fate::Fails } else { Fate::Well }
    });
    world.until(at(400 * 3600));
    let touched = world.touched.get("board-1.1.0").map_or(0, |names| names.len());
    let failed = world
        .tenants
        .iter()
        .filter(|tenant| !tenant.member.failed.is_empty());
    (touched, failed.count(), world.phase("all") == RingPhase::Halted)
}

#[test]
fn the_worse_a_release_the_fewer_tenants_it_reaches() {
    let mut table = format!(
        "# How far a bad release comes\n\n\
         Simulated by `cargo test -p freehold-plan --test fleet`: a ring of {TENANTS} tenants with the defaults (canary 1, maxConcurrent 10%,\n\
         failureThreshold 5%), {SEEDS} runs with other tenants failing each time. A tenant that a release fails for goes back by itself.\n\n\
         | fails for | halted | tenants reached before the halt: median | at most | failed: median | at most |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    );
    for (share, per_million) in [
        ("0.1 %", 1_000),
        ("1 %", 10_000),
        ("5 %", 50_000),
        ("20 %", 200_000),
        ("100 %", 1_000_000),
    ] {
        let runs: Vec<_> = (1..=SEEDS).map(|seed| tried(per_million, seed)).collect();
        let halted = runs.iter().filter(|(_, _, halted)| *halted).count();
        let spread = |of: fn(&(usize, usize, bool)) -> usize| {
            let mut all: Vec<usize> = runs.iter().filter(|run| run.2).map(of).collect();
            all.sort_unstable();
            match (all.get(all.len() / 2), all.last()) {
                (Some(median), Some(most)) => format!("{median} | {most}"),
                _ => "- | -".to_owned(),
            }
        };
        let _ = writeln!(
            table,
            "| {share} | {halted} of {SEEDS} | {} | {} |",
            spread(|run| run.0),
            spread(|run| run.1)
        );
        if per_million == 1_000_000 {
            assert!(runs.iter().all(|(touched, _, halted)| *halted && *touched <= 5));
        }
    }
    table.push_str("\nA release that is not halted has come to every tenant but those that it failed for.\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/halts.md");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        table,
        "stale: UPDATE_GENERATED=1 cargo test -p freehold-plan --test fleet"
    );
}
