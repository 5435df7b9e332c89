//! An emergency comes everywhere and stays, or the channel says why it doesn't.

use freehold_crds::{Environment, RingPhase};
use serde_json::{Value, json};

use crate::world::{Fate, World, at};

const HOUR: i64 = 3600;

/// Two rings, both at 1.1.0, which is verified.
fn world() -> World {
    let mut world = World::new(&json!([
        {"name": "dev", "tenants": {"environments": ["Development"]}},
        {"name": "production", "soak": "1h"},
    ]))
    .with(1, Environment::Development, "1.1.0")
    .with(3, Environment::Production, "1.1.0");
    world.publish("1.1.0");
    world.until(at(2 * HOUR));
    assert_eq!(world.phase("production"), RingPhase::Verified);
    world
}

fn ask(world: &mut World, version: &str) {
    let emergency = json!({"release": format!("board-{version}"), "reason": "a hole"});
    world.spec(|spec| spec["emergency"] = emergency);
}

fn condition(world: &World, kind: &str) -> (String, String, String) {
    let conditions = world.channel.status.clone().unwrap().conditions;
    let found = conditions.into_iter().find(|found| found.type_ == kind).unwrap();
    (found.status, found.reason, found.message)
}

fn recorded(world: &World) -> Vec<String> {
    let status = world.channel.status.clone().unwrap();
    status
        .emergencies
        .into_iter()
        .map(|record| record.release)
        .collect()
}

/// It is refused, for this reason, and nobody's use of it is on record.
fn is_refused(world: &mut World, why: &str) {
    let end = world.now.as_second() - at(0).as_second() + 12 * HOUR;
    world.until(at(end));
    let (status, reason, message) = condition(world, "Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "EmergencyRefused"));
    assert!(message.contains(why), "{message}");
    assert_eq!(condition(world, "Ready").1, "EmergencyRefused");
    let writes = world.writes;
    world.until(at(end + 12 * HOUR));
    assert_eq!(world.writes, writes, "at rest nothing is written");
}

#[test]
fn one_that_can_not_come_says_so_and_is_not_recorded() {
    let mut missing = world();
    ask(&mut missing, "1.1.1");
    is_refused(
        &mut missing,
        "into the ring dev: the Release board-1.1.1 does not exist, or is of another product",
    );
    assert_eq!(recorded(&missing), [] as [&str; 0]);
    // As soon as it is there it comes, and is recorded.
    missing.publish("1.1.1");
    missing.until(at(28 * HOUR));
    assert_eq!(missing.run("1.1.1"), 4);
    assert_eq!(recorded(&missing), ["board-1.1.1"]);
    assert_eq!(condition(&missing, "Stalled").0, "False");

    let mut recalled = world();
    recalled.recall("1.1.1");
    ask(&mut recalled, "1.1.1");
    is_refused(&mut recalled, "board-1.1.1 was recalled: a test");
    assert_eq!(recorded(&recalled), [] as [&str; 0]);

    let mut preview = world();
    preview.publish("1.1.1-rc.1");
    ask(&mut preview, "1.1.1-rc.1");
    is_refused(
        &mut preview,
        "into the ring production: board-1.1.1-rc.1 is a pre-release",
    );
    assert_eq!((preview.run("1.1.1-rc.1"), preview.run("1.1.0")), (1, 3));
    assert_eq!(recorded(&preview), ["board-1.1.1-rc.1"], "dev has it");
}

#[test]
fn one_that_was_halted_before_says_so() {
    let mut world = world();
    world.fate = Box::new(|_, release| match release {
        "board-1.1.1" => Fate::Fails,
        _ => Fate::Well,
    });
    world.publish("1.1.1");
    world.until(at(3 * HOUR));
    assert_eq!(world.phase("dev"), RingPhase::Halted);
    world.publish("1.1.2");
    world.until(at(8 * HOUR));
    assert_eq!(world.run("1.1.2"), 4);
    // That is past, in every ring.
    ask(&mut world, "1.1.1");
    world.until(at(9 * HOUR));
    assert_eq!(condition(&world, "Stalled").0, "False");
    assert_eq!(recorded(&world), [] as [&str; 0]);
    world.spec(|spec| spec["emergency"] = Value::Null);
    world.publish("1.1.3");
    world.fate = Box::new(|_, _| Fate::Fails);
    world.until(at(10 * HOUR));
    world.spec(|spec| spec["rings"][1]["autoPromote"] = json!(false));
    ask(&mut world, "1.1.3");
    is_refused(
        &mut world,
        "into the ring dev: board-1.1.3 is halted there: it failed for",
    );
}

#[test]
fn a_ring_whose_spec_names_an_older_one_keeps_it_while_it_stands() {
    let mut world = world();
    world.spec(|spec| spec["rings"][1]["release"] = json!("board-1.1.0"));
    world.publish("1.1.1");
    ask(&mut world, "1.1.1");
    world.until(at(12 * HOUR));
    assert_eq!(world.run("1.1.1"), 4, "{:#?}", world.channel.status);
    let ring = world.ring("production");
    assert_eq!(ring.phase, RingPhase::Verified);
    assert!(
        ring.message
            .contains("waits for another release than board-1.1.0, which is older than the emergency's"),
        "{}",
        ring.message
    );
    assert!(!world.touched.contains_key("board-1.1.0"), "nobody has gone back");
    let writes = world.writes;
    world.until(at(24 * HOUR));
    assert_eq!(world.writes, writes, "at rest nothing is written");

    // A newer one that is named comes by the usual way, and an older one comes back to the emergency's.
    world.publish("1.2.0");
    world.until(at(30 * HOUR));
    assert_eq!((world.run("1.2.0"), world.run("1.1.1")), (1, 3));
    world.spec(|spec| spec["rings"][1]["release"] = json!("board-1.2.0"));
    world.until(at(36 * HOUR));
    assert_eq!(world.run("1.2.0"), 4);
    world.spec(|spec| spec["rings"][1]["release"] = json!("board-1.1.0"));
    world.until(at(42 * HOUR));
    assert_eq!((world.run("1.2.0"), world.run("1.1.1")), (1, 3));

    // Without an emergency the spec's word is all there is.
    world.spec(|spec| spec["emergency"] = Value::Null);
    world.until(at(48 * HOUR));
    assert_eq!((world.run("1.2.0"), world.run("1.1.0")), (1, 3));
}
