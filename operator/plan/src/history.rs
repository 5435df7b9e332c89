//! Which records are no longer kept: a tenant that gets several releases a day would gather them without end.
//!
//! In: the operations of this life, the words in the spec. Out: those that may be forgotten. Invariants: what a decision is made from stays: of each type
//! the last ones that ended, on to the last one that succeeded and the last one that has changed the schema, without a gap; and those that
//! a word which still stands in the spec has brought. A deletion and a destruction of keys are never forgotten.

use freehold_crds::{OperationType, Phase};

use crate::concern::upgrade;
use crate::input::{Input, Operation};
use crate::operation::of_type;
use crate::outcome::Forgotten;

/// The acts that are repeated as long as a tenant lives.
const REPEATED: [OperationType; 4] = [
    OperationType::Upgrade,
    OperationType::TenantKeyRotation,
    OperationType::DataKeyRotation,
    OperationType::AuthorityRotation,
];

/// The records that may be forgotten.
pub fn surplus(input: &Input<'_>) -> Vec<Forgotten> {
    let all = REPEATED.into_iter().flat_map(|of| surplus_of(input, of));
    all.map(|(name, operation)| Forgotten {
        name: name.to_owned(),
        resource_version: operation.resource_version.clone(),
    })
    .collect()
}

fn surplus_of<'a>(input: &'a Input<'_>, of: OperationType) -> Vec<(&'a str, &'a Operation)> {
    let over = of_type(input, of).filter(|(_, operation)| operation.status.phase.is_over());
    let mut over: Vec<(&str, &Operation)> = over.collect();
    over.sort_by_key(|(name, operation)| (operation.ended(), *name));
    over.reverse();
    let needed = |is: fn(&Operation) -> bool| {
        let last = over.iter().position(|(_, operation)| is(operation));
        last.map_or(0, |last| last + 1)
    };
    let kept = input
        .config
        .operation_history
        .max(needed(|operation| operation.status.phase == Phase::Succeeded))
        .max(needed(upgrade::has_migrated));
    let past = over.into_iter().skip(kept);
    past.filter(|(_, operation)| !is_asked_for(input, operation))
        .collect()
}

/// Whether the word that has brought it is still there: without the record it would be heard again.
fn is_asked_for(input: &Input<'_>, operation: &Operation) -> bool {
    let spec = &input.tenant.spec;
    let keys = spec.keys.iter();
    let keys = keys.flat_map(|keys| [&keys.rotate_tenant_key, &keys.rotate_data_keys]);
    let certificates = spec.certificates.iter();
    let certificates = certificates.flat_map(|own| [&own.rotate_authority, &own.revoke_authority]);
    let mut words = keys.chain(certificates).flatten();
    let token = operation.token();
    token.is_some_and(|token| words.any(|word| word == token))
}
