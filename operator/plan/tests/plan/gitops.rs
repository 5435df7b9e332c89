//! What Argo CD and Flux make of the conditions of tenants and channels: their own languages, on what the plan really says in each state.

use cel::{Context, Program, Value as Cel};
use freehold_crds::{DesiredState, ReleaseChannel, yaml};
use freehold_plan::fleet::{Fleet, advance};
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

/// A channel of one ring, and its one tenant: each is decided by what the other says.
struct Following {
    channel: ReleaseChannel,
    cluster: Cluster,
}

impl Following {
    /// The tenant is installed, and the ring is as it would be written.
    fn new(ring: Value) -> Self {
        let channel = serde_json::json!({
            "apiVersion": "freehold.dev/v1alpha1", "kind": "ReleaseChannel", "metadata": {"name": "board", "generation": 1},
            "spec": {"product": "board", "rings": [ring]},
        });
        let mut cluster = Cluster::new(given::new("acme"));
        cluster.given.tenant.spec.release = given::typed(serde_json::json!({"channel": "board"}));
        cluster.given.tenant.spec.maintenance = Some(given::always_open());
        let channel = given::typed(channel);
        let mut following = Self { channel, cluster };
        following.settle();
        following
    }

    fn publish(&mut self, version: &str) {
        let mut release = given::release(version);
        release.spec.hooks.as_mut().unwrap().smoke = Some(given::typed(
            serde_json::json!({"component": "api", "args": ["smoke"]}),
        ));
        let name = release.metadata.name.clone().unwrap();
        self.cluster.given.releases.insert(name, release.into());
    }

    /// The engine has its say, of the tenant as its own plan sees it.
    fn advance(&mut self) -> bool {
        let member = self.cluster.plan().member.unwrap();
        let advanced = advance(&Fleet {
            channel: &self.channel,
            members: &[&member],
            releases: &self.cluster.given.releases,
            approvals: &[],
            now: self.cluster.given.now,
        });
        let changed = self.channel.status.as_ref() != Some(&advanced.status);
        self.channel.status = Some(advanced.status);
        self.cluster.given.channel = Some(self.channel.clone());
        changed
    }

    /// Until neither changes anything any more.
    fn settle(&mut self) {
        for _ in 0..20 {
            let changed = self.advance();
            self.cluster.settle_upgrade();
            if !changed && !self.advance() {
                return;
            }
        }
        panic!("no rest: {:#?}", self.channel.status);
    }

    fn judged(&self) -> String {
        both(&serde_json::to_value(&self.channel).unwrap())
    }
}

#[test]
fn a_channel_whose_release_fails_is_degraded() {
    let mut following = Following::new(serde_json::json!({"name": "all"}));
    assert_eq!(
        following.judged(),
        "Healthy current: the last ring has board-1.0.0"
    );
    following.publish("1.1.0");
    following.cluster.broken_smoke = true;
    following.advance();
    assert_eq!(
        following.judged(),
        "Progressing inProgress: all: board-1.1.0 comes to its first tenants"
    );
    following.settle();
    let told = following.judged();
    assert!(
        told.starts_with(
            "Degraded failed: Halted: all: board-1.1.0 is halted: it failed for acme of the canary: Smoke: "
        ),
        "{told}"
    );
}

#[test]
fn a_channel_whose_gate_cannot_tell_is_degraded_and_one_that_awaits_a_person_holds_nothing_up() {
    let gate =
        serde_json::json!({"name": "ui", "test": {"component": "api", "args": ["ui"], "timeoutSeconds": 60}});
    let mut following = Following::new(serde_json::json!({"name": "all", "gates": [gate]}));
    following.publish("1.1.0");
    following.settle();
    assert_eq!(
        following.judged(),
        "Progressing inProgress: all: waits for the gate ui: its test runs beside acme"
    );
    following.cluster.gate = Some("DeadlineExceeded");
    following.settle();
    let told = following.judged();
    assert!(
        told.starts_with("Degraded failed: Inconclusive: all: the gate ui can't tell: "),
        "{told}"
    );

    let gate = serde_json::json!({"name": "word", "manual": {"groups": ["release"]}});
    let following = Following::new(serde_json::json!({"name": "all", "gates": [gate]}));
    let told = following.judged();
    assert!(
        told.starts_with("Healthy current: all: waits for the gate word: "),
        "{told}"
    );
    let conditions = &following.channel.status.as_ref().unwrap().conditions;
    assert_eq!(conditions[0].reason, "AwaitsApproval");
}

#[test]
fn a_channel_that_is_frozen_is_suspended_and_no_failure() {
    let mut following = Following::new(serde_json::json!({"name": "all"}));
    let now = following.cluster.given.now;
    following.channel.spec.freezes = given::typed(serde_json::json!([
        {"from": now.to_string(), "until": (now + SignedDuration::from_hours(48)).to_string(), "reason": "the year's end"},
    ]));
    following.publish("1.1.0");
    following.settle();
    let told = following.judged();
    assert!(
        told.starts_with("Suspended current: all: frozen until "),
        "{told}"
    );
    assert!(told.ends_with(": the year's end"), "{told}");
}

#[test]
fn a_channel_is_judged_by_what_its_engine_says() {
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
