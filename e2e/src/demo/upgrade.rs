//! The demo's releases: by a channel of two rings one comes to both tenants, and nobody notices; a broken one is halted in the first
//! ring and undoes itself.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::TENANTS;
use crate::http::User;
use crate::lab::Lab;
use crate::lab::steps::shown;
use crate::{install, kube, operator};

/// A release in both rings.
const LIMIT: Duration = Duration::from_secs(900);
/// Between two looks at the page.
const PAUSE: Duration = Duration::from_millis(100);
const CHANNEL: &str = "board";
/// The label that the rings select by.
const LABEL: &str = "example.com/ring";
const RINGS: [&str; 2] = ["first", "rest"];

/// To 1.1.0, whose migration adds to the schema; to 1.2.0, which can't list cards, and back by itself.
pub fn show(lab: &Lab) -> Result<()> {
    println!("\nReleases: building 1.1.0 and the broken 1.2.0 of the sample product (a minute, once)");
    install::later_releases(lab)?;
    join(lab)?;
    let over = AtomicBool::new(false);
    let users: Vec<User> = TENANTS
        .iter()
        .map(|tenant| User::of(lab, tenant, "visitor"))
        .collect::<Result<_>>()?;
    let (brought, visits) = std::thread::scope(|scope| {
        let visitors: Vec<_> = users
            .iter()
            .map(|user| scope.spawn(|| visit(user, &over)))
            .collect();
        let brought = both(lab);
        over.store(true, Ordering::SeqCst);
        let visits: Vec<_> = visitors.into_iter().map(|visitor| visitor.join()).collect();
        (brought, visits)
    });
    brought?;
    for (tenant, visits) in TENANTS.iter().zip(visits) {
        let (visits, failed) = visits.ok().context("the visitor")?;
        println!("  {tenant:<8} meanwhile a visitor asked for the page {visits} times: {failed} failed");
    }
    leave(lab)
}

/// The tenants follow the channel, each in a ring of its own.
fn join(lab: &Lab) -> Result<()> {
    bring(lab, "board-1.0.0")?;
    // Any hour will do for a demo.
    let window = json!({"rule": "FREQ=DAILY;BYHOUR=0;BYMINUTE=0;BYSECOND=0", "duration": "24h"});
    for (tenant, ring) in TENANTS.iter().zip(RINGS) {
        let patch = json!({
            "metadata": {"labels": {LABEL: ring}},
            "spec": {"release": {"name": null, "channel": CHANNEL}, "maintenance": {"windows": [window]}},
        });
        change(lab, tenant, &patch)?;
    }
    until(lab, "1.0.0 to be what both rings have", |status| {
        RINGS
            .iter()
            .all(|name| has(status, name, "Verified", "board-1.0.0"))
    })
}

/// What runs is named again, as the samples do.
fn leave(lab: &Lab) -> Result<()> {
    for tenant in TENANTS {
        let patch = json!({"spec": {"release": {"name": "board-1.1.0", "channel": null}}});
        change(lab, tenant, &patch)?;
    }
    kube::kubectl(lab, &["delete", "releasechannel", CHANNEL])?;
    for tenant in TENANTS {
        kube::wait_condition(lab, &["tenant", tenant], "UpToDate", "True", LIMIT)?;
    }
    Ok(())
}

fn both(lab: &Lab) -> Result<()> {
    println!("\n1.1.0 is let into the first ring of the channel:");
    bring(lab, "board-1.1.0")?;
    until(lab, "1.1.0 in both rings", |status| {
        RINGS
            .iter()
            .all(|name| has(status, name, "Verified", "board-1.1.0"))
    })?;
    fleet(lab)?;
    println!("\n1.2.0, which is broken, is let into it:");
    bring(lab, "board-1.2.0")?;
    until(lab, "1.2.0 to be halted", |status| {
        has(status, RINGS[0], "Halted", "board-1.2.0")
            && status["grants"].as_array().is_none_or(Vec::is_empty)
    })?;
    fleet(lab)
}

/// The first ring by Git's word, the other one by itself.
fn bring(lab: &Lab, release: &str) -> Result<()> {
    let ring = |name: &str| json!({"name": name, "soak": "5s", "tenants": {"matchLabels": {LABEL: name}}});
    let mut first = ring(RINGS[0]);
    first["release"] = json!(release);
    kube::apply(
        lab,
        &[json!({
            "apiVersion": "freehold.dev/v1alpha1", "kind": "ReleaseChannel", "metadata": {"name": CHANNEL},
            "spec": {"product": "board", "rings": [first, ring(RINGS[1])]},
        })],
    )
    .map(drop)
}

fn change(lab: &Lab, tenant: &str, patch: &Value) -> Result<()> {
    let patch = patch.to_string();
    kube::kubectl(lab, &["patch", "tenant", tenant, "--type=merge", "-p", &patch]).map(drop)
}

fn has(status: &Value, ring: &str, phase: &str, release: &str) -> bool {
    let mut rings = status["rings"].as_array().into_iter().flatten();
    rings.any(|found| found["name"] == ring && found["phase"] == phase && found["release"] == release)
}

/// Waits for what the channel's status is to say, and prints each step of the tenants meanwhile.
fn until(lab: &Lab, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
    let begin = Instant::now();
    let mut told = evidence(lab)?;
    let ended = kube::until(what, LIMIT, || {
        let status = kube::get(lab, &["releasechannel", CHANNEL])?["status"].clone();
        for (name, lines) in evidence(lab)? {
            let known = told.get(&name).map_or(0, Vec::len);
            for line in lines.iter().skip(known) {
                println!("  {:>7}  {line}", shown(begin.elapsed()));
            }
            told.insert(name, lines);
        }
        Ok(is_so(&status).then_some(()))
    });
    if let Err(error) = ended {
        let status = kube::kubectl(lab, &["get", "releasechannel", CHANNEL, "-o", "yaml"])?;
        bail!("{error:#}\n{status}");
    }
    Ok(())
}

/// What was done by each upgrade, in words.
fn evidence(lab: &Lab) -> Result<BTreeMap<String, Vec<String>>> {
    let found = kube::get(lab, &["-n", install::NAMESPACE, "tenantoperations"])?;
    let all = found["items"].as_array().cloned().unwrap_or_default();
    let upgrades = all.into_iter().filter(|one| one["spec"]["type"] == "Upgrade");
    let told = |one: Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let tenant = text(&one["spec"]["tenant"]);
        let to = text(&one["spec"]["upgrade"]["toVersion"]);
        let lines = one["status"]["evidence"].as_array().cloned().unwrap_or_default();
        let line = |line: &Value| {
            format!(
                "{tenant:<8} {to}: {:<9} {}",
                text(&line["step"]),
                text(&line["message"])
            )
        };
        (text(&one["metadata"]["name"]), lines.iter().map(line).collect())
    };
    Ok(upgrades.map(told).collect())
}

/// The picture that a platform engineer looks at.
fn fleet(lab: &Lab) -> Result<()> {
    let shown = Command::new(operator::binary(lab)?)
        .args(["fleet", "status", CHANNEL])
        .env("KUBECONFIG", lab.kubeconfig())
        .output()
        .context("freehold fleet status")?;
    if !shown.status.success() {
        bail!(
            "freehold fleet status: {}",
            String::from_utf8_lossy(&shown.stderr)
        );
    }
    println!("\n$ freehold fleet status");
    print!("{}", String::from_utf8_lossy(&shown.stdout));
    Ok(())
}

/// Asks for the page again and again; how often, and how often there was none.
fn visit(user: &User, over: &AtomicBool) -> (u64, u64) {
    let (mut visits, mut failed) = (0, 0);
    while !over.load(Ordering::SeqCst) {
        visits += 1;
        if user.get("/version.json").is_err() {
            failed += 1;
        }
        std::thread::sleep(PAUSE);
    }
    (visits, failed)
}
