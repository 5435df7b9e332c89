//! Releases come to tenants by rings: a good one to all of them without anybody noticing, a bad one to nobody but the first; and one that is
//! recalled leaves all of them at once.

use std::time::Duration;

use freehold_e2e::load::{Load, Plan, Report, What};
use freehold_e2e::{install, kube};
use freehold_plan::names::digest;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::stage::{
    Guest, MINUTE, always_open, assert_nothing_lost, calm, class, lab, namespace, owner, tenant_manifest,
    upgrades, wait_ready,
};

/// Requests in a second to a tenant that is upgraded now, when that is what is measured.
const RATE: u32 = 50;
/// And in every test run, which is about the way that releases take.
const EVERY_DAY: u32 = 20;
/// To the others: four times fifty handshakes in a second are more than two cores can serve that are the cluster as well.
pub const CALM_RATE: u32 = 5;
/// How many requests are answered before something happens, and after it.
const SOME: u64 = 50;
/// A release in every ring.
const EVERYWHERE: Duration = Duration::from_secs(15 * 60);
/// How long a release must have been verified in the ring before.
const SOAK: Duration = Duration::from_secs(10);
/// Within this a release that was halted is given to nobody.
pub const REST: Duration = Duration::from_secs(10);

pub const CHANNEL: &str = "board";
/// A class whose releases are watched for a short while: what breaks in these stories breaks at once.
const CLASS: &str = "brisk";

/// A ring, the environment that it selects, and its tenants.
pub struct Ring {
    pub name: &'static str,
    pub environment: &'static str,
    pub tenants: &'static [&'static str],
}

pub const DEV: Ring = Ring {
    name: "dev",
    environment: "Development",
    tenants: &["sandpit"],
};
const QE: Ring = Ring {
    name: "qe",
    environment: "Testing",
    tenants: &["rehearsal"],
};
pub const PRODUCTION: Ring = Ring {
    name: "production",
    environment: "Production",
    tenants: &["north", "south"],
};
/// The least that is a path.
const SMALL: Ring = Ring {
    tenants: &["north"],
    ..PRODUCTION
};

pub type Rings = [Ring];

pub fn tenants(rings: &Rings) -> impl Iterator<Item = (&'static str, &Ring)> {
    let of = |ring: &'_ Ring| ring.tenants.to_vec();
    rings
        .iter()
        .flat_map(move |ring| of(ring).into_iter().map(move |name| (name, ring)))
}

/// What the first ring's gate runs beside its tenant: the way of a browser, from the page to the database.
pub const GATE: &[&str] = &["smoke", "--page"];
/// A test that no later release can pass.
const STALE_GATE: &[&str] = &["smoke", "--page", "--expect-version", "1.0.0"];

pub fn channel(rings: &Rings, release: &str, gate: &[&str]) -> Value {
    let soak = format!("{}s", SOAK.as_secs());
    let mut all: Vec<Value> = rings
        .iter()
        .map(|ring| json!({"name": ring.name, "soak": soak, "tenants": {"environments": [ring.environment]}}))
        .collect();
    // Promotion by Git: all three versions of the lab are published already.
    all[0]["autoPromote"] = json!(false);
    all[0]["release"] = json!(release);
    all[0]["gates"] =
        json!([{"name": "page", "test": {"component": "api", "args": gate, "timeoutSeconds": 120}}]);
    json!({
        "apiVersion": "freehold.dev/v1alpha1", "kind": "ReleaseChannel", "metadata": {"name": CHANNEL},
        "spec": {"product": "board", "rings": all},
    })
}

/// A tenant that follows the channel, with a window that is always open.
pub fn follower(name: &str, ring: &Ring) -> Value {
    let mut manifest = tenant_manifest(name, 1);
    manifest["spec"]["className"] = json!(CLASS);
    manifest["spec"]["environment"] = json!(ring.environment);
    manifest["spec"]["release"] = json!({"channel": CHANNEL});
    manifest["spec"]["maintenance"] = always_open();
    manifest
}

/// The tenants, each with the release that has come into its ring.
pub fn guests(rings: &Rings) -> Vec<Guest> {
    lab();
    install::later_releases(lab()).unwrap();
    class(CLASS, |spec| spec["upgrades"]["bake"] = json!("5s"));
    let guests: Vec<Guest> = tenants(rings).map(|(name, _)| Guest::absent(name)).collect();
    kube::kubectl(
        lab(),
        &["delete", "releasechannel", CHANNEL, "--ignore-not-found"],
    )
    .unwrap();
    bring(rings, "board-1.0.0");
    let manifests: Vec<Value> = tenants(rings).map(|(name, ring)| follower(name, ring)).collect();
    kube::apply(lab(), &manifests).unwrap();
    for (name, _) in tenants(rings) {
        let tenant = wait_ready(name, 5 * MINUTE);
        assert_eq!(tenant["status"]["version"], "1.0.0", "{name}");
    }
    until(rings, "1.0.0 in every ring", |status| {
        is_everywhere(rings, status, "board-1.0.0")
    });
    guests
}

fn status() -> Value {
    kube::get(lab(), &["releasechannel", CHANNEL]).unwrap()["status"].clone()
}

pub fn ring(status: &Value, name: &str) -> Value {
    let mut rings = status["rings"].as_array().into_iter().flatten();
    rings
        .find(|ring| ring["name"] == name)
        .cloned()
        .unwrap_or_default()
}

/// Waits for something that the channel's status says.
pub fn until(rings: &Rings, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let result = kube::until(what, EVERYWHERE, || {
        let status = kube::get(lab(), &["releasechannel", CHANNEL])?["status"].clone();
        Ok(is_so(&status).then_some(status))
    });
    result.unwrap_or_else(|error| panic!("{error:#}\n{:#}\n{}", status(), told(rings)))
}

/// What every tenant's record says, for whoever looks for the cause.
fn told(rings: &Rings) -> String {
    let of = |name: &str| kube::kubectl(lab(), &["describe", "tenant", name]).unwrap_or_default();
    let all: Vec<String> = tenants(rings).map(|(name, _)| of(name)).collect();
    all.join("\n")
}

/// A release is verified in a ring.
pub fn is_verified(status: &Value, name: &str, release: &str) -> bool {
    let ring = ring(status, name);
    ring["phase"] == "Verified" && ring["release"] == release && ring["stable"] == release
}

fn is_everywhere(rings: &Rings, status: &Value, release: &str) -> bool {
    rings.iter().all(|ring| is_verified(status, ring.name, release))
}

pub fn bring(rings: &Rings, release: &str) {
    kube::apply(lab(), &[channel(rings, release, GATE)]).unwrap();
}

/// By a gate whose test fails: it is halted where it is, and goes on when the test was mended and somebody says so.
fn bring_against_a_gate(rings: &Rings, release: &str) {
    let first = rings[0].name;
    kube::apply(lab(), &[channel(rings, release, STALE_GATE)]).unwrap();
    let status = until(rings, "the gate to halt it", |status| {
        ring(status, first)["phase"] == "Halted"
    });
    let gate = &ring(&status, first)["gates"][0];
    assert_eq!(gate["verdict"], "Failed", "{gate}");
    println!("{gate}");
    let mut mended = channel(rings, release, GATE);
    mended["spec"]["rings"][0]["resume"] = json!("the-test-was-stale");
    kube::apply(lab(), &[mended]).unwrap();
}

/// The gate's test ran beside a tenant of the ring, and passed.
fn assert_gate_passed(status: &Value, it: &Ring) {
    let gate = &ring(status, it.name)["gates"][0];
    assert_eq!(gate["verdict"], "Passed", "{gate}");
    let beside = gate["tenant"].as_str().unwrap();
    assert!(it.tenants.contains(&beside), "{gate}");
    let namespace = namespace(beside);
    let jobs = kube::get(lab(), &["-n", &namespace, "jobs"]).unwrap();
    let jobs = jobs["items"].as_array().into_iter().flatten();
    let tests = jobs.filter_map(|job| {
        job["metadata"]["name"]
            .as_str()
            .filter(|name| name.starts_with("gate-"))
    });
    println!("{gate}, {:?}", tests.collect::<Vec<_>>());
}

pub type Loads = Vec<(&'static str, Load)>;

pub fn press(names: impl Iterator<Item = &'static str>, rate: u32) -> Loads {
    let start = |name: &'static str| (name, Load::start(Plan::on(&owner(name), rate).unwrap()).unwrap());
    let loads: Loads = names.map(start).collect();
    go_on(&loads);
    loads
}

/// Waits until some more requests were made of each tenant.
fn go_on(loads: &Loads) {
    for (name, load) in loads {
        let goal = load.report().requests + SOME;
        kube::until(&format!("some more requests to {name}"), MINUTE, || {
            Ok((load.report().requests >= goal).then_some(()))
        })
        .unwrap();
    }
}

/// What the loads saw; whatever that was, nothing that was promised is lost.
fn ended(loads: Loads) -> Vec<(&'static str, Report)> {
    go_on(&loads);
    let end = |(name, load): (&'static str, Load)| {
        let report = load.stop().unwrap();
        println!("{name}: {report}");
        assert!(!report.acknowledged.is_empty(), "no card was made in {name}");
        assert_nothing_lost(name, &report.acknowledged);
        (name, report)
    };
    loads.into_iter().map(end).collect()
}

pub fn flawless(loads: Loads) {
    for (name, report) in ended(loads) {
        report
            .flawless()
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
}

pub fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// The tenants of a ring in the order in which a release comes to them.
fn in_turn(ring: &Ring, release: &str) -> Vec<&'static str> {
    let order = |name: &&str| {
        let incarnation = kube::get(lab(), &["tenant", name]).unwrap()["status"]["incarnation"].clone();
        digest(&[incarnation.as_str().unwrap(), release])
    };
    let mut names = ring.tenants.to_vec();
    names.sort_by_cached_key(order);
    names
}

/// To 1.1.0, ring by ring; the operator is killed in the middle. Each tenant is pressed while it is upgraded: all of them at once are more than
/// two cores can serve that are the cluster as well.
fn good(rings: &Rings, rate: u32, bring: fn(&Rings, &str)) {
    let all = press(tenants(rings).map(|(name, _)| name), CALM_RATE);
    let turn = |ring: &Ring| in_turn(ring, "board-1.1.0");
    let mut loads = press(turn(&rings[0]).into_iter().take(1), rate);
    bring(rings, "board-1.1.0");
    for (place, ring) in rings.iter().enumerate() {
        for pair in turn(ring).windows(2) {
            until(rings, &format!("1.1.0 in {}", pair[0]), |_| {
                upgrades(pair[0])
                    .last()
                    .is_some_and(|newest| newest["status"]["phase"] == "Succeeded")
            });
            flawless(loads);
            loads = press(pair[1..].iter().copied(), rate);
        }
        let what = format!("1.1.0 in the ring {}", ring.name);
        until(rings, &what, |status| {
            is_verified(status, ring.name, "board-1.1.0")
        });
        flawless(loads);
        if place == 0 {
            assert_gate_passed(&status(), ring);
        }
        // Whose turn it is next is pressed while the release soaks.
        let next = rings.get(place + 1).map_or_else(Vec::new, turn);
        loads = press(next.into_iter().take(1), rate);
        if place == 0 {
            kube::kill(&kube::processes("freehold", "run"));
        }
    }
    flawless(all);
    let status = status();
    for (place, it) in rings.iter().enumerate() {
        for name in it.tenants {
            let all = upgrades(name);
            assert_eq!(all.len(), 1, "{name}");
            let (spec, operation) = (&all[0]["spec"]["upgrade"], &all[0]["status"]);
            assert_eq!(operation["phase"], "Succeeded", "{name}");
            assert_eq!(spec["grantedBy"], format!("{CHANNEL}/{}", it.name));
            let began = time(&all[0]["metadata"]["creationTimestamp"]);
            println!("{name} ({}): {began} to {}", it.name, operation["finishedAt"]);
            if let Some(before) = place.checked_sub(1) {
                let verified = time(&ring(&status, rings[before].name)["verified"][0]["at"]);
                assert!(
                    began >= verified + SOAK,
                    "{name} began before its ring was let in"
                );
            }
            let version = owner(name).get("/version").unwrap();
            assert_eq!(version["version"], "1.1.0", "{name}");
        }
    }
    assert_eq!(status["grants"].as_array().map_or(0, Vec::len), 0);
}

/// To 1.2.0, which can't list cards: it fails in the first ring, and comes no farther.
fn bad(rings: &Rings, rate: u32) {
    let (first, others) = rings.split_first().unwrap();
    let pressed = press(first.tenants.iter().copied(), rate);
    let calm = press(tenants(others).map(|(name, _)| name), CALM_RATE);
    bring(rings, "board-1.2.0");
    until(rings, "1.2.0 to be halted", |status| {
        ring(status, first.name)["phase"] == "Halted"
    });
    let status = until(rings, "nobody to be upgraded", |status| {
        status["grants"].as_array().is_none_or(Vec::is_empty)
    });
    println!("{:#}", ring(&status, first.name));
    std::thread::sleep(REST);
    for (_, report) in ended(pressed) {
        let elsewhere = report.failed.keys().find(|what| **what != What::List);
        assert_eq!(elsewhere, None, "1.2.0 fails at lists of cards alone\n{report}");
    }
    flawless(calm);
    for (name, it) in tenants(rings) {
        let object = wait_serving(name);
        assert_eq!(object["status"]["version"], "1.1.0", "{name}");
        let tried = if it.name == first.name { 2 } else { 1 };
        assert_eq!(upgrades(name).len(), tried, "{name}");
    }
    assert_eq!(upgrades(first.tenants[0])[1]["status"]["phase"], "Failed");
    assert_eq!(ring(&status, first.name)["halted"][0]["release"], "board-1.2.0");
    for it in others {
        assert_eq!(ring(&status, it.name)["release"], "board-1.1.0", "{}", it.name);
    }
}

fn wait_serving(name: &str) -> Value {
    kube::wait_condition(lab(), &["tenant", name], "Serving", "True", MINUTE).unwrap()
}

fn recall(spec: &Value) {
    let patch = json!({"spec": {"recall": spec}}).to_string();
    kube::kubectl(
        lab(),
        &["patch", "release", "board-1.1.0", "--type=merge", "-p", &patch],
    )
    .unwrap();
}

/// 1.1.0 is recalled: every tenant goes back, at once.
fn recalled(rings: &Rings) {
    let loads = press(tenants(rings).map(|(name, _)| name), CALM_RATE);
    recall(&json!({"reason": "a story", "action": "RollBack"}));
    let began = std::time::Instant::now();
    for (name, _) in tenants(rings) {
        kube::until(&format!("{name} to go back"), EVERYWHERE, || {
            let object = kube::get(lab(), &["tenant", name])?;
            let newest = upgrades(name).last().cloned().unwrap_or_default();
            let is_back = object["status"]["version"] == "1.0.0"
                && newest["spec"]["upgrade"]["to"] == "board-1.0.0"
                && newest["status"]["phase"] == "Succeeded";
            Ok(is_back.then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", told(rings)));
    }
    println!("all of them have gone back after {:.0?}", began.elapsed());
    flawless(loads);
}

pub fn over(guests: Vec<Guest>) {
    drop(guests);
    kube::kubectl(lab(), &["delete", "releasechannel", CHANNEL]).unwrap();
    kube::kubectl(lab(), &["delete", "tenantclass", CLASS]).unwrap();
}

#[test]
fn a_release_comes_by_rings_and_a_broken_one_no_farther_than_the_first() {
    calm();
    let rings = &[DEV, SMALL];
    let guests = guests(rings);
    good(rings, EVERY_DAY, bring);
    bad(rings, EVERY_DAY);
    over(guests);
}

#[test]
#[ignore = "a quarter of an hour: cargo xtask bench four_tenants_in_three_rings"]
fn four_tenants_in_three_rings() {
    calm();
    let rings = &[DEV, QE, PRODUCTION];
    let guests = guests(rings);
    good(rings, RATE, bring_against_a_gate);
    bad(rings, RATE);
    recalled(rings);
    recall(&Value::Null);
    over(guests);
}
