//! Approvals, good and bad: somebody's word, which counts only when it is really that person's.

use serde_json::{Value, json};

use super::api::{Api, operator};
use super::channels;
use super::table::{Changes, Table, absent, changed, lengths, letters, one, refuses, takes};
use crate::stage::lab;

pub const APPROVALS: &str = "/apis/freehold.dev/v1alpha1/releaseapprovals";
const POLICY: &str = "freehold-release-approval";
const APPROVER: &str = "ada";
const GROUP: &str = "release-approvers";

pub fn base() -> Value {
    json!({"apiVersion": "freehold.dev/v1alpha1", "kind": "ReleaseApproval", "metadata": {"name": "story-admission"}, "spec": {
        "channel": "story", "ring": "production", "release": "story-1.0.0", "decision": "Approve",
        "approver": APPROVER, "groups": [GROUP]}})
}

/// Whoever gives the approvals of the table: a member of every group that is in it.
pub fn approver() -> Api {
    let crew: Vec<String> = (0..9).map(|n| format!("crew-{n}")).collect();
    let longest = letters(253);
    let groups: Vec<&str> = [GROUP, &longest]
        .into_iter()
        .chain(crew.iter().map(String::as_str))
        .collect();
    Api::member(lab(), APPROVER, &groups)
}

pub fn table() -> Table {
    let groups = |groups: Value| one("/spec/groups", groups);
    let many = |count: usize| groups((0..count).map(|n| json!(format!("crew-{n}"))).collect());
    let mut cases = vec![
        takes("the good one", []),
        takes("a rejection", one("/spec/decision", "Reject")),
        takes("one of a gate", one("/spec/gate", "look")),
        takes("one with a reason", one("/spec/comment", "seen on staging")),
        takes(
            "one of a channel that does not exist",
            one("/spec/channel", "nowhere"),
        ),
        refuses(
            "another word",
            one("/spec/decision", "Perhaps"),
            "decision…Unsupported value",
        ),
        refuses(
            "a word in small letters",
            one("/spec/decision", "approve"),
            "decision…Unsupported value",
        ),
        refuses(
            "an empty gate",
            one("/spec/gate", ""),
            "gate…at least 1 chars long",
        ),
        refuses(
            "an empty reason",
            one("/spec/comment", ""),
            "comment…at least 1 chars long",
        ),
        takes("8 groups", many(8)),
        refuses("9 groups", many(9), "groups…must have at most 8 items"),
        refuses("no group", many(0), "groups…at least 1 items"),
        refuses("a group twice", groups(json!([GROUP, GROUP])), "Duplicate value"),
        takes("a group of 253 characters", groups(json!([letters(253)]))),
        refuses(
            "a group of 254 characters",
            groups(json!([letters(254)])),
            "groups[0]…Too long",
        ),
        refuses(
            "an approver of 254 characters",
            one("/spec/approver", letters(254)),
            "approver…Too long",
        ),
        refuses("every ring", one("/spec/ring", "*"), "ring…should match"),
        refuses("every release", one("/spec/release", "*"), "release…should match"),
        refuses(
            "a time until it holds",
            one("/spec/until", "2027-01-01T00:00:00Z"),
            "unknown field \"spec.until\"",
        ),
    ];
    for field in ["channel", "ring", "release", "decision", "approver", "groups"] {
        let path: &'static str = [
            "/spec/channel",
            "/spec/ring",
            "/spec/release",
            "/spec/decision",
            "/spec/approver",
            "/spec/groups",
        ]
        .into_iter()
        .find(|path| path.ends_with(field))
        .unwrap();
        cases.push(refuses(
            format!("{field} left out"),
            one(path, absent()),
            &format!("spec.{field}…Required value"),
        ));
    }
    cases.extend(lengths("/spec/channel", 63, letters));
    cases.extend(lengths("/spec/ring", 40, letters));
    cases.extend(lengths("/spec/release", 120, letters));
    cases.extend(lengths("/spec/gate", 30, letters));
    cases.extend(lengths("/spec/comment", 1000, letters));
    Table {
        kind: "ReleaseApproval",
        path: APPROVALS.to_owned(),
        base: base(),
        cases,
    }
}

#[test]
fn an_approval_is_given_in_person_and_for_ones_own_groups() {
    let lab = lab();
    let ada = Api::member(lab, APPROVER, &[GROUP]);
    let eve = Api::member(lab, "eve", &["crew"]);
    let in_person = "an approval is given in person: spec.approver must be";
    let members = "only groups that the approver is a member of: kubectl auth whoami lists them";
    let with = |changes: Changes| changed(&base(), &changes);
    ada.try_create(APPROVALS, &base()).taken();
    eve.try_create(APPROVALS, &base())
        .refused_by(POLICY, &format!("{in_person} eve"));
    // In one's own name, of a group that is another's; of one's own and another's; of one that only looks alike.
    for groups in [
        json!([GROUP]),
        json!(["crew", GROUP]),
        json!(["Crew"]),
        json!(["cre"]),
        json!(["crew "]),
    ] {
        let own = with(vec![("/spec/approver", json!("eve")), ("/spec/groups", groups)]);
        eve.try_create(APPROVALS, &own).refused_by(POLICY, members);
    }
    for name in ["Ada", "ada ", "ａda", "system:admin"] {
        ada.try_create(APPROVALS, &with(one("/spec/approver", name)))
            .refused_by(POLICY, in_person);
    }
    // A pipeline is somebody too, for the groups that it has by itself.
    let account = "system:serviceaccount:pipelines:tests";
    let pipeline = Api::member(lab, account, &["system:serviceaccounts:pipelines"]);
    let own = |group: &str| {
        with(vec![
            ("/spec/approver", json!(account)),
            ("/spec/groups", json!([group])),
        ])
    };
    pipeline
        .try_create(APPROVALS, &own("system:serviceaccounts:pipelines"))
        .taken();
    pipeline
        .try_create(APPROVALS, &own(GROUP))
        .refused_by(POLICY, members);
    // Nobody is above it: neither who may do everything, nor who counts the approvals.
    for user in [&Api::administrator(lab), &Api::named(lab, &operator())] {
        user.try_create(APPROVALS, &base()).refused_by(POLICY, in_person);
    }
}

#[test]
fn a_word_stays_as_it_was_said_until_it_is_taken_back() {
    let lab = lab();
    let ada = Api::member(lab, APPROVER, &[GROUP]);
    let administrator = Api::administrator(lab);
    let mut word = base();
    word["metadata"]["name"] = json!("story-word");
    let one_word = format!("{APPROVALS}/story-word");
    administrator.send("DELETE", &one_word, b"");
    ada.create(APPROVALS, &word).taken();
    let turned = json!({"spec": {"decision": "Reject"}});
    let forged = json!({"spec": {"approver": "eve"}});
    for user in [&ada, &administrator, &Api::named(lab, &operator())] {
        for patch in [&turned, &forged] {
            let answer = user.try_patch(&one_word, patch);
            assert!(!answer.is_taken(), "{patch}");
            assert!(
                answer.message().contains("a ReleaseApproval is immutable"),
                "{}",
                answer.message()
            );
        }
        // What says nothing of the word.
        user.try_patch(&one_word, &json!({"metadata": {"labels": {"ticket": "1"}}}))
            .taken();
    }
    administrator.send("DELETE", &one_word, b"").taken();
}

/// By the grants in it tenants are upgraded: whoever could write it would need no ring, soak, gate or approval.
#[test]
fn a_channels_status_is_the_operators() {
    let administrator = Api::administrator(lab());
    let operator = Api::named(lab(), &operator());
    let mut channel = channels::base();
    // No tenant names it: the operator reports about it, and nothing else.
    channel["metadata"]["name"] = json!("story-status");
    let one = format!("{}/story-status", channels::CHANNELS);
    administrator.send("DELETE", &one, b"");
    administrator.create(channels::CHANNELS, &channel).taken();
    let forged = json!({"status": {"grants": [{"tenant": "acme", "uid": "7c9e6679-7425-40de-944b-e07fc1f90ae7", "ring": "dev",
        "release": "story-6.6.6", "kind": "Emergency", "at": "2026-01-04T03:00:00Z"}]}});
    let status = format!("{one}/status");
    for user in [&administrator, &Api::member(lab(), "eve", &["release-engineers"])] {
        user.try_patch(&status, &forged)
            .refused_by("freehold-status", "written by the operator alone");
        let kept = user.try_patch(&one, &forged).taken();
        assert!(!kept["status"].to_string().contains("story-6.6.6"), "{kept}");
    }
    operator.try_patch(&status, &forged).taken();
    administrator.send("DELETE", &one, b"").taken();
}
