//! The pace of a wave: who comes first, how many at a time, and who is waited for.

use std::cell::RefCell;
use std::rc::Rc;

use freehold_crds::{Environment, RingPhase};
use freehold_plan::names::digest;
use jiff::SignedDuration;
use serde_json::json;

use crate::rules::{HOUR, world};
use crate::world::{BEGIN, Window, World, at};

#[test]
fn the_canary_goes_first_and_the_rest_faster_and_faster_up_to_the_cap() {
    let mut world = world(100);
    let mut most = 0;
    let mut last = 0;
    world.until(at(2 * HOUR + 900));
    world.now = at(3 * HOUR + 900);
    while world.go(at(48 * HOUR)) {
        let ring = world.ring("production");
        if ring.phase == RingPhase::Canary {
            assert!(ring.in_flight <= 1);
        }
        assert!(
            ring.in_flight <= 10 && ring.in_flight <= ring.current.max(1),
            "{ring:?}"
        );
        most = most.max(ring.in_flight);
        assert!(ring.cursor >= last);
        last = ring.cursor;
    }
    assert_eq!(world.run("1.1.0"), 101);
    assert_eq!(most, 10);
    assert_eq!(last, 10_000);
}

#[test]
fn tenants_come_in_the_order_of_a_hash_which_is_another_one_for_each_release() {
    let mut world =
        World::new(&json!([{"name": "all", "maxConcurrent": 3}])).with(40, Environment::Production, "1.0.0");
    let of = |release: &str| {
        let hash = |name: &String| digest(&[&format!("life-{name}"), release]);
        let mut names: Vec<String> = (0..40).map(|number| format!("t{number:05}")).collect();
        names.sort_by_key(hash);
        names
    };
    let mut orders = Vec::new();
    for version in ["1.1.0", "1.2.0"] {
        let release = format!("board-{version}");
        let given = Rc::new(RefCell::new(Vec::<String>::new()));
        let seen = given.clone();
        let order = of(&release);
        world.witness = Some(Box::new(move |world, _| {
            let mut seen = seen.borrow_mut();
            let grants = world.grants().into_iter().map(|grant| grant.tenant);
            let mut new: Vec<String> = grants.filter(|tenant| !seen.contains(tenant)).collect();
            // What one write gives leave to comes together.
            new.sort_by_key(|tenant| order.iter().position(|it| it == tenant));
            seen.extend(new);
        }));
        world.publish(version);
        world.until(world.now + SignedDuration::from_hours(24));
        assert_eq!(*given.borrow(), of(&release));
        orders.push(of(&release));
    }
    assert_ne!(orders[0], orders[1]);
}

#[test]
fn windows_are_waited_for_and_hold_up_nobody_else() {
    let mut world = world(20);
    let day = BEGIN.rem_euclid(86_400);
    for number in 1..=5 {
        world.tenant(number).window = Window::Daily((day + 10 * HOUR) % 86_400);
    }
    world.tenant(6).window = Window::Never;
    world.until(at(8 * HOUR));
    let ring = world.ring("production");
    assert_eq!(
        (ring.phase, ring.current, ring.waiting),
        (RingPhase::Verified, 14, 6)
    );
    assert_eq!(ring.next_window.unwrap().0, at(10 * HOUR));
    world.until(at(20 * HOUR));
    let ring = world.ring("production");
    assert_eq!((ring.current, ring.waiting), (19, 1));
}

#[test]
fn a_grant_that_is_taken_back_counts_until_its_tenant_knows() {
    let mut world = world(1);
    world.now = at(4 * HOUR);
    world.see();
    for _ in 0..3 {
        let said = world.ask();
        world.channel.status = Some(said.status);
    }
    assert_eq!(world.grants().len(), 1);
    let grant = world.grants()[0].clone();
    world.tenant(0).member.grant = Some((grant.at.0, grant.release.clone()));
    world.spec(|spec| spec["paused"] = json!(true));
    for _ in 0..3 {
        world.channel.status = Some(world.ask().status);
        assert!(world.grants()[0].withdrawn.is_some());
    }
    assert_eq!(world.ring("dev").in_flight, 1);
    // It had begun before it heard of it.
    world.tenant(0).member.under_way = Some(freehold_plan::fleet::member::Way {
        from: "board-1.0.0".into(),
        to: grant.release.clone(),
    });
    world.tenant(0).member.grant = None;
    world.now = at(4 * HOUR + 120);
    world.channel.status = Some(world.ask().status);
    assert_eq!(world.grants().len(), 1);
    world.tenant(0).member.under_way = None;
    world.channel.status = Some(world.ask().status);
    assert_eq!(world.grants(), []);
    assert_eq!(world.phase("dev"), RingPhase::Paused);
}

#[test]
fn a_tenant_that_falls_asleep_in_the_middle_holds_up_nobody() {
    let mut world = world(2);
    world.until(at(3 * HOUR + 6 * 60));
    let name = world.grants()[0].tenant.clone();
    let place = world.tenants.iter().position(|tenant| tenant.member.name == name);
    world.sleep(place.unwrap());
    world.until(at(6 * HOUR));
    let ring = world.ring("production");
    assert_eq!(
        (ring.phase, ring.current, ring.apart),
        (RingPhase::Verified, 1, 1)
    );
}

#[test]
fn tenants_come_and_go_in_the_middle_of_a_wave() {
    let mut world = world(30);
    world.until(at(3 * HOUR + 20 * 60));
    let held = world.grants();
    assert!(!held.is_empty());
    // One that was granted is deleted, another one falls asleep; a third is new.
    let gone = held[0].uid.clone();
    world.tenants.retain(|tenant| tenant.member.uid != gone);
    world.sleep(20);
    world = world.with(1, Environment::Production, "1.0.0");
    world.until(at(24 * HOUR));
    let ring = world.ring("production");
    assert_eq!(ring.phase, RingPhase::Verified);
    assert_eq!(ring.tenants, 30);
    assert_eq!(ring.current + ring.apart, 30);
    assert_eq!(world.grants(), []);
}
