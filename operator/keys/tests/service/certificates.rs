//! The service's own certificate: shared, renewed without a restart, never silently replaced.

use freehold_keys::KeyError;
use jiff::{SignedDuration, Timestamp};

use crate::api::Api;
use crate::running::{AUTHORITY, Running, keeper};

const SECRET: &str = "/api/v1/namespaces/freehold-keys/secrets/keys-service-tls";

#[tokio::test]
async fn replicas_that_start_together_share_one_authority_and_one_leaf() {
    let (api, now) = (Api::default(), Timestamp::now());
    let keepers: Vec<_> = (0..4).map(|_| keeper(&api)).collect();
    let (a, b, c, d) = tokio::join!(
        keepers[0].look(now),
        keepers[1].look(now),
        keepers[2].look(now),
        keepers[3].look(now)
    );
    let first = a.unwrap().certificate_pem;
    for other in [b, c, d] {
        assert_eq!(other.unwrap().certificate_pem, first);
    }
    assert_eq!(api.object(SECRET).unwrap()["metadata"]["resourceVersion"], "1");
}

#[tokio::test]
async fn the_leaf_is_renewed_at_two_thirds_of_its_life_and_shown_without_a_restart() {
    let service = Running::start().await;
    let (keeper, now) = (keeper(&service.api), Timestamp::now());
    let first = keeper.look(now).await.unwrap();
    let life = first.not_after.duration_since(first.not_before);
    let due = first.not_before + life * 2 / 3;
    let before = keeper.look(due - SignedDuration::from_secs(1)).await.unwrap();
    assert_eq!(before.certificate_pem, first.certificate_pem);
    let authority = service.authority();
    let second = keeper.look(due).await.unwrap();
    assert_ne!(second.certificate_pem, first.certificate_pem);
    assert!(second.not_after > first.not_after);
    assert_eq!(service.authority(), authority);
    // A caller that knows the authority sees the leaf that is shown now; the one of tomorrow is not valid today.
    service.operator().health().await.unwrap();
    service.identity.replace(&second).unwrap();
    let error = service.operator().health().await.unwrap_err();
    assert!(
        matches!(&error, KeyError::Unavailable(about) if about.contains("ertificate")),
        "{error}"
    );
    service.identity.replace(&first).unwrap();
    service.operator().health().await.unwrap();
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_left_as_it_is() {
    let api = Api::default();
    keeper(&api).look(Timestamp::now()).await.unwrap();
    api.tamper(SECRET, |secret| secret["data"]["tls.crt"] = "bm90aGluZw==".into());
    let broken = api.object(SECRET);
    let error = keeper(&api).look(Timestamp::now()).await.unwrap_err();
    assert!(matches!(error, KeyError::Corrupt(_)), "{error}");
    assert_eq!(api.object(SECRET), broken);
}

#[tokio::test]
async fn the_authority_that_callers_read_is_put_right() {
    let api = Api::default();
    keeper(&api).look(Timestamp::now()).await.unwrap();
    let right = api.object(AUTHORITY).unwrap()["data"].clone();
    api.tamper(AUTHORITY, |map| map["data"]["ca.crt"] = "somebody else's".into());
    keeper(&api).look(Timestamp::now()).await.unwrap();
    assert_eq!(api.object(AUTHORITY).unwrap()["data"], right);
    api.remove(AUTHORITY);
    keeper(&api).look(Timestamp::now()).await.unwrap();
    assert_eq!(api.object(AUTHORITY).unwrap()["data"], right);
}
