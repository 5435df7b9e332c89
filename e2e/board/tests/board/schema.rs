//! Migrations, readiness, and a release that meets the schema of the next one.

use crate::instance::{Instance, board};
use serde_json::json;
use std::{fs, process::Stdio};

const SCHEMA: i32 = 3;

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
    let sql = instance.sql().await;
    sql.batch_execute("insert into schema_migrations (version, name) values (4, 'of a release to come')")
        .await
        .unwrap();
    let browser = instance.browser(0);
    browser.get("/readyz").await.expect(200);
    let owner = instance.owner().await;
    let (board, lane) = board(&owner).await;
    owner
        .post(
            &format!("/api/lanes/{lane}/cards"),
            json!({ "title": "still here" }),
        )
        .await
        .expect(201);
    owner.get(&format!("/api/boards/{board}/cards")).await.expect(200);
    assert!(
        instance.migrate().starts_with("schema 4:"),
        "nothing to do, and nothing undone"
    );
    assert!(instance.run(&["export"]).status.success());
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
