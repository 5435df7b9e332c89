//! What stands against the destruction of keys: protection, other keys than the tenant's own, a key that can't be seen.
//!
//! In: the tenant, its class, the volumes, the keys. Out: a wait. Invariant: one that does not stall is only not known yet.

use freehold_crds::{KeyScope, TenantClassSpec};

use crate::concern::storage::{self, Verdict, scope_of};
use crate::input::{Input, Slot, TenantKey};
use crate::outcome::Wait;

/// Why the keys are not destroyed though it is wished.
pub fn objection(input: &Input<'_>, class: Option<&TenantClassSpec>) -> Option<Wait> {
    if input.tenant.spec.deletion_protection {
        return Some(Wait {
            reason: "DestructionProtected",
            message: "the keys are not destroyed while spec.deletionProtection is on".to_owned(),
            unblocked_by: "set spec.deletionProtection to false: after deletion.terminationGrace of the class NOBODY CAN \
                           READ THE DATA ANY MORE; or take spec.termination out"
                .to_owned(),
            stalls: true,
        });
    }
    let not_offered = |why: String| Wait {
        reason: "DestructionNotOffered",
        message: format!("{why}: destroying the tenant key would not destroy the data"),
        unblocked_by:
            "take spec.termination out, and delete the tenant with deletionPolicy Delete, which deletes its \
                       volumes"
                .to_owned(),
        stalls: true,
    };
    if let Some(volume) = strange_volume(input) {
        return Some(not_offered(format!(
            "the volume {volume} is not encrypted with a key of this tenant's own"
        )));
    }
    match class.and_then(|class| scope_of(input.config, &class.database)) {
        Some(KeyScope::Tenant) => None,
        Some(KeyScope::Platform) => Some(not_offered("the platform's key encrypts the volumes".to_owned())),
        Some(KeyScope::Nobody) => Some(not_offered("the volumes are not encrypted".to_owned())),
        None => Some(Wait {
            reason: "DestructionNotYetKnown",
            message: "whose key encrypts the volumes is not known".to_owned(),
            unblocked_by: "the TenantClass and the StorageClass that it names".to_owned(),
            stalls: false,
        }),
    }
}

/// A volume that is encrypted by other means, or not at all.
fn strange_volume<'a>(input: &'a Input<'_>) -> Option<&'a str> {
    let mut volumes = storage::volumes(input);
    let strange = volumes.find(|volume| !volume.is_ours() && volume.verdict != Verdict::Unknown);
    strange.map(|volume| volume.claim)
}

/// The tenant key, if what is known of the keys is all there is.
pub fn tenant_key<'a>(input: &'a Input<'_>) -> Result<&'a TenantKey, Wait> {
    let keys = &input.observed.minted.keys;
    let service = input.config.key_service.as_ref();
    let silent = service.is_none_or(|service| service.failure.is_some());
    match &keys.tenant {
        Slot::Present(key) if !keys.unread && !silent => Ok(key),
        Slot::Absent | Slot::Broken | Slot::Foreign if !silent => Err(Wait {
            reason: "TenantKeyNotThere",
            message: "the key service can't show the tenant key that is to be destroyed".to_owned(),
            unblocked_by: "restore the key service's state; or delete the tenant with deletionPolicy Delete"
                .to_owned(),
            stalls: true,
        }),
        _ => Err(Wait {
            reason: "KeyServiceUnavailable",
            message: "waiting for the key service: the tenant's keys can't be read".to_owned(),
            unblocked_by: "the key service's answer; look at its pods in the keys' namespace".to_owned(),
            stalls: false,
        }),
    }
}
