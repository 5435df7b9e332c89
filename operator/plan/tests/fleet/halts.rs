//! What a halt reaches: later rings, those that the release has broken whatever has come since, and new tenants.

use freehold_crds::{Environment, GrantKind, RingPhase};
use freehold_plan::fleet;
use serde_json::json;

use crate::world::{Fate, World, at};

const HOUR: i64 = 3600;

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
    world.rest(24 * HOUR);

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

/// Twelve tenants, which 1.1.0 breaks ten minutes after it came.
fn broken_by_1_1_0() -> World {
    let mut world = World::one(12, &json!({"name": "all", "canary": 4, "maxConcurrent": "50%"}));
    world.fate = Box::new(|_, release| match release {
        "board-1.1.0" => Fate::Breaks,
        _ => Fate::Well,
    });
    world
}

fn all_get_the_next(world: &mut World) {
    world.until(at(24 * HOUR));
    assert_eq!(
        (world.phase("all"), world.run("1.1.1")),
        (RingPhase::Verified, 12),
        "{:#?}",
        world.ring("all")
    );
    world.rest(36 * HOUR);
}

/// The release that mends it is published while those that it has broken are yet to be taken back, and while more of them break.
#[test]
fn who_was_broken_by_a_release_goes_back_and_gets_the_next_one_too() {
    let mut world = broken_by_1_1_0();
    world.publish("1.1.0");
    while world.phase("all") != RingPhase::Halted {
        assert!(world.go(at(12 * HOUR)));
    }
    world.publish("1.1.1");
    all_get_the_next(&mut world);
    assert!(world.touched["board-1.1.0"].len() >= 4);
}

/// The same, when nobody knew that it breaks them: the next release has come before any was down for long enough.
#[test]
fn who_was_broken_by_a_release_that_was_replaced_in_the_middle_goes_back_too() {
    let mut world = broken_by_1_1_0();
    // The upgrades to it take 5 min, and 10 min later it breaks.
    world.publish("1.1.0");
    world.until(at(60 + 16 * 60));
    assert!(
        world
            .tenants
            .iter()
            .any(|tenant| tenant.member.down_since.is_some())
    );
    assert_ne!(world.phase("all"), RingPhase::Halted);
    world.publish("1.1.1");
    all_get_the_next(&mut world);
}

#[test]
fn an_outage_long_after_a_newer_release_has_come_takes_nobody_back() {
    let mut world = World::one(3, &json!({"name": "all"}));
    world.publish("1.1.0");
    world.until(at(2 * HOUR));
    assert_eq!(world.run("1.1.0"), 3);
    for number in 0..3 {
        world.tenant(number).window = crate::world::Window::Never;
    }
    world.see();
    world.publish("1.1.1");
    world.until(at(12 * HOUR));
    for number in 0..3 {
        let member = &mut world.tenant(number).member;
        (member.runs, member.down_since) = (None, Some(at(12 * HOUR)));
    }
    world.until(at(24 * HOUR));
    let back = |grant: &freehold_crds::Grant| grant.kind == GrantKind::RollBack;
    assert!(!world.grants().iter().any(back), "{:#?}", world.grants());
}

#[test]
fn a_halted_release_is_nobody_s_first_one() {
    let rings = json!([
        {"name": "dev", "tenants": {"environments": ["Development"]}},
        {"name": "production", "soak": "1s", "maxConcurrent": 1},
    ]);
    let mut world = World::new(&rings)
        .with(1, Environment::Development, "0.9.0")
        .with(9, Environment::Production, "0.9.0");
    world.fate = Box::new(|name, _| match name {
        "t00000" => Fate::Breaks,
        _ => Fate::Well,
    });
    world.publish("1.0.0");
    let first = |world: &World, environment: &str| {
        let tenant: freehold_crds::Tenant = serde_json::from_value(json!({
            "apiVersion": "freehold.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": "new"},
            "spec": {
                "displayName": "New", "environment": environment, "owner": {"email": "new@example.com"},
                "hostnames": ["new.example.com"], "edition": "Standard", "seats": 5, "region": "eu", "className": "standard", "release": {"channel": "board"},
            },
        }))
        .unwrap();
        fleet::first_of(&world.channel, &tenant).map(|(first, _)| first.to_owned())
    };
    world.until(at(60));
    assert_eq!(first(&world, "Development").as_deref(), Some("board-1.0.0"));
    world.until(at(12 * HOUR));
    assert_eq!(world.phase("dev"), RingPhase::Halted);
    assert!(world.run("1.0.0") > 0, "production has begun with it");
    for environment in ["Development", "Production"] {
        assert_eq!(first(&world, environment), None, "{environment}");
    }
    world.publish("1.0.1");
    world.fate = Box::new(|_, _| Fate::Well);
    // What it ran before isn't published: somebody mends it.
    let member = &mut world.tenant(0).member;
    (member.runs, member.down_since) = (member.came.clone().map(|came| came.to), None);
    world.until(at(24 * HOUR));
    for environment in ["Development", "Production"] {
        assert_eq!(first(&world, environment).as_deref(), Some("board-1.0.1"));
    }
}

/// A ring has what its spec names, and somebody deletes it in the middle.
#[test]
fn a_release_that_is_gone_is_given_to_nobody() {
    let mut world = World::one(
        20,
        &json!({"name": "all", "release": "board-1.1.0", "maxConcurrent": 1}),
    );
    world.publish("1.1.0");
    while world.run("1.1.0") < 3 {
        assert!(world.go(at(12 * HOUR)));
    }
    world.releases.remove("board-1.1.0");
    world.until(at(12 * HOUR));
    let ring = world.ring("all");
    assert!(
        ring.message
            .ends_with("waits for the Release board-1.1.0, which does not exist, or is of another product"),
        "{}",
        ring.message
    );
    assert!(world.run("1.1.0") < 6);
    assert_eq!(world.grants(), []);
    world.rest(24 * HOUR);
}
