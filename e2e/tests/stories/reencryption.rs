//! New data keys: the database moves to volumes of its own new keys while its users write.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use freehold_e2e::{install, kube};
use serde_json::{Value, json};

use crate::key_faults::nothing_lost;
use crate::key_faults::strikes::Victim;
use crate::key_faults::witness::Witness;
use crate::stage::{
    Guest, MINUTE, Writer, assert_nothing_lost, calm, change, lab, lane, namespace, owner, wait_ready,
};

/// The longest that a client which tries again may wait: 10 s on a machine that does nothing else, twice that on a busy one.
/// Most of it is CloudNativePG's and PostgreSQL's; docs/adr/0011 says second by second where it goes.
const PAUSE: Duration = Duration::from_secs(20);

/// How many steps a move has.
const STEPS: usize = 3;

pub fn keys(tenant: &str) -> Value {
    kube::get(lab(), &["tenant", tenant]).unwrap()["status"]["keys"].clone()
}

pub fn ids(keys: &Value) -> Vec<String> {
    let ids = keys["dataKeys"].as_array().unwrap().iter();
    ids.map(|key| key["id"].as_str().unwrap().to_owned()).collect()
}

/// Where the storage driver keeps a volume's disk.
fn disk(volume: &str) -> std::path::PathBuf {
    lab().cluster().join("volumes").join("volumes").join(volume)
}

/// Asks for new data keys under a write load; gives the longest pause.
fn moves(tenant: &str) -> Duration {
    wait_ready(tenant, MINUTE);
    let old = ids(&keys(tenant));
    let writer = Writer::start(owner(tenant), lane(&owner(tenant), "Moving"), "survives the move");
    writer.wait_for(5, MINUTE);
    let begin = Instant::now();
    let word = format!("story-{:x}", lab_time().as_millis());
    change(tenant, &json!({"keys": {"rotateDataKeys": word}}));
    let now = kube::until("the new data keys", 5 * MINUTE, || {
        let now = keys(tenant);
        Ok((now["dataKeysAcknowledged"] == word.as_str()).then_some(now))
    })
    .unwrap();
    let took = begin.elapsed();
    writer.wait_for(5, MINUTE);
    let (acknowledged, longest) = writer.stop();
    assert_nothing_lost(tenant, &acknowledged);
    println!(
        "{tenant}: {} volumes with new keys after {:.1} s; {} cards meanwhile, none lost, longest pause {:.2} s",
        old.len(),
        took.as_secs_f64(),
        acknowledged.len(),
        longest.as_secs_f64()
    );
    tell(tenant);
    let new = ids(&now);
    assert_eq!(new.len(), old.len(), "{new:?}");
    for volume in &old {
        assert!(!new.contains(volume), "{volume} has its old key");
        assert!(
            kube::get(lab(), &["persistentvolume", volume]).is_err(),
            "{volume} is there"
        );
        assert!(
            kube::get(lab(), &["-n", install::KEYS, "secret", volume]).is_err(),
            "the key of {volume} is there"
        );
        assert!(
            !disk(volume).join("disk").exists(),
            "the disk of {volume} is there"
        );
    }
    for volume in &new {
        assert!(disk(volume).join("disk").exists());
    }
    wait_ready(tenant, MINUTE);
    longest
}

/// A word that no other move has had.
fn lab_time() -> Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
}

#[test]
fn the_database_moves_to_volumes_with_new_keys_while_its_users_write() {
    calm();
    let guest = Guest::ready("twins", 2);
    // Others may have the machine just then: what is so twice is the product's.
    let pause = moves(guest.0);
    assert!(
        pause <= PAUSE || moves(guest.0) <= PAUSE,
        "twice a pause of more than {PAUSE:?}, the first of {pause:?}"
    );
    let own = namespace(guest.0);
    let pods = kube::get(lab(), &["-n", &own, "pods", "-l", "cnpg.io/cluster=db"]).unwrap();
    assert_eq!(pods["items"].as_array().unwrap().len(), 2, "the surge is over");
}

/// When each step of the moves was.
fn tell(tenant: &str) {
    let record = ["-n", install::NAMESPACE, "get", "tenantoperations", "-o", "json"];
    let records: Value = serde_json::from_str(&kube::kubectl(lab(), &record).unwrap()).unwrap();
    let records = records["items"].as_array().unwrap().iter();
    let moved = records
        .filter(|record| record["spec"]["type"] == "DataKeyRotation" && record["spec"]["tenant"] == tenant);
    for record in moved {
        for line in record["status"]["evidence"].as_array().unwrap() {
            println!("  {} {}: {}", line["at"], line["step"], line["message"]);
        }
    }
}

/// Asks for new data keys, and kills somebody as soon as a step is seen that was not hit before.
fn moves_under_strikes(tenant: &str, victim: Victim, hit: &mut BTreeSet<String>) -> Duration {
    let old = ids(&keys(tenant));
    let word = format!("{victim:?}-{:x}", lab_time().as_millis());
    let begin = Instant::now();
    change(tenant, &json!({"keys": {"rotateDataKeys": word}}));
    let now = kube::until("the new data keys", 6 * MINUTE, || {
        let object = kube::get(lab(), &["tenant", tenant])?;
        let status = &object["status"];
        if status["keys"]["dataKeysAcknowledged"] == word.as_str() {
            return Ok(Some(status["keys"].clone()));
        }
        let step = status["operation"]["step"].as_str();
        if let Some(step) = step.filter(|_| status["operation"]["type"] == "DataKeyRotation")
            && hit.insert(step.to_owned())
        {
            let pids = victim.processes();
            kube::kill(&pids);
            victim.wait_for_another(&pids);
        }
        Ok(None)
    })
    .unwrap();
    let took = begin.elapsed();
    assert!(ids(&now).iter().all(|id| !old.contains(id)));
    wait_ready(tenant, 2 * MINUTE);
    took
}

#[test]
#[ignore = "minutes: cargo xtask bench the_move_is_finished"]
fn the_move_is_finished_whoever_is_killed_at_each_of_its_steps() {
    let guest = Guest::ready("nomad", 1);
    let witness = Witness::start(guest.0);
    let writer = Writer::start(owner(guest.0), lane(&owner(guest.0), "Nomad"), "survives strikes");
    writer.wait_for(5, MINUTE);
    for victim in [Victim::KeyService, Victim::Driver, Victim::Kubelet] {
        let mut hit = BTreeSet::new();
        // A step may be over before it is seen in the status: then in another move.
        for _ in 0..3 {
            if hit.len() < STEPS {
                let took = moves_under_strikes(guest.0, victim, &mut hit);
                println!(
                    "{victim:?} killed at {hit:?}: new data keys after {:.1} s",
                    took.as_secs_f64()
                );
            }
        }
        assert_eq!(hit.len(), STEPS, "{hit:?}");
    }
    writer.wait_for(5, MINUTE);
    nothing_lost(guest.0, writer, witness, STEPS);
}
