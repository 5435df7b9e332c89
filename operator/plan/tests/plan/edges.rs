//! The gateway's certificates: hostnames come and go, and whoever trusts the root that was handed out before is served at the others.

use std::collections::BTreeMap;

use freehold_plan::{Certificate, EdgeSlot, Id, Kind, Leaf, Slot};
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::given;
use crate::keys::says;
use crate::simulation::{ready, silent};

const FIRST: &str = "acme.example";
const SECOND: &str = "more.example";
const THIRD: &str = "third.example";
const ISSUED: &str = "edge-issued-tls";

fn settled(hostnames: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(given::new("acme"));
    name(&mut cluster, hostnames);
    cluster.settle();
    cluster.settle();
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    cluster.log.clear();
    cluster
}

fn name(cluster: &mut Cluster, hostnames: &[&str]) {
    cluster.given.tenant.spec.hostnames = hostnames.iter().map(|name| (*name).to_owned()).collect();
}

/// Each hostname with the Secret that the Gateway refers to for it.
fn shown(cluster: &Cluster) -> Vec<(String, String)> {
    let gateway = cluster.body(Kind::Gateway, "edge");
    let listeners = gateway.and_then(|gateway| gateway["spec"]["listeners"].as_array());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let pair = |listener: &Value| {
        let secret = &listener["tls"]["certificateRefs"][0]["name"];
        Some((text(&listener["hostname"])?, text(secret)?))
    };
    listeners.into_iter().flatten().filter_map(pair).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, secret): &(&str, &str)| ((*name).to_owned(), (*secret).to_owned());
    pairs.iter().map(owned).collect()
}

fn certificate<'a>(cluster: &'a Cluster, secret: &str) -> Option<&'a Certificate> {
    cluster
        .minted
        .leaf(Leaf::Edge(EdgeSlot::of_secret(secret)?))
        .present()
}

fn names<'a>(cluster: &'a Cluster, secret: &str) -> &'a [String] {
    certificate(cluster, secret).map_or(&[], |there| &there.dns_names)
}

fn permitted(cluster: &Cluster) -> &[String] {
    &cluster.minted.authority.present().unwrap().permitted
}

/// What the operator sees of a Secret that is lost or another's.
fn put(cluster: &mut Cluster, secret: &str, slot: Slot<Certificate>) {
    let leaf = Leaf::Edge(EdgeSlot::of_secret(secret).unwrap());
    cluster.minted.leaves.insert(leaf, slot);
}

/// Each listener that doesn't show what an issuer has issued is there with a certificate that bears its name, and that the root which
/// is handed out now vouches for.
fn all_is_served(cluster: &Cluster) {
    let own = shown(cluster).into_iter().filter(|(_, secret)| secret != ISSUED);
    for (hostname, secret) in own {
        let names = names(cluster, &secret);
        assert!(
            names.contains(&hostname),
            "{hostname} is shown with {names:?} of {secret}"
        );
        let permitted = permitted(cluster);
        assert!(
            names.iter().all(|name| permitted.contains(name)),
            "{names:?} under {permitted:?}"
        );
    }
}

/// Settles, and looks after each single effect.
fn live(cluster: &mut Cluster, look: impl Fn(&Cluster)) {
    for _ in 0..50 {
        let effects = cluster.clone().pass(usize::MAX);
        for k in 0..=effects {
            let mut half = cluster.clone();
            half.pass(k);
            look(&half);
        }
        cluster.pass(usize::MAX);
        if !cluster.tick() && effects == 0 {
            return;
        }
    }
    panic!("no rest:\n{}", cluster.log.join("\n"));
}

/// Where a line of the log is that holds all of these words.
fn at(cluster: &Cluster, words: &[&str]) -> usize {
    let mut log = cluster.log.iter();
    let found = log.position(|line| words.iter().all(|word| line.contains(word)));
    found.unwrap_or_else(|| panic!("no {words:?} in\n{}", cluster.log.join("\n")))
}

#[test]
fn a_hostname_that_is_added_leaves_what_the_others_show_as_it_is() {
    let mut cluster = settled(&[FIRST]);
    let before = certificate(&cluster, "edge-tls").unwrap().clone();
    name(&mut cluster, &[SECOND, FIRST]);
    live(&mut cluster, |cluster| {
        all_is_served(cluster);
        let now = certificate(cluster, "edge-tls").unwrap();
        assert_eq!(now.fingerprint, before.fingerprint);
        assert!(shown(cluster).contains(&(FIRST.into(), "edge-tls".into())));
    });
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    assert_eq!(
        shown(&cluster),
        pairs(&[(SECOND, "edge-tls-1"), (FIRST, "edge-tls")])
    );
    assert_eq!(names(&cluster, "edge-tls-1"), [SECOND]);
    assert_eq!(
        says(&mut cluster, "CertificateReady").split(';').next(),
        Some("True Ready: 6 certificates")
    );
    // The root first, and the listener only when there is something to show.
    let minted = at(&cluster, &["MintCertificate", SECOND]);
    assert!(at(&cluster, &["ReissueAuthority", SECOND]) < minted);
    assert!(minted < at(&cluster, &["apply Gateway"]));
    silent(&mut cluster);
}

#[test]
fn the_root_is_narrowed_when_the_gateway_has_no_listener_left_for_what_was_given_up() {
    let mut cluster = settled(&[FIRST, SECOND]);
    let before = certificate(&cluster, "edge-tls-1").unwrap().clone();
    name(&mut cluster, &[SECOND]);
    live(&mut cluster, |cluster| {
        all_is_served(cluster);
        let now = certificate(cluster, "edge-tls-1").unwrap();
        assert_eq!(now.fingerprint, before.fingerprint);
        let listens = shown(cluster).iter().any(|(name, _)| name == FIRST);
        let permits = permitted(cluster).iter().any(|name| name == FIRST);
        assert!(permits || !listens, "{:#?}", cluster.log);
    });
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    assert_eq!(permitted(&cluster), [SECOND, "tenant-acme.svc.cluster.local"]);
    assert!(at(&cluster, &["apply Gateway"]) < at(&cluster, &["ReissueAuthority"]));
    silent(&mut cluster);
}

#[test]
fn what_lies_in_a_place_that_is_nobodys_is_neither_renewed_nor_told_of_and_is_used_again() {
    let mut cluster = settled(&[FIRST, SECOND]);
    name(&mut cluster, &[FIRST]);
    cluster.settle();
    let left = certificate(&cluster, "edge-tls-1").unwrap().clone();
    cluster.given.config.verification = None;
    let end = left.not_after + SignedDuration::from_hours(24 * 30);
    cluster.live_until(end, |cluster| assert!(ready(cluster)));
    assert_eq!(certificate(&cluster, "edge-tls-1"), Some(&left));
    let told = cluster.plan().status.certificates;
    assert!(told.iter().all(|told| told.name != "edge-tls-1"), "{told:?}");
    assert!(says(&mut cluster, "CertificateReady").starts_with("True Ready: 5 certificates"));

    name(&mut cluster, &[FIRST, THIRD]);
    live(&mut cluster, all_is_served);
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    assert_eq!(
        shown(&cluster),
        pairs(&[(FIRST, "edge-tls"), (THIRD, "edge-tls-1")])
    );
    assert_eq!(names(&cluster, "edge-tls-1"), [THIRD]);
}

#[test]
fn a_hostname_that_comes_back_is_not_shown_with_what_has_ended_meanwhile() {
    for weeks in [0, 4] {
        let mut cluster = settled(&[FIRST, SECOND]);
        name(&mut cluster, &[FIRST]);
        cluster.settle();
        cluster.given.config.verification = None;
        let later = cluster.given.now + SignedDuration::from_hours(24 * 7 * weeks);
        cluster.live_until(later, |_| {});
        cluster.given.now = later;
        name(&mut cluster, &[FIRST, SECOND]);
        live(&mut cluster, |cluster| {
            all_is_served(cluster);
            for (_, secret) in shown(cluster) {
                assert!(certificate(cluster, &secret).unwrap().not_after > cluster.given.now);
            }
        });
        assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
        assert_eq!(shown(&cluster).len(), 2);
    }
}

#[test]
fn what_the_authority_is_not_for_any_more_is_not_renewed_without_a_class() {
    let mut cluster = settled(&[FIRST, SECOND]);
    name(&mut cluster, &[FIRST]);
    cluster.settle();
    let left = certificate(&cluster, "edge-tls-1").unwrap().not_after;
    without_class(&mut cluster);
    name(&mut cluster, &[FIRST, SECOND]);
    cluster.given.now = left;
    let actions = format!("{:?}", cluster.plan().actions);
    assert!(
        actions.contains("EdgeSlot(0)") && !actions.contains("EdgeSlot(1)"),
        "{actions}"
    );
}

/// Its copy is gone, too.
fn without_class(cluster: &mut Cluster) {
    cluster.given.class = None;
    cluster.lose(&Id {
        kind: Kind::ConfigMap,
        namespace: "tenant-acme".into(),
        name: "class".into(),
    });
}

/// As it was when one certificate was for all hostnames.
fn shared(hostnames: &[&str]) -> Cluster {
    shared_behind(hostnames, "edge-tls")
}

/// The same, with a Gateway that refers to another Secret.
fn shared_behind(hostnames: &[&str], secret: &str) -> Cluster {
    let mut cluster = settled(hostnames);
    for slot in EdgeSlot::all().skip(1) {
        cluster.minted.leaves.insert(Leaf::Edge(slot), Slot::Absent);
    }
    let mut one = certificate(&cluster, "edge-tls").unwrap().clone();
    one.dns_names = hostnames.iter().map(|name| (*name).to_owned()).collect();
    one.dns_names.sort();
    put(&mut cluster, "edge-tls", Slot::Present(one));
    let mut objects = cluster.objects.iter_mut();
    let (_, gateway) = objects.find(|(id, _)| id.kind == Kind::Gateway).unwrap();
    for listener in gateway["spec"]["listeners"].as_array_mut().unwrap() {
        if !listener["tls"].is_null() {
            listener["tls"]["certificateRefs"][0]["name"] = json!(secret);
        }
    }
    cluster
}

#[test]
fn a_certificate_of_several_hostnames_becomes_one_for_each_and_none_is_without_meanwhile() {
    let eight: Vec<String> = (0..7).map(|n| format!("host-{n}.example")).collect();
    let mut eight: Vec<&str> = eight.iter().map(String::as_str).collect();
    eight.push(FIRST);
    for hostnames in [vec![FIRST, SECOND], vec![SECOND, FIRST, THIRD], eight] {
        let mut cluster = shared(&hostnames);
        live(&mut cluster, |cluster| {
            all_is_served(cluster);
            assert_eq!(shown(cluster).len(), hostnames.len());
        });
        assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
        for (hostname, secret) in shown(&cluster) {
            assert_eq!(names(&cluster, &secret), [hostname]);
        }
        // Its own first, and the others' names go from it when they are shown with theirs.
        assert_eq!(names(&cluster, "edge-tls"), [hostnames[0]]);
        assert!(at(&cluster, &["apply Gateway"]) < at(&cluster, &["Edge(EdgeSlot(0))"]));
        silent(&mut cluster);
    }
}

#[test]
fn a_certificate_of_several_hostnames_takes_over_from_an_issuer_before_it_is_parted() {
    let mut cluster = shared_behind(&[FIRST, SECOND], ISSUED);
    live(&mut cluster, |cluster| {
        all_is_served(cluster);
        assert_eq!(shown(cluster).len(), 2);
    });
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    assert_eq!(
        shown(&cluster),
        pairs(&[(FIRST, "edge-tls"), (SECOND, "edge-tls-1")])
    );
}

#[test]
fn the_order_of_hostnames_may_change_while_a_certificate_is_parted() {
    for passes in 0..6 {
        let mut cluster = shared(&[FIRST, SECOND]);
        for _ in 0..passes {
            cluster.pass(usize::MAX);
            cluster.tick();
        }
        name(&mut cluster, &[SECOND, FIRST]);
        live(&mut cluster, all_is_served);
        assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
        let secrets: Vec<String> = shown(&cluster).into_iter().map(|(_, secret)| secret).collect();
        let first = if passes == 0 {
            ["edge-tls", "edge-tls-1"]
        } else {
            ["edge-tls-1", "edge-tls"]
        };
        assert_eq!(secrets, first, "after {passes}");
    }
}

#[test]
fn of_a_certificate_of_several_hostnames_one_may_be_given_up_before_it_was_parted() {
    let mut cluster = shared(&[FIRST, SECOND, THIRD]);
    name(&mut cluster, &[THIRD, SECOND]);
    live(&mut cluster, all_is_served);
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    assert_eq!(
        shown(&cluster),
        pairs(&[(THIRD, "edge-tls"), (SECOND, "edge-tls-1")])
    );
    assert_eq!(names(&cluster, "edge-tls"), [THIRD]);
    assert!(!permitted(&cluster).contains(&FIRST.to_owned()));
}

#[test]
fn hostnames_that_change_all_at_once_have_a_way_in_in_the_end_and_the_gateway_stays() {
    let mut cluster = settled(&[FIRST]);
    let gateway = |cluster: &Cluster| cluster.body(Kind::Gateway, "edge").unwrap()["metadata"]["uid"].clone();
    let before = gateway(&cluster);
    name(&mut cluster, &[SECOND, THIRD]);
    live(&mut cluster, |cluster| assert!(!shown(cluster).is_empty()));
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    all_is_served(&cluster);
    assert_eq!(shown(&cluster).len(), 2);
    assert_eq!(gateway(&cluster), before);
}

#[test]
fn a_secret_that_was_deleted_comes_back_in_its_place() {
    let mut cluster = settled(&[FIRST, SECOND, THIRD]);
    let before = shown(&cluster);
    put(&mut cluster, "edge-tls", Slot::Absent);
    put(&mut cluster, "edge-tls-2", Slot::Broken);
    // Their order is of no account.
    name(&mut cluster, &[THIRD, SECOND, FIRST]);
    cluster.settle();
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    all_is_served(&cluster);
    let mut after = shown(&cluster);
    after.reverse();
    assert_eq!(after, before);
}

#[test]
fn a_secret_of_anothers_in_one_place_is_told_and_another_place_is_taken() {
    let mut cluster = settled(&[FIRST]);
    put(&mut cluster, "edge-tls", Slot::Foreign);
    live(&mut cluster, |_| {});
    assert_eq!(shown(&cluster), pairs(&[(FIRST, "edge-tls-1")]));
    all_is_served(&cluster);
    let status = cluster.given.tenant.status.clone().unwrap();
    assert_eq!(status.blockers[0].reason, "SecretNotOurs");

    for slot in EdgeSlot::all() {
        cluster.minted.leaves.insert(Leaf::Edge(slot), Slot::Foreign);
    }
    assert!(says(&mut cluster, "CertificateReady").starts_with("False SecretNotOurs"));
}

#[test]
fn while_a_place_cannot_be_read_nothing_is_begun_in_another() {
    let mut cluster = settled(&[FIRST, SECOND]);
    // The first place is free.
    name(&mut cluster, &[SECOND]);
    cluster.settle();
    cluster.log.clear();
    let before = shown(&cluster);
    put(&mut cluster, "edge-tls-1", Slot::Unread);
    cluster.settle();
    assert_eq!(shown(&cluster), before);
    assert!(says(&mut cluster, "CertificateReady").starts_with("False Unread"));
    let mut made = cluster.log.iter();
    assert!(
        !made.any(|line| line.contains("MintCertificate")),
        "{:#?}",
        cluster.log
    );
}

#[test]
fn one_hostname_whose_certificate_has_ended_is_said_and_so_is_its_renewal_by_itself() {
    let mut cluster = settled(&[FIRST, SECOND]);
    let mut over = certificate(&cluster, "edge-tls-1").unwrap().clone();
    over.not_after = cluster.given.now;
    put(&mut cluster, "edge-tls-1", Slot::Present(over));
    assert!(says(&mut cluster, "Serving").starts_with("False CertificateExpired"));
    // Without a class, too; then the Gateway stays, and goes on showing what was given up meanwhile.
    name(&mut cluster, &[FIRST]);
    without_class(&mut cluster);
    let actions = format!("{:?}", cluster.plan().actions);
    assert!(
        actions.contains("EdgeSlot(1)") && !actions.contains("EdgeSlot(0)"),
        "{actions}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// With an operator that dies in the middle of it, and doesn't see what it did.
    #[test]
    fn whatever_hostnames_come_and_go_the_one_that_stays_is_served_with_the_same_certificate(
        steps in proptest::collection::vec((0_u8..128, 0_usize..30), 1..5),
    ) {
        let mut cluster = settled(&[FIRST]);
        let before = certificate(&cluster, "edge-tls").unwrap().fingerprint.clone();
        for (which, crash_after) in steps {
            let others: Vec<String> = (0..7).filter(|n| which >> n & 1 == 1).map(|n| format!("host-{n}.example")).collect();
            let mut hostnames: Vec<&str> = others.iter().map(String::as_str).collect();
            hostnames.insert(hostnames.len() / 2, FIRST);
            let places: BTreeMap<String, String> = shown(&cluster).into_iter().collect();
            name(&mut cluster, &hostnames);
            cluster.pass(crash_after);
            for _ in 0..12 {
                all_is_served(&cluster);
                prop_assert_eq!(&certificate(&cluster, "edge-tls").unwrap().fingerprint, &before);
                cluster.pass(usize::MAX);
                cluster.tick();
            }
            cluster.settle();
            prop_assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
            let now = shown(&cluster);
            prop_assert_eq!(now.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), hostnames.clone());
            for (hostname, secret) in &now {
                prop_assert_eq!(names(&cluster, secret), std::slice::from_ref(hostname));
                prop_assert!(places.get(hostname).is_none_or(|place| place == secret));
            }
            prop_assert_eq!(permitted(&cluster).len(), hostnames.len() + 1);
        }
    }
}

#[test]
fn the_gateway_tells_browsers_to_come_by_https_alone_whatever_the_product_says() {
    let cluster = settled(&[FIRST]);
    let route = cluster.body(Kind::HttpRoute, "web").unwrap();
    let set = &route["spec"]["rules"][0]["filters"][0]["responseHeaderModifier"]["set"];
    assert_eq!(
        *set,
        json!([{"name": "Strict-Transport-Security", "value": "max-age=31536000"}])
    );
}
