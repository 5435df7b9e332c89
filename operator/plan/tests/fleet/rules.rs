//! Each rule of a channel, alone.

use freehold_crds::{Environment, GrantKind, RingPhase, Verdict};
use freehold_plan::fleet::member::Tested;
use serde_json::{Value, json};

use crate::world::{Fate, Window, World, at};

pub const HOUR: i64 = 3600;

/// Two rings: dev, and production an hour later.
pub fn rings() -> Value {
    json!([
        {"name": "dev", "tenants": {"environments": ["Development"]}},
        {"name": "production", "soak": "1h"},
    ])
}

/// One tenant in dev and so many in production, all of them at 1.0.0, which is verified everywhere; 1.1.0 is published.
pub fn world(production: usize) -> World {
    let mut world = World::new(&rings())
        .with(1, Environment::Development, "1.0.0")
        .with(production, Environment::Production, "1.0.0");
    world.publish("1.0.0");
    world.until(at(2 * HOUR));
    assert_eq!(world.phase("production"), RingPhase::Verified);
    world.publish("1.1.0");
    world
}

fn iso(seconds: i64) -> String {
    at(seconds).to_string()
}

#[test]
fn a_release_comes_through_the_rings_in_order_after_its_soak() {
    let mut world = world(3);
    world.until(at(2 * HOUR + 600));
    assert_eq!(world.ring("dev").stable.as_deref(), Some("board-1.1.0"));
    assert_eq!(world.run("1.1.0"), 1);
    let ring = world.ring("production");
    assert_eq!(ring.release.as_deref(), Some("board-1.0.0"));
    assert!(
        ring.message.contains("board-1.1.0 soaks until"),
        "{}",
        ring.message
    );
    world.until(at(4 * HOUR));
    assert_eq!(world.run("1.1.0"), 4);
    assert_eq!(world.phase("production"), RingPhase::Verified);
    assert_eq!(world.grants(), []);
    let writes = world.writes;
    world.until(at(8 * HOUR));
    assert_eq!(world.writes, writes, "at rest nothing is written");
}

#[test]
fn a_release_that_fails_the_canary_is_halted_and_touches_nobody_else() {
    let mut world = world(20);
    world.fate = Box::new(|_, release| {
        if release == "board-1.1.0" {
            Fate::Fails
        } else {
            Fate::Well
        }
    });
    world.until(at(24 * HOUR));
    assert_eq!(world.phase("dev"), RingPhase::Halted);
    assert_eq!(world.touched["board-1.1.0"].len(), 1);
    assert_eq!(world.ring("production").release.as_deref(), Some("board-1.0.0"));
    assert!(
        world
            .events
            .iter()
            .any(|event| event.warning && event.reason == "ReleaseHalted")
    );
    let ready = world.channel.status.clone().unwrap().conditions;
    assert_eq!(
        (ready[0].status.as_str(), ready[0].reason.as_str()),
        ("False", "Halted")
    );
    // A later one mends it.
    world.publish("1.1.1");
    world.until(at(30 * HOUR));
    assert_eq!(world.run("1.1.1"), 21);
    assert_eq!(world.phase("dev"), RingPhase::Verified);
}

#[test]
fn somebody_lets_a_halted_release_go_on_and_the_failures_so_far_are_forgiven() {
    let mut world = World::new(&json!([{"name": "all"}])).with(10, Environment::Production, "1.0.0");
    world.publish("1.0.0");
    world.until(at(60));
    world.publish("1.1.0");
    let first = std::sync::Mutex::new(None::<String>);
    // The first one that tries it fails, whoever that is.
    world.fate = Box::new(move |name, _| {
        let mut first = first.lock().unwrap();
        let fails = first.get_or_insert_with(|| name.to_owned()) == name;
        if fails { Fate::Fails } else { Fate::Well }
    });
    world.until(at(HOUR));
    assert_eq!(world.phase("all"), RingPhase::Halted);
    world.spec(|spec| spec["rings"][0]["resume"] = json!("it-was-the-tenant"));
    world.until(at(5 * HOUR));
    assert_eq!(world.run("1.1.0"), 9);
    assert_eq!(
        (world.phase("all"), world.ring("all").failed),
        (RingPhase::Verified, 1)
    );
}

#[test]
fn one_bad_tenant_holds_up_nobody() {
    let mut world = world(40);
    world.fate = Box::new(|name, release| {
        let fails = name == "t00020" && release == "board-1.1.0";
        if fails { Fate::Fails } else { Fate::Well }
    });
    // Neither does one that does not serve before.
    world.tenant(7).member.down_since = Some(at(0));
    world.until(at(24 * HOUR));
    let ring = world.ring("production");
    if ring.phase == RingPhase::Halted {
        assert_eq!(ring.canaries, ["uid-t00020"], "only the canary halts it alone");
        return;
    }
    assert_eq!(ring.phase, RingPhase::Verified);
    assert_eq!((ring.failed, ring.apart, ring.current), (1, 1, 38));
    assert_eq!(ring.failures[0].tenant, "t00020");
}

#[test]
fn what_a_release_broke_after_ten_minutes_goes_back_once_it_is_halted() {
    let mut world = world(10);
    world.fate = Box::new(|_, release| {
        if release == "board-1.1.0" {
            Fate::Breaks
        } else {
            Fate::Well
        }
    });
    world.spec(|spec| spec["rings"][1]["soak"] = json!("1m"));
    world.until(at(2 * HOUR + 20 * 60));
    let back = world
        .grants()
        .into_iter()
        .filter(|grant| grant.kind == GrantKind::RollBack);
    assert!(back.count() > 0, "{:#?}", world.channel.status);
    world.until(at(24 * HOUR));
    assert_eq!(world.phase("dev"), RingPhase::Halted);
    assert_eq!(world.run("1.1.0"), 0, "{:#?}", world.channel.status);
    assert_eq!(world.grants(), []);
}

#[test]
fn a_freeze_holds_and_an_emergency_goes_through_it() {
    let mut world = world(5);
    let freeze = json!([{"from": iso(0), "until": iso(48 * HOUR), "reason": "the year's end"}]);
    world.spec(|spec| spec["freezes"] = freeze);
    world.tenant(3).window = Window::Never;
    world.until(at(24 * HOUR));
    assert_eq!(world.phase("dev"), RingPhase::Frozen);
    assert_eq!(world.run("1.0.0"), 6);
    world.publish("1.0.1");
    world.spec(|spec| spec["emergency"] = json!({"release": "board-1.0.1", "reason": "CVE-2027-0001"}));
    world.until(at(26 * HOUR));
    assert_eq!(world.run("1.0.1"), 6, "{:#?}", world.channel.status);
    let status = world.channel.status.clone().unwrap();
    assert_eq!(status.emergencies.len(), 1);
    assert_eq!(status.emergencies[0].reason, "CVE-2027-0001");
    // After the freeze the others come as always.
    world.until(at(60 * HOUR));
    assert_eq!(world.run("1.1.0"), 5);
}

#[test]
fn an_approval_counts_from_a_member_of_the_groups_who_is_not_the_author() {
    let mut world = world(2);
    world.spec(|spec| spec["rings"][1]["approval"] = json!({"groups": ["release-managers"], "required": 2}));
    world.until(at(5 * HOUR));
    assert_eq!(world.run("1.1.0"), 1);
    assert!(world.ring("production").message.contains("0 of 2 approvals"));
    world.approve("production", "board-1.1.0", None, "author", "Approve");
    world.approve("production", "board-1.1.0", None, "ada", "Approve");
    world.approve("production", "board-1.1.0", None, "ada", "Approve");
    world.until(at(6 * HOUR));
    assert!(world.ring("production").message.contains("1 of 2 approvals"));
    world.approve("production", "board-1.1.0", None, "grace", "Reject");
    world.until(at(7 * HOUR));
    assert!(world.ring("production").message.contains("grace has rejected"));
    world.approvals.pop();
    world.approve("production", "board-1.1.0", None, "grace", "Approve");
    world.until(at(9 * HOUR));
    assert_eq!(world.run("1.1.0"), 3);
}

#[test]
fn gates_pass_fail_or_cannot_tell() {
    let gate = json!([{"name": "ui", "test": {"component": "web", "args": ["test"]}}]);
    let fresh = || {
        let mut world = world(2);
        world.spec(|spec| spec["rings"][0]["gates"] = gate.clone());
        world.until(at(3 * HOUR));
        assert_eq!(
            world.phase("dev"),
            RingPhase::Verifying,
            "{:#?}",
            world.channel.status
        );
        assert_eq!(world.ring("dev").gates[0].tenant.as_deref(), Some("t00000"));
        world
    };
    let mut world = fresh();
    world.tested("t00000", "ui", "board-1.1.0", 0, Tested::Passed);
    world.until(at(4 * HOUR));
    assert_eq!(world.phase("dev"), RingPhase::Verified);

    let mut world = fresh();
    world.tested(
        "t00000",
        "ui",
        "board-1.1.0",
        0,
        Tested::Unknown("no image".into()),
    );
    world.until(at(8 * HOUR));
    assert_eq!(world.phase("dev"), RingPhase::Paused);
    assert_eq!(world.ring("dev").gates[0].verdict, Verdict::Inconclusive);
    assert_eq!(world.run("1.1.0"), 1, "it is no pass");
    world.spec(|spec| spec["rings"][0]["resume"] = json!("again"));
    world.until(at(9 * HOUR));
    assert_eq!(world.ring("dev").gates[0].attempt, 1);
    world.tested("t00000", "ui", "board-1.1.0", 1, Tested::Passed);
    world.until(at(11 * HOUR));
    assert_eq!(world.run("1.1.0"), 3);

    let mut world = fresh();
    world.tested(
        "t00000",
        "ui",
        "board-1.1.0",
        0,
        Tested::Failed("no board".into()),
    );
    world.until(at(8 * HOUR));
    assert_eq!(world.phase("dev"), RingPhase::Halted);
    assert_eq!(world.run("1.1.0"), 1);
}

#[test]
fn the_ring_s_release_in_git_brings_it_in_and_an_older_one_goes_back_and_holds() {
    let mut world = world(2);
    world.spec(|spec| spec["rings"][1]["release"] = json!("board-1.0.0"));
    world.until(at(6 * HOUR));
    assert_eq!((world.run("1.0.0"), world.run("1.1.0")), (2, 1), "it holds");
    world.spec(|spec| spec["rings"][1]["release"] = json!("board-1.2.0"));
    world.until(at(7 * HOUR));
    assert!(world.ring("production").message.contains("does not exist"));
    world.publish("1.2.0");
    world.until(at(12 * HOUR));
    assert_eq!(world.run("1.2.0"), 3);
    world.spec(|spec| spec["rings"][1]["release"] = json!("board-1.1.0"));
    world.until(at(14 * HOUR));
    assert_eq!((world.run("1.1.0"), world.run("1.2.0")), (2, 1), "back at once");
}

#[test]
fn previews_come_to_those_only_who_try_things_out() {
    let mut world = World::new(&json!([
        {"name": "dev", "tenants": {"environments": ["Development"]}, "soak": "1s"},
        {"name": "all", "soak": "1s"},
    ]))
    .with(1, Environment::Development, "1.0.0")
    .with(1, Environment::Production, "1.0.0");
    world.publish("1.0.0");
    world.publish("1.1.0-rc.1");
    world.until(at(HOUR));
    assert_eq!((world.run("1.1.0-rc.1"), world.run("1.0.0")), (1, 1));
}

#[test]
fn a_recalled_release_is_given_to_nobody_and_the_ring_has_the_one_before() {
    let mut world = world(5);
    world.until(at(2 * HOUR + 600));
    world.recall("1.1.0");
    world.until(at(24 * HOUR));
    assert_eq!(world.ring("dev").release.as_deref(), Some("board-1.0.0"));
    assert_eq!(world.touched["board-1.1.0"].len(), 1);
    // What becomes of the tenant that has it its own plan says, by the recall.
    assert_eq!((world.run("1.0.0"), world.run("1.1.0")), (5, 1));
    assert_eq!(world.ring("dev").apart, 1);
}

#[test]
fn two_releases_are_in_flight_and_frequent_ones_still_arrive() {
    let mut world = world(3);
    for hour in 0..8 {
        world.publish(&format!("1.1.{}", hour + 1));
        world.until(at((3 + hour) * HOUR + 1800));
    }
    let ring = world.ring("production");
    assert_ne!(ring.release.as_deref(), Some("board-1.0.0"), "{}", ring.message);
    assert_eq!(world.ring("dev").release.as_deref(), Some("board-1.1.8"));
}

#[test]
fn releases_that_come_faster_than_they_soak_still_arrive() {
    let mut world = world(1);
    world.spec(|spec| spec["rings"][1]["soak"] = json!("24h"));
    for hour in 0..60 {
        world.publish(&format!("1.1.{}", hour + 1));
        world.until(at((3 + hour) * HOUR));
    }
    let ring = world.ring("production");
    assert_ne!(ring.release.as_deref(), Some("board-1.0.0"), "{}", ring.message);
    assert!(world.ring("dev").verified.len() <= 16);
}

#[test]
fn an_outage_long_after_a_release_is_not_its_fault() {
    let mut world = world(10);
    world.until(at(12 * HOUR));
    assert_eq!(world.run("1.1.0"), 11);
    for number in 1..=5 {
        let member = &mut world.tenant(number).member;
        (member.down_since, member.runs) = (Some(at(12 * HOUR)), None);
    }
    world.until(at(13 * HOUR));
    assert_eq!(world.phase("production"), RingPhase::Verified);
    assert_eq!(world.grants(), []);
}

#[test]
fn a_ring_without_tenants_lets_releases_through() {
    let mut world = World::new(&json!([
        {"name": "dev", "tenants": {"environments": ["Development"]}, "gates": [{"name": "ui", "test": {"component": "web", "args": ["t"]}}]},
        {"name": "all", "soak": "1s"},
    ]))
    .with(2, Environment::Production, "1.0.0");
    world.publish("1.0.0");
    world.publish("1.1.0");
    world.until(at(HOUR));
    assert_eq!(world.run("1.1.0"), 2);
}

#[test]
fn the_first_release_of_a_ring_is_verified_when_its_first_tenants_have_it() {
    let mut world = World::new(&json!([{"name": "all"}])).with(2, Environment::Production, "1.0.0");
    world.publish("1.0.0");
    for number in 0..2 {
        world.tenant(number).member.runs = None;
    }
    world.until(at(600));
    let ring = world.ring("all");
    assert_eq!(
        ring.release.as_deref(),
        Some("board-1.0.0"),
        "what new tenants get"
    );
    assert_eq!((ring.stable, world.grants().len()), (None, 0));
    for number in 0..2 {
        world.tenant(number).member.runs = Some("board-1.0.0".into());
    }
    world.until(at(900));
    assert_eq!(world.ring("all").stable.as_deref(), Some("board-1.0.0"));
}

#[test]
fn the_status_of_ten_thousand_tenants_is_small() {
    let mut world = world(9_999);
    // As long as names in use are.
    for tenant in &mut world.tenants {
        let member = &mut tenant.member;
        member.uid = format!("0f8fad5b-d9cb-469f-a165-70867{}", &member.name);
        member.name = format!("customer-of-{}", &member.name);
    }
    world.spec(|spec| spec["rings"][1]["maxConcurrent"] = json!("100%"));
    world.fate = Box::new(|name, _| {
        if name.ends_with("77") {
            Fate::Fails
        } else {
            Fate::Well
        }
    });
    let mut largest = 0;
    world.until(at(2 * HOUR + 900));
    world.now = at(3 * HOUR + 900);
    world.see();
    while largest == 0 && world.go(at(48 * HOUR)) {
        let grants = world.grants().len();
        assert!(grants <= 250);
        if grants == 250 {
            largest = largest.max(serde_json::to_vec(&world.channel.status).unwrap().len());
        }
    }
    println!("{largest} bytes with 250 grants");
    assert!((1..100_000).contains(&largest), "{largest}");
}
