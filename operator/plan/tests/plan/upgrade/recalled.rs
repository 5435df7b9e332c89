//! A recall, wherever a tenant came from: it goes back to what ran here, or a blocker says why it can't.

use super::*;

/// A tenant that has gone from 1.0.0 through these, one after the other.
fn gone_through(versions: &[&str]) -> Cluster {
    let mut cluster = settled();
    for version in versions {
        cluster.given.upgrade_to(given::release(version));
        cluster.settle_upgrade();
    }
    assert_eq!(version(&cluster).as_deref(), versions.last().copied());
    assert!(upgrades(&cluster).iter().all(|line| line.contains("Succeeded")));
    cluster
}

fn publish(cluster: &mut Cluster, release: freehold_crds::Release) {
    let name = release.metadata.name.clone().unwrap();
    cluster.given.releases.insert(name, release.into());
}

fn recall(cluster: &mut Cluster, version: &str) {
    publish(cluster, recalled(version, RecallAction::RollBack));
    cluster.settle_upgrade();
}

/// What a recalled release waits for, and what ends that.
fn stuck(cluster: &Cluster) -> String {
    assert_eq!(says(cluster, "Stalled"), "True RecallStuck");
    assert_eq!(says(cluster, "ReleaseCurrent"), "False Recalled");
    assert_eq!(says(cluster, "Serving"), "True Serving");
    let blockers = &cluster.given.tenant.status.as_ref().unwrap().blockers;
    let found = blockers.iter().find(|blocker| blocker.reason == "RecallStuck");
    let found = found.unwrap();
    format!("{}; {}", found.message, found.unblocked_by)
}

#[test]
fn one_that_was_come_back_to_goes_back_to_what_ran_before_it() {
    let mut cluster = gone_through(&["1.1.0", "1.2.0", "1.1.0"]);
    recall(&mut cluster, "1.1.0");
    assert_eq!(version(&cluster).as_deref(), Some("1.0.0"));
    assert_eq!(says(&cluster, "ReleaseCurrent"), "False Recalled");
    assert_eq!(says(&cluster, "Ready"), "True Ready");
    cluster.given.now += SignedDuration::from_hours(48);
    cluster.settle_upgrade();
    assert_eq!(upgrades(&cluster).len(), 4, "and stays there");
}

#[test]
fn one_after_the_other_is_recalled_and_each_time_the_next_older_one_comes() {
    let mut cluster = gone_through(&["1.1.0", "1.2.0"]);
    recall(&mut cluster, "1.2.0");
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0"));
    recall(&mut cluster, "1.1.0");
    assert_eq!(version(&cluster).as_deref(), Some("1.0.0"));
    assert_eq!(upgrades(&cluster).len(), 4);
    assert!(upgrades(&cluster).iter().all(|line| line.contains("Succeeded")));
}

#[test]
fn releases_that_nobody_names_any_more_are_not_needed_to_go_back() {
    let mut cluster = gone_through(&["1.1.0", "1.2.0", "1.3.0"]);
    cluster.given.releases.remove("board-1.0.0");
    cluster.given.releases.remove("board-1.1.0");
    recall(&mut cluster, "1.3.0");
    assert_eq!(version(&cluster).as_deref(), Some("1.2.0"));
}

#[test]
fn what_has_run_on_a_schema_comes_back_on_it_whoever_knows_what_has_left_it() {
    let mut cluster = gone_through(&["1.1.0", "1.2.0", "1.1.0", "1.3.0"]);
    cluster.given.releases.remove("board-1.2.0");
    recall(&mut cluster, "1.3.0");
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0"));
}

#[test]
fn where_the_one_before_was_recalled_too_the_next_older_one_comes() {
    let mut cluster = gone_through(&["1.1.0", "1.2.0", "1.3.0"]);
    publish(&mut cluster, recalled("1.2.0", RecallAction::RollBack));
    recall(&mut cluster, "1.3.0");
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0"));
    assert_eq!(upgrades(&cluster).len(), 4);
}

#[test]
fn one_that_cannot_be_left_says_why_and_goes_back_as_soon_as_it_can() {
    let mut cluster = gone_through(&["1.1.0", "1.2.0"]);
    cluster.given.releases.remove("board-1.1.0");
    recall(&mut cluster, "1.2.0");
    assert_eq!(version(&cluster).as_deref(), Some("1.2.0"));
    assert_eq!(
        stuck(&cluster),
        "1.2.0 was recalled: cards vanish, and it can't be gone back from: the Release board-1.1.0 is gone or was replaced, \
         which says whether 1.0.0 works on the schema that it has left; the Release board-1.1.0 of version 1.1.0 is gone or was \
         replaced; name a release that mends it in spec.release.name, or create again what is gone, as it was; if it is to stay \
         for now, recall it with the action Hold or RollForward"
    );
    publish(&mut cluster, given::release("1.1.0"));
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0"));
    assert_eq!(says(&cluster, "Stalled"), "False Progressing");
}

#[test]
fn the_first_one_of_a_tenant_cannot_be_left_backwards() {
    let mut cluster = settled();
    recall(&mut cluster, "1.0.0");
    assert!(stuck(&cluster).contains("no older version ran here"));
    cluster.given.upgrade_to(given::release("1.0.1"));
    cluster.settle_upgrade();
    assert_eq!(says(&cluster, "UpToDate"), "True UpToDate");
}

#[test]
fn a_schema_that_an_undone_upgrade_has_left_is_told_too() {
    let mut cluster = gone_through(&["1.1.0"]);
    cluster.broken_smoke = true;
    let mut undone = tested("1.2.0");
    undone.spec.schema.oldest_version = Some("1.1.0".into());
    cluster.given.upgrade_to(undone);
    cluster.settle_upgrade();
    cluster.given.upgrade_to(given::release("1.1.0"));
    recall(&mut cluster, "1.1.0");
    assert!(stuck(&cluster).contains("1.0.0 does not work on the schema that 1.2.0 has left"));
    // Whoever says that it is to stay has the last word.
    publish(&mut cluster, recalled("1.1.0", RecallAction::Hold));
    cluster.settle_upgrade();
    assert_eq!(says(&cluster, "ReleaseCurrent"), "False Recalled");
    assert_eq!(says(&cluster, "Ready"), "True Ready");
}

/// It waits for somebody already, and says what that one must know.
#[test]
fn who_asks_for_one_that_failed_is_told_that_the_one_that_runs_was_recalled() {
    let mut cluster = gone_through(&["1.1.0"]);
    cluster.broken_smoke = true;
    cluster.given.upgrade_to(tested("1.2.0"));
    cluster.settle_upgrade();
    recall(&mut cluster, "1.1.0");
    assert_eq!(says(&cluster, "Stalled"), "True UpgradeFailed");
    let blockers = &cluster.given.tenant.status.as_ref().unwrap().blockers;
    let told = "1.1.0 runs on, which was recalled: cards vanish";
    assert!(blockers[0].message.ends_with(told), "{blockers:?}");
}
