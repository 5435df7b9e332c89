//! Releases, good and bad: a pipeline makes them, and what it makes runs.

mod pods;
mod upgrades;

use serde_json::{Value, json};

use super::table::{Case, Changes, Table, absent, letters, one, refuses, takes, within};

pub fn base() -> Value {
    json!({"apiVersion": "freehold.dev/v1alpha1", "kind": "Release", "metadata": {"name": "story-admission"}, "spec": {
        "product": "board", "version": "1.0.0", "components": [web(), worker()],
        "hooks": {"migrate": {"component": "web", "args": ["migrate"]}}}})
}

fn image() -> String {
    format!("registry.example/board:1.0.0@sha256:{}", "0".repeat(64))
}

fn web() -> Value {
    json!({"name": "web", "tier": "Web", "image": image(), "port": 8080})
}

fn worker() -> Value {
    json!({"name": "worker", "tier": "Worker", "image": image()})
}

pub fn source(tag: &str) -> Value {
    json!({"commit": "a".repeat(40), "tag": tag})
}

pub fn variable(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

pub fn table() -> Table {
    let cases = [
        vec![takes("the good one", [])],
        versions(),
        components(),
        images(),
        hooks(),
        pods::cases(),
        upgrades::cases(),
    ];
    Table {
        kind: "Release",
        path: "/apis/freehold.dev/v1alpha1/releases".to_owned(),
        base: base(),
        cases: cases.into_iter().flatten().collect(),
    }
}

fn versions() -> Vec<Case> {
    let version = |text: &str| one("/spec/version", text);
    let mut cases = Vec::new();
    for good in [
        "0.0.1",
        "1.10.0",
        "1.5.0-rc.1",
        "1.5.0-0",
        "1.5.0-rc-01",
        "1.0.0-x.7.z.92",
        "999999.0.0",
    ] {
        cases.push(takes(format!("version {good}"), version(good)));
    }
    for wrong in [
        "1.0",
        "v1.0.0",
        "01.0.0",
        "1.0.0.0",
        "1.0.0-",
        "1.0.0+build",
        "1.0.0-rc..1",
        "latest",
        "1.0.0\n",
        "1.0.0-é",
        "１.0.0",
        "1.0.0-a-",
        "-1.0.0",
    ] {
        cases.push(refuses(
            format!("version {wrong:?}"),
            version(wrong),
            "spec.version",
        ));
    }
    for wrong in ["1.5.0-01", "1.5.0-rc.01", "1.5.0-rc.00.x"] {
        cases.push(refuses(
            format!("version {wrong}"),
            version(wrong),
            "a numeric part of a pre-release has no leading zero",
        ));
    }
    cases.push(refuses(
        "a version of 64 characters",
        version(&format!("1.0.0-{}", letters(58))),
        "spec.version…Too long",
    ));
    cases.push(refuses(
        "a version that is a number",
        one("/spec/version", json!(1.1)),
        "spec.version…must be of type string",
    ));
    cases.push(refuses(
        "a product with a capital",
        one("/spec/product", "Board"),
        "spec.product…should match",
    ));
    cases
}

fn components() -> Vec<Case> {
    let named = |name: &str| {
        let mut other = worker();
        other["name"] = json!(name);
        one("/spec/components", json!([web(), other]))
    };
    let many = |count: usize| -> Changes {
        let workers = (1..count).map(|n| {
            let mut other = worker();
            other["name"] = json!(format!("w{n}"));
            other
        });
        one(
            "/spec/components",
            [web()].into_iter().chain(workers).collect::<Value>(),
        )
    };
    let mut cases = vec![
        takes("8 components", many(8)),
        refuses("9 components", many(9), "components…must have at most 8 items"),
        refuses(
            "no component",
            one("/spec/components", json!([])),
            "components…at least 1 items",
        ),
        refuses(
            "two of one name",
            one("/spec/components", json!([web(), worker(), worker()])),
            "Duplicate value",
        ),
        refuses(
            "no web tier",
            [("/spec/components", json!([worker()])), ("/spec/hooks", absent())],
            "exactly one component must be of tier Web",
        ),
        refuses(
            "two web tiers",
            one(
                "/spec/components/1",
                json!({"name": "web2", "tier": "Web", "image": image(), "port": 8080}),
            ),
            "exactly one component must be of tier Web",
        ),
        refuses(
            "a web tier without a port",
            one("/spec/components/0/port", absent()),
            "needs a port",
        ),
        refuses(
            "an application tier without a port",
            one("/spec/components/1/tier", "Application"),
            "needs a port",
        ),
        refuses(
            "an unknown tier",
            one("/spec/components/0/tier", "Database"),
            "tier…Unsupported value",
        ),
        refuses(
            "a path that isn't absolute",
            one("/spec/components/0/readinessPath", "readyz"),
            "readinessPath…should match",
        ),
        refuses(
            "a path with a query",
            one("/spec/components/0/livenessPath", "/healthz?x=1"),
            "livenessPath…should match",
        ),
        refuses(
            "17 arguments",
            one("/spec/components/0/args", json!(vec!["x"; 17])),
            "args…must have at most 16 items",
        ),
        refuses(
            "an argument of 257 characters",
            one("/spec/components/0/args", json!([letters(257)])),
            "args[0]…Too long",
        ),
        refuses(
            "a root's container",
            one("/spec/components/0/securityContext", json!({"runAsUser": 0})),
            "unknown field \"spec.components[0].securityContext\"",
        ),
        refuses(
            "a volume of the host",
            one("/spec/components/0/volumes", json!([{"hostPath": {"path": "/"}}])),
            "unknown field \"spec.components[0].volumes\"",
        ),
        takes("a name of 30 characters", named(&letters(30))),
        refuses("a name of 31 characters", named(&letters(31)), "name…Too long"),
        takes("a name that begins like the database's", named("dbx")),
    ];
    for taken in ["db", "db-rw", "db-1"] {
        cases.push(refuses(
            format!("the component {taken}"),
            named(taken),
            "belong to the database",
        ));
    }
    for taken in ["hooks", "default"] {
        cases.push(refuses(
            format!("the component {taken}"),
            named(taken),
            "names 'hooks' and 'default'",
        ));
    }
    for wrong in ["Web", "7up", "a_b", "a.b", "a-", "", "on\n", "ä"] {
        cases.push(refuses(format!("the component {wrong:?}"), named(wrong), "name"));
    }
    cases.extend(within("/spec/components/port", 1024, 65535, |n| {
        one("/spec/components/0/port", n)
    }));
    cases.extend(within("/spec/components/replicas", 1, 20, |n| {
        one("/spec/components/0/replicas", n)
    }));
    cases
}

fn images() -> Vec<Case> {
    let digest = "0".repeat(64);
    let mut cases = vec![
        takes(
            "an image by digest alone",
            one(
                "/spec/components/0/image",
                format!("registry.example/board@sha256:{digest}"),
            ),
        ),
        takes(
            "an image at a port",
            one(
                "/spec/components/0/image",
                format!("registry.example:5000/a/b__c@sha256:{digest}"),
            ),
        ),
    ];
    for wrong in [
        "registry.example/board:1.0.0".to_owned(),
        "board:latest".into(),
        format!("board@sha256:{}", &digest[1..]),
        format!("board@sha256:{digest}0"),
        format!("board@sha512:{digest}"),
        format!("board@sha256:{}", "G".repeat(64)),
        format!("@sha256:{digest}"),
        format!("bo ard@sha256:{digest}"),
        format!("board@sha256:{digest}\n"),
        String::new(),
    ] {
        let name = format!("the image {wrong:?}");
        cases.push(refuses(
            name,
            one("/spec/components/0/image", wrong),
            "image…should match",
        ));
    }
    cases
}

fn hooks() -> Vec<Case> {
    let hook = |hook: Value| one("/spec/hooks/migrate", hook);
    let mut cases = vec![
        takes("no hooks", one("/spec/hooks", absent())),
        takes(
            "a hook with an image of its own",
            hook(json!({"image": image(), "args": ["migrate"]})),
        ),
        refuses(
            "a hook of a component that isn't there",
            hook(json!({"component": "api", "args": ["migrate"]})),
            "a hook's component must be one of spec.components",
        ),
        refuses(
            "a hook with both",
            hook(json!({"component": "web", "image": image(), "args": ["x"]})),
            "a hook names either a component",
        ),
        refuses(
            "a hook with neither",
            hook(json!({"args": ["x"]})),
            "a hook names either a component",
        ),
        refuses(
            "a hook without arguments",
            hook(json!({"component": "web", "args": []})),
            "args…at least 1 items",
        ),
        refuses(
            "a hook of an image by tag",
            hook(json!({"image": "board:1", "args": ["x"]})),
            "image…should match",
        ),
    ];
    cases.extend(within("/spec/hooks/migrate/timeoutSeconds", 10, 86400, |n| {
        one("/spec/hooks/migrate/timeoutSeconds", n)
    }));
    cases
}
