//! The connection to the database is `verify-full`.

use crate::{certificates::Authority, instance::Instance};
use serde_json::json;
use std::fs;

fn migrate(instance: &Instance) -> (bool, String) {
    let output = instance.run(&["migrate", "--timeout", "1"]);
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[tokio::test]
async fn only_the_right_name_under_the_right_ca_is_trusted() {
    let instance = Instance::prepare().await;
    let host = instance.directory.join("database/host");
    fs::write(&host, "127.0.0.1").unwrap();
    let (ok, error) = migrate(&instance);
    assert!(!ok && error.contains("not valid for name"), "{error}");
    fs::write(&host, "localhost").unwrap();

    let authority = instance.directory.join("ca.crt");
    let right = fs::read(&authority).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let wrong = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    for (content, expected) in [
        (wrong.pem(), "invalid peer certificate"),
        (String::new(), "no usable certificate"),
    ] {
        fs::write(&authority, content).unwrap();
        let (ok, error) = migrate(&instance);
        assert!(!ok && error.contains(expected), "{error}");
    }
    fs::write(&authority, right).unwrap();
    assert!(migrate(&instance).0);

    let encrypted = "pg_stat_ssl s join pg_stat_activity a using (pid) where a.application_name = 'board-api' and not s.ssl";
    assert_eq!(instance.count(encrypted).await, 0);
}

#[tokio::test]
async fn the_right_ca_may_be_one_of_several_and_is_in_the_tiers_bundle_by_default() {
    let root = Authority::new("root");
    let instance = Instance::encrypted(&root).await;
    let leaf = root.issue();
    let databases = fs::read_to_string(instance.directory.join("ca.crt")).unwrap();
    for (roots, expected) in [(root.pem(), false), (root.pem() + &databases, true)] {
        instance
            .volume()
            .write_files(&leaf.certificate, &leaf.key, &roots);
        let output = instance
            .command(&["migrate", "--timeout", "1"])
            .env_remove("FREEHOLD_DATABASE_CA")
            .output();
        assert_eq!(output.unwrap().status.success(), expected);
    }
}

#[tokio::test]
async fn the_settings_may_name_another_host_and_only_aes_256_is_spoken() {
    let mut instance = Instance::prepare().await;
    fs::write(instance.directory.join("database/host"), "database.invalid").unwrap();
    assert!(!migrate(&instance).0);
    instance.settings(json!({ "database": { "host": "127.0.0.1" } }));
    let (ok, error) = migrate(&instance);
    assert!(!ok && error.contains("not valid for name"), "{error}");
    instance.settings(json!({ "database": { "host": "localhost" } }));
    assert!(migrate(&instance).0);
    fs::remove_file(instance.directory.join("database/host")).unwrap();

    let api = instance.spawn("api", &[]).await;
    instance.browser(api).get("/readyz").await.expect(200);
    let sessions = "pg_stat_ssl s join pg_stat_activity a using (pid)
        where a.application_name = 'board-api' and a.datname = current_database()";
    let strong = format!("{sessions} and s.cipher = 'TLS_AES_256_GCM_SHA384'");
    assert!(instance.count(&strong).await > 0);
    assert_eq!(instance.count(&strong).await, instance.count(sessions).await);
}
