//! web before api: the page, the proxy, the headers, the access log.

use crate::instance::{Instance, OWNER_PASSWORD, OWNER_TOKEN, board};
use axum::http::Method;
use serde_json::{Value, json};
use std::fs;

/// An instance with both tiers; the web tier's place is the second value.
async fn both() -> (Instance, usize) {
    let mut instance = Instance::start().await;
    let services = json!({ "services": { "api": instance.url(0) }, "refresh": { "idleMinutes": 0.5 } });
    instance.settings(services);
    let web = instance.spawn("web", &[]).await;
    (instance, web)
}

#[tokio::test]
async fn the_page_comes_with_its_files_and_headers() {
    let (instance, web) = both().await;
    let browser = instance.browser(web);
    let page = browser
        .send(Method::GET, "/boards/1", &[("x-forwarded-proto", "https")], None)
        .await
        .expect(200);
    assert_eq!(page.headers["cache-control"], "no-cache");
    assert!(
        page.headers["content-security-policy"]
            .to_str()
            .unwrap()
            .starts_with("default-src 'self'")
    );
    assert!(page.headers.contains_key("strict-transport-security"));
    assert!(
        !page.text.contains("<script>") && !page.text.contains("style="),
        "nothing inline"
    );
    assert!(!page.text.contains("{build}") && !page.text.contains("{version}"));

    let script = page
        .text
        .split('"')
        .find(|part| part.ends_with("/main.js"))
        .unwrap();
    let file = browser.get(script).await.expect(200);
    assert!(
        file.headers["cache-control"]
            .to_str()
            .unwrap()
            .contains("immutable")
    );
    for import in file.text.split('"').filter(|part| part.starts_with("./")) {
        browser
            .get(&script.replace("main.js", &import[2..]))
            .await
            .expect(200);
    }
    let other = browser
        .get("/assets/of-another-release/main.js")
        .await
        .expect(200);
    assert_eq!(other.headers["cache-control"], "no-store");
    let etag = page.headers["etag"].to_str().unwrap();
    browser
        .send(Method::GET, "/", &[("if-none-match", etag)], None)
        .await
        .expect(304);
    browser.get("/favicon.ico").await.expect(404);
    browser.get("/assets/x/secret.txt").await.expect(404);

    let version = browser.get("/version").await.expect(200).json();
    assert_eq!(
        (&version["product"], &version["tier"]),
        (&json!("board"), &json!("web"))
    );
    let polled = browser.get("/version.json").await.expect(200).json();
    assert_eq!(
        polled,
        json!({ "version": version["version"], "idleMinutes": 0.5, "pollSeconds": 60.0 })
    );
}

#[tokio::test]
async fn smoke_takes_the_way_of_a_browser_when_it_is_told_to() {
    let (instance, web) = both().await;
    let smoke = |web: &str| {
        let tried = instance.run(&["smoke", "--api", instance.url(0), "--page", "--web", web]);
        (
            tried.status.success(),
            String::from_utf8_lossy(&tried.stdout).into_owned(),
        )
    };
    let (passed, told) = smoke(instance.url(web));
    assert_eq!(passed, !cfg!(broken), "{told}");
    assert_eq!(told.contains("/api/about: 200"), passed, "{told}");
    let (passed, told) = smoke(instance.url(0));
    assert!(!passed, "an api has no page: {told}");
}

#[tokio::test]
async fn the_proxy_passes_sessions_and_nothing_but_the_api() {
    let (instance, web) = both().await;
    let browser = instance.browser(web);
    let welcome = json!({ "token": OWNER_TOKEN, "name": "Ada", "password": OWNER_PASSWORD });
    browser.post("/api/welcome", welcome).await.expect(201);
    let (board, lane) = board(&browser).await;
    let path = format!("/api/lanes/{lane}/cards");
    let long = json!({ "title": "long", "description": "ü".repeat(10_000) });
    browser.post(&path, long).await.expect(201);
    browser
        .post(&path, json!({ "title": "x", "description": "x".repeat(100_000) }))
        .await
        .expect(422);
    let list = browser
        .get(&format!("/api/boards/{board}/cards"))
        .await
        .expect(200);
    assert_eq!(list.json().as_array().unwrap().len(), 1);
    assert_eq!(list.headers["cache-control"], "no-store");
    browser
        .send(Method::POST, "/smoke", &[], Some(json!({})))
        .await
        .expect(405);

    instance.settings(json!({ "services": { "api": "http://127.0.0.1:9" } }));
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    let answer = browser.get("/api/session").await.expect(503);
    assert!(answer.headers.contains_key("retry-after"));
    browser.get("/readyz").await.expect(200);
}

#[tokio::test]
async fn the_access_log_has_a_line_for_each_request_and_no_secret() {
    let (instance, web) = both().await;
    let browser = instance.browser(web);
    let welcome = json!({ "token": OWNER_TOKEN, "name": "Ada", "password": OWNER_PASSWORD });
    browser
        .post("/api/welcome?token=in-the-query", welcome)
        .await
        .expect(201);
    let cookie = browser.cookie().unwrap();
    let invitation = json!({ "email": "bob@acme.example", "name": "Bob" });
    let link = browser
        .post("/api/users/invitations", invitation)
        .await
        .expect(201)
        .json()["link"]
        .to_string();
    let headers = [("x-request-id", "from-the-gateway-1")];
    let answer = browser
        .send(Method::GET, "/api/session", &headers, None)
        .await
        .expect(200);
    assert_eq!(answer.headers["x-request-id"], "from-the-gateway-1");

    let api = fs::read_to_string(instance.access_log("api")).unwrap();
    let all = fs::read_to_string(instance.access_log("web")).unwrap()
        + &api
        + &fs::read_to_string(instance.directory.join("stderr")).unwrap();
    let ticket = cookie.split_once('=').unwrap().1;
    let invited = link.trim_matches('"').split_once('#').unwrap().1;
    for secret in [
        OWNER_TOKEN,
        OWNER_PASSWORD,
        ticket,
        invited,
        "in-the-query",
        "argon2",
    ] {
        assert!(!all.contains(secret), "a log holds {secret}");
    }
    let line: Value = serde_json::from_str(api.lines().last().unwrap()).unwrap();
    assert_eq!(line["path"], "/api/session");
    assert_eq!(line["status"], 200);
    assert_eq!(line["user"], 1);
    assert_eq!(line["request_id"], "from-the-gateway-1");
    assert!(line["duration_ms"].is_number() && line["bytes"].is_number() && line["time"].is_string());
}
