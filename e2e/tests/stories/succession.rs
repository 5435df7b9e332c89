//! One certificate authority follows another, under a load of new connections: nobody is refused when it is done in its time, and
//! what a revocation interrupts is over in some minutes.

use std::time::{Duration, Instant};

use freehold_e2e::fault_proxy::Fault;
use freehold_e2e::operator::{self, StandIn};
use freehold_e2e::prober::{APPLICATION, DATABASE, EDGE, Prober, Report};
use freehold_e2e::tls::{self, End};
use freehold_e2e::{install, kube};
use serde_json::{Value, json};

use crate::kills::{during, rest};
use crate::stage::{Guest, MINUTE, calm, change, class, lab, namespace, tenant_manifest, wait_ready};

/// A class whose certificates live as short as a class may say, with the least overlap of authorities.
const CLASS: &str = "successive";
/// The longest that a kubelet of the lab, and a pod that reads its files each second, take with a new authority.
const TAKEN: Duration = Duration::from_secs(180);

fn guest(name: &'static str) -> Guest {
    calm();
    class(CLASS, |spec| {
        spec["certificates"] = json!({"lifetime": "10m", "overlap": "1m"});
    });
    let guest = Guest::absent(name);
    let mut manifest = tenant_manifest(guest.0, 1);
    manifest["spec"]["className"] = json!(CLASS);
    kube::apply(lab(), &[manifest]).unwrap();
    wait_ready(guest.0, 4 * MINUTE);
    guest
}

fn status(tenant: &str) -> Value {
    kube::get(lab(), &["tenant", tenant]).unwrap()["status"].clone()
}

pub fn bundle(tenant: &str) -> String {
    let map = kube::get(lab(), &["-n", &namespace(tenant), "configmap", "ca"]).unwrap();
    map["data"]["ca.crt"].as_str().unwrap().to_owned()
}

/// The TenantOperations that replaced this tenant's authority, in the order in which they were made.
fn operations(tenant: &str) -> Vec<Value> {
    let found = kube::get(lab(), &["-n", install::NAMESPACE, "tenantoperations"]).unwrap();
    let life = status(tenant)["incarnation"].clone();
    let mut operations: Vec<Value> = found["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|o| o["spec"]["type"] == "AuthorityRotation" && o["spec"]["incarnation"] == life)
        .cloned()
        .collect();
    operations.sort_by_key(|o| o["metadata"]["creationTimestamp"].to_string());
    operations
}

fn tell(tenant: &str) {
    for operation in operations(tenant) {
        println!(
            "{} {}",
            operation["metadata"]["name"], operation["status"]["phase"]
        );
        for line in operation["status"]["evidence"].as_array().unwrap() {
            println!("  {} {}: {}", line["at"], line["step"], line["message"]);
        }
    }
}

/// What the one succession of this tenant says of a step that is over.
fn evidence(tenant: &str, step: &str) -> String {
    let all = operations(tenant);
    let lines = all[0]["status"]["evidence"].as_array().unwrap();
    let line = lines.iter().find(|line| line["step"] == step).unwrap();
    line["message"].as_str().unwrap().to_owned()
}

fn until_step(tenant: &str, step: &str, limit: Duration) {
    let what = format!("the step {step}");
    let reached = kube::until(&what, limit, || {
        Ok((status(tenant)["operation"]["step"] == step).then_some(()))
    });
    reached.unwrap_or_else(|error| panic!("{error:#}: {:#}", status(tenant)["blockers"]));
}

pub fn is_verified(end: &End, roots: &str) -> bool {
    let agreed = tls::handshake(lab(), end, roots, &[]).unwrap();
    agreed.is_some_and(|agreed| agreed.is_verified())
}

/// Nothing failed, and the servers of every lane showed certificates of two authorities.
fn assert_unnoticed(report: &Report) {
    println!("{report}");
    report.flawless().unwrap();
    for name in [EDGE, APPLICATION, DATABASE] {
        let lane = report.lane(name).unwrap();
        assert_eq!(lane.issuers(), 2, "{name} showed {:?}", lane.leaves);
    }
}

#[test]
#[ignore = "minutes: cargo xtask bench an_authority_is_replaced"]
fn an_authority_is_replaced_under_a_load_without_a_failure_and_a_compromised_one_at_once() {
    let guest = guest("dynasty");
    let ends = tls::ends(lab(), guest.0).unwrap();
    let first = bundle(guest.0);
    let prober = Prober::start(lab(), guest.0).unwrap();
    change(guest.0, &json!({"certificates": {"rotateAuthority": "story"}}));
    until_step(guest.0, "Prove", MINUTE);
    let both = bundle(guest.0);
    assert!(both.starts_with(&first) && both.len() > first.len());
    until_step(guest.0, "Drain", MINUTE + TAKEN);
    let proof = evidence(guest.0, "Prove");
    println!("{proof}");
    assert!(
        proof.contains("the gateway trusts it, and passed requests on"),
        "{proof}"
    );
    // Longer than everybody takes to show what was issued.
    let next = both.strip_prefix(&first).unwrap().to_owned();
    kube::until(
        "every end to show a certificate of the new authority",
        TAKEN,
        || Ok(ends.iter().all(|end| is_verified(end, &next)).then_some(())),
    )
    .unwrap();
    assert_unnoticed(&prober.stop().unwrap());

    // The new one is stolen, while the old one is still trusted.
    let begin = Instant::now();
    change(guest.0, &json!({"certificates": {"revokeAuthority": "stolen"}}));
    kube::until("the interruption to be told", MINUTE, || {
        let blockers = status(guest.0)["blockers"].clone();
        let told = blockers
            .as_array()
            .into_iter()
            .flatten()
            .find(|b| b["reason"] == "AuthorityRevoked");
        Ok(told.cloned())
    })
    .map(|told| println!("{}", told["message"]))
    .unwrap();
    kube::until("the revocation to be acknowledged", TAKEN + MINUTE, || {
        Ok((status(guest.0)["authority"]["revocationAcknowledged"] == "stolen").then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:#}", status(guest.0)));
    println!("revoked after {:.0} s", begin.elapsed().as_secs_f64());
    tell(guest.0);
    let now = bundle(guest.0);
    for end in &ends {
        assert!(is_verified(end, &now), "{}", end.name);
        assert!(
            !is_verified(end, &both),
            "{} shows what the old ones vouch for",
            end.name
        );
    }
    let phases: Vec<Value> = operations(guest.0)
        .iter()
        .map(|o| o["status"]["phase"].clone())
        .collect();
    assert_eq!(phases, ["Cancelled", "Succeeded"]);
    let secret = ["-n", install::KEYS, "secret", &format!("tenant-{}-ca", guest.0)];
    let secret = kube::get(lab(), &secret).unwrap();
    let keys: Vec<&String> = secret["data"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["tls.crt", "tls.key"], "nothing is left of the others");
    wait_ready(guest.0, MINUTE);
    guest.gone();
    kube::kubectl(lab(), &["delete", "tenantclass", CLASS]).unwrap();
}

#[test]
#[ignore = "a quarter of an hour, in which a life of certificates passes: cargo xtask bench"]
fn a_whole_succession_under_a_load_goes_through_although_the_operator_is_killed_at_each_write() {
    let guest = guest("phoenix");
    let first = bundle(guest.0);
    let stand_in = StandIn::start(lab(), &operator::binary(lab()).unwrap(), &[]).unwrap();
    rest(&stand_in);
    let prober = Prober::start(lab(), guest.0).unwrap();
    during(
        &stand_in,
        Fault::KillAfterAnswer,
        "its authority replaced",
        || {
            change(guest.0, &json!({"certificates": {"rotateAuthority": "bench"}}));
            kube::until("the rotation to be acknowledged", 20 * MINUTE, || {
                Ok((status(guest.0)["authority"]["acknowledged"] == "bench").then_some(()))
            })
            .unwrap_or_else(|error| panic!("{error:#}: {:#}", status(guest.0)));
        },
    );
    tell(guest.0);
    assert_unnoticed(&prober.stop().unwrap());
    let now = bundle(guest.0);
    assert!(!now.contains(&first) && operations(guest.0).len() == 1);
    for end in tls::ends(lab(), guest.0).unwrap() {
        assert!(
            is_verified(&end, &now) && !is_verified(&end, &first),
            "{}",
            end.name
        );
    }
    guest.gone();
    kube::kubectl(lab(), &["delete", "tenantclass", CLASS]).unwrap();
}
