//! Hostnames: of the domain name system, and nobody else's.

use serde_json::{Value, json};

use crate::admission::table::{Case, letters, one, refuses, takes};

pub fn cases() -> Vec<Case> {
    let hosts = |value: Value| one("/spec/hostnames", value);
    let labels = |count: usize| -> Vec<String> { (0..count).map(|n| format!("n{n}.example.com")).collect() };
    let long = |n: usize| {
        format!(
            "{}.{}.{}.{}",
            letters(63),
            letters(63),
            letters(63),
            letters(n - 192)
        )
    };
    assert_eq!(long(253).len(), 253);
    let mut cases = vec![
        takes("eight hostnames", hosts(json!(labels(8)))),
        refuses(
            "nine hostnames",
            hosts(json!(labels(9))),
            "spec.hostnames…must have at most 8 items",
        ),
        refuses("no hostname", hosts(json!([])), "spec.hostnames…at least 1 items"),
        refuses(
            "a hostname twice",
            hosts(json!(["a.example.com", "a.example.com"])),
            "spec.hostnames[1]…Duplicate value",
        ),
        takes("a hostname of 253 characters", hosts(json!([long(253)]))),
        refuses(
            "a hostname of 254 characters",
            hosts(json!([long(254)])),
            "spec.hostnames[0]…Too long",
        ),
        takes(
            "a label of 63 characters",
            hosts(json!([format!("{}.example", letters(63))])),
        ),
        takes("a name in Punycode", hosts(json!(["xn--bcher-kva.example"]))),
        takes(
            "a name in the reserved domain localhost",
            hosts(json!(["story.localhost"])),
        ),
    ];
    for wrong in [
        "UPPER.example",
        "bücher.example",
        "*.example.com",
        "single",
        "a..b",
        ".example.com",
        "example.com.",
        "-a.example",
        "a-.example",
        "a_b.example",
        "a.example:8443",
        "https://a.example",
        "a.example/",
        "a b.example",
        "",
        "a.example\n",
        "user@a.example",
        &format!("{}.example", letters(64)),
        "[::1]",
        "2001:db8::1",
        "a.exam\u{0}ple",
    ] {
        cases.push(refuses(
            format!("the hostname {wrong:?}"),
            hosts(json!([wrong])),
            "spec.hostnames[0]",
        ));
    }
    for address in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "1.2",
        "a.1e3",
        "0x7f.0x1",
    ] {
        cases.push(refuses(
            format!("the hostname {address}"),
            hosts(json!([address])),
            "a hostname is a name, not an address",
        ));
    }
    for own in [
        "kubernetes.default.svc",
        "api.tenant-acme.svc.cluster.local",
        "x.cluster.local",
    ] {
        let name = format!("the hostname {own} as the second");
        cases.push(refuses(
            name,
            hosts(json!(["a.example.com", own])),
            "the cluster's own",
        ));
    }
    cases
}
