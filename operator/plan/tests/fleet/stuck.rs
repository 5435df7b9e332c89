//! An upgrade that is stuck has failed: it halts what it must, and is in nobody's way.

use freehold_crds::RingPhase;
use serde_json::json;

use crate::world::{Fate, World, at};

const HOUR: i64 = 3600;
const WHY: &str = "Smoke: it did not answer; it can't be undone";

#[test]
fn a_canary_that_is_stuck_halts_the_release() {
    let mut world = World::one(20, &json!({"name": "all"}));
    world.fate = Box::new(|_, _| Fate::Sticks);
    world.publish("1.1.0");
    world.until(at(12 * HOUR));
    let ring = world.ring("all");
    assert_eq!((ring.phase, ring.failed), (RingPhase::Halted, 1), "{ring:#?}");
    assert_eq!(ring.failures[0].message, WHY);
    assert_eq!(world.touched["board-1.1.0"].len(), 1);
    world.rest(24 * HOUR);

    // The one that mends it comes to the others, whether somebody has mended that tenant by then or not.
    world.fate = Box::new(|_, _| Fate::Well);
    world.publish("1.1.1");
    world.until(at(48 * HOUR));
    assert_eq!(world.run("1.1.1"), 19, "{:#?}", world.ring("all"));
    assert_eq!(world.phase("all"), RingPhase::Verified);
    world.rest(60 * HOUR);
}

#[test]
fn those_that_are_stuck_count_at_the_threshold() {
    let mut world = World::one(
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
    world.rest(48 * HOUR);
}

#[test]
fn one_that_is_stuck_below_the_threshold_holds_up_nobody() {
    let mut world = World::one(
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
    world.rest(48 * HOUR);
}
