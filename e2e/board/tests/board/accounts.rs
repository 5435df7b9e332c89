//! One-time links, passwords, sessions.

use crate::{
    browser::Browser,
    instance::{Instance, OWNER_PASSWORD, OWNER_TOKEN},
};
use axum::http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;

const WAITING: &str = "pg_locks where not granted and database = (select oid from pg_database where datname = current_database())";

#[tokio::test]
async fn the_owners_token_works_once() {
    let instance = Instance::start().await;
    let browser = instance.browser(0);
    let welcome =
        |token: &str, password: &str| json!({ "token": token, "name": "Ada", "password": password });

    browser
        .post("/api/welcome", welcome("wrong", OWNER_PASSWORD))
        .await
        .expect(410);
    browser
        .post("/api/welcome", welcome("", OWNER_PASSWORD))
        .await
        .expect(410);
    browser
        .post("/api/welcome", welcome(OWNER_TOKEN, "too short"))
        .await
        .expect(422);
    let link = browser
        .post("/api/welcome/check", json!({ "token": OWNER_TOKEN }))
        .await
        .expect(200)
        .json();
    assert_eq!(link["email"], "owner@acme.example");

    // Both have hashed their password before either may write: they meet in the database.
    let sql = instance.sql().await;
    sql.batch_execute("begin; lock table users in exclusive mode")
        .await
        .unwrap();
    let free = async {
        while instance.count(WAITING).await < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        sql.batch_execute("commit").await.unwrap();
    };
    let (first, second) = (instance.browser(0), instance.browser(0));
    let (first, second, ()) = tokio::join!(
        first.post("/api/welcome", welcome(OWNER_TOKEN, OWNER_PASSWORD)),
        second.post("/api/welcome", welcome(OWNER_TOKEN, OWNER_PASSWORD)),
        free
    );
    let mut both = [first.status.as_u16(), second.status.as_u16()];
    both.sort();
    assert_eq!(both, [201, 410], "of two at once one is the owner");

    browser
        .post("/api/welcome", welcome(OWNER_TOKEN, OWNER_PASSWORD))
        .await
        .expect(410);
    browser
        .post("/api/welcome/check", json!({ "token": OWNER_TOKEN }))
        .await
        .expect(410);
    assert_eq!(instance.count("users").await, 1);
}

#[tokio::test]
async fn without_a_token_file_nobody_becomes_owner() {
    let instance = Instance::start().await;
    fs::write(instance.directory.join("token"), "\n").unwrap();
    let welcome = json!({ "token": "", "name": "Eve", "password": OWNER_PASSWORD });
    instance
        .browser(0)
        .post("/api/welcome", welcome)
        .await
        .expect(410);
}

#[tokio::test]
async fn the_cookie_is_only_a_ticket() {
    let instance = Instance::start().await;
    let browser = instance.owner().await;
    browser.post("/api/logout", json!({})).await.expect(204);
    browser.get("/api/session").await.expect(401);

    let login = |password: &str| json!({ "email": "OWNER@acme.example", "password": password });
    browser
        .post("/api/login", login("wrong password"))
        .await
        .expect(403);
    let answer = browser
        .post("/api/login", login(OWNER_PASSWORD))
        .await
        .expect(200);
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Strict");
    let ticket = pair.strip_prefix("__Host-board_session=").unwrap();
    assert_eq!(ticket.len(), 43, "256 random bits");
    browser.get("/api/session").await.expect(200);

    let stored: Vec<u8> = instance
        .sql()
        .await
        .query_one("select ticket_hash from sessions", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(stored, Sha256::digest(ticket).to_vec());

    let thief = instance.browser(0);
    let hash: String = stored.iter().map(|byte| format!("{byte:02x}")).collect();
    thief.set_cookie(Some(format!("__Host-board_session={hash}")));
    thief.get("/api/session").await.expect(401);
    browser.post("/api/logout", json!({})).await.expect(204);
    browser.set_cookie(Some(pair.to_owned()));
    browser.get("/api/session").await.expect(401);
}

#[tokio::test]
async fn a_session_ends_when_idle_or_too_old() {
    let instance = Instance::start().await;
    let browser = instance.owner().await;
    let sql = instance.sql().await;
    sql.execute(
        "update sessions set last_seen_at = now() - interval '29 minutes'",
        &[],
    )
    .await
    .unwrap();
    browser.get("/api/session").await.expect(200);
    sql.execute(
        "update sessions set last_seen_at = last_seen_at - interval '29 minutes'",
        &[],
    )
    .await
    .unwrap();
    browser.get("/api/session").await.expect(200);
    sql.execute(
        "update sessions set last_seen_at = now() - interval '31 minutes'",
        &[],
    )
    .await
    .unwrap();
    browser.get("/api/session").await.expect(401);
    sql.execute(
        "update sessions set last_seen_at = now(), expires_at = now()",
        &[],
    )
    .await
    .unwrap();
    browser.get("/api/session").await.expect(401);
}

/// Two replicas of the api on one database, and what an account is locked after.
async fn replicas(attempts: u32) -> Instance {
    let mut instance = Instance::prepare().await;
    instance.settings(json!({ "password": { "lockoutAttempts": attempts } }));
    instance.migrate();
    instance.spawn("api", &[]).await;
    instance.spawn("api", &[]).await;
    instance
}

fn login(email: &str, password: &str) -> Value {
    json!({ "email": email, "password": password })
}

#[tokio::test]
async fn wrong_passwords_in_a_row_lock_the_account_in_every_replica() {
    let instance = replicas(3).await;
    instance.owner().await;
    let (first, second) = (instance.browser(0), instance.browser(1));
    let wrong = login("OWNER@acme.example", "wrong");
    let right = login("owner@acme.example", OWNER_PASSWORD);
    for browser in [&first, &second] {
        browser.post("/api/login", wrong.clone()).await.expect(403);
    }
    first.post("/api/login", right.clone()).await.expect(200);
    for browser in [&second, &first, &second] {
        browser.post("/api/login", wrong.clone()).await.expect(403);
    }
    for browser in [&first, &second] {
        let answer = browser.post("/api/login", right.clone()).await.expect(429);
        assert!(answer.text.contains("try again in 15 min"), "{}", answer.text);
        let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((880..=900).contains(&wait), "{wait}");
    }

    let sql = instance.sql().await;
    sql.execute(
        "update login_attempts set last_at = last_at - interval '15 minutes'",
        &[],
    )
    .await
    .unwrap();
    first.post("/api/login", wrong).await.expect(403);
    second.post("/api/login", right).await.expect(200);
    assert_eq!(
        instance.count("login_attempts").await,
        0,
        "a success forgets the failures"
    );
}

#[tokio::test]
async fn many_wrong_passwords_at_once_gain_nothing_and_no_answer_tells_who_has_an_account() {
    let instance = replicas(3).await;
    instance.owner().await;
    for email in ["owner@acme.example", "nobody@acme.example"] {
        let replicas = [0, 1, 0, 1, 0].map(|replica| instance.browser(replica));
        let attempts = replicas.map(|browser| {
            tokio::spawn(async move { browser.post("/api/login", login(email, "wrong")).await })
        });
        let mut answers = Vec::new();
        for attempt in attempts {
            answers.push(attempt.await.unwrap().status.as_u16());
        }
        answers.sort();
        assert_eq!(answers, [403, 403, 403, 429, 429], "{email}");
    }
    let sql = instance.sql().await;
    sql.execute(
        "update login_attempts set last_at = last_at - interval '15 minutes'",
        &[],
    )
    .await
    .unwrap();
    instance
        .browser(0)
        .post("/api/login", login("eve@acme.example", "wrong"))
        .await
        .expect(403);
    assert_eq!(
        instance.count("login_attempts").await,
        1,
        "what is over is cleared away"
    );
}

async fn invite(owner: &Browser, email: &str) -> crate::browser::Answer {
    owner
        .post("/api/users/invitations", json!({ "email": email, "name": "Bob" }))
        .await
}

#[tokio::test]
async fn an_invitation_works_once_and_takes_a_seat() {
    let instance = Instance::start().await;
    let owner = instance.owner().await;
    let link = invite(&owner, "bob@acme.example").await.expect(201).json()["link"]
        .as_str()
        .unwrap()
        .to_owned();
    let token = link.strip_prefix("https://acme.localhost:8443/welcome#").unwrap();

    let bob = instance.browser(0);
    let welcome =
        json!({ "token": token, "email": "eve@acme.example", "name": "Bob", "password": "battery staple" });
    let user = bob.post("/api/welcome", welcome.clone()).await.expect(201).json();
    assert_eq!(
        (user["email"].as_str(), user["role"].as_str()),
        (Some("bob@acme.example"), Some("member"))
    );
    bob.post("/api/welcome", welcome).await.expect(410);

    bob.get("/api/events").await.expect(403);
    invite(&bob, "mallory@acme.example").await.expect(403);
    owner.get("/api/events").await.expect(200);
    invite(&owner, "bob@acme.example").await.expect(409);
    invite(&owner, "carol@acme.example").await.expect(201);
    invite(&owner, "carol@acme.example").await.expect(201);
    invite(&owner, "dave@acme.example").await.expect(409);
}

#[tokio::test]
async fn other_sites_change_nothing() {
    let instance = Instance::start().await;
    let owner = instance.owner().await;
    let body = || Some(json!({ "name": "Launch" }));
    for headers in [
        [("origin", "https://evil.example"), ("x", "")],
        [("origin", "null"), ("x", "")],
        [("sec-fetch-site", "cross-site"), ("x", "")],
    ] {
        owner
            .send(Method::POST, "/api/boards", &headers, body())
            .await
            .expect(403);
    }
    owner
        .send(
            Method::POST,
            "/api/boards",
            &[("content-type", "text/plain")],
            body(),
        )
        .await
        .expect(415);
    owner
        .send(
            Method::POST,
            "/api/boards",
            &[("host", "acme.test"), ("origin", "https://acme.test")],
            body(),
        )
        .await
        .expect(201);
    assert_eq!(instance.count("boards").await, 1);
}
