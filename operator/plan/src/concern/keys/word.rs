//! A word in the spec asks for a rotation, once: another word asks for another one.

use freehold_crds::{OperationType, Phase};

use crate::concern::Scene;
use crate::operation::of_type;

/// The word that asks for a rotation of this type, unless it was heard.
pub fn unheard<'a>(scene: &Scene<'a>, of: OperationType) -> Option<&'a str> {
    asked(scene, of).filter(|word| !brought(scene, of, word, |phase| phase != Phase::Cancelled))
}

/// The same, once it got what it asked for.
pub fn acknowledged(scene: &Scene<'_>, of: OperationType) -> Option<String> {
    let word = asked(scene, of).filter(|word| brought(scene, of, word, |phase| phase == Phase::Succeeded));
    word.map(str::to_owned)
}

/// The word that asks for it, heard or not.
pub fn asked<'a>(scene: &Scene<'a>, of: OperationType) -> Option<&'a str> {
    let keys = scene.model.tenant.spec.keys.as_ref()?;
    match of {
        OperationType::TenantKeyRotation => keys.rotate_tenant_key.as_deref(),
        OperationType::DataKeyRotation => keys.rotate_data_keys.as_deref(),
        _ => None,
    }
}

fn brought(scene: &Scene<'_>, of: OperationType, word: &str, is: impl Fn(Phase) -> bool) -> bool {
    of_type(scene.input, of)
        .any(|(_, operation)| operation.token() == Some(word) && is(operation.status.phase))
}
