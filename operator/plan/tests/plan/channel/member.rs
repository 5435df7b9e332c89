//! What a channel is told of its tenant.

use freehold_crds::DesiredState;
use freehold_plan::Hours;

use super::*;

#[test]
fn a_tenant_that_names_its_release_is_no_member() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    assert_eq!(cluster.plan().member, None);
}

#[test]
fn who_sleeps_leaves_or_can_not_be_read_takes_no_part() {
    let mut cluster = settled();
    cluster.given.tenant.spec.desired_state = DesiredState::Suspended;
    cluster.settle();
    let told = member(&mut cluster);
    assert_eq!((told.apart, told.down_since), (Some(Apart::Asleep), None));

    let mut cluster = settled();
    cluster.delete();
    cluster.pass(usize::MAX);
    assert_eq!(member(&mut cluster).apart, Some(Apart::Leaving));

    let mut cluster = settled();
    cluster.given.tenant.spec.hostnames.clear();
    cluster.settle();
    let told = member(&mut cluster);
    assert_eq!(told.apart, Some(Apart::Invalid));
    assert_eq!((told.runs.as_deref(), told.hours), (Some("board-1.0.0"), None));

    let mut none = new();
    none.given.class = None;
    assert_eq!(member(&mut none).apart, Some(Apart::Invalid));
}

#[test]
fn who_is_down_says_since_when_and_by_which_upgrade() {
    let mut cluster = settled();
    always_open(&mut cluster);
    grant(&mut cluster, "1.1.0", GrantKind::Wave);
    cluster.settle_upgrade();
    assert_eq!(member(&mut cluster).down_since, None);
    cluster.given.now += SignedDuration::from_mins(7);
    let since = cluster.given.now;
    cluster.dead = true;
    cluster.settle();
    cluster.given.now += SignedDuration::from_mins(3);
    let told = member(&mut cluster);
    assert_eq!((told.runs, told.down_since), (None, Some(since)));
    assert_eq!(told.came.map(|way| way.to).as_deref(), Some("board-1.1.0"));
}

#[test]
fn who_is_installed_for_the_first_time_is_not_down() {
    let mut cluster = new();
    cluster.dead = true;
    cluster.settle();
    let told = member(&mut cluster);
    assert_eq!((told.runs, told.down_since, told.apart), (None, None, None));
    cluster.dead = false;
    cluster.settle();
    cluster.dead = true;
    cluster.settle();
    assert_eq!(member(&mut cluster).down_since, Some(cluster.given.now));
}

#[test]
fn its_hours_are_true_until_the_plan_wakes() {
    let mut cluster = settled();
    let plan = cluster.plan();
    let Some(Hours::Shut { until: Some(until) }) = plan.member.unwrap().hours else {
        panic!("8 o'clock");
    };
    assert!(plan.wake.is_some_and(|wake| wake <= until));
    cluster.sleep_until(until);
    assert!(member(&mut cluster).hours.unwrap().is_open());
    cluster.given.tenant.spec.maintenance = Some(given::typed(json!({
        "windows": [{"rule": "every other sunday", "duration": "1h"}],
    })));
    assert_eq!(member(&mut cluster).hours, None);
}

#[test]
fn whose_upgrade_is_stuck_says_so() {
    let mut cluster = settled();
    always_open(&mut cluster);
    cluster.broken_smoke = true;
    grant(&mut cluster, "1.1.0", GrantKind::Wave);
    cluster.given.releases.remove("board-1.0.0");
    cluster.settle_upgrade();
    assert!(blocker(&cluster, "UpgradeStuck").is_some());
    let told = member(&mut cluster);
    let why = told.stuck.unwrap();
    assert!(
        why.starts_with("1.1.0 failed in the step Smoke: ") && told.under_way.is_some(),
        "{why}"
    );
    assert!(told.failed.is_empty(), "it has not come to its end");
}

#[test]
fn who_is_stuck_on_the_way_back_says_so() {
    let mut cluster = settled();
    always_open(&mut cluster);
    cluster.broken_smoke = true;
    grant(&mut cluster, "1.1.0", GrantKind::Wave);
    while member(&mut cluster).runs.as_deref() == Some("board-1.0.0") {
        cluster.pass(usize::MAX);
        cluster.tick();
    }
    cluster.unready = Some("1.0.0".into());
    cluster.settle();
    assert_eq!(member(&mut cluster).stuck, None, "its time isn't over");
    let mut gone = cluster.clone();
    cluster.given.now += SignedDuration::from_mins(11);
    cluster.settle();
    assert!(blocker(&cluster, "RollBackStuck").is_some());
    let why = member(&mut cluster).stuck.unwrap();
    assert!(
        why.starts_with("1.0.0 is to run again, and not every pod of it is ready"),
        "{why}"
    );

    // What it goes back to is gone.
    gone.given.releases.remove("board-1.0.0");
    gone.settle();
    let why = member(&mut gone).stuck.unwrap();
    assert!(why.ends_with("what ran before can't come back"), "{why}");
}

#[test]
fn who_lacks_what_an_upgrade_needs_says_so() {
    let mut cluster = Cluster::new(given::with_keys("acme"));
    follow(&mut cluster);
    always_open(&mut cluster);
    cluster.settle();
    assert!(!member(&mut cluster).unfit);
    let failure = Some("no answer within 5s".to_owned());
    cluster.given.config.key_service.as_mut().unwrap().failure = failure;
    cluster.settle();
    assert!(member(&mut cluster).unfit);
    // One that has leave is in the way of others for an hour.
    grant(&mut cluster, "1.1.0", GrantKind::Wave);
    assert!(!member(&mut cluster).unfit);
    cluster.settle();
    let told = member(&mut cluster);
    assert!(told.under_way.is_some() && !told.unfit, "{told:?}");
    cluster.given.now += SignedDuration::from_hours(1);
    cluster.settle();
    let told = member(&mut cluster);
    assert!(
        told.under_way.is_some() && told.unfit && told.stuck.is_none(),
        "{told:?}"
    );
}
