//! A destruction that is called off when the key service may have been asked already.

use super::*;

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
