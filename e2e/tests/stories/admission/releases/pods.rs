//! What a component says of its pods: their environment, their files, and how new ones take the place of old ones.

use serde_json::{Value, json};

use super::variable;
use crate::admission::table::{Case, Changes, absent, lengths_of, letters, one, refuses, takes, within};

pub fn cases() -> Vec<Case> {
    let mut cases = strategies();
    cases.extend(environments());
    cases.extend(names());
    cases.extend(files());
    cases.extend(paths());
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

fn given(files: Value) -> Changes {
    one("/spec/components/0/files", files)
}

fn lying_at(path: &str) -> Changes {
    given(json!([{"path": path, "content": "x"}]))
}

fn files() -> Vec<Case> {
    let many = |count: usize| -> Changes {
        given(
            (0..count)
                .map(|n| json!({"path": format!("/srv/{n}"), "content": "x"}))
                .collect(),
        )
    };
    let two = |one: &str, other: &str| {
        given(json!([{"path": one, "content": "1"}, {"path": other, "content": "2"}]))
    };
    let containing = |content: Value| given(json!([{"path": "/srv/a", "content": content}]));
    let mut cases = vec![
        takes("no file", given(json!([]))),
        takes("no list of files", given(absent())),
        takes("8 files", many(8)),
        refuses("9 files", many(9), "files…must have at most 8 items"),
        refuses(
            "two files at one path",
            two("/srv/a", "/srv/a"),
            "Duplicate value",
        ),
        refuses(
            "a file in a file",
            two("/srv/a/b", "/srv/a"),
            "a file can't lie in a file",
        ),
        takes("a file beside one whose name goes on", two("/srv/a", "/srv/ab")),
        takes("an empty file", containing(json!(""))),
        takes(
            "a file of many lines",
            containing(json!("one\n\ttwo: {{ x }} $(A)\n")),
        ),
        refuses(
            "a file without contents",
            given(json!([{"path": "/srv/a"}])),
            "files[0].content…Required value",
        ),
        refuses(
            "a file without a path",
            given(json!([{"content": "x"}])),
            "files[0].path…Required value",
        ),
        refuses(
            "a file that can be run",
            given(json!([{"path": "/srv/a", "content": "x", "mode": 493}])),
            "unknown field \"spec.components[0].files[0].mode\"",
        ),
        refuses(
            "a file from a Secret",
            given(json!([{"path": "/srv/a", "content": "x", "secretName": "db-app"}])),
            "unknown field \"spec.components[0].files[0].secretName\"",
        ),
    ];
    cases.extend(lengths_of("/files/content", 8000, letters, |text| {
        containing(json!(text))
    }));
    cases
}

fn paths() -> Vec<Case> {
    let mut cases = lengths_of("/files/path", 255, letters, |text| {
        lying_at(&format!("/{}", text.get(1..).unwrap_or_default()))
    });
    for good in [
        "/a",
        "/etc/app.conf",
        "/srv/.well-known/x",
        "/tmpfile",
        "/etc/freehold.d/x",
        "/a_b/-c",
    ] {
        cases.push(takes(format!("the path {good}"), lying_at(good)));
    }
    for wrong in [
        "etc/a", "./a", "/a/", "//a", "/a/../b", "/a/./b", "/a/..", "/a b", "/ä", "/a\n", "/a:b", "/a\0",
    ] {
        cases.push(refuses(
            format!("the path {wrong:?}"),
            lying_at(wrong),
            "files[0].path…should match",
        ));
    }
    for taken in [
        "/etc",
        "/etc/freehold",
        "/etc/freehold/settings.json",
        "/tmp",
        "/tmp/x",
        "/proc/self/x",
        "/dev/null",
        "/sys/x",
        "/run/secrets/x",
        "/var/run/secrets/kubernetes.io/serviceaccount/token",
    ] {
        cases.push(refuses(
            format!("the path {taken}"),
            lying_at(taken),
            "belong to the platform: take a path beside them",
        ));
    }
    cases
}
