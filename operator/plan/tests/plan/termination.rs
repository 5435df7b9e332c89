//! A terminated tenant, and the destruction of its keys: late, on record, once, and for good.

mod late;
mod orders;
mod rotations;

use std::sync::LazyLock;

use freehold_crds::{
    DeletionPolicy, DesiredState, OperationType, Phase, TenantKeys, TenantOperationStatus, Termination,
};
use freehold_plan::{Id, Kind, Record, Slot, StorageClass};
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::json;

use crate::cluster::Cluster;
use crate::given;
use crate::properties::deeds;
use crate::simulation::{ready, silent};

fn settled() -> Cluster {
    let mut cluster = Cluster::new(given::with_keys("acme"));
    cluster.given.config.key_backups_kept_for = Some("720h".into());
    cluster.settle();
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    cluster.log.clear();
    cluster
}

fn terminate(cluster: &mut Cluster) {
    cluster.given.tenant.spec.desired_state = DesiredState::Terminated;
}

/// Everything that the destruction of keys needs.
fn ask(cluster: &mut Cluster) {
    terminate(cluster);
    let spec = &mut cluster.given.tenant.spec;
    spec.termination = Some(Termination { destroy_keys: true });
    spec.deletion_protection = false;
}

fn withdraw(cluster: &mut Cluster) {
    let spec = &mut cluster.given.tenant.spec;
    spec.termination = None;
    spec.desired_state = DesiredState::Active;
}

fn grace(cluster: &mut Cluster) {
    cluster.given.now += SignedDuration::from_hours(336);
}

/// Asked for, everything stopped, and the grace over.
fn due() -> Cluster {
    let mut cluster = settled();
    ask(&mut cluster);
    cluster.settle();
    grace(&mut cluster);
    cluster
}

fn destroyed() -> Cluster {
    let mut cluster = due();
    cluster.settle();
    assert!(is_destroyed(&mut cluster), "{}", cluster.log.join("\n"));
    cluster
}

fn is_destroyed(cluster: &mut Cluster) -> bool {
    let keys = cluster.keys();
    keys.tenant.present().is_some_and(|key| key.versions.is_empty()) && keys.data.is_empty()
}

fn is_whole(cluster: &mut Cluster) -> bool {
    let keys = cluster.keys();
    keys.tenant.present().is_some_and(|key| !key.versions.is_empty()) && !keys.data.is_empty()
}

fn says(cluster: &mut Cluster, kind: &str) -> String {
    let plan = cluster.plan();
    let found = plan.conditions.iter().find(|condition| condition.type_ == kind);
    found.map_or_else(String::new, |c| {
        format!("{} {}: {}", c.status, c.reason, c.message)
    })
}

fn blockers(cluster: &mut Cluster) -> Vec<String> {
    let blockers = cluster.plan().status.blockers;
    blockers.into_iter().map(|blocker| blocker.reason).collect()
}

fn phase(cluster: &Cluster) -> Option<Phase> {
    let mut operations = cluster.operations();
    let found = operations
        .find(|o| o.spec.r#type == OperationType::KeyDestruction && o.status.phase != Phase::Cancelled);
    found.map(|operation| operation.status.phase)
}

fn record(cluster: &Cluster) -> serde_json::Value {
    let mut ids = cluster.ids().filter(|id| id.kind == Kind::DestructionRecord);
    let id = ids.next().expect("no DestructionRecord");
    assert!(ids.next().is_none(), "more than one");
    cluster.body(Kind::DestructionRecord, &id.name).unwrap().clone()
}

/// Somebody deletes the Secret of a volume's key.
fn lose_data_key(cluster: &mut Cluster) {
    cluster.keys().data.pop_first();
}

#[test]
fn a_terminated_tenant_sleeps_keeps_its_data_and_wakes() {
    let mut cluster = settled();
    terminate(&mut cluster);
    cluster.settle();
    insta::assert_snapshot!(says(&mut cluster, "Ready"), @"True Terminated: nothing runs and nobody gets in; the data is kept");
    insta::assert_snapshot!(says(&mut cluster, "Serving"), @"False Terminated: spec.desiredState is Terminated");
    assert_eq!(says(&mut cluster, "KeysDestroyed"), "");
    grace(&mut cluster);
    cluster.settle();
    assert!(
        is_whole(&mut cluster),
        "keys are destroyed by an explicit word only"
    );
    assert_eq!(phase(&cluster), None);
    withdraw(&mut cluster);
    cluster.settle();
    assert!(says(&mut cluster, "Serving").starts_with("True"));
    silent(&mut cluster);
}

#[test]
fn keys_are_destroyed_after_the_grace_step_by_step_and_on_record() {
    let mut cluster = settled();
    ask(&mut cluster);
    cluster.settle();
    insta::assert_snapshot!(says(&mut cluster, "KeysDestroyed"), @"False Waiting: the tenant key is destroyed from 2027-01-29T08:00:00Z on (acme-key-destruction-e0a404e69d), after which nobody can read the data any more; until then it is called off by taking spec.termination out");
    assert!(says(&mut cluster, "Ready").starts_with("True Terminated"));
    silent(&mut cluster);
    let due = cluster.given.now + SignedDuration::from_hours(336);
    assert!(cluster.plan().wake <= Some(due));
    cluster.given.now = due - SignedDuration::from_secs(1);
    cluster.settle();
    assert!(is_whole(&mut cluster));
    cluster.log.clear();
    cluster.given.now = due;
    cluster.settle();
    insta::assert_snapshot!(cluster.log.join("\n"), @r#"
    step Running Stop
    step Running Record
    create DestructionRecord acme-c0cb1fc2eb
    step Running Destroy
    DestroyKeys { operation: "acme-key-destruction-e0a404e69d" }
    step Running Evidence
    account Destroyed
    step Succeeded
    "#);
    assert!(is_destroyed(&mut cluster));
    insta::assert_snapshot!(says(&mut cluster, "Ready"), @"True Terminated: nothing runs and nobody gets in; the tenant key was destroyed on 2027-01-29T08:00:00Z, as it was asked for: DestructionRecord acme-c0cb1fc2eb");
    insta::assert_snapshot!(says(&mut cluster, "KeysDestroyed"), @"True Destroyed: the tenant key was destroyed on 2027-01-29T08:00:00Z, as it was asked for: DestructionRecord acme-c0cb1fc2eb");
    insta::assert_snapshot!(says(&mut cluster, "KeysCurrent"), @"False TenantKeyDestroyed: the tenant key was destroyed on 2027-01-29T08:00:00Z, as it was asked for: DestructionRecord acme-c0cb1fc2eb");
    insta::assert_snapshot!(says(&mut cluster, "Stalled"), @"False Progressing: nothing waits for anybody's deed");
    silent(&mut cluster);
    let record = record(&cluster);
    let without_marks = json!({"spec": record["spec"], "status": record["status"]});
    insta::assert_snapshot!(
        "a_destruction_record",
        serde_json::to_string_pretty(&without_marks).unwrap()
    );
    assert!(record["metadata"]["ownerReferences"].is_null());
}

#[test]
fn a_record_says_of_backups_only_what_the_platform_states() {
    let mut cluster = settled();
    cluster.given.config.key_backups_kept_for = None;
    let service = cluster.given.config.key_service.as_mut().unwrap();
    service.provider = Some("pkcs11".into());
    ask(&mut cluster);
    cluster.settle();
    grace(&mut cluster);
    cluster.settle();
    let record = record(&cluster);
    assert_eq!(record["status"]["phase"], "Destroyed");
    assert!(record["status"]["elsewhereUntil"].is_null());
    let elsewhere = &record["spec"]["elsewhere"];
    assert_eq!(elsewhere[0]["what"], "backups of the HSM");
    assert!(elsewhere[0]["keptFor"].is_null());
    assert!(elsewhere[0]["note"].as_str().unwrap().contains("does not state"));
}

#[test]
fn killed_after_any_effect_of_a_destruction_it_comes_to_the_same_end() {
    let start = due();
    for k in 0..4 {
        for rounds in 0..9 {
            let mut cluster = start.clone();
            cluster.cut_off = k % 2 == 1;
            for _ in 0..rounds {
                cluster.pass(usize::MAX);
                cluster.tick();
            }
            cluster.pass(k);
            cluster.given.tenant.status = None;
            cluster.settle();
            assert!(is_destroyed(&mut cluster), "after {rounds} rounds and {k}");
            assert_eq!(phase(&cluster), Some(Phase::Succeeded));
            assert_eq!(record(&cluster)["status"]["phase"], "Destroyed");
            silent(&mut cluster);
        }
    }
}

#[test]
fn each_of_the_three_words_calls_it_off_as_long_as_nothing_was_destroyed() {
    type Word = fn(&mut Cluster);
    let words: [Word; 3] = [
        withdraw,
        |cluster| cluster.given.tenant.spec.termination = None,
        |cluster| cluster.given.tenant.spec.deletion_protection = true,
    ];
    let start = due();
    for word in words {
        for rounds in 0..12 {
            let mut cluster = start.clone();
            for _ in 0..rounds {
                cluster.pass(1);
                cluster.tick();
            }
            let whole = is_whole(&mut cluster);
            word(&mut cluster);
            cluster.settle();
            // Nothing that was asked before can be under way any more.
            cluster.given.now += SignedDuration::from_mins(3);
            cluster.settle();
            assert_eq!(is_whole(&mut cluster), whole, "after {rounds} rounds");
            assert_eq!(phase(&cluster), (!whole).then_some(Phase::Succeeded));
            if cluster.ids().any(|id| id.kind == Kind::DestructionRecord) {
                let phase = if whole { "Cancelled" } else { "Destroyed" };
                assert_eq!(record(&cluster)["status"]["phase"], phase);
            }
            silent(&mut cluster);
        }
    }
}

#[test]
fn a_destruction_that_was_called_off_and_is_asked_for_again_has_its_own_grace() {
    let mut cluster = settled();
    ask(&mut cluster);
    cluster.settle();
    cluster.given.now += SignedDuration::from_hours(335);
    withdraw(&mut cluster);
    cluster.settle();
    assert!(says(&mut cluster, "Serving").starts_with("True"));
    ask(&mut cluster);
    cluster.settle();
    cluster.given.now += SignedDuration::from_hours(335);
    cluster.settle();
    assert!(is_whole(&mut cluster));
    cluster.given.now += SignedDuration::from_hours(1);
    cluster.settle();
    assert!(is_destroyed(&mut cluster));
}

#[test]
fn a_tenant_whose_keys_were_destroyed_starts_nothing_any_more_and_gets_no_new_key() {
    let mut cluster = destroyed();
    for state in [DesiredState::Active, DesiredState::Suspended] {
        let spec = &mut cluster.given.tenant.spec;
        spec.termination = None;
        spec.desired_state = state;
        spec.keys = Some(TenantKeys {
            rotate_tenant_key: Some("again".into()),
            ..TenantKeys::default()
        });
        cluster.log.clear();
        cluster.settle();
        assert_eq!(cluster.log, Vec::<String>::new(), "{state:?}");
        assert!(is_destroyed(&mut cluster));
        assert_eq!(blockers(&mut cluster), ["TenantKeyDestroyed"]);
        silent(&mut cluster);
    }
    insta::assert_snapshot!(says(&mut cluster, "Ready"), @"False TenantKeyDestroyed: nothing can be started: the tenant key was destroyed on 2027-01-29T08:00:00Z, as it was asked for: DestructionRecord acme-c0cb1fc2eb");
    // Nor when the provider forgets that there ever was one.
    cluster.keys().tenant = Slot::Absent;
    cluster.settle();
    assert_eq!(cluster.keys().tenant, Slot::Absent);
    let database = cluster.body(Kind::Cluster, "db").unwrap();
    assert_eq!(database["metadata"]["annotations"]["cnpg.io/hibernation"], "on");
}

#[test]
fn a_protected_tenant_keeps_its_keys_and_says_why() {
    let mut cluster = settled();
    ask(&mut cluster);
    cluster.given.tenant.spec.deletion_protection = true;
    cluster.settle();
    grace(&mut cluster);
    cluster.settle();
    assert!(is_whole(&mut cluster));
    assert_eq!(blockers(&mut cluster), ["DestructionProtected"]);
    assert_eq!(phase(&cluster), None);
    silent(&mut cluster);
}

#[test]
fn destruction_by_key_is_offered_only_where_the_key_is_the_tenant_s_own() {
    let platform = StorageClass {
        provisioner: "pd.csi.storage.gke.io".into(),
        is_default: true,
        ..StorageClass::default()
    };
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.given.config.storage_classes = Some([("disk".to_owned(), platform.clone())].into());
    cluster.settle();
    ask(&mut cluster);
    cluster.settle();
    grace(&mut cluster);
    cluster.settle();
    assert_eq!(blockers(&mut cluster), ["DestructionNotOffered"]);
    assert_eq!(phase(&cluster), None);
    let plan = cluster.plan();
    insta::assert_snapshot!(plan.status.blockers[0].message, @"the volume db-1 is not encrypted with a key of this tenant's own: destroying the tenant key would not destroy the data");
    // A volume of another kind counts, whatever the class says by now; and an announcement is called off by it.
    let mut cluster = settled();
    ask(&mut cluster);
    cluster.settle();
    let classes = cluster.given.config.storage_classes.as_mut().unwrap();
    classes.insert("encrypted".into(), platform);
    cluster.settle();
    grace(&mut cluster);
    cluster.settle();
    assert_eq!(phase(&cluster), None);
    assert!(is_whole(&mut cluster));
    assert_eq!(blockers(&mut cluster), ["DestructionNotOffered"]);
}

#[test]
fn while_the_key_service_is_silent_nothing_is_destroyed_and_then_it_goes_on() {
    let mut cluster = settled();
    ask(&mut cluster);
    cluster.settle();
    grace(&mut cluster);
    cluster.given.config.key_service.as_mut().unwrap().failure = Some("no answer".into());
    cluster.settle();
    assert!(is_whole(&mut cluster));
    assert_eq!(phase(&cluster), Some(Phase::Pending));
    assert_eq!(blockers(&mut cluster), ["KeyServiceUnavailable"]);
    silent(&mut cluster);
    cluster.given.config.key_service.as_mut().unwrap().failure = None;
    cluster.settle();
    assert!(is_destroyed(&mut cluster));
}

#[test]
fn what_was_destroyed_can_be_deleted_with_either_policy_and_the_record_stays() {
    for policy in [DeletionPolicy::Delete, DeletionPolicy::Retain] {
        let mut cluster = destroyed();
        cluster.release(policy);
        cluster.delete();
        cluster.settle();
        assert!(cluster.gone, "{policy:?}: {}", cluster.log.join("\n"));
        assert_eq!(record(&cluster)["status"]["phase"], "Destroyed");
    }
}

#[test]
fn a_deletion_gives_an_announced_destruction_up_and_waits_for_one_that_runs() {
    let mut cluster = settled();
    ask(&mut cluster);
    cluster.settle();
    cluster.release(DeletionPolicy::Retain);
    cluster.delete();
    cluster.settle();
    assert!(cluster.gone && is_whole(&mut cluster));
    assert_eq!(phase(&cluster), None);

    let mut cluster = settled();
    ask(&mut cluster);
    cluster.settle();
    grace(&mut cluster);
    cluster.pass(usize::MAX);
    assert_eq!(phase(&cluster), Some(Phase::Running));
    cluster.delete();
    cluster.settle();
    assert!(cluster.gone, "{}", cluster.log.join("\n"));
    assert_eq!(phase(&cluster), Some(Phase::Succeeded));
    assert_eq!(record(&cluster)["status"]["phase"], "Destroyed");
}

#[test]
fn who_adopts_what_was_destroyed_gets_no_new_key_for_it() {
    let mut cluster = destroyed();
    cluster.release(DeletionPolicy::Retain);
    cluster.delete();
    cluster.settle();
    let mut given = given::with_keys("acme");
    given.now = cluster.given.now;
    given.tenant.metadata.uid = Some("bbbbbbbb-0000-4000-8000-000000000002".into());
    given.tenant.spec.adopt = Some(freehold_crds::Adoption {
        incarnation: given::UID.into(),
    });
    cluster.succeed(given);
    cluster.settle();
    assert!(is_destroyed(&mut cluster));
    assert!(blockers(&mut cluster).contains(&"TenantKeyDestroyed".to_owned()));
    let database = cluster.body(Kind::Cluster, "db").unwrap();
    assert_eq!(database["metadata"]["annotations"]["cnpg.io/hibernation"], "on");
}

#[test]
fn a_release_that_is_gone_stops_no_destruction() {
    let mut cluster = settled();
    ask(&mut cluster);
    cluster.settle();
    cluster.given.releases.clear();
    grace(&mut cluster);
    cluster.settle();
    assert!(is_destroyed(&mut cluster), "{}", cluster.log.join("\n"));
    assert_eq!(record(&cluster)["status"]["phase"], "Destroyed");
}

#[test]
fn the_record_alone_keeps_a_tenant_from_starting_when_somebody_deleted_the_operations() {
    let mut cluster = destroyed();
    while cluster.operations().count() > 0 {
        cluster.lose_operation(0);
    }
    cluster.given.tenant.spec.deletion_protection = true;
    cluster.settle();
    assert_eq!(cluster.operations().count(), 0, "nothing is announced again");
    assert!(says(&mut cluster, "KeysDestroyed").starts_with("True"));
    withdraw(&mut cluster);
    cluster.log.clear();
    cluster.settle();
    assert_eq!(cluster.log, Vec::<String>::new());
    assert_eq!(blockers(&mut cluster), ["TenantKeyDestroyed"]);
}

#[test]
fn a_tenant_whose_key_is_lost_in_the_middle_of_its_destruction_can_be_deleted() {
    let mut cluster = due();
    for _ in 0..40 {
        cluster.pass(1);
        cluster.tick();
        let mut steps = cluster
            .operations()
            .filter_map(|operation| operation.status.step.clone());
        if steps.any(|step| step == "Destroy") {
            break;
        }
    }
    cluster.keys().tenant = Slot::Absent;
    cluster.settle();
    assert!(!is_destroyed(&mut cluster));
    cluster.release(DeletionPolicy::Delete);
    cluster.delete();
    cluster.settle();
    assert!(cluster.gone, "{}", cluster.log.join("\n"));
    assert!(
        cluster
            .operations()
            .all(|operation| operation.status.phase.is_over())
    );
}
