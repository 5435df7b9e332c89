//! A release is as it was published, but for its recall: that comes later, changes, and is taken back.

use serde_json::{Value, json};

use super::Before;
use crate::admission::classes;
use crate::admission::releases::{self, variable};
use crate::admission::table::{absent, refuses, takes};

const FIXED: &str = "a Release is immutable but for its recall: publish the change as a new version";

pub fn all() -> Vec<Before> {
    vec![bare(), whole(), recalled()]
}

pub fn recall(action: &str) -> Value {
    json!({"reason": "it loses writes", "action": action})
}

/// One that leaves out what can be left out.
fn bare() -> Before {
    let base = releases::base();
    let (web, worker) = (&base["spec"]["components"][0], &base["spec"]["components"][1]);
    Before {
        kind: "Release",
        old: vec![],
        then: vec![
            takes("nothing", []),
            takes("a label", [("/metadata/labels", json!({"team": "board"}))]),
            takes(
                "a default that is spelled out",
                [("/spec/components/0/replicas", json!(1))],
            ),
            takes(
                "the schema's default",
                [("/spec/schema", json!({"change": "Expand"}))],
            ),
            takes(
                "the strategy's default",
                [("/spec/components/0/strategy", json!("RollingUpdate"))],
            ),
            takes(
                "no seconds of waiting",
                [("/spec/components/0/minReadySeconds", json!(0))],
            ),
            takes(
                "components in another order",
                [("/spec/components", json!([worker, web]))],
            ),
            takes("a recall", [("/spec/recall", recall("RollBack"))]),
            refuses(
                "a recall that is none",
                [("/spec/recall", json!({"action": "RollBack"}))],
                "spec.recall.reason…Required value",
            ),
            refuses(
                "a recall, and another image with it",
                [
                    ("/spec/recall", recall("Hold")),
                    ("/spec/components/0/image", json!(classes::image("board:1.0.1"))),
                ],
                FIXED,
            ),
            refuses("another product", [("/spec/product", json!("other"))], FIXED),
            refuses("another version", [("/spec/version", json!("1.0.1"))], FIXED),
            refuses(
                "another image",
                [("/spec/components/0/image", json!(classes::image("board:1.0.1")))],
                FIXED,
            ),
            refuses("one component less", [("/spec/components", json!([web]))], FIXED),
            refuses(
                "more replicas",
                [("/spec/components/0/replicas", json!(2))],
                FIXED,
            ),
            refuses(
                "a variable",
                [("/spec/components/0/env", json!([variable("A", "1")]))],
                FIXED,
            ),
            refuses(
                "a pause",
                [("/spec/components/0/strategy", json!("Recreate"))],
                FIXED,
            ),
            refuses(
                "a second of waiting",
                [("/spec/components/0/minReadySeconds", json!(1))],
                FIXED,
            ),
            refuses("no hooks", [("/spec/hooks", absent())], FIXED),
            refuses("a null hook", [("/spec/hooks/migrate", Value::Null)], FIXED),
            refuses(
                "a hook more",
                [(
                    "/spec/hooks/smoke",
                    json!({"component": "web", "args": ["smoke"]}),
                )],
                FIXED,
            ),
            refuses("a source", [("/spec/source", releases::source("v1.0.0"))], FIXED),
            refuses(
                "another schema",
                [("/spec/schema/change", json!("Contract"))],
                FIXED,
            ),
            refuses(
                "an oldest version",
                [("/spec/schema/oldestVersion", json!("0.9.0"))],
                FIXED,
            ),
            refuses("what it may follow", [("/spec/upgradeFrom", json!("*"))], FIXED),
            refuses("notes", [("/spec/notes", json!("new"))], FIXED),
        ],
    }
}

/// One that leaves out nothing but the recall.
fn whole() -> Before {
    let env = |names: [&str; 2]| -> Value { names.map(|name| variable(name, "1")).to_vec().into() };
    Before {
        kind: "Release",
        old: vec![
            ("/spec/components/0/env", env(["A", "B"])),
            ("/spec/components/0/minReadySeconds", json!(5)),
            ("/spec/components/1/strategy", json!("Recreate")),
            ("/spec/source", releases::source("v1.0.0")),
            ("/spec/source/repository", json!("https://git.example/team/board")),
            (
                "/spec/schema",
                json!({"change": "Contract", "oldestVersion": "0.9.0"}),
            ),
            ("/spec/upgradeFrom", json!(">=0.8.0")),
            ("/spec/notes", json!("new")),
        ],
        then: vec![
            takes("nothing", []),
            takes(
                "variables in another order",
                [("/spec/components/0/env", env(["B", "A"]))],
            ),
            takes("a recall", [("/spec/recall", recall("RollForward"))]),
            refuses("no source", [("/spec/source", absent())], FIXED),
            refuses(
                "an author, so that another one's approval counts",
                [("/spec/source/author", json!("ada"))],
                FIXED,
            ),
            refuses("no repository", [("/spec/source/repository", absent())], FIXED),
            refuses(
                "another commit",
                [("/spec/source/commit", json!("b".repeat(40)))],
                FIXED,
            ),
            refuses(
                "the same tag in other words",
                [("/spec/source/tag", json!("1.0.0"))],
                FIXED,
            ),
            refuses("no schema, which is Expand", [("/spec/schema", absent())], FIXED),
            refuses(
                "no oldest version",
                [("/spec/schema/oldestVersion", absent())],
                FIXED,
            ),
            refuses(
                "another oldest version",
                [("/spec/schema/oldestVersion", json!("0.8.0"))],
                FIXED,
            ),
            refuses(
                "nothing of what it may follow",
                [("/spec/upgradeFrom", absent())],
                FIXED,
            ),
            refuses(
                "other words for the same",
                [("/spec/upgradeFrom", json!(">= 0.8.0"))],
                FIXED,
            ),
            refuses("no notes", [("/spec/notes", absent())], FIXED),
            refuses("other notes", [("/spec/notes", json!("newer"))], FIXED),
            refuses(
                "no notes, and a recall",
                [("/spec/notes", absent()), ("/spec/recall", recall("Hold"))],
                FIXED,
            ),
            refuses(
                "another variable",
                [("/spec/components/0/env", env(["A", "C"]))],
                FIXED,
            ),
            refuses(
                "another value",
                [("/spec/components/0/env/0/value", json!("2"))],
                FIXED,
            ),
            refuses("no variables", [("/spec/components/0/env", absent())], FIXED),
            refuses(
                "no waiting",
                [("/spec/components/0/minReadySeconds", absent())],
                FIXED,
            ),
            refuses("no pause", [("/spec/components/1/strategy", absent())], FIXED),
        ],
    }
}

fn recalled() -> Before {
    Before {
        kind: "Release",
        old: vec![("/spec/recall", recall("Hold"))],
        then: vec![
            takes("nothing", []),
            takes("another act", [("/spec/recall/action", json!("RollBack"))]),
            takes(
                "another reason",
                [("/spec/recall/reason", json!("it leaks, too"))],
            ),
            takes("no recall", [("/spec/recall", absent())]),
            takes("a null recall", [("/spec/recall", Value::Null)]),
            refuses(
                "a recall without an act",
                [("/spec/recall/action", absent())],
                "spec.recall.action…Required value",
            ),
            refuses(
                "no recall, and other notes",
                [("/spec/recall", absent()), ("/spec/notes", json!("x"))],
                FIXED,
            ),
            refuses("another version", [("/spec/version", json!("1.0.1"))], FIXED),
        ],
    }
}
