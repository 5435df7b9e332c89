//! The generated files stand in the repository as the types say, and the schema keeps its promises.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is a test"
)]

use std::path::{Path, PathBuf};

use freehold_crds::{
    DestructionRecord, HostnameClaim, INSTANT, Release, ReleaseApproval, ReleaseChannel, Tenant, TenantClass,
    TenantOperation, generated_files, yaml,
};
use kube::CustomResourceExt;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn generated_files_are_fresh() {
    for file in generated_files().unwrap() {
        let there = std::fs::read_to_string(root().join(&file.path)).unwrap_or_default();
        assert!(
            there == file.text,
            "{} is stale: run `cargo run -p freehold-crds -- --write`",
            file.path
        );
    }
}

fn walk(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        walk(field, &format!("{path}.{name}"), visit);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            walk(&schema[inner], &format!("{path}[]"), visit);
        }
    }
}

fn schemas() -> Vec<(String, Value)> {
    [
        Tenant::crd(),
        TenantClass::crd(),
        Release::crd(),
        TenantOperation::crd(),
        HostnameClaim::crd(),
        ReleaseChannel::crd(),
        ReleaseApproval::crd(),
        DestructionRecord::crd(),
    ]
    .into_iter()
    .map(|definition| {
        let kind = definition.spec.names.kind.clone();
        let definition = serde_json::to_value(definition).unwrap();
        (
            kind,
            definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone(),
        )
    })
    .collect()
}

#[test]
fn every_field_is_described() {
    for (kind, schema) in schemas() {
        walk(
            &schema["properties"]["spec"],
            &format!("{kind}.spec"),
            &mut |path, field| {
                assert!(
                    path.ends_with("[]") || field["description"].is_string(),
                    "{path} has no description"
                );
            },
        );
        assert!(
            !schema["description"].as_str().unwrap().contains("Auto-generated"),
            "{kind}"
        );
    }
}

#[test]
fn everything_in_a_spec_is_bounded() {
    for (kind, schema) in schemas() {
        walk(
            &schema["properties"]["spec"],
            &format!("{kind}.spec"),
            &mut |path, field| {
                let bounded = match field["type"].as_str() {
                    // An instant is bounded by its format.
                    Some("string") => {
                        field["maxLength"].is_number()
                            || field["enum"].is_array()
                            || field["format"] == "date-time"
                    }
                    Some("array") => field["maxItems"].is_number(),
                    Some("integer") => field["minimum"].is_number() && field["maximum"].is_number(),
                    Some("object") if field["additionalProperties"].is_object() => {
                        field["maxProperties"].is_number()
                    }
                    _ => true,
                };
                assert!(bounded, "{path} has no bound: {field}");
            },
        );
    }
}

/// A tenant names its class and its release, which are the platform's; nothing that lies in a namespace.
#[test]
fn no_field_names_an_object_of_another_namespace() {
    let (_, tenant) = schemas().swap_remove(0);
    walk(&tenant["properties"]["spec"], "Tenant.spec", &mut |path, _| {
        let field = path.rsplit('.').next().unwrap_or_default().to_lowercase();
        for word in [
            "namespace",
            "secret",
            "configmap",
            "serviceaccount",
            "template",
            "manifest",
        ] {
            assert!(!field.contains(word), "{path}");
        }
    });
}

/// What is stored and can't be read stops the watch of its whole kind: by a value of no use to anybody, or by a null that is kept
/// where a default was meant.
#[test]
fn what_is_stored_can_be_read() {
    // The operator's own kinds hold what it has written itself.
    let own = ["TenantOperation", "HostnameClaim", "DestructionRecord"];
    for (kind, schema) in schemas() {
        if own.contains(&kind.as_str()) {
            continue;
        }
        walk(
            &schema["properties"]["spec"],
            &format!("{kind}.spec"),
            &mut |path, field| {
                assert!(
                    field["format"] != "date-time" || field["pattern"] == INSTANT,
                    "{path} takes instants that can't be read"
                );
                assert!(
                    field["default"].is_null() || field["nullable"] != true,
                    "{path} keeps a null in the place of its default"
                );
            },
        );
    }
}

/// As for a Release: a channel's product, and every word of an approval.
#[test]
fn what_a_channel_is_for_and_what_somebody_has_said_stays_as_it_is() {
    let spec = |kind: &str| {
        let found = schemas().into_iter().find(|(name, _)| name == kind).unwrap();
        found.1["properties"]["spec"].clone()
    };
    let rule = |spec: &Value| spec["x-kubernetes-validations"][0]["rule"].clone();
    assert_eq!(rule(&spec("ReleaseChannel")), "self.product == oldSelf.product");
    assert_eq!(rule(&spec("ReleaseApproval")), "self == oldSelf");
}

/// By their keys Git's tools and people apply one ring without the others, and no name stands for two.
#[test]
fn rings_and_gates_are_known_by_their_names() {
    let (_, channel) = schemas()
        .into_iter()
        .find(|(kind, _)| kind == "ReleaseChannel")
        .unwrap();
    let rings = &channel["properties"]["spec"]["properties"]["rings"];
    let gates = &rings["items"]["properties"]["gates"];
    for list in [rings, gates] {
        assert_eq!(list["x-kubernetes-list-type"], "map");
        assert_eq!(list["x-kubernetes-list-map-keys"], serde_json::json!(["name"]));
    }
    let share = &rings["items"]["properties"]["maxConcurrent"];
    assert_eq!(share["x-kubernetes-int-or-string"], true);
    assert!(share["type"].is_null(), "an int-or-string has no type beside it");
}

#[test]
fn every_rule_has_a_message() {
    for (kind, schema) in schemas() {
        walk(&schema, &kind, &mut |path, field| {
            for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten() {
                assert!(rule["message"].is_string(), "{path}: {rule}");
            }
        });
    }
}

#[test]
fn an_address_is_no_hostname() {
    let (_, tenant) = schemas().swap_remove(0);
    let hostnames = &tenant["properties"]["spec"]["properties"]["hostnames"];
    let rule = &hostnames["x-kubernetes-validations"][0];
    assert_eq!(rule["rule"], r"self.all(name, name.matches('\\.[a-z][^.]*$'))");
    assert!(rule["message"].as_str().unwrap().contains("not an address"));
}

#[test]
fn a_component_takes_no_name_that_is_already_another_things() {
    let (_, release) = schemas().swap_remove(2);
    let components = &release["properties"]["spec"]["properties"]["components"];
    let name = &components["items"]["properties"]["name"];
    let rules = name["x-kubernetes-validations"].as_array().unwrap();
    for taken in ["'db'", "'hooks'", "'default'"] {
        let refuses = |rule: &Value| rule["rule"].as_str().unwrap().contains(taken);
        assert!(rules.iter().any(refuses), "{taken}");
    }
}

/// A field that comes later is forgotten easily, and would be the second one that can be changed.
#[test]
fn everything_of_a_release_but_its_recall_is_immutable() {
    let (_, release) = schemas().swap_remove(2);
    let spec = &release["properties"]["spec"];
    let rules = spec["x-kubernetes-validations"].as_array().unwrap();
    let texts = rules.iter().filter_map(|rule| rule["rule"].as_str());
    let rule = texts.into_iter().find(|rule| rule.contains("oldSelf")).unwrap();
    let required: Vec<&str> = spec["required"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for (name, field) in spec["properties"].as_object().unwrap() {
        let held = rule.contains(&format!("self.{name} == oldSelf.{name}"));
        assert_eq!(held, name != "recall", "{name}");
        // A field that may be missing on one side can't be read there.
        let always_there = required.contains(&name.as_str()) || !field["default"].is_null();
        let asked = rule.contains(&format!("has(self.{name}) == has(oldSelf.{name})"));
        assert_eq!(asked, held && !always_there, "{name}");
    }
}

#[test]
fn a_hook_that_is_not_run_says_so() {
    let (_, release) = schemas().swap_remove(2);
    let hooks = &release["properties"]["spec"]["properties"]["hooks"]["properties"];
    for (name, runs) in [("migrate", true), ("smoke", true), ("export", false)] {
        let text = hooks[name]["description"].as_str().unwrap();
        assert_eq!(!text.contains("Not run yet"), runs, "{name}: {text}");
    }
}

/// docs/adr/0001-serde-yaml.md
#[test]
fn one_file_alone_names_serde_yaml() {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["crds", "operator", "e2e"]
        .iter()
        .map(|folder| root().join(folder))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                if text.contains(concat!("serde_", "yaml::")) {
                    found.push(path.file_name().unwrap().to_owned());
                }
            }
        }
    }
    assert_eq!(found, ["yaml.rs"]);
}

#[test]
fn yaml_documents_are_read_one_by_one() {
    let documents = yaml::documents("a: 1\n---\n---\nb: [x]\n").unwrap();
    assert_eq!(
        documents,
        [serde_json::json!({"a": 1}), serde_json::json!({"b": ["x"]})]
    );
    assert!(yaml::documents("a: [").unwrap_err().to_string().contains("line"));
}

#[test]
fn keys_are_destroyed_only_when_that_is_spelled_out_and_only_of_a_terminated_tenant() {
    let (_, tenant) = schemas().swap_remove(0);
    let spec = &tenant["properties"]["spec"];
    let termination = &spec["properties"]["termination"];
    assert_eq!(termination["default"], Value::Null);
    assert_eq!(termination["properties"]["destroyKeys"]["default"], false);
    let required = spec["required"].as_array().unwrap();
    assert!(!required.contains(&"termination".into()));
    let rules = spec["x-kubernetes-validations"].as_array().unwrap();
    let rule = rules
        .iter()
        .find(|rule| rule["rule"].as_str().unwrap().contains("destroyKeys"))
        .unwrap();
    assert!(
        rule["message"].as_str().unwrap().contains("unreadable for ever"),
        "{rule}"
    );
}

#[test]
fn a_record_of_destruction_is_of_the_whole_cluster_and_never_changes() {
    let definition = DestructionRecord::crd();
    assert_eq!(definition.spec.scope, "Cluster");
    let (_, record) = schemas().pop().unwrap();
    let rules = &record["properties"]["spec"]["x-kubernetes-validations"];
    assert_eq!(rules[0]["rule"], "self == oldSelf");
}
