//! Two hundred tenants at once: fake nodes take their pods, a stand-in takes the databases' part, everything else is real.

use std::time::{Duration, Instant};

use freehold_e2e::kube;
use freehold_e2e::scale::{LABEL, OPERATOR, Scale, TAINT, mark, requests_of};
use serde_json::{Value, json};

use crate::stage::{MINUTE, lab, tenant_manifest, wait_ready};

/// The most requests that a tenant's creation may take, as a multiple of the objects that the operator makes for it: beside
/// those, a finalizer, a few statuses, and what is refused in the moment before a new right is known everywhere.
const MOST: f64 = 1.25;

/// The sample class on the fake nodes.
fn class() -> Value {
    let mut class = kube::get(lab(), &["tenantclass", "standard"]).unwrap();
    class["metadata"] = json!({"name": "scale"});
    class["spec"]["placement"] = json!({
        "nodeSelector": {LABEL.0: LABEL.1},
        "tolerations": [{"key": TAINT.0, "operator": "Exists", "effect": "NoSchedule"}],
    });
    class
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("scale-{n:03}")).collect()
}

fn ready(names: &[String]) -> usize {
    let all = kube::get(lab(), &["tenants"]).unwrap();
    let all = all["items"].as_array().unwrap();
    let ready = |tenant: &&Value| {
        kube::condition(tenant, "Ready") == "True"
            && names
                .iter()
                .any(|name| tenant["metadata"]["name"] == name.as_str())
    };
    all.iter().filter(ready).count()
}

/// The resident memory of the operator that leads, in MiB: the largest of its processes.
fn memory() -> u64 {
    let pids = kube::processes("freehold", "run");
    let resident = |pid: &i32| -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    pids.iter().filter_map(resident).max().unwrap_or_default() / 1024
}

#[test]
fn many_tenants_at_once_become_ready_with_few_requests_and_then_rest() {
    let count: usize = std::env::var("FREEHOLD_SCALE")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(40);
    for tenant in ["acme", "globex"] {
        wait_ready(tenant, MINUTE);
    }
    let names = names(count);
    let scale = Scale::start(lab(), 4).unwrap();
    kube::apply(lab(), &[class()]).unwrap();
    let manifests: Vec<Value> = names
        .iter()
        .map(|name| {
            let mut manifest = tenant_manifest(name, 1);
            manifest["spec"]["className"] = json!("scale");
            manifest
        })
        .collect();
    let before = mark(lab()).unwrap();
    let begin = Instant::now();
    kube::apply(lab(), &manifests).unwrap();
    let applied = begin.elapsed();
    kube::until("all tenants to be Ready", 15 * MINUTE, || {
        Ok((ready(&names) == count).then_some(()))
    })
    .unwrap();
    let took = begin.elapsed();
    // The verification of their isolation follows; on fake nodes no pod tells, so it is given up after two minutes.
    kube::until("every verification to be over", 5 * MINUTE, || {
        let pods = kube::get(
            lab(),
            &["-A", "pods", "-l", "app.kubernetes.io/managed-by=freehold"],
        )?;
        Ok(pods["items"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })
    .unwrap();
    let requests = requests_of(lab(), OPERATOR, before).unwrap();
    let sum = |counts: &dyn Fn(&str, &str) -> bool| -> u64 {
        let counted = requests
            .iter()
            .filter(|((verb, resource), _)| counts(verb, resource));
        counted.map(|(_, n)| n).sum()
    };
    // Its verification is apart: pods that are deleted again, and a record that is written three times.
    let verification = |verb: &str, resource: &str| {
        resource.starts_with("pods") || (resource.starts_with("configmaps") && verb != "create")
    };
    let made = |verb: &str, resource: &str| !resource.starts_with("leases") && !verification(verb, resource);
    let records = count as u64;
    let total = sum(&|verb, resource| made(verb, resource)) - records;
    let objects = sum(&|verb, resource| verb == "create" && made(verb, resource)) - records;
    let verifying = sum(&|verb, resource| verification(verb, resource)) + records;
    let mut rows: Vec<_> = requests.iter().collect();
    rows.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    for ((verb, resource), n) in rows.iter().take(30) {
        println!("  {:>7.1}  {verb} {resource}", **n as f64 / count as f64);
    }
    let ratio = total as f64 / objects as f64;
    println!(
        "{count} tenants: applied in {:.1} s, all Ready after {:.1} s; {:.1} requests and {:.1} objects for each: {ratio:.2}; \
         {:.1} requests for the verification of each; operator {} MiB",
        applied.as_secs_f64(),
        took.as_secs_f64(),
        total as f64 / count as f64,
        objects as f64 / count as f64,
        verifying as f64 / count as f64,
        memory(),
    );

    let rest = mark(lab()).unwrap();
    std::thread::sleep(Duration::from_secs(30));
    let at_rest = requests_of(lab(), OPERATOR, rest).unwrap();
    let loud: Vec<_> = at_rest
        .iter()
        // The watches' renewals, the lease, and where the API server is, every five minutes.
        .filter(|((verb, resource), _)| {
            let known = ["leases", "services", "endpointslices"];
            verb != "watch" && !known.iter().any(|of| resource.starts_with(of))
        })
        .collect();
    println!("at rest, in 30 s: {loud:?}");
    for name in &names {
        crate::stage::unprotect(name, "Delete").unwrap();
    }
    kube::until("all to be Deletable", 5 * MINUTE, || {
        let all = kube::get(lab(), &["tenants"])?;
        let all = all["items"].as_array().cloned().unwrap_or_default();
        let deletable = |name: &String| {
            all.iter()
                .any(|t| t["metadata"]["name"] == name.as_str() && kube::condition(t, "Deletable") == "True")
        };
        Ok(names.iter().all(deletable).then_some(()))
    })
    .unwrap();
    let list: Vec<&str> = names.iter().map(String::as_str).collect();
    kube::kubectl(
        lab(),
        &[&["delete", "tenant", "--timeout=900s"], list.as_slice()].concat(),
    )
    .unwrap();
    drop(scale);
    kube::kubectl(lab(), &["delete", "tenantclass", "scale"]).unwrap();
    // Only now, so that nothing is left when it is not so.
    assert!(loud.is_empty(), "requests at rest: {loud:?}");
    assert!(ratio <= MOST, "{ratio:.2} > {MOST}");
}
