//! Five thousand tenants in four rings, an operator that is killed and tenants that see late: the limits hold at every write, everybody
//! arrives, and then it is quiet.

use std::collections::BTreeMap;

use freehold_crds::{Environment, RingPhase};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::world::{Fate, Window, World, at};

const HOUR: i64 = 3600;
const RINGS: [&str; 4] = ["dev", "qe", "early", "production"];
const RELEASE: &str = "board-1.1.0";

fn rings() -> Value {
    json!([
        {"name": "dev", "tenants": {"environments": ["Development"]}, "canary": 1},
        {"name": "qe", "tenants": {"environments": ["Testing"]}, "soak": "30m"},
        {"name": "early", "tenants": {"environments": ["Staging"]}, "soak": "1h", "canary": 3, "maxConcurrent": 20},
        {"name": "production", "soak": "2h", "canary": 5, "maxConcurrent": "5%", "failureThreshold": "3%"},
    ])
}

fn fleet() -> World {
    let mut world = World::new(&rings())
        .with(20, Environment::Development, "1.0.0")
        .with(80, Environment::Testing, "1.0.0")
        .with(400, Environment::Staging, "1.0.0")
        .with(4_500, Environment::Production, "1.0.0");
    // Fewer instants, or it takes minutes.
    world.grid = 300;
    for number in 0..world.tenants.len() {
        let spread = i64::try_from(number).unwrap();
        world.tenant(number).long = SignedDuration::from_mins(3 + spread % 12);
        match number % 50 {
            7 => world.tenant(number).window = Window::Daily((spread * 37 % 24) * HOUR),
            13 => world.sleep(number),
            17 => world.tenant(number).member.down_since = Some(at(0)),
            _ => {}
        }
    }
    world.publish("1.0.0");
    world.until(at(8 * HOUR));
    world
}

/// What must hold whatever happens.
fn check(world: &World, verified: &mut BTreeMap<&str, Timestamp>, seen: &mut BTreeMap<String, usize>) {
    let status = world.channel.status.clone().unwrap();
    let mut flying: BTreeMap<&str, usize> = BTreeMap::new();
    let granted: BTreeMap<&str, &str> = status
        .grants
        .iter()
        .map(|grant| (grant.uid.as_str(), grant.release.as_str()))
        .collect();
    for (number, tenant) in world.tenants.iter().enumerate() {
        let member = &tenant.member;
        let ring = RINGS[match number {
            0..20 => 0,
            20..100 => 1,
            100..500 => 2,
            _ => 3,
        }];
        if granted.contains_key(member.uid.as_str()) || member.under_way.is_some() {
            *flying.entry(ring).or_default() += 1;
        }
        let has = member.under_way.as_ref().is_some_and(|way| way.to == RELEASE)
            || member.runs.as_deref() == Some(RELEASE);
        if has && !seen.contains_key(&member.name) {
            seen.insert(member.name.clone(), number);
            let before = RINGS
                .iter()
                .position(|name| *name == ring)
                .unwrap()
                .checked_sub(1);
            if let Some(before) = before {
                let soak = [0, 30 * 60, HOUR, 2 * HOUR][before + 1];
                let was = verified.get(RINGS[before]).copied();
                let was = was.unwrap_or_else(|| panic!("{} has it before {}", member.name, RINGS[before]));
                assert!(
                    world.now >= was + SignedDuration::from_secs(soak),
                    "{} has it early",
                    member.name
                );
            }
            assert_ne!(number % 50, 13, "{} sleeps", member.name);
            assert_ne!(number % 50, 17, "{} does not serve", member.name);
        }
    }
    // 5 % of those that take part, 20, and a tenth of the small ones.
    let most = |ring: &str| match ring {
        "dev" => 2,
        "qe" => 8,
        "early" => 20,
        _ => 225,
    };
    for (ring, number) in flying {
        assert!(number <= most(ring), "{number} of {ring} at {}", world.now);
    }
    assert!(status.grants.len() <= 250);
    for ring in &status.rings {
        if ring.stable.as_deref() == Some(RELEASE) {
            let place = RINGS.iter().find(|name| **name == ring.name).unwrap();
            verified.entry(place).or_insert(ring.verified[0].at.0);
        }
    }
}

#[test]
fn five_thousand_tenants_get_a_release_within_every_limit_whoever_is_killed() {
    {
        let seed = 20_270_115;
        println!("seed {seed}");
        let mut world = fleet();
        // One tenant in five hundred is bad.
        world.fate = Box::new(|name, _| {
            if name.ends_with("123") {
                Fate::Fails
            } else {
                Fate::Well
            }
        });
        world.publish("1.1.0");
        let (mut verified, mut seen) = (BTreeMap::new(), BTreeMap::new());
        for (end, chaos) in [(48, Some(seed)), (72, None)] {
            world.chaos = chaos;
            loop {
                let goes_on = world.go(at(end * HOUR));
                check(&world, &mut verified, &mut seen);
                if !goes_on {
                    break;
                }
            }
        }
        for name in RINGS {
            let ring = world.ring(name);
            println!(
                "{name}: {:?}, {} of {} have it, {} failed, {} apart, {} wait",
                ring.phase, ring.current, ring.tenants, ring.failed, ring.apart, ring.waiting
            );
            assert_eq!(ring.phase, RingPhase::Verified, "{}", ring.message);
            assert_eq!(ring.current + ring.failed + ring.apart, ring.tenants, "{ring:?}");
            assert_eq!((ring.in_flight, ring.waiting), (0, 0));
        }
        assert_eq!(world.grants(), []);
        let writes = world.writes;
        world.until(at(100 * HOUR));
        assert_eq!(world.writes, writes, "then it is quiet");
    }
}

#[test]
fn a_ring_takes_no_longer_than_its_pace_allows() {
    const TENANTS: usize = 1000;
    let mut world =
        World::new(&json!([{"name": "all", "canary": 1}])).with(TENANTS, Environment::Production, "1.0.0");
    world.publish("1.0.0");
    world.until(at(60));
    world.publish("1.1.0");
    let begin = world.now;
    while world.run("1.1.0") < TENANTS {
        assert!(world.go(at(1000 * HOUR)));
    }
    // As many at once as run it already, a tenth at most, five minutes each.
    let (mut current, mut rounds) = (0, 0);
    while current < TENANTS {
        current += current.clamp(1, TENANTS / 10);
        rounds += 1;
    }
    let least = f64::from(rounds) * 300.0;
    let took = world.now.duration_since(begin).as_secs_f64();
    println!(
        "{took} s, {least} s at the least: {:.2} % more",
        (took / least - 1.0) * 100.0
    );
    assert!(took <= least * 1.01);
}
