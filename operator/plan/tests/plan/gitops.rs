//! What Argo CD and Flux make of a tenant's conditions: their own languages, on what the plan really says in each state.

use cel::{Context, Program, Value as Cel};
use freehold_crds::{DesiredState, Tenant, yaml};
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
fn argo(tenant: &Tenant) -> (String, String) {
    let script = document(ARGO);
    let script = script["data"]["resource.customizations.health.freehold.dev_Tenant"].as_str();
    let lua = Lua::new();
    let object = serde_json::to_value(tenant).unwrap();
    // As Argo CD has it: what is null is not there.
    let options = mlua::SerializeOptions::new()
        .serialize_none_to_null(false)
        .serialize_unit_to_null(false);
    let object = lua.to_value_with(&object, options).unwrap();
    lua.globals().set("obj", object).unwrap();
    let health: mlua::Table = lua.load(script.unwrap()).eval().unwrap();
    (health.get("status").unwrap(), health.get("message").unwrap())
}

/// Flux's verdict: the first of the three that holds, in the order in which it asks.
fn flux(tenant: &Tenant) -> &'static str {
    let document = document(FLUX);
    let check = &document["spec"]["healthCheckExprs"][0];
    assert_eq!(
        [&check["apiVersion"], &check["kind"]],
        ["freehold.dev/v1alpha1", "Tenant"]
    );
    let object = serde_json::to_value(tenant).unwrap();
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

/// Both verdicts on the tenant as it stands.
fn judged(cluster: &Cluster) -> String {
    let tenant = &cluster.given.tenant;
    let (health, message) = argo(tenant);
    format!("{health} {}: {message}", flux(tenant))
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
