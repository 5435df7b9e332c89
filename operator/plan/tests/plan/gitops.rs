//! What Argo CD and Flux make of the conditions of tenants and channels: their own languages, on what the plan really says in each state.

use cel::{Context, Program, Value as Cel};
use freehold_crds::{DesiredState, yaml};
use jiff::SignedDuration;
use mlua::{Lua, LuaSerdeExt as _};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::given;

const ARGO: &str = include_str!("../../../../manifests/gitops/argocd-cm.yaml");
const FLUX: &str = include_str!("../../../../manifests/gitops/flux.yaml");

fn document(text: &str) -> Value {
    yaml::documents(text).unwrap().remove(0)
}

/// Argo CD's verdict, and what it shows with it.
fn argo(object: &Value) -> (String, String) {
    let script = document(ARGO);
    let kind = object["kind"].as_str().unwrap();
    let script = script["data"][format!("resource.customizations.health.freehold.dev_{kind}")].as_str();
    let lua = Lua::new();
    // As Argo CD has it: what is null is not there.
    let options = mlua::SerializeOptions::new()
        .serialize_none_to_null(false)
        .serialize_unit_to_null(false);
    let object = lua.to_value_with(object, options).unwrap();
    lua.globals().set("obj", object).unwrap();
    let health: mlua::Table = lua.load(script.unwrap()).eval().unwrap();
    (health.get("status").unwrap(), health.get("message").unwrap())
}

/// Flux's verdict: the first of the three that holds, in the order in which it asks.
fn flux(object: &Value) -> &'static str {
    let document = document(FLUX);
    let mut checks = document["spec"]["healthCheckExprs"].as_array().unwrap().iter();
    let check = checks.find(|check| check["kind"] == object["kind"]).unwrap();
    assert_eq!(check["apiVersion"], object["apiVersion"]);
    let holds = |name: &str| {
        let program = Program::compile(check[name].as_str().unwrap()).unwrap();
        let mut context = Context::default();
        for (field, value) in object.as_object().unwrap() {
            context.add_variable(field.as_str(), value).unwrap();
        }
        if object.get("status").is_none() {
            context.add_variable("status", serde_json::json!({})).unwrap();
        }
        program.execute(&context).unwrap() == Cel::Bool(true)
    };
    ["inProgress", "failed", "current"]
        .into_iter()
        .find(|name| holds(name))
        .unwrap_or("unknown")
}

/// Both verdicts on an object.
fn both(object: &Value) -> String {
    let (health, message) = argo(object);
    format!("{health} {}: {message}", flux(object))
}

/// Both verdicts on the tenant as it stands.
fn judged(cluster: &Cluster) -> String {
    both(&serde_json::to_value(&cluster.given.tenant).unwrap())
}

#[test]
fn a_channel_is_judged_by_what_its_engine_says() {
    use freehold_plan::fleet::{Fleet, advance};
    let told = |spec: Value, observed: bool| {
        let mut channel: freehold_crds::ReleaseChannel = given::typed(serde_json::json!({
            "apiVersion": "freehold.dev/v1alpha1", "kind": "ReleaseChannel", "metadata": {"name": "board", "generation": 1},
            "spec": spec,
        }));
        if observed {
            let name = "board-1.0.0".to_owned();
            let advanced = advance(&Fleet {
                channel: &channel,
                members: &[],
                releases: &[(name, std::sync::Arc::new(given::release("1.0.0")))].into(),
                approvals: &[],
                now: given::at(given::NOON),
            });
            channel.status = Some(advanced.status);
        }
        both(&serde_json::to_value(&channel).unwrap())
    };
    let rings = serde_json::json!([{"name": "all"}]);
    let spec = serde_json::json!({"product": "board", "rings": rings});
    assert_eq!(
        told(spec.clone(), false),
        "Progressing inProgress: the operator has not seen it yet"
    );
    assert_eq!(told(spec, true), "Healthy current: the last ring has board-1.0.0");
    let paused = serde_json::json!({"product": "board", "rings": rings, "paused": true});
    assert_eq!(
        told(paused, true),
        "Suspended current: all: the channel is paused"
    );
}

#[test]
fn argo_cd_and_flux_wait_for_what_is_under_way_and_for_nothing_else() {
    let mut cluster = Cluster::new(given::new("acme"));
    assert!(judged(&cluster).starts_with("Progressing inProgress: the operator has not seen"));
    cluster.pass(usize::MAX);
    cluster.tick();
    cluster.pass(usize::MAX);
    assert!(
        judged(&cluster).starts_with("Progressing inProgress: "),
        "{}",
        judged(&cluster)
    );
    cluster.settle();
    assert_eq!(
        judged(&cluster),
        "Healthy current: everything runs as it was asked for"
    );

    // Another change in Git.
    cluster.given.tenant.metadata.generation = Some(2);
    assert!(
        judged(&cluster).starts_with("Progressing inProgress: the operator has not seen the last change")
    );
    cluster.settle();

    cluster.given.ask_for(given::release("1.1.0"));
    cluster.settle();
    assert!(
        judged(&cluster).starts_with("Healthy current: 1.1.0 waits: the window opens at"),
        "{}",
        judged(&cluster)
    );
    cluster.given.upgrade_to(given::release("1.1.0"));
    cluster.settle();
    assert!(
        judged(&cluster).starts_with("Progressing inProgress: to 1.1.0: Bake"),
        "{}",
        judged(&cluster)
    );
    cluster.settle_upgrade();
    assert!(judged(&cluster).starts_with("Healthy current"));

    cluster.broken_migration = true;
    cluster.given.upgrade_to(given::release("1.2.0"));
    cluster.settle_upgrade();
    let told = judged(&cluster);
    assert!(
        told.starts_with("Degraded failed: UpgradeFailed: the upgrade to 1.2.0 failed in the step Migrate"),
        "{told}"
    );
    assert!(told.contains("spec.release.retry"), "{told}");
    cluster.given.upgrade_to(given::release("1.1.0"));
    cluster.settle_upgrade();

    cluster.given.tenant.spec.desired_state = DesiredState::Suspended;
    cluster.settle();
    assert!(
        judged(&cluster).starts_with("Suspended current"),
        "{}",
        judged(&cluster)
    );
    cluster.given.tenant.spec.desired_state = DesiredState::Active;
    cluster.settle();

    cluster.given.class = None;
    cluster.given.now += SignedDuration::from_mins(1);
    cluster.settle();
    assert!(
        judged(&cluster).starts_with("Degraded failed: ClassNotFound: "),
        "{}",
        judged(&cluster)
    );
}
