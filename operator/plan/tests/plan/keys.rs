//! Keys of a tenant's own: made once, rotated without a restart, never replaced, forgotten last.

use freehold_crds::{DeletionPolicy, DesiredState, OperationType, Phase, TenantKeys};
use freehold_plan::{Kind, Operation, Slot, StorageClass};
use jiff::SignedDuration;

use crate::cluster::Cluster;
use crate::given;
use crate::show::show;
use crate::simulation::{ready, silent};

pub fn settled() -> Cluster {
    let mut cluster = Cluster::new(given::with_keys("acme"));
    cluster.settle();
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    cluster
}

pub fn says(cluster: &mut Cluster, kind: &str) -> String {
    let plan = cluster.plan();
    let found = plan.conditions.iter().find(|condition| condition.type_ == kind);
    found.map_or_else(String::new, |c| {
        format!("{} {}: {}", c.status, c.reason, c.message)
    })
}

fn ask(cluster: &mut Cluster, word: &str) {
    cluster.given.tenant.spec.keys = Some(TenantKeys {
        rotate_tenant_key: Some(word.into()),
        ..TenantKeys::default()
    });
}

/// The numbers of the tenant key's versions, and of those that wrap a data key.
fn versions(cluster: &mut Cluster) -> (Vec<u32>, Vec<u32>) {
    let keys = cluster.keys();
    let tenant = keys.tenant.present().unwrap();
    let by = keys.data.values().map(|slot| slot.present().unwrap().version);
    (tenant.versions.keys().copied().collect(), by.collect())
}

#[test]
fn each_volume_gets_a_key_of_its_own_before_the_database_can_start() {
    let mut cluster = Cluster::new(given::with_keys("acme"));
    cluster.given.tenant.spec.database = Some(given::typed(serde_json::json!({"instances": 3})));
    cluster.settle();
    assert!(ready(&cluster));
    assert_eq!(versions(&mut cluster), (vec![1], vec![1, 1, 1]));
    insta::assert_snapshot!(says(&mut cluster, "KeysCurrent"), @"True Current: version 1 of the tenant key wraps 3 data keys, rotated next at 2027-04-13T01:59:22Z");
    insta::assert_snapshot!(says(&mut cluster, "KeysSeparated"), @"False RootKeyInCluster: the provider local keeps its root key in the cluster: who can read the Secrets there can read the data; take pkcs11 to keep them apart");
    insta::assert_snapshot!(says(&mut cluster, "VolumesEncrypted"), @"True Encrypted: the StorageClass encrypted encrypts with keys of this tenant's own");
    let status = cluster.plan().status.keys.unwrap();
    assert_eq!(status.data_keys.len(), 3);
    assert_eq!(status.tenant_key.unwrap().versions[0].protects, 3);
    silent(&mut cluster);
}

#[test]
fn killed_after_any_effect_no_key_is_made_twice() {
    let mut whole = settled();
    for k in 0..60 {
        let mut cluster = Cluster::new(given::with_keys("acme"));
        cluster.pass(k);
        cluster.given.tenant.status = None;
        cluster.settle();
        assert!(ready(&cluster), "killed after {k}");
        assert_eq!(versions(&mut cluster), versions(&mut whole), "killed after {k}");
        silent(&mut cluster);
    }
}

#[test]
fn a_rotation_that_is_asked_for_is_carried_out_once_and_acknowledged() {
    let mut cluster = settled();
    cluster.log.clear();
    ask(&mut cluster, "2027-01");
    cluster.settle();
    insta::assert_snapshot!(cluster.log.join("\n"), @r#"
    announce TenantKeyRotation None
    step Running Rotate
    RotateTenantKey { from: 1 }
    step Running Rewrap
    RewrapDataKeys { volumes: ["pvc-uid-29"] }
    step Running Destroy
    DestroyVersions { versions: [1] }
    step Succeeded
    "#);
    assert_eq!(versions(&mut cluster), (vec![2], vec![2]));
    assert!(ready(&cluster));
    let status = cluster.plan().status.keys.unwrap().tenant_key.unwrap();
    assert_eq!(status.acknowledged.as_deref(), Some("2027-01"));
    silent(&mut cluster);
    let evidence: Vec<String> = cluster
        .operations()
        .flat_map(|operation| &operation.status.evidence)
        .map(|evidence| format!("{}: {}", evidence.step, evidence.message))
        .collect();
    insta::assert_snapshot!(evidence.join("\n"), @r#"
    Rotate: version 2 was made after version 1
    Rewrap: 1 data keys are wrapped by version 2
    Destroy: no version before 2 is left
    "#);
    ask(&mut cluster, "again");
    cluster.settle();
    assert_eq!(versions(&mut cluster), (vec![3], vec![3]));
    // The word from before was heard already.
    ask(&mut cluster, "2027-01");
    cluster.settle();
    assert_eq!(versions(&mut cluster), (vec![3], vec![3]));
}

/// Its record is what has heard a word: as long as the word stands in the spec, it is kept among however many others.
#[test]
fn a_word_that_was_heard_is_not_heard_again_when_its_record_is_old() {
    let mut cluster = settled();
    cluster.given.config.verification = None;
    cluster.given.config.operation_history = 2;
    for word in ["a", "b", "c", "d"] {
        cluster.given.now += SignedDuration::from_mins(1);
        ask(&mut cluster, word);
        cluster.settle();
    }
    let rotations = |cluster: &Cluster| {
        let all = cluster.operations();
        let mut all: Vec<_> = all
            .filter(|it| it.spec.r#type == OperationType::TenantKeyRotation)
            .collect();
        all.sort_by_key(|operation| operation.ended());
        let tokens = all
            .into_iter()
            .map(|operation| operation.token().unwrap_or("-").to_owned());
        tokens.collect::<Vec<_>>()
    };
    assert_eq!(rotations(&cluster), ["c", "d"]);
    let end = cluster.given.now + SignedDuration::from_hours(366 * 24);
    cluster.live_until(end, |_| {});
    assert_eq!(rotations(&cluster), ["d", "-", "-"]);
    let status = cluster.plan().status.keys.unwrap();
    assert_eq!(status.tenant_key.unwrap().acknowledged.as_deref(), Some("d"));
}

#[test]
fn killed_after_any_effect_of_a_rotation_some_known_version_opens_each_data_key() {
    for k in 0..20 {
        for again in 0..4 {
            let mut cluster = settled();
            ask(&mut cluster, "now");
            for _ in 0..again {
                cluster.pass(usize::MAX);
            }
            cluster.pass(k);
            let (there, by) = versions(&mut cluster);
            assert!(
                by.iter().all(|version| there.contains(version)),
                "after {again} passes and {k}"
            );
            cluster.given.tenant.status = None;
            cluster.settle();
            assert_eq!(
                versions(&mut cluster),
                (vec![2], vec![2]),
                "after {again} passes and {k}"
            );
            assert_eq!(cluster.operations().count(), 1);
            silent(&mut cluster);
        }
    }
}

#[test]
fn the_tenant_key_is_rotated_when_its_cryptoperiod_is_over() {
    let mut cluster = settled();
    cluster.given.config.verification = None;
    let end = cluster.given.now + SignedDuration::from_hours(366 * 24);
    cluster.live_until(end, |cluster| assert!(ready(cluster)));
    let rotations: Vec<_> = cluster
        .operations()
        .filter(|operation| operation.spec.r#type == OperationType::TenantKeyRotation)
        .collect();
    assert_eq!(rotations.len(), 4, "90 days, up to a tenth earlier");
    assert!(
        rotations
            .iter()
            .all(|operation| operation.status.phase == Phase::Succeeded)
    );
    assert_eq!(versions(&mut cluster), (vec![5], vec![5]));
}

#[test]
fn a_key_that_is_gone_is_never_made_anew() {
    type Harm = fn(&mut Cluster);
    let harms: [(&str, Harm); 5] = [
        ("VolumeKeyLost", |cluster| cluster.keys().data.clear()),
        ("VolumeKeyBroken", |cluster| {
            let broken = |slot: &mut Slot<_>| *slot = Slot::Broken;
            cluster.keys().data.values_mut().for_each(broken);
        }),
        ("TenantKeyLost", |cluster| cluster.keys().tenant = Slot::Absent),
        ("ProviderRolledBack", |cluster| {
            for slot in cluster.keys().data.values_mut() {
                if let Slot::Present(key) = slot {
                    key.version = 7;
                }
            }
        }),
        ("TenantKeyDestroyed", |cluster| {
            if let Slot::Present(key) = &mut cluster.keys().tenant {
                key.versions.clear();
            }
        }),
    ];
    for (reason, harm) in harms {
        let mut cluster = settled();
        harm(&mut cluster);
        cluster.log.clear();
        ask(&mut cluster, "now");
        cluster.settle();
        let plan = cluster.plan();
        assert!(plan.actions.is_empty(), "{reason}: {:?}", plan.actions);
        assert_eq!(cluster.log, Vec::<String>::new(), "{reason}");
        assert!(
            says(&mut cluster, "KeysCurrent").starts_with(&format!("False {reason}")),
            "{}",
            says(&mut cluster, "KeysCurrent")
        );
        assert!(says(&mut cluster, "Serving").starts_with("True"));
        assert_eq!(plan.status.blockers[0].reason, reason);
        assert!(plan.doubts, "what is restored is looked for: {reason}");
    }
}

#[test]
fn while_the_key_service_is_silent_tenants_serve_and_nothing_is_begun() {
    let mut cluster = settled();
    let service = cluster.given.config.key_service.as_mut().unwrap();
    service.failure = Some("no answer within 5s".into());
    ask(&mut cluster, "now");
    cluster.log.clear();
    cluster.settle();
    assert_eq!(cluster.log, Vec::<String>::new());
    assert!(ready(&cluster));
    insta::assert_snapshot!(says(&mut cluster, "KeysCurrent"), @"False KeyServiceUnavailable: the key service does not answer: no answer within 5s; what runs goes on, no volume can be staged anew");
    cluster.given.config.key_service.as_mut().unwrap().failure = None;
    cluster.settle();
    assert_eq!(versions(&mut cluster), (vec![2], vec![2]));
}

#[test]
fn storage_that_does_not_encrypt_is_refused_unless_that_is_spelled_out() {
    let plain = StorageClass {
        provisioner: "rancher.io/local-path".into(),
        is_default: true,
        ..StorageClass::default()
    };
    let classes = Some([("local-path".to_owned(), plain)].into());
    let mut cluster = Cluster::new(given::with_keys("acme"));
    cluster.given.config.storage_classes = classes.clone();
    cluster.settle();
    assert!(
        cluster.ids().all(|id| id.kind != Kind::Cluster),
        "a database in the clear"
    );
    let plan = cluster.plan();
    insta::assert_snapshot!(show(&plan, &cluster.given.observed), @r#"
    Ready=False StorageNotEncrypted: the StorageClass local-path of rancher.io/local-path does not encrypt, as far as Freehold can tell
    Stalled=True StorageNotEncrypted: unblocked by: take a StorageClass of a driver that docs/guide/keys.md lists; or name another StorageClass in spec.database.storageClassName of the TenantClass; or, if the data may lie in the clear, set allowUnencrypted there
    Serving=False NoPods: a tier has no pod that can answer
    UpToDate=False StorageNotEncrypted: the StorageClass local-path of rancher.io/local-path does not encrypt, as far as Freehold can tell
    blocked by StorageNotEncrypted; take a StorageClass of a driver that docs/guide/keys.md lists; or name another StorageClass in spec.database.storageClassName of the TenantClass; or, if the data may lie in the clear, set allowUnencrypted there
    wake 2027-01-16T05:30:00Z
    "#);
    cluster
        .given
        .class
        .as_mut()
        .unwrap()
        .spec
        .database
        .allow_unencrypted = true;
    // No window is waited for: there is nothing yet that could be disturbed.
    cluster.settle();
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    insta::assert_snapshot!(says(&mut cluster, "VolumesEncrypted"), @"False AllowedByClass: the StorageClass local-path of rancher.io/local-path does not encrypt, as far as Freehold can tell; the TenantClass allows it");
    silent(&mut cluster);

    // A database that is there goes on when its class turns out to be none that encrypts.
    let mut cluster = settled();
    cluster.given.config.storage_classes = classes;
    cluster.log.clear();
    cluster.settle();
    assert!(says(&mut cluster, "Serving").starts_with("True"));
    assert!(says(&mut cluster, "VolumesEncrypted").starts_with("False StorageNotEncrypted"));
    assert!(cluster.log.is_empty(), "{:?}", cluster.log);
}

#[test]
fn the_key_of_an_instance_that_is_taken_away_is_forgotten() {
    let mut cluster = Cluster::new(given::with_keys("acme"));
    cluster.given.tenant.spec.database = Some(given::typed(serde_json::json!({"instances": 2})));
    cluster.settle();
    cluster.given.tenant.spec.database = Some(given::typed(serde_json::json!({"instances": 1})));
    cluster.settle();
    assert_eq!(versions(&mut cluster), (vec![1], vec![1]));
    silent(&mut cluster);
}

#[test]
fn a_tenant_that_ends_with_its_data_leaves_no_key_and_one_whose_data_is_kept_keeps_its_keys() {
    for (policy, left) in [(DeletionPolicy::Delete, 0), (DeletionPolicy::Retain, 1)] {
        let mut cluster = settled();
        cluster.release(policy);
        cluster.delete();
        cluster.settle();
        assert!(cluster.gone);
        assert_eq!(cluster.keys().data.len(), left, "{policy:?}");
        assert_eq!(cluster.keys().tenant.present().is_some(), left == 1, "{policy:?}");
    }
}

#[test]
fn a_tenant_does_not_end_while_it_can_not_be_told_whether_a_key_is_left() {
    let mut cluster = settled();
    cluster.release(DeletionPolicy::Delete);
    cluster.delete();
    let kept = cluster.keys().tenant.clone();
    cluster.keys().tenant = Slot::Unread;
    cluster.settle();
    assert!(!cluster.gone);
    let blockers = cluster.plan().status.blockers;
    assert_eq!(blockers[0].reason, "KeyServiceUnavailable");
    cluster.keys().tenant = kept;
    cluster.settle();
    assert!(cluster.gone && cluster.keys().tenant == Slot::Absent);
}

/// Goes on until the rotation is at a step.
fn reaches(cluster: &mut Cluster, step: &str) {
    for _ in 0..20 {
        let is_there = |operation: &Operation| operation.status.step.as_deref() == Some(step);
        if cluster.operations().any(is_there) {
            return;
        }
        cluster.pass(usize::MAX);
    }
    panic!("no rotation comes to {step}");
}

#[test]
fn a_provider_that_is_rolled_back_in_the_middle_of_a_rotation_rotates_again_before_that_is_acknowledged() {
    for step in ["Rewrap", "Destroy"] {
        let mut cluster = settled();
        let before = cluster.keys().clone();
        ask(&mut cluster, "now");
        reaches(&mut cluster, step);
        // What was wrapped meanwhile is from a backup, too.
        *cluster.keys() = before;
        cluster.settle();
        assert_eq!(versions(&mut cluster), (vec![2], vec![2]), "{step}");
        let status = cluster.plan().status.keys.unwrap().tenant_key.unwrap();
        assert_eq!(
            (status.version, status.acknowledged.as_deref()),
            (2, Some("now")),
            "{step}"
        );
        silent(&mut cluster);
    }
}

#[test]
fn a_provider_that_was_rolled_back_behind_the_rotation_s_beginning_comes_beyond_it() {
    let mut cluster = Cluster::new(given::with_keys("acme"));
    cluster.given.tenant.spec.desired_state = DesiredState::Suspended;
    cluster.settle();
    let first = cluster.keys().clone();
    assert!(first.tenant.present().is_some() && first.data.is_empty());
    ask(&mut cluster, "one");
    cluster.settle();
    ask(&mut cluster, "two");
    reaches(&mut cluster, "Rewrap");
    *cluster.keys() = first;
    cluster.settle();
    assert_eq!(versions(&mut cluster).0, [3]);
    let status = cluster.plan().status.keys.unwrap().tenant_key.unwrap();
    assert_eq!(status.acknowledged.as_deref(), Some("two"));
}

#[test]
fn an_older_secret_that_is_put_back_late_in_a_rotation_is_wrapped_anew() {
    let mut cluster = settled();
    let before = cluster.keys().data.clone();
    ask(&mut cluster, "now");
    reaches(&mut cluster, "Destroy");
    cluster.keys().data = before;
    cluster.settle();
    assert_eq!(versions(&mut cluster), (vec![2], vec![2]));
    silent(&mut cluster);
}

#[test]
fn a_broken_key_whose_volume_is_gone_is_forgotten_and_holds_up_no_rotation() {
    for step in ["Rotate", "Rewrap", "Destroy"] {
        let mut cluster = settled();
        ask(&mut cluster, "now");
        reaches(&mut cluster, step);
        cluster.keys().data.insert("pvc-gone".into(), Slot::Broken);
        cluster.settle();
        assert_eq!(versions(&mut cluster), (vec![2], vec![2]), "{step}");
        assert!(ready(&cluster), "{step}");
        silent(&mut cluster);
    }
}

#[test]
fn a_rotation_that_is_asked_for_and_is_not_offered_is_told_and_harms_nothing() {
    let platform = StorageClass {
        provisioner: "disk.csi.azure.com".into(),
        is_default: true,
        ..StorageClass::default()
    };
    let mut cluster = Cluster::new(given::with_keys("acme"));
    cluster.given.config.storage_classes = Some([("managed".to_owned(), platform)].into());
    cluster.settle();
    assert_eq!(cluster.plan().status.blockers, []);
    cluster.given.tenant.spec.keys = Some(TenantKeys {
        rotate_tenant_key: Some("now".into()),
        rotate_data_keys: Some("now".into()),
    });
    cluster.settle();
    let blockers = cluster.plan().status.blockers.into_iter();
    let told: Vec<String> = blockers
        .map(|blocker| {
            format!(
                "{}: {}; {}",
                blocker.reason, blocker.message, blocker.unblocked_by
            )
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @"KeyRotationNotOffered: spec.keys.rotateTenantKey and spec.keys.rotateDataKeys can't be carried out: the platform's key encrypts the volumes, and there is no key of this tenant's own; take spec.keys.rotateTenantKey and spec.keys.rotateDataKeys out; or a StorageClass in the TenantClass whose volumes Freehold's driver encrypts");
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    assert_eq!(cluster.operations().count(), 0);
    silent(&mut cluster);
    // Nor is one waited for that can be had no more.
    cluster.given.tenant.spec.desired_state = DesiredState::Terminated;
    cluster.settle();
    assert_eq!(cluster.plan().status.blockers, []);
}

#[test]
fn whose_keys_lie_apart_is_told_where_they_are_others_too() {
    let told = |provisioner: &str, parameters: &[(&str, &str)], allow_unencrypted: bool| {
        let mut given = given::with_keys("acme");
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let class = freehold_plan::StorageClass {
            provisioner: provisioner.to_owned(),
            parameters: parameters.iter().map(own).collect(),
            is_default: false,
        };
        given
            .config
            .storage_classes
            .as_mut()
            .unwrap()
            .insert("theirs".into(), class);
        let database = &mut given.class.as_mut().unwrap().spec.database;
        database.storage_class_name = Some("theirs".into());
        database.allow_unencrypted = allow_unencrypted;
        says(&mut Cluster::new(given), "KeysSeparated")
    };
    let encrypted = ("encrypted", "true");
    assert!(told("driver.longhorn.io", &[encrypted], false).starts_with("False PassphraseInCluster: "));
    assert!(
        told("rook-ceph.rbd.csi.ceph.com", &[encrypted], false).starts_with("False PassphraseInCluster: ")
    );
    let of_a_key_service = told(
        "rbd.csi.ceph.com",
        &[encrypted, ("encryptionKMSID", "vault")],
        false,
    );
    assert!(
        of_a_key_service.starts_with("Unknown KeyOfThePlatform: "),
        "{of_a_key_service}"
    );
    assert!(told("ebs.csi.aws.com", &[encrypted], false).starts_with("Unknown KeyOfThePlatform: "));
    assert!(told("rancher.io/local-path", &[], true).starts_with("False NotEncrypted: "));
}
