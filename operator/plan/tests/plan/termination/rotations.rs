//! Rotations that are open when the keys are to be destroyed.

use super::*;

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
    cluster.given.releases.clear();
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
