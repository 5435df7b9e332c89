//! From one good object to another that is good by itself: what may follow what. What was stored before a rule came is not
//! held against a change of something else (the API server calls it ratcheting), and that must open no door.

mod channel;
mod release;

use std::time::Duration;

use freehold_e2e::kube;
use serde_json::{Value, json};

use super::api::Api;
use super::copies::{Copies, KINDS, base, path, renamed};
use super::table::{Case, Changes, Expect, Tally, absent, changed, judge, refuses, takes};

const SOON: Duration = Duration::from_secs(30);

/// One object as it was, and what is tried with it.
struct Before {
    kind: &'static str,
    old: Changes,
    /// Changes of the old object, not of the good one.
    then: Vec<Case>,
}

pub fn run(copies: &Copies<'_>) -> Tally {
    let api = copies.0;
    let mut tally = Tally::default();
    let loose: Vec<_> = ratcheting()
        .into_iter()
        .map(|before| (make(api, "loose", 0, &before), before))
        .collect();
    copies.tighten();
    for ((path, object), before) in &loose {
        try_all(api, path, object, before, &mut tally);
    }
    for (number, before) in all().iter().enumerate() {
        let (path, object) = make(api, "story", number, before);
        try_all(api, &path, &object, before, &mut tally);
    }
    tally
}

fn make(api: &Api, name: &str, number: usize, before: &Before) -> (String, Value) {
    let plural = KINDS.iter().find(|(kind, _)| *kind == before.kind).unwrap().1;
    let name = format!("{name}-{number}");
    let object = renamed(&changed(&base(before.kind), &before.old), &name);
    let object = api.create(&path(plural), &object).taken();
    (format!("{}/{name}", path(plural)), object)
}

fn try_all(api: &Api, path: &str, object: &Value, before: &Before, tally: &mut Tally) {
    for case in &before.then {
        let answer = api.try_replace(path, &changed(object, &case.changes));
        let what = format!("{}, then: {}", before.kind, case.name);
        tally.add(&case.expect, judge(&what, &case.expect, &answer));
    }
}

fn all() -> Vec<Before> {
    let mut all = vec![
        tenant(),
        sized(),
        sized_log(),
        adopting(),
        class(),
        operation(),
        claim(),
        destruction(),
        terminated(),
    ];
    all.extend(editions());
    all.extend(release::all());
    all.extend(channel::all());
    all
}

fn tenant() -> Before {
    let two = json!(["b.example.com", "a.example.com"]);
    Before {
        kind: "Tenant",
        old: vec![("/spec/hostnames", json!(["a.example.com", "b.example.com"]))],
        then: vec![
            takes("nothing", []),
            takes("another display name", [("/spec/displayName", json!("Another"))]),
            takes("another release", [("/spec/release/name", json!("board-1.1.0"))]),
            takes(
                "a channel instead",
                [("/spec/release", json!({"channel": "board"}))],
            ),
            refuses(
                "a channel beside the name",
                [("/spec/release/channel", json!("board"))],
                "give either name",
            ),
            refuses(
                "a pin of one that names its release",
                [(
                    "/spec/release/pin",
                    json!({"name": "board-1.0.0", "until": "2027-03-01T00:00:00Z", "reason": "x"}),
                )],
                "a pin is for tenants of a channel",
            ),
            takes("hostnames in another order", [("/spec/hostnames", two)]),
            takes(
                "one hostname less",
                [("/spec/hostnames", json!(["b.example.com"]))],
            ),
            takes("protection off", [("/spec/deletionProtection", json!(false))]),
            takes(
                "storage that was not set before",
                [("/spec/database/storageSize", json!("5Gi"))],
            ),
            takes(
                "an adoption that was not there before",
                [(
                    "/spec/adopt/incarnation",
                    json!("0f8fad5b-d9cb-469f-a165-70867728950e"),
                )],
            ),
            refuses(
                "another region",
                [("/spec/region", json!("us-east"))],
                "region can't be changed…create a new tenant there",
            ),
            refuses(
                "no region",
                [("/spec/region", absent())],
                "spec.region…Required value",
            ),
            refuses("a null region", [("/spec/region", Value::Null)], "spec.region"),
            refuses(
                "a region of one character more",
                [("/spec/region", json!("eu-central1"))],
                "region can't be changed",
            ),
            refuses(
                "another class",
                [("/spec/className", json!("other"))],
                "className can't be changed",
            ),
            refuses(
                "no class",
                [("/spec/className", absent())],
                "spec.className…Required value",
            ),
            refuses(
                "both at once",
                [("/spec/className", json!("x")), ("/spec/region", json!("x"))],
                "region can't be changed…className can't be changed",
            ),
            refuses(
                "another region in a spec that is otherwise wrong",
                [("/spec/region", json!("us-east")), ("/spec/seats", json!(0))],
                "spec.seats",
            ),
            refuses(
                "a hostname twice",
                [(
                    "/spec/hostnames",
                    json!(["b.example.com", "a.example.com", "b.example.com"]),
                )],
                "Duplicate value",
            ),
            refuses(
                "another name",
                [("/metadata/name", json!("another"))],
                "does not match the name on the URL",
            ),
        ],
    }
}

fn sized() -> Before {
    let size = |text: &str| [("/spec/database/storageSize", json!(text))];
    let kept = "storageSize can't be removed once it was set";
    Before {
        kind: "Tenant",
        old: size("5Gi").to_vec(),
        then: vec![
            takes("the same", size("5Gi")),
            takes("the same in other words", size("5120Mi")),
            takes("a byte more", size("5368709121")),
            takes("more", size("1Ti")),
            refuses("less", size("4Gi"), "storageSize can't shrink"),
            refuses("a byte less", size("5368709119"), "storageSize can't shrink"),
            refuses(
                "as many, of a smaller unit",
                size("5G"),
                "storageSize can't shrink",
            ),
            refuses("none", [("/spec/database/storageSize", absent())], kept),
            refuses("null", [("/spec/database/storageSize", Value::Null)], kept),
            refuses("no database", [("/spec/database", absent())], kept),
            refuses("a null database", [("/spec/database", Value::Null)], kept),
            refuses("an empty database", [("/spec/database", json!({}))], kept),
            takes("instances beside it", [("/spec/database/instances", json!(3))]),
            takes(
                "a log's volume beside it",
                [("/spec/database/walStorageSize", json!("2Gi"))],
            ),
        ],
    }
}

fn sized_log() -> Before {
    let size = |text: &str| [("/spec/database/walStorageSize", json!(text))];
    let kept = "walStorageSize can't be removed once it was set";
    Before {
        kind: "Tenant",
        old: size("5Gi").to_vec(),
        then: vec![
            takes("more", size("6Gi")),
            refuses("less", size("4Gi"), "walStorageSize can't shrink"),
            refuses("none", [("/spec/database/walStorageSize", absent())], kept),
            refuses("no database", [("/spec/database", absent())], kept),
        ],
    }
}

fn adopting() -> Before {
    let from = |text: &str| [("/spec/adopt/incarnation", json!(text))];
    Before {
        kind: "Tenant",
        old: from("0f8fad5b-d9cb-469f-a165-70867728950e").to_vec(),
        then: vec![
            takes("the same adoption", from("0f8fad5b-d9cb-469f-a165-70867728950e")),
            takes("none any more", [("/spec/adopt", absent())]),
            refuses(
                "another",
                from("0f8fad5b-d9cb-469f-a165-70867728950f"),
                "adopt.incarnation can't be changed",
            ),
        ],
    }
}

fn editions() -> Vec<Before> {
    let order = ["Standard", "Premium", "Enterprise"];
    let to = |edition: &str, flag: bool| {
        vec![
            ("/spec/edition", json!(edition)),
            ("/spec/allowEditionDowngrade", json!(flag)),
        ]
    };
    let one = |old: &str, flag: bool| Before {
        kind: "Tenant",
        old: to(old, flag),
        then: order
            .iter()
            .flat_map(|new| {
                let rank = |edition: &str| order.iter().position(|known| *known == edition);
                let with = takes(format!("{old} to {new} with the flag"), to(new, true));
                let name = format!("{old} to {new} without the flag");
                let without = match rank(new) < rank(old) {
                    true => refuses(
                        name,
                        to(new, false),
                        "set allowEditionDowngrade to true together with it",
                    ),
                    false => takes(name, to(new, false)),
                };
                [with, without]
            })
            .collect(),
    };
    let mut all: Vec<Before> = order.iter().map(|old| one(old, false)).collect();
    // One that was set for an earlier change, and is taken back in this one.
    all.push(one("Enterprise", true));
    let mut left_out = one("Enterprise", false);
    left_out.then = vec![
        refuses(
            "Enterprise left out, which is Standard",
            [("/spec/edition", absent())],
            "set allowEditionDowngrade",
        ),
        refuses(
            "Enterprise null, which is Standard",
            [("/spec/edition", Value::Null)],
            "set allowEditionDowngrade",
        ),
    ];
    all.push(left_out);
    all
}

fn class() -> Before {
    Before {
        kind: "TenantClass",
        old: vec![],
        then: vec![
            takes("more storage", [("/spec/database/storageSize", json!("2Gi"))]),
            refuses(
                "less storage",
                [("/spec/database/storageSize", json!("1023Mi"))],
                "storageSize can't shrink",
            ),
            takes(
                "another lifetime",
                [("/spec/certificates/lifetime", json!("24h"))],
            ),
            takes(
                "a bound on storage that was not there before",
                [("/spec/database/maxStorageSize", json!("1Gi"))],
            ),
        ],
    }
}

fn operation() -> Before {
    let fixed = "a TenantOperation is immutable";
    Before {
        kind: "TenantOperation",
        old: vec![],
        then: vec![
            takes("nothing", []),
            refuses(
                "another policy",
                [("/spec/deletion/policy", json!("Delete"))],
                fixed,
            ),
            refuses("another tenant", [("/spec/tenant", json!("other"))], fixed),
            refuses("another life", [("/spec/incarnation", json!("x"))], fixed),
        ],
    }
}

fn destruction() -> Before {
    let fixed = "a DestructionRecord is immutable";
    Before {
        kind: "DestructionRecord",
        old: vec![],
        then: vec![
            takes("nothing", []),
            refuses("another tenant", [("/spec/tenant", json!("other"))], fixed),
            refuses("no version", [("/spec/versions", json!([]))], fixed),
            refuses(
                "backups that are kept for less long",
                [("/spec/elsewhere/0/keptFor", json!("1h"))],
                fixed,
            ),
        ],
    }
}

/// Keys that are to be destroyed, and whoever thinks better of it.
fn terminated() -> Before {
    Before {
        kind: "Tenant",
        old: vec![
            ("/spec/desiredState", json!("Terminated")),
            ("/spec/termination/destroyKeys", json!(true)),
        ],
        then: vec![
            takes(
                "awake again",
                [
                    ("/spec/desiredState", json!("Active")),
                    ("/spec/termination", absent()),
                ],
            ),
            takes("kept keys", [("/spec/termination/destroyKeys", json!(false))]),
            takes("protection on", [("/spec/deletionProtection", json!(true))]),
            refuses(
                "awake again, with keys that are to be destroyed",
                [("/spec/desiredState", json!("Active"))],
                "take termination out to keep the data",
            ),
        ],
    }
}

fn claim() -> Before {
    Before {
        kind: "HostnameClaim",
        old: vec![],
        then: vec![
            takes(
                "given up",
                [
                    ("/spec/state", json!("GivenUp")),
                    ("/spec/givenUpAt", json!("2026-01-04T03:00:00Z")),
                ],
            ),
            takes("held by another", [("/spec/tenant", json!("other"))]),
            refuses(
                "another hostname",
                [("/spec/hostname", json!("other.example.com"))],
                "a claim is about one hostname for ever",
            ),
            refuses(
                "given up at no time",
                [("/spec/state", json!("GivenUp"))],
                "givenUpAt belongs to the state GivenUp",
            ),
        ],
    }
}

/// What was stored before a rule came.
fn ratcheting() -> Vec<Before> {
    vec![Before {
        kind: "Tenant",
        old: vec![
            ("/spec/seats", json!(2_000_000)),
            ("/spec/hostnames", json!(["UPPER.example", "b.example"])),
            ("/spec/displayName", json!("two\nlines")),
        ],
        then: vec![
            takes("something else", [("/spec/release/name", json!("board-1.1.0"))]),
            takes("the state", [("/spec/desiredState", json!("Suspended"))]),
            takes(
                "put right",
                [
                    ("/spec/seats", json!(1_000_000)),
                    ("/spec/hostnames", json!(["upper.example"])),
                    ("/spec/displayName", json!("one")),
                ],
            ),
            refuses(
                "more seats",
                [("/spec/seats", json!(2_000_001))],
                "spec.seats…less than or equal to 1000000",
            ),
            refuses(
                "fewer seats, still too many",
                [("/spec/seats", json!(1_000_001))],
                "spec.seats…less than or equal to 1000000",
            ),
            refuses(
                "another wrong hostname",
                [("/spec/hostnames/0", json!("UPPER2.example"))],
                "spec.hostnames[0]",
            ),
            refuses(
                "another display name of two lines",
                [("/spec/displayName", json!("three\nmore\nlines"))],
                "displayName is one line of text",
            ),
            refuses(
                "another region",
                [("/spec/region", json!("us-east"))],
                "region can't be changed",
            ),
            refuses(
                "another class",
                [("/spec/className", json!("other"))],
                "className can't be changed",
            ),
        ],
    }]
}

/// On the kinds themselves, where the samples are: the copies prove nothing if these have other rules.
pub fn on_the_samples(api: &Api) -> Tally {
    let mut tally = Tally::default();
    let group = "/apis/freehold.dev/v1alpha1";
    let region = refuses(
        "another region",
        [("/spec/region", json!("elsewhere"))],
        "region can't be changed",
    );
    let version = refuses(
        "another version",
        [("/spec/version", json!("9.9.9"))],
        "a Release is immutable",
    );
    let recall = takes("a recall", [("/spec/recall", release::recall("Hold"))]);
    let storage = refuses(
        "less storage",
        [("/spec/database/storageSize", json!("101Mi"))],
        "storageSize can't shrink",
    );
    let cases = [
        ("tenants/acme", region),
        ("releases/board-1.0.0", version),
        ("releases/board-1.0.0", recall),
        ("tenantclasses/standard", storage),
    ];
    for (name, case) in cases {
        let path = format!("{group}/{name}");
        // The operator may write in between.
        let answer = kube::until("an answer that isn't a conflict", SOON, || {
            let answer = api.try_replace(&path, &changed(&api.get(&path), &case.changes));
            Ok((answer.status != 409).then_some(answer))
        })
        .unwrap();
        let expect: &Expect = &case.expect;
        tally.add(
            expect,
            judge(&format!("{name}, then: {}", case.name), expect, &answer),
        );
    }
    tally
}
