//! The leaf and the roots are exchanged under load.

use crate::{
    browser::Browser,
    certificates::{Authority, Leaf, client},
    instance::Instance,
};
use axum::http::Method;
use serde_json::{Value, json};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::sleep;

async fn told(instance: &Instance, index: usize) -> Value {
    let browser = instance.browser(index);
    browser.get("/.well-known/freehold/tls").await.expect(200).json()
}

/// As the operator does it: nobody goes on before both tiers have taken up the step.
async fn until_told(instance: &Instance, leaf: &Leaf, roots: &[&Authority]) {
    let mut roots: Vec<String> = roots.iter().map(|root| root.fingerprint()).collect();
    roots.sort();
    let started = Instant::now();
    for tier in [0, 1] {
        loop {
            let told = told(instance, tier).await;
            if told["roots"] == json!(roots) && told["certificate"] == json!(leaf.fingerprint()) {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "still {told}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leaf_and_the_roots_change_under_load_without_a_failure() {
    // Of the same name, so that only the key tells them apart.
    let (old, new) = (Authority::new("root"), Authority::new("root"));
    let mut instance = Instance::encrypted(&old).await;
    instance.migrate();
    let api = instance.spawn("api", &[]).await;
    let services = |url: &str| json!({ "services": { "api": url } });
    instance.settings(services(instance.url(api)));
    let web = instance.spawn("web", &[]).await;
    let first = told(&instance, api).await;

    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let instance_now = Arc::new(instance);
    let clients: Vec<_> = [
        (api, "/readyz"),
        (api, "/api/about"),
        (web, "/"),
        (web, "/api/about"),
    ]
    .into_iter()
    .map(|(tier, path)| {
        let (instance, stop, served) = (instance_now.clone(), stop.clone(), served.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                // Each has one connection of its own, begun with what its volume holds now.
                let browser = instance.browser(tier);
                let answer = browser.try_send(Method::GET, path, &[], None).await;
                let answer = answer.unwrap_or_else(|error| panic!("{path}: {error:?}"));
                answer.expect(200);
                served.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(5)).await;
            }
        })
    })
    .collect();
    let (before, after) = (old.issue(), new.issue());
    for (leaf, roots) in [
        (&before, &[&old][..]),
        (&before, &[&old, &new]),
        (&after, &[&old, &new]),
        (&after, &[&new]),
    ] {
        instance_now.volume().write(leaf, roots);
        until_told(&instance_now, leaf, roots).await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert!(
        served.load(Ordering::Relaxed) > 100,
        "{}",
        served.load(Ordering::Relaxed)
    );
    assert_ne!(told(&instance_now, api).await, first);

    // The old root is worth nothing any more, and web's new connections are between the new ones.
    let mut instance = Arc::into_inner(instance_now).unwrap();
    let late = Browser::over_tls(instance.url(api), client(&new.pem(), Some(&before)));
    assert!(late.try_send(Method::GET, "/healthz", &[], None).await.is_err());
    let fresh = instance.spawn("api", &[]).await;
    instance.settings(services(instance.url(fresh)));
    sleep(Duration::from_millis(2500)).await;
    instance.process(api).child.kill().unwrap();
    instance.browser(web).get("/api/about").await.expect(200);
}

#[tokio::test]
async fn a_key_that_does_not_match_changes_nothing() {
    let root = Authority::new("root");
    let mut instance = Instance::encrypted(&root).await;
    let web = instance.spawn("web", &[]).await;
    let first = told(&instance, web).await;
    let (leaf, other) = (root.issue(), root.issue());
    let warnings = |said: &str| {
        let log = fs::read_to_string(instance.directory.join("stderr")).unwrap();
        log.lines()
            .filter(|line| line.contains("keeping the certificate") && line.contains(said))
            .count()
    };
    let volume = instance.volume();
    let stranger = || Browser::over_tls(instance.url(web), client(&root.pem(), None));
    let other_than = |key: &str, roots: &str| volume.write_files(&leaf.certificate, key, roots);
    for (key, roots, said) in [
        (&other.key, root.pem(), "not the key"),
        (&leaf.key, String::new(), "ca.crt"),
    ] {
        other_than(key, &roots);
        // Long enough for a second look.
        sleep(Duration::from_millis(5500)).await;
        assert_eq!(warnings(said), 1, "once, not at each look");
        let told = stranger().get("/.well-known/freehold/tls").await.expect(200);
        assert_eq!(told.json(), first);
    }
    volume.write(&leaf, &[&root]);
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(told(&instance, web).await["certificate"], leaf.fingerprint());
}
