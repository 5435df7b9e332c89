//! Which records of upgrades are kept.

use super::*;
use crate::properties::deeds;

/// With upgrades to these minor versions behind it, of which so many are kept.
fn upgraded(kept: usize, minors: std::ops::RangeInclusive<u32>) -> Cluster {
    let mut cluster = settled();
    cluster.given.config.operation_history = kept;
    for minor in minors {
        upgrade(&mut cluster, tested(&format!("1.{minor}.0")));
    }
    cluster
}

fn upgrade(cluster: &mut Cluster, release: freehold_crds::Release) {
    // Which was the last is told by the time.
    cluster.given.now += SignedDuration::from_mins(1);
    cluster.given.upgrade_to(release);
    cluster.settle_upgrade();
}

/// The same release, recalled to be gone back from.
fn taken_back(version: &str) -> freehold_crds::Release {
    let mut release = tested(version);
    release.spec.recall = recalled(version, RecallAction::RollBack).spec.recall;
    release
}

fn to(cluster: &Cluster) -> Vec<String> {
    let versions = |line: String| line.split_whitespace().nth(2).unwrap().to_owned();
    upgrades(cluster).into_iter().map(versions).collect()
}

#[test]
fn the_last_ones_are_kept_and_nothing_else_changes_when_the_others_go() {
    let mut cluster = upgraded(1000, 1..=6);
    assert_eq!(to(&cluster).len(), 6);
    cluster.given.config.operation_history = 3;
    let before = cluster.plan();
    assert_eq!(before.forget.len(), 3);
    cluster.settle();
    assert_eq!(to(&cluster), ["1.4.0:", "1.5.0:", "1.6.0:"]);
    let after = cluster.plan();
    assert_eq!(after.forget, []);
    let without = |mut plan: freehold_plan::Plan| {
        plan.forget.clear();
        (deeds(&plan), plan.conditions, plan.status, plan.member)
    };
    assert_eq!(without(before), without(after));
    // Their names are free again, and what comes next gets its own record.
    upgrade(&mut cluster, tested("1.7.0"));
    assert_eq!(to(&cluster), ["1.5.0:", "1.6.0:", "1.7.0:"]);
    assert_eq!(version(&cluster).as_deref(), Some("1.7.0"));
}

#[test]
fn however_many_have_failed_since_what_runs_can_be_gone_back_from() {
    let mut cluster = upgraded(2, 1..=3);
    cluster.broken_smoke = true;
    for minor in 4..=8 {
        upgrade(&mut cluster, tested(&format!("1.{minor}.0")));
    }
    assert_eq!(
        to(&cluster),
        ["1.3.0:", "1.4.0:", "1.5.0:", "1.6.0:", "1.7.0:", "1.8.0:"],
        "from the one on that brought what runs"
    );
    assert_eq!(version(&cluster).as_deref(), Some("1.3.0"));
    cluster.broken_smoke = false;
    upgrade(&mut cluster, taken_back("1.3.0"));
    assert_eq!(version(&cluster).as_deref(), Some("1.2.0"));
}

/// What it was undone to has never been migrated to within what is kept: it is not taken for one that is new.
#[test]
fn that_the_schema_was_changed_is_never_forgotten() {
    let mut cluster = upgraded(1, 1..=1);
    upgrade(&mut cluster, taken_back("1.1.0"));
    assert_eq!(version(&cluster).as_deref(), Some("1.0.0"));
    assert_eq!(to(&cluster), ["1.1.0:", "1.0.0:"]);
    let jobs = |cluster: &Cluster| cluster.ids().filter(|id| id.kind == Kind::Job).count();
    let before = jobs(&cluster);
    cluster.given.now += SignedDuration::from_hours(48);
    cluster.settle_upgrade();
    assert_eq!(jobs(&cluster), before, "nothing is migrated anew");
}

#[test]
fn what_runs_is_never_forgotten_nor_what_ends_a_tenant() {
    let mut cluster = upgraded(1, 1..=3);
    cluster.release(freehold_crds::DeletionPolicy::Retain);
    cluster.given.upgrade_to(tested("1.4.0"));
    cluster.pass(usize::MAX);
    let plan = cluster.plan();
    assert_eq!(plan.forget, []);
    let types: std::collections::BTreeSet<String> = cluster
        .operations()
        .map(|operation| format!("{:?} {:?}", operation.spec.r#type, operation.status.phase))
        .collect();
    let types: Vec<&str> = types.iter().map(String::as_str).collect();
    assert_eq!(
        types,
        ["Deletion Pending", "Upgrade Pending", "Upgrade Succeeded"]
    );
}

#[test]
fn killed_after_any_effect_no_more_is_forgotten() {
    let mut cluster = upgraded(1000, 1..=6);
    cluster.given.config.operation_history = 2;
    while cluster.pass(1) > 0 {
        let left = to(&cluster);
        assert_eq!(left[left.len() - 2..], ["1.5.0:", "1.6.0:"], "{left:?}");
    }
    assert_eq!(to(&cluster).len(), 2);
}
