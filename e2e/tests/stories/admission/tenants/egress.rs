//! Ranges of addresses that are reached: none of the node's own, none of the cloud's.

use serde_json::{Value, json};

use crate::admission::table::{Case, lengths_of, letters, one, refuses, takes};

pub fn cases() -> Vec<Case> {
    let to = |cidr: &str| one("/spec/egress", json!([{"cidr": cidr, "ports": [{"port": 443}]}]));
    let rules = |count: usize| -> Vec<Value> {
        (0..count)
            .map(|n| json!({"cidr": format!("203.0.113.{n}/32"), "ports": [{"port": 443}]}))
            .collect()
    };
    let ports = |count: usize| -> Vec<Value> { (0..count).map(|n| json!({"port": 1000 + n})).collect() };
    let with_ports = |ports: Vec<Value>| {
        one(
            "/spec/egress",
            json!([{"cidr": "203.0.113.0/24", "ports": ports}]),
        )
    };
    let mut cases = vec![
        takes("16 egress rules", one("/spec/egress", json!(rules(16)))),
        refuses(
            "17 egress rules",
            one("/spec/egress", json!(rules(17))),
            "spec.egress…must have at most 16 items",
        ),
        takes("8 ports", with_ports(ports(8))),
        refuses("9 ports", with_ports(ports(9)), "ports…must have at most 8 items"),
        refuses("no port", with_ports(vec![]), "ports…at least 1 items"),
        takes("UDP", with_ports(vec![json!({"port": 53, "protocol": "UDP"})])),
        refuses(
            "SCTP",
            with_ports(vec![json!({"port": 53, "protocol": "SCTP"})]),
            "protocol…Unsupported value",
        ),
        refuses(
            "a named port",
            with_ports(vec![json!({"port": "https"})]),
            "port…must be of type integer",
        ),
    ];
    cases.extend(lengths_of("/spec/egress/description", 200, letters, |text| {
        one(
            "/spec/egress",
            json!([{"description": text, "cidr": "203.0.113.0/24", "ports": [{"port": 443}]}]),
        )
    }));
    for good in [
        "203.0.113.10/32",
        "0.0.0.0/0",
        "2001:db8::/32",
        "::/0",
        "fd00::/8",
        "10.0.0.0/8",
    ] {
        cases.push(takes(format!("egress to {good}"), to(good)));
    }
    let form = "cidr is an address range without host bits";
    for wrong in [
        "203.0.113.10/24",
        "203.0.113.10",
        "203.0.113.0/33",
        "2001:db8::1/32",
        "anything",
        "203.0.113.0/-1",
        "0/0",
        "203.0.113.0/024",
        "203.000.113.0/24",
        "::ffff:10.0.0.0/104",
        "::ffff:169.254.169.254/128",
        "fe80::%eth0/64",
        " 203.0.113.0/24",
        "203.0.113.0/24\n",
    ] {
        cases.push(refuses(format!("egress to {wrong:?}"), to(wrong), form));
    }
    for never in [
        "169.254.169.254/32",
        "169.254.0.0/16",
        "127.0.0.1/32",
        "127.0.0.0/8",
        "fe80::/10",
        "fe80::1/128",
        "::1/128",
    ] {
        cases.push(refuses(
            format!("egress to {never}"),
            to(never),
            "link-local addresses (cloud metadata) and loopback",
        ));
    }
    cases.push(refuses("an empty range", to(""), "cidr"));
    cases.push(refuses(
        "a range of 44 characters",
        to(&letters(44)),
        "cidr…Too long",
    ));
    cases
}
