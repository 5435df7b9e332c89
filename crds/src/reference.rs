//! The reference of the API as a page for people, from the same schemas that the API server enforces.
//!
//! In: a definition. Out: Markdown: a table for each object, with type, default, bounds and rules of each field.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

/// The page about some kinds.
pub fn page(definitions: &[CustomResourceDefinition]) -> String {
    let mut text =
        "<!-- Generated from the types in crds/src by `cargo run -p freehold-crds -- --write`. -->\n\n\
        # API reference: freehold.dev/v1alpha1\n\n\
        Every bound below is enforced by the API server; `kubectl explain KIND.spec` prints the same.\n"
            .to_owned();
    for definition in definitions {
        kind(&mut text, definition);
    }
    text
}

fn kind(text: &mut String, definition: &CustomResourceDefinition) {
    let names = &definition.spec.names;
    let value = serde_json::to_value(definition).unwrap_or_default();
    let schema = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let short = names
        .short_names
        .iter()
        .flatten()
        .map(|name| format!(", short `{name}`"));
    let short: String = short.collect();
    let scope = &definition.spec.scope;
    // Writing into a String can't fail.
    let _ = write!(
        text,
        "\n## {}\n\n{}\n\n`{}`{short}, {scope}.\n",
        names.kind,
        description(schema),
        names.plural
    );
    rules(text, schema);
    for part in ["spec", "status"] {
        let inner = &schema["properties"][part];
        if inner.is_object() {
            object(text, &format!("{}.{part}", names.kind), inner);
        }
    }
}

fn object(text: &mut String, path: &str, schema: &Value) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let _ = write!(text, "\n### {path}\n\n");
    rules(text, schema);
    text.push_str("| field | type | what it is |\n| --- | --- | --- |\n");
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, field) in properties {
        let mark = if required.contains(&name.as_str()) {
            " (required)"
        } else {
            ""
        };
        let _ = writeln!(text, "| `{name}`{mark} | {} | {} |", shape(field), told(field));
    }
    for (name, field) in properties {
        let path = format!("{path}.{name}");
        object(text, &path, field);
        object(text, &format!("{path}[]"), &field["items"]);
    }
}

/// Rules over several fields.
fn rules(text: &mut String, schema: &Value) {
    let rules: Vec<&str> = messages(schema).collect();
    for rule in &rules {
        let _ = writeln!(text, "- {}", cell(rule));
    }
    if !rules.is_empty() {
        text.push('\n');
    }
}

fn messages(schema: &Value) -> impl Iterator<Item = &str> {
    let rules = schema["x-kubernetes-validations"].as_array();
    rules
        .into_iter()
        .flatten()
        .filter_map(|rule| rule["message"].as_str())
}

fn description(schema: &Value) -> String {
    schema["description"]
        .as_str()
        .unwrap_or_default()
        .replace('\n', " ")
}

fn shape(field: &Value) -> String {
    let one = |field: &Value| field["type"].as_str().unwrap_or("any").to_owned();
    match field["type"].as_str() {
        Some("array") => format!("list of {}", one(&field["items"])),
        Some("object") if field["additionalProperties"].is_object() => "map".to_owned(),
        _ => one(field),
    }
}

/// Description, then bounds and default, then the rules.
fn told(field: &Value) -> String {
    let mut parts = vec![description(field)];
    let bound = |low: &str, high: &str, unit: &str, of: &Value| match (&of[low], &of[high]) {
        (Value::Null, Value::Null) => None,
        (low, Value::Null) => Some(format!("At least {low}{unit}.")),
        (Value::Null, high) => Some(format!("At most {high}{unit}.")),
        (low, high) if low == high => Some(format!("Exactly {low}{unit}.")),
        (low, high) => Some(format!("{low} to {high}{unit}.")),
    };
    let whole = |mut of: Value| {
        for key in ["minimum", "maximum"] {
            if let Some(number) = of[key].as_f64() {
                #[allow(
                    clippy::cast_possible_truncation,
                    reason = "bounds of this API are whole numbers"
                )]
                let number = number as i64;
                of[key] = number.into();
            }
        }
        of
    };
    parts.extend(bound("minimum", "maximum", "", &whole(field.clone())));
    parts.extend(bound("minLength", "maxLength", " characters", field));
    parts.extend(bound("minItems", "maxItems", " items", field));
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<String> = values
            .iter()
            .filter_map(Value::as_str)
            .map(|value| format!("`{value}`"))
            .collect();
        parts.push(format!("One of {}.", values.join(", ")));
    }
    if let Some(pattern) = field["pattern"].as_str() {
        parts.push(format!("Pattern `{pattern}`."));
    }
    if !field["default"].is_null() && field["type"] != "object" {
        parts.push(format!("Default `{}`.", field["default"]));
    }
    parts.extend(messages(field).map(|message| format!("*{message}.*")));
    parts.retain(|part| !part.is_empty());
    cell(&parts.join(" "))
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ").replace('<', "&lt;")
}
