//! `cargo xtask demo`: the lab, Freehold on it, two tenants, and what they can do, shown.

mod upgrade;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::http::{self, User};
use crate::install::TENANTS;
use crate::lab::image::Image;
use crate::lab::steps::{self, shown};
use crate::lab::up::{self, Made, made};
use crate::lab::{Lab, net, preflight};
use crate::probe::{self, Target};
use crate::{install, kube, tls};

/// Everything from a fresh machine to two tenants that serve.
pub fn run(lab: &Lab) -> Result<()> {
    let begin = Instant::now();
    let images = prepare(lab)?;
    let (board, postgresql) = (made(&images, "board")?, made(&images, "postgresql")?);
    let installed = begin.elapsed();
    println!(
        "\nmanifests/samples: a class, a release, tenants {}",
        TENANTS.join(" and ")
    );
    let applied = Instant::now();
    install::samples(lab, &board, &postgresql)?;
    let times = follow(lab, applied)?;
    println!();
    isolation(lab, &postgresql)?;
    verified(lab)?;
    tls::show(lab, TENANTS[0])?;
    rotated(lab, TENANTS[0])?;
    reencrypted(lab, TENANTS[0])?;
    revoked(lab, TENANTS[1])?;
    upgrade::show(lab)?;
    refusals(lab)?;
    sleep_and_wake(lab, TENANTS[1])?;
    for tenant in TENANTS {
        describe(lab, tenant, times.get(tenant).copied())?;
    }
    println!(
        "\nLab and chart took {}, the whole demo {}.",
        shown(installed),
        shown(begin.elapsed())
    );
    println!(
        "Look around:  cargo xtask kubectl get tenants     cargo xtask status     cargo xtask logs freehold"
    );
    println!("End it all:   cargo xtask down");
    Ok(())
}

/// The lab with Freehold's charts, and the images that were made on the way.
pub fn prepare(lab: &Lab) -> Result<Made> {
    preflight::check(lab)?;
    std::fs::create_dir_all(lab.dir.join("bin"))?;
    let images = Made::default();
    let mut all = up::steps(lab, up::nodes_running(lab).max(1), &images);
    all.extend(install::steps(lab, &images));
    steps::run(all)?;
    Ok(images)
}

/// Waits until the tenants are ready; prints each step that a tenant takes, with the time since `applied`.
pub fn follow(lab: &Lab, applied: Instant) -> Result<BTreeMap<&'static str, Duration>> {
    let mut told: BTreeMap<(&str, String), String> = BTreeMap::new();
    let mut ready = BTreeMap::new();
    while ready.len() < TENANTS.len() {
        for tenant in TENANTS
            .into_iter()
            .filter(|t| !ready.contains_key(t))
            .collect::<Vec<_>>()
        {
            let Ok(object) = kube::get(lab, &["tenant", tenant]) else {
                continue;
            };
            for (condition, status, message) in conditions(&object) {
                let before = told.insert((tenant, condition.clone()), status.clone());
                let progress = status == "True" && condition != "Stalled" && condition != "Reconciling";
                if progress && before.as_deref() != Some(status.as_str()) {
                    println!(
                        "  {:>7}  {tenant:<8} {condition}: {message}",
                        shown(applied.elapsed())
                    );
                }
            }
            let fresh = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            if fresh && kube::condition(&object, "Ready") == "True" {
                ready.insert(tenant, applied.elapsed());
            }
        }
        if applied.elapsed() > Duration::from_secs(300) {
            bail!(
                "the tenants were not Ready within 300 s:\n{}",
                kube::kubectl(lab, &["describe", "tenants"])?
            );
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(ready)
}

fn conditions(tenant: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let all = tenant["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    all.iter()
        .map(|c| (text(&c["type"]), text(&c["status"]), text(&c["message"])))
        .collect()
}

/// What a tenant's pod reaches, beside an unrestricted one: the proof that tenants are apart.
fn isolation(lab: &Lab, image: &Image) -> Result<()> {
    let (acme, globex) = (
        http::namespace(lab, TENANTS[0])?,
        http::namespace(lab, TENANTS[1])?,
    );
    probe::start_control(lab, &image.reference)?;
    probe::start(
        lab,
        &acme,
        "probe",
        &image.reference,
        &json!({"freehold.dev/tier": "application"}),
    )?;
    let targets = [
        probe::service(lab, "acme's database", &acme, "db-rw", 5432)?,
        probe::service(lab, "globex's database", &globex, "db-rw", 5432)?,
        probe::service(lab, "globex's API", &globex, "api", 8080)?,
        Target {
            what: "cloud metadata".into(),
            host: net::METADATA.into(),
            port: 80,
        },
        Target {
            what: "the API server".into(),
            host: net::API_SERVICE.into(),
            port: 443,
        },
    ];
    let from_acme = probe::reach(lab, &acme, "probe", &targets)?;
    let from_control = probe::reach(lab, probe::CONTROL, "control", &targets)?;
    probe::remove(lab, &acme, "probe");
    probe::remove(lab, probe::CONTROL, "control");
    let word = |reached: bool| if reached { "reached" } else { "blocked" };
    println!("Isolation, by packet:    from acme's application tier    from an unrestricted pod");
    for (acme, control) in from_acme.iter().zip(&from_control) {
        println!(
            "  {:<22} {:<31} {}",
            acme.target.what,
            word(acme.reached),
            word(control.reached)
        );
    }
    Ok(())
}

/// What the operator itself found out about the isolation, by pods of its own.
fn verified(lab: &Lab) -> Result<()> {
    println!("\nIsolation, as the operator verifies it on schedule and after each change of policies:");
    for tenant in TENANTS {
        let what = ["tenant", tenant];
        let object = kube::wait_condition(lab, &what, "IsolationVerified", "True", Duration::from_secs(120))?;
        let all = conditions(&object);
        let message = all.iter().find(|(kind, ..)| kind == "IsolationVerified");
        println!("  {tenant:<8} {}", message.map_or("", |(_, _, message)| message));
    }
    Ok(())
}

/// The keys of each tenant's own, and one rotation on demand: nothing restarts.
fn rotated(lab: &Lab, tenant: &str) -> Result<()> {
    println!("\nKeys of each tenant's own:");
    for tenant in TENANTS {
        let object = kube::wait_condition(
            lab,
            &["tenant", tenant],
            "KeysCurrent",
            "True",
            Duration::from_secs(60),
        )?;
        let all = conditions(&object);
        for kind in ["VolumesEncrypted", "KeysCurrent"] {
            let message = all.iter().find(|(found, ..)| found == kind);
            println!("  {tenant:<8} {}", message.map_or("", |(_, _, message)| message));
        }
    }
    let object = kube::get(lab, &["tenant", tenant])?;
    let version = object["status"]["keys"]["tenantKey"]["version"]
        .as_u64()
        .unwrap_or_default();
    let word = format!("demo-{version}");
    let begin = Instant::now();
    let patch = json!({"spec": {"keys": {"rotateTenantKey": word}}}).to_string();
    kube::kubectl(lab, &["patch", "tenant", tenant, "--type=merge", "-p", &patch])?;
    let keys = kube::until("the rotation", Duration::from_secs(60), || {
        let object = kube::get(lab, &["tenant", tenant])?;
        let keys = object["status"]["keys"]["tenantKey"].clone();
        Ok((keys["acknowledged"] == word.as_str()).then_some(keys))
    })?;
    println!(
        "  {tenant:<8} rotated on demand to version {} after {}: each data key is wrapped by it, the old version is destroyed",
        keys["version"],
        shown(begin.elapsed())
    );
    Ok(())
}

/// The tenant's authority is replaced at once, as if somebody else had it.
fn revoked(lab: &Lab, tenant: &str) -> Result<()> {
    println!("\nA certificate authority that somebody else may have:");
    let authority = |object: &Value| object["status"]["authority"].clone();
    let short = |authority: &Value| -> String {
        let fingerprint = authority["fingerprint"].as_str().unwrap_or_default();
        fingerprint.chars().take(12).collect()
    };
    let before = authority(&kube::get(lab, &["tenant", tenant])?);
    let word = format!("demo-{}", short(&before));
    let begin = Instant::now();
    let patch = json!({"spec": {"certificates": {"revokeAuthority": word}}}).to_string();
    kube::kubectl(lab, &["patch", "tenant", tenant, "--type=merge", "-p", &patch])?;
    let after = kube::until("the new authority", Duration::from_secs(240), || {
        let after = authority(&kube::get(lab, &["tenant", tenant])?);
        Ok((after["revocationAcknowledged"] == word.as_str()).then_some(after))
    })?;
    println!(
        "  {tenant:<8} {} was replaced by {} after {}: no bundle holds the old root, every pod shows a certificate of the new one",
        short(&before),
        short(&after),
        shown(begin.elapsed())
    );
    Ok(())
}

/// The database moves to volumes with new data keys, step by step, while it is used.
fn reencrypted(lab: &Lab, tenant: &str) -> Result<()> {
    let ids = |object: &Value| -> Vec<String> {
        let keys = object["status"]["keys"]["dataKeys"]
            .as_array()
            .into_iter()
            .flatten();
        keys.filter_map(|key| key["id"].as_str().map(str::to_owned))
            .collect()
    };
    let before = kube::get(lab, &["tenant", tenant])?;
    let word = format!(
        "demo-{}",
        before["metadata"]["resourceVersion"].as_str().unwrap_or("1")
    );
    let begin = Instant::now();
    let patch = json!({"spec": {"keys": {"rotateDataKeys": word}}}).to_string();
    kube::kubectl(lab, &["patch", "tenant", tenant, "--type=merge", "-p", &patch])?;
    let mut told = String::new();
    let after = kube::until("the new data keys", Duration::from_secs(300), || {
        let object = kube::get(lab, &["tenant", tenant])?;
        let message = conditions(&object)
            .into_iter()
            .find(|(kind, ..)| kind == "KeysCurrent");
        let message = message.map_or(String::new(), |(_, _, message)| message.to_owned());
        let step = message.split(" (").next().unwrap_or_default();
        if step.contains("moves to volumes") && step != told {
            step.clone_into(&mut told);
            println!("  {tenant:<8} {step} ({})", shown(begin.elapsed()));
        }
        let done = object["status"]["keys"]["dataKeysAcknowledged"] == word.as_str();
        Ok(done.then_some(object))
    })?;
    println!(
        "  {tenant:<8} written anew under new data keys after {}: {} became {}",
        shown(begin.elapsed()),
        ids(&before).join(", "),
        ids(&after).join(", ")
    );
    Ok(())
}

/// Slips of the hand, and what the API server or the tenant answers.
fn refusals(lab: &Lab) -> Result<()> {
    println!("\nWhat is refused, with what to do instead:");
    let patch = |spec: Value| json!({"spec": spec}).to_string();
    let region = patch(json!({"region": "us-east"}));
    let sso = patch(json!({"egress": [{"cidr": "169.254.169.254/32", "ports": [{"port": 80}]}]}));
    let slips: [(&str, Vec<&str>); 4] = [
        (
            "delete a tenant",
            vec!["delete", "tenant", TENANTS[0], "--wait=false"],
        ),
        (
            "delete the definition",
            vec!["delete", "crd", "tenants.freehold.dev", "--wait=false"],
        ),
        (
            "move its data",
            vec!["patch", "tenant", TENANTS[0], "--type=merge", "-p", &region],
        ),
        (
            "reach cloud metadata",
            vec!["patch", "tenant", TENANTS[0], "--type=merge", "-p", &sso],
        ),
    ];
    for (what, arguments) in slips {
        let Err(error) = kube::kubectl(lab, &arguments) else {
            bail!("{what} was not refused")
        };
        let told = format!("{error:#}").replace('\n', " ");
        let told = told.rsplit("denied request: ").next().unwrap_or(&told);
        let told = told.rsplit("is invalid: ").next().unwrap_or(told).trim();
        println!("  {what:<22} {}", told.chars().take(200).collect::<String>());
    }
    Ok(())
}

/// A tenant is suspended, and wakes with its data.
fn sleep_and_wake(lab: &Lab, tenant: &str) -> Result<()> {
    println!();
    for (state, serving) in [("Suspended", "False"), ("Active", "True")] {
        let begin = Instant::now();
        let patch = json!({"spec": {"desiredState": state}}).to_string();
        kube::kubectl(lab, &["patch", "tenant", tenant, "--type=merge", "-p", &patch])?;
        kube::until(
            &format!("{tenant} to be {state}"),
            Duration::from_secs(180),
            || {
                let object = kube::get(lab, &["tenant", tenant])?;
                let fresh = object["status"]["observedGeneration"] == object["metadata"]["generation"];
                let there = kube::condition(&object, "Ready") == "True"
                    && kube::condition(&object, "Serving") == serving;
                Ok((fresh && there).then_some(()))
            },
        )?;
        let what = if serving == "True" {
            "serves again"
        } else {
            "sleeps, its data is kept"
        };
        println!(
            "{tenant}: desiredState {state}: {what} after {}",
            shown(begin.elapsed())
        );
    }
    Ok(())
}

fn describe(lab: &Lab, tenant: &str, took: Option<Duration>) -> Result<()> {
    let user = User::of(lab, tenant, "demo")?;
    let namespace = http::namespace(lab, tenant)?;
    let version = user.get("/version")?;
    println!(
        "\n{tenant}  {}  version {}",
        user.base,
        version["version"].as_str().unwrap_or("?")
    );
    // One that was ready before is found so at the first look.
    if let Some(took) = took.filter(|took| *took > Duration::from_secs(3)) {
        println!("  ready after    {}", shown(took));
    }
    println!(
        "  curl           curl --cacert {} {}/version",
        user.authority.display(),
        user.base
    );
    let token = kube::secret(lab, &namespace, "owner", "token")?;
    let claimed = user
        .post("/api/welcome/check", &json!({"token": token.trim()}))
        .is_err();
    if claimed {
        println!(
            "  log in         {}/ (the account owner's one-time link was used)",
            user.base
        );
    } else {
        println!(
            "  log in         {}/welcome#{} (once, as the account owner)",
            user.base,
            token.trim()
        );
    }
    println!(
        "  look inside    cargo xtask kubectl -n {namespace} get pods,clusters,networkpolicies,gateways"
    );
    println!("                 cargo xtask kubectl get tenant {tenant} -o yaml");
    Ok(())
}
