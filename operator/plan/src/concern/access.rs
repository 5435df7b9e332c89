//! The operator's own right to write in the namespace: one binding to the one ClusterRole for it.
//!
//! Invariant: this is the only role that the operator ever binds; Secrets are read through it and nowhere else.

use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};

use super::Scene;
use crate::kind::Kind;
use crate::names::OPERATOR_BINDING;
use crate::object::Object;
use crate::outcome::Outcome;

pub fn plan(scene: Scene<'_>) -> Outcome {
    let config = scene.input.config;
    let binding = RoleBinding {
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".into()),
            kind: "ClusterRole".into(),
            name: config.tenant_role.clone(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".into(),
            name: config.operator_service_account.clone(),
            namespace: Some(config.operator_namespace.clone()),
            ..Subject::default()
        }]),
        ..RoleBinding::default()
    };
    let id = scene.id(Kind::RoleBinding, OPERATOR_BINDING);
    Outcome::of(vec![Object::declare(id, scene.marks(), &binding)])
}
