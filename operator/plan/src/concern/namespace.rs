//! The tenant's namespace: Pod Security `restricted`, the incarnation whose data is in it, and the uid of the Tenant that
//! holds it.
//!
//! Invariant: a namespace that exists without that uid is never written into, unless its incarnation is the one that the
//! tenant is told to adopt. Its holder is gone then: names of Tenants are unique, and this one has that name.

use k8s_openapi::api::core::v1::Namespace;

use crate::input::Input;
use crate::kind::Kind;
use crate::model::{incarnation, namespace};
use crate::names::{INCARNATION, TENANT_UID};
use crate::object::{Id, Marks, Object};
use crate::outcome::{Finding, Outcome, Wait};
use crate::seen::Facts;

/// The version of the Pod Security standard, pinned: a newer cluster must not change what is admitted.
const POD_SECURITY_VERSION: &str = "v1.36";
pub const TOPIC: &str = "NamespaceReady";

/// Whose namespace stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// None is there.
    Nobody,
    Us,
    /// An earlier tenant's, and this one is told to take it over.
    Adoptable,
    /// An earlier tenant's.
    Earlier,
    /// Ours, or to be taken over, and on its way out.
    Ending,
    Stranger,
}

/// Looks who holds the namespace.
pub fn holder(input: &Input<'_>) -> Holder {
    let id = id(input);
    if input.observed.strangers.contains_key(&id) {
        return Holder::Stranger;
    }
    let Some(seen) = input.observed.objects.get(&id) else {
        return Holder::Nobody;
    };
    let Facts::Namespace {
        tenant_uid,
        incarnation,
    } = &seen.facts
    else {
        return Holder::Stranger;
    };
    let adopts = input.tenant.spec.adopt.as_ref().map(|adopt| &adopt.incarnation);
    let holder = if *tenant_uid == input.tenant.metadata.uid {
        Holder::Us
    } else if incarnation.is_some() && incarnation.as_ref() == adopts {
        Holder::Adoptable
    } else if incarnation.is_some() {
        return Holder::Earlier;
    } else {
        return Holder::Stranger;
    };
    if seen.ending { Holder::Ending } else { holder }
}

/// Whether the namespace is somebody else's, or ending: then nothing is written into it.
pub fn is_blocked(input: &Input<'_>) -> bool {
    match holder(input) {
        Holder::Us | Holder::Adoptable => false,
        Holder::Nobody => input.tenant.spec.adopt.is_some(),
        Holder::Earlier | Holder::Ending | Holder::Stranger => true,
    }
}

/// The namespace's own id.
pub fn id(input: &Input<'_>) -> Id {
    let name = namespace(input.tenant).as_str().to_owned();
    Id {
        kind: Kind::Namespace,
        namespace: String::new(),
        name,
    }
}

/// The namespace, unless somebody else's stands there.
pub fn plan(input: &Input<'_>) -> Outcome {
    let id = id(input);
    match holder(input) {
        Holder::Stranger => stranger(input, &id),
        Holder::Earlier => earlier(input, &id),
        Holder::Ending => ending(&id),
        Holder::Nobody if input.tenant.spec.adopt.is_some() => nothing_to_adopt(input, &id),
        Holder::Nobody | Holder::Us | Holder::Adoptable => {
            let mut outcome = Outcome::of(vec![declare(input, id)]);
            outcome.findings.push(match holder(input) {
                Holder::Us => Finding::new(TOPIC, true, "Ready", "the namespace is there"),
                Holder::Adoptable => {
                    Finding::new(TOPIC, false, "Adopting", "the namespace is being taken over")
                }
                _ => Finding::new(TOPIC, false, "Creating", "the namespace is being created"),
            });
            outcome
        }
    }
}

fn declare(input: &Input<'_>, id: Id) -> Object {
    let tenant = input.tenant.metadata.name.as_deref().unwrap_or_default();
    let mut marks = Marks::of(tenant)
        .annotation(
            TENANT_UID,
            input.tenant.metadata.uid.as_deref().unwrap_or_default(),
        )
        .annotation(INCARNATION, &incarnation(input));
    for mode in ["enforce", "audit", "warn"] {
        marks = marks
            .label(&format!("pod-security.kubernetes.io/{mode}"), "restricted")
            .label(
                &format!("pod-security.kubernetes.io/{mode}-version"),
                POD_SECURITY_VERSION,
            );
    }
    Object::declare(id, marks, &Namespace::default())
}

fn stranger(input: &Input<'_>, id: &Id) -> Outcome {
    let message = format!(
        "the namespace {} exists and was not made for this tenant",
        id.name
    );
    Outcome {
        findings: vec![Finding::new(TOPIC, false, "NamespaceNotOurs", message.clone())],
        waits: vec![Wait {
            reason: "NamespaceNotOurs",
            message,
            unblocked_by: format!(
                "look what is in the namespace {}; delete it, or give the tenant another name",
                id.name
            ),
            stalls: true,
        }],
        wake: input
            .observed
            .strangers
            .get(id)
            .map(|stranger| stranger.look_again),
        ..Outcome::default()
    }
}

fn blocked(reason: &'static str, message: String, unblocked_by: String) -> Outcome {
    Outcome {
        findings: vec![Finding::new(TOPIC, false, reason, message.clone())],
        waits: vec![Wait {
            reason,
            message,
            unblocked_by,
            stalls: true,
        }],
        ..Outcome::default()
    }
}

fn earlier(input: &Input<'_>, id: &Id) -> Outcome {
    let seen = input.observed.objects.get(id).map(|seen| &seen.facts);
    let life = match seen {
        Some(Facts::Namespace { incarnation, .. }) => incarnation.clone().unwrap_or_default(),
        _ => String::new(),
    };
    blocked(
        "NamespaceOfEarlierTenant",
        format!(
            "the namespace {} holds the data of an earlier tenant of this name, incarnation {life}",
            id.name
        ),
        format!(
            "set spec.adopt.incarnation to {life} to go on with that data; or delete the namespace {} and all that is \
             in it; or give the tenant another name",
            id.name
        ),
    )
}

fn nothing_to_adopt(input: &Input<'_>, id: &Id) -> Outcome {
    let life = input
        .tenant
        .spec
        .adopt
        .as_ref()
        .map(|adopt| adopt.incarnation.clone())
        .unwrap_or_default();
    blocked(
        "NothingToAdopt",
        format!(
            "there is no namespace {} with the incarnation {life} that is to be adopted",
            id.name
        ),
        format!(
            "restore the namespace {} with its annotations, or remove spec.adopt to begin anew",
            id.name
        ),
    )
}

fn ending(id: &Id) -> Outcome {
    let message = format!(
        "the namespace {} is being deleted, though the tenant is not",
        id.name
    );
    Outcome {
        findings: vec![Finding::new(TOPIC, false, "NamespaceEnding", message.clone())],
        waits: vec![Wait {
            reason: "NamespaceEnding",
            message,
            unblocked_by: "the end of that deletion; a new namespace is then created, without the old data"
                .to_owned(),
            stalls: false,
        }],
        ..Outcome::default()
    }
}
