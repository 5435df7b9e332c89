//! The tenant's namespace: Pod Security `restricted`, and the uid of the tenant that it was made for.
//!
//! Invariant: a namespace that exists without that uid is never adopted, and nothing is written into it.

use k8s_openapi::api::core::v1::Namespace;

use crate::input::Input;
use crate::kind::Kind;
use crate::model::namespace;
use crate::names::TENANT_UID;
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
    /// Ours, and on its way out.
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
    match &seen.facts {
        Facts::Namespace { tenant_uid } if *tenant_uid == input.tenant.metadata.uid => {
            if seen.ending {
                Holder::Ending
            } else {
                Holder::Us
            }
        }
        _ => Holder::Stranger,
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
        Holder::Ending => ending(&id),
        Holder::Nobody | Holder::Us => {
            let mut outcome = Outcome::of(vec![declare(input, id)]);
            outcome.findings.push(match holder(input) {
                Holder::Us => Finding::new(TOPIC, true, "Ready", "the namespace is there"),
                _ => Finding::new(TOPIC, false, "Creating", "the namespace is being created"),
            });
            outcome
        }
    }
}

fn declare(input: &Input<'_>, id: Id) -> Object {
    let tenant = input.tenant.metadata.name.as_deref().unwrap_or_default();
    let mut marks = Marks::of(tenant).annotation(
        TENANT_UID,
        input.tenant.metadata.uid.as_deref().unwrap_or_default(),
    );
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
