//! What a component says of its pods: their environment, and how new ones take the place of old ones.

use serde_json::{Value, json};

use super::variable;
use crate::admission::table::{Case, Changes, absent, lengths_of, letters, one, refuses, takes, within};

pub fn cases() -> Vec<Case> {
    let mut cases = strategies();
    cases.extend(environments());
    cases.extend(names());
    cases
}

fn env(variables: Value) -> Changes {
    one("/spec/components/0/env", variables)
}

fn named(name: &str) -> Changes {
    env(json!([variable(name, "x")]))
}

fn strategies() -> Vec<Case> {
    let strategy = |strategy: &str| one("/spec/components/0/strategy", strategy);
    let mut cases = vec![
        takes("surge first", strategy("RollingUpdate")),
        takes("a pause", strategy("Recreate")),
        refuses(
            "another strategy",
            strategy("OnDelete"),
            "strategy…Unsupported value",
        ),
        refuses(
            "a strategy in small letters",
            strategy("recreate"),
            "strategy…Unsupported value",
        ),
        refuses(
            "how it rolls",
            one("/spec/components/0/rollingUpdate", json!({"maxUnavailable": 1})),
            "unknown field \"spec.components[0].rollingUpdate\"",
        ),
    ];
    cases.extend(within("/spec/components/minReadySeconds", 0, 600, |n| {
        one("/spec/components/0/minReadySeconds", n)
    }));
    cases
}

fn environments() -> Vec<Case> {
    let many =
        |count: usize| -> Changes { env((0..count).map(|n| variable(&format!("V{n}"), "x")).collect()) };
    let valued = |value: Value| env(json!([{"name": "A", "value": value}]));
    let mut cases = vec![
        takes("no variable", env(json!([]))),
        takes("32 variables", many(32)),
        refuses("33 variables", many(33), "env…must have at most 32 items"),
        refuses(
            "two variables of one name",
            env(json!([variable("A", "1"), variable("A", "2")])),
            "Duplicate value",
        ),
        takes(
            "names that differ in case",
            env(json!([variable("A", "1"), variable("a", "2")])),
        ),
        takes("an empty value", valued(json!(""))),
        takes(
            "a value that could be a template",
            valued(json!("{{ .Values.x }} ${HOME} $(A) $(id)")),
        ),
        takes("a value of two lines", valued(json!("one\ntwo"))),
        refuses(
            "a value that is a number",
            valued(json!(1)),
            "env[0].value…must be of type string",
        ),
        refuses(
            "no value",
            env(json!([{"name": "A"}])),
            "env[0].value…Required value",
        ),
        refuses(
            "no name",
            env(json!([{"value": "x"}])),
            "env[0].name…Required value",
        ),
        refuses(
            "a value from a Secret",
            env(
                json!([{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "db-app", "key": "password"}}}]),
            ),
            "unknown field \"spec.components[0].env[0].valueFrom\"",
        ),
        refuses(
            "all of a Secret",
            one(
                "/spec/components/0/envFrom",
                json!([{"secretRef": {"name": "db-app"}}]),
            ),
            "unknown field \"spec.components[0].envFrom\"",
        ),
        takes("no list of variables", env(absent())),
    ];
    cases.extend(lengths_of("/env/value", 1024, letters, |text| {
        valued(json!(text))
    }));
    cases
}

fn names() -> Vec<Case> {
    let mut cases = lengths_of("/env/name", 63, letters, |text| named(&text));
    for good in [
        "A",
        "_",
        "_x1",
        "http_proxy",
        "LD_PRELOAD",
        "FREEHOLD",
        "MY_FREEHOLD_X",
        "freehold_x",
    ] {
        cases.push(takes(format!("the variable {good}"), named(good)));
    }
    for wrong in ["1A", "A-B", "A.B", "A=B", "A B", "A\n", "Ä", "$A", "A\0"] {
        cases.push(refuses(
            format!("the variable {wrong:?}"),
            named(wrong),
            "env[0].name…should match",
        ));
    }
    cases.push(refuses(
        "a variable without a name",
        named(""),
        "env[0].name…at least 1 chars long",
    ));
    for taken in ["FREEHOLD_", "FREEHOLD_TLS", "FREEHOLD_DATABASE_TLS"] {
        cases.push(refuses(
            format!("the variable {taken}"),
            named(taken),
            "names that begin with FREEHOLD_ belong to the platform",
        ));
    }
    cases
}
