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

/// Windows of an hour in Berlin: at night on Sundays, in the first of which the clocks go from two to three; and one each night at a time that
/// they leave out then, where it is reckoned by the offset before (RFC 5545, 3.3.5). With each when it is open in the days that are simulated, by the calendar.
const WINDOWS: [(&str, &[&str]); 5] = [
    (
        "FREQ=WEEKLY;BYDAY=SU;BYHOUR=0;BYMINUTE=0;BYSECOND=0",
        &["2027-03-27T23:00:00Z"],
    ),
    (
        "FREQ=WEEKLY;BYDAY=SU;BYHOUR=1;BYMINUTE=0;BYSECOND=0",
        &["2027-03-28T00:00:00Z"],
    ),
    (
        "FREQ=WEEKLY;BYDAY=SU;BYHOUR=3;BYMINUTE=0;BYSECOND=0",
        &["2027-03-28T01:00:00Z"],
    ),
    (
        "FREQ=WEEKLY;BYDAY=SU;BYHOUR=4;BYMINUTE=0;BYSECOND=0",
        &["2027-03-28T02:00:00Z"],
    ),
    (
        "FREQ=DAILY;BYHOUR=2;BYMINUTE=30;BYSECOND=0",
        &[
            "2027-03-27T01:30:00Z",
            "2027-03-28T01:30:00Z",
            "2027-03-29T00:30:00Z",
        ],
    ),
];

/// Which of [`WINDOWS`] a tenant has.
fn window(number: usize) -> Option<usize> {
    (number % 50 == 7).then_some(number / 50 % WINDOWS.len())
}

/// Whether one of [`WINDOWS`] is open.
fn is_open(window: usize, now: Timestamp) -> bool {
    WINDOWS[window].1.iter().any(|begin| {
        let begin: Timestamp = begin.parse().unwrap();
        (begin..begin + SignedDuration::from_hours(1)).contains(&now)
    })
}

fn fleet() -> World {
    let mut world = World::new(&rings())
        .with(20, Environment::Development, "1.0.0")
        .with(80, Environment::Testing, "1.0.0")
        .with(400, Environment::Staging, "1.0.0")
        .with(4_500, Environment::Production, "1.0.0");
    // Fewer instants, or it takes minutes.
    world.grid = 300;
    world.rules = WINDOWS
        .map(|(rule, _)| {
            let rule = json!({"rule": rule, "timeZone": "Europe/Berlin", "duration": "1h"});
            serde_json::from_value(rule).unwrap()
        })
        .into();
    for number in 0..world.tenants.len() {
        let spread = i64::try_from(number).unwrap();
        world.tenant(number).long = SignedDuration::from_mins(3 + spread % 12);
        if let Some(rule) = window(number) {
            world.tenant(number).window = Window::Rule(rule);
        }
        match number % 50 {
            11 => world.tenant(number).window = Window::Daily((spread * 37 % 24) * HOUR),
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
            let open = window(number).is_none_or(|window| is_open(window, world.now));
            assert!(
                open,
                "{} begins at {}, outside of its window",
                member.name, world.now
            );
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
            world.see();
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
    const TENANTS: usize = 5000;
    // A tenth of them would be 500.
    const AT_ONCE: usize = 250;
    let mut world =
        World::new(&json!([{"name": "all", "canary": 1}])).with(TENANTS, Environment::Production, "1.0.0");
    world.publish("1.0.0");
    world.until(at(60));
    world.publish("1.1.0");
    let begin = world.now;
    while world.run("1.1.0") < TENANTS {
        assert!(world.go(at(1000 * HOUR)));
    }
    // As many at once as run it already, up to what a channel gives at one time, five minutes each.
    let (mut current, mut rounds) = (0, 0);
    while current < TENANTS {
        current += current.clamp(1, AT_ONCE);
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
