//! Whoever takes part in a rotation of a tenant key may be killed at any of its steps: it is carried to its end, what was
//! acknowledged is there, and at each point the wrapped keys that lie in the cluster can be opened.

mod feed;
pub mod strikes;
pub mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use freehold_e2e::kube;
use serde_json::{Value, json};

use self::strikes::{At, Rotations, STEPS, Struck, Victim};
use self::witness::Witness;
use crate::stage::{
    MINUTE, Writer, assert_nothing_lost, calm, change, lab, lane, namespace, owner, wait_ready,
};

const TENANT: &str = "acme";
/// How many strikes there are at moments that nobody chose: `FREEHOLD_STRIKES`.
fn random() -> u64 {
    let asked = std::env::var("FREEHOLD_STRIKES").ok();
    asked.map_or(1, |asked| asked.parse().unwrap())
}

#[test]
#[ignore = "minutes: cargo xtask bench a_rotation_goes_on"]
fn a_rotation_goes_on_when_the_key_service_is_killed_at_any_of_its_steps() {
    survives(Victim::KeyService, "survives the key service");
}

#[test]
fn a_rotation_goes_on_when_the_storage_driver_is_killed_at_any_of_its_steps() {
    survives(Victim::Driver, "survives the driver");
}

#[test]
#[ignore = "minutes: cargo xtask bench a_rotation_goes_on"]
fn a_rotation_goes_on_when_kubelet_is_killed_at_any_of_its_steps() {
    survives(Victim::Kubelet, "survives kubelet");
}

/// All that was acknowledged is there, and each key opened whenever somebody was there to ask: more than `least` times.
pub fn nothing_lost(tenant: &str, writer: Writer, witness: Witness, least: usize) {
    let (acknowledged, longest) = writer.stop();
    assert_nothing_lost(tenant, &acknowledged);
    let opened = witness.stop();
    println!(
        "{} cards meanwhile, none lost, longest pause {:.2} s; {opened}",
        acknowledged.len(),
        longest.as_secs_f64()
    );
    assert_eq!(opened.wrong, Vec::<String>::new());
    assert!(opened.times > least, "{opened}");
}

/// Rotations of one tenant's key while it is written to, a strike in each; then one while its volumes are staged anew.
fn survives(victim: Victim, prefix: &'static str) {
    calm();
    wait_ready(TENANT, MINUTE);
    let witness = Witness::start(TENANT);
    let rotations = Rotations::watch(TENANT);
    let writer = Writer::start(owner(TENANT), lane(&owner(TENANT), prefix), prefix);
    writer.wait_for(5, MINUTE);
    let running = pods();
    let mut struck = Vec::new();
    for at in moments() {
        struck.push(rotations.under_strike(victim, at));
        writer.wait_for(1, MINUTE);
    }
    let (acknowledged, longest) = writer.stop();
    assert_nothing_lost(TENANT, &acknowledged);
    assert_eq!(
        pods(),
        running,
        "no pod of the tenant's was restarted or replaced"
    );

    let (last, woken) = staged_anew(&rotations, victim);
    assert_nothing_lost(TENANT, &acknowledged);
    println!(
        "while its volumes were staged anew: {last}; Ready after {:.1} s",
        woken.as_secs_f64()
    );
    struck.push(last);
    let opened = witness.stop();
    tell(victim, &struck);
    println!(
        "{victim:?} killed: {} cards, none lost, longest pause {:.2} s; {opened}",
        acknowledged.len(),
        longest.as_secs_f64()
    );
    let hit: BTreeSet<&str> = struck.iter().map(|one| one.hit.as_str()).collect();
    assert!(STEPS.iter().all(|step| hit.contains(step)), "{hit:?}");
    assert_eq!(opened.wrong, Vec::<String>::new());
    assert!(opened.times > struck.len(), "{opened}");
}

/// As soon as each step is seen, and at random within the time that a rotation takes.
fn moments() -> Vec<At> {
    let count = random();
    let random = |n: u64| {
        use std::hash::{BuildHasher, Hasher};
        let random = std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish();
        // One in each part of the second: kubectl alone takes the first of them.
        At::After(Duration::from_millis(1000 * n / count + random % (1000 / count)))
    };
    let aimed = STEPS.iter().map(|step| At::Step(step));
    aimed.chain((0..count).map(random)).collect()
}

/// Puts the tenant to sleep until its volumes are nobody's, and wakes it together with a rotation and a strike: its volumes
/// open with what lies in the cluster then. Gives how long it took to be Ready.
fn staged_anew(rotations: &Rotations, victim: Victim) -> (Struck, Duration) {
    let holders = holders();
    let _awake = Awake;
    change(TENANT, &json!({"desiredState": "Suspended"}));
    kube::until("every volume to be unstaged", 2 * MINUTE, || {
        Ok((!holders.iter().any(|holder| holder.exists())).then_some(()))
    })
    .unwrap();
    let begin = Instant::now();
    change(TENANT, &json!({"desiredState": "Active"}));
    let struck = rotations.under_strike(victim, At::Step(STEPS[1]));
    wait_ready(TENANT, 4 * MINUTE);
    assert!(holders.iter().all(|holder| holder.exists()), "they are staged");
    (struck, begin.elapsed())
}

/// Other stories need the tenant as it was, whatever becomes of this one.
struct Awake;

impl Drop for Awake {
    fn drop(&mut self) {
        let patch = json!({"spec": {"desiredState": "Active"}}).to_string();
        let wake = ["patch", "tenant", TENANT, "--type=merge", "-p", &patch];
        if let Err(error) = kube::kubectl(lab(), &wake) {
            eprintln!("{TENANT} may be asleep: {error:#}");
        }
    }
}

/// Where the storage driver notes who has the tenant's volumes.
fn holders() -> Vec<PathBuf> {
    let claims = kube::get(lab(), &["-n", &namespace(TENANT), "persistentvolumeclaims"]).unwrap();
    let disks = lab().cluster().join("volumes").join("volumes");
    let holder = |claim: &Value| {
        disks
            .join(claim["spec"]["volumeName"].as_str().unwrap())
            .join("holder")
    };
    let all: Vec<PathBuf> = claims["items"].as_array().unwrap().iter().map(holder).collect();
    assert!(
        !all.is_empty() && all.iter().all(|holder| holder.exists()),
        "{all:?}"
    );
    all
}

/// Who runs for the tenant: name, uid, restarts. The verification's pods come and go.
fn pods() -> BTreeSet<String> {
    let namespace = namespace(TENANT);
    let args = [
        "-n",
        &namespace,
        "pods",
        "--field-selector=status.phase=Running",
        "-l",
        "app.kubernetes.io/managed-by!=freehold",
    ];
    let found = kube::get(lab(), &args).unwrap();
    let told = |pod: &Value| {
        let metadata = &pod["metadata"];
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        format!("{} {} {restarts}", metadata["name"], metadata["uid"])
    };
    found["items"].as_array().unwrap().iter().map(told).collect()
}

/// Each strike, and how many hit which step.
fn tell(victim: Victim, struck: &[Struck]) {
    let mut hits: BTreeMap<&str, usize> = BTreeMap::new();
    for one in struck {
        println!("  {one}");
        *hits.entry(&one.hit).or_default() += 1;
    }
    let took = struck.iter().map(|one| one.took.as_secs_f64());
    println!(
        "{victim:?}: {} strikes hit {hits:?}; the rotations were over after {:.1} to {:.1} s",
        struck.len(),
        took.clone().fold(f64::INFINITY, f64::min),
        took.fold(0.0, f64::max),
    );
}
