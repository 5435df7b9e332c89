//! Each act is in the log, with who did what to which key, and without any material.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tracing_subscriber::fmt::MakeWriter;

use crate::running::{DRIVER, OPERATOR, Running, context, key};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Everything that this process logs, at the finest level.
fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(log.clone())
            .init();
        log
    })
}

#[tokio::test]
async fn each_act_is_logged_without_material() {
    let log = log();
    let service = Running::start().await;
    let (operator, driver, key) = (service.operator(), service.driver(), key("audited"));
    operator.create(&key).await.unwrap();
    let wrapped = operator
        .generate(&key, &context("pvc-audited"), 32)
        .await
        .unwrap();
    let plain = driver
        .unwrap(&key, &context("pvc-audited"), &wrapped)
        .await
        .unwrap();
    driver.rotate(&key, 1).await.unwrap_err();
    service.caller("a-wrong-token").versions(&key).await.unwrap_err();
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = |words: &[&str]| {
        text.lines().any(|line| {
            line.contains("freehold_keys::audit")
                && line.contains("key=\"audited\"")
                && words.iter().all(|word| line.contains(word))
        })
    };
    assert!(
        line(&["act=\"create\"", OPERATOR, "version=1", "result=\"done\""]),
        "{text}"
    );
    let context = [
        "incarnation=\"5f0c9d8e-1111-4222-8333-444455556666\"",
        "purpose=\"volume\"",
        "id=\"pvc-audited\"",
    ];
    assert!(
        line(&[&["act=\"generate\"", OPERATOR, "version=1"], context.as_slice()].concat()),
        "{text}"
    );
    assert!(
        line(&[&["act=\"unwrap\"", DRIVER, "version=1"], context.as_slice()].concat()),
        "{text}"
    );
    assert!(
        line(&["act=\"rotate\"", DRIVER, "result=\"forbidden\""]),
        "{text}"
    );
    assert!(
        line(&["act=\"versions\"", "who=\"\"", "result=\"unauthenticated\""]),
        "{text}"
    );
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let plain = plain.as_bytes();
    for secret in [
        hex(plain),
        STANDARD.encode(plain),
        format!("{plain:?}"),
        STANDARD.encode(&wrapped.bytes),
        "of-the-operator".into(),
        "a-wrong-token".into(),
        "PRIVATE KEY".into(),
    ] {
        assert!(!text.contains(&secret), "the log holds {secret}");
    }
}
