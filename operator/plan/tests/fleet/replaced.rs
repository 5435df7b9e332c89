//! A release that is published again with other contents comes to nobody as what it was.

use std::sync::Arc;

use freehold_crds::{Environment, Release, RingPhase};
use serde_json::{Value, json};

use crate::world::{World, at, release};

const HOUR: i64 = 3600;

/// Two rings: dev, and production an hour later; 1.1.0 is verified in dev and soaks.
fn world(production: usize) -> World {
    let mut world = World::new(&json!([
        {"name": "dev", "tenants": {"environments": ["Development"]}},
        {"name": "production", "soak": "1h"},
    ]))
    .with(1, Environment::Development, "1.0.0")
    .with(production, Environment::Production, "1.0.0");
    world.publish("1.0.0");
    world.until(at(2 * HOUR));
    world.publish("1.1.0");
    world.until(at(2 * HOUR + 600));
    assert_eq!(world.ring("dev").stable.as_deref(), Some("board-1.1.0"));
    world
}

fn put(world: &mut World, release: Release) {
    let name = release.metadata.name.clone().unwrap();
    world.releases.insert(name, Arc::new(release));
}

fn publish_again(world: &mut World, version: &str) {
    let mut moved = release(version);
    moved.spec.components[0].image = moved.spec.components[0].image.replace("@sha256:0", "@sha256:1");
    put(world, moved);
}

fn rest(world: &mut World, end: i64) {
    let writes = world.writes;
    world.until(at(end));
    assert_eq!(world.writes, writes, "at rest nothing is written");
}

#[test]
fn what_was_verified_is_not_what_was_published_again() {
    let mut world = world(3);
    publish_again(&mut world, "1.1.0");
    world.until(at(12 * HOUR));
    assert_eq!((world.run("1.1.0"), world.run("1.0.0")), (1, 3));
    let dev = world.ring("dev");
    assert_eq!(dev.phase, RingPhase::Halted);
    assert!(
        dev.message.contains(
            "board-1.1.0 was published again with other contents: publish what changed as a new version"
        ),
        "{}",
        dev.message
    );
    assert_eq!(
        dev.stable.as_deref(),
        Some("board-1.0.0"),
        "a new tenant gets the one before"
    );
    assert_eq!(world.ring("production").phase, RingPhase::Verified);
    let status = world.channel.status.clone().unwrap();
    let stalled = status.conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
    assert_eq!(
        (stalled.status.as_str(), stalled.reason.as_str()),
        ("True", "Halted")
    );
    rest(&mut world, 24 * HOUR);

    // Put back as it was it goes on, and its soak is over.
    world.publish("1.1.0");
    world.until(at(25 * HOUR));
    assert_eq!(world.run("1.1.0"), 4);
    assert_eq!(world.phase("production"), RingPhase::Verified);
}

#[test]
fn a_new_version_goes_through_as_always() {
    let mut world = world(3);
    publish_again(&mut world, "1.1.0");
    world.until(at(3 * HOUR));
    world.publish("1.1.1");
    world.until(at(6 * HOUR));
    assert_eq!(world.run("1.1.1"), 4);
    rest(&mut world, 12 * HOUR);
}

#[test]
fn a_wave_stops_in_the_middle() {
    let mut world = world(60);
    while world.run("1.1.0") < 10 {
        world.go(at(48 * HOUR));
    }
    let touched = world.touched["board-1.1.0"].len();
    publish_again(&mut world, "1.1.0");
    world.until(at(48 * HOUR));
    assert_eq!(world.touched["board-1.1.0"].len(), touched);
    assert_eq!(world.phase("production"), RingPhase::Halted);
    assert_eq!(world.grants(), []);
}

/// Between the one and the other nobody may have forgotten.
#[test]
fn one_that_was_deleted_in_between_is_another_all_the_same() {
    let mut world = world(3);
    world.releases.remove("board-1.1.0");
    world.until(at(2 * HOUR + 1200));
    publish_again(&mut world, "1.1.0");
    world.until(at(12 * HOUR));
    // It went back when its release was gone, and comes to no other one of that name.
    assert_eq!((world.run("1.1.0"), world.run("1.0.0")), (0, 4));
    assert_eq!(world.touched["board-1.1.0"].len(), 1);
    let message = world.ring("dev").message;
    assert!(
        message.contains("waits for another release: board-1.1.0 was published again"),
        "{message}"
    );
    rest(&mut world, 24 * HOUR);
}

#[test]
fn neither_by_name_nor_by_an_emergency_does_it_come() {
    let mut world = world(3);
    world.publish("1.2.0");
    world.until(at(8 * HOUR));
    assert_eq!(world.run("1.2.0"), 4);
    publish_again(&mut world, "1.1.0");
    world.spec(|spec| spec["rings"][1]["release"] = json!("board-1.1.0"));
    world.until(at(10 * HOUR));
    let message = world.ring("production").message;
    assert!(message.contains("board-1.1.0 was published again"), "{message}");
    world.spec(|spec| spec["emergency"] = json!({"release": "board-1.1.0", "reason": "a test"}));
    world.until(at(12 * HOUR));
    assert_eq!(world.run("1.2.0"), 4);
}

#[test]
fn a_tenant_that_has_another_of_that_name_proves_nothing_for_this_one() {
    let mut world = World::new(&json!([{"name": "all"}])).with(2, Environment::Production, "1.0.0");
    world.publish("1.0.0");
    world.tenant(0).member.digest = Some("another".into());
    world.until(at(HOUR));
    let ring = world.ring("all");
    assert_eq!((ring.current, ring.apart), (1, 1));
}

/// A status that an operator has written which knew of no digests.
#[test]
fn what_was_noted_without_a_digest_is_taken_as_it_is() {
    let mut world = world(3);
    world.until(at(6 * HOUR));
    let mut status: Value = serde_json::to_value(world.channel.status.clone().unwrap()).unwrap();
    let whole = status.clone();
    for ring in status["rings"].as_array_mut().unwrap() {
        ring.as_object_mut().unwrap().remove("digest");
        for verified in ring["verified"].as_array_mut().unwrap() {
            verified.as_object_mut().unwrap().remove("digest");
        }
    }
    assert_ne!(status, whole);
    world.channel.status = Some(serde_json::from_value(status).unwrap());
    world.until(at(7 * HOUR));
    assert_eq!(world.run("1.1.0"), 4);
    let now = serde_json::to_value(world.channel.status.clone().unwrap()).unwrap();
    assert_eq!(
        now["rings"], whole["rings"],
        "the digests are noted, and nothing else has changed"
    );
}
