//! The database goes away under load: no acknowledged card is lost, none is made twice, and nobody sees an error.

use crate::instance::{Instance, board};
use axum::http::Method;
use serde_json::json;
use std::time::Duration;

const END_SESSIONS: &str = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";

#[tokio::test]
async fn ended_sessions_are_not_seen_by_clients() {
    let instance = Instance::start().await;
    let owner = instance.owner().await;
    let (_, lane) = board(&owner).await;
    let sql = instance.sql().await;
    let chaos = tokio::spawn(async move {
        loop {
            sql.execute(END_SESSIONS, &[]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    });
    let path = format!("/api/lanes/{lane}/cards");
    for number in 0..120 {
        let (key, title) = (format!("key-{number}"), format!("card {number}"));
        let headers = [("idempotency-key", key.as_str())];
        owner
            .send(Method::POST, &path, &headers, Some(json!({ "title": title })))
            .await
            .expect(201);
    }
    chaos.abort();
    assert_eq!(instance.count("cards").await, 120);
    assert_eq!(
        instance.count("(select distinct title from cards) titles").await,
        120
    );
    assert_eq!(instance.count("outbox where kind = 'card.created'").await, 120);
}

#[tokio::test]
async fn a_standby_is_not_written_to_and_its_promotion_is_waited_for() {
    let instance = Instance::start().await;
    let owner = instance.owner().await;
    let (_, lane) = board(&owner).await;
    let sql = instance.sql().await;
    // As a server that was demoted: sessions, old and new, are read-only.
    let database = &instance.database;
    sql.batch_execute(&format!(
        "alter database {database} set default_transaction_read_only = on"
    ))
    .await
    .unwrap();
    sql.execute(END_SESSIONS, &[]).await.unwrap();
    let promote = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        sql.batch_execute(&format!(
            "alter database {database} reset default_transaction_read_only"
        ))
        .await
        .unwrap();
    };
    let path = format!("/api/lanes/{lane}/cards");
    let probe = instance.browser(0);
    let (answer, ready, ()) = tokio::join!(
        owner.post(&path, json!({ "title": "patient" })),
        probe.get("/readyz"),
        promote
    );
    answer.expect(201);
    assert!(ready.status.is_success() || ready.status == 503);
    assert_eq!(instance.count("cards").await, 1);
}

#[tokio::test]
async fn without_a_database_the_answer_is_503_with_retry_after() {
    let instance = Instance::start().await;
    let owner = instance.owner().await;
    std::fs::write(instance.directory.join("database/port"), "9").unwrap();
    instance.sql().await.execute(END_SESSIONS, &[]).await.unwrap();
    let answer = owner.get("/api/boards").await.expect(503);
    assert!(answer.headers.contains_key("retry-after"));
    assert!(
        !answer.text.contains("127.0.0.1") && !answer.text.contains("localhost"),
        "{}",
        answer.text
    );
}
