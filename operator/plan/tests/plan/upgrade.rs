//! Upgrades: step by step, undone when they fail, in their window, and whoever is killed.

use freehold_crds::{DesiredState, OperationType, Phase, Recall, RecallAction, SchemaChange};
use freehold_plan::Kind;
use jiff::SignedDuration;

use crate::cluster::Cluster;
use crate::given;

fn settled() -> Cluster {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    cluster.log.clear();
    cluster
}

/// A release with a test of its own.
fn tested(version: &str) -> freehold_crds::Release {
    let mut release = given::release(version);
    let hooks = release.spec.hooks.as_mut().unwrap();
    hooks.smoke = Some(given::typed(
        serde_json::json!({"component": "api", "args": ["smoke"]}),
    ));
    release
}

fn version(cluster: &Cluster) -> Option<String> {
    cluster.given.tenant.status.as_ref()?.version.clone()
}

fn says(cluster: &Cluster, topic: &str) -> String {
    let status = cluster.given.tenant.status.as_ref().unwrap();
    let found = status.conditions.iter().find(|c| c.type_ == topic).unwrap();
    format!("{} {}", found.status, found.reason)
}

/// The upgrades, each with its phase and the steps that it went through.
fn upgrades(cluster: &Cluster) -> Vec<String> {
    let upgrades = cluster
        .operations()
        .filter(|o| o.spec.r#type == OperationType::Upgrade);
    let mut told: Vec<_> = upgrades
        .map(|operation| {
            let steps = operation.status.evidence.iter().map(|line| line.step.as_str());
            let steps = steps.collect::<Vec<_>>().join(" ");
            let spec = operation.spec.upgrade.as_ref().unwrap();
            let line = format!(
                "{} -> {}: {:?}: {steps}",
                spec.from_version, spec.to_version, operation.status.phase
            );
            (operation.status.started_at.as_ref().map(|at| at.0), line)
        })
        .collect();
    told.sort();
    told.into_iter().map(|(_, line)| line).collect()
}

fn image(cluster: &Cluster, deployment: &str) -> String {
    let body = cluster.body(Kind::Deployment, deployment).unwrap();
    let labels = &body["spec"]["template"]["metadata"]["labels"];
    labels["app.kubernetes.io/version"].as_str().unwrap().to_owned()
}

#[test]
fn an_upgrade_is_checked_migrated_rolled_out_tried_out_and_watched() {
    let mut cluster = settled();
    cluster.given.upgrade_to(tested("1.1.0"));
    cluster.settle();
    assert_eq!(says(&cluster, "ReleaseCurrent"), "False Upgrading");
    assert_eq!(says(&cluster, "UpToDate"), "False Upgrading");
    assert_eq!(says(&cluster, "Serving"), "True Serving");
    cluster.settle_upgrade();
    let steps: Vec<&String> = cluster
        .log
        .iter()
        .filter(|line| line.starts_with("step"))
        .collect();
    assert_eq!(
        steps,
        [
            "step Running Preflight",
            "step Running Migrate",
            "step Running Roll",
            "step Running Smoke",
            "step Running Bake",
            "step Succeeded "
        ]
    );
    assert_eq!(
        upgrades(&cluster),
        ["1.0.0 -> 1.1.0: Succeeded: Preflight Migrate Roll Smoke Bake"]
    );
    assert_eq!(says(&cluster, "UpToDate"), "True UpToDate");
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0"));
}

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
fn a_release_that_fails_its_test_is_undone_and_not_tried_again_until_somebody_asks() {
    let mut cluster = settled();
    cluster.given.upgrade_to(tested("1.1.0"));
    cluster.settle_upgrade();
    cluster.broken_smoke = true;
    cluster.given.upgrade_to(tested("1.2.0"));
    cluster.settle_upgrade();
    let failed = "1.1.0 -> 1.2.0: Failed: Preflight Migrate Roll Smoke RollBack";
    assert_eq!(upgrades(&cluster)[1..], [failed]);
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0"));
    assert_eq!(says(&cluster, "UpToDate"), "False UpgradeFailed");
    assert_eq!(says(&cluster, "Stalled"), "True UpgradeFailed");
    assert_eq!(says(&cluster, "Serving"), "True Serving");
    let smoke = cluster
        .ids()
        .any(|id| id.kind == Kind::Job && id.name.starts_with("smoke-1-2-0"));
    assert!(smoke, "its logs say why");
    cluster.given.now += SignedDuration::from_hours(48);
    cluster.settle_upgrade();
    assert_eq!(upgrades(&cluster).len(), 2, "it is not tried again");

    cluster.broken_smoke = false;
    cluster.given.tenant.spec.release.retry = Some("mended".into());
    cluster.settle_upgrade();
    assert_eq!(upgrades(&cluster).len(), 3);
    assert_eq!(version(&cluster).as_deref(), Some("1.2.0"));
    assert_eq!(says(&cluster, "UpToDate"), "True UpToDate");
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
fn an_upgrade_waits_for_its_window_and_the_tenant_is_ready_meanwhile() {
    let mut cluster = settled();
    cluster.given.ask_for(given::release("1.1.0"));
    cluster.settle();
    // It is 8 o'clock; the class's window opens at 2.
    assert_eq!(says(&cluster, "UpToDate"), "False WaitsForWindow");
    assert_eq!(says(&cluster, "Ready"), "True Ready");
    assert!(upgrades(&cluster).is_empty());
    cluster.given.now += SignedDuration::from_hours(18);
    cluster.settle_upgrade();
    assert_eq!(
        upgrades(&cluster),
        ["1.0.0 -> 1.1.0: Succeeded: Preflight Migrate Roll Smoke Bake"]
    );
}

#[test]
fn another_release_that_is_asked_for_meanwhile_takes_its_place() {
    let mut cluster = settled();
    cluster.unready = Some("1.1.0".into());
    cluster.given.upgrade_to(given::release("1.1.0"));
    cluster.settle();
    cluster.given.upgrade_to(given::release("1.1.1"));
    cluster.settle_upgrade();
    assert_eq!(
        upgrades(&cluster),
        [
            "1.0.0 -> 1.1.0: Cancelled: Preflight Migrate Roll",
            "1.0.0 -> 1.1.1: Succeeded: Preflight Migrate Roll Smoke Bake"
        ]
    );
    assert_eq!(version(&cluster).as_deref(), Some("1.1.1"));
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

/// Whoever carries an upgrade and its undoing out may die after any effect: no step is taken twice, none is left out.
#[test]
fn killed_after_any_effect_an_upgrade_ends_as_if_nobody_had_been() {
    for (broken, expected) in [
        (
            false,
            "1.0.0 -> 1.1.0: Succeeded: Preflight Migrate Roll Smoke Bake",
        ),
        (
            true,
            "1.0.0 -> 1.1.0: Failed: Preflight Migrate Roll Smoke RollBack",
        ),
    ] {
        let mut cluster = settled();
        cluster.broken_smoke = broken;
        cluster.given.upgrade_to(tested("1.1.0"));
        // One effect of each pass.
        for _ in 0..400 {
            cluster.pass(1);
            cluster.tick();
            if let Some(wake) = cluster.plan().wake.filter(|_| cluster.plan().records.is_empty()) {
                let wait = wake - cluster.given.now;
                if wait.get_hours() == 0 && wait.get_minutes() < 15 {
                    cluster.sleep_until(wake);
                }
            }
        }
        cluster.settle_upgrade();
        assert_eq!(upgrades(&cluster), [expected]);
    }
}

/// The upgrade from 1.0.0 to a release fails in its first step; why.
fn refused(release: freehold_crds::Release) -> String {
    let mut cluster = settled();
    cluster.given.upgrade_to(release);
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.0.0"));
    assert_eq!(says(&cluster, "Serving"), "True Serving");
    let mut upgrades = cluster.operations();
    let upgrade = upgrades
        .find(|o| o.spec.r#type == OperationType::Upgrade)
        .unwrap();
    assert_eq!(upgrade.status.phase, Phase::Failed);
    assert_eq!(upgrade.status.evidence.len(), 1);
    upgrade.status.evidence[0].message.clone()
}

#[test]
fn a_path_that_is_not_allowed_is_refused_before_anything_happens() {
    let mut contract = given::release("1.1.0");
    contract.spec.schema.change = SchemaChange::Contract;
    assert!(refused(contract).contains("until there are proven backups"));

    let mut later = given::release("1.3.0");
    later.spec.upgrade_from = Some(">=1.2.0, <2.0.0".into());
    assert!(refused(later.clone()).contains("1.3.0 may follow >=1.2.0, <2.0.0 only, and 1.0.0 runs"));
    later.spec.upgrade_from = Some("whatever".into());
    assert!(refused(later).contains("can't be read"));

    assert!(refused(given::release("0.9.0")).contains("nobody says that 0.9.0 works on the schema of 1.0.0"));
    assert!(refused(recalled("1.1.0", RecallAction::Hold)).contains("was recalled: cards vanish"));
}

#[test]
fn a_release_that_the_quota_does_not_allow_is_refused_before_anything_happens() {
    let mut many = given::release("1.1.0");
    many.spec.components[0].replicas = 19;
    let told = refused(many);
    assert!(
        told.ends_with("more than the quota allows (pods: 21 of 20)"),
        "{told}"
    );
    let mut large = given::release("1.1.0");
    large.spec.components[0].resources =
        given::typed(serde_json::json!({"cpuRequest": "1500m", "memoryLimit": "1Gi"}));
    let told = refused(large);
    assert!(
        told.ends_with("(CPU: 3 of 2; memory: 2048Mi of 1024Mi)"),
        "{told}"
    );
}

#[test]
fn an_upgrade_waits_for_the_key_service() {
    let mut cluster = Cluster::new(given::with_keys("acme"));
    cluster.settle();
    let service = |cluster: &mut Cluster, failure: Option<&str>| {
        let service = cluster.given.config.key_service.as_mut().unwrap();
        service.failure = failure.map(str::to_owned);
    };
    service(&mut cluster, Some("no answer within 5s"));
    cluster.given.upgrade_to(given::release("1.1.0"));
    cluster.settle_upgrade();
    let status = cluster.given.tenant.status.clone().unwrap();
    let told: Vec<&str> = status.blockers.iter().map(|b| b.message.as_str()).collect();
    assert!(
        told.contains(&"the upgrade to 1.1.0 waits: the key service does not answer: no answer within 5s"),
        "{told:?}"
    );
    assert_eq!(version(&cluster).as_deref(), Some("1.0.0"));
    service(&mut cluster, None);
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0"));
}

/// Of a component that the release before didn't have: no pod starts before its name is in the certificate.
#[test]
fn an_upgrade_waits_for_the_certificates_of_its_pods() {
    let mut cluster = settled();
    let mut release = given::release("1.1.0");
    let search = serde_json::json!({"name": "search", "tier": "Application", "port": 8082, "replicas": 1,
        "image": release.spec.components[1].image});
    release.spec.components.push(given::typed(search));
    cluster.given.upgrade_to(release);
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0"));
    let first = |what: &str| cluster.log.iter().position(|line| line.contains(what)).unwrap();
    assert!(
        first("MintCertificate { leaf: Application") < first("step Running Migrate"),
        "{:#?}",
        cluster.log
    );
}

fn recalled(version: &str, action: RecallAction) -> freehold_crds::Release {
    let mut release = given::release(version);
    release.spec.recall = Some(Recall {
        reason: "cards vanish".into(),
        action,
    });
    release
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
fn a_release_on_whose_schema_the_one_that_runs_does_not_work_is_refused() {
    let mut newer = tested("1.1.0");
    newer.spec.schema.oldest_version = Some("1.1.0".into());
    assert!(refused(newer).contains("1.0.0 would run on a schema that it doesn't know"));
}

#[test]
fn another_product_is_refused() {
    let mut other = given::release("2.0.0");
    other.spec.product = "crm".into();
    assert!(refused(other).contains("crm is another product than board"));
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
fn a_tenant_that_slept_in_the_middle_of_an_upgrade_has_its_whole_time_when_it_wakes() {
    let mut cluster = settled();
    cluster.unready = Some("1.1.0".into());
    cluster.given.upgrade_to(given::release("1.1.0"));
    cluster.settle();
    cluster.given.tenant.spec.desired_state = DesiredState::Suspended;
    cluster.settle();
    cluster.given.now += SignedDuration::from_hours(48);
    cluster.settle();
    cluster.given.tenant.spec.desired_state = DesiredState::Active;
    cluster.settle();
    assert_eq!(says(&cluster, "ReleaseCurrent"), "False Upgrading");
    cluster.unready = None;
    cluster.settle_upgrade();
    assert_eq!(
        upgrades(&cluster),
        ["1.0.0 -> 1.1.0: Succeeded: Preflight Migrate Roll Smoke Bake"]
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

#[test]
fn a_terminated_tenant_gets_no_other_release() {
    let mut cluster = settled();
    cluster.unready = Some("1.1.0".into());
    cluster.given.upgrade_to(given::release("1.1.0"));
    cluster.settle();
    cluster.given.tenant.spec.desired_state = DesiredState::Terminated;
    cluster.settle();
    assert_eq!(
        upgrades(&cluster),
        ["1.0.0 -> 1.1.0: Cancelled: Preflight Migrate Roll"]
    );
}

/// Whoever asks for a tier by its old port is answered until nobody does any more.
#[test]
fn another_port_is_there_beside_the_old_one_until_everybody_knows_it() {
    let mut cluster = settled();
    let mut moved = given::release("1.1.0");
    for component in &mut moved.spec.components {
        component.port = component.port.map(|port| port + 1000);
    }
    cluster.unready = Some("1.1.0".into());
    cluster.given.upgrade_to(moved);
    cluster.settle();
    let ports = |cluster: &Cluster, service: &str| -> Vec<i64> {
        let body = cluster.body(Kind::Service, service).unwrap();
        let ports = body["spec"]["ports"].as_array().unwrap().iter();
        ports.filter_map(|port| port["port"].as_i64()).collect()
    };
    let route = |cluster: &Cluster| {
        let body = cluster.body(Kind::HttpRoute, "web").unwrap();
        body["spec"]["rules"].to_string()
    };
    assert_eq!(
        [ports(&cluster, "api"), ports(&cluster, "web")],
        [[9081, 8081], [9080, 8080]]
    );
    assert!(route(&cluster).contains("8080"), "{}", route(&cluster));
    cluster.unready = None;
    cluster.settle_upgrade();
    assert_eq!([ports(&cluster, "api"), ports(&cluster, "web")], [[9081], [9080]]);
    assert!(route(&cluster).contains("9080"));
}

#[test]
fn an_upgrade_and_a_rotation_of_data_keys_never_run_at_once() {
    let mut cluster = Cluster::new(given::with_keys("acme"));
    cluster.settle();
    cluster.given.tenant.spec.keys = Some(given::typed(
        serde_json::json!({"rotateDataKeys": "now", "rotateTenantKey": "now"}),
    ));
    cluster.given.upgrade_to(given::release("1.1.0"));
    for _ in 0..60 {
        cluster.pass(usize::MAX);
        cluster.tick();
        let open = cluster.operations().filter(|o| !o.status.phase.is_over());
        assert!(open.count() <= 1);
    }
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0"));
}

#[test]
fn an_image_that_can_not_be_had_is_found_before_anything_is_changed() {
    let mut cluster = settled();
    cluster.missing_image = true;
    let mut release = tested("1.1.0");
    for component in &mut release.spec.components {
        component.image = component.image.replace("@sha256:0", "@sha256:1");
    }
    cluster.given.upgrade_to(release.clone());
    cluster.settle();
    let pods = |cluster: &Cluster| -> usize {
        let pods = cluster.ids().filter(|id| id.kind == Kind::Pod);
        pods.filter(|id| id.name.starts_with("preflight-")).count()
    };
    assert_eq!(pods(&cluster), 2, "one for each image, whoever uses it");
    cluster.given.now += SignedDuration::from_mins(6);
    cluster.settle_upgrade();
    assert_eq!(upgrades(&cluster), ["1.0.0 -> 1.1.0: Failed: Preflight"]);
    let told = says(&cluster, "Stalled");
    assert_eq!(told, "True UpgradeFailed");
    let status = cluster.given.tenant.status.clone().unwrap();
    assert!(
        status.blockers[0]
            .message
            .contains("ImagePullBackOff: no such manifest"),
        "{:?}",
        status.blockers
    );
    assert!(!cluster.log.iter().any(|line| line.contains("migrate-1-1-0")));
    assert_eq!(pods(&cluster), 0);

    cluster.missing_image = false;
    cluster.given.tenant.spec.release.retry = Some("pushed".into());
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0"));
    let upgrade = cluster
        .operations()
        .find(|o| o.status.phase == Phase::Succeeded)
        .unwrap();
    assert!(
        upgrade.status.evidence[0]
            .message
            .contains("2 new images are there")
    );
}
