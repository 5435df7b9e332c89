//! Migrations, readiness, and a release that meets the schema of the next one.

use crate::instance::Instance;
use serde_json::json;
use std::{
    fs,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio_postgres::{Client, error::SqlState};

const SCHEMA: i32 = if cfg!(has_due_date) { 4 } else { 3 };
/// Migration 4, which 1.1.0 brings.
const OF_1_1: &str = include_str!("../../migrations/0004_due_date_set.sql");

#[tokio::test]
async fn migrations_run_once_however_many_run_them() {
    let instance = Instance::prepare().await;
    let runs: Vec<_> = (0..4)
        .map(|_| {
            instance
                .command(&["migrate", "--timeout", "20"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut applied = 0;
    for run in runs {
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success());
        let printed = String::from_utf8(output.stdout).unwrap();
        applied += printed
            .lines()
            .filter(|line| line.starts_with("migration"))
            .count();
    }
    assert_eq!(applied, usize::try_from(SCHEMA).unwrap());
    assert_eq!(instance.count("schema_migrations").await, i64::from(SCHEMA));
    assert_eq!(
        instance.migrate(),
        format!("schema {SCHEMA}: this release needs {SCHEMA}\n")
    );
}

#[tokio::test]
async fn the_api_is_not_ready_before_migrate() {
    let mut instance = Instance::prepare().await;
    let api = instance.spawn("api", &[]).await;
    let browser = instance.browser(api);
    browser.get("/healthz").await.expect(200);
    let answer = browser.get("/readyz").await.expect(503);
    assert!(answer.text.contains("migrate has not run"), "{}", answer.text);
    instance.migrate();
    browser.get("/readyz").await.expect(200);
}

#[tokio::test]
async fn migrate_waits_for_the_database() {
    let instance = Instance::prepare().await;
    let host = instance.directory.join("database/host");
    fs::remove_file(&host).unwrap();
    let output = instance.run(&["migrate", "--timeout", "1"]);
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("waiting for the database"),
        "{output:?}"
    );

    let run = instance
        .command(&["migrate", "--timeout", "20"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    fs::write(&host, "localhost").unwrap();
    assert!(run.wait_with_output().unwrap().status.success());
}

#[tokio::test]
async fn this_release_works_on_the_next_ones_schema() {
    let instance = Instance::start().await;
    let owner = instance.owner().await;
    // 1.2.0 can't show a board.
    let made = async |path: &str, name| owner.post(path, json!({ "name": name })).await.expect(201).json();
    let board = made("/api/boards", "Launch").await["id"].clone();
    let lane = made(&format!("/api/boards/{board}/lanes"), "To do").await["id"].clone();
    let mut sql = instance.sql().await;
    let next = SCHEMA + 1;
    // While it runs, as in an upgrade. What comes after 1.1.0 isn't known yet.
    if next == 4 {
        in_a_transaction(&mut sql, OF_1_1).await.unwrap();
    }
    let come = "insert into schema_migrations (version, name) values ($1, 'of a release to come')";
    sql.execute(come, &[&next]).await.unwrap();
    instance.browser(0).get("/readyz").await.expect(200);
    owner
        .post(
            &format!("/api/lanes/{lane}/cards"),
            json!({ "title": "still here" }),
        )
        .await
        .expect(201);
    let list = owner.get(&format!("/api/boards/{board}/cards")).await;
    list.expect(if cfg!(broken) { 500 } else { 200 });
    assert!(
        instance.migrate().starts_with(&format!("schema {next}:")),
        "nothing to do, and nothing undone"
    );
    assert!(instance.run(&["export"]).status.success());
}

#[tokio::test]
async fn the_migration_of_1_1_writes_no_row_anew_and_does_not_wait_long_for_its_lock() {
    let instance = Instance::prepare().await;
    instance.migrate();
    let (mut sql, mut reader) = (instance.sql().await, instance.sql().await);
    sql.batch_execute("alter table cards drop column if exists due_set_at")
        .await
        .unwrap();
    let file = "select pg_relation_filenode('cards')::bigint";
    let before: i64 = sql.query_one(file, &[]).await.unwrap().get(0);

    let reading = reader.transaction().await.unwrap();
    reading.execute("select from cards", &[]).await.unwrap();
    let started = Instant::now();
    let refused = in_a_transaction(&mut sql, OF_1_1).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::LOCK_NOT_AVAILABLE), "{refused}");
    assert!(
        started.elapsed() < Duration::from_millis(1500),
        "{:?}",
        started.elapsed()
    );

    reading.rollback().await.unwrap();
    in_a_transaction(&mut sql, OF_1_1).await.unwrap();
    let after: i64 = sql.query_one(file, &[]).await.unwrap().get(0);
    assert_eq!(before, after);
}

/// As `migrate` does it.
async fn in_a_transaction(client: &mut Client, sql: &str) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(sql).await?;
    transaction.commit().await
}

#[tokio::test]
async fn smoke_tells_a_good_release_from_a_broken_one_and_leaves_nothing() {
    let instance = Instance::start().await;
    let output = instance.run(&["smoke", "--api", instance.url(0)]);
    assert_eq!(
        output.status.success(),
        !cfg!(broken),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for table in ["boards", "lanes", "cards", "outbox"] {
        assert_eq!(instance.count(table).await, 0, "{table}");
    }
    assert!(
        !instance
            .run(&["smoke", "--api", "http://127.0.0.1:9"])
            .status
            .success()
    );
    assert!(
        !instance
            .run(&["smoke", "--api", instance.url(0), "--expect-version", "0.0.0"])
            .status
            .success()
    );
}
