//! Minted Secrets: made once, looked at rarely, never replaced by mistake.

use super::*;

#[tokio::test]
async fn what_was_minted_is_minted_again_in_a_namespace_that_was_made_anew() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    assert!(shell.double.object(EDGE).is_some() && shell.double.object(OWNER).is_some());
    for path in shell.double.paths() {
        if path.contains("/namespaces/tenant-acme") {
            shell.double.raze(&path);
        }
    }
    for (id, seen) in shell.context.store.observed("acme", Timestamp::now()).objects {
        shell.context.store.remove("acme", &id, &seen.resource_version);
    }
    for _ in 0..3 {
        shell.pass().await;
    }
    assert!(shell.double.object(EDGE).is_some(), "no certificate");
    assert!(shell.double.object(OWNER).is_some(), "no token");
}

#[tokio::test]
async fn another_s_secret_is_looked_at_again_soon_and_what_it_was_is_not_believed_any_more() {
    let shell = Shell::new();
    shell.double.plant(
        EDGE,
        json!({"metadata": {"name": "edge-tls", "namespace": "tenant-acme"}}),
    );
    for _ in 0..3 {
        shell.pass().await;
    }
    let tenant = shell.tenant();
    let now = Timestamp::now();
    let config = &Config::default();
    let look = |now| {
        observe(
            &shell.context.client,
            &shell.context.store,
            config,
            None,
            &tenant,
            now,
        )
    };
    let again = look(now).await.look_again.unwrap();
    assert!(again <= now + jiff::SignedDuration::from_secs(30));
    shell.double.raze(EDGE);
    let sight = look(again).await;
    assert_eq!(
        *sight
            .observed
            .minted
            .leaf(freehold_plan::Leaf::Edge(freehold_plan::EdgeSlot::FIRST)),
        freehold_plan::Slot::Absent
    );
    assert_eq!(sight.look_again, None);
}

#[tokio::test]
async fn after_a_failure_to_mint_what_is_known_of_the_secrets_is_read_again() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    let mut tenant = shell.double.object(TENANT).unwrap();
    tenant["spec"]["hostnames"] = json!(["another.localhost"]);
    shell.double.plant(TENANT, tenant);
    shell.double.raze("/api/v1/namespaces/freehold-keys/secrets");
    let failed = reconcile(shell.tenant(), shell.context.clone()).await;
    assert!(failed.is_err(), "the authority is gone");
    shell.pass().await;
    shell.pass().await;
    // What it has issued is good still, so none is made in its place.
    assert_eq!(shell.double.object(AUTHORITY), None);
    let status = shell.tenant().status.clone().unwrap();
    assert_eq!(status.blockers[0].reason, "AuthorityLost");
    assert!(
        shell
            .double
            .object(&format!("{NAMESPACE}/configmaps/ca"))
            .is_some()
    );
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_made_anew_and_an_authority_never_is() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    let garbage = "Z2FyYmFnZQ==";
    shell.corrupt(EDGE);
    shell.pass().await;
    assert_ne!(shell.double.object(EDGE).unwrap()["data"]["tls.crt"], garbage);
    shell.corrupt(AUTHORITY);
    let before = shell.double.object(AUTHORITY);
    let web = format!("{NAMESPACE}/services/web");
    shell.by_hand(Kind::Service, &web, |service| {
        service["spec"]["ports"][0]["port"] = 1.into();
    });
    shell.pass().await;
    shell.pass().await;
    assert_eq!(shell.double.object(AUTHORITY), before);
    assert_eq!(
        shell.double.object(&web).unwrap()["spec"]["ports"][0]["port"],
        8080
    );
    assert!(
        shell
            .double
            .object(&format!("{NAMESPACE}/configmaps/ca"))
            .is_some()
    );
    let status = shell.tenant().status.clone().unwrap();
    assert_eq!(status.blockers[0].reason, "AuthorityBroken");
}

#[tokio::test]
async fn secrets_that_cannot_be_read_stop_neither_repair_nor_the_report_nor_the_end_of_a_tenant() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    shell.let_go("Delete").await;
    let web = format!("{NAMESPACE}/services/web");
    shell.double.refuse(http::Method::GET, AUTHORITY, 403);
    // An operator that has just started knows nothing from before.
    shell
        .context
        .store
        .set_minted("acme", freehold_plan::Minted::default(), None);
    shell.by_hand(Kind::Service, &web, |service| {
        service["spec"]["ports"][0]["port"] = 1.into();
    });
    for _ in 0..4 {
        let error = reconcile(shell.tenant(), shell.context.clone())
            .await
            .unwrap_err();
        on_error(shell.tenant(), &error, shell.context.clone());
    }
    assert_eq!(
        shell.double.object(&web).unwrap()["spec"]["ports"][0]["port"],
        8080
    );
    assert!(
        shell
            .double
            .object(&format!("{NAMESPACE}/configmaps/ca"))
            .is_some()
    );
    let status = shell.tenant().status.clone().unwrap();
    let ready = status
        .conditions
        .iter()
        .find(|c| c.type_ == "CertificateReady")
        .unwrap();
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("False", "Unread")
    );

    shell.mark_deleted();
    // The first step, after which nothing but its end is of interest.
    assert!(reconcile(shell.tenant(), shell.context.clone()).await.is_err());
    shell.double.take_asked();
    for _ in 0..2 {
        assert!(reconcile(shell.tenant(), shell.context.clone()).await.is_err());
    }
    let asked = shell.double.take_asked();
    assert!(asked.iter().any(|asked| asked.verb == "delete"), "{asked:#?}");
    assert!(
        asked
            .iter()
            .all(|asked| asked.resource != "secrets" || asked.namespace == "freehold-keys"),
        "{asked:#?}"
    );
    shell.double.relent();
    shell.pass().await;
}

#[tokio::test]
async fn what_was_minted_and_is_wanted_again_at_once_waits_ever_longer() {
    let store = Store::default();
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let pause = |times| backoff("acme", times);
    let wanted = [freehold_plan::Action::MintAuthority {
        lifetime_seconds: 3600,
        permitted: vec!["tenant-acme.svc.cluster.local".to_owned()],
    }];
    let first = store.may_act("acme", &wanted, now, pause);
    assert_eq!(first, Ok(()));
    let second = store.may_act("acme", &wanted, now, pause).unwrap_err();
    assert_eq!(store.may_act("acme", &wanted, second, pause), Ok(()));
    let third = store.may_act("acme", &wanted, second, pause).unwrap_err();
    assert!(third.duration_since(second) > second.duration_since(now));
    let other = [freehold_plan::Action::ForgetAuthority];
    assert_eq!(store.may_act("acme", &other, second, pause), Ok(()));
}

#[tokio::test]
async fn a_secret_that_does_not_become_what_was_asked_for_is_not_minted_in_a_loop() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    let mut minted = 0;
    for _ in 0..20 {
        // Somebody undoes it each time.
        shell.corrupt(EDGE);
        let asked = shell.pass().await;
        minted += asked
            .iter()
            .filter(|a| a.verb == "patch" && a.resource == "secrets")
            .count();
    }
    assert!(minted <= 10, "minted {minted} times");
    assert!(minted >= 1);
}

#[tokio::test]
async fn a_certificate_that_is_there_is_renewed_without_a_create_that_would_be_refused() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    shell.corrupt(EDGE);
    let asked = shell.pass().await;
    let of = |verb: &str| {
        let mut found = asked.iter().filter(|a| a.verb == verb && a.resource == "secrets");
        found.any(|a| a.namespace == "tenant-acme")
    };
    assert!(of("patch") && !of("create"), "{asked:#?}");
}

/// Whoever is killed right after it was written comes to the pod that it is for.
#[tokio::test]
async fn the_proof_of_a_next_authority_is_minted_once() {
    let proof = "/api/v1/namespaces/tenant-acme/secrets/next-authority-tls";
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    let target = crate::mint::For {
        name: "acme",
        incarnation: UIDS[0].1,
        keys_namespace: "freehold-keys",
        operator_namespace: "freehold-system",
        service: None,
    };
    let action = freehold_plan::Action::MintProof {
        namespace: "tenant-acme".to_owned(),
        dns_name: "proof.tenant-acme.svc.cluster.local".to_owned(),
        lifetime_seconds: 172_800,
    };
    let prove = async |hours: i64| {
        shell.double.take_asked();
        let now = Timestamp::now() + jiff::SignedDuration::from_hours(hours);
        let actions = std::slice::from_ref(&action);
        let known = freehold_plan::Minted::default();
        crate::mint::act(&shell.context.client, target, actions, known, now)
            .await
            .unwrap();
        writes(&shell.double.take_asked())
    };
    assert_eq!(prove(0).await, ["create secrets"]);
    let first = shell.double.object(proof);
    assert_eq!(prove(1).await, [""; 0]);
    assert_eq!(shell.double.object(proof), first);
    // For a pod that is made a day later it would end too soon.
    assert_eq!(prove(25).await, ["patch secrets"]);
    // An authority lives for two years, and nothing that it issues outlives it.
    let nearly = 2 * 365 * 24 - 10;
    assert_eq!(prove(nearly).await, ["patch secrets"]);
    assert_eq!(prove(nearly + 1).await, [""; 0]);
}

/// A role of the release before names fewer Secrets.
#[tokio::test]
async fn a_secret_that_may_not_be_read_while_others_may_leaves_all_as_they_are() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    let before = shell.double.object(EDGE);
    shell.double.refuse(http::Method::GET, &format!("{EDGE}-1"), 403);
    // An operator that has just started knows nothing from before.
    shell
        .context
        .store
        .set_minted("acme", freehold_plan::Minted::default(), None);
    shell.double.take_asked();
    for _ in 0..3 {
        assert!(reconcile(shell.tenant(), shell.context.clone()).await.is_err());
    }
    let asked = shell.double.take_asked();
    let mut writes = asked
        .iter()
        .filter(|asked| asked.resource == "secrets" && asked.verb != "get");
    assert!(writes.next().is_none(), "{asked:#?}");
    assert_eq!(shell.double.object(EDGE), before);
    shell.double.relent();
    shell.pass().await;
}

#[tokio::test]
async fn a_hostname_that_is_added_has_a_secret_of_its_own_and_the_others_stays() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    let certificate = |path: &str| Some(shell.double.object(path)?["data"]["tls.crt"].clone());
    let before = certificate(EDGE);
    let mut tenant = shell.double.object(TENANT).unwrap();
    let first = tenant["spec"]["hostnames"][0].clone();
    tenant["spec"]["hostnames"] = json!([first, "another.localhost"]);
    shell.double.plant(TENANT, tenant);
    for _ in 0..4 {
        shell.pass().await;
    }
    assert_eq!(certificate(EDGE), before);
    assert!(certificate(&format!("{EDGE}-1")).is_some());
    let gateway = format!(
        "/apis/gateway.networking.k8s.io/v1{}/gateways/edge",
        &NAMESPACE[7..]
    );
    let gateway = shell.double.object(&gateway).unwrap();
    let listeners = gateway["spec"]["listeners"].as_array().unwrap().iter();
    let shown: Vec<&Value> = listeners
        .map(|listener| &listener["tls"]["certificateRefs"][0]["name"])
        .filter(|secret| !secret.is_null())
        .collect();
    assert_eq!(shown, ["edge-tls", "edge-tls-1"]);
}
