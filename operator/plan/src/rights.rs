//! The operator's rights, from the table of managed kinds. The chart's roles are generated from this.
//!
//! Invariants: no wildcard, no `escalate`, no cluster-wide read of Secrets; `bind` for three named ClusterRoles.

use std::fmt::Write as _;

use crate::kind::Kind;
use crate::leaf::Leaf;
use crate::names::{OWNER_TOKEN, PROOF_CERTIFICATE};

/// One rule of a role, with the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub why: &'static str,
    pub group: &'static str,
    pub resources: Vec<&'static str>,
    pub names: Vec<&'static str>,
    pub verbs: Vec<&'static str>,
}

fn rule(
    why: &'static str,
    group: &'static str,
    resources: &[&'static str],
    names: &[&'static str],
    verbs: &[&'static str],
) -> Rule {
    Rule {
        why,
        group,
        resources: resources.to_vec(),
        names: names.to_vec(),
        verbs: verbs.to_vec(),
    }
}

/// The ClusterRole that the operator binds for itself in each tenant's namespace.
pub const TENANT_ROLE: &str = "freehold-tenant";
/// The ClusterRole of a customer's administrators, bound in their tenant's namespace.
pub const ADMINISTRATOR_ROLE: &str = "freehold-customer-administrator";
/// The ClusterRole of a customer's viewers, bound in their tenant's namespace.
pub const VIEWER_ROLE: &str = "freehold-customer-viewer";

/// The Secrets in a tenant's namespace that the operator mints, reads and renews: certificates, and the owner's token.
fn minted() -> Vec<&'static str> {
    let leaves = Leaf::ALL.into_iter().map(Leaf::secret);
    leaves.chain([PROOF_CERTIFICATE, OWNER_TOKEN]).collect()
}

/// The ConfigMap that the key service publishes its authority in.
pub const KEY_SERVICE_AUTHORITY: &str = "freehold-keys-ca";

/// What the operator may do in the whole cluster.
pub fn cluster_wide() -> Vec<Rule> {
    let mut rules = vec![
        rule(
            "its own kinds: read what is wanted",
            "freehold.dev",
            &[
                "tenants",
                "tenantclasses",
                "releases",
                "releasechannels",
                "releaseapprovals",
            ],
            &[],
            &["list", "watch"],
        ),
        rule(
            "how far releases are, with the grants",
            "freehold.dev",
            &["releasechannels/status"],
            &[],
            &["patch"],
        ),
        rule("the finalizer", "freehold.dev", &["tenants"], &[], &["patch"]),
        rule("the report", "freehold.dev", &["tenants/status"], &[], &["patch"]),
        rule(
            "whether keys are to be destroyed still, right before",
            "freehold.dev",
            &["tenants"],
            &[],
            &["get"],
        ),
        rule(
            "what is left of destroyed keys; never changed, never deleted",
            "freehold.dev",
            &["destructionrecords"],
            &[],
            &["get", "create"],
        ),
        rule(
            "that they were destroyed",
            "freehold.dev",
            &["destructionrecords/status"],
            &[],
            &["patch"],
        ),
        rule(
            "transitions that people see",
            "events.k8s.io",
            &["events"],
            &[],
            &["create"],
        ),
        rule(
            "a namespace for each tenant",
            "",
            &["namespaces"],
            &[],
            &["get", "create", "patch", "delete"],
        ),
        rule(
            "the binding by which it writes in a tenant's namespace",
            "rbac.authorization.k8s.io",
            &["rolebindings"],
            &[],
            &["get", "create", "patch"],
        ),
        rule(
            "whether volumes are encrypted",
            "storage.k8s.io",
            &["storageclasses"],
            &[],
            &["list", "watch"],
        ),
        rule(
            "a key is forgotten only when its volume is gone",
            "",
            &["persistentvolumes"],
            &[],
            &["get"],
        ),
        rule(
            "its bindings name these roles and no other; admission limits them to namespaces that it made",
            "rbac.authorization.k8s.io",
            &["clusterroles"],
            &[TENANT_ROLE, ADMINISTRATOR_ROLE, VIEWER_ROLE],
            &["bind"],
        ),
    ];
    // Claims lie in the operator's own namespace only.
    let kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::HostnameClaim);
    rules.extend(grouped(
        kinds.collect(),
        "drift is seen by watching",
        &["list", "watch"],
    ));
    rules
}

/// What the operator may do in a tenant's namespace, through its binding there.
pub fn in_tenant_namespaces() -> Vec<Rule> {
    let kinds = Kind::ALL.into_iter().filter(|kind| {
        !matches!(
            kind,
            Kind::Namespace
                | Kind::DestructionRecord
                | Kind::HostnameClaim
                | Kind::RoleBinding
                | Kind::Pod
                | Kind::Volume
        )
    });
    let verbs = &["get", "create", "patch", "delete"];
    let mut rules = grouped(kinds.collect(), "what a tenant consists of", verbs);
    rules.push(rule(
        "the customer's access ends",
        "rbac.authorization.k8s.io",
        &["rolebindings"],
        &[],
        &["delete"],
    ));
    rules.push(rule(
        "short-lived pods that verify the isolation, preflight, and what the gateway trusts",
        "",
        &["pods"],
        &[],
        &["get", "create", "delete"],
    ));
    rules.push(rule(
        "the database moves to volumes with new keys: the primary becomes another instance",
        "postgresql.cnpg.io",
        &["clusters/status"],
        &[],
        &["patch"],
    ));
    rules.push(rule(
        "and CloudNativePG removes those on the old ones, by a mark on their pods",
        "",
        &["pods"],
        &[],
        &["patch"],
    ));
    rules.push(rule(
        "key material that it mints, by name",
        "",
        &["secrets"],
        &minted(),
        &["get", "patch"],
    ));
    rules.push(rule(
        "a create can't be limited to names",
        "",
        &["secrets"],
        &[],
        &["create"],
    ));
    rules
}

/// What the operator may do in the namespace of the keys.
pub fn in_keys_namespace() -> Vec<Rule> {
    vec![
        rule(
            "the tenants' authorities, and wrapped data keys",
            "",
            &["secrets"],
            &[],
            &["get", "create", "delete"],
        ),
        rule(
            "which data keys there are, and by which version they are wrapped",
            "",
            &["secrets"],
            &[],
            &["list", "patch"],
        ),
        rule(
            "who signs the key service's certificate",
            "",
            &["configmaps"],
            &[KEY_SERVICE_AUTHORITY],
            &["get"],
        ),
    ]
}

/// What the operator may do where the unrestricted pods of the verification run.
pub fn in_probes_namespace() -> Vec<Rule> {
    vec![rule(
        "unrestricted pods, beside which a blocked connection means something",
        "",
        &["pods"],
        &[],
        &["get", "create", "delete"],
    )]
}

/// What a customer's viewers see in their tenant's namespace: no Secrets, and nothing to change.
pub fn of_viewers() -> Vec<Rule> {
    const SEE: &[&str] = &["get", "list", "watch"];
    let see = |group, resources| rule("what their instance consists of", group, resources, &[], SEE);
    vec![
        see(
            "",
            &[
                "configmaps",
                "events",
                "limitranges",
                "persistentvolumeclaims",
                "pods",
                "resourcequotas",
                "services",
            ],
        ),
        see("apps", &["deployments", "replicasets"]),
        see("batch", &["jobs"]),
        see("cert-manager.io", &["certificates"]),
        see("events.k8s.io", &["events"]),
        see(
            "gateway.networking.k8s.io",
            &["backendtlspolicies", "gateways", "httproutes"],
        ),
        see("networking.k8s.io", &["networkpolicies"]),
        see("policy", &["poddisruptionbudgets"]),
        see("postgresql.cnpg.io", &["clusters"]),
    ]
}

/// What a customer's administrators may do beyond seeing. Freehold's own namespaced kinds join here as they come.
pub fn of_administrators() -> Vec<Rule> {
    let mut rules = of_viewers();
    rules.push(rule("what their instance says", "", &["pods/log"], &[], &["get"]));
    rules
}

/// What the operator may do in its own namespace.
pub fn in_own_namespace() -> Vec<Rule> {
    vec![
        rule(
            "one claim for each hostname",
            "freehold.dev",
            &["hostnameclaims"],
            &[],
            &["get", "list", "watch", "create", "patch"],
        ),
        rule(
            "the record of acts that can't be repeated",
            "freehold.dev",
            &["tenantoperations"],
            &[],
            &["get", "list", "watch", "create", "delete"],
        ),
        rule(
            "how far they are",
            "freehold.dev",
            &["tenantoperations/status"],
            &[],
            &["patch"],
        ),
        rule(
            "leader election",
            "coordination.k8s.io",
            &["leases"],
            &["freehold"],
            &["get", "patch"],
        ),
        rule(
            "a create can't be limited to names",
            "coordination.k8s.io",
            &["leases"],
            &[],
            &["create"],
        ),
    ]
}

/// What the operator may read in the namespace `default`.
pub fn in_default_namespace() -> Vec<Rule> {
    vec![
        rule(
            "where the API server is",
            "",
            &["services"],
            &["kubernetes"],
            &["get"],
        ),
        rule(
            "where the API server is",
            "discovery.k8s.io",
            &["endpointslices"],
            &["kubernetes"],
            &["get"],
        ),
    ]
}

/// The chart's template with every role.
pub fn chart_template() -> String {
    let roles = [
        ("ClusterRole", "freehold", "", cluster_wide()),
        ("ClusterRole", TENANT_ROLE, "", in_tenant_namespaces()),
        ("ClusterRole", ADMINISTRATOR_ROLE, "", of_administrators()),
        ("ClusterRole", VIEWER_ROLE, "", of_viewers()),
        (
            "Role",
            "freehold-keys",
            "{{ .Values.keys.namespace }}",
            in_keys_namespace(),
        ),
        (
            "Role",
            "freehold-probes",
            "{{ .Values.verification.namespace }}",
            in_probes_namespace(),
        ),
        (
            "Role",
            "freehold-own",
            "{{ .Release.Namespace }}",
            in_own_namespace(),
        ),
        ("Role", "freehold-api-server", "default", in_default_namespace()),
    ];
    let mut text = "# Generated from operator/plan/src/rights.rs and its table of kinds by\n\
                    # `UPDATE_GENERATED=1 cargo test -p freehold-plan --test generated`.\n"
        .to_owned();
    for (kind, name, namespace, rules) in roles {
        // Its namespace is there only then.
        let only_when = name == "freehold-probes";
        if only_when {
            text.push_str("{{- if .Values.verification.enabled }}\n");
        }
        role(&mut text, kind, name, namespace, &rules);
        if only_when {
            text.push_str("{{- end }}\n");
        }
    }
    text
}

fn role(text: &mut String, kind: &str, name: &str, namespace: &str, rules: &[Rule]) {
    // Writing into a String can't fail.
    let _ = write!(
        text,
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n"
    );
    if !namespace.is_empty() {
        let _ = writeln!(text, "  namespace: {namespace}");
    }
    text.push_str("  labels:\n    {{- include \"freehold.labels\" . | nindent 4 }}\nrules:\n");
    for Rule {
        why,
        group,
        resources,
        names,
        verbs,
    } in rules
    {
        let _ = write!(
            text,
            "  # {why}\n  - apiGroups: [\"{group}\"]\n    resources: [{}]\n",
            resources.join(", ")
        );
        if !names.is_empty() {
            let _ = writeln!(text, "    resourceNames: [{}]", names.join(", "));
        }
        let _ = writeln!(text, "    verbs: [{}]", verbs.join(", "));
    }
}

/// One rule for each API group.
fn grouped(kinds: Vec<Kind>, why: &'static str, verbs: &[&'static str]) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for row in kinds.into_iter().map(Kind::row) {
        match rules.iter_mut().find(|rule| rule.group == row.group) {
            Some(rule) => rule.resources.push(row.plural),
            None => rules.push(rule(why, row.group, &[row.plural], &[], verbs)),
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Rule> {
        [
            cluster_wide(),
            in_tenant_namespaces(),
            in_keys_namespace(),
            in_probes_namespace(),
            in_own_namespace(),
            of_administrators(),
            in_default_namespace(),
        ]
        .concat()
    }

    #[test]
    fn no_rule_has_a_wildcard_or_escalates() {
        for rule in all() {
            let words = [&rule.resources, &rule.verbs, &rule.names].into_iter().flatten();
            assert!(words.clone().all(|word| !word.contains('*')), "{rule:?}");
            assert!(
                !rule.verbs.contains(&"escalate") && !rule.verbs.contains(&"impersonate"),
                "{rule:?}"
            );
            assert!(
                !rule.verbs.contains(&"bind") || rule.names == [TENANT_ROLE, ADMINISTRATOR_ROLE, VIEWER_ROLE],
                "{rule:?}"
            );
        }
    }

    #[test]
    fn customers_change_nothing_and_see_no_secret() {
        for rule in [of_viewers(), of_administrators()].concat() {
            let verbs = ["get", "list", "watch"];
            assert!(rule.verbs.iter().all(|verb| verbs.contains(verb)), "{rule:?}");
            let resources = [
                "secrets",
                "pods/exec",
                "pods/portforward",
                "pods/attach",
                "serviceaccounts/token",
            ];
            assert!(
                !resources.iter().any(|resource| rule.resources.contains(resource)),
                "{rule:?}"
            );
        }
    }

    #[test]
    fn secrets_are_out_of_reach_in_the_whole_cluster_listed_among_the_keys_only_and_never_watched() {
        assert!(
            cluster_wide()
                .iter()
                .all(|rule| !rule.resources.contains(&"secrets"))
        );
        let lists = |rule: &Rule| rule.resources.contains(&"secrets") && rule.verbs.contains(&"list");
        assert_eq!(
            all().iter().filter(|rule| lists(rule)).count(),
            in_keys_namespace().iter().filter(|rule| lists(rule)).count()
        );
        for rule in all().iter().filter(|rule| rule.resources.contains(&"secrets")) {
            assert!(!rule.verbs.contains(&"watch"), "{rule:?}");
        }
    }
}
