//! What can go wrong with what `local` keeps.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use freehold_keys::local::{Local, Memory, Slot, Vault};
use freehold_keys::{Context, DataKey, KeyError, KeyName, Provider, Purpose};

crate::list!(
    a_lost_root_key_is_never_replaced,
    a_broken_root_key_is_never_replaced,
    a_tenant_key_under_another_root_key_is_corrupt,
    a_broken_record_is_corrupt_and_stays_as_it_is,
    a_record_copied_to_another_name_is_corrupt,
    a_root_key_that_another_process_makes_just_now_is_not_lost,
    a_fresh_vault_is_healthy,
);

/// A vault that several providers use. The second field is how many looks for the root key come a moment too early.
#[derive(Clone, Debug, Default)]
struct Shared(Arc<Memory>, Arc<AtomicUsize>);

#[async_trait::async_trait]
impl Vault for Shared {
    async fn load(&self, slot: Slot<'_>) -> Result<Option<freehold_keys::local::Stored>, KeyError> {
        let too_early = |looks: usize| looks.checked_sub(1);
        if slot == Slot::Root && self.1.fetch_update(SeqCst, SeqCst, too_early).is_ok() {
            return Ok(None);
        }
        self.0.load(slot).await
    }

    async fn save(&self, slot: Slot<'_>, content: &[u8], revision: Option<&str>) -> Result<(), KeyError> {
        self.0.save(slot, content, revision).await
    }

    async fn holds_keys(&self) -> Result<bool, KeyError> {
        self.0.holds_keys().await
    }

    fn place(&self, key: &KeyName) -> String {
        self.0.place(key)
    }
}

fn key(name: &str) -> KeyName {
    name.parse().unwrap()
}

async fn with_a_key() -> (Shared, Local<Shared>) {
    let vault = Shared::default();
    let local = Local::new(vault.clone());
    local.create(&key("acme")).await.unwrap();
    (vault, local)
}

async fn content(vault: &Shared, slot: Slot<'_>) -> Option<Vec<u8>> {
    vault
        .load(slot)
        .await
        .unwrap()
        .map(|stored| stored.content.to_vec())
}

fn is_corrupt<T: std::fmt::Debug>(answer: Result<T, KeyError>) {
    assert!(matches!(answer, Err(KeyError::Corrupt(_))), "{answer:?}");
}

async fn wrap(local: &Local<Shared>) -> Result<freehold_keys::Wrapped, KeyError> {
    let context = Context::new("5f0c", Purpose::Volume, "pvc-1").unwrap();
    local
        .wrap(&key("acme"), &context, &DataKey::new(vec![1; 32]))
        .await
}

async fn a_lost_root_key_is_never_replaced() {
    let (vault, local) = with_a_key().await;
    vault.0.plant(Slot::Root, None);
    is_corrupt(local.create(&key("other")).await);
    is_corrupt(local.rotate(&key("acme"), 1).await);
    is_corrupt(wrap(&local).await);
    is_corrupt(local.health().await);
    assert_eq!(content(&vault, Slot::Root).await, None);
}

async fn a_broken_root_key_is_never_replaced() {
    let (vault, local) = with_a_key().await;
    vault.0.plant(Slot::Root, Some(b"short"));
    is_corrupt(local.create(&key("other")).await);
    is_corrupt(wrap(&local).await);
    is_corrupt(local.health().await);
    assert_eq!(content(&vault, Slot::Root).await.unwrap(), b"short");
}

async fn a_tenant_key_under_another_root_key_is_corrupt() {
    let (vault, local) = with_a_key().await;
    let key = key("acme");
    let whole = content(&vault, Slot::TenantKey(&key)).await;
    vault.0.plant(Slot::Root, Some(&[7; 32]));
    is_corrupt(wrap(&local).await);
    // Nothing is told of it as if it could be used, and nothing is added that only this root key opens.
    is_corrupt(local.versions(&key).await);
    is_corrupt(local.create(&key).await);
    is_corrupt(local.rotate(&key, 1).await);
    assert_eq!(content(&vault, Slot::TenantKey(&key)).await, whole);
}

async fn a_broken_record_is_corrupt_and_stays_as_it_is() {
    let (vault, local) = with_a_key().await;
    let (key, good) = (key("acme"), wrap(&local).await.unwrap());
    let whole = content(&vault, Slot::TenantKey(&key)).await.unwrap();
    for broken in [b"".as_slice(), b"{}", &whole[..whole.len() / 2]] {
        vault.0.plant(Slot::TenantKey(&key), Some(broken));
        is_corrupt(local.create(&key).await);
        is_corrupt(local.rotate(&key, 1).await);
        is_corrupt(local.versions(&key).await);
        is_corrupt(local.destroy(&key, freehold_keys::Destroying::All).await);
        is_corrupt(wrap(&local).await);
        assert_eq!(content(&vault, Slot::TenantKey(&key)).await.unwrap(), broken);
    }
    vault.0.plant(Slot::TenantKey(&key), Some(&whole));
    let context = Context::new("5f0c", Purpose::Volume, "pvc-1").unwrap();
    let opened = local.unwrap(&key, &context, &good).await.unwrap();
    assert_eq!(opened.as_bytes(), [1; 32]);
}

async fn a_record_copied_to_another_name_is_corrupt() {
    let (vault, local) = with_a_key().await;
    let record = content(&vault, Slot::TenantKey(&key("acme"))).await.unwrap();
    vault.0.plant(Slot::TenantKey(&key("other")), Some(&record));
    is_corrupt(local.versions(&key("other")).await);
    let renamed = String::from_utf8(record).unwrap().replace("acme", "other");
    vault
        .0
        .plant(Slot::TenantKey(&key("other")), Some(renamed.as_bytes()));
    let context = Context::new("5f0c", Purpose::Volume, "pvc-1").unwrap();
    is_corrupt(
        local
            .wrap(&key("other"), &context, &DataKey::new(vec![1; 32]))
            .await,
    );
}

async fn a_root_key_that_another_process_makes_just_now_is_not_lost() {
    let (vault, local) = with_a_key().await;
    let root = content(&vault, Slot::Root).await;
    vault.1.store(1, SeqCst);
    local.create(&key("other")).await.unwrap();
    vault.1.store(1, SeqCst);
    local.health().await.unwrap();
    assert_eq!(vault.1.load(SeqCst), 0);
    assert_eq!(content(&vault, Slot::Root).await, root);
}

async fn a_fresh_vault_is_healthy() {
    let local = Local::new(Shared::default());
    assert_eq!(local.health().await.unwrap().provider, "local");
}
