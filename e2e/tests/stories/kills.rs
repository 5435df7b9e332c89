//! The operator may die after any of its writes, knowing of it or not: the next one finishes what it began.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use freehold_e2e::fault_proxy::Fault;
use freehold_e2e::kube;
use freehold_e2e::operator::{self, StandIn};
use serde_json::json;

use crate::key_faults::nothing_lost;
use crate::key_faults::witness::Witness;
use crate::stage::{Guest, MINUTE, Writer, calm, change, lab, lane, namespace, owner, wait_ready};

/// How long nothing is written before it counts as rest, and how soon that must be.
const REST: Duration = Duration::from_secs(10);
const SETTLED: Duration = Duration::from_secs(40);

/// The harder of the two: the operator dies without knowing that it wrote.
#[test]
fn the_operator_killed_after_each_of_its_writes_finishes_all_the_same() {
    lives_through(Fault::LoseAnswer, false);
}

#[test]
#[ignore = "minutes: cargo xtask bench the_operator_killed"]
fn the_operator_killed_before_it_knows_of_its_write_gets_new_data_keys_too() {
    lives_through(Fault::LoseAnswer, true);
}

#[test]
#[ignore = "minutes: cargo xtask bench the_operator_killed"]
fn the_operator_killed_when_it_knows_of_its_write_finishes_all_the_same() {
    lives_through(Fault::KillAfterAnswer, true);
}

/// A tenant's life, from its creation to its end.
fn lives_through(fault: Fault, with_new_volumes: bool) {
    calm();
    for tenant in ["acme", "globex"] {
        wait_ready(tenant, MINUTE);
    }
    let stand_in = StandIn::start(lab(), &operator::binary(lab()).unwrap(), &[]).unwrap();
    // Nothing is under way from before: what is killed is about this tenant.
    rest(&stand_in);
    let guest = Guest::absent("hydra");
    during(&stand_in, fault, "created", || {
        guest.apply(1);
        wait_ready(guest.0, 10 * MINUTE);
    });
    let witness = Witness::start(guest.0);
    let writer = Writer::start(owner(guest.0), lane(&owner(guest.0), "Hydra"), "survives heads");
    writer.wait_for(1, MINUTE);
    let word = format!("{fault:?}");
    during(&stand_in, fault, "its tenant key rotated", || {
        change(guest.0, &json!({"keys": {"rotateTenantKey": word}}));
        kube::until("the rotation to be acknowledged", 5 * MINUTE, || {
            let object = kube::get(lab(), &["tenant", guest.0])?;
            let key = &object["status"]["keys"]["tenantKey"];
            Ok((key["acknowledged"] == word.as_str()).then(|| key.clone()))
        })
        .map(|key| {
            let versions = key["versions"].as_array().unwrap();
            assert_eq!(
                (versions.len(), &versions[0]["protects"]),
                (1, &json!(1)),
                "{key}"
            );
        })
        .unwrap();
    });
    if with_new_volumes {
        reencrypted(&stand_in, fault, guest.0, &word);
    }
    writer.wait_for(1, MINUTE);
    nothing_lost(guest.0, writer, witness, 0);
    let (made, model) = (inventory("hydra"), inventory("acme"));
    assert_eq!(made, model, "all that a tenant has, and nothing twice");
    let jobs = kube::get(lab(), &["-n", &namespace("hydra"), "jobs"]).unwrap();
    assert_eq!(jobs["items"].as_array().unwrap().len(), 1, "one migration");
    let gone = namespace(guest.0);
    during(&stand_in, fault, "deleted", || drop(Guest::absent("hydra")));
    assert!(kube::get(lab(), &["tenant", "hydra"]).is_err());
    assert!(kube::get(lab(), &["namespace", &gone]).is_err());
    assert_eq!(keys("hydra"), 0, "its authority's key is gone");
}

/// The database moves to volumes with new keys.
fn reencrypted(stand_in: &StandIn<'_>, fault: Fault, tenant: &str, word: &str) {
    during(stand_in, fault, "its data keys rotated", || {
        change(tenant, &json!({"keys": {"rotateDataKeys": word}}));
        kube::until("the rotation to be acknowledged", 5 * MINUTE, || {
            let object = kube::get(lab(), &["tenant", tenant])?;
            let keys = &object["status"]["keys"];
            Ok((keys["dataKeysAcknowledged"] == word).then_some(()))
        })
        .unwrap();
        wait_ready(tenant, 2 * MINUTE);
    });
}

/// Does something while the operator is killed at each of its writes, then waits for rest.
pub fn during(stand_in: &StandIn<'_>, fault: Fault, what: &str, act: impl FnOnce()) {
    let (begin, kills, writes) = (
        Instant::now(),
        stand_in.proxy.kills(),
        stand_in.proxy.writes().len(),
    );
    stand_in
        .proxy
        .injure(stand_in.process.clone(), move |_| Some(fault));
    act();
    let took = begin.elapsed();
    rest(stand_in);
    stand_in.proxy.heal();
    let kills = stand_in.proxy.kills() - kills;
    println!(
        "{fault:?}: {what} after {:.1} s with {kills} kills, then no write in {} s",
        took.as_secs_f64(),
        REST.as_secs(),
    );
    let writes = stand_in.proxy.writes().len() - writes;
    assert!(kills > 5 && kills == writes, "{kills} kills at {writes} writes");
}

/// Waits until the operator, alive, has written nothing for a while.
pub fn rest(stand_in: &StandIn<'_>) {
    let begin = Instant::now();
    let rested = kube::until("the operator to rest", SETTLED, || {
        let last = stand_in
            .proxy
            .writes()
            .last()
            .map_or(begin, |write| write.at.max(begin));
        Ok((last.elapsed() >= REST && stand_in.process.is_running()).then_some(()))
    });
    rested.unwrap_or_else(|error| {
        let writes = stand_in.proxy.writes();
        let last: Vec<String> = writes
            .iter()
            .rev()
            .take(20)
            .rev()
            .map(ToString::to_string)
            .collect();
        panic!("{error:#}; its last writes:\n{}", last.join("\n"))
    });
}

/// What the operator keeps for a tenant: every object with the tenant's label that it wrote itself, by kind and name. Jobs are counted
/// apart: which of them a tenant has depends on the upgrades that it went through.
fn inventory(tenant: &str) -> BTreeSet<String> {
    let kinds = "deployments,services,configmaps,secrets,serviceaccounts,networkpolicies,resourcequotas,\
        limitranges,rolebindings,poddisruptionbudgets,gateways,backendtlspolicies,httproutes,certificates.cert-manager.io,clusters.postgresql.cnpg.io";
    let label = format!("freehold.dev/tenant={tenant}");
    let found = kube::get(lab(), &["-n", &namespace(tenant), kinds, "-l", &label]).unwrap();
    let objects = found["items"].as_array().unwrap().iter();
    let name = |object: &serde_json::Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
    // Whom the customer lets in is each tenant's own.
    let own = |name: &String| !name.contains("customer-");
    let mut all: BTreeSet<String> = objects.map(name).filter(own).collect();
    all.insert(format!("{} keys", keys(tenant)));
    all
}

/// How many of the Secrets with authorities' keys are a tenant's.
fn keys(tenant: &str) -> usize {
    let label = format!("freehold.dev/tenant={tenant}");
    let found = kube::get(lab(), &["-n", "freehold-keys", "secrets", "-l", &label]).unwrap();
    found["items"].as_array().unwrap().len()
}
