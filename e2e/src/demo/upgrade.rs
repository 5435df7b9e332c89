//! The demo's upgrades: one that nobody notices, and one of a broken release that undoes itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::conditions;
use crate::http::User;
use crate::lab::Lab;
use crate::lab::steps::shown;
use crate::{install, kube};

/// Preflight to bake, and back.
const LIMIT: Duration = Duration::from_secs(600);
/// Between two looks at the page.
const PAUSE: Duration = Duration::from_millis(100);

/// To 1.1.0, whose migration adds to the schema; to 1.2.0, which can't list cards, and back by itself.
pub fn show(lab: &Lab, tenant: &str) -> Result<()> {
    println!("\nReleases: building 1.1.0 and the broken 1.2.0 of the sample product (some minutes, once)");
    install::later_releases(lab)?;
    // Any hour will do for a demo.
    let window = json!({"rule": "FREQ=DAILY;BYHOUR=0;BYMINUTE=0;BYSECOND=0", "duration": "24h"});
    change(lab, tenant, &json!({"maintenance": {"windows": [window]}}))?;
    let user = User::of(lab, tenant, "visitor")?;
    let over = AtomicBool::new(false);
    let (upgraded, visits) = std::thread::scope(|scope| {
        let visitor = scope.spawn(|| visit(&user, &over));
        let upgraded = both(lab, tenant);
        over.store(true, Ordering::SeqCst);
        (upgraded, visitor.join())
    });
    upgraded?;
    let (visits, failed) = visits.ok().context("the visitor")?;
    println!("  {tenant:<8} meanwhile a visitor asked for the page {visits} times: {failed} failed");
    Ok(())
}

fn both(lab: &Lab, tenant: &str) -> Result<()> {
    upgrade(lab, tenant, "board-1.1.0", "Succeeded")?;
    upgrade(lab, tenant, "board-1.2.0", "Failed")?;
    let object = kube::get(lab, &["tenant", tenant])?;
    let all = conditions(&object);
    let told = all.iter().find(|(kind, ..)| kind == "UpToDate");
    println!(
        "  {tenant:<8} UpToDate: {}",
        told.map_or("", |(_, _, message)| message)
    );
    // Whoever looks around afterwards finds a tenant that wants what it has.
    change(lab, tenant, &json!({"release": {"name": "board-1.1.0"}}))?;
    kube::wait_condition(lab, &["tenant", tenant], "UpToDate", "True", LIMIT).map(drop)
}

fn change(lab: &Lab, tenant: &str, spec: &Value) -> Result<()> {
    let patch = json!({"spec": spec}).to_string();
    kube::kubectl(lab, &["patch", "tenant", tenant, "--type=merge", "-p", &patch]).map(drop)
}

/// Asks for a release, and prints each step of the way.
fn upgrade(lab: &Lab, tenant: &str, release: &str, expected: &str) -> Result<()> {
    let known = operations(lab, tenant)?.len();
    let begin = Instant::now();
    // A demo that is repeated tries again what failed the last time.
    change(
        lab,
        tenant,
        &json!({"release": {"name": release, "retry": format!("demo-{known}")}}),
    )?;
    let mut told = 0;
    let ended = kube::until(release, LIMIT, || {
        let all = operations(lab, tenant)?;
        let Some(newest) = all.get(known) else {
            return Ok(None);
        };
        let evidence = newest["status"]["evidence"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for line in evidence.iter().skip(told) {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let took = shown(begin.elapsed());
            println!(
                "  {tenant:<8} {release}: {:<9} {} ({took})",
                text("step"),
                text("message")
            );
        }
        told = evidence.len();
        let phase = newest["status"]["phase"].as_str().unwrap_or_default();
        let over = ["Succeeded", "Failed", "Cancelled"].contains(&phase);
        Ok(over.then(|| phase.to_owned()))
    })?;
    if ended != expected {
        bail!("the upgrade of {tenant} to {release} was to end as {expected}, and is {ended}");
    }
    Ok(())
}

/// The upgrades of a tenant, in the order in which they were made.
fn operations(lab: &Lab, tenant: &str) -> Result<Vec<Value>> {
    let found = kube::get(lab, &["-n", install::NAMESPACE, "tenantoperations"])?;
    let all = found["items"].as_array().cloned().unwrap_or_default();
    let is_one = |one: &Value| one["spec"]["type"] == "Upgrade" && one["spec"]["tenant"] == tenant;
    let mut all: Vec<Value> = all.into_iter().filter(is_one).collect();
    all.sort_by_key(|one| one["metadata"]["creationTimestamp"].to_string());
    Ok(all)
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
