//! What a channel says of itself, and to a pipeline that waits for it.

use freehold_crds::{Environment, RingPhase};
use serde_json::json;

use crate::world::{Window, World, at};

const HOUR: i64 = 3600;

fn says(world: &World, kind: &str) -> Option<String> {
    let status = world.channel.status.clone().unwrap_or_default();
    let found = status.conditions.iter().find(|found| found.type_ == kind);
    found.map(|found| format!("{} {}", found.status, found.reason))
}

#[test]
fn a_manual_gate_waits_for_somebody() {
    let gates = json!([{"name": "look", "manual": {"groups": ["release-managers"]}}]);
    let rings = json!([
        {"name": "dev", "tenants": {"environments": ["Development"]}, "gates": gates},
        {"name": "production", "soak": "1h"},
    ]);
    let mut world = World::new(&rings)
        .with(1, Environment::Development, "1.0.0")
        .with(2, Environment::Production, "1.0.0");
    world.publish("1.1.0");
    world.until(at(5 * HOUR));
    assert_eq!(world.phase("dev"), RingPhase::Verifying);
    // It may take days: a pipeline that has brought the manifests doesn't wait for it.
    assert_eq!(says(&world, "Ready").as_deref(), Some("True AwaitsApproval"));
    assert_eq!(
        says(&world, "Reconciling").as_deref(),
        Some("False AwaitsApproval")
    );
    world.approve("dev", "board-1.1.0", Some("look"), "ada", "Approve");
    world.until(at(8 * HOUR));
    assert_eq!(world.run("1.1.0"), 3);
}

#[test]
fn first_tenants_whose_windows_are_shut_are_nothing_that_is_under_way() {
    let mut world = World::new(&json!([{"name": "all"}])).with(2, Environment::Production, "1.0.0");
    for number in [0, 1] {
        world.tenant(number).window = Window::Daily((at(10 * HOUR).as_second()) % 86_400);
    }
    world.publish("1.1.0");
    world.until(at(HOUR));
    assert_eq!(world.phase("all"), RingPhase::Canary);
    assert_eq!(says(&world, "Ready").as_deref(), Some("True AwaitsWindow"));
    assert_eq!(says(&world, "Reconciling").as_deref(), Some("False AwaitsWindow"));
    assert_eq!(
        world.ring("all").message,
        format!(
            "board-1.1.0 comes to its first tenants when a window opens, at {}",
            at(10 * HOUR)
        )
    );
    world.until(at(10 * HOUR + 60));
    assert_eq!(says(&world, "Reconciling").as_deref(), Some("True Rolling"));
    world.until(at(14 * HOUR));
    assert_eq!(says(&world, "Ready").as_deref(), Some("True Current"));
    assert_eq!(world.run("1.1.0"), 2);
}
