//! What every provider promises.

use std::sync::Arc;

use freehold_keys::{
    Context, DataKey, Destroying, KeyError, KeyName, Provider, Purpose, State, Version, Wrapped,
};

type P = Arc<dyn Provider>;

crate::list!(P:
    a_key_is_made_once_and_has_version_one,
    what_is_wrapped_opens_again,
    what_is_wrapped_twice_differs,
    a_wrapped_key_opens_in_its_own_context_alone,
    a_wrapped_key_opens_under_its_own_key_and_version_alone,
    a_changed_or_cut_ciphertext_is_refused,
    a_key_that_was_never_made_is_not_found,
    rotation_makes_one_version_however_often_it_is_asked_for,
    rotation_from_a_version_that_never_was_is_a_conflict,
    older_versions_open_and_the_newest_wraps,
    a_destroyed_version_is_gone_and_its_evidence_stays,
    the_current_version_is_not_destroyed_alone,
    a_destroyed_key_is_never_made_again,
    many_at_once_make_one_key_and_one_next_version,
    it_is_healthy_and_says_what_it_is,
);

/// A name that no other test has.
fn fresh() -> KeyName {
    let now = jiff::Timestamp::now().as_nanosecond();
    format!("t-{now}").parse().unwrap()
}

fn context(id: &str) -> Context {
    Context::new("5f0c9d8e-1111-4222-8333-444455556666", Purpose::Volume, id).unwrap()
}

fn plain() -> DataKey {
    DataKey::new((0..64).collect())
}

async fn made(provider: &P) -> KeyName {
    let key = fresh();
    provider.create(&key).await.unwrap();
    key
}

async fn opens(provider: &P, key: &KeyName, wrapped: &Wrapped) -> bool {
    match provider.unwrap(key, &context("pvc-1"), wrapped).await {
        Ok(opened) => opened.as_bytes() == plain().as_bytes(),
        Err(KeyError::Refused(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn wrap(provider: &P, key: &KeyName) -> Wrapped {
    provider.wrap(key, &context("pvc-1"), &plain()).await.unwrap()
}

async fn a_key_is_made_once_and_has_version_one(provider: P) {
    let key = fresh();
    let before = jiff::Timestamp::now().as_second();
    let first = provider.create(&key).await.unwrap();
    assert_eq!((first.number, first.state), (1, State::Enabled));
    assert!((before..=before + 60).contains(&first.created_at.as_second()));
    let wrapped = wrap(&provider, &key).await;
    assert_eq!(provider.create(&key).await.unwrap(), first);
    assert_eq!(provider.versions(&key).await.unwrap(), [first]);
    assert!(opens(&provider, &key, &wrapped).await);
    let second = provider.rotate(&key, 1).await.unwrap();
    assert_eq!(provider.create(&key).await.unwrap(), second);
}

async fn what_is_wrapped_opens_again(provider: P) {
    let key = made(&provider).await;
    for length in [32, 33, 64] {
        let plain = DataKey::new(vec![0xa5; length]);
        let wrapped = provider.wrap(&key, &context("pvc-1"), &plain).await.unwrap();
        assert_eq!(wrapped.version, 1);
        let clear = wrapped.bytes.windows(16).any(|part| part == [0xa5; 16]);
        assert!(!clear, "the plain key stands in its wrapped form");
        let opened = provider.unwrap(&key, &context("pvc-1"), &wrapped).await.unwrap();
        assert_eq!(opened.as_bytes(), plain.as_bytes());
    }
}

async fn what_is_wrapped_twice_differs(provider: P) {
    let key = made(&provider).await;
    assert_ne!(wrap(&provider, &key).await, wrap(&provider, &key).await);
}

async fn a_wrapped_key_opens_in_its_own_context_alone(provider: P) {
    let key = made(&provider).await;
    let wrapped = wrap(&provider, &key).await;
    let of = |incarnation, id| Context::new(incarnation, Purpose::Volume, id).unwrap();
    let incarnation = context("pvc-1").incarnation().to_owned();
    for other in [
        of(&incarnation, "pvc-2"),
        of("other", "pvc-1"),
        of(&incarnation, "pvc-1x"),
    ] {
        let error = provider.unwrap(&key, &other, &wrapped).await.unwrap_err();
        assert!(matches!(error, KeyError::Refused(_)), "{other:?}: {error}");
    }
    assert!(opens(&provider, &key, &wrapped).await);
}

async fn a_wrapped_key_opens_under_its_own_key_and_version_alone(provider: P) {
    let (key, other) = (made(&provider).await, made(&provider).await);
    let wrapped = wrap(&provider, &key).await;
    assert!(!opens(&provider, &other, &wrapped).await);
    provider.rotate(&key, 1).await.unwrap();
    let as_second = Wrapped {
        version: 2,
        ..wrapped.clone()
    };
    assert!(!opens(&provider, &key, &as_second).await);
    let as_third = Wrapped {
        version: 3,
        ..wrapped.clone()
    };
    let error = provider
        .unwrap(&key, &context("pvc-1"), &as_third)
        .await
        .unwrap_err();
    assert!(matches!(error, KeyError::NotFound(_)), "{error}");
    assert!(opens(&provider, &key, &wrapped).await);
}

async fn a_changed_or_cut_ciphertext_is_refused(provider: P) {
    let key = made(&provider).await;
    let wrapped = wrap(&provider, &key).await;
    let length = wrapped.bytes.len();
    for at in 0..length {
        let mut changed = wrapped.clone();
        changed.bytes[at] ^= 1;
        assert!(!opens(&provider, &key, &changed).await, "byte {at}");
    }
    for cut in [0, 1, 12, 13, 28, 29, 30, length - 1] {
        let mut changed = wrapped.clone();
        changed.bytes.truncate(cut);
        assert!(!opens(&provider, &key, &changed).await, "cut to {cut}");
    }
    assert!(opens(&provider, &key, &wrapped).await);
}

async fn a_key_that_was_never_made_is_not_found(provider: P) {
    let (key, other) = (fresh(), made(&provider).await);
    let wrapped = wrap(&provider, &other).await;
    let errors = [
        provider.wrap(&key, &context("x"), &plain()).await.unwrap_err(),
        provider.unwrap(&key, &context("x"), &wrapped).await.unwrap_err(),
        provider.rotate(&key, 1).await.unwrap_err(),
        provider.versions(&key).await.unwrap_err(),
        provider.destroy(&key, Destroying::All).await.unwrap_err(),
        provider
            .destroy(&other, Destroying::Version(2))
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, KeyError::NotFound(_)), "{error}");
    }
}

async fn rotation_makes_one_version_however_often_it_is_asked_for(provider: P) {
    let key = made(&provider).await;
    let second = provider.rotate(&key, 1).await.unwrap();
    assert_eq!(second.number, 2);
    assert_eq!(provider.rotate(&key, 1).await.unwrap(), second);
    assert_eq!(provider.rotate(&key, 2).await.unwrap().number, 3);
    assert_eq!(provider.rotate(&key, 1).await.unwrap().number, 3);
    assert_eq!(numbers(&provider.versions(&key).await.unwrap()), [1, 2, 3]);
}

async fn rotation_from_a_version_that_never_was_is_a_conflict(provider: P) {
    let key = made(&provider).await;
    for from in [0, 2, u32::MAX] {
        let error = provider.rotate(&key, from).await.unwrap_err();
        assert!(matches!(error, KeyError::Conflict(_)), "{from}: {error}");
    }
    assert_eq!(provider.versions(&key).await.unwrap().len(), 1);
}

async fn older_versions_open_and_the_newest_wraps(provider: P) {
    let key = made(&provider).await;
    let mut kept = vec![wrap(&provider, &key).await];
    for from in 1..4 {
        provider.rotate(&key, from).await.unwrap();
        let wrapped = wrap(&provider, &key).await;
        assert_eq!(wrapped.version, from + 1);
        kept.push(wrapped);
    }
    for wrapped in kept {
        assert!(opens(&provider, &key, &wrapped).await, "{wrapped:?}");
    }
}

async fn a_destroyed_version_is_gone_and_its_evidence_stays(provider: P) {
    let key = made(&provider).await;
    let first = wrap(&provider, &key).await;
    provider.rotate(&key, 1).await.unwrap();
    let second = wrap(&provider, &key).await;
    let destroyed = provider.destroy(&key, Destroying::Version(1)).await.unwrap();
    assert_eq!(numbers(&destroyed.versions), [1]);
    assert!(matches!(destroyed.versions[0].state, State::Destroyed { .. }));
    assert!(!destroyed.evidence.is_empty());
    assert_eq!(
        provider.destroy(&key, Destroying::Version(1)).await.unwrap(),
        destroyed
    );
    let error = provider
        .unwrap(&key, &context("pvc-1"), &first)
        .await
        .unwrap_err();
    assert!(matches!(error, KeyError::Destroyed(_)), "{error}");
    assert!(opens(&provider, &key, &second).await);
    let versions = provider.versions(&key).await.unwrap();
    assert_eq!(versions[0], destroyed.versions[0]);
    assert_eq!(versions[1].state, State::Enabled);
    assert_eq!(provider.rotate(&key, 2).await.unwrap().number, 3);
}

async fn the_current_version_is_not_destroyed_alone(provider: P) {
    let key = made(&provider).await;
    let wrapped = wrap(&provider, &key).await;
    let error = provider.destroy(&key, Destroying::Version(1)).await.unwrap_err();
    assert!(matches!(error, KeyError::Conflict(_)), "{error}");
    assert!(opens(&provider, &key, &wrapped).await);
}

async fn a_destroyed_key_is_never_made_again(provider: P) {
    let key = made(&provider).await;
    provider.rotate(&key, 1).await.unwrap();
    let wrapped = wrap(&provider, &key).await;
    let destroyed = provider.destroy(&key, Destroying::All).await.unwrap();
    assert_eq!(numbers(&destroyed.versions), [1, 2]);
    let errors = [
        provider.create(&key).await.unwrap_err(),
        provider.rotate(&key, 2).await.unwrap_err(),
        provider.rotate(&key, 1).await.unwrap_err(),
        provider
            .wrap(&key, &context("pvc-1"), &plain())
            .await
            .unwrap_err(),
        provider
            .unwrap(&key, &context("pvc-1"), &wrapped)
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, KeyError::Destroyed(_)), "{error}");
    }
    assert_eq!(provider.destroy(&key, Destroying::All).await.unwrap(), destroyed);
    assert_eq!(provider.versions(&key).await.unwrap(), destroyed.versions);
}

async fn many_at_once_make_one_key_and_one_next_version(provider: P) {
    let key = fresh();
    let all = |act: fn(P, KeyName) -> tokio::task::JoinHandle<Result<Version, KeyError>>| {
        let calls: Vec<_> = (0..8).map(|_| act(provider.clone(), key.clone())).collect();
        async move {
            let mut answers = Vec::new();
            for call in calls {
                answers.push(call.await.unwrap().unwrap());
            }
            answers.dedup();
            answers
        }
    };
    let made = all(|provider, key| tokio::spawn(async move { provider.create(&key).await })).await;
    assert_eq!(numbers(&made), [1]);
    let next = all(|provider, key| tokio::spawn(async move { provider.rotate(&key, 1).await })).await;
    assert_eq!(numbers(&next), [2]);
    assert_eq!(provider.versions(&key).await.unwrap(), [made, next].concat());
}

async fn it_is_healthy_and_says_what_it_is(provider: P) {
    let health = provider.health().await.unwrap();
    assert_eq!(health.separated, health.provider == "pkcs11");
}

fn numbers(versions: &[Version]) -> Vec<u32> {
    versions.iter().map(|version| version.number).collect()
}
