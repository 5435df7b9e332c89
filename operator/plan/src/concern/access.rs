//! Who may do what in the namespace: the operator's own right to write, and the customer's to look.
//!
//! In: the tenant's groups. Out: bindings of three named ClusterRoles, the only ones that the operator ever binds. Invariant:
//! Secrets are read through the operator's binding and nowhere else; no binding names a group of Kubernetes itself.

use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};

use super::Scene;
use crate::kind::Kind;
use crate::names::{ADMINISTRATORS_BINDING, OPERATOR_BINDING, VIEWERS_BINDING};
use crate::object::Object;
use crate::outcome::Outcome;
use crate::rights::{ADMINISTRATOR_ROLE, VIEWER_ROLE};

pub fn plan(scene: Scene<'_>) -> Outcome {
    let config = scene.input.config;
    let spec = &scene.model.tenant.spec;
    let operator = vec![Subject {
        kind: "ServiceAccount".into(),
        name: config.operator_service_account.clone(),
        namespace: Some(config.operator_namespace.clone()),
        ..Subject::default()
    }];
    let bindings = [
        (OPERATOR_BINDING, config.tenant_role.as_str(), operator),
        (
            ADMINISTRATORS_BINDING,
            ADMINISTRATOR_ROLE,
            groups(&spec.administrators.groups),
        ),
        (VIEWERS_BINDING, VIEWER_ROLE, groups(&spec.viewers.groups)),
    ];
    let bindings = bindings
        .into_iter()
        .filter(|(_, _, subjects)| !subjects.is_empty());
    let declare = |(name, role, subjects): (&str, &str, Vec<Subject>)| {
        let binding = RoleBinding {
            role_ref: RoleRef {
                api_group: Some("rbac.authorization.k8s.io".into()),
                kind: "ClusterRole".into(),
                name: role.to_owned(),
            },
            subjects: Some(subjects),
            ..RoleBinding::default()
        };
        Object::declare(scene.id(Kind::RoleBinding, name), scene.marks(), &binding)
    };
    Outcome::of(bindings.map(declare).collect())
}

/// Admission refuses groups of Kubernetes itself; an object older than that rule gets none of them either.
fn groups(names: &[String]) -> Vec<Subject> {
    let names = names.iter().filter(|name| !name.starts_with("system:"));
    let subject = |name: &String| Subject {
        api_group: Some("rbac.authorization.k8s.io".into()),
        kind: "Group".into(),
        name: name.clone(),
        ..Subject::default()
    };
    names.map(subject).collect()
}
