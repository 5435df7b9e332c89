//! Whether the keys live apart from the data, truthfully: where volumes differ, the worst of it.

use freehold_crds::KeyScope;

use crate::concern::Scene;
use crate::concern::storage::{self, Verdict, judge};
use crate::input::KeyService;
use crate::outcome::Finding;

const TOPIC: &str = "KeysSeparated";

pub fn of(scene: &Scene<'_>, service: &KeyService) -> Finding {
    let others = || match storage::scope(scene) {
        Some(KeyScope::Platform | KeyScope::Nobody) => by_others(scene),
        Some(KeyScope::Tenant) | None => None,
    };
    before(scene).or_else(others).unwrap_or_else(|| own(service))
}

/// The same, where no volume has a key of the tenant's own.
pub fn of_others(scene: &Scene<'_>) -> Option<Finding> {
    before(scene).or_else(|| by_others(scene))
}

/// Of volumes that the TenantClass's StorageClass did not make.
fn before(scene: &Scene<'_>) -> Option<Finding> {
    let older = storage::older(scene)?;
    let aside = |truth, reason, what: &str| {
        let message = format!(
            "the claim {} is older than the class's StorageClass: {what}",
            older.claim
        );
        Some(Finding::aside(TOPIC, truth, reason, message))
    };
    match older.scope {
        KeyScope::Tenant => None,
        KeyScope::Platform if older.has_passphrase => aside(
            Some(false),
            "PassphraseInCluster",
            "its driver takes a passphrase from a Secret of this cluster",
        ),
        KeyScope::Platform => aside(
            None,
            "KeyOfThePlatform",
            "the platform keeps its key, where Freehold can't look",
        ),
        KeyScope::Nobody => aside(
            Some(false),
            "NotEncrypted",
            "its volume is not encrypted, there is no key",
        ),
    }
}

/// Of volumes as the TenantClass's StorageClass makes them, where the keys are others'.
fn by_others(scene: &Scene<'_>) -> Option<Finding> {
    let aside = |truth, reason, message: String| Some(Finding::aside(TOPIC, truth, reason, message));
    let config = scene.input.config;
    match judge(config, scene.model.database.class.storage_class_name.as_deref()) {
        Verdict::Encrypted { class, .. } if storage::has_passphrase(config, &class) => {
            let message = format!(
                "the driver of the StorageClass {class} takes a passphrase from a Secret of this cluster: who can read the Secrets can read the data"
            );
            aside(Some(false), "PassphraseInCluster", message)
        }
        Verdict::Encrypted { class, .. } => {
            let message =
                format!("the platform keeps the key of the StorageClass {class}, where Freehold can't look");
            aside(None, "KeyOfThePlatform", message)
        }
        Verdict::Refused { .. } if scene.model.database.class.allow_unencrypted => aside(
            Some(false),
            "NotEncrypted",
            "the volumes are not encrypted: there is no key".to_owned(),
        ),
        Verdict::Refused { .. } | Verdict::Unknown => None,
    }
}

/// Of the tenant's own keys.
fn own(service: &KeyService) -> Finding {
    let KeyService {
        provider,
        separated,
        failure: _,
    } = service;
    match provider {
        None => Finding::aside(TOPIC, None, "NotYetKnown", "the key service was not heard of yet"),
        Some(provider) if *separated => {
            let message = format!("the provider {provider} keeps the tenant key outside of the cluster");
            Finding::aside(TOPIC, Some(true), "Separated", message)
        }
        Some(provider) => {
            let message = format!(
                "the provider {provider} keeps its root key in the cluster: who can read the Secrets there can read the \
                 data; take pkcs11 to keep them apart"
            );
            Finding::aside(TOPIC, Some(false), "RootKeyInCluster", message)
        }
    }
}
