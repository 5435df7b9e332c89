//! Attacks that need a running tenant: planted objects, objects that don't end, a quota without room, a tenant that flaps;
//! and whether a secret is anywhere that people look.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freehold_e2e::lab::cel::cel_cost;
use freehold_e2e::needles::Needles;
use freehold_e2e::{install, kube};
use freehold_keys::DataKey;
use serde_json::{Value, json};

use crate::key_faults::witness::Witness;
use crate::stage::{
    Guest, MINUTE, calm, change, lab, logs, namespace, operator_away, tenant_manifest, wait_ready,
};

/// Objects that somebody put under the names that a tenant will need, before it does.
#[test]
fn objects_planted_under_our_names_are_named_and_left_alone() {
    let guest = Guest::ready("planted", 1);
    let namespace = namespace(guest.0);
    // The class copy stands in for all: deleted, and put back by somebody else under the same name.
    let away = operator_away();
    let names = [("serviceaccount", "hooks"), ("networkpolicy", "worker")];
    let mut uids = BTreeMap::new();
    for (kind, name) in names {
        kube::kubectl(lab(), &["-n", &namespace, "delete", kind, name]).unwrap();
        let object = match kind {
            "serviceaccount" => json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": name, "namespace": namespace}}),
            _ => json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}}),
        };
        kube::apply(lab(), &[object]).unwrap();
        let planted = kube::get(lab(), &["-n", &namespace, kind, name]).unwrap();
        uids.insert(name, planted["metadata"]["uid"].clone());
    }
    drop(away);
    let object = kube::wait_condition(lab(), &["tenant", guest.0], "Stalled", "True", MINUTE).unwrap();
    assert_eq!(object["status"]["blockers"][0]["reason"], "ObjectNotOurs");
    assert_eq!(kube::condition(&object, "Serving"), "True");
    for (kind, name) in names {
        let planted = kube::get(lab(), &["-n", &namespace, kind, name]).unwrap();
        assert_eq!(
            planted["metadata"]["uid"], uids[name],
            "{kind} {name} was replaced"
        );
        assert!(
            planted["metadata"]["labels"]["freehold.dev/tenant"].is_null(),
            "{kind} {name} was merged into"
        );
        kube::kubectl(lab(), &["-n", &namespace, "delete", kind, name]).unwrap();
    }
    wait_ready(guest.0, 2 * MINUTE);
}

/// How long a deleted policy of a tenant is away: the longest of five times.
pub fn repair(namespace: &str) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..5 {
        let name = ["-n", namespace, "networkpolicy", "worker"];
        let before = kube::get(lab(), &name).unwrap()["metadata"]["uid"].clone();
        kube::kubectl(
            lab(),
            &[
                "-n",
                namespace,
                "delete",
                "networkpolicy",
                "worker",
                "--wait=false",
            ],
        )
        .unwrap();
        let begin = Instant::now();
        kube::until("the policy to be back", MINUTE, || {
            let now = kube::get(lab(), &name)?;
            Ok((now["metadata"]["uid"] != before).then_some(()))
        })
        .unwrap();
        longest = longest.max(begin.elapsed());
    }
    longest
}

#[test]
fn a_tenant_that_flaps_does_not_slow_the_others() {
    calm();
    let guest = Guest::ready("flapping", 1);
    wait_ready("acme", MINUTE);
    let acme = namespace("acme");
    let calm = repair(&acme);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (restless, flaps) = std::thread::scope(|scope| {
        let flapper = scope.spawn(|| {
            let mut flaps = 0;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                // Each is a pass and a status, and no pod restarts: what is measured is the operator, not the kubelet.
                let policy = if flaps % 2 == 0 { "Delete" } else { "Retain" };
                change(guest.0, &json!({"deletionPolicy": policy}));
                flaps += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            flaps
        });
        let restless = repair(&acme);
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        (restless, flapper.join().unwrap())
    });
    println!(
        "the longest of five repairs: {calm:?} at rest, {restless:?} beside {flaps} changes of another tenant"
    );
    assert!(flaps >= 3, "{flaps}");
    assert!(
        restless < calm * 2 + Duration::from_secs(1),
        "{restless:?} against {calm:?}"
    );
}

/// Keys of Secrets' data that hold what is secret. Others hold what is derived of it, names, or certificates.
const SECRET: [&str; 4] = ["tls.key", "ca.key", "password", "token"];

/// What nobody may see: all of the tenant's own, the key of its authority, and the root key of the provider `local`.
fn secrets_of(tenant: &str) -> Vec<(String, Vec<u8>)> {
    let own = namespace(tenant);
    let mut found = Vec::new();
    let mut take = |secret: &Value, keys: &[&str]| {
        let (namespace, name) = (&secret["metadata"]["namespace"], &secret["metadata"]["name"]);
        for key in keys {
            if let Some(value) = secret["data"][key].as_str() {
                let name = format!("{}/{} {key}", namespace.as_str().unwrap(), name.as_str().unwrap());
                found.push((name, STANDARD.decode(value).unwrap()));
            }
        }
    };
    let all = kube::get(lab(), &["-n", &own, "secrets"]).unwrap();
    for secret in all["items"].as_array().unwrap() {
        take(secret, &SECRET);
    }
    let authority = format!("tenant-{tenant}-ca");
    for (name, key) in [(authority.as_str(), "tls.key"), ("root-key", "content")] {
        take(
            &kube::get(lab(), &["-n", install::KEYS, "secret", name]).unwrap(),
            &[key],
        );
    }
    for name in [
        format!("{own}/owner token"),
        format!("{own}/edge-tls tls.key"),
        format!("{own}/web-tls tls.key"),
        format!("{own}/application-tls tls.key"),
        format!("{own}/database-tls tls.key"),
        format!("{own}/db-app password"),
        format!("{}/{authority} tls.key", install::KEYS),
        format!("{}/root-key content", install::KEYS),
    ] {
        assert!(
            found.iter().any(|(known, _)| *known == name),
            "{name} is not there"
        );
    }
    found
}

/// The plain data keys, opened with the storage driver's own credential.
fn data_keys(tenant: &str) -> BTreeMap<String, DataKey> {
    let found = kube::until("the data keys to be opened", MINUTE, || {
        let witness = Witness::start(tenant);
        std::thread::sleep(Duration::from_secs(2));
        let keys = witness.stop().keys;
        Ok((!keys.is_empty()).then_some(keys))
    });
    found.unwrap()
}

#[test]
fn nothing_secret_is_written_where_people_look() {
    wait_ready("acme", MINUTE);
    let secrets: Vec<(String, Vec<u8>, Needles)> = secrets_of("acme")
        .into_iter()
        .map(|(name, secret)| {
            let needles = Needles::of(&secret);
            let needles = needles.unwrap_or_else(|| panic!("{name} is too short to be searched for"));
            (name, secret, needles)
        })
        .collect();
    let kinds = "tenants,tenantclasses,releases,releasechannels,releaseapprovals,tenantoperations,destructionrecords,hostnameclaims,namespaces,events,events.events.k8s.io,\
        configmaps,deployments,replicasets,pods,jobs,services,networkpolicies,gateways,backendtlspolicies,httproutes,certificates.cert-manager.io,clusters.postgresql.cnpg.io,\
        rolebindings,resourcequotas,leases";
    let objects = kube::kubectl(
        lab(),
        &["get", "-A", kinds, "-o", "json", "--show-managed-fields"],
    )
    .unwrap();
    let audit = std::fs::read_to_string(lab().logs().join("audit.log")).unwrap();
    let mut arguments = String::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        arguments +=
            &String::from_utf8_lossy(&std::fs::read(entry.path().join("cmdline")).unwrap_or_default());
    }
    let name = |name: &str| format!("app.kubernetes.io/name={name}");
    let places = [
        ("objects", objects, 1000),
        ("the audit log", audit, 1000),
        ("arguments of processes", arguments, 1000),
        (
            "the operator's log",
            logs(install::NAMESPACE, &name("freehold")),
            1000,
        ),
        // Its pods may have been started anew right before.
        (
            "the key service's log",
            logs(install::KEYS, &name("freehold-keys")),
            1,
        ),
        (
            "the log of the driver's controller",
            logs("freehold-csi", "app=controller"),
            1,
        ),
        (
            "the log of the driver's nodes",
            logs("freehold-csi", "app=node"),
            1,
        ),
    ];
    for (place, text, least) in &places {
        assert!(text.len() >= *least, "{place} is empty");
        for (name, _, needles) in &secrets {
            assert!(!needles.stands_in(text.as_bytes()), "{name} is in {place}");
        }
    }
    let own = kube::kubectl(lab(), &["get", "secret", "-A", "-o", "json"]).unwrap();
    // A data key is in the clear nowhere at all.
    for (volume, key) in data_keys("acme") {
        let needles = Needles::of(key.as_bytes()).unwrap();
        assert!(needles.stands_in(key.as_bytes()));
        assert!(
            !needles.stands_in(own.as_bytes()),
            "the key of {volume} is in a Secret"
        );
        for (place, text, _) in &places {
            assert!(
                !needles.stands_in(text.as_bytes()),
                "the key of {volume} is in {place}"
            );
        }
    }
    // The search finds each where it is, and would find it as it is and in JSON.
    for (name, secret, needles) in &secrets {
        assert!(
            needles.stands_in(own.as_bytes()),
            "{name} is not found in its Secret"
        );
        assert!(needles.stands_in(secret), "{name} is not found as it is");
        if let Ok(text) = std::str::from_utf8(secret) {
            let text = json!(text).to_string();
            assert!(needles.stands_in(text.as_bytes()), "{name} is not found in JSON");
        }
    }
    println!(
        "{} secrets, each in none of {} places",
        secrets.len(),
        places.len()
    );
}

/// Every list full, every text as long as it may be.
fn largest() -> Value {
    let mut tenant = tenant_manifest(&"x".repeat(40), 3);
    let long = |n: usize| "x".repeat(n);
    let name = |n: usize| {
        let label = format!("{n}{}", "x".repeat(60));
        let tail: Vec<String> = std::iter::repeat_n("y".repeat(61), 2).collect();
        format!("{label}.{}.example", tail.join("."))
    };
    let window = json!({"rule": format!("FREQ=WEEKLY;BYDAY=SU;BYHOUR={}0", "1,".repeat(107)), "timeZone": long(64),
        "start": "2026-01-04T03:00:00", "duration": "24h"});
    let spec = &mut tenant["spec"];
    let groups =
        |prefix: &str| -> Vec<String> { (0..16).map(|n| format!("{prefix}{n:02}{}", long(120))).collect() };
    spec["displayName"] = json!(long(100));
    spec["owner"] = json!({"email": format!("{}@{}", long(120), long(120)), "name": long(100)});
    spec["administrators"] = json!({"groups": groups("a")});
    spec["viewers"] = json!({"groups": groups("b")});
    spec["region"] = json!(long(40));
    spec["hostnames"] = json!((0..8).map(name).collect::<Vec<_>>());
    spec["database"] = json!({"instances": 3, "storageSize": "999999999999999.999Ti"});
    spec["quota"] = json!({"cpu": "999999999999999.999m", "memory": "999999999999999.999Ti",
        "storage": "999999999999999.999Ti", "pods": 1000});
    let ports: Vec<Value> = (1..=8).map(|n| json!({"port": n, "protocol": "TCP"})).collect();
    let rules = (0..16).map(|n| {
        json!({"cidr": format!("2001:db8:{n:x}:ffff:ffff:ffff:ffff:ffff/128"), "description": long(200),
        "ports": ports})
    });
    spec["egress"] = rules.collect();
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        long(8100)
    );
    spec["sso"] = json!({"saml": {"entityId": long(1024), "endpoint": format!("https://idp.example/{}", long(1000)),
        "signingCertificate": pem, "alternateId": long(256)}});
    spec["maintenance"] = json!({"windows": vec![window; 8], "freezes": vec![freeze(); 16]});
    spec["release"] = json!({"channel": long(63), "pin": {"name": long(120), "until": "2027-01-07T00:00:00+01:00", "reason": long(500)}});
    spec["adopt"] = json!({"incarnation": "aaaaaaaa-0000-4000-8000-000000000001"});
    tenant
}

fn freeze() -> Value {
    json!({"from": "2026-12-18T00:00:00+01:00", "until": "2027-01-07T00:00:00+01:00", "reason": "x".repeat(200)})
}

/// As [`largest`], a channel: twelve rings, each with all that a ring can have.
fn largest_channel() -> Value {
    let long = |n: usize| "x".repeat(n);
    let groups: Vec<String> = (0..8).map(|n| format!("{n}{}", long(252))).collect();
    let approval = json!({"groups": groups, "required": 5});
    let image = format!("{}@sha256:{}", long(228), "0".repeat(64));
    let gate = |n: usize| match n % 2 {
        0 => {
            json!({"name": format!("g{n}{}", long(28)), "test": {"image": image, "args": vec![long(256); 16]}})
        }
        _ => json!({"name": format!("g{n}{}", long(28)), "manual": approval}),
    };
    let labels: serde_json::Map<String, Value> = (0..8)
        .map(|n| (format!("{n}{}", long(62)), json!(long(63))))
        .collect();
    let ring = |n: usize| {
        json!({"name": format!("r{n:02}{}", long(37)), "soak": "2592000s", "release": long(120), "approval": approval,
        "gates": (0..8).map(gate).collect::<Vec<_>>(), "canary": 50, "maxConcurrent": "100%", "failureThreshold": "100%",
        "freezes": vec![freeze(); 16], "resume": long(63),
        "tenants": {"environments": ["Development", "Testing", "Staging", "Production"], "matchLabels": labels}})
    };
    json!({"apiVersion": "freehold.dev/v1alpha1", "kind": "ReleaseChannel", "metadata": {"name": long(63)}, "spec": {
        "product": long(40), "rings": (0..12).map(ring).collect::<Vec<_>>(), "freezes": vec![freeze(); 32],
        "emergency": {"release": long(120), "reason": long(500)}}})
}

#[test]
fn the_rules_cost_less_than_half_of_the_budget() {
    for (plural, object, field, other) in [
        ("tenants", largest(), "seats", json!(6)),
        ("releasechannels", largest_channel(), "paused", json!(true)),
    ] {
        let definition = lab().repo.join(format!("crds/{plural}.freehold.dev.yaml"));
        let created = cel_cost(lab(), &definition, &object, None).unwrap();
        let mut changed = object.clone();
        changed["spec"][field] = other;
        let updated = cel_cost(lab(), &definition, &changed, Some(&object)).unwrap();
        for (what, (used, budget)) in [("create", created), ("update", updated)] {
            println!("the largest of {plural}, {what}: {used} of {budget}");
            assert!(used * 2 < budget, "{plural}, {what}: {used} of {budget}");
        }
    }
}
