//! Who may do what, over the wire, both ways; and what each call gives.

use freehold_keys::client::Client;
use freehold_keys::{Context, Destroying, KeyError, KeyName, Purpose, State, Wrapped};

use crate::running::{Running, context, key};

fn is_forbidden<T: std::fmt::Debug>(answer: Result<T, KeyError>) -> bool {
    matches!(answer, Err(KeyError::Forbidden(_)))
}

/// For each call whether it is forbidden. Made so that each one that isn't does something.
async fn forbidden(caller: &Client, key: &KeyName, wrapped: &Wrapped) -> Vec<&'static str> {
    let context = context("pvc-1");
    let tried = [
        ("health", is_forbidden(caller.health().await)),
        ("create", is_forbidden(caller.create(key).await)),
        ("rotate", is_forbidden(caller.rotate(key, 1).await)),
        ("versions", is_forbidden(caller.versions(key).await)),
        ("generate", is_forbidden(caller.generate(key, &context, 32).await)),
        (
            "rewrap",
            is_forbidden(caller.rewrap(key, &context, wrapped).await),
        ),
        (
            "unwrap",
            is_forbidden(caller.unwrap(key, &context, wrapped).await),
        ),
        (
            "destroy",
            is_forbidden(caller.destroy(key, Destroying::All).await),
        ),
    ];
    tried
        .into_iter()
        .filter(|(_, forbidden)| *forbidden)
        .map(|(name, _)| name)
        .collect()
}

#[tokio::test]
async fn each_caller_may_do_its_part_and_nothing_else() {
    let service = Running::start().await;
    let (operator, key) = (service.operator(), key("acme"));
    operator.create(&key).await.unwrap();
    let wrapped = operator.generate(&key, &context("pvc-1"), 64).await.unwrap();
    let every = [
        "health", "create", "rotate", "versions", "generate", "rewrap", "unwrap", "destroy",
    ];
    assert_eq!(
        forbidden(&service.caller("of-a-stranger"), &key, &wrapped).await,
        every
    );
    let all_but_unwrap = ["create", "rotate", "versions", "generate", "rewrap", "destroy"];
    assert_eq!(forbidden(&service.driver(), &key, &wrapped).await, all_but_unwrap);
    // Nothing of what was forbidden was done.
    let versions = operator.versions(&key).await.unwrap();
    assert_eq!(versions.len(), 1);
    assert_eq!(versions[0].state, State::Enabled);
    assert_eq!(forbidden(&operator, &key, &wrapped).await, ["unwrap"]);
}

#[tokio::test]
async fn a_data_key_that_the_operator_asks_for_is_seen_by_the_driver_alone() {
    let service = Running::start().await;
    let (operator, driver, key) = (service.operator(), service.driver(), key("acme"));
    operator.create(&key).await.unwrap();
    let wrapped = operator.generate(&key, &context("pvc-1"), 64).await.unwrap();
    let plain = driver.unwrap(&key, &context("pvc-1"), &wrapped).await.unwrap();
    assert_eq!(plain.as_bytes().len(), 64);
    let again = driver.unwrap(&key, &context("pvc-1"), &wrapped).await.unwrap();
    assert_eq!(plain.as_bytes(), again.as_bytes());
    let other = operator.generate(&key, &context("pvc-1"), 64).await.unwrap();
    let other = driver.unwrap(&key, &context("pvc-1"), &other).await.unwrap();
    assert_ne!(plain.as_bytes(), other.as_bytes());
    assert_eq!(format!("{plain:?}"), "DataKey(64 bytes)");
}

#[tokio::test]
async fn a_data_key_of_one_volume_opens_for_no_other() {
    let service = Running::start().await;
    let (operator, driver, key) = (service.operator(), service.driver(), key("acme"));
    operator.create(&key).await.unwrap();
    let wrapped = operator.generate(&key, &context("pvc-1"), 64).await.unwrap();
    let other_life = Context::new("another", Purpose::Volume, "pvc-1").unwrap();
    for other in [context("pvc-2"), other_life] {
        let error = driver.unwrap(&key, &other, &wrapped).await.unwrap_err();
        assert!(matches!(error, KeyError::Refused(_)), "{error}");
        let error = operator.rewrap(&key, &other, &wrapped).await.unwrap_err();
        assert!(matches!(error, KeyError::Refused(_)), "{error}");
    }
}

#[tokio::test]
async fn rewrapping_keeps_the_data_key_and_lets_the_old_version_go() {
    let service = Running::start().await;
    let (operator, driver, key) = (service.operator(), service.driver(), key("acme"));
    let first = operator.create(&key).await.unwrap();
    assert_eq!(operator.create(&key).await.unwrap(), first);
    let old = operator.generate(&key, &context("pvc-1"), 64).await.unwrap();
    let plain = driver.unwrap(&key, &context("pvc-1"), &old).await.unwrap();
    assert_eq!(operator.rotate(&key, 1).await.unwrap().number, 2);
    let new = operator.rewrap(&key, &context("pvc-1"), &old).await.unwrap();
    assert_eq!((old.version, new.version), (1, 2));
    let destroyed = operator.destroy(&key, Destroying::Version(1)).await.unwrap();
    assert!(destroyed.evidence.contains("acme"), "{}", destroyed.evidence);
    assert!(matches!(destroyed.versions[0].state, State::Destroyed { .. }));
    let after = driver.unwrap(&key, &context("pvc-1"), &new).await.unwrap();
    assert_eq!(after.as_bytes(), plain.as_bytes());
    let error = driver.unwrap(&key, &context("pvc-1"), &old).await.unwrap_err();
    assert!(matches!(error, KeyError::Destroyed(_)), "{error}");
    operator.destroy(&key, Destroying::All).await.unwrap();
    let error = operator.create(&key).await.unwrap_err();
    assert!(matches!(error, KeyError::Destroyed(_)), "{error}");
}

#[tokio::test]
async fn wrong_requests_are_told_as_such() {
    let service = Running::start().await;
    let (operator, key) = (service.operator(), key("acme"));
    let error = operator.versions(&key).await.unwrap_err();
    assert!(matches!(error, KeyError::NotFound(_)), "{error}");
    operator.create(&key).await.unwrap();
    for length in [0, 16, 31, 65, usize::MAX] {
        let error = operator.generate(&key, &context("x"), length).await.unwrap_err();
        assert!(matches!(error, KeyError::Invalid(_)), "{length}: {error}");
    }
    let error = operator.rotate(&key, 7).await.unwrap_err();
    assert!(matches!(error, KeyError::Conflict(_)), "{error}");
    let health = operator.health().await.unwrap();
    assert_eq!((health.provider.as_str(), health.separated), ("local", false));
}
