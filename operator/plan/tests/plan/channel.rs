//! A tenant that follows a channel: by grants, by pins, and with the tests of its ring's gates.

mod gates;
mod member;

use freehold_crds::{GrantKind, OperationType, Recall, RecallAction, ReleaseChannel};
use freehold_plan::Kind;
use freehold_plan::fleet::member::{Apart, Member, Way};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::given;

/// A channel with one ring for everybody.
fn channel() -> ReleaseChannel {
    given::typed(json!({
        "apiVersion": "freehold.dev/v1alpha1", "kind": "ReleaseChannel", "metadata": {"name": "board", "uid": "c"},
        "spec": {"product": "board", "rings": [{"name": "production"}]},
        "status": {"rings": [ring(json!({"stable": "board-1.0.0"}))]},
    }))
}

fn ring(with: Value) -> Value {
    let mut ring = json!({"name": "production", "phase": "Rolling", "message": "", "cursor": 0});
    ring.as_object_mut()
        .unwrap()
        .extend(with.as_object().unwrap().clone());
    ring
}

/// Its tenant, to be installed; the windows are the class's.
fn new() -> Cluster {
    let mut cluster = Cluster::new(given::new("acme"));
    follow(&mut cluster);
    cluster
}

fn follow(cluster: &mut Cluster) {
    cluster.given.tenant.spec.release = given::typed(json!({"channel": "board"}));
    cluster.given.channel = Some(channel());
}

fn settled() -> Cluster {
    let mut cluster = new();
    cluster.settle();
    cluster.log.clear();
    cluster
}

fn always_open(cluster: &mut Cluster) {
    cluster.given.tenant.spec.maintenance = Some(given::always_open());
}

/// A release with a test of its own is published.
fn publish(cluster: &mut Cluster, version: &str) {
    let mut release = given::release(version);
    release.spec.hooks.as_mut().unwrap().smoke =
        Some(given::typed(json!({"component": "api", "args": ["smoke"]})));
    release.spec.schema.oldest_version = Some("1.0.0".into());
    let name = release.metadata.name.clone().unwrap();
    cluster.given.releases.insert(name, release.into());
}

fn grant(cluster: &mut Cluster, version: &str, kind: GrantKind) {
    if !cluster.given.releases.contains_key(&format!("board-{version}")) {
        publish(cluster, version);
    }
    let now = cluster.given.now;
    let status = cluster.given.channel.as_mut().unwrap().status.as_mut().unwrap();
    status.grants = vec![given::typed(json!({
        "tenant": "acme", "uid": given::UID, "ring": "production", "release": format!("board-{version}"),
        "kind": format!("{kind:?}"), "at": now.to_string(),
    }))];
}

fn withdraw(cluster: &mut Cluster) {
    let status = cluster.given.channel.as_mut().unwrap().status.as_mut().unwrap();
    status.grants[0].withdrawn = Some(status.grants[0].at.clone());
}

fn take_away(cluster: &mut Cluster) {
    let status = cluster.given.channel.as_mut().unwrap().status.as_mut().unwrap();
    status.grants.clear();
}

fn pin(cluster: &mut Cluster, version: &str, until: Timestamp) {
    cluster.given.tenant.spec.release.pin = Some(given::typed(json!({
        "name": format!("board-{version}"), "until": until.to_string(), "reason": "trade fair",
    })));
}

fn recall(cluster: &mut Cluster, version: &str) {
    let name = format!("board-{version}");
    let mut release = (*cluster.given.releases[&name]).clone();
    release.spec.recall = Some(Recall {
        reason: "cards vanish".into(),
        action: RecallAction::RollBack,
    });
    cluster.given.releases.insert(name, release.into());
}

fn member(cluster: &mut Cluster) -> Member {
    cluster.plan().member.unwrap()
}

fn runs(cluster: &mut Cluster) -> Option<String> {
    member(cluster).runs
}

fn condition(cluster: &Cluster, topic: &str) -> String {
    let status = cluster.given.tenant.status.as_ref().unwrap();
    let found = status.conditions.iter().find(|c| c.type_ == topic).unwrap();
    format!("{} {}: {}", found.status, found.reason, found.message)
}

fn says(cluster: &Cluster, topic: &str) -> String {
    condition(cluster, topic).split(": ").next().unwrap().to_owned()
}

fn blocker(cluster: &Cluster, reason: &str) -> Option<String> {
    let blockers = &cluster.given.tenant.status.as_ref().unwrap().blockers;
    let found = blockers.iter().find(|blocker| blocker.reason == reason)?;
    Some(format!("{}; {}", found.message, found.unblocked_by))
}

/// The upgrades, each with who granted it and why at once.
fn upgrades(cluster: &Cluster) -> Vec<String> {
    let upgrades = cluster
        .operations()
        .filter(|o| o.spec.r#type == OperationType::Upgrade);
    let mut told: Vec<_> = upgrades
        .map(|operation| {
            let spec = operation.spec.upgrade.as_ref().unwrap();
            let by = spec.granted_by.as_deref().unwrap_or("-");
            let urgency = spec.urgency.map_or_else(String::new, |kind| format!(" {kind:?}"));
            let line = format!(
                "{} -> {}: {:?} by {by}{urgency}",
                spec.from_version, spec.to_version, operation.status.phase
            );
            (
                operation.created,
                operation.status.started_at.as_ref().map(|at| at.0),
                line,
            )
        })
        .collect();
    told.sort();
    told.into_iter().map(|(_, _, line)| line).collect()
}

#[test]
fn a_new_tenant_gets_the_stable_release_of_its_ring_and_keeps_it() {
    let mut cluster = new();
    let first = member(&mut cluster);
    assert_eq!((first.runs, first.down_since, first.apart), (None, None, None));
    cluster.settle();
    assert_eq!(runs(&mut cluster).as_deref(), Some("board-1.0.0"));
    assert_eq!(
        condition(&cluster, "ReleaseCurrent"),
        "True Current: 1.0.0 is what the channel board has brought"
    );
    // Another stable one alone is no leave.
    publish(&mut cluster, "1.1.0");
    let status = cluster.given.channel.as_mut().unwrap().status.as_mut().unwrap();
    status.rings = vec![given::typed(ring(
        json!({"stable": "board-1.1.0", "release": "board-1.1.0"}),
    ))];
    always_open(&mut cluster);
    cluster.settle_upgrade();
    assert_eq!(runs(&mut cluster).as_deref(), Some("board-1.0.0"));
    assert!(upgrades(&cluster).is_empty());
}

#[test]
fn a_grant_brings_a_release_and_is_not_needed_to_keep_it() {
    let mut cluster = settled();
    always_open(&mut cluster);
    grant(&mut cluster, "1.1.0", GrantKind::Wave);
    cluster.settle();
    let way = Way {
        from: "board-1.0.0".into(),
        to: "board-1.1.0".into(),
    };
    let at = cluster.given.now;
    let told = member(&mut cluster);
    assert_eq!(told.under_way.as_ref(), Some(&way));
    assert_eq!(told.grant, Some((at, "board-1.1.0".into())));
    cluster.settle_upgrade();
    let told = member(&mut cluster);
    assert_eq!(told.runs.as_deref(), Some("board-1.1.0"));
    assert_eq!((told.under_way, told.came.as_ref()), (None, Some(&way)));
    assert_eq!(
        upgrades(&cluster),
        ["1.0.0 -> 1.1.0: Succeeded by board/production"]
    );
    take_away(&mut cluster);
    cluster.settle_upgrade();
    let told = member(&mut cluster);
    assert_eq!((told.runs.as_deref(), told.grant), (Some("board-1.1.0"), None));
    assert_eq!(
        condition(&cluster, "ReleaseCurrent"),
        "True Current: 1.1.0 is what the channel board has brought"
    );
    assert_eq!(says(&cluster, "Ready"), "True Ready");
    assert_eq!(upgrades(&cluster).len(), 1);
}

#[test]
fn a_grant_waits_for_the_window_and_a_withdrawn_one_for_nothing() {
    let mut cluster = settled();
    grant(&mut cluster, "1.1.0", GrantKind::Wave);
    cluster.settle();
    assert_eq!(says(&cluster, "ReleaseCurrent"), "False WaitsForWindow");
    assert_eq!(says(&cluster, "Ready"), "True Ready");
    withdraw(&mut cluster);
    cluster.given.now += SignedDuration::from_hours(18);
    cluster.settle_upgrade();
    assert!(upgrades(&cluster).is_empty());
    assert_eq!(member(&mut cluster).grant, None);
    grant(&mut cluster, "1.1.0", GrantKind::Wave);
    cluster.settle_upgrade();
    assert_eq!(runs(&mut cluster).as_deref(), Some("board-1.1.0"));
}

#[test]
fn an_emergency_waits_for_no_window_and_says_so() {
    let mut cluster = settled();
    grant(&mut cluster, "1.1.0", GrantKind::Emergency);
    cluster.settle();
    let told = condition(&cluster, "ReleaseCurrent");
    assert!(told.contains("to 1.1.0 at once: it is an emergency: "), "{told}");
    cluster.settle_upgrade();
    assert_eq!(
        upgrades(&cluster),
        ["1.0.0 -> 1.1.0: Succeeded by board/production Emergency"]
    );
}

#[test]
fn what_broke_a_tenant_goes_back_at_once_by_the_same_checks() {
    let mut cluster = settled();
    always_open(&mut cluster);
    grant(&mut cluster, "1.1.0", GrantKind::Wave);
    cluster.settle_upgrade();
    cluster.given.tenant.spec.maintenance = None;
    grant(&mut cluster, "1.0.0", GrantKind::RollBack);
    cluster.settle_upgrade();
    assert_eq!(
        upgrades(&cluster)[1],
        "1.1.0 -> 1.0.0: Succeeded by board/production RollBack"
    );
    assert_eq!(runs(&mut cluster).as_deref(), Some("board-1.0.0"));

    let mut fixed = settled();
    always_open(&mut fixed);
    publish(&mut fixed, "0.9.0");
    grant(&mut fixed, "0.9.0", GrantKind::RollBack);
    fixed.settle_upgrade();
    assert_eq!(
        upgrades(&fixed),
        ["1.0.0 -> 0.9.0: Failed by board/production RollBack"]
    );
    assert_eq!(runs(&mut fixed).as_deref(), Some("board-1.0.0"));
}

#[test]
fn an_upgrade_that_has_begun_goes_on_when_its_grant_is_withdrawn() {
    let mut cluster = settled();
    always_open(&mut cluster);
    cluster.unready = Some("1.1.0".into());
    grant(&mut cluster, "1.1.0", GrantKind::Wave);
    cluster.settle();
    withdraw(&mut cluster);
    cluster.settle();
    assert!(member(&mut cluster).under_way.is_some());
    take_away(&mut cluster);
    cluster.unready = None;
    cluster.settle_upgrade();
    assert_eq!(
        upgrades(&cluster),
        ["1.0.0 -> 1.1.0: Succeeded by board/production"]
    );
    assert_eq!(runs(&mut cluster).as_deref(), Some("board-1.1.0"));
}

#[test]
fn a_release_that_failed_is_told_and_not_tried_again_with_its_grant_or_without() {
    for withdrawn in [false, true] {
        let mut cluster = settled();
        always_open(&mut cluster);
        cluster.broken_smoke = true;
        grant(&mut cluster, "1.1.0", GrantKind::Wave);
        cluster.settle();
        if withdrawn {
            withdraw(&mut cluster);
        }
        cluster.settle_upgrade();
        let told = member(&mut cluster);
        let why = told.failed["board-1.1.0"].clone();
        assert!(
            why.starts_with("Smoke: smoke-1-1-0-") && why.ends_with("no card was listed"),
            "{why}"
        );
        assert_eq!(
            (told.runs.as_deref(), told.under_way),
            (Some("board-1.0.0"), None)
        );
        assert_eq!(told.came, None, "it was installed with what runs");
        if !withdrawn {
            let told = blocker(&cluster, "UpgradeFailed").unwrap();
            assert!(
                told.contains("publish a release that mends it, or set spec.release.retry"),
                "{told}"
            );
        }
        take_away(&mut cluster);
        cluster.given.now += SignedDuration::from_hours(48);
        cluster.settle_upgrade();
        assert_eq!(upgrades(&cluster).len(), 1);
        assert_eq!(says(&cluster, "ReleaseCurrent"), "True Current");
        assert!(member(&mut cluster).failed.contains_key("board-1.1.0"));

        // Another word asks for it again, and the next grant brings it.
        cluster.given.tenant.spec.release.retry = Some("again".into());
        cluster.broken_smoke = false;
        assert!(member(&mut cluster).failed.is_empty());
        cluster.settle_upgrade();
        assert_eq!(upgrades(&cluster).len(), 1, "a word is no grant");
        grant(&mut cluster, "1.1.0", GrantKind::Wave);
        cluster.settle_upgrade();
        assert_eq!(runs(&mut cluster).as_deref(), Some("board-1.1.0"));
    }
}

#[test]
fn a_recalled_release_goes_back_by_itself_with_its_grant_or_without() {
    for keeps_grant in [true, false] {
        let mut cluster = settled();
        always_open(&mut cluster);
        grant(&mut cluster, "1.1.0", GrantKind::Wave);
        cluster.settle_upgrade();
        if !keeps_grant {
            take_away(&mut cluster);
        }
        cluster.given.tenant.spec.maintenance = None;
        recall(&mut cluster, "1.1.0");
        cluster.settle_upgrade();
        assert_eq!(runs(&mut cluster).as_deref(), Some("board-1.0.0"));
        assert_eq!(upgrades(&cluster)[1], "1.1.0 -> 1.0.0: Succeeded by -");
        assert_eq!(says(&cluster, "Ready"), "True Ready");
        cluster.given.now += SignedDuration::from_hours(48);
        cluster.settle_upgrade();
        assert_eq!(upgrades(&cluster).len(), 2);
    }
}

#[test]
fn a_pin_brings_its_release_like_any_other_keeps_it_and_ends() {
    let mut cluster = settled();
    publish(&mut cluster, "1.1.0");
    let until = cluster.given.now + SignedDuration::from_hours(60);
    pin(&mut cluster, "1.1.0", until);
    cluster.settle();
    assert_eq!(says(&cluster, "ReleaseCurrent"), "False WaitsForWindow");
    assert_eq!(member(&mut cluster).apart, Some(Apart::Pinned));
    cluster.given.now += SignedDuration::from_hours(18);
    cluster.settle_upgrade();
    assert_eq!(
        condition(&cluster, "ReleaseCurrent"),
        format!("True Pinned: 1.1.0 is pinned until {until}: trade fair")
    );
    assert_eq!(upgrades(&cluster), ["1.0.0 -> 1.1.0: Succeeded by -"]);
    grant(&mut cluster, "1.2.0", GrantKind::Wave);
    always_open(&mut cluster);
    cluster.settle_upgrade();
    assert_eq!(runs(&mut cluster).as_deref(), Some("board-1.1.0"));

    cluster.live_until(until + SignedDuration::from_mins(30), |_| {});
    assert_eq!(runs(&mut cluster).as_deref(), Some("board-1.2.0"));
    assert_eq!(member(&mut cluster).apart, None);
}

#[test]
fn a_pin_to_a_release_that_may_not_follow_is_refused_and_one_that_is_missing_changes_nothing() {
    let mut cluster = settled();
    always_open(&mut cluster);
    let until = cluster.given.now + SignedDuration::from_hours(60);
    let mut later = given::release("1.3.0");
    later.spec.upgrade_from = Some(">=1.2.0".into());
    cluster.given.releases.insert("board-1.3.0".into(), later.into());
    pin(&mut cluster, "1.3.0", until);
    cluster.settle_upgrade();
    let told = blocker(&cluster, "UpgradeFailed").unwrap();
    assert!(told.contains("1.3.0 may follow >=1.2.0 only"), "{told}");
    assert!(told.contains("pin another release in spec.release.pin"), "{told}");

    pin(&mut cluster, "7.0.0", until);
    cluster.settle_upgrade();
    let told = blocker(&cluster, "ReleaseNotFound").unwrap();
    assert!(
        told.contains("create the Release board-7.0.0, or pin another release"),
        "{told}"
    );
    assert_eq!(says(&cluster, "Serving"), "True Serving");
    assert_eq!(member(&mut cluster).apart, Some(Apart::Invalid));
    // The plan knows when that ends, though nothing else of the tenant is known.
    assert!(cluster.plan().wake.is_some_and(|wake| wake <= until));
    cluster.live_until(until + SignedDuration::from_mins(1), |_| {});
    assert_eq!(says(&cluster, "Ready"), "True Ready");
}

#[test]
fn without_its_channel_a_tenant_keeps_what_it_has_and_is_ready() {
    let mut cluster = settled();
    cluster.given.channel = None;
    cluster.settle_upgrade();
    assert_eq!(says(&cluster, "Ready"), "True Ready");
    assert_eq!(says(&cluster, "Stalled"), "False Progressing");
    assert_eq!(says(&cluster, "UpToDate"), "False ChannelNotFound");
    let told = blocker(&cluster, "ChannelNotFound").unwrap();
    assert_eq!(
        told,
        "the ReleaseChannel board does not exist: it keeps the release that it has; \
         create the ReleaseChannel board, or name another in spec.release.channel"
    );
    assert_eq!(runs(&mut cluster).as_deref(), Some("board-1.0.0"));
    let before = cluster.log.len();
    cluster.settle();
    assert_eq!(cluster.log.len(), before, "at rest");
}

#[test]
fn a_tenant_with_nothing_installed_says_what_its_channel_lacks() {
    let told = |change: fn(&mut Cluster)| {
        let mut cluster = new();
        change(&mut cluster);
        cluster.settle();
        assert!(cluster.body(Kind::Deployment, "web").is_none());
        assert_eq!(member(&mut cluster).apart, Some(Apart::Invalid));
        format!("{} {}", says(&cluster, "Ready"), says(&cluster, "Stalled"))
    };
    let missing = told(|cluster| cluster.given.channel = None);
    assert_eq!(missing, "False ChannelNotFound True ChannelNotFound");
    let empty = told(|cluster| cluster.given.channel.as_mut().unwrap().status = None);
    assert_eq!(empty, "False NoRelease False Progressing");
    let none = told(|cluster| {
        let rings = &mut cluster.given.channel.as_mut().unwrap().spec.rings;
        rings[0].tenants.match_labels = [("ring".to_owned(), "canary".to_owned())].into();
    });
    assert_eq!(none, "False NoRing True NoRing");
}

#[test]
fn a_tenant_that_no_ring_selects_any_more_keeps_what_it_has() {
    let mut cluster = settled();
    let rings = &mut cluster.given.channel.as_mut().unwrap().spec.rings;
    rings[0].tenants.match_labels = [("ring".to_owned(), "canary".to_owned())].into();
    cluster.settle();
    assert_eq!(says(&cluster, "Ready"), "True Ready");
    let told = blocker(&cluster, "NoRing").unwrap();
    assert!(told.contains("or give the channel a last ring"), "{told}");
}

#[test]
fn a_freeze_of_the_tenant_holds_a_grant_and_no_emergency() {
    let mut cluster = settled();
    always_open(&mut cluster);
    let now = cluster.given.now;
    let until = now + SignedDuration::from_hours(48);
    let maintenance = cluster.given.tenant.spec.maintenance.as_mut().unwrap();
    maintenance.freezes = vec![given::typed(json!({
        "from": now.to_string(), "until": until.to_string(), "reason": "year's end",
    }))];
    grant(&mut cluster, "1.1.0", GrantKind::Wave);
    cluster.settle_upgrade();
    let told = condition(&cluster, "UpToDate");
    assert_eq!(
        told,
        format!("False Frozen: 1.1.0 waits: a freeze holds until {until} (year's end)")
    );
    assert_eq!(says(&cluster, "Ready"), "True Ready");
    let mut urgent = cluster.clone();
    grant(&mut urgent, "1.1.0", GrantKind::Emergency);
    urgent.settle_upgrade();
    assert_eq!(runs(&mut urgent).as_deref(), Some("board-1.1.0"));
    cluster.live_until(until, |_| {});
    assert!(upgrades(&cluster).is_empty());
    cluster.live_until(until + SignedDuration::from_mins(15), |_| {});
    assert_eq!(runs(&mut cluster).as_deref(), Some("board-1.1.0"));
}

#[test]
fn who_moves_to_a_channel_or_away_keeps_what_runs() {
    let mut cluster = Cluster::new(given::new("acme"));
    always_open(&mut cluster);
    cluster.given.ask_for(given::release("1.1.0"));
    cluster.settle();
    follow(&mut cluster);
    cluster.log.clear();
    cluster.settle_upgrade();
    assert_eq!(runs(&mut cluster).as_deref(), Some("board-1.1.0"));
    grant(&mut cluster, "1.2.0", GrantKind::Wave);
    cluster.settle_upgrade();
    cluster.given.tenant.spec.release = given::typed(json!({"name": "board-1.2.0"}));
    cluster.settle_upgrade();
    assert_eq!(cluster.plan().member, None);
    assert_eq!(says(&cluster, "ReleaseCurrent"), "True Current");
    assert_eq!(
        upgrades(&cluster),
        ["1.1.0 -> 1.2.0: Succeeded by board/production"]
    );
}

#[test]
fn who_moves_to_a_channel_in_the_middle_of_an_upgrade_brings_it_to_its_end() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    cluster.unready = Some("1.1.0".into());
    cluster.given.upgrade_to(given::release("1.1.0"));
    cluster.settle();
    follow(&mut cluster);
    cluster.unready = None;
    cluster.settle_upgrade();
    assert_eq!(runs(&mut cluster).as_deref(), Some("board-1.1.0"));
    assert_eq!(upgrades(&cluster), ["1.0.0 -> 1.1.0: Succeeded by -"]);
}

#[test]
fn what_was_lost_comes_back_as_the_release_that_ran() {
    let mut cluster = settled();
    always_open(&mut cluster);
    grant(&mut cluster, "1.1.0", GrantKind::Wave);
    cluster.settle_upgrade();
    take_away(&mut cluster);
    let lost: Vec<_> = cluster
        .ids()
        .filter(|id| id.kind == Kind::Deployment)
        .cloned()
        .collect();
    for id in &lost {
        cluster.lose(id);
    }
    cluster.settle_upgrade();
    assert_eq!(
        runs(&mut cluster).as_deref(),
        Some("board-1.1.0"),
        "not the ring's 1.0.0"
    );
}

/// Whoever carries it out may die after any effect.
#[test]
fn killed_after_any_effect_a_granted_upgrade_is_done_once() {
    let mut cluster = settled();
    always_open(&mut cluster);
    grant(&mut cluster, "1.1.0", GrantKind::Wave);
    for round in 0..300 {
        cluster.pass(1);
        cluster.tick();
        if round == 40 {
            withdraw(&mut cluster);
        }
        if let Some(wake) = cluster.plan().wake.filter(|_| cluster.plan().records.is_empty()) {
            let wait = wake - cluster.given.now;
            if wait.get_hours() == 0 && wait.get_minutes() < 15 {
                cluster.sleep_until(wake);
            }
        }
    }
    cluster.settle_upgrade();
    assert_eq!(
        upgrades(&cluster),
        ["1.0.0 -> 1.1.0: Succeeded by board/production"]
    );
}
