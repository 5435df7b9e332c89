//! Maintenance windows, of a tenant and of a class.

use serde_json::{Value, json};

use crate::admission::table::{Case, Changes, lengths, lengths_of, letters, one, refuses, takes};

/// Windows of a tenant, and of a class by another path.
pub fn windows_at(path: &'static str) -> Vec<Case> {
    let window = |field: &str, value: Value| -> Changes {
        let mut window =
            json!({"rule": "FREQ=WEEKLY;BYDAY=SU;BYHOUR=3;BYMINUTE=0;BYSECOND=0", "duration": "4h"});
        window[field] = value;
        vec![(path, json!([window]))]
    };
    let many = |count: usize| {
        vec![(
            path,
            json!(vec![json!({"rule": "FREQ=DAILY", "duration": "1h"}); count]),
        )]
    };
    let mut cases = vec![
        takes("8 windows", many(8)),
        refuses("9 windows", many(9), "windows…must have at most 8 items"),
        takes("a window in Berlin", window("timeZone", json!("Europe/Berlin"))),
        takes(
            "a window with a start",
            window("start", json!("2026-01-04T03:00:00")),
        ),
        takes(
            "a window from the end of this pattern's time",
            window("start", json!("2999-12-31T23:59:59")),
        ),
        takes(
            "a rule in small letters",
            window("rule", json!("freq=daily;byhour=2")),
        ),
        refuses(
            "a time zone that could be a path",
            window("timeZone", json!("../../etc/passwd")),
            "timeZone…should match",
        ),
        refuses("an empty time zone", window("timeZone", json!("")), "timeZone"),
    ];
    for good in ["15m", "900s", "24h", "1440m", "86400s"] {
        cases.push(takes(
            format!("a window of {good}"),
            window("duration", json!(good)),
        ));
    }
    for wrong in ["14m", "899s", "25h", "1441m", "86401s", "1s"] {
        cases.push(refuses(
            format!("a window of {wrong}"),
            window("duration", json!(wrong)),
            "a window's duration must be between 15m and 24h",
        ));
    }
    for wrong in ["9999999h", "9999999m"] {
        cases.push(refuses(
            format!("a window of {wrong}"),
            window("duration", json!(wrong)),
            "between 15m and 24h",
        ));
    }
    for wrong in [
        "-4h",
        "0h",
        "4",
        "4 h",
        "1h30m",
        "4d",
        "1.5h",
        "4H",
        "∞",
        "99999999h",
        "",
        "4h\n",
        "+4h",
        "٤h",
    ] {
        cases.push(refuses(
            format!("a window of {wrong:?}"),
            window("duration", json!(wrong)),
            "duration",
        ));
    }
    cases.push(refuses(
        "a window of four",
        window("duration", json!(4)),
        "duration…must be of type string",
    ));
    for wrong in [
        "9999-12-31T00:00:00",
        "2026-13-01T00:00:00",
        "2026-00-01T00:00:00",
        "2026-01-32T00:00:00",
        "2026-01-01T24:00:00",
        "2026-01-01T00:60:00",
        "2026-01-01 00:00:00",
        "1999-12-31T23:59:59",
        "soon, on a sunday..",
    ] {
        cases.push(refuses(
            format!("a start at {wrong}"),
            window("start", json!(wrong)),
            "start…should match",
        ));
    }
    for wrong in ["2026-01-01T00:00:00Z", "2026-01-01"] {
        cases.push(refuses(
            format!("a start at {wrong}"),
            window("start", json!(wrong)),
            "start",
        ));
    }
    for wrong in [
        "FREQ=SECONDLY",
        "FREQ=HOURLY;BYHOUR=3",
        "sometimes at night",
        "BYDAY=SU;BYHOUR=3",
        "XFREQ=DAILY;BYHOUR=3",
    ] {
        cases.push(refuses(
            format!("the rule {wrong}"),
            window("rule", json!(wrong)),
            "a window's rule has FREQ=DAILY",
        ));
    }
    cases.extend(lengths_of(
        "rule",
        250,
        |n| format!("FREQ=DAILY;BYHOUR={}", "2".repeat(n - 18)),
        |rule| window("rule", json!(rule)),
    ));
    cases
}

pub fn cases() -> Vec<Case> {
    let mut cases = windows_at("/spec/maintenance/windows");
    cases.push(takes(
        "maintenance that says nothing: the class's windows hold",
        one("/spec/maintenance", json!({})),
    ));
    cases.push(refuses(
        "no window",
        one("/spec/maintenance/windows", json!([])),
        "windows … at least 1 items",
    ));
    cases.extend(freezes_at("/spec/maintenance/freezes", 16));
    cases.extend(
        lengths("/spec/maintenance/freezes/0/reason", 200, letters)
            .into_iter()
            .map(|mut case| {
                case.changes
                    .insert(0, ("/spec/maintenance/freezes", json!([freeze()])));
                case
            }),
    );
    cases
}

fn freeze() -> Value {
    json!({"from": "2026-12-18T00:00:00+01:00", "until": "2027-01-07T00:00:00+01:00", "reason": "accounts"})
}

/// Freezes of a tenant, of a channel, and of a ring, by their path.
pub fn freezes_at(path: &'static str, most: usize) -> Vec<Case> {
    let of = |changes: &[(&str, Value)]| -> Changes {
        let mut freeze = freeze();
        for (field, value) in changes {
            freeze[*field] = value.clone();
        }
        vec![(path, json!([freeze]))]
    };
    let between = |from: &str, until: &str| of(&[("from", json!(from)), ("until", json!(until))]);
    let ends = "a freeze ends after it has begun";
    let mut cases = vec![
        takes(format!("{path}: one"), of(&[])),
        takes(format!("{path}: none"), vec![(path, json!([]))]),
        takes(
            format!("{path}: {most}"),
            vec![(path, json!(vec![freeze(); most]))],
        ),
        refuses(
            format!("{path}: {}", most + 1),
            vec![(path, json!(vec![freeze(); most + 1]))],
            &format!("freezes…must have at most {most} items"),
        ),
        takes(
            format!("{path}: a second"),
            between("2026-12-18T00:00:00Z", "2026-12-18T00:00:01Z"),
        ),
        refuses(
            format!("{path}: no time at all"),
            between("2026-12-18T00:00:00Z", "2026-12-18T00:00:00Z"),
            ends,
        ),
        refuses(
            format!("{path}: one that ends before it begins"),
            between("2026-12-18T00:00:01Z", "2026-12-18T00:00:00Z"),
            ends,
        ),
        // By the clock on the wall it ends after it has begun.
        refuses(
            format!("{path}: one that ends before it begins, in another zone"),
            between("2026-12-18T00:00:00Z", "2026-12-18T00:30:00+01:00"),
            ends,
        ),
        takes(
            format!("{path}: one that only seems to end before it begins"),
            between("2026-12-18T00:30:00+01:00", "2026-12-18T00:00:00Z"),
        ),
        refuses(
            format!("{path}: without a reason"),
            of(&[("reason", Value::Null)]),
            "reason",
        ),
        refuses(
            format!("{path}: with an empty reason"),
            of(&[("reason", json!(""))]),
            "reason",
        ),
        refuses(
            format!("{path}: of some tenants"),
            of(&[("tenants", json!(["acme"]))]),
            "unknown field",
        ),
    ];
    for field in ["from", "until"] {
        cases.push(refuses(
            format!("{path}: without {field}"),
            of(&[(field, Value::Null)]),
            field,
        ));
        cases.extend(wrong_instants().map(|wrong| {
            refuses(
                format!("{path}: {field} {wrong:?}"),
                of(&[(field, json!(wrong))]),
                field,
            )
        }));
    }
    cases
}

/// Of most of these the format `date-time` thinks well, and nobody can read them.
pub fn wrong_instants() -> impl Iterator<Item = &'static str> {
    [
        "9999-12-31T23:59:59Z",
        "3000-01-01T00:00:00Z",
        "1999-12-31T23:59:59Z",
        "2026-12-31T23:59:59+99:59",
        "2026-12-31T23:59:59+15:00",
        "2026-12-31T23:59:59x5Z",
        "2026-12-31T23:59:59.123456789012Z",
        "2026-12-31t23:59:59z",
        "2026-12-31T23:59:60Z",
        "2026-12-31T24:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-12-31T23:59:59",
        "2026-12-31",
        "-1",
        "never",
        "",
    ]
    .into_iter()
}
