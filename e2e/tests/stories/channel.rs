//! Releases come to tenants by rings: a good one to all of them without anybody noticing, a bad one to nobody but the first; and one that is
//! recalled leaves all of them at once.

use std::time::Duration;

use freehold_e2e::load::{Load, Plan, Report, What};
use freehold_e2e::{install, kube};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::stage::{Guest, MINUTE, assert_nothing_lost, calm, lab, owner, tenant_manifest, wait_ready};

/// Requests in a second to each tenant.
const RATE: u32 = 50;
/// How many requests are answered before something happens, and after it.
const SOME: u64 = 200;
/// A release in every ring.
const EVERYWHERE: Duration = Duration::from_secs(15 * 60);
/// How long a release must have been verified in the ring before.
const SOAK: Duration = Duration::from_secs(5);
/// Within this a release that was halted is given to nobody.
const REST: Duration = Duration::from_secs(20);

const CHANNEL: &str = "board";
/// The tenants with what their rings select by.
const TENANTS: [(&str, &str); 4] = [
    ("sandpit", "Development"),
    ("rehearsal", "Testing"),
    ("north", "Production"),
    ("south", "Production"),
];
const RINGS: [&str; 3] = ["dev", "qe", "production"];

fn channel(release: &str) -> Value {
    let soak = format!("{}s", SOAK.as_secs());
    let ring = |name: &str, environment: &str| json!({"name": name, "soak": soak, "tenants": {"environments": [environment]}});
    let mut dev = ring("dev", "Development");
    // Promotion by Git: all three versions of the lab are published already.
    dev["autoPromote"] = json!(false);
    dev["release"] = json!(release);
    let mut production = ring("production", "Production");
    production["tenants"]["environments"] = json!(["Production", "Staging"]);
    json!({
        "apiVersion": "freehold.dev/v1alpha1", "kind": "ReleaseChannel", "metadata": {"name": CHANNEL},
        "spec": {"product": "board", "rings": [dev, ring("qe", "Testing"), production]},
    })
}

/// The four tenants, each with the release that has come into its ring.
fn guests() -> Vec<Guest> {
    lab();
    install::later_releases(lab()).unwrap();
    let guests: Vec<Guest> = TENANTS.iter().map(|(name, _)| Guest::absent(name)).collect();
    kube::kubectl(
        lab(),
        &["delete", "releasechannel", CHANNEL, "--ignore-not-found"],
    )
    .unwrap();
    kube::apply(lab(), &[channel("board-1.0.0")]).unwrap();
    let manifests: Vec<Value> = TENANTS
        .iter()
        .map(|(name, environment)| {
            let mut manifest = tenant_manifest(name, 1);
            manifest["spec"]["environment"] = json!(environment);
            manifest["spec"]["release"] = json!({"channel": CHANNEL});
            manifest["spec"]["maintenance"] = json!({"windows": [
                {"rule": "FREQ=DAILY;BYHOUR=0;BYMINUTE=0;BYSECOND=0", "duration": "24h"}]});
            manifest
        })
        .collect();
    kube::apply(lab(), &manifests).unwrap();
    for (name, _) in TENANTS {
        let tenant = wait_ready(name, 5 * MINUTE);
        assert_eq!(tenant["status"]["version"], "1.0.0", "{name}");
    }
    guests
}

fn status() -> Value {
    kube::get(lab(), &["releasechannel", CHANNEL]).unwrap()["status"].clone()
}

fn ring(status: &Value, name: &str) -> Value {
    let mut rings = status["rings"].as_array().into_iter().flatten();
    rings
        .find(|ring| ring["name"] == name)
        .cloned()
        .unwrap_or_default()
}

/// Waits for something that the channel's status says.
fn until(what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let result = kube::until(what, EVERYWHERE, || {
        let status = kube::get(lab(), &["releasechannel", CHANNEL])?["status"].clone();
        Ok(is_so(&status).then_some(status))
    });
    result.unwrap_or_else(|error| panic!("{error:#}\n{:#}\n{}", status(), told()))
}

/// What every tenant's record says, for whoever looks for the cause.
fn told() -> String {
    let of = |name: &str| kube::kubectl(lab(), &["describe", "tenant", name]).unwrap_or_default();
    TENANTS.map(|(name, _)| of(name)).join("\n")
}

/// Every ring has a release, and it is verified there.
fn is_everywhere(status: &Value, release: &str) -> bool {
    RINGS.iter().all(|name| {
        let ring = ring(status, name);
        ring["phase"] == "Verified" && ring["release"] == release && ring["stable"] == release
    })
}

fn bring(release: &str) {
    kube::apply(lab(), &[channel(release)]).unwrap();
}

fn press() -> Vec<(&'static str, Load)> {
    let start = |name: &'static str| (name, Load::start(Plan::on(&owner(name), RATE).unwrap()).unwrap());
    let loads: Vec<_> = TENANTS.iter().map(|(name, _)| start(name)).collect();
    go_on(&loads);
    loads
}

/// Waits until some more requests were made of each tenant.
fn go_on(loads: &[(&str, Load)]) {
    for (name, load) in loads {
        let goal = load.report().requests + SOME;
        kube::until(&format!("some more requests to {name}"), MINUTE, || {
            Ok((load.report().requests >= goal).then_some(()))
        })
        .unwrap();
    }
}

/// What the loads saw; whatever that was, nothing that was promised is lost.
fn ended(loads: Vec<(&'static str, Load)>) -> Vec<(&'static str, Report)> {
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

/// The upgrades of this life of a tenant, in the order in which they were made.
fn upgrades(name: &str) -> Vec<Value> {
    let found = kube::get(lab(), &["-n", install::NAMESPACE, "tenantoperations"]).unwrap();
    let life = kube::get(lab(), &["tenant", name]).unwrap()["status"]["incarnation"].clone();
    let mut upgrades = found["items"].as_array().cloned().unwrap_or_default();
    upgrades.retain(|operation| {
        let spec = &operation["spec"];
        spec["type"] == "Upgrade" && spec["tenant"] == name && spec["incarnation"] == life
    });
    upgrades.sort_by_key(|operation| operation["metadata"]["creationTimestamp"].to_string());
    upgrades
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// To 1.1.0, ring by ring; the operator is killed in the middle.
fn good() {
    let loads = press();
    bring("board-1.1.0");
    until("1.1.0 to come to qe", |status| {
        ring(status, "qe")["release"] == "board-1.1.0"
    });
    kube::kill(&kube::processes("freehold", "run"));
    let status = until("1.1.0 in every ring", |status| {
        is_everywhere(status, "board-1.1.0")
    });
    for (name, report) in ended(loads) {
        report
            .flawless()
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
    let verified = |name: &str| time(&ring(&status, name)["verified"][0]["at"]);
    let before = |name: &str| match name {
        "sandpit" => None,
        "rehearsal" => Some(verified("dev")),
        _ => Some(verified("qe")),
    };
    for ((name, _), ring) in TENANTS.iter().zip(["dev", "qe", "production", "production"]) {
        let all = upgrades(name);
        assert_eq!(all.len(), 1, "{name}");
        let (spec, status) = (&all[0]["spec"]["upgrade"], &all[0]["status"]);
        assert_eq!(status["phase"], "Succeeded", "{name}");
        assert_eq!(spec["grantedBy"], format!("{CHANNEL}/{ring}"));
        let began = time(&all[0]["metadata"]["creationTimestamp"]);
        println!("{name} ({ring}): {began} to {}", status["finishedAt"]);
        if let Some(before) = before(name) {
            assert!(began >= before + SOAK, "{name} began before {ring} was let in");
        }
        let version = owner(name).get("/version").unwrap();
        assert_eq!(version["version"], "1.1.0", "{name}");
    }
    assert_eq!(status["grants"].as_array().map_or(0, Vec::len), 0);
}

/// To 1.2.0, which can't list cards: it fails in the first ring, and comes no farther.
fn bad() {
    let loads = press();
    bring("board-1.2.0");
    until("1.2.0 to be halted", |status| {
        ring(status, "dev")["phase"] == "Halted"
    });
    let status = until("nobody to be upgraded", |status| {
        status["grants"].as_array().is_none_or(Vec::is_empty)
    });
    println!("{:#}", ring(&status, "dev"));
    std::thread::sleep(REST);
    for (name, report) in ended(loads) {
        if name == "sandpit" {
            let elsewhere = report.failed.keys().find(|what| **what != What::List);
            assert_eq!(elsewhere, None, "1.2.0 fails at lists of cards alone\n{report}");
        } else {
            report
                .flawless()
                .unwrap_or_else(|error| panic!("{name}: {error:#}"));
        }
        let object = wait_serving(name);
        assert_eq!(object["status"]["version"], "1.1.0", "{name}");
        let tried = upgrades(name);
        assert_eq!(tried.len(), if name == "sandpit" { 2 } else { 1 }, "{name}");
    }
    assert_eq!(upgrades("sandpit")[1]["status"]["phase"], "Failed");
    assert_eq!(ring(&status, "dev")["halted"][0]["release"], "board-1.2.0");
    for name in ["qe", "production"] {
        assert_eq!(ring(&status, name)["release"], "board-1.1.0", "{name}");
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
fn recalled() {
    let loads = press();
    recall(&json!({"reason": "a story", "action": "RollBack"}));
    let began = std::time::Instant::now();
    for (name, _) in TENANTS {
        kube::until(&format!("{name} to go back"), EVERYWHERE, || {
            let object = kube::get(lab(), &["tenant", name])?;
            let newest = upgrades(name).last().cloned().unwrap_or_default();
            let is_back = object["status"]["version"] == "1.0.0"
                && newest["spec"]["upgrade"]["to"] == "board-1.0.0"
                && newest["status"]["phase"] == "Succeeded";
            Ok(is_back.then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", told()));
    }
    println!("all of them have gone back after {:.0?}", began.elapsed());
    for (name, report) in ended(loads) {
        report
            .flawless()
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
}

#[test]
fn a_release_comes_by_rings_under_a_load_a_broken_one_no_farther_than_the_first_and_a_recall_is_everywhere_at_once()
 {
    calm();
    let guests = guests();
    good();
    bad();
    recalled();
    drop(guests);
    recall(&Value::Null);
    kube::kubectl(lab(), &["delete", "releasechannel", CHANNEL]).unwrap();
}
