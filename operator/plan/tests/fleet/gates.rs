//! A gate's test with nobody to run it beside is no pass.

use freehold_crds::{Environment, RingPhase, Verdict};
use freehold_plan::fleet::member::{Apart, Tested};
use serde_json::json;

use crate::world::{World, at};

const HOUR: i64 = 3600;

/// One tenant in dev, where a test is asked for, and two in production; 1.0.0 is verified, 1.1.0 published.
fn world() -> World {
    let mut world = World::new(&json!([
        {"name": "dev", "tenants": {"environments": ["Development"]},
         "gates": [{"name": "ui", "test": {"component": "web", "args": ["test"]}}]},
        {"name": "production", "soak": "1h"},
    ]))
    .with(1, Environment::Development, "1.0.0")
    .with(2, Environment::Production, "1.0.0");
    world.publish("1.0.0");
    world.tested("t00000", "ui", "board-1.0.0", 0, Tested::Passed);
    world.until(at(2 * HOUR));
    assert_eq!(world.phase("dev"), RingPhase::Verified);
    world.publish("1.1.0");
    world
}

fn is_stuck_untested(world: &World) {
    let dev = world.ring("dev");
    assert_eq!(
        (dev.phase, dev.gates[0].verdict),
        (RingPhase::Paused, Verdict::Inconclusive),
        "{dev:#?}"
    );
    assert!(
        dev.message.contains("no tenant of the ring takes part"),
        "{}",
        dev.message
    );
    assert_eq!(world.run("1.0.0"), 2, "production has what was tested");
    let conditions = world.channel.status.clone().unwrap().conditions;
    let stalled = conditions.iter().find(|found| found.type_ == "Stalled").unwrap();
    assert_eq!(
        (stalled.status.as_str(), stalled.reason.as_str()),
        ("True", "Inconclusive")
    );
}

#[test]
fn a_ring_whose_tenants_take_no_part_tests_nothing() {
    type Change = fn(&mut World);
    let aside: [Change; 3] = [
        |world| world.sleep(0),
        |world| world.tenant(0).member.apart = Some(Apart::Pinned),
        |world| world.tenant(0).member.apart = Some(Apart::Invalid),
    ];
    for change in aside {
        let mut world = world();
        change(&mut world);
        // It has what was tested, and so have the others.
        world.tenant(0).member.runs = Some("board-0.9.0".into());
        world.until(at(24 * HOUR));
        is_stuck_untested(&world);
        let writes = world.writes;
        world.until(at(48 * HOUR));
        assert_eq!(world.writes, writes, "at rest nothing is written");

        // It goes on by itself when somebody is there.
        world.tenant(0).member.apart = None;
        world.tested("t00000", "ui", "board-1.1.0", 0, Tested::Passed);
        world.until(at(60 * HOUR));
        assert_eq!((world.phase("dev"), world.run("1.1.0")), (RingPhase::Verified, 3));
    }
}

#[test]
fn a_test_whose_only_tenant_goes_away_in_the_middle_has_not_passed() {
    for apart in [Apart::Asleep, Apart::Pinned] {
        let mut world = world();
        world.until(at(3 * HOUR));
        assert_eq!(world.phase("dev"), RingPhase::Verifying);
        world.tenant(0).member.apart = Some(apart);
        world.until(at(24 * HOUR));
        is_stuck_untested(&world);
        world.tenant(0).member.apart = None;
        world.until(at(25 * HOUR));
        assert_eq!(world.phase("dev"), RingPhase::Verifying);
        assert_eq!(world.ring("dev").gates[0].tenant.as_deref(), Some("t00000"));
        world.tested("t00000", "ui", "board-1.1.0", 0, Tested::Passed);
        world.until(at(30 * HOUR));
        assert_eq!(world.run("1.1.0"), 3);
    }
}
