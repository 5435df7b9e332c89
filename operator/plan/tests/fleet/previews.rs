//! A pre-release comes only where things are tried out, whoever asks for it.

use freehold_crds::{Environment, RingPhase};
use serde_json::json;

use crate::world::{World, at};

const HOUR: i64 = 3600;

/// Three rings; 1.1.0-rc.1 is verified in the first two.
fn world() -> World {
    let mut world = World::new(&json!([
        {"name": "dev", "tenants": {"environments": ["Development"]}},
        {"name": "qe", "tenants": {"environments": ["Testing"]}, "soak": "1s"},
        {"name": "production", "soak": "1s"},
    ]))
    .with(1, Environment::Development, "1.0.0")
    .with(1, Environment::Testing, "1.0.0")
    .with(2, Environment::Production, "1.0.0");
    world.publish("1.0.0");
    world.until(at(HOUR));
    world.publish("1.1.0-rc.1");
    world.until(at(2 * HOUR));
    assert_eq!((world.run("1.1.0-rc.1"), world.run("1.0.0")), (2, 2));
    world
}

fn stalled(world: &World) -> (String, String, String) {
    let conditions = world.channel.status.clone().unwrap().conditions;
    let found = conditions
        .into_iter()
        .find(|found| found.type_ == "Stalled")
        .unwrap();
    (found.status, found.reason, found.message)
}

#[test]
fn a_ring_that_is_for_more_than_trials_refuses_one_that_its_spec_names() {
    let mut world = world();
    assert_eq!(stalled(&world).0, "False");
    world.spec(|spec| spec["rings"][2]["release"] = json!("board-1.1.0-rc.1"));
    world.until(at(12 * HOUR));
    assert_eq!((world.run("1.1.0-rc.1"), world.run("1.0.0")), (2, 2));
    let ring = world.ring("production");
    assert_eq!(
        (ring.phase, ring.stable.as_deref()),
        (RingPhase::Verified, Some("board-1.0.0"))
    );
    assert!(
        ring.message.contains("board-1.1.0-rc.1 is a pre-release"),
        "{}",
        ring.message
    );
    let (status, reason, message) = stalled(&world);
    assert_eq!((status.as_str(), reason.as_str()), ("True", "ReleaseRefused"));
    assert!(
        message.starts_with("production: board-1.1.0-rc.1 is a pre-release"),
        "{message}"
    );
    let writes = world.writes;
    world.until(at(24 * HOUR));
    assert_eq!(world.writes, writes, "at rest nothing is written");

    // Named where it may come it is no fault.
    world.spec(|spec| {
        spec["rings"][1]["release"] = json!("board-1.1.0-rc.1");
        spec["rings"][2]["release"] = json!(null);
    });
    world.until(at(25 * HOUR));
    assert_eq!(stalled(&world).0, "False");
}

#[test]
fn a_ring_that_takes_others_in_brings_them_no_preview() {
    let mut world = world();
    world.spec(|spec| {
        spec["rings"][1]["tenants"] = json!({"environments": ["Testing", "Production"]});
    });
    world.until(at(12 * HOUR));
    assert_eq!((world.run("1.1.0-rc.1"), world.run("1.0.0")), (2, 2));
    let ring = world.ring("qe");
    assert_eq!(
        (ring.phase, ring.stable.as_deref()),
        (RingPhase::Paused, Some("board-1.0.0"))
    );
    world.publish("1.1.0");
    world.until(at(24 * HOUR));
    assert_eq!(world.run("1.1.0"), 4);
}
