//! Sizes, and what looks like one.

use crate::admission::table::{Case, one, refuses, takes};

pub fn cases() -> Vec<Case> {
    let size = |text: &str| one("/spec/database/storageSize", text);
    let mut cases = Vec::new();
    for good in [
        "100Mi",
        "1Gi",
        "1.5Gi",
        "104857600",
        "2Ti",
        "1000G",
        "999999999999999Ti",
        "1048576000.000k",
    ] {
        cases.push(takes(format!("storage of {good}"), size(good)));
    }
    for little in ["0", "0Gi", "5", "99Mi", "100m", "0.5Mi"] {
        cases.push(refuses(
            format!("storage of {little}"),
            size(little),
            "storageSize is at least 100Mi",
        ));
    }
    for (size, verdict) in [("2Gi", true), ("2047Mi", false), ("5", false)] {
        let log = one("/spec/database/walStorageSize", size);
        cases.push(if verdict {
            takes(format!("a log's volume of {size}"), log)
        } else {
            refuses(
                format!("a log's volume of {size}"),
                log,
                "walStorageSize is at least 2Gi",
            )
        });
    }
    for wrong in [
        "-1Gi",
        "+1Gi",
        "1e3Gi",
        "1e9",
        "1E3",
        "1GiB",
        "1 Gi",
        "Gi",
        ".5Gi",
        "1.",
        "1gi",
        "0x10",
        "1,5Gi",
        "1_000",
        "NaN",
        "Inf",
        "",
        "1Gi\n",
        "1.0001Gi",
        "1Ei",
        "9999999999999999",
        "１Gi",
    ] {
        cases.push(refuses(
            format!("storage of {wrong:?}"),
            size(wrong),
            "storageSize…should match",
        ));
        cases.push(refuses(
            format!("a quota of {wrong:?}"),
            one("/spec/quota/memory", wrong),
            "quota.memory…should match",
        ));
    }
    cases.push(refuses(
        "storage of 21 characters",
        size("100000000000000.00000"),
        "storageSize…Too long",
    ));
    for (path, value) in [
        ("/spec/quota/cpu", "500m"),
        ("/spec/quota/cpu", "0"),
        ("/spec/quota/memory", "8Gi"),
        ("/spec/quota/storage", "1Ti"),
    ] {
        cases.push(takes(format!("{path} of {value}"), one(path, value)));
    }
    cases
}
