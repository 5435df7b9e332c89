//! Classes, good and bad: a mistake here is in all tenants of the class.

use serde_json::{Value, json};

use super::table::{Case, Table, absent, lengths, letters, numbers, one, refuses, takes, within};
use super::tenants;

pub fn base() -> Value {
    json!({"apiVersion": "freehold.dev/v1alpha1", "kind": "TenantClass", "metadata": {"name": "story-admission"}, "spec": {
        "database": {"image": image("postgresql:17"), "storageSize": "1Gi"},
        "gateway": {"className": "traefik", "namespace": "traefik", "podLabels": {"app.kubernetes.io/name": "traefik"}}}})
}

pub fn image(name: &str) -> String {
    format!("registry.example/{name}@sha256:{}", "0".repeat(64))
}

pub fn table() -> Table {
    let cases = [
        vec![takes("the good one", [])],
        database(),
        gateway(),
        placement(),
        issuer(),
        authorities(),
        spans(
            "/spec/certificates/lifetime",
            ["10m", "600s", "2160h"],
            ["599s", "9m", "2161h", "9999999h"],
            "lifetime must be between 10m and 2160h",
        ),
        spans(
            "/spec/certificates/authorityLifetime",
            ["672h", "40320m", "87600h"],
            ["59m", "3599s", "87601h", "9999999h"],
            "authorityLifetime must be between 1h and 87600h",
        ),
        spans(
            "/spec/certificates/overlap",
            ["1m", "60s", "2160h"],
            ["59s", "2161h", "129601m", "9999999h"],
            "overlap must be between 1m and 2160h",
        ),
        spans(
            "/spec/upgrades/bake",
            ["1s", "1m", "24h"],
            ["25h", "1441m", "9999999h"],
            "upgrades.bake must be between 1s and 24h",
        ),
        spans(
            "/spec/upgrades/rollTimeout",
            ["1m", "60s", "24h"],
            ["59s", "25h", "9999999h"],
            "upgrades.rollTimeout must be between 1m and 24h",
        ),
        spans(
            "/spec/deletion/delay",
            ["1s", "10m", "720h"],
            ["721h", "43201m", "9999999h"],
            "deletion.delay must be between 1s and 720h",
        ),
        spans(
            "/spec/deletion/terminationGrace",
            ["1s", "336h", "720h"],
            ["721h", "43201m", "9999999h"],
            "deletion.terminationGrace must be between 1s and 720h",
        ),
        tenants::windows::windows_at("/spec/maintenance/windows"),
        vec![refuses(
            "no window",
            one("/spec/maintenance/windows", json!([])),
            "windows…at least 1 items",
        )],
        lists(),
    ];
    Table {
        kind: "TenantClass",
        path: "/apis/freehold.dev/v1alpha1/tenantclasses".to_owned(),
        base: base(),
        cases: cases.into_iter().flatten().collect(),
    }
}

fn database() -> Vec<Case> {
    let mut cases = numbers("/spec/database/maxInstances", 1, 3);
    cases.extend(within("/spec/database/instances", 1, 3, |n| {
        vec![
            ("/spec/database/instances", json!(n)),
            ("/spec/database/maxInstances", json!(3)),
        ]
    }));
    cases.extend(numbers("/spec/quota/pods", 1, 1000));
    cases.extend(numbers("/spec/maxQuota/pods", 1, 1000));
    cases.extend([
        refuses(
            "more instances than a tenant may have",
            [
                ("/spec/database/instances", json!(3)),
                ("/spec/database/maxInstances", json!(2)),
            ],
            "instances is more than maxInstances",
        ),
        takes(
            "as much storage as a tenant may have",
            one("/spec/database/maxStorageSize", "1024Mi"),
        ),
        refuses(
            "more storage than a tenant may have",
            one("/spec/database/maxStorageSize", "1023Mi"),
            "storageSize is more than maxStorageSize",
        ),
        refuses(
            "storage without a unit",
            one("/spec/database/storageSize", "10"),
            "was the unit left out",
        ),
        refuses(
            "no storage",
            one("/spec/database/storageSize", absent()),
            "storageSize…Required value",
        ),
        takes(
            "a storage class",
            one("/spec/database/storageClassName", "encrypted"),
        ),
        refuses(
            "a storage class without a name",
            one("/spec/database/storageClassName", ""),
            "storageClassName",
        ),
        refuses(
            "an unknown setting of PostgreSQL",
            one(
                "/spec/database/postgresql",
                json!({"shared_preload_libraries": ["x"]}),
            ),
            "unknown field \"spec.database.postgresql\"",
        ),
        refuses(
            "a negative request",
            one("/spec/database/resources", json!({"cpuRequest": "-1"})),
            "cpuRequest…should match",
        ),
    ]);
    let digest = "0".repeat(64);
    for wrong in [
        "registry.example/postgresql:17".to_owned(),
        format!("registry.example/postgresql@sha256:{digest}"),
        format!("registry.example/postgresql:latest@sha256:{digest}"),
        format!("registry.example/postgresql:17@sha256:{}", &digest[1..]),
        format!("registry.example/postgresql:17@sha256:{digest}\n"),
        format!("Registry.example/postgresql:17@sha256:{digest}"),
        format!("registry.example/post gresql:17@sha256:{digest}"),
        String::new(),
    ] {
        let name = format!("the image {wrong:?}");
        cases.push(refuses(
            name,
            one("/spec/database/image", wrong),
            "spec.database.image…should match",
        ));
    }
    cases
}

fn issuer() -> Vec<Case> {
    const ISSUER: &str = "/spec/certificates/issuer";
    let mut cases = lengths("/spec/certificates/issuer/name", 253, letters);
    cases.extend([
        takes(
            "an issuer by its name alone",
            one(ISSUER, json!({"name": "public"})),
        ),
        takes(
            "an issuer of a plugin",
            one(
                ISSUER,
                json!({"name": "public", "kind": "AWSPCAClusterIssuer", "group": "awspca.cert-manager.io"}),
            ),
        ),
        refuses(
            "an issuer of one namespace",
            one(ISSUER, json!({"name": "public", "kind": "Issuer"})),
            "kind must be ClusterIssuer",
        ),
        refuses(
            "an issuer without a name",
            one(ISSUER, json!({"kind": "ClusterIssuer"})),
            "name…Required value",
        ),
        refuses(
            "an issuer whose name is none",
            one(ISSUER, json!({"name": "Public issuer"})),
            "name…should match",
        ),
    ]);
    cases
}

fn gateway() -> Vec<Case> {
    let mut cases = numbers("/spec/gateway/port", 1, 65535);
    cases.extend(lengths("/spec/gateway/namespace", 63, letters));
    let labels = |count: usize| -> Value {
        Value::Object((0..count).map(|n| (format!("l{n}"), json!("x"))).collect())
    };
    cases.extend([
        takes(
            "8 labels of the gateway's pods",
            one("/spec/gateway/podLabels", labels(8)),
        ),
        refuses(
            "9 labels of the gateway's pods",
            one("/spec/gateway/podLabels", labels(9)),
            "podLabels…must have at most 8 items",
        ),
        refuses(
            "a gateway whose pods are all pods",
            one("/spec/gateway/podLabels", labels(0)),
            "podLabels…should have at least 1 properties",
        ),
        refuses(
            "a label of 64 characters",
            one("/spec/gateway/podLabels", json!({"a": letters(64)})),
            "podLabels.a…Too long",
        ),
        refuses(
            "a label that is a number",
            one("/spec/gateway/podLabels", json!({"a": 1})),
            "podLabels.a…must be of type string",
        ),
        refuses(
            "a gateway in no namespace",
            one("/spec/gateway/namespace", ""),
            "gateway.namespace",
        ),
        refuses(
            "a gateway in a namespace with a dot",
            one("/spec/gateway/namespace", "a.b"),
            "gateway.namespace…should match",
        ),
        refuses(
            "no gateway",
            one("/spec/gateway", absent()),
            "spec.gateway…Required value",
        ),
    ]);
    cases
}

fn placement() -> Vec<Case> {
    let toleration = |value: Value| one("/spec/placement/tolerations", json!([value]));
    let many = |count: usize| {
        one(
            "/spec/placement/tolerations",
            json!(vec![json!({"key": "a"}); count]),
        )
    };
    vec![
        takes(
            "a toleration with a value",
            toleration(json!({"key": "tenants", "value": "only", "effect": "NoSchedule"})),
        ),
        takes(
            "a toleration without one",
            toleration(json!({"key": "tenants", "operator": "Exists"})),
        ),
        refuses(
            "a toleration that exists and has a value",
            toleration(json!({"key": "tenants", "operator": "Exists", "value": "x"})),
            "a toleration with operator Exists has no value",
        ),
        refuses(
            "a toleration of everything",
            toleration(json!({"operator": "Exists"})),
            "key…Required value",
        ),
        refuses(
            "a toleration of the empty key",
            toleration(json!({"key": "", "operator": "Exists"})),
            "key",
        ),
        refuses(
            "an unknown operator",
            toleration(json!({"key": "a", "operator": "Lt"})),
            "operator…Unsupported value",
        ),
        refuses(
            "an unknown effect",
            toleration(json!({"key": "a", "effect": "Never"})),
            "effect…Unsupported value",
        ),
        takes("8 tolerations", many(8)),
        refuses("9 tolerations", many(9), "tolerations…must have at most 8 items"),
        takes(
            "a node selector",
            one(
                "/spec/placement/nodeSelector",
                json!({"freehold.dev/nodes": "tenants"}),
            ),
        ),
        takes(
            "a priority class",
            one("/spec/placement/priorityClassName", "tenants.high"),
        ),
        refuses(
            "a priority class with a capital",
            one("/spec/placement/priorityClassName", "High"),
            "priorityClassName…should match",
        ),
    ]
}

fn authorities() -> Vec<Case> {
    let of = |life: &str, overlap: &str| json!({"authorityLifetime": life, "overlap": overlap});
    let pair = |life, overlap| one("/spec/certificates", of(life, overlap));
    let message = "overlap must be at most a quarter of authorityLifetime";
    vec![
        takes("the shortest authority and overlap", pair("1h", "1m")),
        takes("a quarter of an authority's life as overlap", pair("60m", "15m")),
        refuses("a little more than a quarter", pair("1h", "901s"), message),
        refuses(
            "an overlap that is longer than the life",
            pair("240h", "2160h"),
            message,
        ),
        refuses(
            "a short life with the default overlap",
            one("/spec/certificates", json!({"authorityLifetime": "671h"})),
            message,
        ),
    ]
}

fn spans<const G: usize, const B: usize>(
    path: &'static str,
    good: [&str; G],
    beyond: [&str; B],
    message: &str,
) -> Vec<Case> {
    let field = path.rsplit('/').next().unwrap_or_default();
    let good = good.map(|text| takes(format!("{field} of {text}"), one(path, text)));
    let beyond = beyond.map(|text| refuses(format!("{field} of {text}"), one(path, text), message));
    let wrong = ["0s", "-1h", "7d", "1h30m", "", "1.5h", "168", "12345678s"];
    let wrong = wrong.map(|text| refuses(format!("{field} of {text:?}"), one(path, text), field));
    good.into_iter().chain(beyond).chain(wrong).collect()
}

fn lists() -> Vec<Case> {
    let regions = |count: usize| -> Value { (0..count).map(|n| json!(format!("r{n}"))).collect() };
    let mut cases = vec![
        takes("32 regions", one("/spec/regions", regions(32))),
        refuses(
            "33 regions",
            one("/spec/regions", regions(33)),
            "spec.regions…must have at most 32 items",
        ),
        refuses(
            "a region twice",
            one("/spec/regions", json!(["eu", "eu"])),
            "Duplicate value",
        ),
        refuses(
            "a region in capitals",
            one("/spec/regions", json!(["EU"])),
            "spec.regions[0]…should match",
        ),
        takes(
            "two editions",
            one("/spec/editions", json!(["Standard", "Enterprise"])),
        ),
        refuses(
            "an unknown edition",
            one("/spec/editions", json!(["Gold"])),
            "spec.editions[0]…Unsupported value",
        ),
        refuses(
            "an edition twice",
            one("/spec/editions", json!(["Premium", "Premium"])),
            "Duplicate value",
        ),
        takes(
            "egress to everywhere",
            one("/spec/egress/allowed", json!(["0.0.0.0/0", "::/0"])),
        ),
        refuses(
            "limits in part",
            one("/spec/limits", json!({"cpuRequest": "1"})),
            "spec.limits.memoryLimit…Required value",
        ),
        refuses(
            "a status",
            one("/status", json!({"phase": "Ready"})),
            "unknown field \"status\"",
        ),
    ];
    for wrong in ["10.0.0.1/8", "everything", "::ffff:0.0.0.0/96", "10.0.0.0"] {
        let name = format!("egress to {wrong}");
        cases.push(refuses(
            name,
            one("/spec/egress/allowed", json!(["10.0.0.0/8", wrong])),
            "each of egress.allowed is an address range",
        ));
    }
    cases
}
