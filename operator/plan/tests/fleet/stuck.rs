//! An upgrade that is stuck has failed: it halts what it must, and is in nobody's way.

use freehold_crds::{Environment, RingPhase};
use freehold_plan::fleet::member::Apart;
use serde_json::{Value, json};

use crate::world::{Fate, World, at};

const HOUR: i64 = 3600;
const WHY: &str = "Smoke: it did not answer; it can't be undone";

fn world(tenants: usize, ring: &Value) -> World {
    let mut world = World::new(&json!([ring])).with(tenants, Environment::Production, "1.0.0");
    world.publish("1.0.0");
    world.until(at(60));
    world
}

fn rest(world: &mut World, end: i64) {
    let writes = world.writes;
    world.until(at(end));
    assert_eq!(world.writes, writes, "at rest nothing is written");
}

#[test]
fn a_canary_that_is_stuck_halts_the_release() {
    let mut world = world(20, &json!({"name": "all"}));
    world.fate = Box::new(|_, _| Fate::Sticks);
    world.publish("1.1.0");
    world.until(at(12 * HOUR));
    let ring = world.ring("all");
    assert_eq!((ring.phase, ring.failed), (RingPhase::Halted, 1), "{ring:#?}");
    assert_eq!(ring.failures[0].message, WHY);
    assert_eq!(world.touched["board-1.1.0"].len(), 1);
    rest(&mut world, 24 * HOUR);

    // The one that mends it comes to the others, whether somebody has mended that tenant by then or not.
    world.fate = Box::new(|_, _| Fate::Well);
    world.publish("1.1.1");
    world.until(at(48 * HOUR));
    assert_eq!(world.run("1.1.1"), 19, "{:#?}", world.ring("all"));
    assert_eq!(world.phase("all"), RingPhase::Verified);
    rest(&mut world, 60 * HOUR);
}

#[test]
fn those_that_are_stuck_count_at_the_threshold() {
    let mut world = world(
        100,
        &json!({"name": "all", "failureThreshold": 2, "maxConcurrent": "50%"}),
    );
    let well = std::sync::Mutex::new(Vec::<String>::new());
    world.fate = Box::new(move |name, _| {
        let mut well = well.lock().unwrap();
        if well.len() < 4 {
            well.push(name.to_owned());
        }
        if well.iter().any(|it| it == name) {
            Fate::Well
        } else {
            Fate::Sticks
        }
    });
    world.publish("1.1.0");
    world.until(at(24 * HOUR));
    let ring = world.ring("all");
    assert_eq!((ring.phase, ring.in_flight), (RingPhase::Halted, 0), "{ring:#?}");
    assert_eq!(
        world.touched["board-1.1.0"].len(),
        8,
        "the third four are the last"
    );
    rest(&mut world, 48 * HOUR);
}

#[test]
fn one_that_is_stuck_below_the_threshold_holds_up_nobody() {
    let mut world = world(
        10,
        &json!({"name": "all", "failureThreshold": 2, "maxConcurrent": 1}),
    );
    let tried = std::sync::Mutex::new(Vec::<String>::new());
    // The third one.
    world.fate = Box::new(move |name, _| {
        let mut tried = tried.lock().unwrap();
        tried.push(name.to_owned());
        if tried.len() == 3 {
            Fate::Sticks
        } else {
            Fate::Well
        }
    });
    world.publish("1.1.0");
    world.until(at(24 * HOUR));
    let ring = world.ring("all");
    assert_eq!(
        (ring.phase, ring.current, ring.failed, ring.in_flight),
        (RingPhase::Verified, 9, 1, 0),
        "{ring:#?}"
    );
    rest(&mut world, 48 * HOUR);
}

#[test]
fn who_lacks_what_an_upgrade_needs_is_in_nobody_s_way_and_gets_it_later() {
    let mut world = world(20, &json!({"name": "all"}));
    for number in [3, 4] {
        world.tenant(number).member.unfit = true;
    }
    world.publish("1.1.0");
    world.until(at(12 * HOUR));
    let ring = world.ring("all");
    assert_eq!(
        (ring.phase, ring.current, ring.apart, ring.failed),
        (RingPhase::Verified, 18, 2, 0),
        "{ring:#?}"
    );
    rest(&mut world, 24 * HOUR);
    for number in [3, 4] {
        world.tenant(number).member.unfit = false;
    }
    world.until(at(25 * HOUR));
    assert_eq!(world.run("1.1.0"), 20);
}

#[test]
fn nothing_is_verified_by_tenants_that_are_not_well() {
    let mut world = world(2, &json!({"name": "all"}));
    world.tenant(0).member.unfit = true;
    world.tenant(1).member.down_since = Some(at(0));
    world.publish("1.1.0");
    world.until(at(12 * HOUR));
    let ring = world.ring("all");
    assert_eq!(
        (ring.phase, ring.message.as_str()),
        (
            RingPhase::Rolling,
            "board-1.1.0 waits for a tenant that is well: all 2 are set apart"
        )
    );
    rest(&mut world, 24 * HOUR);
    world.tenant(0).member.unfit = false;
    world.until(at(25 * HOUR));
    assert_eq!(world.phase("all"), RingPhase::Verified);
    // Those that are kept from it on purpose hold up nobody.
    world.tenant(0).member.apart = Some(Apart::Pinned);
    world.tenant(1).member.apart = Some(Apart::Asleep);
    world.publish("1.1.1");
    world.until(at(26 * HOUR));
    assert_eq!(world.ring("all").stable.as_deref(), Some("board-1.1.1"));
}

/// A tenant of dev goes down ten minutes after the release was verified there, when it is in the middle of production.
#[test]
fn what_is_halted_in_an_earlier_ring_comes_to_nobody_else_in_a_later_one() {
    let rings = json!([
        {"name": "dev", "tenants": {"environments": ["Development"]}},
        {"name": "production", "tenants": {"environments": ["Production"]}, "soak": "1s", "maxConcurrent": 1},
        {"name": "last", "soak": "1s"},
    ]);
    let mut world = World::new(&rings)
        .with(1, Environment::Development, "1.0.0")
        .with(20, Environment::Production, "1.0.0");
    world.publish("1.0.0");
    world.until(at(HOUR));
    world.fate = Box::new(|name, release| match (name, release) {
        ("t00000", "board-1.1.0") => Fate::Breaks,
        _ => Fate::Well,
    });
    world.publish("1.1.0");
    world.until(at(12 * HOUR));
    assert_eq!(world.phase("dev"), RingPhase::Halted);
    let ring = world.ring("production");
    assert_eq!(
        (ring.phase, ring.message.as_str()),
        (
            RingPhase::Paused,
            "board-1.1.0 is halted in the ring dev: it failed for t00000 of the canary: it does not serve its users any more"
        )
    );
    let some = world.touched["board-1.1.0"].len();
    assert!((2..10).contains(&some), "{some}");
    assert_eq!(
        ring.stable.as_deref(),
        Some("board-1.0.0"),
        "what new tenants get"
    );
    rest(&mut world, 24 * HOUR);

    world.fate = Box::new(|_, _| Fate::Well);
    world.spec(|spec| spec["rings"][0]["resume"] = json!("it-was-the-node"));
    world.until(at(36 * HOUR));
    assert_eq!(
        world.touched["board-1.1.0"].len(),
        21,
        "{:#?}",
        world.channel.status
    );
    assert_eq!(world.phase("production"), RingPhase::Verified);
}

/// What most lack is likely the platform's fault: what the few say that have it proves little.
#[test]
fn a_fault_that_most_have_verifies_nothing() {
    let mut world = world(20, &json!({"name": "all", "maxConcurrent": 1}));
    world.publish("1.1.0");
    while world.run("1.1.0") < 3 {
        assert!(world.go(at(12 * HOUR)));
    }
    for number in 0..20 {
        let member = &mut world.tenant(number).member;
        member.unfit = member.runs.as_deref() != Some("board-1.1.0");
    }
    world.until(at(12 * HOUR));
    let ring = world.ring("all");
    assert_eq!(ring.phase, RingPhase::Rolling);
    assert!(ring.message.ends_with("lack what an upgrade needs"), "{ring:#?}");
    for number in 0..20 {
        world.tenant(number).member.unfit = false;
    }
    world.until(at(24 * HOUR));
    assert_eq!(
        (world.phase("all"), world.run("1.1.0")),
        (RingPhase::Verified, 20)
    );
    // What was verified stays so, whatever befalls its tenants.
    for number in 0..20 {
        let member = &mut world.tenant(number).member;
        (member.runs, member.came) = (None, None);
    }
    world.until(at(25 * HOUR));
    assert_eq!(world.phase("all"), RingPhase::Verified);
}

#[test]
fn what_waits_too_long_in_the_middle_is_neither_a_failure_nor_in_the_way() {
    let mut world = world(20, &json!({"name": "all"}));
    world.publish("1.1.0");
    // Its upgrade never ends.
    world.tenant(5).long = jiff::SignedDuration::from_hours(1000);
    world.until(at(12 * HOUR));
    assert_ne!(world.phase("all"), RingPhase::Verified);
    world.tenant(5).member.unfit = true;
    world.until(at(24 * HOUR));
    let ring = world.ring("all");
    assert_eq!(
        (ring.phase, ring.current, ring.apart, ring.failed, ring.in_flight),
        (RingPhase::Verified, 19, 1, 0, 0),
        "{ring:#?}"
    );
}

/// Tenants that wait for their first release have none that could be tried.
#[test]
fn a_first_release_is_verified_by_those_that_have_it() {
    let mut world = World::new(&json!([{"name": "all"}])).with(2, Environment::Production, "1.0.0");
    for number in [0, 1] {
        let member = &mut world.tenant(number).member;
        (member.runs, member.apart) = (None, Some(Apart::Invalid));
    }
    world.publish("1.0.0");
    world.until(at(HOUR));
    let ring = world.ring("all");
    assert_eq!((ring.phase, ring.stable), (RingPhase::Rolling, None));
    assert_eq!(ring.release.as_deref(), Some("board-1.0.0"));
    for number in [0, 1] {
        let member = &mut world.tenant(number).member;
        (member.runs, member.apart) = (Some("board-1.0.0".into()), None);
    }
    world.until(at(2 * HOUR));
    assert_eq!(world.phase("all"), RingPhase::Verified);
}
