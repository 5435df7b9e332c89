//! Where the operator binds roles, which ones, and to whom.

use freehold_e2e::install;
use serde_json::{Value, json};

use super::api::{Api, operator};
use super::marked::Marked;
use crate::stage::lab;

#[test]
fn the_operator_binds_only_in_its_own_namespaces() {
    let administrator = Api::administrator(lab());
    let operator = Api::named(lab(), &operator());
    let policy = "freehold-bindings";
    let there = Marked::make(&operator, "tenant-story-bindings");
    let path =
        |namespace: &str| format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings");
    let binding = |kind: &str, role: &str, subjects: Value| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "story"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}, "subjects": subjects})
    };
    let account =
        |name: &str, namespace: &str| json!({"kind": "ServiceAccount", "name": name, "namespace": namespace});
    let someone =
        |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let own = || json!([account("freehold", install::NAMESPACE)]);
    let crew = || json!([someone("Group", "crew")]);

    let tenants = binding("ClusterRole", "freehold-tenant", own());
    let viewers = binding("ClusterRole", "freehold-customer-viewer", crew());
    let administrators = binding("ClusterRole", "freehold-customer-administrator", crew());
    for good in [&tenants, &viewers, &administrators] {
        operator.try_create(&path(there.name), good).taken();
        for elsewhere in ["default", "kube-system", "freehold-keys", install::NAMESPACE] {
            operator
                .try_create(&path(elsewhere), good)
                .refused_by(policy, "in tenants' namespaces only");
        }
    }
    for (bad, hint) in [
        (binding("ClusterRole", "cluster-admin", own()), "only"),
        (binding("ClusterRole", "admin", crew()), "only"),
        (binding("Role", "freehold-tenant", own()), "only"),
        (binding("ClusterRole", "freehold", own()), "only"),
        (
            binding("ClusterRole", "freehold-tenant", crew()),
            "to nobody else",
        ),
        (
            binding("ClusterRole", "freehold-tenant", json!([])),
            "to nobody else",
        ),
        (
            binding(
                "ClusterRole",
                "freehold-tenant",
                json!([account("freehold", there.name)]),
            ),
            "to nobody else",
        ),
        (
            binding(
                "ClusterRole",
                "freehold-tenant",
                json!([account("other", install::NAMESPACE)]),
            ),
            "to nobody else",
        ),
        (
            binding(
                "ClusterRole",
                "freehold-tenant",
                json!([account("freehold", install::NAMESPACE), someone("Group", "crew")]),
            ),
            "to nobody else",
        ),
        (
            binding(
                "ClusterRole",
                "freehold-customer-viewer",
                json!([someone("User", "eve")]),
            ),
            "to groups of the identity provider only",
        ),
        (
            binding("ClusterRole", "freehold-customer-viewer", own()),
            "to groups of the identity provider only",
        ),
        (
            binding(
                "ClusterRole",
                "freehold-customer-administrator",
                json!([someone("Group", "crew"), someone("Group", "system:masters")]),
            ),
            "none that begins with system:",
        ),
    ] {
        operator
            .try_create(&path(there.name), &bad)
            .refused_by(policy, hint);
    }
    // Others bind as RBAC lets them; and what the operator made it can't turn into more.
    administrator
        .try_create(&path("default"), &binding("ClusterRole", "view", crew()))
        .taken();
    operator.create(&path(there.name), &viewers).taken();
    let more = json!({"subjects": [someone("Group", "system:authenticated")]});
    operator
        .try_patch(&format!("{}/story", path(there.name)), &more)
        .refused_by(policy, "none that begins with system:");
}
