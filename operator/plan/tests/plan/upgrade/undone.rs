//! What goes back: a release that failed, one that is taken back, one that is recalled.

use super::*;

#[test]
fn web_takes_its_new_image_when_the_application_has_it_and_gives_it_back_first() {
    let mut cluster = settled();
    cluster.unready = Some("1.1.0".into());
    cluster.given.upgrade_to(tested("1.1.0"));
    cluster.settle();
    assert_eq!(
        [image(&cluster, "api"), image(&cluster, "web")],
        ["1.1.0", "1.0.0"]
    );
    cluster.unready = None;
    cluster.broken_smoke = true;
    let mut seen = Vec::new();
    for _ in 0..40 {
        cluster.pass(usize::MAX);
        cluster.tick();
        let now = [image(&cluster, "api"), image(&cluster, "web")];
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    let told: Vec<String> = seen.iter().map(|[api, web]| format!("{api} {web}")).collect();
    assert_eq!(told, ["1.1.0 1.0.0", "1.1.0 1.1.0", "1.1.0 1.0.0", "1.0.0 1.0.0"]);
}

#[test]
fn a_release_that_failed_is_given_up_by_asking_for_the_one_before() {
    let mut cluster = settled();
    cluster.broken_smoke = true;
    cluster.given.upgrade_to(tested("1.1.0"));
    cluster.settle_upgrade();
    assert_eq!(says(&cluster, "UpToDate"), "False UpgradeFailed");
    cluster.given.upgrade_to(given::release("1.0.0"));
    cluster.settle_upgrade();
    assert_eq!(says(&cluster, "UpToDate"), "True UpToDate");
    assert_eq!(upgrades(&cluster).len(), 1, "nothing was to be done");
}

#[test]
fn a_release_whose_pods_do_not_get_ready_in_time_is_undone() {
    let mut cluster = settled();
    cluster.unready = Some("1.1.0".into());
    cluster.given.upgrade_to(given::release("1.1.0"));
    cluster.settle();
    assert_eq!(says(&cluster, "Serving"), "True Serving");
    cluster.given.now += SignedDuration::from_mins(11);
    cluster.settle_upgrade();
    assert_eq!(
        upgrades(&cluster),
        ["1.0.0 -> 1.1.0: Failed: Preflight Migrate Roll RollBack"]
    );
    assert_eq!(
        [image(&cluster, "api"), image(&cluster, "web")],
        ["1.0.0", "1.0.0"]
    );
}

#[test]
fn what_can_not_be_undone_says_so_and_stays_as_it_is() {
    let mut cluster = settled();
    cluster.broken_smoke = true;
    cluster.given.upgrade_to(tested("1.1.0"));
    cluster.given.releases.remove("board-1.0.0");
    cluster.settle_upgrade();
    assert_eq!(says(&cluster, "Stalled"), "True UpgradeStuck");
    assert_eq!(says(&cluster, "Serving"), "True Serving");
    assert_eq!(image(&cluster, "web"), "1.1.0");
    cluster.given.upgrade_to(given::release("1.1.1"));
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.1.1"));
}

#[test]
fn an_older_version_comes_back_when_the_schema_serves_it() {
    let mut cluster = settled();
    let mut newer = given::release("1.1.0");
    newer.spec.schema.oldest_version = Some("1.0.0".into());
    cluster.given.upgrade_to(newer);
    cluster.settle_upgrade();
    cluster.given.upgrade_to(given::release("1.0.0"));
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.0.0"));
    assert_eq!(
        upgrades(&cluster)[1],
        "1.1.0 -> 1.0.0: Succeeded: Preflight Migrate Roll Smoke Bake"
    );
}

#[test]
fn one_that_is_stuck_does_nothing_until_something_is_there_to_go_back_to() {
    let mut cluster = settled();
    cluster.broken_smoke = true;
    cluster.given.upgrade_to(tested("1.1.0"));
    let before = cluster.given.releases.remove("board-1.0.0").unwrap();
    cluster.settle_upgrade();
    assert_eq!(says(&cluster, "Stalled"), "True UpgradeStuck");
    let long = SignedDuration::from_mins(1);
    let wake = cluster.plan().wake;
    assert!(
        wake.is_none_or(|wake| wake > cluster.given.now + long),
        "{wake:?}"
    );
    cluster.given.releases.insert("board-1.0.0".into(), before);
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.0.0"));
    assert_eq!(says(&cluster, "Stalled"), "True UpgradeFailed");
}

/// An upgrade that was undone has left its schema.
#[test]
fn nobody_goes_back_to_a_version_that_does_not_know_the_schema_of_one_that_was_undone() {
    let mut cluster = settled();
    cluster.given.upgrade_to(given::release("1.1.0"));
    cluster.settle_upgrade();
    cluster.broken_smoke = true;
    let mut undone = tested("1.2.0");
    undone.spec.schema.oldest_version = Some("1.1.0".into());
    cluster.given.upgrade_to(undone);
    cluster.settle_upgrade();
    cluster.broken_smoke = false;
    cluster
        .given
        .upgrade_to(recalled("1.1.0", RecallAction::RollBack));
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0"));
    assert_eq!(says(&cluster, "ReleaseCurrent"), "False Recalled");
    cluster.given.upgrade_to(given::release("1.0.0"));
    cluster.settle_upgrade();
    let told = cluster.given.tenant.status.clone().unwrap().blockers[0]
        .message
        .clone();
    assert!(
        told.contains("1.0.0 does not work on the schema that 1.2.0 has left"),
        "{told}"
    );
}

/// What only the release that failed has is gone with it.
#[test]
fn a_component_that_only_the_failed_release_has_goes_with_it() {
    let mut cluster = settled();
    let mut more = tested("1.1.0");
    let mut jobs = more.spec.components[1].clone();
    jobs.name = "jobs".into();
    jobs.tier = freehold_crds::Tier::Worker;
    jobs.port = None;
    more.spec.components.push(jobs);
    cluster.broken_smoke = true;
    cluster.given.upgrade_to(more);
    cluster.settle_upgrade();
    assert_eq!(
        upgrades(&cluster),
        ["1.0.0 -> 1.1.0: Failed: Preflight Migrate Roll Smoke RollBack"]
    );
    assert!(cluster.body(Kind::Deployment, "jobs").is_none());
    assert_eq!(says(&cluster, "WorkloadsReady"), "True Ready");
}

#[test]
fn a_hotfix_that_fails_in_the_place_of_another_leaves_nothing_half_rolled() {
    let mut cluster = settled();
    cluster.unready = Some("1.1.0".into());
    cluster.given.upgrade_to(given::release("1.1.0"));
    cluster.settle();
    assert_eq!(image(&cluster, "api"), "1.1.0");
    let mut hotfix = given::release("1.1.1");
    hotfix.spec.upgrade_from = Some(">=1.1.0".into());
    cluster.given.upgrade_to(hotfix);
    cluster.settle_upgrade();
    assert_eq!(
        [image(&cluster, "api"), image(&cluster, "web")],
        ["1.0.0", "1.0.0"]
    );
    assert_eq!(
        upgrades(&cluster)[1],
        "1.0.0 -> 1.1.1: Failed: Preflight RollBack"
    );
}

#[test]
fn who_takes_a_release_back_in_the_middle_gets_the_one_before_at_once() {
    let mut cluster = settled();
    cluster.given.upgrade_to(tested("1.1.0"));
    cluster.settle();
    assert_eq!(says(&cluster, "ReleaseCurrent"), "False Upgrading");
    cluster.given.ask_for(given::release("1.0.0"));
    cluster.given.tenant.spec.maintenance = None;
    cluster.settle_upgrade();
    assert_eq!(
        [image(&cluster, "api"), image(&cluster, "web")],
        ["1.0.0", "1.0.0"]
    );
    assert_eq!(upgrades(&cluster).len(), 1);
    assert_eq!(says(&cluster, "UpToDate"), "True UpToDate");
}

#[test]
fn a_recalled_release_goes_back_at_once_whatever_the_window() {
    let mut cluster = settled();
    cluster.given.upgrade_to(given::release("1.1.0"));
    cluster.settle_upgrade();
    cluster.given.tenant.spec.maintenance = None;
    cluster.given.ask_for(recalled("1.1.0", RecallAction::RollBack));
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.0.0"));
    assert_eq!(
        upgrades(&cluster)[1],
        "1.1.0 -> 1.0.0: Succeeded: Preflight Migrate Roll Smoke Bake"
    );
    assert_eq!(says(&cluster, "ReleaseCurrent"), "False Recalled");
    assert_eq!(says(&cluster, "Ready"), "True Ready");
    cluster.given.now += SignedDuration::from_hours(48);
    cluster.settle_upgrade();
    assert_eq!(upgrades(&cluster).len(), 2);
}

#[test]
fn one_that_is_recalled_to_be_held_runs_on_and_nobody_new_gets_it() {
    let mut cluster = settled();
    cluster.given.upgrade_to(given::release("1.1.0"));
    cluster.settle_upgrade();
    cluster.given.ask_for(recalled("1.1.0", RecallAction::Hold));
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0"));
    assert_eq!(says(&cluster, "ReleaseCurrent"), "False Recalled");

    let mut fresh = Cluster::new(given::new("acme"));
    fresh.given.ask_for(recalled("1.1.0", RecallAction::Hold));
    fresh.settle();
    assert_eq!(says(&fresh, "Stalled"), "True ReleaseRecalled");
    assert!(fresh.body(Kind::Deployment, "web").is_none());
}

#[test]
fn a_recall_in_the_middle_of_an_upgrade_ends_it() {
    let mut cluster = settled();
    cluster.unready = Some("1.1.0".into());
    cluster.given.upgrade_to(given::release("1.1.0"));
    cluster.settle();
    assert_eq!(image(&cluster, "api"), "1.1.0");
    cluster.given.ask_for(recalled("1.1.0", RecallAction::Hold));
    cluster.settle_upgrade();
    assert_eq!(image(&cluster, "api"), "1.0.0");
    assert_eq!(
        upgrades(&cluster),
        ["1.0.0 -> 1.1.0: Failed: Preflight Migrate Roll RollBack"]
    );
}

#[test]
fn who_is_stuck_on_the_way_back_gets_a_third_release() {
    let mut cluster = settled();
    cluster.broken_smoke = true;
    cluster.given.upgrade_to(tested("1.1.0"));
    while image(&cluster, "web") == "1.0.0" {
        cluster.pass(usize::MAX);
        cluster.tick();
    }
    cluster.unready = Some("1.0.0".into());
    cluster.settle();
    cluster.given.now += SignedDuration::from_mins(11);
    cluster.settle();
    assert_eq!(says(&cluster, "Stalled"), "True RollBackStuck");
    cluster.given.upgrade_to(given::release("1.1.1"));
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.1.1"));
    assert_eq!(says(&cluster, "UpToDate"), "True UpToDate");
}
