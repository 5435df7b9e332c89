//! Upgrades: step by step, in their window, and whoever is killed.

mod checked;
mod kept;
mod recalled;
mod undone;

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

fn recalled(version: &str, action: RecallAction) -> freehold_crds::Release {
    let mut release = given::release(version);
    release.spec.recall = Some(Recall {
        reason: "cards vanish".into(),
        action,
    });
    release
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
