//! A tenant is upgraded while it is used, and a release that fails undoes itself: nobody notices the one, and the other costs only
//! what is broken in it.

use std::time::Duration;

use freehold_e2e::fault_proxy::Fault;
use freehold_e2e::load::{Load, Plan, Report, What};
use freehold_e2e::operator::{self, StandIn};
use freehold_e2e::{install, kube};
use serde_json::{Value, json};

use crate::channel;
use crate::kills::{during, rest};
use crate::stage::{
    Guest, MINUTE, always_open, assert_nothing_lost, calm, change, class, lab, namespace, owner,
    tenant_manifest, upgrades, wait_ready,
};

/// Requests in a second.
const RATE: u32 = 50;
/// How many requests are answered before something happens, and after it.
const SOME: u64 = 500;
/// Preflight to bake.
const UPGRADED: Duration = Duration::from_secs(10 * 60);
/// Within this nothing is tried again.
const REST: Duration = Duration::from_secs(20);
/// What an upgrade does, in this order.
const STEPS: [&str; 5] = ["Preflight", "Migrate", "Roll", "Smoke", "Bake"];

/// A class under which a release is watched for a second.
const CLASS: &str = "hasty";

/// A tenant whose window is always open.
pub fn guest(name: &'static str, class_name: &str, release: &str) -> Guest {
    lab();
    install::later_releases(lab()).unwrap();
    let guest = Guest::absent(name);
    let mut manifest = tenant_manifest(guest.0, 1);
    manifest["spec"]["className"] = json!(class_name);
    manifest["spec"]["release"] = json!({"name": release});
    manifest["spec"]["maintenance"] = always_open();
    kube::apply(lab(), &[manifest]).unwrap();
    wait_ready(guest.0, 4 * MINUTE);
    guest
}

fn load(tenant: &str) -> Load {
    let load = Load::start(Plan::on(&owner(tenant), RATE).unwrap()).unwrap();
    go_on(&load);
    load
}

/// Waits until some more requests were made.
fn go_on(load: &Load) {
    let goal = load.report().requests + SOME;
    kube::until("some more requests", MINUTE, || {
        Ok((load.report().requests >= goal).then_some(()))
    })
    .unwrap();
}

/// What a load saw; whatever that was, nothing that it was promised is lost.
fn ended(tenant: &str, load: Load) -> Report {
    let report = load.stop().unwrap();
    println!("{report}");
    assert!(!report.acknowledged.is_empty(), "no card was made");
    assert_nothing_lost(tenant, &report.acknowledged);
    report
}

fn tenant(name: &str) -> Value {
    kube::get(lab(), &["tenant", name]).unwrap()
}

/// Status and reason of a condition.
fn condition(tenant: &Value, kind: &str) -> (String, String) {
    let mut all = tenant["status"]["conditions"].as_array().into_iter().flatten();
    let found = all.find(|condition| condition["type"] == kind);
    let text = |key: &str| found.and_then(|c| c[key].as_str()).unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

/// The steps that an operation has evidence of, each named once; it is printed.
fn steps(operation: &Value) -> Vec<String> {
    println!(
        "{} {}",
        operation["metadata"]["name"], operation["status"]["phase"]
    );
    let mut steps = Vec::new();
    for line in operation["status"]["evidence"].as_array().into_iter().flatten() {
        println!("  {} {}: {}", line["at"], line["step"], line["message"]);
        steps.push(line["step"].as_str().unwrap_or_default().to_owned());
    }
    steps.dedup();
    steps
}

/// Waits for something that a tenant says at its current generation. It serves all the time.
fn until(what: &str, name: &str, limit: Duration, is_so: impl Fn(&Value) -> bool) -> Value {
    let result = kube::until(what, limit, || {
        let object = kube::get(lab(), &["tenant", name])?;
        let serving = condition(&object, "Serving");
        assert_eq!(serving.0, "True", "{serving:?} while waiting for {what}");
        let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        Ok((current && is_so(&object)).then_some(object))
    });
    result.unwrap_or_else(|error| {
        let told = kube::kubectl(lab(), &["describe", "tenant", name]).unwrap_or_default();
        upgrades(name).iter().map(steps).for_each(drop);
        panic!("{error:#}\n{told}")
    })
}

fn runs(tenant: &Value, version: &str) -> bool {
    tenant["status"]["version"] == version && condition(tenant, "UpToDate").0 == "True"
}

fn schema(tenant: &str) -> String {
    let newest = "select max(version) from schema_migrations";
    kube::sql(lab(), &namespace(tenant), "db", newest).unwrap()
}

/// To 1.1.0: nobody notices, nothing is lost.
fn upgraded(name: &str) {
    assert_eq!(schema(name), "3");
    let load = load(name);
    change(name, &json!({"release": {"name": "board-1.1.0"}}));
    until("1.1.0", name, UPGRADED, |tenant| runs(tenant, "1.1.0"));
    go_on(&load);
    let report = ended(name, load);
    let upgrades = upgrades(name);
    assert_eq!(upgrades.len(), 1);
    let steps = steps(&upgrades[0]);
    assert_eq!(upgrades[0]["status"]["phase"], "Succeeded");
    assert_eq!(steps, STEPS);
    report.flawless().unwrap();
    assert_eq!(schema(name), "4");
    let version = owner(name).get("/version").unwrap();
    assert_eq!(version["version"], "1.1.0", "{version}");
}

/// To 1.2.0 and back: it can't list cards, and everything else goes on.
fn rolled_back(name: &str) {
    let broken = load(name);
    change(name, &json!({"release": {"name": "board-1.2.0"}}));
    let failed = |tenant: &Value| {
        condition(tenant, "UpToDate") == ("False".to_owned(), "UpgradeFailed".to_owned())
            && upgrades(name)
                .last()
                .is_some_and(|newest| newest["status"]["phase"] == "Failed")
    };
    let object = until("1.2.0 to fail", name, UPGRADED, failed);
    assert_eq!(object["status"]["version"], "1.1.0");
    let report = ended(name, broken);
    let tried = upgrades(name);
    assert_eq!(tried.len(), 2);
    let steps = steps(&tried[1]);
    assert_eq!(steps.last().map(String::as_str), Some("RollBack"), "{steps:?}");
    let elsewhere = report.failed.keys().find(|what| **what != What::List);
    assert_eq!(elsewhere, None, "1.2.0 fails at lists of cards alone\n{report}");

    // The old version serves, and the new one isn't tried again.
    let after = load(name);
    std::thread::sleep(REST);
    ended(name, after).flawless().unwrap();
    assert_eq!(upgrades(name), tried);
    let object = tenant(name);
    assert!(failed(&object), "{:#}", object["status"]);
    assert_eq!(object["status"]["version"], "1.1.0");
}

#[test]
#[ignore = "minutes, and stories/channel.rs shows the same: cargo xtask bench a_tenant_is_upgraded"]
fn a_tenant_is_upgraded_with_a_migration_under_a_load_and_a_broken_release_is_rolled_back_by_itself() {
    calm();
    let guest = guest("ascending", "standard", "board-1.0.0");
    upgraded(guest.0);
    rolled_back(guest.0);
    let tried = upgrades(guest.0);
    change(guest.0, &json!({"release": {"name": "board-1.1.0"}}));
    until("1.1.0 to be what is wanted", guest.0, MINUTE, |tenant| {
        runs(tenant, "1.1.0")
    });
    assert_eq!(upgrades(guest.0), tried, "nothing had to be done");
}

/// A good release, then a broken one, each asked for while the operator is killed at every write.
fn taken(name: &str, fault: Fault, ask: impl Fn(&str)) {
    let stand_in = StandIn::start(lab(), &operator::binary(lab()).unwrap(), &[]).unwrap();
    rest(&stand_in);
    let asked = |release: &str, phase: &str, at: usize| {
        ask(release);
        kube::until(&format!("{release}: {phase}"), UPGRADED, || {
            let newest = upgrades(name).get(at).cloned();
            Ok(newest
                .filter(|newest| newest["status"]["phase"] == phase)
                .map(drop))
        })
        .unwrap();
    };
    during(&stand_in, fault, "upgraded", || {
        asked("board-1.1.0", "Succeeded", 0)
    });
    during(&stand_in, fault, "upgraded and rolled back", || {
        asked("board-1.2.0", "Failed", 1);
    });
    let tried = upgrades(name);
    assert_eq!(tried.len(), 2);
    // Each line of evidence is one step.
    let told = |operation: &Value| operation["status"]["evidence"].as_array().map_or(0, Vec::len);
    assert_eq!((steps(&tried[0]).len(), told(&tried[0])), (5, 5));
    assert_eq!(
        steps(&tried[1]),
        ["Preflight", "Migrate", "Roll", "Smoke", "RollBack"]
    );
    assert_eq!(told(&tried[1]), 5);
    assert_eq!(tenant(name)["status"]["version"], "1.1.0");
}

#[test]
#[ignore = "minutes: cargo xtask bench the_operator_killed"]
fn the_operator_killed_after_each_write_of_an_upgrade_and_of_its_undoing_takes_each_step_once() {
    calm();
    class(CLASS, |spec| spec["upgrades"] = json!({"bake": "1s"}));
    let guest = guest("sisyphus", CLASS, "board-1.0.0");
    let ask = |release: &str| change(guest.0, &json!({"release": {"name": release}}));
    taken(guest.0, Fault::KillAfterAnswer, ask);
    guest.gone();
    kube::kubectl(lab(), &["delete", "tenantclass", CLASS]).unwrap();
}

/// By a channel, whose own writes are among them.
#[test]
#[ignore = "minutes: cargo xtask bench the_operator_killed"]
fn the_operator_killed_before_it_knows_of_its_write_takes_each_step_of_a_channel_s_upgrade_once() {
    calm();
    let rings = [channel::Ring {
        tenants: &["tantalus"],
        ..channel::DEV
    }];
    let guests = channel::guests(&rings);
    taken("tantalus", Fault::LoseAnswer, |release| {
        channel::bring(&rings, release)
    });
    let status = channel::until(&rings, "1.2.0 to be halted", |status| {
        channel::ring(status, "dev")["phase"] == "Halted"
    });
    assert_eq!(status["grants"], Value::Null, "{status:#}");
    channel::over(guests);
}
