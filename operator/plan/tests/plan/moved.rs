//! A release that is published again as the same version with other contents, as by a tag that was moved: nobody gets it.

use freehold_crds::{DesiredState, OperationType, Recall, RecallAction, Release, ReleaseChannel};
use freehold_plan::Kind;
use freehold_plan::names::{RELEASE, RELEASE_DIGEST};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::given;

/// In the images of what was published again, and nowhere else.
const MOVED: &str = "@sha256:1";

/// A release with a test of its own.
fn tested(version: &str) -> Release {
    let mut release = given::release(version);
    release.spec.hooks.as_mut().unwrap().smoke =
        Some(given::typed(json!({"component": "api", "args": ["smoke"]})));
    release
}

/// The same version with other images.
fn moved(mut release: Release) -> Release {
    for component in &mut release.spec.components {
        component.image = component.image.replace("@sha256:0", MOVED);
    }
    release
}

fn settled() -> Cluster {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.given.tenant.spec.maintenance = Some(given::always_open());
    cluster.settle();
    cluster.log.clear();
    cluster
}

fn publish(cluster: &mut Cluster, release: Release) {
    let name = release.metadata.name.clone().unwrap();
    cluster.given.releases.insert(name, release.into());
}

fn says(cluster: &Cluster, topic: &str) -> String {
    let status = cluster.given.tenant.status.as_ref().unwrap();
    let found = status.conditions.iter().find(|c| c.type_ == topic).unwrap();
    format!("{} {}", found.status, found.reason)
}

fn blocker(cluster: &Cluster, reason: &str) -> String {
    let blockers = &cluster.given.tenant.status.as_ref().unwrap().blockers;
    let found = blockers.iter().find(|blocker| blocker.reason == reason);
    let found = found.unwrap_or_else(|| panic!("{blockers:?}"));
    format!("{}; {}", found.message, found.unblocked_by)
}

/// The last upgrade: its phase, and the last line of its evidence.
fn last(cluster: &Cluster) -> String {
    let upgrades = cluster
        .operations()
        .filter(|o| o.spec.r#type == OperationType::Upgrade);
    let last = upgrades.max_by_key(|o| o.created).unwrap();
    let failed = last
        .status
        .evidence
        .iter()
        .find(|line| line.message.starts_with("failed"));
    let failed = failed.map_or_else(String::new, |line| format!(" {}: {}", line.step, line.message));
    format!("{:?}{failed}", last.status.phase)
}

fn step(cluster: &Cluster) -> Option<String> {
    let mut open = cluster.operations().filter(|o| !o.status.phase.is_over());
    open.next()?.status.step.clone()
}

/// What the pods of every Deployment are made from.
fn templates(cluster: &Cluster) -> Vec<Value> {
    ["api", "web"]
        .map(|name| cluster.body(Kind::Deployment, name).unwrap()["spec"].clone())
        .into()
}

fn annotation(cluster: &Cluster, name: &str) -> Value {
    cluster.body(Kind::Deployment, "web").unwrap()["metadata"]["annotations"][name].clone()
}

/// Whether anything was made of what was published again.
fn has_come(cluster: &Cluster) -> bool {
    let kinds = [Kind::Deployment, Kind::Job, Kind::Pod];
    let mut ids = cluster.ids().filter(|id| kinds.contains(&id.kind));
    ids.any(|id| {
        cluster
            .body(id.kind, &id.name)
            .unwrap()
            .to_string()
            .contains(MOVED)
    })
}

#[test]
fn a_release_that_is_published_again_changes_nothing_and_says_so() {
    let mut cluster = settled();
    let before = templates(&cluster);
    publish(&mut cluster, moved(given::release("1.0.0")));
    cluster.settle_upgrade();
    assert_eq!(templates(&cluster), before);
    assert!(!has_come(&cluster));
    assert_eq!(cluster.log, Vec::<String>::new(), "nothing is written");
    assert_eq!(says(&cluster, "ReleaseCurrent"), "False ReleaseReplaced");
    assert_eq!(says(&cluster, "Stalled"), "True ReleaseReplaced");
    assert_eq!(says(&cluster, "UpToDate"), "False ReleaseReplaced");
    assert_eq!(says(&cluster, "Serving"), "True Serving");
    assert_eq!(
        blocker(&cluster, "ReleaseReplaced"),
        "the Release board-1.0.0 is not the one that was installed: 1.0.0 was published again with other contents; \
         publish what changed as a new version, or put the Release back as it was"
    );
    // What has nothing to do with it goes on.
    cluster.given.tenant.spec.desired_state = DesiredState::Suspended;
    cluster.settle();
    assert_eq!(
        cluster.body(Kind::Deployment, "web").unwrap()["spec"]["replicas"],
        0
    );
    cluster.given.tenant.spec.desired_state = DesiredState::Active;
    cluster.settle();
    assert_eq!(templates(&cluster), before);

    publish(&mut cluster, given::release("1.0.0"));
    cluster.settle_upgrade();
    assert_eq!(says(&cluster, "ReleaseCurrent"), "True Current");
    assert_eq!(says(&cluster, "UpToDate"), "True UpToDate");
    assert_eq!(templates(&cluster), before);
}

/// Not its names, its ports, its Services: nothing of it comes near.
#[test]
fn what_else_it_has_does_not_come_either() {
    let mut cluster = settled();
    let mut other = given::release("1.0.0");
    other.spec.components[0].port = Some(9080);
    other.spec.components[1].name = "server".into();
    other.spec.components[1].port = Some(9081);
    other.spec.hooks = Some(given::typed(
        json!({"migrate": {"component": "server", "args": ["migrate"]}}),
    ));
    publish(&mut cluster, other);
    cluster.settle_upgrade();
    assert_eq!(says(&cluster, "Stalled"), "True ReleaseReplaced");
    assert_eq!(says(&cluster, "Serving"), "True Serving");
    assert_eq!(cluster.log, Vec::<String>::new());
}

#[test]
fn what_reaches_no_tenant_may_be_published_again() {
    let mut cluster = settled();
    let mut told = given::release("1.0.0");
    told.spec.notes = Some("New.".into());
    told.spec.components.reverse();
    publish(&mut cluster, told);
    cluster.settle();
    assert_eq!(says(&cluster, "ReleaseCurrent"), "True Current");
    assert_eq!(cluster.log, Vec::<String>::new());
}

#[test]
fn another_release_of_the_same_version_is_not_rolled_out_either() {
    let mut cluster = settled();
    let before = templates(&cluster);
    let named = |name: &str, mut release: Release| {
        release.metadata.name = Some(name.into());
        release
    };
    cluster
        .given
        .ask_for(named("board-again", moved(given::release("1.0.0"))));
    cluster.settle_upgrade();
    assert_eq!(templates(&cluster), before);
    assert_eq!(says(&cluster, "ReleaseCurrent"), "False ReleaseReplaced");
    let told = blocker(&cluster, "ReleaseReplaced");
    assert!(told.ends_with("or have board-1.0.0 again, which runs"), "{told}");

    let mut other = given::release("1.0.0");
    other.spec.product = "crm".into();
    cluster.given.ask_for(named("crm-1.0.0", other));
    cluster.settle_upgrade();
    assert_eq!(says(&cluster, "ReleaseCurrent"), "False ReleaseReplaced");

    // The same contents under another name are the same release.
    cluster
        .given
        .ask_for(named("board-twin", given::release("1.0.0")));
    cluster.settle_upgrade();
    assert_eq!(says(&cluster, "ReleaseCurrent"), "True Current");
    assert_eq!(annotation(&cluster, RELEASE), "board-twin");
    assert_eq!(templates(&cluster), before);
}

#[test]
fn a_new_version_mends_it() {
    let mut cluster = settled();
    publish(&mut cluster, moved(given::release("1.0.0")));
    cluster.settle();
    cluster.given.upgrade_to(moved(tested("1.0.1")));
    cluster.settle_upgrade();
    assert_eq!(last(&cluster), "Succeeded");
    assert_eq!(says(&cluster, "UpToDate"), "True UpToDate");
}

/// An upgrade that has begun ends with what it began with, or not at all.
#[test]
fn one_that_is_replaced_in_the_middle_of_an_upgrade_is_undone_whatever_the_step() {
    for at in ["Preflight", "Migrate", "Roll", "Smoke", "Bake"] {
        let mut cluster = settled();
        let before = templates(&cluster);
        cluster.given.upgrade_to(tested("1.1.0"));
        while step(&cluster).as_deref() != Some(at) {
            cluster.pass(usize::MAX);
            cluster.tick();
        }
        publish(&mut cluster, moved(tested("1.1.0")));
        for _ in 0..20 {
            cluster.pass(usize::MAX);
            assert!(!has_come(&cluster), "{at}");
            cluster.tick();
        }
        cluster.settle_upgrade();
        let why = "failed: the Release board-1.1.0 was published again with other contents meanwhile";
        assert_eq!(last(&cluster), format!("Failed {at}: {why}"));
        assert_eq!(templates(&cluster), before, "{at}");
        assert_eq!(says(&cluster, "Stalled"), "True UpgradeFailed");
        assert_eq!(says(&cluster, "Serving"), "True Serving");
        assert!(!has_come(&cluster), "{at}");
    }
}

/// Whoever asks for it with another word gets it only if this tenant has had nothing of the one before.
#[test]
fn one_of_which_this_tenant_has_had_something_does_not_come_by_a_retry() {
    for (at, comes) in [("Preflight", true), ("Roll", false)] {
        let mut cluster = settled();
        cluster.given.upgrade_to(tested("1.1.0"));
        while step(&cluster).as_deref() != Some(at) {
            cluster.pass(usize::MAX);
            cluster.tick();
        }
        publish(&mut cluster, moved(tested("1.1.0")));
        cluster.settle_upgrade();
        cluster.given.tenant.spec.release.retry = Some("again".into());
        cluster.given.now += jiff::SignedDuration::from_mins(1);
        cluster.settle_upgrade();
        assert_eq!(has_come(&cluster), comes, "{at}: {}", last(&cluster));
        if !comes {
            assert!(
                last(&cluster).contains("than this tenant has had"),
                "{}",
                last(&cluster)
            );
            cluster.given.now += jiff::SignedDuration::from_mins(1);
            cluster.given.upgrade_to(tested("1.1.0"));
            cluster.given.tenant.spec.release.retry = Some("as it was".into());
            cluster.settle_upgrade();
            assert_eq!(last(&cluster), "Succeeded");
        }
    }
}

#[test]
fn nothing_goes_back_to_one_that_was_replaced() {
    let mut cluster = settled();
    cluster.broken_smoke = true;
    cluster.given.upgrade_to(tested("1.1.0"));
    publish(&mut cluster, moved(given::release("1.0.0")));
    cluster.settle_upgrade();
    assert_eq!(says(&cluster, "Stalled"), "True UpgradeStuck");
    assert!(
        blocker(&cluster, "UpgradeStuck")
            .contains("the Release board-1.0.0 of version 1.0.0 was published again with other contents")
    );
    assert_eq!(says(&cluster, "Serving"), "True Serving");
    assert!(!has_come(&cluster));
    cluster.given.upgrade_to(given::release("1.1.1"));
    cluster.settle_upgrade();
    assert_eq!(last(&cluster), "Succeeded");
}

#[test]
fn one_that_is_replaced_on_the_way_back_to_it_is_waited_for() {
    let mut cluster = settled();
    let before = templates(&cluster);
    cluster.broken_smoke = true;
    cluster.given.upgrade_to(tested("1.1.0"));
    while step(&cluster).as_deref() != Some("RollBack") {
        cluster.pass(usize::MAX);
        cluster.tick();
    }
    publish(&mut cluster, moved(given::release("1.0.0")));
    cluster.settle();
    assert_eq!(says(&cluster, "Stalled"), "True ReleaseReplaced");
    assert_eq!(says(&cluster, "Serving"), "True Serving");
    assert!(!has_come(&cluster));
    publish(&mut cluster, given::release("1.0.0"));
    cluster.settle_upgrade();
    assert_eq!(templates(&cluster), before);
}

#[test]
fn an_older_version_comes_back_only_as_it_was() {
    let mut cluster = settled();
    let mut newer = given::release("1.1.0");
    newer.spec.schema.oldest_version = Some("1.0.0".into());
    cluster.given.upgrade_to(newer);
    cluster.settle_upgrade();
    cluster.given.now += jiff::SignedDuration::from_mins(1);
    cluster.given.upgrade_to(moved(given::release("1.0.0")));
    cluster.settle_upgrade();
    let why = "failed: 1.0.0 was published again with other contents than this tenant has had: publish what changed as a new version";
    assert_eq!(last(&cluster), format!("Failed Preflight: {why}"));
    assert!(!has_come(&cluster));
}

#[test]
fn an_older_version_that_was_recalled_does_not_come_back() {
    let mut cluster = settled();
    let mut newer = given::release("1.1.0");
    newer.spec.schema.oldest_version = Some("1.0.0".into());
    cluster.given.upgrade_to(newer);
    cluster.settle_upgrade();
    let before = templates(&cluster);
    let mut recalled = given::release("1.0.0");
    recalled.spec.recall = Some(Recall {
        reason: "cards vanish".into(),
        action: RecallAction::Hold,
    });
    cluster.given.now += jiff::SignedDuration::from_mins(1);
    cluster.given.upgrade_to(recalled);
    cluster.settle_upgrade();
    assert_eq!(
        last(&cluster),
        "Failed Preflight: failed: 1.0.0 was recalled: cards vanish"
    );
    assert_eq!(templates(&cluster), before);
}

#[test]
fn what_was_installed_before_digests_were_noted_gets_its_own_without_a_restart() {
    let mut cluster = settled();
    let before = templates(&cluster);
    cluster.forget_digests();
    cluster.settle();
    assert_eq!(
        cluster.log,
        [
            "apply Deployment tenant-acme/api",
            "apply Deployment tenant-acme/web"
        ]
    );
    assert_eq!(templates(&cluster), before);
    assert_eq!(annotation(&cluster, RELEASE_DIGEST).as_str().unwrap().len(), 32);
    assert_eq!(says(&cluster, "ReleaseCurrent"), "True Current");
    publish(&mut cluster, moved(given::release("1.0.0")));
    cluster.settle();
    assert_eq!(says(&cluster, "ReleaseCurrent"), "False ReleaseReplaced");
}

/// The operator is upgraded itself in the middle.
#[test]
fn an_upgrade_that_began_before_digests_were_noted_goes_on_and_is_undone() {
    for (broken, ends) in [(false, "Succeeded"), (true, "Failed Smoke")] {
        for at in ["Preflight", "Migrate", "Roll", "Smoke"] {
            let mut cluster = settled();
            cluster.broken_smoke = broken;
            cluster.given.upgrade_to(tested("1.1.0"));
            while step(&cluster).as_deref() != Some(at) {
                cluster.pass(usize::MAX);
                cluster.tick();
            }
            cluster.forget_digests();
            cluster.settle_upgrade();
            assert!(last(&cluster).starts_with(ends), "{at}: {}", last(&cluster));
            assert!(annotation(&cluster, RELEASE_DIGEST).is_string(), "{at}");
        }
    }
}

/// Whenever that happens, also while it is installed: a version has one content for a tenant.
#[test]
fn whenever_a_release_is_replaced_nothing_of_its_other_contents_comes() {
    for passes in 1..30 {
        let mut cluster = Cluster::new(given::new("acme"));
        cluster.given.tenant.spec.maintenance = Some(given::always_open());
        let live = |cluster: &mut Cluster, passes: usize| {
            for _ in 0..passes {
                cluster.pass(usize::MAX);
                cluster.tick();
            }
        };
        live(&mut cluster, passes.min(12));
        if passes > 12 {
            cluster.given.upgrade_to(tested("1.1.0"));
            live(&mut cluster, passes - 12);
        }
        let asked = cluster.given.tenant.spec.release.name.clone().unwrap();
        let installed = cluster.body(Kind::Deployment, "web").is_some();
        let begun = passes <= 12 || cluster.operations().count() > 0;
        let again = moved((*cluster.given.releases[&asked]).clone());
        publish(&mut cluster, again);
        for _ in 0..30 {
            cluster.pass(usize::MAX);
            assert!(
                !has_come(&cluster) || !installed || !begun,
                "after {passes} passes"
            );
            cluster.tick();
        }
    }
}

/// A channel whose ring knows a release of this digest.
fn channel(digest: &str, grants: &Value) -> ReleaseChannel {
    given::typed(json!({
        "apiVersion": "freehold.dev/v1alpha1", "kind": "ReleaseChannel", "metadata": {"name": "board", "uid": "c"},
        "spec": {"product": "board", "rings": [{"name": "production"}]},
        "status": {"grants": grants, "rings": [{
            "name": "production", "phase": "Rolling", "message": "", "cursor": 0, "stable": "board-1.0.0",
            "verified": [{"release": "board-1.0.0", "digest": digest, "at": "2027-01-01T00:00:00Z"}],
        }]},
    }))
}

#[test]
fn a_new_tenant_gets_of_its_channel_only_what_was_verified_there() {
    let known = annotation(&settled(), RELEASE_DIGEST);
    for (digest, comes) in [(known.as_str().unwrap(), true), ("another", false)] {
        let mut cluster = Cluster::new(given::new("acme"));
        cluster.given.tenant.spec.release = given::typed(json!({"channel": "board"}));
        cluster.given.channel = Some(channel(digest, &json!([])));
        cluster.settle();
        assert_eq!(cluster.body(Kind::Deployment, "web").is_some(), comes);
        if !comes {
            blocker(&cluster, "NoRelease");
        }
    }
}

#[test]
fn a_grant_is_for_what_its_channel_has_seen() {
    let mut cluster = settled();
    let grants = json!([{
        "tenant": "acme", "uid": given::UID, "ring": "production", "release": "board-1.1.0", "digest": "another",
        "kind": "Emergency", "at": "2027-01-01T00:00:00Z",
    }]);
    let known = annotation(&cluster, RELEASE_DIGEST);
    cluster.given.tenant.spec.release = given::typed(json!({"channel": "board"}));
    cluster.given.channel = Some(channel(known.as_str().unwrap(), &grants));
    publish(&mut cluster, tested("1.1.0"));
    cluster.settle_upgrade();
    assert_eq!(says(&cluster, "ReleaseCurrent"), "True Current");
    assert_eq!(cluster.operations().count(), 0);
    let member = cluster.plan().member.unwrap();
    assert_eq!(member.digest.as_deref(), known.as_str());
}
