//! What else happens while a release is on its way to its tenants: another release, tenants that come, go and get new keys, a hotfix while
//! everything is frozen.

use std::time::Duration;

use freehold_e2e::kube;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::channel::{
    self, CALM_RATE, CHANNEL, DEV, Loads, REST, Ring, Rings, bring, flawless, follower, guests, is_verified,
    over, press, ring, tenants, time, until,
};
use crate::stage::{Guest, MINUTE, calm, change, lab, operations, upgrades, wait_ready};

const PRODUCTION: Ring = Ring {
    tenants: &["north", "south", "west"],
    ..channel::PRODUCTION
};
/// Who comes in the middle.
const NEWCOMER: &str = "east";
/// The tenants of a ring, one after the other.
const WAVE: Duration = Duration::from_secs(10 * 60);

fn grants(status: &Value) -> impl Iterator<Item = &Value> {
    status["grants"].as_array().into_iter().flatten()
}

/// The first tenant of production that is granted a release, and the two that wait.
fn turns(status: &Value, release: &str) -> Option<(&'static str, [&'static str; 2])> {
    let granted =
        |name: &str| grants(status).any(|grant| grant["tenant"] == name && grant["release"] == release);
    let (granted, waiting): (Vec<_>, Vec<_>) =
        PRODUCTION.tenants.iter().copied().partition(|name| granted(name));
    Some((granted.first().copied()?, waiting.try_into().ok()?))
}

/// Ends the load of one, and nothing of it failed.
fn left_alone(loads: Loads, name: &str) -> Loads {
    let (its, others) = loads.into_iter().partition(|(of, _)| *of == name);
    flawless(its);
    others
}

fn rekey(name: &str) {
    change(name, &json!({"keys": {"rotateTenantKey": "in-the-middle"}}));
}

/// Each was done to its end, one at a time.
fn assert_rekeyed_beside(name: &str) {
    kube::until(&format!("the new key of {name}"), MINUTE, || {
        let tenant = kube::get(lab(), &["tenant", name])?;
        Ok((tenant["status"]["keys"]["tenantKey"]["acknowledged"] == "in-the-middle").then_some(()))
    })
    .unwrap();
    let (upgrades, rotations) = (upgrades(name), operations(name, "TenantKeyRotation"));
    assert_eq!((upgrades.len(), rotations.len()), (1, 1), "{name}");
    let span = |operation: &Value| {
        assert_eq!(operation["status"]["phase"], "Succeeded", "{operation:#}");
        (
            time(&operation["status"]["startedAt"]),
            time(&operation["status"]["finishedAt"]),
        )
    };
    let (upgrade, rotation) = (span(&upgrades[0]), span(&rotations[0]));
    println!(
        "{name}: upgraded {} to {}, new key {} to {}",
        upgrade.0, upgrade.1, rotation.0, rotation.1
    );
    assert!(
        upgrade.1 <= rotation.0 || rotation.1 <= upgrade.0,
        "{name}: both at one time"
    );
}

/// 1.1.0 is on its way through production, one tenant after the other, while 1.2.0 breaks in the ring before; and while one gets it, another
/// is deleted, both others get new keys, and a new one comes.
fn wave(rings: &Rings, guests: &mut Vec<Guest>) -> Loads {
    let loads = press(PRODUCTION.tenants.iter().copied(), CALM_RATE);
    bring(rings, "board-1.1.0");
    until(rings, "1.1.0 in the ring dev", |status| {
        is_verified(status, DEV.name, "board-1.1.0")
    });
    bring(rings, "board-1.2.0");
    let status = until(rings, "two releases in flight", |status| {
        let is_tried = grants(status).any(|grant| grant["release"] == "board-1.2.0");
        is_tried && turns(status, "board-1.1.0").is_some()
    });
    let (first, [second, leaver]) = turns(&status, "board-1.1.0").unwrap();
    println!("{first} gets 1.1.0, {second} waits, {leaver} leaves, {NEWCOMER} comes; sandpit tries 1.2.0");
    rekey(first);
    rekey(second);
    guests.push(Guest::absent(NEWCOMER));
    kube::apply(lab(), &[follower(NEWCOMER, &PRODUCTION)]).unwrap();
    let loads = left_alone(loads, leaver);
    let place = guests.iter().position(|guest| guest.0 == leaver).unwrap();
    // Isn't waited for: the wave is not to wait for it either.
    drop(guests.remove(place));

    let status = until(rings, "1.1.0 in production, without who has left", |status| {
        let it = ring(status, PRODUCTION.name);
        is_verified(status, PRODUCTION.name, "board-1.1.0") && it["tenants"] == 3 && it["current"] == 3
    });
    println!("{:#}", ring(&status, PRODUCTION.name));
    assert_eq!(ring(&status, PRODUCTION.name)["failed"], 0);
    assert_rekeyed_beside(first);
    assert_rekeyed_beside(second);
    assert_eq!(wait_ready(NEWCOMER, MINUTE)["status"]["version"], "1.1.0");
    assert!(upgrades(NEWCOMER).len() <= 1);
    // What broke has come no farther, and has undone itself.
    let status = until(rings, "1.2.0 to be halted, and nobody to be upgraded", |status| {
        ring(status, DEV.name)["phase"] == "Halted" && grants(status).next().is_none()
    });
    assert_eq!(ring(&status, DEV.name)["halted"][0]["release"], "board-1.2.0");
    assert_eq!(wait_ready(DEV.tenants[0], MINUTE)["status"]["version"], "1.1.0");
    loads
}

const HOTFIX: &str = "board-1.1.1";

/// Everything is frozen: 1.1.1 comes to nobody, until it is an emergency; then to everybody.
fn hotfix(rings: &Rings, all: &[&'static str]) {
    let mut release = kube::get(lab(), &["release", "board-1.1.0"]).unwrap();
    release["metadata"] = json!({"name": HOTFIX});
    release["spec"]["version"] = json!("1.1.1");
    release["spec"]["source"]["tag"] = json!("v1.1.1");
    release.as_object_mut().unwrap().remove("status");
    kube::apply(lab(), &[release]).unwrap();
    let mut frozen = channel::channel(rings, HOTFIX, channel::GATE);
    let now = Timestamp::now();
    let hour = SignedDuration::from_hours(1);
    frozen["spec"]["freezes"] = json!([{
        "from": format!("{:.0}", now - hour), "until": format!("{:.0}", now + hour), "reason": "the end of the year"}]);
    kube::apply(lab(), &[frozen.clone()]).unwrap();
    until(rings, "the freeze", |status| {
        ring(status, DEV.name)["phase"] == "Frozen"
    });
    std::thread::sleep(REST);
    let has = |name: &str| {
        upgrades(name)
            .iter()
            .any(|operation| operation["spec"]["upgrade"]["to"] == HOTFIX)
    };
    assert!(
        !all.iter().any(|name| has(name)),
        "somebody was upgraded in the freeze"
    );

    let begin = std::time::Instant::now();
    frozen["spec"]["emergency"] = json!({"release": HOTFIX, "reason": "a hole that must be closed now"});
    kube::apply(lab(), &[frozen]).unwrap();
    for name in all {
        kube::until(&format!("1.1.1 in {name}"), WAVE, || {
            let tenant = kube::get(lab(), &["tenant", name])?;
            Ok((tenant["status"]["version"] == "1.1.1").then_some(()))
        })
        .unwrap_or_else(|error| {
            panic!(
                "{error:#}\n{:#}",
                kube::get(lab(), &["releasechannel", CHANNEL]).unwrap()
            )
        });
    }
    println!("all of {all:?} have the hotfix after {:.0?}", begin.elapsed());
    let status = until(rings, "nobody to be upgraded", |status| {
        grants(status).next().is_none()
    });
    assert_eq!(status["emergencies"][0]["release"], HOTFIX);
    assert_eq!(
        status["emergencies"][0]["reason"],
        "a hole that must be closed now"
    );
    for name in all {
        let newest = upgrades(name).pop().unwrap();
        let spec = &newest["spec"]["upgrade"];
        assert_eq!(
            (&spec["to"], &spec["urgency"]),
            (&json!(HOTFIX), &json!("Emergency")),
            "{name}"
        );
        assert_eq!(newest["status"]["phase"], "Succeeded", "{name}");
        wait_ready(name, MINUTE);
    }
}

#[test]
#[ignore = "minutes: cargo xtask bench a_wave_goes_on"]
fn a_wave_goes_on_whatever_happens_to_its_tenants_and_a_hotfix_comes_through_a_freeze() {
    calm();
    let rings = &[DEV, PRODUCTION];
    let mut guests = guests(rings);
    let mut loads = wave(rings, &mut guests);
    loads.extend(press([NEWCOMER, DEV.tenants[0]].into_iter(), CALM_RATE));
    let all: Vec<&'static str> = guests.iter().map(|guest| guest.0).collect();
    assert_eq!(all.len(), tenants(rings).count(), "one has left, one has come");
    hotfix(rings, &all);
    flawless(loads);
    over(guests);
    calm();
    kube::kubectl(lab(), &["delete", "release", HOTFIX]).unwrap();
}
