//! What a release says of itself for those who upgrade to it: where it was built from, what it does to the schema, what it may
//! follow, what is new, and that it was recalled.

use serde_json::{Value, json};

use super::source;
use crate::admission::table::{Case, Changes, absent, lengths, lengths_of, letters, one, refuses, takes};

pub fn cases() -> Vec<Case> {
    let cases = [
        tags(),
        commits(),
        repositories(),
        authors(),
        schemas(),
        paths(),
        notes(),
        recalls(),
    ];
    cases.into_iter().flatten().collect()
}

fn tags() -> Vec<Case> {
    let tag = |tag: &str| one("/spec/source", source(tag));
    let said = "source.tag must be the version, with or without a leading v";
    let long = format!("1.0.0-{}", letters(57));
    let tagged =
        |version: &str, tag: String| [("/spec/version", json!(version)), ("/spec/source", source(&tag))];
    let mut cases = vec![
        takes("the tag is the version", tag("1.0.0")),
        takes("the tag is the version with a v", tag("v1.0.0")),
        takes("a tag of 64 characters", tagged(&long, format!("v{long}"))),
        refuses(
            "a tag of 65 characters",
            tagged(&long, format!("vv{long}")),
            "source.tag…Too long",
        ),
        takes(
            "the tag of a pre-release",
            tagged("1.0.0-rc.1", "v1.0.0-rc.1".into()),
        ),
        refuses(
            "the release's tag for a pre-release",
            tagged("1.0.0-rc.1", "v1.0.0".into()),
            said,
        ),
        refuses("an empty tag", tag(""), "source.tag…at least 5 chars long"),
        refuses(
            "no tag",
            one("/spec/source", json!({"commit": "a".repeat(40)})),
            "source.tag…Required value",
        ),
    ];
    for wrong in [
        "1.0.1",
        "v1.0.1",
        "V1.0.0",
        "vv1.0.0",
        "v1.0.0-rc.1",
        "board-1.0.0",
        "v1.0.0\n",
        " 1.0.0",
    ] {
        cases.push(refuses(format!("the tag {wrong:?}"), tag(wrong), said));
    }
    cases
}

fn commits() -> Vec<Case> {
    let commit = |commit: String| one("/spec/source", json!({"commit": commit, "tag": "1.0.0"}));
    let digits = |count: usize| "0123456789abcdef".repeat(5)[..count].to_owned();
    let mut cases = vec![
        takes("a commit of 40 digits", commit(digits(40))),
        takes("a commit of 64 digits", commit(digits(64))),
        refuses(
            "a commit of 39 digits",
            commit(digits(39)),
            "source.commit…at least 40 chars long",
        ),
        refuses(
            "a commit of 65 digits",
            commit(digits(65)),
            "source.commit…Too long",
        ),
        refuses(
            "no commit",
            one("/spec/source", json!({"tag": "1.0.0"})),
            "source.commit…Required value",
        ),
        refuses(
            "a branch",
            one(
                "/spec/source",
                json!({"commit": "a".repeat(40), "tag": "1.0.0", "branch": "main"}),
            ),
            "unknown field \"spec.source.branch\"",
        ),
        takes("no source", one("/spec/source", absent())),
    ];
    for (name, wrong) in [
        ("of 41 digits", digits(41)),
        ("of 63 digits", digits(63)),
        ("in capitals", digits(40).to_uppercase()),
        ("with a letter that is no digit", format!("{}g", digits(39))),
        ("with a line break", format!("{}\n", digits(40))),
    ] {
        cases.push(refuses(
            format!("a commit {name}"),
            commit(wrong),
            "source.commit…should match",
        ));
    }
    cases
}

fn repositories() -> Vec<Case> {
    let at = |repository: &str| -> Changes {
        let mut source = source("1.0.0");
        source["repository"] = json!(repository);
        one("/spec/source", source)
    };
    let mut cases = lengths_of(
        "/source/repository",
        300,
        |count| format!("https://git.example/{}", letters(count - 20)),
        |text| at(&text),
    );
    for good in [
        "https://git.example/team/board",
        "https://git.example/team/board.git",
        "https://git.example:8443/~team/board_2/",
        "https://git.example",
        "https://10.0.0.1/a%20b",
    ] {
        cases.push(takes(format!("the repository {good}"), at(good)));
    }
    for wrong in [
        "http://git.example/board",
        "ssh://git.example/board",
        "git@git.example:team/board",
        "https:///board",
        "https://user@git.example/board",
        "https://user:password@git.example/board",
        "https://git.example/board?token=x",
        "https://git.example/board#x",
        "https://git.example/bo ard",
        "https://git.example//board",
        "https://git.example/board\n",
        "https://git.example/\u{202e}board",
    ] {
        cases.push(refuses(
            format!("the repository {wrong:?}"),
            at(wrong),
            "source.repository…should match",
        ));
    }
    cases
}

/// Whose approvals don't count.
fn authors() -> Vec<Case> {
    let by = |author: &str| -> Changes {
        let mut source = source("1.0.0");
        source["author"] = json!(author);
        one("/spec/source", source)
    };
    let mut cases = lengths_of("/source/author", 253, letters, |text| by(&text));
    for good in [
        "ada",
        "ada@example.com",
        "oidc:Ada Lovelace",
        "system:serviceaccount:pipelines:build",
    ] {
        cases.push(takes(format!("the author {good}"), by(good)));
    }
    cases.push(refuses(
        "an empty author",
        by(""),
        "source.author…at least 1 chars long",
    ));
    cases
}

fn schemas() -> Vec<Case> {
    let schema = |schema: Value| one("/spec/schema", schema);
    let oldest = |change: &str, oldest: &str| schema(json!({"change": change, "oldestVersion": oldest}));
    let mut cases = vec![
        takes("a schema that says nothing", schema(json!({}))),
        takes(
            "an oldest version alone",
            schema(json!({"oldestVersion": "0.9.0"})),
        ),
        refuses(
            "an oldest version after an irreversible change",
            oldest("Irreversible", "0.9.0"),
            "no older version works after an irreversible change: take oldestVersion out",
        ),
        refuses(
            "another change",
            schema(json!({"change": "None"})),
            "schema.change…Unsupported value",
        ),
        refuses(
            "a change in small letters",
            schema(json!({"change": "expand"})),
            "schema.change…Unsupported value",
        ),
        refuses(
            "a schema that is a word",
            schema(json!("Expand")),
            "spec.schema…must be of type object",
        ),
        refuses(
            "a newest version",
            schema(json!({"newestVersion": "1.0.0"})),
            "unknown field \"spec.schema.newestVersion\"",
        ),
        takes(
            "an oldest version of 63 characters",
            oldest("Contract", &format!("1.0.0-{}", letters(57))),
        ),
        refuses(
            "an oldest version of 64 characters",
            oldest("Contract", &format!("1.0.0-{}", letters(58))),
            "schema.oldestVersion…Too long",
        ),
    ];
    for change in ["Expand", "Contract", "Irreversible"] {
        cases.push(takes(
            format!("the change {change}"),
            schema(json!({"change": change})),
        ));
    }
    for change in ["Expand", "Contract"] {
        cases.push(takes(
            format!("{change} with an oldest version"),
            oldest(change, "1.0.0-rc.1"),
        ));
    }
    for wrong in [
        "",
        "1.0",
        "v1.0.0",
        "1.0.0+build",
        "01.0.0",
        "1.0.0-",
        "1.0.0\n",
        ">=1.0.0",
    ] {
        cases.push(refuses(
            format!("the oldest version {wrong:?}"),
            oldest("Contract", wrong),
            "schema.oldestVersion",
        ));
    }
    cases.push(refuses(
        "the oldest version 1.0.0-rc.01",
        oldest("Contract", "1.0.0-rc.01"),
        "a numeric part of a pre-release has no leading zero",
    ));
    cases
}

/// The API server sees to the characters alone; what a requirement means is read by the operator.
fn paths() -> Vec<Case> {
    let from = |text: &str| one("/spec/upgradeFrom", text);
    let mut cases = lengths("/spec/upgradeFrom", 200, letters);
    for good in [">=1.0.0, <2.0.0", "^1.2", "~1.4.0", "*", "1.*", "=1.5.0-rc.1"] {
        cases.push(takes(format!("what it may follow: {good}"), from(good)));
    }
    cases.push(refuses(
        "nothing that it may follow",
        from(""),
        "upgradeFrom…at least 1 chars long",
    ));
    for wrong in [
        "1.0.0 || 2.0.0",
        ">=1.0.0\n",
        "1.0.0+build",
        "$(id)",
        ">=1.0.0;",
        "≥1.0.0",
    ] {
        cases.push(refuses(
            format!("what it may follow: {wrong:?}"),
            from(wrong),
            "upgradeFrom…should match",
        ));
    }
    cases
}

fn notes() -> Vec<Case> {
    let mut cases = lengths("/spec/notes", 4096, letters);
    cases.push(takes(
        "notes of several lines",
        one("/spec/notes", "# 1.0.0\n\n- Karten 🎉\n"),
    ));
    cases.push(takes("empty notes", one("/spec/notes", "")));
    cases.push(refuses(
        "notes that are a list",
        one("/spec/notes", json!(["new"])),
        "spec.notes…must be of type string",
    ));
    cases
}

fn recalls() -> Vec<Case> {
    let recall = |recall: Value| one("/spec/recall", recall);
    let act = |action: &str| recall(json!({"reason": "it loses writes", "action": action}));
    let mut cases = lengths_of("/recall/reason", 500, letters, |text| {
        recall(json!({"reason": text, "action": "Hold"}))
    });
    for good in ["RollBack", "RollForward", "Hold"] {
        cases.push(takes(format!("a recall: {good}"), act(good)));
    }
    for wrong in ["Rollback", "hold", "Delete", ""] {
        cases.push(refuses(
            format!("a recall: {wrong:?}"),
            act(wrong),
            "recall.action…Unsupported value",
        ));
    }
    cases.extend([
        refuses(
            "a recall without a reason",
            recall(json!({"action": "Hold"})),
            "recall.reason…Required value",
        ),
        refuses(
            "a recall with an empty reason",
            recall(json!({"reason": "", "action": "Hold"})),
            "recall.reason…at least 1 chars long",
        ),
        refuses(
            "a recall without an act",
            recall(json!({"reason": "it loses writes"})),
            "recall.action…Required value",
        ),
        refuses(
            "a recall of some tenants",
            recall(json!({"reason": "x", "action": "Hold", "tenants": ["acme"]})),
            "unknown field \"spec.recall.tenants\"",
        ),
    ]);
    cases
}
