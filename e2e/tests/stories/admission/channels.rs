//! Channels, good and bad: a mistake here is in all tenants of a product.

use serde_json::{Value, json};

use super::table::{Case, Changes, Table, absent, lengths_of, letters, one, refuses, takes, within};
use super::tenants::windows::freezes_at;

pub fn base() -> Value {
    json!({"apiVersion": "freehold.dev/v1alpha1", "kind": "ReleaseChannel", "metadata": {"name": "story-admission"}, "spec": {
        "product": "story", "rings": [
            {"name": "dev", "tenants": {"environments": ["Development"]}},
            {"name": "production", "approval": {"groups": ["release-approvers"]}}]}})
}

pub const CHANNELS: &str = "/apis/freehold.dev/v1alpha1/releasechannels";

pub fn table() -> Table {
    let cases = [
        channel(),
        emergencies(),
        rings(),
        selections(),
        gates(),
        approvals(),
        shares(),
        freezes_at("/spec/freezes", 32),
        freezes_at("/spec/rings/0/freezes", 16),
        nothings(),
    ];
    Table {
        kind: "ReleaseChannel",
        path: CHANNELS.to_owned(),
        base: base(),
        cases: cases.into_iter().flatten().collect(),
    }
}

fn channel() -> Vec<Case> {
    let named = "a channel's name has at most 63 characters and no dot";
    let mut cases = vec![
        takes("the good one", []),
        takes("a name of 63 characters", one("/metadata/name", letters(63))),
        refuses(
            "a name of 64 characters",
            one("/metadata/name", letters(64)),
            named,
        ),
        refuses("a name with a dot", one("/metadata/name", "board.eu"), named),
        takes("a pause", one("/spec/paused", json!(true))),
        refuses(
            "a pause as a word",
            one("/spec/paused", "yes"),
            "paused…must be of type boolean",
        ),
        refuses(
            "no product",
            one("/spec/product", absent()),
            "spec.product…Required value",
        ),
        refuses(
            "a product with a capital",
            one("/spec/product", "Board"),
            "spec.product…should match",
        ),
        refuses(
            "grants in the spec",
            one("/spec/grants", json!([])),
            "unknown field \"spec.grants\"",
        ),
    ];
    cases.extend(lengths_of("/spec/product", 40, letters, |text| {
        one("/spec/product", text)
    }));
    cases
}

fn emergencies() -> Vec<Case> {
    let emergency =
        |release: Value, reason: Value| one("/spec/emergency", json!({"release": release, "reason": reason}));
    let mut cases = vec![
        takes(
            "an emergency",
            emergency("board-1.0.1".into(), "CVE-2026-1".into()),
        ),
        takes("no emergency any more", one("/spec/emergency", Value::Null)),
        refuses(
            "an emergency without a reason",
            one("/spec/emergency", json!({"release": "board-1.0.1"})),
            "emergency.reason…Required value",
        ),
        refuses(
            "an emergency with an empty reason",
            emergency("board-1.0.1".into(), "".into()),
            "emergency.reason…at least 1 chars long",
        ),
        refuses(
            "an emergency without a release",
            one("/spec/emergency", json!({"reason": "x"})),
            "emergency.release…Required value",
        ),
        refuses(
            "an emergency of a version",
            emergency("1.0.1+build".into(), "x".into()),
            "emergency.release…should match",
        ),
        refuses(
            "an emergency without bounds",
            one(
                "/spec/emergency",
                json!({"release": "board-1.0.1", "reason": "x", "maxConcurrent": "100%"}),
            ),
            "unknown field \"spec.emergency.maxConcurrent\"",
        ),
    ];
    cases.extend(lengths_of("/emergency/reason", 500, letters, |text| {
        emergency("board-1.0.1".into(), text.into())
    }));
    cases.extend(lengths_of("/emergency/release", 120, letters, |text| {
        emergency(text.into(), "x".into())
    }));
    cases
}

fn rings() -> Vec<Case> {
    let many = |count: usize| -> Changes {
        let ring = |n: usize| json!({"name": format!("ring-{n}")});
        one("/spec/rings", (0..count).map(ring).collect::<Value>())
    };
    let mut cases = vec![
        takes("one ring that leaves out all that can be left out", many(1)),
        takes("12 rings", many(12)),
        refuses("13 rings", many(13), "rings…must have at most 12 items"),
        refuses("no ring", many(0), "rings…at least 1 items"),
        refuses(
            "rings left out",
            one("/spec/rings", absent()),
            "spec.rings…Required value",
        ),
        refuses(
            "two rings of one name",
            one("/spec/rings/1/name", "dev"),
            "Duplicate value",
        ),
        refuses(
            "a ring without a name",
            one("/spec/rings/0/name", absent()),
            "name…Required value",
        ),
        takes("promotion by Git", one("/spec/rings/0/release", "board-1.0.0")),
        takes(
            "promotion by Git alone",
            [
                ("/spec/rings/0/autoPromote", json!(false)),
                ("/spec/rings/0/release", json!("board-1.0.0")),
            ],
        ),
        refuses(
            "an empty release",
            one("/spec/rings/0/release", ""),
            "release…at least 1 chars long",
        ),
        takes("a word", one("/spec/rings/0/resume", "2026-12-18T00:00:00")),
        refuses(
            "two words",
            one("/spec/rings/0/resume", "go on"),
            "resume…should match",
        ),
        refuses("an empty word", one("/spec/rings/0/resume", ""), "resume"),
        refuses(
            "hostnames",
            one("/spec/rings/0/hostnames", json!(["a.example.com"])),
            "unknown field \"spec.rings[0].hostnames\"",
        ),
        refuses(
            "an order",
            one("/spec/rings/0/order", json!(1)),
            "unknown field \"spec.rings[0].order\"",
        ),
        takes("a paused ring", one("/spec/rings/1/paused", json!(true))),
    ];
    for good in ["1s", "3600s", "1h", "720h", "43200m"] {
        cases.push(takes(
            format!("a soak of {good}"),
            one("/spec/rings/1/soak", good),
        ));
    }
    for wrong in ["721h", "43201m", "9999999h"] {
        cases.push(refuses(
            format!("a soak of {wrong}"),
            one("/spec/rings/1/soak", wrong),
            "soak must be between 1s and 720h",
        ));
    }
    for wrong in ["0s", "-1h", "1d", "1h30m", "1.5h", "", "h", "99999999s", "1h\n"] {
        cases.push(refuses(
            format!("a soak of {wrong:?}"),
            one("/spec/rings/1/soak", wrong),
            "soak",
        ));
    }
    for wrong in ["Dev", "dev.1", "-dev", "dev-", "", "dev\n", "dеv"] {
        cases.push(refuses(
            format!("the ring {wrong:?}"),
            one("/spec/rings/0/name", wrong),
            "name",
        ));
    }
    cases.extend(lengths_of("/rings/name", 40, letters, |text| {
        one("/spec/rings/0/name", text)
    }));
    cases.extend(lengths_of("/rings/release", 120, letters, |text| {
        one("/spec/rings/0/release", text)
    }));
    cases.extend(lengths_of("/rings/resume", 63, letters, |text| {
        one("/spec/rings/0/resume", text)
    }));
    cases.extend(within("/spec/rings/canary", 1, 50, |n| {
        one("/spec/rings/0/canary", n)
    }));
    cases
}

fn selections() -> Vec<Case> {
    let labels = |count: usize| -> Changes {
        let all: serde_json::Map<String, Value> = (0..count)
            .map(|n| (format!("example.com/l{n}"), json!("x")))
            .collect();
        one("/spec/rings/0/tenants/matchLabels", Value::Object(all))
    };
    let all = json!(["Development", "Testing", "Staging", "Production"]);
    let mut cases = vec![
        takes("everybody", one("/spec/rings/0/tenants", json!({}))),
        takes(
            "every environment",
            one("/spec/rings/0/tenants/environments", all),
        ),
        refuses(
            "more environments than there are",
            one("/spec/rings/0/tenants/environments", json!(vec!["Testing"; 5])),
            "environments…must have at most 4 items",
        ),
        refuses(
            "an environment that nobody knows",
            one("/spec/rings/0/tenants/environments", json!(["Prod"])),
            "environments[0]…Unsupported value",
        ),
        takes("8 labels", labels(8)),
        refuses("9 labels", labels(9), "matchLabels…must have at most 8 items"),
        takes(
            "a label without a value",
            one("/spec/rings/0/tenants/matchLabels", json!({"early": ""})),
        ),
        refuses(
            "a label that is a number",
            one("/spec/rings/0/tenants/matchLabels", json!({"wave": 1})),
            "matchLabels.wave…must be of type string",
        ),
        refuses(
            "a selector of another kind",
            one("/spec/rings/0/tenants/matchExpressions", json!([])),
            "unknown field \"spec.rings[0].tenants.matchExpressions\"",
        ),
    ];
    cases.extend(lengths_of("/matchLabels/early", 63, letters, |text| {
        one("/spec/rings/0/tenants/matchLabels", json!({"early": text}))
    }));
    cases
}

fn gates() -> Vec<Case> {
    let gates = |gates: Value| one("/spec/rings/0/gates", gates);
    let gate = |gate: Value| one("/spec/rings/0/gates", json!([gate]));
    let test = json!({"component": "web", "args": ["test"]});
    let manual = json!({"groups": ["qe"]});
    let many = |count: usize| -> Changes {
        let gate = |n: usize| json!({"name": format!("g{n}"), "test": test.clone()});
        gates((0..count).map(gate).collect())
    };
    let either = "a gate is either a test that runs, or manual: give one of them";
    let image = super::classes::image("tests:1");
    let mut cases = vec![
        takes("a test", gate(json!({"name": "api", "test": test}))),
        takes(
            "a test of its own image",
            gate(json!({"name": "api", "test": {"image": image, "args": ["x"]}})),
        ),
        takes(
            "a word of somebody",
            gate(json!({"name": "look", "manual": manual})),
        ),
        takes("8 gates", many(8)),
        refuses("9 gates", many(9), "gates…must have at most 8 items"),
        refuses(
            "a gate with both",
            gate(json!({"name": "api", "test": test, "manual": manual})),
            either,
        ),
        refuses("a gate with neither", gate(json!({"name": "api"})), either),
        refuses(
            "two gates of one name",
            gates(json!([{"name": "api", "test": test}, {"name": "api", "manual": manual}])),
            "Duplicate value",
        ),
        refuses(
            "a test of a tag",
            gate(json!({"name": "api", "test": {"image": "tests:1", "args": ["x"]}})),
            "image…should match",
        ),
        refuses(
            "a test with both",
            gate(json!({"name": "api", "test": {"image": image, "component": "web", "args": ["x"]}})),
            "a hook names either a component",
        ),
        refuses(
            "a test of nothing",
            gate(json!({"name": "api", "test": {"component": "web", "args": []}})),
            "args…at least 1 items",
        ),
        refuses(
            "a gate without a name",
            gate(json!({"test": test})),
            "name…Required value",
        ),
    ];
    cases.extend(lengths_of("/gates/name", 30, letters, |text| {
        gate(json!({"name": text, "test": test}))
    }));
    cases.extend(within("/gates/test/timeoutSeconds", 10, 86400, |n| {
        gate(json!({"name": "api", "test": {"component": "web", "args": ["x"], "timeoutSeconds": n}}))
    }));
    cases
}

fn approvals() -> Vec<Case> {
    let groups = |groups: Value| one("/spec/rings/1/approval", json!({"groups": groups}));
    let many = |count: usize| groups((0..count).map(|n| json!(format!("crew-{n}"))).collect());
    let mut cases = vec![
        takes("8 groups", many(8)),
        refuses("9 groups", many(9), "groups…must have at most 8 items"),
        refuses("no group", many(0), "groups…at least 1 items"),
        refuses("an empty group", groups(json!([""])), "groups[0]"),
        refuses(
            "an approval of nobody",
            one("/spec/rings/1/approval", json!({})),
            "groups…Required value",
        ),
        refuses(
            "an approval of a person",
            one(
                "/spec/rings/1/approval",
                json!({"groups": ["crew"], "users": ["ada"]}),
            ),
            "unknown field \"spec.rings[1].approval.users\"",
        ),
        takes(
            "accounts of a pipeline",
            groups(json!(["system:serviceaccounts:pipelines"])),
        ),
    ];
    cases.extend(lengths_of("/approval/groups", 253, letters, |text| {
        groups(json!([text]))
    }));
    cases.extend(within("/spec/rings/approval/required", 1, 5, |n| {
        one(
            "/spec/rings/1/approval",
            json!({"groups": ["crew"], "required": n}),
        )
    }));
    cases
}

/// A number, or a share of a whole.
fn shares() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in ["/spec/rings/0/maxConcurrent", "/spec/rings/0/failureThreshold"] {
        let field = path.rsplit('/').next().unwrap_or(path);
        for good in [json!(1), json!(10_000), json!("1%"), json!("99%"), json!("100%")] {
            cases.push(takes(format!("{field}: {good}"), one(path, good)));
        }
        for wrong in [
            "0%", "00%", "01%", "101%", "5", "%", "-1%", "1.5%", "5 %", "５%", "5%\n", "1000%", "",
        ] {
            cases.push(refuses(format!("{field}: {wrong:?}"), one(path, wrong), field));
        }
        for wrong in [
            json!(0),
            json!(-1),
            json!(10_001),
            json!(1.5),
            json!(true),
            json!(["5%"]),
            json!({"percent": 5}),
        ] {
            cases.push(refuses(format!("{field}: {wrong}"), one(path, wrong), field));
        }
    }
    cases
}

/// What a template leaves empty is as if it weren't there: the default is stored, never a null.
fn nothings() -> Vec<Case> {
    [
        "/spec/paused",
        "/spec/freezes",
        "/spec/rings/0/tenants",
        "/spec/rings/0/autoPromote",
        "/spec/rings/0/release",
        "/spec/rings/0/soak",
        "/spec/rings/0/gates",
        "/spec/rings/0/approval",
        "/spec/rings/0/canary",
        "/spec/rings/0/maxConcurrent",
        "/spec/rings/0/failureThreshold",
        "/spec/rings/0/resume",
    ]
    .map(|path| takes(format!("{path} null"), one(path, Value::Null)))
    .into()
}
