//! What a component's Deployment takes over from the Release, and what it is without that.

use freehold_crds::Release;
use freehold_plan::{Kind, Plan};
use serde_json::{Value, json};

use crate::given::{self, Given};

/// Where a Deployment is planned whose component says this beside what it has to.
fn saying(more: &[(&str, Value)]) -> Given {
    let mut given = given::new("acme");
    let mut release: Value = serde_json::to_value(given::release("1.0.0")).unwrap();
    for (field, value) in more {
        release["spec"]["components"][1][field] = value.clone();
    }
    given.ask_for(given::typed::<Release>(release));
    given
}

fn plan(given: &Given) -> Plan {
    freehold_plan::plan(&given.input())
}

/// Of the component api, as it is sent.
fn spec(given: &Given) -> Value {
    let plan = plan(given);
    let is_it = |id: &freehold_plan::Id| id.kind == Kind::Deployment && id.name == "api";
    let found = plan.objects.iter().find(|object| is_it(&object.id)).unwrap();
    found.body["spec"].clone()
}

fn container(spec: &Value) -> &Value {
    &spec["template"]["spec"]["containers"][0]
}

#[test]
fn a_component_that_says_nothing_of_it_has_no_environment_waits_for_nothing_and_surges_first() {
    let mut spec = spec(&saying(&[]));
    assert!(container(&spec).get("env").is_none(), "{spec}");
    spec.as_object_mut().unwrap().remove("template");
    let wanted = json!({
        "replicas": 1, "progressDeadlineSeconds": 120, "revisionHistoryLimit": 3,
        "selector": {"matchLabels": {"freehold.dev/component": "api"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
    });
    assert_eq!(spec, wanted);
}

/// Each question is a handshake of its own: many pods that are asked every second cost more than they serve.
#[test]
fn a_pod_is_asked_every_second_until_it_has_started_and_seldom_from_then_on() {
    let spec = spec(&saying(&[]));
    let asked = |probe: &str| {
        let probe = &container(&spec)[probe];
        let path = probe["httpGet"]["path"].as_str().unwrap();
        (
            path.to_owned(),
            probe["periodSeconds"].as_u64(),
            probe["failureThreshold"].as_u64(),
        )
    };
    assert_eq!(asked("startupProbe"), ("/healthz".into(), Some(1), Some(60)));
    assert_eq!(asked("readinessProbe"), ("/readyz".into(), Some(5), Some(2)));
    assert_eq!(asked("livenessProbe"), ("/healthz".into(), Some(10), Some(3)));
}

#[test]
fn a_default_that_is_spelled_out_changes_nothing() {
    let spelled = [
        ("env", json!([])),
        ("files", json!([])),
        ("minReadySeconds", json!(0)),
        ("strategy", json!("RollingUpdate")),
    ];
    assert_eq!(plan(&saying(&spelled)), plan(&saying(&[])));
}

#[test]
fn a_variable_reaches_the_container_as_it_is() {
    let env = json!([
        {"name": "MODE", "value": "quiet"},
        {"name": "EMPTY", "value": ""},
        {"name": "PRICE", "value": "$5, $(MODE), $$"},
    ]);
    let spec = spec(&saying(&[("env", env)]));
    // The kubelet reads `$$` as `$`, and puts nothing in the place of `$$(MODE)`.
    let wanted = json!([
        {"name": "EMPTY"},
        {"name": "MODE", "value": "quiet"},
        {"name": "PRICE", "value": "$$5, $$(MODE), $$$$"},
    ]);
    assert_eq!(container(&spec)["env"], wanted);
}

#[test]
fn variables_in_another_order_restart_nobody() {
    let (first, second) = (
        json!({"name": "A", "value": "1"}),
        json!({"name": "B", "value": "2"}),
    );
    let one = saying(&[("env", json!([first, second]))]);
    let other = saying(&[("env", json!([second, first]))]);
    assert_eq!(plan(&one), plan(&other));
    assert_ne!(spec(&one), spec(&saying(&[])));
}

/// As part of the template: what a pod of the version before finds doesn't change under it, and is back after a rollback.
#[test]
fn a_file_is_mounted_at_its_path_and_is_part_of_the_template() {
    let files = json!([
        {"path": "/srv/b.txt", "content": "second\n"},
        {"path": "/srv/.a", "content": ""},
    ]);
    let spec = spec(&saying(&[("files", files)]));
    let template = &spec["template"];
    assert_eq!(template["metadata"]["annotations"]["freehold.dev/file-0"], "");
    assert_eq!(
        template["metadata"]["annotations"]["freehold.dev/file-1"],
        "second\n"
    );
    let item = |number: &str| {
        let path = format!("metadata.annotations['freehold.dev/file-{number}']");
        json!({"path": number, "fieldRef": {"apiVersion": "v1", "fieldPath": path}})
    };
    let volume =
        json!({"name": "files", "downwardAPI": {"defaultMode": 0o444, "items": [item("0"), item("1")]}});
    assert_eq!(
        template["spec"]["volumes"].as_array().unwrap().last(),
        Some(&volume)
    );
    let mount = |number: &str, path: &str| json!({"name": "files", "subPath": number, "mountPath": path, "readOnly": true});
    let mounts = container(&spec)["volumeMounts"].as_array().unwrap();
    assert_eq!(mounts[2..], [mount("0", "/srv/.a"), mount("1", "/srv/b.txt")]);
}

#[test]
fn files_in_another_order_restart_nobody_and_another_text_does() {
    let file = |path: &str, content: &str| json!({"path": path, "content": content});
    let (a, b) = (file("/a", "1"), file("/b", "2"));
    let one = saying(&[("files", json!([a, b]))]);
    assert_eq!(plan(&one), plan(&saying(&[("files", json!([b, a]))])));
    assert_ne!(
        spec(&one),
        spec(&saying(&[("files", json!([a, file("/b", "3")]))]))
    );
}

/// The API server refuses a Deployment whose deadline is not later than what a pod has to wait.
#[test]
fn a_component_that_waits_gets_that_much_more_time_to_roll_out() {
    for seconds in [1, 600] {
        let spec = spec(&saying(&[("minReadySeconds", json!(seconds))]));
        assert_eq!(spec["minReadySeconds"], seconds);
        assert_eq!(spec["progressDeadlineSeconds"], 120 + seconds);
    }
}

/// The API server refuses a Deployment that is recreated and says how it rolls.
#[test]
fn a_component_that_is_recreated_says_nothing_of_rolling() {
    let spec = spec(&saying(&[("strategy", json!("Recreate"))]));
    assert_eq!(spec["strategy"], json!({"type": "Recreate"}));
}
