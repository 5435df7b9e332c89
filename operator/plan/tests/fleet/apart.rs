//! Who takes no part: set apart, counted, in nobody's way; and what proves nothing without them.

use freehold_crds::{Environment, RingPhase};
use freehold_plan::fleet::member::Apart;
use serde_json::json;

use crate::world::{World, at};

const HOUR: i64 = 3600;

#[test]
fn who_lacks_what_an_upgrade_needs_is_in_nobody_s_way_and_gets_it_later() {
    let mut world = World::one(20, &json!({"name": "all"}));
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
    world.rest(24 * HOUR);
    for number in [3, 4] {
        world.tenant(number).member.unfit = false;
    }
    world.until(at(25 * HOUR));
    assert_eq!(world.run("1.1.0"), 20);
}

#[test]
fn nothing_is_verified_by_tenants_that_are_not_well() {
    let mut world = World::one(2, &json!({"name": "all"}));
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
    world.rest(24 * HOUR);
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

/// What most lack is likely the platform's fault: what the few say that have it proves little.
#[test]
fn a_fault_that_most_have_verifies_nothing() {
    let mut world = World::one(20, &json!({"name": "all", "maxConcurrent": 1}));
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
    let mut world = World::one(20, &json!({"name": "all"}));
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

/// A fleet comes to a channel as it is, with one tenant that doesn't serve and one whose installation never ends.
#[test]
fn one_bad_tenant_does_not_keep_the_first_release_from_being_verified() {
    let mut world = World::new(&json!([{"name": "all"}])).with(5, Environment::Production, "1.0.0");
    let down = &mut world.tenant(0).member;
    (down.runs, down.down_since) = (None, Some(at(-HOUR)));
    world.tenant(1).member.runs = None;
    world.publish("1.0.0");
    world.until(at(HOUR - 1));
    assert_eq!(world.ring("all").stable, None, "one may still be installed");
    world.until(at(2 * HOUR));
    let ring = world.ring("all");
    assert_eq!(
        (ring.phase, ring.current, ring.apart),
        (RingPhase::Verified, 3, 2),
        "{ring:#?}"
    );
    world.rest(24 * HOUR);
    world.publish("1.1.0");
    world.until(at(36 * HOUR));
    assert_eq!((world.phase("all"), world.run("1.1.0")), (RingPhase::Verified, 3));
}

#[test]
fn a_first_release_that_most_can_not_install_is_not_verified_by_the_others() {
    let mut world = World::new(&json!([{"name": "all"}])).with(5, Environment::Production, "1.0.0");
    for number in 0..3 {
        world.tenant(number).member.runs = None;
    }
    world.publish("1.0.0");
    world.until(at(24 * HOUR));
    let ring = world.ring("all");
    assert_eq!((ring.phase, ring.stable), (RingPhase::Rolling, None));
    assert!(
        ring.message
            .ends_with("; 3 have been installing it for over an hour"),
        "{}",
        ring.message
    );
    world.tenant(0).member.runs = Some("board-1.0.0".into());
    world.until(at(25 * HOUR));
    assert_eq!(world.phase("all"), RingPhase::Verified);
}
