//! Tenants, good and bad: what people type, what a script makes of it, and what somebody tries who wants more.

mod egress;
mod hostnames;
mod quantities;
mod release;
mod sso;
mod texts;
pub mod windows;

use serde_json::{Value, json};

use super::table::{Case, Table, absent, lengths_of, letters, numbers, one, refuses, takes, within};

pub fn base() -> Value {
    json!({"apiVersion": "freehold.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": "story-admission"}, "spec": {
        "displayName": "Story", "owner": {"email": "owner@story.example"}, "seats": 5, "region": "eu-central",
        "className": "no-such-class", "release": {"name": "board-1.0.0"}, "hostnames": ["story.example.com"]}})
}

pub fn table() -> Table {
    let cases = [
        names(),
        texts::cases(),
        bounds(),
        wrong_types(),
        enumerations(),
        termination(),
        words(),
        hostnames::cases(),
        egress::cases(),
        release::cases(),
        sso::cases(),
        windows::cases(),
        groups(),
        quantities::cases(),
        adoption(),
        size(),
    ];
    Table {
        kind: "Tenant",
        path: "/apis/freehold.dev/v1alpha1/tenants".to_owned(),
        base: base(),
        cases: cases.into_iter().flatten().collect(),
    }
}

fn names() -> Vec<Case> {
    let name = |name: String| one("/metadata/name", name);
    let mut cases = vec![
        takes("the good one", []),
        takes("a name of 40 characters", name(letters(40))),
        refuses(
            "a name of 41 characters",
            name(letters(41)),
            "at most 40 characters…take a shorter one",
        ),
        refuses(
            "a name with a dot",
            name("a.b".into()),
            "at most 40 characters and no dot",
        ),
        refuses("no name", name(String::new()), "name or generateName is required"),
        takes("a name of one character", name("a".into())),
        takes("a name of a digit", name("7".into())),
    ];
    // As text they are names like any other.
    for word in ["on", "off", "yes", "null", "true", "1e3", "0x10", "007", "nan"] {
        cases.push(takes(format!("the name {word}"), name(word.into())));
    }
    for wrong in [
        "acme-",
        "-acme",
        "Acme",
        "ac_me",
        "acmé",
        "акме",
        "a b",
        "a\u{0}b",
        "a\n",
        "../acme",
        "a/b",
        "ａｃｍｅ",
    ] {
        cases.push(refuses(
            format!("the name {wrong:?}"),
            name(wrong.into()),
            "metadata.name…RFC 1123",
        ));
    }
    cases
}

fn bounds() -> Vec<Case> {
    let port = |port: i64| {
        one(
            "/spec/egress",
            json!([{"cidr": "203.0.113.0/24", "ports": [{"port": port}]}]),
        )
    };
    [
        numbers("/spec/seats", 1, 1_000_000),
        numbers("/spec/database/instances", 1, 3),
        numbers("/spec/quota/pods", 1, 1000),
        numbers("/spec/password/minLength", 8, 128),
        numbers("/spec/password/maxAgeDays", 1, 3650),
        numbers("/spec/password/lockoutAttempts", 3, 100),
        numbers("/spec/session/idleMinutes", 5, 1440),
        numbers("/spec/session/maxHours", 1, 720),
        within("/spec/egress/ports/port", 1, 65535, port),
        vec![
            refuses(
                "seats beyond 32 bits",
                one("/spec/seats", 4_294_967_297_i64),
                "spec.seats",
            ),
            refuses(
                "seats beyond 64 bits",
                one("/spec/seats", json!(1e300)),
                "spec.seats",
            ),
            refuses(
                "half a seat",
                one("/spec/seats", json!(1.5)),
                "spec.seats…must be of type integer",
            ),
        ],
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn wrong_types() -> Vec<Case> {
    let mut cases = Vec::new();
    for (path, value) in [
        ("/spec/seats", json!("5")),
        ("/spec/seats", json!(true)),
        ("/spec/displayName", json!(5)),
        ("/spec/displayName", json!(["Story"])),
        ("/spec/owner", json!("owner@story.example")),
        ("/spec/hostnames", json!("story.example.com")),
        ("/spec/hostnames", json!(7)),
        ("/spec/deletionProtection", json!("false")),
        ("/spec/deletionProtection", json!(0)),
        ("/spec/allowEditionDowngrade", json!("yes")),
        ("/spec/database", json!([])),
        ("/spec/release", json!("board-1.0.0")),
        ("/spec/password/minLength", json!("12")),
        ("/spec/quota/cpu", json!(2)),
        ("/spec", json!("all of it")),
    ] {
        let field = path.trim_start_matches('/').replace('/', ".");
        let name = format!("{field} as {value}");
        cases.push(refuses(
            name,
            one(path, value),
            &format!("{field}…must be of type"),
        ));
    }
    for path in [
        "/spec/displayName",
        "/spec/owner",
        "/spec/owner/email",
        "/spec/seats",
        "/spec/region",
        "/spec/className",
        "/spec/release",
        "/spec/hostnames",
    ] {
        let field = path.trim_start_matches('/').replace('/', ".");
        cases.push(refuses(
            format!("{field} left out"),
            one(path, absent()),
            &format!("{field}…Required value"),
        ));
        cases.push(refuses(format!("{field} null"), one(path, Value::Null), &field));
    }
    cases.push(refuses("no spec", one("/spec", absent()), "spec…Required value"));
    for (path, field) in [
        ("/spec/colour", "spec.colour"),
        ("/spec/owner/phone", "spec.owner.phone"),
        ("/spec/Seats", "spec.Seats"),
        ("/spec/adopt/from", "spec.adopt.from"),
        ("/spec/egress/0/secretRef", "spec.egress[0].secretRef"),
        ("/extra", "extra"),
    ] {
        let mut changes = one(
            "/spec/egress",
            json!([{"cidr": "203.0.113.0/24", "ports": [{"port": 443}]}]),
        );
        changes.push((
            "/spec/adopt/incarnation",
            json!("0f8fad5b-d9cb-469f-a165-70867728950e"),
        ));
        changes.push((path, json!({"name": "x"})));
        cases.push(refuses(
            format!("unknown field {field}"),
            changes,
            &format!("unknown field \"{field}\""),
        ));
    }
    cases
}

fn enumerations() -> Vec<Case> {
    let mut cases = Vec::new();
    for (path, good) in [
        ("/spec/edition", &["Standard", "Premium", "Enterprise"][..]),
        (
            "/spec/environment",
            &["Development", "Testing", "Staging", "Production"],
        ),
        ("/spec/desiredState", &["Active", "Suspended", "Terminated"]),
        ("/spec/deletionPolicy", &["Retain", "Delete"]),
        ("/spec/support/consent", &["OnRequest", "Never"]),
    ] {
        let field = path.trim_start_matches('/').replace('/', ".");
        for word in good {
            cases.push(takes(format!("{field}: {word}"), one(path, *word)));
        }
        for word in ["Platinum", "", &good[0].to_lowercase(), "null"] {
            let said = format!("{field}…Unsupported value…supported values…{}", good[0]);
            cases.push(refuses(format!("{field}: {word:?}"), one(path, word), &said));
        }
    }
    cases
}

fn termination() -> Vec<Case> {
    let asked = |state: &str, destroy: Value| {
        vec![
            ("/spec/desiredState", json!(state)),
            ("/spec/termination/destroyKeys", destroy),
        ]
    };
    let said = "unreadable for ever, and needs desiredState Terminated";
    vec![
        takes(
            "destroyed keys of a terminated tenant",
            asked("Terminated", json!(true)),
        ),
        takes(
            "kept keys of a terminated tenant",
            asked("Terminated", json!(false)),
        ),
        takes("kept keys of an active tenant", asked("Active", json!(false))),
        takes(
            "a termination that asks for nothing",
            one("/spec/termination", json!({})),
        ),
        refuses(
            "destroyed keys of an active tenant",
            asked("Active", json!(true)),
            said,
        ),
        refuses(
            "destroyed keys of a suspended tenant",
            asked("Suspended", json!(true)),
            said,
        ),
        refuses(
            "destroyed keys of a tenant that says nothing of its state",
            one("/spec/termination", json!({"destroyKeys": true})),
            said,
        ),
        refuses(
            "destroyed keys as a word",
            asked("Terminated", json!("yes")),
            "destroyKeys…must be of type boolean",
        ),
        refuses(
            "an unknown field of a termination",
            one("/spec/termination", json!({"now": true})),
            "unknown field \"spec.termination.now\"",
        ),
    ]
}

/// Those that ask for a rotation.
fn words() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in [
        "/spec/keys/rotateTenantKey",
        "/spec/keys/rotateDataKeys",
        "/spec/certificates/rotateAuthority",
        "/spec/certificates/revokeAuthority",
        "/spec/release/retry",
    ] {
        let field = path.rsplit('/').next().unwrap_or(path);
        cases.extend([
            takes(format!("{path}: a date"), one(path, "2027-01-04T03:00:00")),
            takes(format!("{path}: 63 characters"), one(path, "w".repeat(63))),
            refuses(format!("{path}: 64 characters"), one(path, "w".repeat(64)), field),
            refuses(format!("{path}: none"), one(path, ""), field),
            refuses(
                format!("{path}: two words"),
                one(path, "at once"),
                &format!("{field}…should match"),
            ),
        ]);
    }
    cases
}

fn groups() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in ["/spec/administrators/groups", "/spec/viewers/groups"] {
        let many = |count: usize| -> Value { (0..count).map(|n| json!(format!("crew-{n}"))).collect() };
        let said = "groups that begin with system: are Kubernetes' own";
        cases.extend([
            takes(format!("{path}: 16"), one(path, many(16))),
            refuses(
                format!("{path}: 17"),
                one(path, many(17)),
                "groups…must have at most 16 items",
            ),
            refuses(
                format!("{path}: one twice"),
                one(path, json!(["crew", "crew"])),
                "Duplicate value",
            ),
            refuses(
                format!("{path}: an empty one"),
                one(path, json!([""])),
                "groups[0]",
            ),
            takes(
                format!("{path}: of an identity provider"),
                one(path, json!(["oidc:/acme/Admins (EU)", "системы"])),
            ),
            takes(
                format!("{path}: that only look alike"),
                one(path, json!(["systems:crew", "my-system:masters"])),
            ),
        ]);
        for own in [
            "system:masters",
            "system:authenticated",
            "system:serviceaccounts",
            "system:",
        ] {
            cases.push(refuses(
                format!("{path}: {own}"),
                one(path, json!(["crew", own])),
                said,
            ));
        }
        cases.extend(lengths_of(path, 128, letters, |text| one(path, json!([text]))));
    }
    cases
}

fn adoption() -> Vec<Case> {
    let from = |text: &str| one("/spec/adopt/incarnation", text);
    let mut cases = vec![
        takes("an adoption", from("0f8fad5b-d9cb-469f-a165-70867728950e")),
        refuses(
            "an adoption of nothing",
            one("/spec/adopt", json!({})),
            "spec.adopt.incarnation…Required value",
        ),
    ];
    for wrong in [
        "0F8FAD5B-D9CB-469F-A165-70867728950E",
        "0f8fad5b-d9cb-469f-a165-7086772895-e",
        "0f8fad5bd9cb469fa16570867728950e",
        "acme",
        "",
        "0f8fad5b-d9cb-469f-a165-70867728950e\n",
        "{0f8fad5b-d9cb-469f-a165-70867728950e}",
    ] {
        cases.push(refuses(
            format!("an adoption of {wrong:?}"),
            from(wrong),
            "spec.adopt.incarnation",
        ));
    }
    cases
}

/// The largest that is legal, and far beyond.
fn size() -> Vec<Case> {
    let host = |n: usize| {
        format!(
            "{n}{}.{}.{}.{}",
            letters(62),
            letters(63),
            letters(63),
            letters(61)
        )
    };
    let window = json!({"rule": format!("FREQ=DAILY;BYHOUR={}", "2".repeat(232)), "timeZone": letters(64),
        "start": "2026-01-04T03:00:00", "duration": "86400s"});
    let rule = |n: usize| {
        json!({"description": letters(200), "cidr": format!("2001:db8:{n}::/48"),
        "ports": (1..=8).map(|port| json!({"port": port})).collect::<Vec<_>>()})
    };
    let groups: Vec<String> = (10..26).map(|n| format!("{n}{}", letters(126))).collect();
    let largest = sso::saml(vec![
        ("/spec/displayName", "株".repeat(100).into()),
        ("/spec/hostnames", (0..8).map(host).collect()),
        ("/spec/administrators/groups", json!(groups)),
        ("/spec/viewers/groups", json!(groups)),
        ("/spec/maintenance/windows", json!(vec![window; 8])),
        ("/spec/egress", (0..16).map(rule).collect()),
        ("/spec/sso/saml/signingCertificate", sso::certificate(8192).into()),
        (
            "/spec/sso/saml/endpoint",
            format!("https://a.example/{}", letters(1006)).into(),
        ),
        ("/spec/sso/saml/entityId", letters(1024).into()),
    ]);
    let nested = (0..200).fold(json!(1), |inner, _| json!({"deeper": inner}));
    vec![
        takes("the largest that is legal, within the rules' budget", largest),
        refuses(
            "a megabyte of a display name",
            one("/spec/displayName", letters(1 << 20)),
            "displayName…Too long",
        ),
        refuses(
            "a megabyte of hostnames",
            one(
                "/spec/hostnames",
                (0..60_000)
                    .map(|n| format!("n{n}.example.com"))
                    .collect::<Value>(),
            ),
            "spec.hostnames…must have at most 8 items",
        ),
        refuses(
            "more than the API server reads",
            one("/spec/displayName", letters(4 << 20)),
            "too large",
        ),
        refuses(
            "annotations beyond what may be kept",
            one("/metadata/annotations", json!({"x": letters(300_000)})),
            "metadata.annotations…Too long",
        ),
        refuses(
            "a tree in the place of a field that nobody knows",
            one("/spec/tree", nested.clone()),
            "unknown field \"spec.tree\"",
        ),
        refuses(
            "a tree in the place of a text",
            one("/spec/displayName", nested),
            "unknown field \"spec.displayName.deeper",
        ),
    ]
}
