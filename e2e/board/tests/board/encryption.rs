//! TLS before and between the tiers: what is let in, and what isn't.

use crate::{
    browser::Browser,
    certificates::{Authority, Volume, client, client_with},
    instance::{Instance, OWNER_PASSWORD, OWNER_TOKEN},
    postgres::free_port,
};
use axum::http::Method;
use rustls::{
    ClientConfig, SupportedCipherSuite,
    crypto::aws_lc_rs::{ALL_CIPHER_SUITES, cipher_suite::*},
    pki_types::ServerName,
};
use serde_json::json;
use std::{
    fs,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

const ALLOWED: [SupportedCipherSuite; 3] = [
    TLS13_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];

async fn tcp(instance: &Instance, index: usize) -> TcpStream {
    let (_, address) = instance.url(index).split_once("://").unwrap();
    TcpStream::connect(address).await.unwrap()
}

async fn handshake(instance: &Instance, index: usize, config: ClientConfig) -> Option<SupportedCipherSuite> {
    let name = ServerName::try_from("localhost").unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, tcp(instance, index).await);
    connecting.await.ok()?.get_ref().1.negotiated_cipher_suite()
}

#[tokio::test]
async fn only_aes_256_is_spoken() {
    let root = Authority::new("root");
    let mut instance = Instance::encrypted(&root).await;
    for tier in ["web", "api"] {
        for leaf in [root.issue(), root.issue_rsa()] {
            instance.volume().write(&leaf, &[&root]);
            let index = instance.spawn(tier, &[]).await;
            let mut spoken = 0;
            for suite in ALL_CIPHER_SUITES {
                let config = client_with(vec![*suite], &root.pem(), Some(&leaf));
                match handshake(&instance, index, config).await {
                    Some(agreed) => {
                        assert!(agreed == *suite && ALLOWED.contains(suite), "{tier}: {suite:?}");
                        spoken += 1;
                    }
                    None => assert!(
                        !ALLOWED.contains(suite) || suite.tls13().is_none(),
                        "{tier}: {suite:?}"
                    ),
                }
            }
            assert_eq!(
                spoken, 2,
                "{tier}: one of TLS 1.3 and the one of TLS 1.2 that fits the key"
            );
        }
    }
}

#[tokio::test]
async fn neither_plain_http_nor_tls_1_1_gets_an_answer() {
    let mut instance = Instance::encrypted(&Authority::new("root")).await;
    let web = instance.spawn("web", &[]).await;
    let mut plain = tcp(&instance, web).await;
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.windows(4).any(|part| part == b"HTTP"), "{answer:?}");

    // ClientHello of TLS 1.1 (RFC 4346 §7.4.1.2) with ECDHE_ECDSA_WITH_AES_256_CBC_SHA, and
    // signature_algorithms, which is looked for first.
    let hello = [
        &[22, 3, 1, 0, 55, 1, 0, 0, 51, 3, 2][..],
        &[7; 32],
        &[0, 0, 2, 0xc0, 0x0a, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3],
    ]
    .concat();
    let mut old = tcp(&instance, web).await;
    old.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    let _ = old.read_to_end(&mut answer).await;
    assert_eq!(
        (answer[0], answer[6]),
        (21, 70),
        "the alert protocol_version: {answer:?}"
    );
    instance.browser(web).get("/healthz").await.expect(200);
}

#[tokio::test]
async fn without_a_certificate_the_api_answers_probes_only() {
    let root = Authority::new("root");
    let mut instance = Instance::encrypted(&root).await;
    instance.migrate();
    let api = instance.spawn("api", &[]).await;
    let stranger = Browser::over_tls(instance.url(api), client(&root.pem(), None));
    for path in ["/healthz", "/readyz", "/version", "/.well-known/freehold/tls"] {
        stranger.get(path).await.expect(200);
    }
    let welcome = json!({ "token": OWNER_TOKEN, "name": "Ada", "password": OWNER_PASSWORD });
    for (method, path) in [
        (Method::GET, "/api/about"),
        (Method::POST, "/api/welcome"),
        (Method::POST, "/smoke"),
        (Method::GET, "/api/no-such-thing"),
        (Method::GET, "/"),
        (Method::GET, "/healthz/"),
        (Method::GET, "/.well-known/other"),
    ] {
        let body = (method == Method::POST).then(|| welcome.clone());
        let answer = stranger.send(method, path, &[], body).await.expect(403);
        assert!(answer.json()["error"].is_string(), "{path}");
    }
    let web = instance.browser(api);
    web.post("/api/welcome", welcome).await.expect(201);
    web.get("/no-such-thing").await.expect(404);

    let smoke = |address: &str| instance.run(&["smoke", "--api", address]);
    let output = smoke(instance.url(api));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for wrong in [
        instance.url(api).replace("https", "http"),
        instance.url(api).replace("localhost", "127.0.0.1"),
    ] {
        assert!(!smoke(&wrong).status.success(), "{wrong}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_instance_is_refused() {
    let (root, other) = (Authority::new("root"), Authority::new("root"));
    let mut instance = Instance::encrypted(&root).await;
    let api = instance.spawn("api", &[]).await;
    let tls12: Vec<_> = ALLOWED
        .into_iter()
        .filter(|suite| suite.tls13().is_none())
        .collect();
    for suites in [ALLOWED.to_vec(), tls12] {
        let config = client_with(suites, &root.pem(), Some(&other.issue()));
        let browser = Browser::over_tls(instance.url(api), config);
        assert!(
            browser
                .try_send(Method::GET, "/healthz", &[], None)
                .await
                .is_err()
        );
    }
    instance.browser(api).get("/healthz").await.expect(200);
}

#[tokio::test]
async fn web_gives_requests_to_the_right_api_only() {
    let root = Authority::new("root");
    let mut instance = Instance::encrypted(&root).await;
    let other = Authority::new("other");
    let [of_other, of_web] = ["other", "web"].map(|name| Volume::at(instance.directory.join(name)));
    of_other.write(&other.issue(), &[&root, &other]);
    of_web.write(&root.issue(), &[&root]);
    // What the test itself trusts.
    instance.volume().write(&root.issue(), &[&root, &other]);
    instance.migrate();
    let right = instance.spawn("api", &[]).await;
    let wrong = instance
        .spawn("api", &[("FREEHOLD_TLS_DIR", of_other.path())])
        .await;
    let (right, wrong) = (instance.url(right).to_owned(), instance.url(wrong).to_owned());
    for (address, said) in [
        (wrong, "UnknownIssuer"),
        (
            right.replace("localhost", "127.0.0.1"),
            "not valid for name \\\"127.0.0.1\\\"",
        ),
        (right.replace("https", "http"), "must begin with https://"),
    ] {
        instance.settings(json!({ "services": { "api": address } }));
        let web = instance
            .spawn("web", &[("FREEHOLD_TLS_DIR", of_web.path())])
            .await;
        let answer = instance.browser(web).get("/api/about").await.expect(503);
        assert!(answer.headers.contains_key("retry-after"));
        let log = fs::read_to_string(instance.directory.join("stderr")).unwrap();
        assert!(log.contains(said), "{said}: {log}");
    }
    instance.settings(json!({ "services": { "api": right } }));
    let web = instance
        .spawn("web", &[("FREEHOLD_TLS_DIR", of_web.path())])
        .await;
    let browser = instance.browser(web);
    let answer = browser.get("/api/about").await.expect(200);
    assert_eq!(answer.headers["strict-transport-security"], "max-age=31536000");
    browser.get("/api/.well-known/freehold/tls").await.expect(404);
}

#[tokio::test]
async fn what_is_loaded_is_told() {
    let root = Authority::new("root");
    let mut instance = Instance::encrypted(&root).await;
    let leaf = root.issue();
    instance.volume().write(&leaf, &[&root]);
    for tier in ["web", "api"] {
        let index = instance.spawn(tier, &[]).await;
        let stranger = Browser::over_tls(instance.url(index), client(&root.pem(), None));
        let told = stranger.get("/.well-known/freehold/tls").await.expect(200);
        assert_eq!(told.headers["cache-control"], "no-store");
        assert_eq!(
            told.json(),
            json!({ "roots": [root.fingerprint()], "certificate": leaf.fingerprint(), "notAfter": "2040-01-02T00:00:00Z" })
        );
    }
    let mut plain = Instance::prepare().await;
    let web = plain.spawn("web", &[]).await;
    let browser = plain.browser(web);
    browser.get("/.well-known/freehold/tls").await.expect(404);
    let page = browser.get("/").await.expect(200);
    assert!(!page.headers.contains_key("strict-transport-security"));
}

#[tokio::test]
async fn a_silent_client_holds_up_nobody_and_is_let_go() {
    let mut instance = Instance::encrypted(&Authority::new("root")).await;
    let web = instance.spawn("web", &[]).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(tcp(&instance, web).await);
    }
    let started = Instant::now();
    instance.browser(web).get("/healthz").await.expect(200);
    assert!(started.elapsed() < Duration::from_secs(5));
    for mut client in silent {
        let closed = timeout(Duration::from_secs(20), client.read(&mut [0; 16])).await;
        assert!(
            matches!(closed.unwrap(), Ok(0) | Err(_)),
            "nothing is said to it either"
        );
    }
    instance.browser(web).get("/healthz").await.expect(200);
}

#[tokio::test]
async fn nothing_is_served_from_an_unusable_folder() {
    let root = Authority::new("root");
    let instance = Instance::encrypted(&root).await;
    let (leaf, other) = (root.issue(), root.issue());
    for (certificate, key, roots, said) in [
        (
            &leaf.certificate,
            &other.key,
            root.pem(),
            "not the key of tls.crt",
        ),
        (&leaf.certificate, &leaf.key, String::new(), "ca.crt"),
        (&String::new(), &leaf.key, root.pem(), "tls.crt"),
        (&leaf.certificate, &String::new(), root.pem(), "tls.key"),
    ] {
        instance.volume().write_files(certificate, key, &roots);
        refuses_to_start(&instance, said).await;
    }
    fs::remove_dir_all(instance.directory.join("tls")).unwrap();
    fs::create_dir(instance.directory.join("tls")).unwrap();
    refuses_to_start(&instance, "tls.crt").await;
}

async fn refuses_to_start(instance: &Instance, said: &str) {
    for tier in ["web", "api"] {
        let mut child = instance
            .command(&[tier, "--port", &free_port().to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if started.elapsed() > Duration::from_secs(20) {
                child.kill().unwrap();
            }
            sleep(Duration::from_millis(20)).await;
        }
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(said) && !error.contains("PRIVATE"), "{error}");
    }
}
