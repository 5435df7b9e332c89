//! A terminated tenant, and the destruction of its keys: late, on record, once, and for good.

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
fn an_announced_destruction_holds_no_rotation_up_and_one_that_is_open_gives_way_when_it_is_due() {
    let mut cluster = settled();
    ask(&mut cluster);
    cluster.settle();
    cluster.given.tenant.spec.keys = Some(TenantKeys {
        rotate_tenant_key: Some("meanwhile".into()),
        ..TenantKeys::default()
    });
    cluster.settle();
    assert_eq!(cluster.keys().tenant.present().unwrap().last, 2);
    cluster.given.tenant.spec.keys = Some(TenantKeys {
        rotate_tenant_key: Some("at the end".into()),
        ..TenantKeys::default()
    });
    cluster.pass(usize::MAX);
    grace(&mut cluster);
    for _ in 0..30 {
        cluster.pass(1);
        cluster.tick();
        let running = cluster
            .operations()
            .filter(|o| o.status.phase == Phase::Running)
            .count();
        assert!(running <= 1, "two at once:\n{}", cluster.log.join("\n"));
    }
    cluster.settle();
    assert_eq!(cluster.keys().tenant.present().unwrap().last, 2);
    assert!(is_destroyed(&mut cluster));
    silent(&mut cluster);
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
    cluster.given.release = None;
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

/// One that was called off when the key service had been asked, and has neither heard it nor answered.
fn called_off_late() -> Cluster {
    let mut cluster = due();
    cluster.late = true;
    for _ in 0..40 {
        cluster.pass(1);
        cluster.tick();
        if !cluster.late {
            withdraw(&mut cluster);
            cluster.settle();
            return cluster;
        }
    }
    panic!("never asked: {}", cluster.log.join("\n"));
}

#[test]
fn a_destruction_that_is_heard_after_it_was_called_off_is_on_record_as_one() {
    let mut cluster = called_off_late();
    assert!(is_whole(&mut cluster));
    let told = record(&cluster)["status"].clone();
    assert_eq!(told["phase"], "Pending", "nobody can know");
    assert!(told.to_string().contains("is not known"), "{told}");
    insta::assert_snapshot!(says(&mut cluster, "KeysDestroyed"), @"False CallingOff: the destruction of the tenant key is being called off (acme-key-destruction-e0a404e69d): whether it was heard already is known at 2027-01-29T08:02:00Z");
    assert!(
        says(&mut cluster, "Serving").starts_with("False"),
        "nothing is started"
    );
    silent(&mut cluster);
    cluster.lands();
    cluster.settle();
    assert!(is_destroyed(&mut cluster));
    assert_eq!(phase(&cluster), Some(Phase::Succeeded));
    assert_eq!(record(&cluster)["status"]["phase"], "Destroyed");
    assert_eq!(blockers(&mut cluster), ["TenantKeyDestroyed"]);
    silent(&mut cluster);
}

#[test]
fn one_that_is_not_heard_is_called_off_when_it_can_t_be_any_more() {
    let mut cluster = called_off_late();
    let wake = cluster.plan().wake.unwrap();
    assert!(wake <= cluster.given.now + SignedDuration::from_mins(3));
    cluster.sleep_until(wake);
    cluster.settle();
    assert!(is_whole(&mut cluster));
    assert_eq!(phase(&cluster), None);
    assert_eq!(record(&cluster)["status"]["phase"], "Cancelled");
    assert!(says(&mut cluster, "Serving").starts_with("True"));
    silent(&mut cluster);
}

/// Later than anybody waits for: what runs by then goes on, for it could never be started again.
#[test]
fn one_that_is_heard_even_later_corrects_the_record_and_stops_nothing() {
    let mut cluster = called_off_late();
    cluster.given.now += SignedDuration::from_mins(3);
    cluster.settle();
    assert_eq!(record(&cluster)["status"]["phase"], "Cancelled");
    cluster.lands();
    cluster.settle();
    let told = record(&cluster)["status"].clone();
    assert_eq!(told["phase"], "Destroyed");
    insta::assert_snapshot!(told["evidence"][0].as_str().unwrap(), @"it was called off, and the tenant key was destroyed all the same, by a call that was late or by somebody else: at 2027-01-29T08:03:00Z by the provider, which lists 1 versions, all of them destroyed");
    assert!(told["elsewhereUntil"].is_string());
    assert!(says(&mut cluster, "Serving").starts_with("True"));
    assert_eq!(blockers(&mut cluster), ["TenantKeyDestroyed"]);
    silent(&mut cluster);
    // Asked for once more, it is brought to its end.
    ask(&mut cluster);
    cluster.settle();
    grace(&mut cluster);
    cluster.settle();
    assert!(is_destroyed(&mut cluster));
}

/// What can happen, in any order.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Pass(usize),
    Tick,
    Sleep(i64),
    Terminate,
    DestroyKeys(bool),
    Protection(bool),
    Wake,
    Rotate(u8),
    LoseDataKey,
    Silence(bool),
    CutOff,
    Late,
    Land,
    LoseStatus,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => (0..12_usize).prop_map(Happening::Pass),
        6 => Just(Happening::Tick),
        3 => (1..1_500_000_i64).prop_map(Happening::Sleep),
        2 => Just(Happening::Terminate),
        3 => prop::bool::weighted(0.8).prop_map(Happening::DestroyKeys),
        2 => prop::bool::weighted(0.2).prop_map(Happening::Protection),
        1 => Just(Happening::Wake),
        2 => any::<u8>().prop_map(Happening::Rotate),
        1 => Just(Happening::LoseDataKey),
        1 => prop::bool::weighted(0.2).prop_map(Happening::Silence),
        1 => Just(Happening::CutOff),
        2 => Just(Happening::Late),
        2 => Just(Happening::Land),
        1 => Just(Happening::LoseStatus),
    ]
}

fn happen(cluster: &mut Cluster, happening: Happening) {
    let spec = &mut cluster.given.tenant.spec;
    match happening {
        Happening::Pass(k) => {
            cluster.pass(k);
        }
        Happening::Tick => {
            cluster.tick();
        }
        Happening::Sleep(seconds) => cluster.given.now += SignedDuration::from_secs(seconds),
        Happening::Terminate => spec.desired_state = DesiredState::Terminated,
        Happening::DestroyKeys(yes) => spec.termination = Some(Termination { destroy_keys: yes }),
        Happening::Protection(on) => spec.deletion_protection = on,
        Happening::Wake => spec.desired_state = DesiredState::Active,
        Happening::Rotate(n) => {
            spec.keys = Some(TenantKeys {
                rotate_tenant_key: Some(format!("word-{n}")),
                ..TenantKeys::default()
            });
        }
        Happening::LoseDataKey => lose_data_key(cluster),
        Happening::Silence(silent) => {
            let service = cluster.given.config.key_service.as_mut().unwrap();
            service.failure = silent.then(|| "no answer".into());
        }
        Happening::CutOff => cluster.cut_off = true,
        Happening::Late => cluster.late = true,
        Happening::Land => cluster.lands(),
        Happening::LoseStatus => cluster.given.tenant.status = None,
    }
}

static SETTLED: LazyLock<Cluster> = LazyLock::new(settled);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The simulated shell asserts that each destruction is on record, and that nothing runs.
    #[test]
    fn whatever_happens_in_whatever_order_what_was_destroyed_stays_so_and_it_comes_to_rest(
        happenings in proptest::collection::vec(happening(), 5..80),
    ) {
        let mut cluster = SETTLED.clone();
        let mut was_destroyed = false;
        for next in happenings {
            happen(&mut cluster, next);
            let gone = cluster.keys().tenant.present().is_some_and(|key| key.versions.is_empty());
            prop_assert!(gone || !was_destroyed, "a key in the place of one that was destroyed");
            was_destroyed = gone;
            let running = cluster.operations().filter(|o| o.status.phase == Phase::Running).count();
            prop_assert!(running <= 1, "two operations at once");
            let plan = cluster.plan();
            let mut later = cluster.given.clone();
            let wake = plan.wake.unwrap_or(later.now + SignedDuration::from_hours(24));
            prop_assert!(wake > later.now);
            later.now = wake - SignedDuration::from_nanos(1);
            prop_assert_eq!(deeds(&plan), deeds(&freehold_plan::plan(&later.input())));
        }
        cluster.given.config.key_service.as_mut().unwrap().failure = None;
        for _ in 0..6 {
            cluster.settle();
            if let Some(wake) = cluster.plan().wake {
                cluster.sleep_until(wake);
            }
        }
        cluster.settle();
        silent(&mut cluster);
        prop_assert!(phase(&cluster) != Some(Phase::Running), "a destruction that does not end");
        let gone = cluster.keys().tenant.present().is_some_and(|key| key.versions.is_empty());
        let says_so = |id: &Id| cluster.body(id.kind, &id.name).unwrap()["status"]["phase"] == "Destroyed";
        let told = cluster.ids().any(|id| id.kind == Kind::DestructionRecord && says_so(id));
        prop_assert_eq!(gone, told, "a record that is not true");
        prop_assert!(phase(&cluster) != Some(Phase::Succeeded) || is_destroyed(&mut cluster));
        let writes = cluster.plan().records.iter().any(|record| matches!(record, Record::Destruction { .. }));
        prop_assert!(!writes);
    }
}

#[test]
fn a_move_to_new_data_keys_that_sleeps_does_not_hold_the_destruction() {
    for passes in 0..6 {
        let mut cluster = settled();
        cluster.given.tenant.spec.keys = Some(TenantKeys {
            rotate_data_keys: Some("now".into()),
            ..TenantKeys::default()
        });
        for _ in 0..passes {
            cluster.pass(usize::MAX);
            cluster.tick();
        }
        ask(&mut cluster);
        cluster.settle();
        grace(&mut cluster);
        cluster.settle();
        assert!(
            is_destroyed(&mut cluster),
            "after {passes} passes: {}",
            cluster.log.join("\n")
        );
        let mut records = cluster.operations();
        assert!(records.all(|operation| {
            operation.spec.r#type == OperationType::Deletion || operation.status.phase.is_over()
        }));
    }
}

/// Where a rotation of the tenant key stands when it can't go on.
fn stuck(passes: usize) -> Cluster {
    let mut cluster = settled();
    cluster.given.tenant.spec.keys = Some(TenantKeys {
        rotate_tenant_key: Some("now".into()),
        ..TenantKeys::default()
    });
    for _ in 0..passes {
        cluster.pass(1);
    }
    lose_data_key(&mut cluster);
    cluster.settle();
    cluster
}

/// Somebody deletes the Secret of a volume's key.
fn lose_data_key(cluster: &mut Cluster) {
    cluster.keys().data.pop_first();
}

#[test]
fn a_rotation_of_the_tenant_key_that_can_t_go_on_does_not_hold_the_destruction() {
    for passes in 1..8 {
        let mut cluster = stuck(passes);
        assert!(says(&mut cluster, "KeysCurrent").starts_with("False VolumeKeyLost"));
        ask(&mut cluster);
        cluster.settle();
        grace(&mut cluster);
        cluster.settle();
        let log = cluster.log.join("\n");
        assert!(is_destroyed(&mut cluster), "after {passes} passes: {log}");
        for rotation in rotations(&cluster) {
            assert_eq!(rotation.phase, Phase::Cancelled, "after {passes} passes");
            let why = &rotation.evidence.last().unwrap().message;
            assert_eq!(why, "the keys are to be destroyed");
        }
        silent(&mut cluster);
    }
}

fn rotations(cluster: &Cluster) -> Vec<TenantOperationStatus> {
    let rotations = cluster
        .operations()
        .filter(|o| o.spec.r#type == OperationType::TenantKeyRotation);
    rotations.map(|operation| operation.status.clone()).collect()
}

/// There is no model then, and no concern that needs one is asked.
#[test]
fn nor_does_a_rotation_of_a_tenant_whose_release_is_gone() {
    let mut cluster = stuck(3);
    ask(&mut cluster);
    cluster.settle();
    cluster.given.release = None;
    grace(&mut cluster);
    cluster.settle();
    assert!(is_destroyed(&mut cluster), "{}", cluster.log.join("\n"));
    silent(&mut cluster);
}

#[test]
fn a_rotation_goes_on_as_long_as_the_destruction_is_not_due_or_something_stands_against_it() {
    let mut cluster = stuck(3);
    let open = |cluster: &Cluster| {
        rotations(cluster)
            .iter()
            .any(|rotation| !rotation.phase.is_over())
    };
    ask(&mut cluster);
    cluster.settle();
    assert!(open(&cluster), "in the grace");
    withdraw(&mut cluster);
    grace(&mut cluster);
    cluster.settle();
    assert!(open(&cluster), "called off");
    ask(&mut cluster);
    cluster.given.tenant.spec.deletion_protection = true;
    cluster.settle();
    grace(&mut cluster);
    cluster.settle();
    assert!(open(&cluster), "protected");
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
