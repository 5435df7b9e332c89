//! Single sign-on: the only way in, and one that the board itself doesn't have.

use crate::{
    browser::Browser,
    instance::{Instance, OWNER_PASSWORD, OWNER_TOKEN},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const ENDPOINT: &str = "https://idp.example.com/sso?tenant=acme";

/// Waits until the api has taken up the settings.
async fn until(browser: &Browser, sso: Value) {
    let started = Instant::now();
    while browser.get("/api/about").await.expect(200).json()["sso"] != sso {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "the settings are not taken up"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn with_single_sign_on_no_password_opens_anything_and_sessions_end_for_good() {
    let instance = Instance::start().await;
    let owner = instance.owner().await;
    let invitation = json!({ "email": "bob@acme.example", "name": "Bob" });
    let answer = owner.post("/api/users/invitations", invitation).await.expect(201);
    let link = answer.json()["link"].as_str().unwrap().to_owned();
    let invited = link.split_once('#').unwrap().1;
    let browser = instance.browser(0);
    until(&browser, Value::Null).await;

    let saml =
        json!({ "entityId": "https://idp.example.com", "endpoint": ENDPOINT, "signingCertificate": "PEM" });
    instance.settings(json!({ "sso": saml }));
    until(&browser, json!({ "endpoint": ENDPOINT })).await;

    owner.get("/api/session").await.expect(401);
    let login = json!({ "email": "owner@acme.example", "password": OWNER_PASSWORD });
    let welcome = |token: &str| json!({ "token": token, "name": "Bob", "password": OWNER_PASSWORD });
    for (path, body) in [
        ("/api/login", login.clone()),
        ("/api/welcome", welcome(invited)),
        ("/api/welcome", welcome(OWNER_TOKEN)),
        ("/api/welcome/check", json!({ "token": invited })),
    ] {
        let answer = browser.post(path, body).await.expect(403);
        assert_eq!(
            answer.json()["error"],
            format!("passwords are not used here: sign in at your identity provider, {ENDPOINT}"),
            "{path}"
        );
    }
    let started = Instant::now();
    while instance.count("sessions").await > 0 {
        assert!(started.elapsed() < Duration::from_secs(20), "the sessions stay");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(instance.count("outbox where kind = 'session.closed'").await, 1);
    assert_eq!(instance.count("users").await, 1);

    instance.settings(json!({}));
    until(&browser, Value::Null).await;
    owner.get("/api/session").await.expect(401);
    owner.post("/api/login", login).await.expect(200);
    owner.get("/api/session").await.expect(200);
}

#[tokio::test]
async fn about_says_what_was_bought_where_it_is_and_what_for() {
    let mut instance = Instance::prepare().await;
    instance.settings(json!({ "tenant": {
        "name": "acme", "edition": "Premium", "region": "eu-central", "environment": "Staging",
    } }));
    let api = instance.spawn("api", &[]).await;
    let about = instance.browser(api).get("/api/about").await.expect(200).json();
    for (field, value) in [
        ("edition", "Premium"),
        ("region", "eu-central"),
        ("environment", "Staging"),
    ] {
        assert_eq!(about[field], value);
    }
}
