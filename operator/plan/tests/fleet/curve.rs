//! How many tenants a bad release reaches before it is halted: the table in docs/reference/halts.md.

use std::fmt::Write as _;
use std::path::Path;

use freehold_crds::{Environment, RingPhase};
use serde_json::json;

use crate::world::{Fate, World, at};

const TENANTS: usize = 5000;

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

/// What became of a release that is bad for a share of the tenants.
struct Tried {
    /// How many tenants had begun with it when it was halted, or in all.
    reached: usize,
    /// For how many of these it was bad.
    bad: usize,
    halted: bool,
}

fn tried(per_million: u64, seed: u64, bad: Fate) -> Tried {
    let mut world = World::new(&json!([{"name": "all"}])).with(TENANTS, Environment::Production, "1.0.0");
    // Another order each time.
    for tenant in &mut world.tenants {
        tenant.member.incarnation = format!("{seed}-{}", tenant.member.name);
    }
    world.publish("1.0.0");
    world.until(at(60));
    world.publish("1.1.0");
    let is_bad = move |name: &str| lot(seed, name) < per_million;
    world.fate = Box::new(move |name, release| {
        if release == "board-1.1.0" && is_bad(name) {
            bad
        } else {
            Fate::Well
        }
    });
    world.until(at(400 * 3600));
    let touched = world.touched.get("board-1.1.0");
    let halted = world.phase("all") == RingPhase::Halted;
    let runs = |tenant: &&crate::world::Tenant| tenant.member.runs.as_deref() == Some("board-1.1.0");
    let failing = world
        .tenants
        .iter()
        .filter(runs)
        .filter(|tenant| is_bad(&tenant.member.name));
    assert!(
        !halted || failing.count() == 0,
        "whatever it was bad for has gone back"
    );
    Tried {
        reached: touched.map_or(0, |names| names.len()),
        bad: touched.into_iter().flatten().filter(|name| is_bad(name)).count(),
        halted,
    }
}

/// What is asserted of the worst release, whatever the table says: at most so many tenants.
const AT_ONCE: usize = 5;
/// While the canary is not yet seen to break, those after it have begun: 1, 1, 2 and 4, five minutes each.
const LATE: usize = 8;

#[test]
fn the_worse_a_release_the_fewer_tenants_it_reaches() {
    let mut table = format!(
        "# How far a bad release comes\n\n\
         Simulated by `cargo test -p freehold-plan --test fleet`: a ring of {TENANTS} tenants with the defaults (canary 1, maxConcurrent 10%,\n\
         failureThreshold 5%), some runs of each with other tenants each time. An upgrade takes five minutes. What it is bad for goes back by itself.\n"
    );
    for (head, bad, most) in [
        ("It fails at once", Fate::Fails, AT_ONCE),
        (
            "It serves for ten minutes, then it doesn't any more",
            Fate::Breaks,
            LATE,
        ),
    ] {
        let _ = write!(
            table,
            "\n## {head}\n\n\
             | for | halted | tenants reached before the halt: median | at most | bad for: median | at most |\n\
             | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        );
        // A run that isn't halted goes through all tenants, which takes its time.
        for (share, per_million, seeds) in [
            ("0.1 %", 1_000, 1),
            ("1 %", 10_000, 1),
            ("5 %", 50_000, 5),
            ("20 %", 200_000, 20),
            ("100 %", 1_000_000, 20),
        ] {
            let runs: Vec<_> = (1..=seeds).map(|seed| tried(per_million, seed, bad)).collect();
            let halted = runs.iter().filter(|run| run.halted).count();
            let spread = |of: fn(&Tried) -> usize| {
                let mut all: Vec<usize> = runs.iter().filter(|run| run.halted).map(of).collect();
                all.sort_unstable();
                match (all.get(all.len() / 2), all.last()) {
                    (Some(median), Some(most)) => format!("{median} | {most}"),
                    _ => "- | -".to_owned(),
                }
            };
            let _ = writeln!(
                table,
                "| {share} | {halted} of {seeds} | {} | {} |",
                spread(|run| run.reached),
                spread(|run| run.bad)
            );
            if per_million == 1_000_000 {
                assert!(runs.iter().all(|run| run.halted && run.reached <= most), "{head}");
            }
        }
    }
    let _ = write!(
        table,
        "\nFor everybody: one that fails at once must not reach more than {AT_ONCE} tenants (the canary is 1), one that breaks them later not more than {LATE}, for\n\
         nothing is known of the first one yet while the next ones begin. What breaks few of them, and late, has come to many before it is halted, or to\n\
         all: a first ring with few tenants, and a `soak` before the next one, keep it there. One that is not halted has come to every tenant but those that it\n\
         failed for.\n"
    );
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
