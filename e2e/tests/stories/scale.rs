//! Hundreds of tenants at once, and all of their keys rotated at once: fake nodes take their pods, a stand-in takes the
//! databases' part, everything else is real.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freehold_e2e::scale::{LABEL, Marker, OPERATOR, Requests, Scale, TAINT, TENANTS, mark, requests_of};
use freehold_e2e::{install, kube, leaving};
use serde_json::{Value, json};

use crate::stage::{MINUTE, calm, lab, tenant_manifest, wait_ready};

/// The most requests that a tenant's creation may take, as a multiple of the objects that the operator makes for it: beside
/// those, a finalizer, a few statuses, and what is refused in the moment before a new right is known everywhere.
const MOST: f64 = 1.25;
/// The most requests that the rotation of a tenant key may take: five writes of its record, for one volume a read and a
/// write of the wrapped key, a list of them before the old version is destroyed, the tenant's status at each step, and half as
/// much again for what was written by somebody else in the meantime.
const MOST_OF_A_ROTATION: f64 = 14.0;
/// How long the operator asks for nothing before it counts as rest.
const REST: Duration = Duration::from_secs(5);

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

/// Those of the tenants that are there, by name.
fn tenants(names: &[String]) -> BTreeMap<String, Value> {
    let all = kube::get(lab(), &["tenants"]).unwrap();
    let all = all["items"].as_array().unwrap().iter();
    let named = all.map(|tenant| {
        (
            tenant["metadata"]["name"].as_str().unwrap().to_owned(),
            tenant.clone(),
        )
    });
    named.filter(|(name, _)| names.contains(name)).collect()
}

fn count(names: &[String], holds: impl Fn(&Value) -> bool) -> usize {
    tenants(names).values().filter(|tenant| holds(tenant)).count()
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

/// The verification of the isolation is counted apart: pods that are deleted again, and a record that is written three
/// times.
fn is_verification(verb: &str, resource: &str) -> bool {
    resource.starts_with("pods") || (resource.starts_with("configmaps") && verb != "create")
}

fn sum(requests: &Requests, counts: impl Fn(&str, &str) -> bool) -> u64 {
    let counted = requests
        .iter()
        .filter(|((verb, resource), _)| counts(verb, resource));
    counted.map(|(_, n)| n).sum()
}

/// What each tenant took, the most frequent first.
fn show(requests: &Requests, tenants: usize) {
    let mut rows: Vec<_> = requests.iter().collect();
    rows.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    for ((verb, resource), n) in rows.iter().take(30) {
        println!("  {:>7.1}  {verb} {resource}", **n as f64 / tenants as f64);
    }
}

/// Requests that have nothing to do with a tenant: the watches' renewals, the lease, and where the API server is, every
/// five minutes.
fn is_upkeep(verb: &str, resource: &str) -> bool {
    let known = ["leases", "services", "endpointslices"];
    verb.starts_with("watch") || known.iter().any(|of| resource.starts_with(of))
}

/// Requests that are about keys, when nothing else is under way.
fn counts(verb: &str, resource: &str) -> bool {
    !is_upkeep(verb, resource) && !is_verification(verb, resource)
}

/// The operator's requests since a mark, once it makes no more.
fn until_rest(since: Marker) -> Requests {
    let (mut last, mut at) = (0, Instant::now());
    kube::until("the operator to rest", 2 * MINUTE, || {
        let requests = requests_of(lab(), OPERATOR, since)?;
        let now = sum(&requests, counts);
        if now != last {
            (last, at) = (now, Instant::now());
        }
        Ok((at.elapsed() >= REST).then_some(requests))
    })
    .unwrap()
}

#[test]
#[ignore = "minutes: cargo xtask bench many_tenants"]
fn many_tenants_at_once_become_ready_and_rotate_their_keys_with_few_requests_and_then_rest() {
    calm();
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
    let ratio = create(&names);
    let loud = rest();
    let rotation = rotate(&names);
    delete(&names);
    drop(scale);
    kube::kubectl(lab(), &["delete", "tenantclass", "scale"]).unwrap();
    // Only now, so that nothing is left when it is not so.
    assert_eq!(rotation.wrong, Vec::<String>::new());
    let took = rotation.requests;
    assert!(took <= MOST_OF_A_ROTATION, "{took:.1} > {MOST_OF_A_ROTATION}");
    assert!(loud.is_empty(), "requests at rest: {loud:?}");
    assert!(ratio <= MOST, "{ratio:.2} > {MOST}");
}

/// All of them, with a key for the volume of each; gives the operator's requests as a multiple of the objects that it made.
fn create(names: &[String]) -> f64 {
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
    let is_whole =
        |tenant: &Value| kube::condition(tenant, "Ready") == "True" && !data_keys(tenant).is_empty();
    kube::until("all tenants to be Ready with their keys", 15 * MINUTE, || {
        Ok((count(names, is_whole) == names.len()).then_some(()))
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
    let made =
        |verb: &str, resource: &str| !resource.starts_with("leases") && !is_verification(verb, resource);
    let records = names.len() as u64;
    let total = sum(&requests, made) - records;
    let objects = sum(&requests, |verb, resource| {
        verb == "create" && made(verb, resource)
    }) - records;
    let verifying = sum(&requests, is_verification) + records;
    show(&requests, names.len());
    let ratio = total as f64 / objects as f64;
    let of_each = |number: u64| number as f64 / names.len() as f64;
    println!(
        "{} tenants: applied in {:.1} s, all Ready after {:.1} s; {:.1} requests and {:.1} objects for each: {ratio:.2}; \
         {:.1} requests for the verification of each; operator {} MiB",
        names.len(),
        applied.as_secs_f64(),
        took.as_secs_f64(),
        of_each(total),
        of_each(objects),
        of_each(verifying),
        memory(),
    );
    ratio
}

/// What the operator asks for when nothing is to be done.
fn rest() -> Vec<((String, String), u64)> {
    let rest = mark(lab()).unwrap();
    std::thread::sleep(Duration::from_secs(30));
    let mut at_rest = requests_of(lab(), OPERATOR, rest).unwrap();
    at_rest.retain(|(verb, resource), _| !is_upkeep(verb, resource));
    println!("at rest, in 30 s: {at_rest:?}");
    at_rest.into_iter().collect()
}

fn delete(names: &[String]) {
    for name in names {
        leaving::unprotect(lab(), name, "Delete").unwrap();
    }
    let deletable = |tenant: &Value| kube::condition(tenant, "Deletable") == "True";
    kube::until("all to be Deletable", 5 * MINUTE, || {
        Ok((count(names, deletable) == names.len()).then_some(()))
    })
    .unwrap();
    let list: Vec<&str> = names.iter().map(String::as_str).collect();
    kube::kubectl(
        lab(),
        &[&["delete", "tenant", "--timeout=900s"], list.as_slice()].concat(),
    )
    .unwrap();
}

/// What the rotation of all tenant keys at once took, and what is not as it must be afterwards.
struct Rotation {
    /// Of the operator, for one of them.
    requests: f64,
    wrong: Vec<String>,
}

fn rotate(names: &[String]) -> Rotation {
    let (before, running) = (tenants(names), pods());
    assert!(running.len() >= names.len(), "there is something to restart");
    let since = mark(lab()).unwrap();
    let word = format!("scale-{:x}", std::process::id());
    let patch = json!({"spec": {"keys": {"rotateTenantKey": word}}}).to_string();
    let list: Vec<&str> = names.iter().map(String::as_str).collect();
    let begin = Instant::now();
    kube::kubectl(
        lab(),
        &[
            &["patch", "tenant", "--type=merge", "-p", &patch],
            list.as_slice(),
        ]
        .concat(),
    )
    .unwrap();
    let applied = begin.elapsed();
    let is_over = |tenant: &Value| {
        tenant["status"]["keys"]["tenantKey"]["acknowledged"] == word.as_str()
            && kube::condition(tenant, "KeysCurrent") == "True"
    };
    // What was not rotated by then is told with all that is wrong.
    let over = kube::until("all rotations to be acknowledged", 10 * MINUTE, || {
        Ok((count(names, is_over) == names.len()).then_some(()))
    });
    let took = begin.elapsed();
    let requests = until_rest(since);
    show(&requests, names.len());
    let of_each = sum(&requests, counts) as f64 / names.len() as f64;
    println!(
        "{} tenant keys rotated: asked for within {:.1} s, all acknowledged after {:.1} s; {of_each:.1} requests for each; \
         {} pods, operator {} MiB",
        names.len(),
        applied.as_secs_f64(),
        took.as_secs_f64(),
        running.len(),
        memory(),
    );
    let mut wrong: Vec<String> = over.err().map(|error| format!("{error:#}")).into_iter().collect();
    wrong.extend(not_rotated(&before, &tenants(names)));
    let now = pods();
    if now != running {
        let changed: BTreeSet<_> = running.symmetric_difference(&now).collect();
        wrong.push(format!("pods were restarted or replaced: {changed:?}"));
    }
    Rotation {
        requests: of_each,
        wrong,
    }
}

fn data_keys(tenant: &Value) -> Vec<Value> {
    let keys = tenant["status"]["keys"]["dataKeys"].as_array();
    keys.cloned().unwrap_or_default()
}

/// The tenants whose keys are not what one rotation makes of them: by what the status says, and by the wrapped keys
/// themselves.
fn not_rotated(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Vec<String> {
    let wrapped = wrapped();
    let mut wrong = Vec::new();
    for (name, before) in before {
        let now = &after[name];
        let version = before["status"]["keys"]["tenantKey"]["version"].as_u64().unwrap() + 1;
        let ids: BTreeSet<String> = data_keys(before)
            .iter()
            .map(|key| key["id"].as_str().unwrap().to_owned())
            .collect();
        let key = &now["status"]["keys"]["tenantKey"];
        let versions = key["versions"].as_array().map_or(0, Vec::len);
        let one = versions == 1
            && key["versions"][0]["version"] == version
            && key["versions"][0]["protects"].as_u64() == Some(ids.len() as u64);
        if key["version"] != version || !one {
            wrong.push(format!("{name}: version {version} is not the only one: {key}"));
        }
        let expected = ids.into_iter().map(|id| (id, version.to_string())).collect();
        let found = wrapped.get(name).cloned().unwrap_or_default();
        if found != expected {
            wrong.push(format!("{name}: wrapped are {found:?}, not {expected:?}"));
        }
    }
    wrong
}

/// The wrapped keys of all tenants as they lie in the cluster: volume and version of the tenant key, by tenant.
fn wrapped() -> BTreeMap<String, BTreeMap<String, String>> {
    let found = kube::get(
        lab(),
        &["-n", install::KEYS, "secrets", "-l", "freehold.dev/data-key"],
    )
    .unwrap();
    let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for secret in found["items"].as_array().unwrap() {
        let metadata = &secret["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let version = STANDARD.decode(text(&secret["data"]["version"])).unwrap();
        all.entry(text(&metadata["labels"]["freehold.dev/tenant"]))
            .or_default()
            .insert(text(&metadata["name"]), String::from_utf8(version).unwrap());
    }
    all
}

/// Who runs in the tenants' namespaces: name, uid, restarts. The verification's pods come and go.
fn pods() -> BTreeSet<String> {
    let found = kube::get(
        lab(),
        &[
            "-A",
            "pods",
            "--field-selector=status.phase=Running",
            "-l",
            "app.kubernetes.io/managed-by!=freehold",
        ],
    )
    .unwrap();
    let ours = |pod: &&Value| {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        namespace.starts_with(&format!("{TENANTS}scale-"))
    };
    let told = |pod: &Value| {
        let metadata = &pod["metadata"];
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        format!(
            "{}/{} {} {restarts}",
            metadata["namespace"], metadata["name"], metadata["uid"]
        )
    };
    let all = found["items"].as_array().unwrap().iter();
    all.filter(ours).map(told).collect()
}
