//! Which release a tenant has: one that it names, or what a channel brings, and for how long it is kept at one of those.

use serde_json::{Value, json};

use super::windows;
use crate::admission::table::{Case, Changes, absent, lengths_of, letters, one, refuses, takes};

const EITHER: &str = "give either name, for one release, or channel, for those that a ReleaseChannel brings";

fn asked(release: Value) -> Changes {
    one("/spec/release", release)
}

fn pinned(changes: &[(&str, Value)]) -> Changes {
    let mut pin =
        json!({"name": "board-1.0.0", "until": "2027-03-01T00:00:00+01:00", "reason": "trade fair"});
    for (field, value) in changes {
        pin[*field] = value.clone();
        if *value == absent() {
            pin.as_object_mut().unwrap().remove(*field);
        }
    }
    asked(json!({"channel": "board", "pin": pin}))
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        takes("a release by its name", asked(json!({"name": "board-1.0.0"}))),
        takes("a channel", asked(json!({"channel": "board"}))),
        takes(
            "a channel, and a word",
            asked(json!({"channel": "board", "retry": "now"})),
        ),
        // A null is a field that isn't there: what a template leaves empty.
        refuses("neither", asked(json!({})), EITHER),
        refuses("only a word", asked(json!({"retry": "now"})), EITHER),
        refuses(
            "both",
            asked(json!({"name": "board-1.0.0", "channel": "board"})),
            EITHER,
        ),
        refuses(
            "an empty name",
            asked(json!({"name": ""})),
            "release.name…at least 1 chars long",
        ),
        refuses(
            "an empty channel",
            asked(json!({"channel": ""})),
            "release.channel…at least 1 chars long",
        ),
        refuses(
            "the ring",
            asked(json!({"channel": "board", "ring": "dev"})),
            "unknown field \"spec.release.ring\"",
        ),
        refuses(
            "a grant",
            asked(json!({"channel": "board", "grant": "board-1.0.0"})),
            "unknown field \"spec.release.grant\"",
        ),
    ];
    for wrong in [
        "Board", "board.1", "board-", "-board", "bo ard", "board\n", "../board", "bоard",
    ] {
        cases.push(refuses(
            format!("the channel {wrong:?}"),
            asked(json!({"channel": wrong})),
            "release.channel",
        ));
    }
    cases.extend(lengths_of("/release/channel", 63, letters, |text| {
        asked(json!({"channel": text}))
    }));
    cases.extend(lengths_of("/release/name", 120, letters, |text| {
        asked(json!({"name": text}))
    }));
    cases.extend(pins());
    cases
}

fn pins() -> Vec<Case> {
    let mut cases = vec![
        takes("a pin", pinned(&[])),
        takes(
            "a pin that is over",
            pinned(&[("until", json!("2026-01-01T00:00:00Z"))]),
        ),
        refuses(
            "a pin of one that names its release",
            asked(
                json!({"name": "board-1.0.0", "pin": {"name": "board-1.0.0", "until": "2027-03-01T00:00:00Z", "reason": "x"}}),
            ),
            "a pin is for tenants of a channel",
        ),
        refuses(
            "a pin without a channel",
            asked(json!({"pin": {"name": "board-1.0.0", "until": "2027-03-01T00:00:00Z", "reason": "x"}})),
            EITHER,
        ),
        refuses(
            "a pin that is a name",
            asked(json!({"channel": "board", "pin": "board-1.0.0"})),
            "release.pin…must be of type object",
        ),
        refuses(
            "a pin with an empty reason",
            pinned(&[("reason", json!(""))]),
            "pin.reason…at least 1 chars long",
        ),
        refuses(
            "a pin of nothing",
            pinned(&[("name", json!(""))]),
            "pin.name…at least 1 chars long",
        ),
        refuses(
            "a pin by who",
            pinned(&[("by", json!("ada"))]),
            "unknown field \"spec.release.pin.by\"",
        ),
    ];
    for field in ["name", "until", "reason"] {
        cases.push(refuses(
            format!("a pin without {field}"),
            pinned(&[(field, absent())]),
            &format!("pin.{field}…Required value"),
        ));
    }
    for wrong in windows::wrong_instants() {
        cases.push(refuses(
            format!("a pin until {wrong:?}"),
            pinned(&[("until", json!(wrong))]),
            "pin.until",
        ));
    }
    cases.extend(lengths_of("/pin/reason", 500, letters, |text| {
        pinned(&[("reason", json!(text))])
    }));
    cases.extend(lengths_of("/pin/name", 120, letters, |text| {
        pinned(&[("name", json!(text))])
    }));
    cases
}
