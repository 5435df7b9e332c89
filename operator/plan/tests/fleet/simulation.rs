//! Five thousand tenants in four rings, an operator that is killed around its writes, and everybody sees late: the limits hold at every
//! single write, everybody arrives, what broke goes back, and then it is quiet.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use freehold_crds::{Environment, Grant, GrantKind, ReleaseChannelStatus, RingPhase};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::world::{Fate, Tenant, Window, World, at};

const HOUR: i64 = 3600;
const RINGS: [&str; 4] = ["dev", "qe", "early", "production"];
/// Seconds between the verification in the ring before and the first one here.
const SOAKS: [i64; 4] = [0, 30 * 60, HOUR, 2 * HOUR];
const CANARIES: [usize; 4] = [1, 1, 3, 5];
/// A tenth of the small ones, 20, and 5 % of those that take part.
const AT_ONCE: [usize; 4] = [2, 8, 20, 225];

/// The ring of a tenant, by its place in that list.
fn ring(number: usize) -> usize {
    match number {
        0..20 => 0,
        20..100 => 1,
        100..500 => 2,
        _ => 3,
    }
}

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

/// From which second of the day those have four hours that have no rule.
fn nightly(number: usize) -> i64 {
    i64::try_from(number).unwrap() * 37 % 24 * HOUR
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
            11 => world.tenant(number).window = Window::Daily(nightly(number)),
            13 => world.sleep(number),
            17 => world.tenant(number).member.down_since = Some(at(0)),
            _ => {}
        }
    }
    world.publish("1.0.0");
    world.until(at(8 * HOUR));
    world
}

/// What was seen of all writes so far.
#[derive(Default)]
struct Watch {
    /// When a ring has first verified a release.
    verified: BTreeMap<(usize, String), Timestamp>,
    /// Those that were given leave to go back.
    back: BTreeSet<usize>,
}

impl Watch {
    /// What must hold at every write, whatever happened before it.
    fn check(&mut self, world: &World, before: &[Grant]) {
        let status = world.channel.status.as_ref().unwrap();
        assert!(status.grants.len() <= 250);
        let granted: BTreeMap<&str, &Grant> = status
            .grants
            .iter()
            .map(|grant| (grant.uid.as_str(), grant))
            .collect();
        assert_eq!(granted.len(), status.grants.len(), "one for each tenant");
        let is_new = |grant: &&Grant| {
            let mut before = before.iter();
            let is_it = |other: &Grant| {
                (&other.uid, &other.at, &other.release) == (&grant.uid, &grant.at, &grant.release)
            };
            !before.any(is_it)
        };
        for grant in status.grants.iter().filter(is_new) {
            let number: usize = grant.tenant[1..].parse().unwrap();
            let tenant = &world.tenants[number];
            assert_eq!(grant.ring, RINGS[ring(number)]);
            assert_eq!(grant.withdrawn, None);
            match grant.kind {
                GrantKind::Wave => self.forwards(world, status, grant, number, tenant),
                GrantKind::RollBack => self.backwards(world, status, grant, number, tenant),
                GrantKind::Emergency => panic!("nobody asked for one"),
            }
        }
        // By what tenants really do: whoever has begun counts, whatever is known of them.
        let mut flying = [0; 4];
        for (number, tenant) in world.tenants.iter().enumerate() {
            let grant = granted.get(tenant.member.uid.as_str());
            let goes_back = grant.is_some_and(|grant| grant.kind == GrantKind::RollBack);
            if !goes_back && (grant.is_some() || tenant.member.under_way.is_some()) {
                flying[ring(number)] += 1;
            }
        }
        for (place, number) in flying.into_iter().enumerate() {
            assert!(
                number <= AT_ONCE[place],
                "{number} of {} at {}",
                RINGS[place],
                world.now
            );
        }
        for (place, ring) in status.rings.iter().enumerate() {
            for it in &ring.verified {
                self.verified
                    .entry((place, it.release.clone()))
                    .or_insert(world.now);
            }
        }
    }

    /// What a tenant may be asked for at this instant.
    fn forwards(
        &self,
        world: &World,
        status: &ReleaseChannelStatus,
        grant: &Grant,
        number: usize,
        tenant: &Tenant,
    ) {
        let (name, now, member) = (&grant.tenant, world.now, &tenant.member);
        let place = ring(number);
        let ring = &status.rings[place];
        assert_eq!(ring.release.as_ref(), Some(&grant.release), "{name}");
        let is_halted = ring.halted.iter().any(|halt| halt.release == grant.release);
        assert!(!is_halted, "{name} of a ring that is halted");
        if let Some(earlier) = place.checked_sub(1) {
            let verified = self.verified.get(&(earlier, grant.release.clone()));
            let verified = verified.unwrap_or_else(|| panic!("{name} before {}", RINGS[earlier]));
            let soaked = *verified + SignedDuration::from_secs(SOAKS[place]);
            assert!(now >= soaked, "{name} at {now}, before {soaked}");
        }
        let canary = ring.canaries.contains(&grant.uid);
        assert!(
            canary || ring.phase != RingPhase::Canary,
            "{name} before the canary"
        );
        let flies = usize::try_from(ring.in_flight).unwrap();
        let current = usize::try_from(ring.current).unwrap();
        assert!(
            flies <= AT_ONCE[place].min(CANARIES[place].max(current)),
            "{ring:?}"
        );
        assert!(
            window(number).is_none_or(|window| is_open(window, now)),
            "{name} at {now}, outside of its window"
        );
        let into = (now.as_second() - nightly(number)).rem_euclid(24 * HOUR);
        assert!(number % 50 != 11 || into < 4 * HOUR, "{name} at {now}, by day");
        assert_ne!(number % 50, 13, "{name} sleeps");
        assert_ne!(number % 50, 17, "{name} does not serve");
        assert!(
            member.runs.as_ref().is_some_and(|runs| *runs < grant.release),
            "{member:?}"
        );
        assert_eq!(member.under_way, None, "{name}");
        assert!(!member.failed.contains_key(&grant.release), "{member:?}");
    }

    /// What it may be asked to go back to.
    fn backwards(
        &mut self,
        world: &World,
        status: &ReleaseChannelStatus,
        grant: &Grant,
        number: usize,
        tenant: &Tenant,
    ) {
        let member = &tenant.member;
        let came = member.came.as_ref().unwrap();
        let ring = &status.rings[ring(number)];
        assert!(ring.halted.iter().any(|halt| halt.release == came.to), "{ring:?}");
        assert_eq!(grant.release, came.from, "{member:?}");
        let down = member.down_since.unwrap();
        assert!(world.now >= down + SignedDuration::from_mins(2), "{member:?}");
        self.back.insert(number);
    }
}

/// On until an instant or until nothing happens any more: for two days whoever decides is killed all the time, then no more.
fn disturbed(world: &mut World, hours: i64, seed: u64) {
    let begin = world.now;
    for (end, chaos) in [(hours, Some(seed)), (hours + 24, None)] {
        world.chaos = chaos;
        world.see();
        while world.go(begin + SignedDuration::from_hours(end)) {}
    }
}

/// The first release fails one tenant in a thousand, and comes to all others. The second one breaks tenants minutes after it came, from the third ring on.
#[test]
fn five_thousand_tenants_get_a_release_within_every_limit_whoever_is_killed() {
    let seed = 20_270_115;
    println!("seed {seed}");
    let mut world = fleet();
    let watch = Rc::new(RefCell::new(Watch::default()));
    let of_world = watch.clone();
    world.witness = Some(Box::new(move |world, before| {
        of_world.borrow_mut().check(world, before)
    }));
    world.fate = Box::new(|name, release| {
        let number: usize = name[1..].parse().unwrap();
        match release {
            "board-1.1.0" if number % 1000 == 123 => Fate::Fails,
            "board-1.2.0" if number >= 100 && number % 10 == 6 => Fate::Breaks,
            _ => Fate::Well,
        }
    });
    world.publish("1.1.0");
    disturbed(&mut world, 48, seed);
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
    assert_eq!(watch.borrow().back.len(), 0);
    let writes = world.writes;
    world.until(world.now + SignedDuration::from_hours(24));
    assert_eq!(world.writes, writes, "then it is quiet");

    world.publish("1.2.0");
    disturbed(&mut world, 24, seed + 1);
    let touched = &world.touched["board-1.2.0"];
    let broke = |number: &usize| *number >= 100 && number % 10 == 6;
    let numbers: BTreeSet<usize> = touched.iter().map(|name| name[1..].parse().unwrap()).collect();
    let broken: BTreeSet<usize> = numbers.iter().copied().filter(broke).collect();
    println!(
        "{} tenants had 1.2.0, {} of them broke and went back",
        numbers.len(),
        broken.len()
    );
    assert_eq!(world.phase("early"), RingPhase::Halted);
    assert!(
        numbers.iter().all(|number| ring(*number) < 3),
        "nobody of production"
    );
    assert!(broken.len() > 1);
    assert_eq!(watch.borrow().back, broken, "they go back, and nobody else");
    for number in broken {
        let member = &world.tenants[number].member;
        assert_eq!(
            (member.runs.as_deref(), member.down_since),
            (Some("board-1.1.0"), None)
        );
    }
    assert_eq!(world.grants(), []);
    let touched = world.touched.clone();
    world.until(world.now + SignedDuration::from_hours(24));
    assert_eq!(
        (world.grants(), world.touched),
        (vec![], touched),
        "nobody gets anything more"
    );
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
