//! One authority follows another: nobody is shown a certificate that they don't trust, whenever they read their files and
//! whenever the operator dies.

use freehold_crds::{Certificates, Phase, TenantCertificates};
use freehold_plan::{EdgeSlot, Id, Kind, Leaf, Slot};
use jiff::SignedDuration;
use serde_json::json;

use crate::cluster::Cluster;
use crate::given;
use crate::keys::says;
use crate::simulation::{ready, silent};

fn wish(cluster: &mut Cluster, rotate: Option<&str>, revoke: Option<&str>) {
    cluster.given.tenant.spec.certificates = Some(TenantCertificates {
        rotate_authority: rotate.map(str::to_owned),
        revoke_authority: revoke.map(str::to_owned),
    });
}

fn authority(cluster: &mut Cluster) -> String {
    cluster.plan().status.authority.unwrap().fingerprint
}

/// Whoever has read the Secrets now and whoever has read them before trust each other's certificates.
fn understand_each_other(cluster: &mut Cluster) -> bool {
    cluster.observe();
    let minted = cluster.given.observed.minted.clone();
    let leaves = Leaf::ALL
        .into_iter()
        .filter_map(|leaf| minted.leaf(leaf).present().cloned());
    let shown = cluster.shown.clone().unwrap();
    leaves.into_iter().all(|there| {
        let issuer = there.issuer.unwrap();
        there.roots.contains(&issuer) && there.roots.contains(&shown) && cluster.read.contains(&issuer)
    })
}

fn evidence(cluster: &Cluster) -> Vec<String> {
    let evidence = cluster
        .operations()
        .flat_map(|operation| &operation.status.evidence);
    evidence
        .map(|evidence| format!("{}: {}", evidence.step, evidence.message))
        .collect()
}

/// Passes, with pods that read their files after each and everybody understanding each other all the time, until nothing is
/// under way any more.
fn live(cluster: &mut Cluster, hours: i64) {
    let end = cluster.given.now + SignedDuration::from_hours(hours);
    loop {
        while cluster.pass(usize::MAX) > 0 {
            assert!(understand_each_other(cluster), "{:#?}", cluster.log);
            cluster.tick();
        }
        cluster.hand_out();
        assert!(understand_each_other(cluster));
        match cluster.plan().wake.filter(|wake| *wake < end) {
            Some(wake) => cluster.sleep_until(wake),
            None => return,
        }
    }
}

/// Certificates that live for hours.
fn begun() -> Cluster {
    let mut given = given::with_keys("acme");
    given.class.as_mut().unwrap().spec.certificates = Certificates {
        lifetime: "4h".into(),
        authority_lifetime: "24h".into(),
        overlap: "1h".into(),
        issuer: None,
    };
    let mut cluster = Cluster::new(given);
    cluster.settle();
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    cluster.hand_out();
    cluster.log.clear();
    cluster
}

#[test]
fn an_authority_is_replaced_step_by_step_and_nobody_is_refused() {
    let mut cluster = begun();
    let old = authority(&mut cluster);
    wish(&mut cluster, Some("2027"), None);
    cluster.settle();
    insta::assert_snapshot!(says(&mut cluster, "AuthorityCurrent"), @r#"
    False Rotating: a new authority takes over: its root is trusted beside the old one until 2027-01-15T09:00:00Z (acme-authority-266d4d9fd0)
    "#);
    assert!(ready(&cluster), "the overlap is no trouble");
    let status = cluster.plan().status;
    assert!(status.authority.unwrap().next.is_some());
    assert_eq!(status.operation.unwrap().step.as_deref(), Some("Prove"));
    silent(&mut cluster);
    cluster.hand_out();
    live(&mut cluster, 12);
    let steps: Vec<&String> = cluster
        .log
        .iter()
        .filter(|line| !line.starts_with("ShareRoots") && !line.starts_with("MintCertificate"))
        .collect();
    insta::assert_debug_snapshot!(steps, @r#"
    [
        "announce AuthorityRotation None",
        "step Running Publish",
        "MintNextAuthority { permitted: [\"acme.example\", \"tenant-acme.svc.cluster.local\"], lifetime_seconds: 86400 }",
        "apply ConfigMap tenant-acme/ca",
        "MintProof { namespace: \"tenant-acme\", dns_name: \"freehold-proof-of-next-authority.tenant-acme.svc.cluster.local\", lifetime_seconds: 172800 }",
        "create Service tenant-acme/freehold-proof-of-next-authority",
        "create BackendTLSPolicy tenant-acme/freehold-proof-of-next-authority",
        "create HTTPRoute tenant-acme/freehold-proof-of-next-authority",
        "create Pod tenant-acme/freehold-proof-of-next-authority",
        "step Running Prove",
        "LookAtEnds { namespace: \"tenant-acme\", services: [EndService { selector: \"freehold.dev/component=web\", host: \"web.tenant-acme.svc.cluster.local\", port: 8080, is_database: false }, EndService { selector: \"freehold.dev/component=api\", host: \"api.tenant-acme.svc.cluster.local\", port: 8081, is_database: false }, EndService { selector: \"cnpg.io/cluster=db\", host: \"db-rw.tenant-acme.svc.cluster.local\", port: 5432, is_database: true }], gateway: Some(EndGateway { address: \"203.0.113.80\", port: 443, hostname: \"acme.example\", path: \"/.well-known/freehold/next-authority\" }) }",
        "step Running Issue",
        "PromoteAuthority { keep_previous: true }",
        "delete Service tenant-acme/freehold-proof-of-next-authority",
        "delete BackendTLSPolicy tenant-acme/freehold-proof-of-next-authority",
        "delete HTTPRoute tenant-acme/freehold-proof-of-next-authority",
        "delete Pod tenant-acme/freehold-proof-of-next-authority",
        "step Running Drain",
        "LookAtEnds { namespace: \"tenant-acme\", services: [EndService { selector: \"freehold.dev/component=web\", host: \"web.tenant-acme.svc.cluster.local\", port: 8080, is_database: false }, EndService { selector: \"freehold.dev/component=api\", host: \"api.tenant-acme.svc.cluster.local\", port: 8081, is_database: false }, EndService { selector: \"cnpg.io/cluster=db\", host: \"db-rw.tenant-acme.svc.cluster.local\", port: 5432, is_database: true }], gateway: None }",
        "step Running Retire",
        "RetireAuthority",
        "apply ConfigMap tenant-acme/ca",
        "step Succeeded ",
        "apply ConfigMap tenant-acme/isolation",
        "create Pod freehold-probes/verify-control-acme-2668792a",
        "create Pod tenant-acme/verify-application-acme-2668792a",
        "create Pod tenant-acme/verify-database-acme-2668792a",
        "create Pod tenant-acme/verify-hook-acme-2668792a",
        "create Pod tenant-acme/verify-web-acme-2668792a",
        "apply ConfigMap tenant-acme/isolation",
        "delete Pod freehold-probes/verify-control-acme-2668792a",
        "delete Pod tenant-acme/verify-application-acme-2668792a",
        "delete Pod tenant-acme/verify-database-acme-2668792a",
        "delete Pod tenant-acme/verify-hook-acme-2668792a",
        "delete Pod tenant-acme/verify-web-acme-2668792a",
        "apply ConfigMap tenant-acme/isolation",
        "create Pod freehold-probes/verify-control-acme-884d53cb",
        "create Pod tenant-acme/verify-application-acme-884d53cb",
        "create Pod tenant-acme/verify-database-acme-884d53cb",
        "create Pod tenant-acme/verify-hook-acme-884d53cb",
        "create Pod tenant-acme/verify-web-acme-884d53cb",
        "apply ConfigMap tenant-acme/isolation",
        "delete Pod freehold-probes/verify-control-acme-884d53cb",
        "delete Pod tenant-acme/verify-application-acme-884d53cb",
        "delete Pod tenant-acme/verify-database-acme-884d53cb",
        "delete Pod tenant-acme/verify-hook-acme-884d53cb",
        "delete Pod tenant-acme/verify-web-acme-884d53cb",
    ]
    "#);
    insta::assert_debug_snapshot!(evidence(&cluster), @r#"
    [
        "Publish: ca-7 was made, and is in every bundle",
        "Prove: 1 pods were seen to trust ca-7; the gateway trusts it, and passed requests on to a server that it vouches for",
        "Issue: every certificate is issued by the new authority",
        "Drain: 1 pods were asked, and each shows a certificate that ca-7 has issued",
        "Retire: no bundle holds the old root any more",
    ]
    "#);
    let status = cluster.plan().status.authority.unwrap();
    assert_ne!(status.fingerprint, old);
    assert_eq!((status.next, status.previous), (None, None));
    assert_eq!(status.acknowledged.as_deref(), Some("2027"));
    assert!(ready(&cluster));
}

#[test]
fn a_pod_that_does_not_read_its_files_holds_the_new_authority_up_and_is_named() {
    let mut cluster = begun();
    wish(&mut cluster, Some("2027"), None);
    cluster.settle();
    cluster.sleep_until(cluster.given.now + SignedDuration::from_hours(2));
    for _ in 0..20 {
        cluster.pass(usize::MAX);
    }
    let status = cluster.plan().status;
    assert_eq!(status.operation.unwrap().step.as_deref(), Some("Prove"));
    let held = status
        .blockers
        .iter()
        .find(|blocker| blocker.reason == "AuthorityNotTaken");
    insta::assert_snapshot!(held.unwrap().message, @r#"
    the new authority waits: web-1 doesn't trust the new root yet; the gateway doesn't trust the new root yet
    "#);
    cluster.hand_out();
    live(&mut cluster, 12);
    assert!(
        cluster
            .operations()
            .all(|operation| operation.status.phase == Phase::Succeeded)
    );
}

fn effects(cluster: &Cluster, of: &str) -> usize {
    cluster.log.iter().filter(|line| line.starts_with(of)).count()
}

#[test]
fn a_proof_that_was_evicted_makes_room_for_another_with_a_certificate_of_its_own() {
    let mut cluster = begun();
    wish(&mut cluster, Some("2027"), None);
    cluster.settle();
    assert_eq!(effects(&cluster, "MintProof"), 1);
    let is_proof = |id: &Id| id.kind == Kind::Pod && id.name == "freehold-proof-of-next-authority";
    let (_, pod) = cluster.objects.iter_mut().find(|(id, _)| is_proof(id)).unwrap();
    assert_eq!(pod["spec"]["activeDeadlineSeconds"], 86_400);
    pod["status"] = json!({"phase": "Failed", "reason": "Evicted"});
    cluster.settle();
    let pod = "Pod tenant-acme/freehold-proof-of-next-authority";
    assert_eq!(effects(&cluster, &format!("delete {pod}")), 1);
    assert_eq!(effects(&cluster, &format!("create {pod}")), 2);
    assert_eq!(effects(&cluster, "MintProof"), 2);
    silent(&mut cluster);
    cluster.hand_out();
    live(&mut cluster, 12);
    assert!(ready(&cluster));
}

#[test]
fn a_gateway_that_can_not_be_reached_is_waited_for_for_an_hour() {
    let held = |cluster: &mut Cluster| {
        let blockers = cluster.plan().status.blockers;
        let mut waits = blockers.into_iter().filter(|b| b.reason == "AuthorityNotTaken");
        waits.next().map(|blocker| blocker.message)
    };
    let proven = |cluster: &Cluster| {
        let evidence = evidence(cluster);
        evidence.into_iter().find(|line| line.starts_with("Prove"))
    };
    let mut cluster = begun();
    cluster.far_gateway = true;
    wish(&mut cluster, Some("2027"), None);
    cluster.settle();
    cluster.hand_out();
    cluster.sleep_until(cluster.given.now + SignedDuration::from_mins(61));
    for _ in 0..10 {
        cluster.pass(usize::MAX);
    }
    insta::assert_snapshot!(held(&mut cluster).unwrap(), @r#"
    the new authority waits: the gateway can't be reached at 203.0.113.80, port 443, and is waited for until 2027-01-15T10:00:00Z
    "#);
    let mut mended = cluster.clone();
    mended.far_gateway = false;
    mended.settle();
    insta::assert_snapshot!(proven(&mended).unwrap(), @r#"
    Prove: 1 pods were seen to trust ca-7; the gateway trusts it, and passed requests on to a server that it vouches for
    "#);
    cluster.sleep_until(cluster.given.now + SignedDuration::from_mins(61));
    live(&mut cluster, 12);
    insta::assert_snapshot!(proven(&cluster).unwrap(), @r#"
    Prove: 1 pods were seen to trust ca-7; the gateway, which can't be asked from here, had the overlap
    "#);
    assert!(ready(&cluster));
}

#[test]
fn pods_that_can_not_tell_what_they_trust_are_not_counted_as_ones_that_do() {
    let mut cluster = begun();
    cluster.silent_pods = 2;
    wish(&mut cluster, Some("2027"), None);
    cluster.settle();
    cluster.hand_out();
    live(&mut cluster, 12);
    let evidence = evidence(&cluster);
    let proven = evidence.iter().find(|line| line.starts_with("Prove"));
    insta::assert_snapshot!(proven.unwrap(), @r#"
    Prove: 1 pods were seen to trust ca-7; 2 more can't tell, and had the overlap; the gateway trusts it, and passed requests on to a server that it vouches for
    "#);
    assert!(ready(&cluster));
}

#[test]
fn killed_after_any_effect_of_a_succession_everybody_understands_each_other() {
    for k in 0..40 {
        let mut cluster = begun();
        let old = authority(&mut cluster);
        wish(&mut cluster, Some("2027"), None);
        let mut effects = 0;
        // One pass after the other is cut off after the k-th effect of all.
        while effects < k {
            let spent = cluster.pass(k - effects);
            if spent == 0 {
                let Some(wake) = cluster.plan().wake else { break };
                cluster.hand_out();
                cluster.sleep_until(wake);
            }
            effects += spent;
            assert!(understand_each_other(&mut cluster), "killed after {k}");
        }
        cluster.given.tenant.status = None;
        live(&mut cluster, 12);
        assert_ne!(authority(&mut cluster), old, "killed after {k}");
        assert_eq!(cluster.operations().count(), 1, "killed after {k}");
        assert!(
            cluster
                .operations()
                .all(|operation| operation.status.phase == Phase::Succeeded)
        );
        silent(&mut cluster);
    }
}

#[test]
fn a_compromised_authority_is_replaced_at_once_and_what_that_interrupts_is_said() {
    let mut cluster = begun();
    let old = authority(&mut cluster);
    wish(&mut cluster, None, Some("stolen"));
    let mut said = Vec::new();
    for _ in 0..40 {
        cluster.pass(usize::MAX);
        let blockers = cluster.plan().status.blockers;
        said.extend(
            blockers
                .into_iter()
                .filter(|b| b.reason == "AuthorityRevoked")
                .map(|b| b.message),
        );
        let authorities = &cluster.given.observed.minted;
        assert!(
            authorities.succession.previous.is_none(),
            "the old root is trusted by nobody"
        );
    }
    insta::assert_snapshot!(said[0], @r#"
    the authority was compromised and is replaced without an overlap: connections between the tiers fail until every pod has read its new files, and clients that trust the old ca.crt refuse the gateway
    "#);
    cluster.hand_out();
    cluster.settle();
    let status = cluster.plan().status;
    assert_ne!(status.authority.as_ref().unwrap().fingerprint, old);
    assert_eq!(
        status.authority.unwrap().revocation_acknowledged.as_deref(),
        Some("stolen")
    );
    assert!(
        cluster
            .operations()
            .all(|operation| operation.status.phase == Phase::Succeeded)
    );
    insta::assert_debug_snapshot!(evidence(&cluster), @r#"
    [
        "Publish: ca-7 was made",
        "Prove: skipped: the authority before was compromised",
        "Issue: every certificate is issued by the new authority",
        "Drain: 1 pods were asked, and each shows a certificate that ca-7 has issued",
        "Retire: no bundle holds the old root any more",
    ]
    "#);
    let minted = cluster.given.observed.minted.clone();
    for leaf in Leaf::ALL {
        if let Slot::Present(there) = minted.leaf(leaf) {
            assert!(!there.roots.contains(&old), "{leaf:?}");
        }
    }
}

#[test]
fn a_revocation_ends_a_succession_that_is_under_way() {
    for after in [1, 4, 9, 14] {
        let mut cluster = begun();
        let old = authority(&mut cluster);
        wish(&mut cluster, Some("2027"), None);
        for _ in 0..after {
            cluster.pass(usize::MAX);
        }
        wish(&mut cluster, Some("2027"), Some("stolen"));
        for _ in 0..40 {
            cluster.pass(usize::MAX);
            cluster.hand_out();
        }
        let cancelled = cluster
            .operations()
            .filter(|operation| operation.status.phase == Phase::Cancelled);
        assert_eq!(cancelled.count(), 1);
        let trusted: Vec<String> = cluster
            .given
            .observed
            .minted
            .trusted()
            .map(|root| root.fingerprint.clone())
            .collect();
        assert_eq!(trusted.len(), 1);
        assert_ne!(trusted[0], old);
        let status = cluster.plan().status.authority.unwrap();
        assert_eq!(status.revocation_acknowledged.as_deref(), Some("stolen"));
    }
}

#[test]
fn an_authority_is_replaced_by_itself_before_it_ends() {
    let mut cluster = begun();
    let first = cluster.plan().status.authority.unwrap();
    live(&mut cluster, 20);
    let now = cluster.plan().status.authority.unwrap();
    assert!(now.not_after > first.not_after);
    assert_eq!(cluster.operations().count(), 1);
}

#[test]
fn what_is_nobodys_certificate_any_more_holds_no_succession_up() {
    let left: [Leaf; 2] = [Leaf::Edge(EdgeSlot::all().nth(1).unwrap()), Leaf::Worker];
    for leaf in left {
        let mut cluster = begun();
        let there = cluster.minted.leaf(Leaf::Web).clone();
        let Slot::Present(mut there) = there else {
            panic!("{there:?}")
        };
        there.dns_names = vec!["left.example".into()];
        cluster.minted.leaves.insert(leaf, Slot::Present(there.clone()));
        wish(&mut cluster, Some("2027"), None);
        let end = cluster.given.now + SignedDuration::from_hours(12);
        while cluster.given.now < end {
            cluster.settle();
            cluster.hand_out();
            let wake = cluster.plan().wake.unwrap();
            cluster.sleep_until(wake);
        }
        assert!(
            cluster
                .operations()
                .all(|operation| operation.status.phase == Phase::Succeeded),
            "{:#?}",
            cluster.log
        );
        assert_eq!(*cluster.minted.leaf(leaf), Slot::Present(there));
    }
}

/// As [`live`], with nobody trusted in between: for authorities that have ended, or may not be trusted.
fn recover(cluster: &mut Cluster) {
    for _ in 0..60 {
        cluster.pass(usize::MAX);
        cluster.hand_out();
        cluster.tick();
    }
    cluster.settle();
}

#[test]
fn an_authority_that_has_ended_is_replaced_at_once_by_one_that_issues_everything_anew() {
    let mut cluster = begun();
    let old = authority(&mut cluster);
    // Nobody was there to replace it.
    cluster.given.now += SignedDuration::from_hours(30);
    recover(&mut cluster);
    assert_ne!(authority(&mut cluster), old);
    assert!(
        ready(&cluster) && understand_each_other(&mut cluster),
        "{:#?}",
        cluster.given.tenant.status
    );
    insta::assert_debug_snapshot!(&evidence(&cluster)[..2], @r#"
    [
        "Publish: ca-7 was made",
        "Prove: skipped: the authority before has ended",
    ]
    "#);
    let now = cluster.given.now;
    cluster.observe();
    let minted = &cluster.given.observed.minted;
    let mut all = Leaf::ALL
        .into_iter()
        .filter_map(|leaf| minted.leaf(leaf).present());
    assert!(all.all(|leaf| leaf.not_after > now));
}

#[test]
fn an_overlap_that_is_too_long_for_the_authority_s_life_is_cut_short() {
    let mut cluster = begun();
    // A class of before the rule that refuses it.
    let class = cluster.given.class.as_mut().unwrap();
    class.spec.certificates.overlap = "48h".into();
    cluster.settle();
    let old = authority(&mut cluster);
    live(&mut cluster, 23);
    assert_ne!(authority(&mut cluster), old, "{:#?}", evidence(&cluster));
    assert!(ready(&cluster));
}

#[test]
fn a_revocation_uses_no_key_that_lay_beside_the_compromised_one() {
    let mut cluster = begun();
    wish(&mut cluster, Some("2027"), None);
    cluster.settle();
    let beside = cluster.plan().status.authority.unwrap().next.unwrap();
    wish(&mut cluster, Some("2027"), Some("stolen"));
    recover(&mut cluster);
    let status = cluster.plan().status.authority.unwrap();
    assert_eq!(status.revocation_acknowledged.as_deref(), Some("stolen"));
    assert_ne!(status.fingerprint, beside);
    cluster.observe();
    let minted = &cluster.given.observed.minted;
    let mut trusted = minted.trusted().map(|root| root.fingerprint.as_str());
    assert!(trusted.all(|root| root != beside));
}

/// Somebody deletes the Secret, or puts the keys' namespace back without it.
#[test]
fn an_authority_that_is_gone_is_waited_for_as_long_as_what_it_issued_is_good() {
    let mut cluster = begun();
    let was = cluster.given.observed.minted.clone();
    let lose = |cluster: &mut Cluster| cluster.minted.authority = Slot::Absent;
    lose(&mut cluster);
    cluster.settle();
    assert_eq!(cluster.given.observed.minted.authority, Slot::Absent);
    assert!(
        cluster.body(Kind::ConfigMap, "ca").is_some(),
        "clients and the gateway use it"
    );
    let plan = cluster.plan();
    assert_eq!(
        plan.status.blockers[0].reason, "AuthorityLost",
        "{:#?}",
        plan.status.blockers
    );
    assert!(says(&mut cluster, "Serving").starts_with("True "));
    assert!(says(&mut cluster, "CertificateReady").starts_with("False AuthorityLost: "));
    // It is put back.
    cluster.minted.authority = was.authority.clone();
    cluster.settle();
    assert!(ready(&cluster), "{:#?}", cluster.plan().conditions);

    // It never is: when the first certificate has ended nothing is lost by another one.
    lose(&mut cluster);
    cluster.settle();
    let end = cluster.plan().wake.unwrap();
    cluster.sleep_until(end);
    cluster.settle();
    assert!(ready(&cluster), "{:#?}", cluster.plan().conditions);
    assert_ne!(
        Some(authority(&mut cluster)),
        was.authority.present().map(|was| was.fingerprint.clone())
    );
}

#[test]
fn a_word_says_that_an_authority_that_is_gone_is_not_waited_for() {
    let mut cluster = begun();
    cluster.minted.authority = Slot::Absent;
    cluster.settle();
    wish(&mut cluster, None, Some("it is gone"));
    for _ in 0..30 {
        cluster.pass(usize::MAX);
        assert!(
            cluster.body(Kind::ConfigMap, "ca").is_some(),
            "clients and the gateway use it"
        );
        cluster.tick();
        cluster.hand_out();
    }
    cluster.settle();
    assert!(ready(&cluster), "{:#?}", cluster.plan().conditions);
    let status = cluster.plan().status.authority.unwrap();
    assert_eq!(status.revocation_acknowledged.as_deref(), Some("it is gone"));
}
