//! A channel changes while tenants are on their way through it, and a tenant while it follows one; what somebody has said of a release doesn't.

use serde_json::{Value, json};

use super::Before;
use crate::admission::channels;
use crate::admission::table::{absent, refuses, takes};

pub fn all() -> Vec<Before> {
    vec![channel(), approval(), follower()]
}

fn channel() -> Before {
    let base = channels::base();
    let (dev, production) = (&base["spec"]["rings"][0], &base["spec"]["rings"][1]);
    let product = "a channel keeps its product: another product gets a channel of its own";
    Before {
        kind: "ReleaseChannel",
        old: vec![(
            "/spec/emergency",
            json!({"release": "story-1.0.1", "reason": "CVE-2026-1"}),
        )],
        then: vec![
            takes("nothing", []),
            takes(
                "rings in another order",
                [("/spec/rings", json!([production, dev]))],
            ),
            takes(
                "a ring more",
                [("/spec/rings", json!([dev, {"name": "qe"}, production]))],
            ),
            takes("a ring less", [("/spec/rings", json!([production]))]),
            takes(
                "another name of a ring",
                [("/spec/rings/0/name", json!("development"))],
            ),
            takes(
                "a release by Git",
                [("/spec/rings/0/release", json!("story-1.0.0"))],
            ),
            takes("a pause", [("/spec/paused", json!(true))]),
            takes("no approval any more", [("/spec/rings/1/approval", absent())]),
            takes("the emergency's end", [("/spec/emergency", absent())]),
            takes("a null emergency", [("/spec/emergency", Value::Null)]),
            refuses(
                "an emergency without a reason",
                [("/spec/emergency/reason", json!(""))],
                "emergency.reason",
            ),
            refuses("another product", [("/spec/product", json!("other"))], product),
            refuses(
                "no product",
                [("/spec/product", absent())],
                "spec.product…Required value",
            ),
            refuses(
                "two rings of one name",
                [("/spec/rings/1/name", json!("dev"))],
                "Duplicate value",
            ),
            refuses("no rings", [("/spec/rings", json!([]))], "rings…at least 1 items"),
        ],
    }
}

fn approval() -> Before {
    let fixed = "a ReleaseApproval is immutable: another word is another object";
    Before {
        kind: "ReleaseApproval",
        old: vec![],
        then: vec![
            takes("nothing", []),
            takes("a label", [("/metadata/labels", json!({"ticket": "1"}))]),
            // The order of groups has no meaning, but nobody needs to change it.
            refuses("another word", [("/spec/decision", json!("Reject"))], fixed),
            refuses("another ring", [("/spec/ring", json!("dev"))], fixed),
            refuses(
                "another release",
                [("/spec/release", json!("story-1.0.1"))],
                fixed,
            ),
            refuses("another channel", [("/spec/channel", json!("other"))], fixed),
            refuses("a gate", [("/spec/gate", json!("look"))], fixed),
            refuses("another approver", [("/spec/approver", json!("eve"))], fixed),
            refuses("another group", [("/spec/groups", json!(["crew"]))], fixed),
            refuses("a reason", [("/spec/comment", json!("seen"))], fixed),
        ],
    }
}

/// A tenant of a channel.
fn follower() -> Before {
    let pin = json!({"name": "board-1.0.0", "until": "2027-03-01T00:00:00Z", "reason": "trade fair"});
    Before {
        kind: "Tenant",
        old: vec![
            ("/spec/release", json!({"channel": "board", "pin": pin})),
            (
                "/spec/maintenance/freezes",
                json!([{"from": "2026-12-18T00:00:00Z", "until": "2027-01-07T00:00:00Z", "reason": "accounts"}]),
            ),
        ],
        then: vec![
            takes("nothing", []),
            takes(
                "another channel",
                [("/spec/release/channel", json!("board-slow"))],
            ),
            takes("no pin any more", [("/spec/release/pin", absent())]),
            takes(
                "a pin for longer",
                [("/spec/release/pin/until", json!("2027-04-01T00:00:00Z"))],
            ),
            takes(
                "a release by its name",
                [("/spec/release", json!({"name": "board-1.0.0"}))],
            ),
            takes("no freeze any more", [("/spec/maintenance", absent())]),
            refuses(
                "a release by its name, with the pin",
                [
                    ("/spec/release/name", json!("board-1.0.0")),
                    ("/spec/release/channel", absent()),
                ],
                "a pin is for tenants of a channel",
            ),
            refuses(
                "no release at all",
                [("/spec/release", json!({}))],
                "give either name",
            ),
            refuses(
                "a pin without a reason",
                [("/spec/release/pin/reason", absent())],
                "pin.reason…Required value",
            ),
            refuses(
                "a freeze that ends before it begins",
                [("/spec/maintenance/freezes/0/until", json!("2026-12-17T00:00:00Z"))],
                "a freeze ends after it has begun",
            ),
        ],
    }
}
