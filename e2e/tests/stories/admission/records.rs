//! What the operator itself records: its operations, who holds a hostname, and which keys were destroyed. It makes them; the table holds it to its own
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

pub const DESTRUCTIONS: &str = "/apis/freehold.dev/v1alpha1/destructionrecords";

pub fn destruction() -> Value {
    json!({"apiVersion": "freehold.dev/v1alpha1", "kind": "DestructionRecord", "metadata": {"name": "story-admission"}, "spec": {
        "tenant": "story", "incarnation": "0f8fad5b-d9cb-469f-a165-70867728950e", "tenantUid": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
        "namespace": "tenant-story", "operation": "story-key-destruction", "provider": "local",
        "tenantKey": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "versions": [{"number": 1, "createdAt": "2026-01-04T03:00:00Z"}],
        "dataKeys": [{"volume": "pvc-0f8fad5b-d9cb-469f-a165-70867728950e", "version": 1}],
        "requestedAt": "2026-01-04T03:00:00Z", "graceEndedAt": "2026-01-18T03:00:00Z",
        "elsewhere": [{"what": "backups of etcd", "keptFor": "720h", "note": "they hold the root key"}]}})
}

pub fn destructions() -> Table {
    let many = |count: usize, one: Value| -> Value { vec![one; count].into() };
    let version = json!({"number": 1, "createdAt": "2026-01-04T03:00:00Z"});
    let data_key = json!({"volume": "pvc-1", "version": 1});
    let elsewhere = json!({"what": "backups", "note": "they hold keys"});
    let mut cases = vec![
        takes("the good one", []),
        takes("one without data keys", [("/spec/dataKeys", json!([]))]),
        takes(
            "one that does not know how long backups are kept",
            [("/spec/elsewhere/0/keptFor", absent())],
        ),
        refuses(
            "one that does not say what else held keys",
            [("/spec/elsewhere", absent())],
            "spec.elsewhere…Required value",
        ),
        refuses(
            "one without versions",
            [("/spec/versions", absent())],
            "spec.versions…Required value",
        ),
        refuses(
            "a version 0",
            [("/spec/versions/0/number", json!(0))],
            "number…greater than or equal to 1",
        ),
        refuses(
            "backups that are kept for a week, in other words",
            [("/spec/elsewhere/0/keptFor", json!("7d"))],
            "keptFor",
        ),
        refuses(
            "no end of the grace",
            [("/spec/graceEndedAt", absent())],
            "graceEndedAt",
        ),
        refuses("no tenant", [("/spec/tenant", json!(""))], "spec.tenant"),
    ];
    for (path, most, one) in [
        ("/spec/versions", 64, version),
        ("/spec/dataKeys", 128, data_key),
        ("/spec/elsewhere", 8, elsewhere),
    ] {
        let said = format!("must have at most {most} items");
        cases.push(takes(
            format!("{path}: {most}"),
            [(path, many(most, one.clone()))],
        ));
        cases.push(refuses(
            format!("{path}: {}", most + 1),
            [(path, many(most + 1, one))],
            &said,
        ));
    }
    cases.extend(lengths("/spec/tenant", 63, letters));
    cases.extend(lengths("/spec/provider", 63, letters));
    cases.extend(lengths("/spec/elsewhere/0/note", 500, letters));
    Table {
        kind: "DestructionRecord",
        path: DESTRUCTIONS.to_owned(),
        base: destruction(),
        cases,
    }
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
        takes(
            "a destruction of keys",
            [
                ("/spec/type", json!("KeyDestruction")),
                ("/spec/deletion", absent()),
            ],
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
