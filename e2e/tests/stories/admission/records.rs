//! What the operator itself records: its operations, and who holds a hostname. It makes them; the table holds it to its own
//! rules.

use freehold_e2e::install;
use serde_json::{Value, json};

use super::table::{Table, absent, lengths, letters, refuses, takes};

pub fn path(plural: &str) -> String {
    format!(
        "/apis/freehold.dev/v1alpha1/namespaces/{}/{plural}",
        install::NAMESPACE
    )
}

pub fn operation() -> Value {
    json!({"apiVersion": "freehold.dev/v1alpha1", "kind": "TenantOperation",
        "metadata": {"name": "story-admission", "namespace": install::NAMESPACE}, "spec": {
        "tenant": "story", "incarnation": "0f8fad5b-d9cb-469f-a165-70867728950e", "tenantUid": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
        "type": "Deletion", "deletion": {"policy": "Retain"}}})
}

pub fn claim() -> Value {
    json!({"apiVersion": "freehold.dev/v1alpha1", "kind": "HostnameClaim",
        "metadata": {"name": "story-admission", "namespace": install::NAMESPACE}, "spec": {
        "hostname": "story.example.com", "tenant": "story", "incarnation": "0f8fad5b-d9cb-469f-a165-70867728950e", "state": "Held"}})
}

pub fn operations() -> Table {
    let mut cases = vec![
        takes("the good one", []),
        takes(
            "one that deletes the data",
            [("/spec/deletion/policy", json!("Delete"))],
        ),
        refuses(
            "a deletion that doesn't say what becomes of the data",
            [("/spec/deletion", absent())],
            "needs spec.deletion",
        ),
        refuses(
            "an unknown policy",
            [("/spec/deletion/policy", json!("Shred"))],
            "policy…Unsupported value",
        ),
        refuses(
            "an unknown type",
            [("/spec/type", json!("Reboot"))],
            "spec.type…Unsupported value",
        ),
        refuses("no tenant", [("/spec/tenant", json!(""))], "spec.tenant"),
        refuses(
            "no uid",
            [("/spec/tenantUid", absent())],
            "spec.tenantUid…Required value",
        ),
        refuses(
            "an unknown field",
            [("/spec/force", json!(true))],
            "unknown field \"spec.force\"",
        ),
    ];
    cases.extend(lengths("/spec/tenant", 63, letters));
    cases.extend(lengths("/spec/incarnation", 63, letters));
    Table {
        kind: "TenantOperation",
        path: path("tenantoperations"),
        base: operation(),
        cases,
    }
}

pub fn claims() -> Table {
    let given_up = |at: Value| vec![("/spec/state", json!("GivenUp")), ("/spec/givenUpAt", at)];
    let mut cases = vec![
        takes("the good one", []),
        takes("one that was given up", given_up(json!("2026-01-04T03:00:00Z"))),
        takes(
            "one that was given up in the year 9999",
            given_up(json!("9999-12-31T23:59:59Z")),
        ),
        refuses(
            "one that was given up in the year 10000",
            given_up(json!("10000-01-01T00:00:00Z")),
            "spec.givenUpAt",
        ),
        refuses(
            "one that was given up soon",
            given_up(json!("soon")),
            "spec.givenUpAt",
        ),
        refuses(
            "one that was given up at no time",
            [("/spec/state", json!("GivenUp"))],
            "givenUpAt belongs to the state GivenUp",
        ),
        refuses(
            "one that is held and was given up",
            [("/spec/givenUpAt", json!("2026-01-04T03:00:00Z"))],
            "givenUpAt belongs to the state GivenUp",
        ),
        refuses(
            "an unknown state",
            [("/spec/state", json!("Stolen"))],
            "spec.state…Unsupported value",
        ),
        refuses(
            "no hostname",
            [("/spec/hostname", absent())],
            "spec.hostname…Required value",
        ),
    ];
    cases.extend(lengths("/spec/hostname", 253, letters));
    Table {
        kind: "HostnameClaim",
        path: path("hostnameclaims"),
        base: claim(),
        cases,
    }
}
