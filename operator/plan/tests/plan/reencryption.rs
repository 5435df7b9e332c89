//! New data keys: the database moves to other volumes without losing its primary, its replicas or a key.

use freehold_crds::{DeletionPolicy, DesiredState, OperationType, Phase, TenantKeys};
use freehold_plan::{Action, Kind};
use jiff::SignedDuration;

use crate::cluster::Cluster;
use crate::given;
use crate::keys::{says, settled};
use crate::simulation::{ready, silent};

fn of_instances(instances: i32) -> Cluster {
    let mut given = given::with_keys("acme");
    given.tenant.spec.database = Some(given::typed(serde_json::json!({"instances": instances})));
    let mut cluster = Cluster::new(given);
    cluster.settle();
    assert!(ready(&cluster));
    cluster
}

fn ask(cluster: &mut Cluster, word: &str) {
    cluster.given.tenant.spec.keys = Some(TenantKeys {
        rotate_data_keys: Some(word.into()),
        ..TenantKeys::default()
    });
}

fn keys(cluster: &mut Cluster) -> Vec<String> {
    cluster.keys().data.keys().cloned().collect()
}

fn rotations(cluster: &Cluster) -> Vec<Phase> {
    let operations = cluster.operations();
    operations
        .filter(|operation| operation.spec.r#type == OperationType::DataKeyRotation)
        .map(|operation| operation.status.phase)
        .collect()
}

/// It is under way for half an hour, and then says what it waits for.
fn slow(cluster: &mut Cluster) -> String {
    assert_eq!(rotations(cluster), [Phase::Running]);
    let later = cluster.given.now + SignedDuration::from_mins(31);
    cluster.sleep_until(later);
    cluster.pass(usize::MAX);
    cluster.plan().status.blockers[0].reason.clone()
}

#[test]
fn a_database_of_one_instance_moves_to_a_volume_with_a_new_key() {
    let mut cluster = of_instances(1);
    let before = keys(&mut cluster);
    cluster.log.clear();
    ask(&mut cluster, "2027");
    cluster.settle();
    insta::assert_snapshot!(cluster.log.join("\n"));
    let after = keys(&mut cluster);
    assert_eq!(after.len(), 1);
    assert_ne!(before, after);
    let keys = cluster.plan().status.keys.unwrap();
    assert_eq!(keys.data_keys_acknowledged.as_deref(), Some("2027"));
    let evidence: Vec<String> = cluster
        .operations()
        .flat_map(|operation| &operation.status.evidence)
        .map(|evidence| format!("{}: {}", evidence.step, evidence.message))
        .collect();
    insta::assert_snapshot!(evidence.join("\n"));
    silent(&mut cluster);
    // The same word is heard once.
    cluster.log.clear();
    cluster.settle();
    assert_eq!(cluster.log, Vec::<String>::new());
}

#[test]
fn three_instances_are_replaced_one_after_the_other_and_three_are_always_there() {
    let mut cluster = of_instances(3);
    let before = keys(&mut cluster);
    cluster.log.clear();
    ask(&mut cluster, "2027");
    for _ in 0..60 {
        cluster.pass(usize::MAX);
        cluster.tick();
        let plan = cluster.plan();
        let database = plan
            .conditions
            .iter()
            .find(|condition| condition.type_ == "DatabaseReady");
        assert_ne!(database.unwrap().reason, "DatabaseNotReady", "{database:?}");
    }
    insta::assert_snapshot!(cluster.log.join("\n"));
    let after = keys(&mut cluster);
    assert_eq!(after.len(), 3);
    assert!(
        before.iter().all(|key| !after.contains(key)),
        "{before:?} {after:?}"
    );
    assert!(ready(&cluster));
    silent(&mut cluster);
}

#[test]
fn killed_after_any_effect_the_move_is_finished_and_no_volume_lacks_its_key() {
    for instances in [1, 2] {
        for passes in 0..8 {
            for k in 0..4 {
                let mut cluster = of_instances(instances);
                let before = keys(&mut cluster);
                ask(&mut cluster, "now");
                for _ in 0..passes {
                    cluster.pass(usize::MAX);
                    cluster.tick();
                }
                cluster.pass(k);
                cluster.given.tenant.status = None;
                cluster.settle();
                let after = keys(&mut cluster);
                assert!(
                    before.iter().all(|key| !after.contains(key)),
                    "{passes} passes and {k}"
                );
                assert_eq!(after.len(), usize::try_from(instances).unwrap());
                assert_eq!(rotations(&cluster), [Phase::Succeeded]);
                assert!(ready(&cluster));
                silent(&mut cluster);
            }
        }
    }
}

#[test]
fn a_tenant_that_sleeps_waits_with_its_new_keys_and_says_so() {
    let mut cluster = settled();
    cluster.given.tenant.spec.desired_state = DesiredState::Suspended;
    ask(&mut cluster, "now");
    cluster.settle();
    assert_eq!(rotations(&cluster), []);
    let blockers = cluster.plan().status.blockers;
    assert_eq!(blockers[0].reason, "DataKeyRotationWaits");
    cluster.given.tenant.spec.desired_state = DesiredState::Active;
    cluster.settle();
    assert_eq!(rotations(&cluster), [Phase::Succeeded]);
}

#[test]
fn what_new_data_keys_wait_for_is_named_and_keys_that_are_too_old_are_not_current() {
    let mut given = given::with_keys("acme");
    given.config.verification = None;
    given.class.as_mut().unwrap().spec.keys.data_key_cryptoperiod = "48h".into();
    let mut cluster = Cluster::new(given);
    cluster.settle();
    assert!(ready(&cluster));
    cluster.given.tenant.spec.desired_state = DesiredState::Suspended;
    cluster.settle();
    assert!(says(&mut cluster, "KeysCurrent").starts_with("True Current: "));
    cluster.sleep_until(cluster.given.now + SignedDuration::from_hours(49));
    cluster.settle();
    let told = says(&mut cluster, "KeysCurrent");
    assert!(
        told.starts_with("False Overdue: the cryptoperiod of the data keys is over"),
        "{told}"
    );

    let mut cluster = settled();
    cluster.given.tenant.spec.keys = Some(TenantKeys {
        rotate_tenant_key: Some("now".into()),
        rotate_data_keys: Some("now".into()),
    });
    let waits = |cluster: &mut Cluster| {
        let blockers = cluster.plan().status.blockers.into_iter();
        let mut waits = blockers.filter(|blocker| blocker.reason == "DataKeyRotationWaits");
        waits.any(|waits| waits.message.contains("wait for the end of acme-tenant-key-"))
    };
    let named = (0..10).any(|_| {
        cluster.pass(usize::MAX);
        waits(&mut cluster)
    });
    assert!(named);
    cluster.settle();
    assert!(ready(&cluster) && !waits(&mut cluster));
}

#[test]
fn a_tenant_that_is_suspended_in_the_middle_goes_on_when_it_wakes() {
    for passes in 0..10 {
        let mut cluster = of_instances(2);
        ask(&mut cluster, "now");
        for _ in 0..passes {
            cluster.pass(usize::MAX);
            cluster.tick();
        }
        cluster.given.tenant.spec.desired_state = DesiredState::Suspended;
        cluster.settle();
        let sleeps = says(&mut cluster, "DatabaseReady");
        assert!(sleeps.starts_with("True Hibernated"), "{sleeps}");
        cluster.given.tenant.spec.desired_state = DesiredState::Active;
        cluster.settle();
        assert_eq!(rotations(&cluster), [Phase::Succeeded], "after {passes} passes");
        assert!(ready(&cluster));
    }
}

#[test]
fn a_cryptoperiod_that_is_over_waits_for_a_window_and_a_wish_does_not() {
    let mut cluster = of_instances(1);
    cluster.given.config.verification = None;
    cluster
        .given
        .class
        .as_mut()
        .unwrap()
        .spec
        .keys
        .data_key_cryptoperiod = "24h".into();
    let begin = cluster.given.now;
    let end = begin + SignedDuration::from_hours(72);
    let mut opened: Vec<jiff::Timestamp> = Vec::new();
    cluster.live_until(end, |cluster| {
        let records = cluster.operations();
        let begun = records.filter(|operation| operation.spec.r#type == OperationType::DataKeyRotation);
        opened = begun.map(|operation| operation.created).collect();
    });
    assert!(!opened.is_empty());
    for at in opened {
        let hour = at.to_zoned(jiff::tz::TimeZone::UTC).hour();
        assert!((2..6).contains(&hour), "begun at {at}");
    }
}

#[test]
fn a_surge_that_finds_no_room_is_told_and_can_be_taken_back() {
    let mut cluster = of_instances(1);
    let before = keys(&mut cluster);
    cluster.postgres.full = true;
    ask(&mut cluster, "now");
    for _ in 0..6 {
        cluster.pass(usize::MAX);
        cluster.tick();
    }
    assert!(ready(&cluster), "what runs goes on");
    assert_eq!(slow(&mut cluster), "DataKeyRotationSlow");
    cluster.given.tenant.spec.keys = None;
    cluster.settle();
    assert_eq!(rotations(&cluster), [Phase::Cancelled]);
    assert_eq!(keys(&mut cluster), before);
    assert!(ready(&cluster));
    silent(&mut cluster);
    // The same word again is another wish.
    cluster.postgres.full = false;
    ask(&mut cluster, "now");
    cluster.settle();
    assert!(rotations(&cluster).contains(&Phase::Succeeded));
}

#[test]
fn a_move_that_nobody_asked_for_and_that_finds_no_room_is_given_up_until_a_later_window() {
    let mut cluster = of_instances(1);
    cluster.given.config.verification = None;
    cluster
        .given
        .class
        .as_mut()
        .unwrap()
        .spec
        .keys
        .data_key_cryptoperiod = "24h".into();
    cluster.postgres.full = true;
    let end = cluster.given.now + SignedDuration::from_hours(6 * 24);
    cluster.live_until(end, |cluster| {
        assert!(ready(cluster), "{:#?}", cluster.given.tenant.status);
    });
    let phases = rotations(&cluster);
    assert!((3..8).contains(&phases.len()), "{phases:?}");
    assert!(
        phases.iter().all(|phase| *phase == Phase::Cancelled),
        "{phases:?}"
    );
}

#[test]
fn no_move_begins_onto_storage_that_does_not_encrypt_with_the_tenants_keys() {
    let mut cluster = of_instances(1);
    let plain = freehold_plan::StorageClass {
        provisioner: "rancher.io/local-path".into(),
        ..Default::default()
    };
    let classes = cluster.given.config.storage_classes.as_mut().unwrap();
    classes.insert("plain".into(), plain);
    let class = cluster.given.class.as_mut().unwrap();
    class.spec.database.storage_class_name = Some("plain".into());
    // Taken over in a window.
    cluster.given.now += SignedDuration::from_hours(19);
    cluster.settle();
    ask(&mut cluster, "now");
    cluster.settle();
    assert_eq!(rotations(&cluster), []);
    let blockers = cluster.plan().status.blockers;
    let waits = blockers
        .iter()
        .find(|blocker| blocker.reason == "DataKeyRotationWaits");
    assert!(waits.unwrap().message.contains("would not be encrypted"));
}

#[test]
fn a_volume_of_nobodys_instance_brings_no_move() {
    let mut cluster = of_instances(1);
    cluster.given.config.verification = None;
    cluster.stray_volume();
    cluster.settle();
    cluster
        .given
        .class
        .as_mut()
        .unwrap()
        .spec
        .keys
        .data_key_cryptoperiod = "48h".into();
    let end = cluster.given.now + SignedDuration::from_hours(5 * 24);
    cluster.live_until(end, |_| {});
    let moves = rotations(&cluster).len();
    assert!(
        (1..=3).contains(&moves),
        "{moves} moves in five days of a cryptoperiod of two"
    );
}

#[test]
fn an_old_instance_that_does_not_answer_is_the_first_to_go() {
    let mut cluster = of_instances(3);
    ask(&mut cluster, "now");
    for _ in 0..60 {
        let plan = cluster.plan();
        let retires = plan
            .actions
            .iter()
            .any(|action| matches!(action, Action::RetireInstance { .. }));
        if retires {
            cluster.postgres.silence("db-1");
            cluster.tick();
            let plan = cluster.plan();
            let first = plan.actions.iter().find_map(|action| match action {
                Action::RetireInstance { instance, .. } => Some(instance.as_str()),
                _ => None,
            });
            assert_eq!(first, Some("db-1"));
            cluster.settle();
            assert_eq!(rotations(&cluster), [Phase::Succeeded]);
            return;
        }
        cluster.pass(usize::MAX);
        cluster.tick();
    }
    panic!("nothing was ever removed");
}

#[test]
fn with_a_failover_in_the_middle_no_primary_is_removed() {
    let mut cluster = of_instances(2);
    ask(&mut cluster, "now");
    for _ in 0..40 {
        let retires = |cluster: &mut Cluster| {
            let actions = cluster.plan().actions;
            actions
                .iter()
                .any(|action| matches!(action, Action::RetireInstance { .. }))
        };
        if retires(&mut cluster) {
            // Right before the first is removed, the database fails over to it.
            cluster.postgres.fail_over_to_the_first();
            cluster.tick();
            assert!(!retires(&mut cluster));
            cluster.settle();
            assert_eq!(rotations(&cluster), [Phase::Succeeded]);
            assert!(ready(&cluster));
            return;
        }
        cluster.pass(usize::MAX);
        cluster.tick();
    }
    panic!("nothing was ever removed");
}

#[test]
fn of_a_tenant_that_ends_with_its_data_no_rotation_stays_under_way() {
    for ask in [ask, |cluster: &mut Cluster, word: &str| {
        cluster.given.tenant.spec.keys = Some(TenantKeys {
            rotate_tenant_key: Some(word.into()),
            ..TenantKeys::default()
        });
    }] {
        let mut cluster = of_instances(1);
        cluster.release(DeletionPolicy::Delete);
        ask(&mut cluster, "now");
        for _ in 0..3 {
            cluster.pass(usize::MAX);
        }
        cluster.delete();
        cluster.settle();
        assert!(cluster.gone);
        let phases: Vec<Phase> = cluster
            .operations()
            .map(|operation| operation.status.phase)
            .collect();
        assert!(phases.contains(&Phase::Cancelled), "{phases:?}");
        assert!(phases.iter().all(|phase| phase.is_over()), "{phases:?}");
    }
}

#[test]
fn there_is_room_for_the_surge_while_it_lasts_and_no_longer() {
    let mut cluster = of_instances(1);
    let pods = |cluster: &Cluster| {
        let quota = cluster.body(Kind::ResourceQuota, "tenant").unwrap();
        quota["spec"]["hard"]["count/pods"].clone()
    };
    assert_eq!(pods(&cluster), "28");
    ask(&mut cluster, "now");
    let mut most = Vec::new();
    for _ in 0..20 {
        cluster.pass(usize::MAX);
        cluster.tick();
        most.push(pods(&cluster));
    }
    assert!(most.contains(&"30".into()), "{most:?}");
    assert_eq!(pods(&cluster), "28");
}

#[test]
fn a_clock_that_is_a_day_off_or_goes_back_loses_no_key_and_leaves_no_rotation_half_done() {
    for hours in [24, -24, -24 * 30] {
        for passes in 0..6 {
            let mut cluster = of_instances(1);
            let jump = SignedDuration::from_hours(hours);
            cluster.given.tenant.spec.keys = Some(TenantKeys {
                rotate_tenant_key: Some("now".into()),
                rotate_data_keys: Some("now".into()),
            });
            for _ in 0..passes {
                cluster.pass(usize::MAX);
                cluster.tick();
            }
            cluster.given.now += jump;
            cluster.settle();
            cluster.given.now -= jump;
            cluster.settle();
            assert_eq!(
                rotations(&cluster),
                [Phase::Succeeded],
                "{hours} h after {passes}"
            );
            let keys = cluster.keys();
            assert_eq!(keys.tenant.present().unwrap().last, 2, "{hours} h after {passes}");
            assert_eq!(keys.data.len(), 1);
            assert!(ready(&cluster));
        }
    }
}

#[test]
fn volumes_that_are_older_than_the_classs_storage_are_told_and_moved_by_a_word() {
    let mut given = given::with_keys("acme");
    let plain = freehold_plan::StorageClass {
        provisioner: "rancher.io/local-path".into(),
        ..Default::default()
    };
    let classes = given.config.storage_classes.as_mut().unwrap();
    classes.insert("plain".into(), plain);
    let database = &mut given.class.as_mut().unwrap().spec.database;
    database.storage_class_name = Some("plain".into());
    database.allow_unencrypted = true;
    let mut cluster = Cluster::new(given);
    cluster.settle();
    assert!(ready(&cluster));
    let database = &mut cluster.given.class.as_mut().unwrap().spec.database;
    database.storage_class_name = Some("encrypted".into());
    database.allow_unencrypted = false;
    // Taken over in a window.
    cluster.given.now += SignedDuration::from_hours(19);
    cluster.settle();
    insta::assert_snapshot!(says(&mut cluster, "VolumesEncrypted"), @"False OlderVolumes: the StorageClass encrypted encrypts with keys of this tenant's own; but the claim db-1 is older, and of a StorageClass that does not encrypt, as far as Freehold can tell");
    insta::assert_snapshot!(says(&mut cluster, "KeysSeparated"), @"False NotEncrypted: the claim db-1 is older than the class's StorageClass: its volume is not encrypted, there is no key");
    // That it is told doesn't hang on a StorageClass that nobody needs any more.
    let classes = cluster.given.config.storage_classes.as_mut().unwrap();
    classes.remove("plain");
    cluster.settle();
    assert!(says(&mut cluster, "VolumesEncrypted").starts_with("False OlderVolumes: "));
    let status = cluster.plan().status;
    assert_eq!(status.keys.unwrap().scope, freehold_crds::KeyScope::Nobody);
    let told = status
        .blockers
        .iter()
        .find(|blocker| blocker.reason == "VolumesNotReplaced");
    assert!(told.unwrap().unblocked_by.contains("spec.keys.rotateDataKeys"));
    assert!(ready(&cluster), "it serves on");
    assert_eq!(rotations(&cluster), [], "nothing is moved without a word");

    // It isn't over while one of them is there still, although none of them has a key that tells.
    cluster.postgres.retains = true;
    ask(&mut cluster, "encrypt");
    for _ in 0..12 {
        cluster.pass(usize::MAX);
        cluster.tick();
    }
    assert_eq!(cluster.plan().status.blockers, [], "they are being moved");
    assert_eq!(slow(&mut cluster), "VolumesStillThere");
    cluster.postgres.retains = false;
    cluster.settle();
    assert_eq!(rotations(&cluster), [Phase::Succeeded]);
    let status = cluster.plan().status;
    assert_eq!(status.blockers, []);
    let keys = status.keys.unwrap();
    assert_eq!(keys.scope, freehold_crds::KeyScope::Tenant);
    assert_eq!(keys.data_keys_acknowledged.as_deref(), Some("encrypt"));
    assert_eq!(keys.data_keys.len(), 1);
    insta::assert_snapshot!(says(&mut cluster, "VolumesEncrypted"), @"True Encrypted: the StorageClass encrypted encrypts with keys of this tenant's own");
    silent(&mut cluster);
}
