//! Who callers are: by tokens that the API server vouches for.

use std::fs;
use std::time::Duration;

use freehold_keys::KeyError;
use freehold_keys::client::{Client, Source};
use freehold_keys::server::Reviewer;

use crate::api::{Api, Token};
use crate::running::{OPERATOR, Running, known};

#[tokio::test]
async fn a_token_that_is_wrong_expired_or_for_somebody_else_is_nobody() {
    let service = Running::start().await;
    let expired = Token {
        expired: true,
        ..known(OPERATOR)
    };
    service.api.know("expired", expired);
    let elsewhere = Token {
        audience: "https://kubernetes.default.svc".into(),
        ..known(OPERATOR)
    };
    service.api.know("for-the-api-server", elsewhere);
    let long = "x".repeat(9000);
    for token in [
        "wrong",
        "",
        "expired",
        "for-the-api-server",
        long.as_str(),
        "two words",
        "line\nfeed",
    ] {
        let error = service.caller(token).health().await.unwrap_err();
        assert!(
            matches!(error, KeyError::Unauthenticated(_)),
            "{token:.20}: {error}"
        );
        assert!(
            token.is_empty() || token == "wrong" || token == "expired" || !error.to_string().contains(token)
        );
    }
    service.operator().health().await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_vouched_for_without_an_audience_is_nobody() {
    let service = Running::start().await;
    service.api.ignore_audiences();
    let error = service.operator().health().await.unwrap_err();
    assert!(matches!(error, KeyError::Unauthenticated(_)), "{error}");
}

#[tokio::test]
async fn while_the_api_server_is_down_nobody_is_taken_for_a_stranger() {
    let service = Running::start().await;
    service.api.set_down(true);
    let error = service.operator().health().await.unwrap_err();
    assert!(matches!(error, KeyError::Unavailable(_)), "{error}");
    service.api.set_down(false);
    service.operator().health().await.unwrap();
}

#[tokio::test]
async fn a_renewed_token_is_read_from_its_file() {
    let service = Running::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let mut settings = service.settings("");
    settings.token = Source::File(file.clone());
    let client = Client::new(settings).unwrap();
    let error = client.health().await.unwrap_err();
    assert!(matches!(error, KeyError::Unavailable(_)), "{error}");
    fs::write(&file, "old\n").unwrap();
    let error = client.health().await.unwrap_err();
    assert!(matches!(error, KeyError::Unauthenticated(_)), "{error}");
    fs::write(&file, "of-the-operator\n").unwrap();
    client.health().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_token_is_asked_about_once_a_minute() {
    let api = Api::default();
    let reviewer = Reviewer::new(api.client());
    assert!(reviewer.who("token").await.is_err());
    assert!(reviewer.who("token").await.is_err());
    assert_eq!(api.reviews(), 2, "a refusal is not kept");
    api.know("token", known("somebody"));
    for _ in 0..3 {
        assert_eq!(reviewer.who("token").await.unwrap(), "somebody");
    }
    assert_eq!(api.reviews(), 3);
    assert!(reviewer.who("token2").await.is_err());
    api.forget("token");
    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(reviewer.who("token").await.unwrap(), "somebody");
    tokio::time::advance(Duration::from_secs(1)).await;
    let error = reviewer.who("token").await.unwrap_err();
    assert!(matches!(error, KeyError::Unauthenticated(_)), "{error}");
}
