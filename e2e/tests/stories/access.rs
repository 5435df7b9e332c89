//! Who may do what: every verb on every resource of the API server, in the namespaces of two tenants and of the platform,
//! for a customer's administrators and viewers, a tenant's workloads and database, and the operator. What is allowed is what
//! stands in the table here, and not one thing more.

use std::collections::{BTreeMap, BTreeSet};

use freehold_e2e::kube;
use freehold_e2e::lab::{addons, shell};
use serde_json::{Value, json};

use crate::stage::{MINUTE, lab, wait_ready};

/// One thing that one may do: `verb resource.group`, with the name in brackets where only that one is meant.
type Deeds = BTreeSet<String>;

/// Every verb on every resource that the API server knows.
fn discovered() -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    let groups: Value =
        serde_json::from_str(&kube::kubectl(lab(), &["get", "--raw", "/apis"]).unwrap()).unwrap();
    let mut paths = vec![(String::new(), "/api/v1".to_string())];
    for group in groups["groups"].as_array().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            let version = version["groupVersion"].as_str().unwrap();
            paths.push((
                group["name"].as_str().unwrap().to_string(),
                format!("/apis/{version}"),
            ));
        }
    }
    for (group, path) in paths {
        let list: Value =
            serde_json::from_str(&kube::kubectl(lab(), &["get", "--raw", &path]).unwrap()).unwrap();
        for resource in list["resources"].as_array().unwrap() {
            let name = format!("{}.{group}", resource["name"].as_str().unwrap());
            let verbs = resource["verbs"].as_array().unwrap();
            let verbs = verbs.iter().map(|verb| verb.as_str().unwrap().to_string());
            found.insert(name, verbs.collect());
        }
    }
    found
}

/// What somebody may do in a namespace, by the API server's own word, spelled out over all that it knows. What everybody
/// who is known may do (ask about himself, discover) is left out.
fn allowed(who: &[&str], namespace: &str, known: &BTreeMap<String, Vec<String>>) -> Deeds {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace}});
    let mut command = addons::kubectl(lab());
    command
        .args([
            "create",
            "--raw",
            "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
            "-f",
            "-",
        ])
        .args(who);
    let answer: Value =
        serde_json::from_str(&shell::feed(&mut command, review.to_string().as_bytes()).unwrap()).unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .map(|text| text.as_str().unwrap().to_string())
            .collect()
    };
    let mut deeds = Deeds::new();
    for rule in answer["status"]["resourceRules"].as_array().unwrap() {
        let (groups, resources, verbs) = (
            texts(&rule["apiGroups"]),
            texts(&rule["resources"]),
            texts(&rule["verbs"]),
        );
        let names = texts(&rule["resourceNames"]);
        for (resource, its) in known {
            let (name, group) = resource.split_once('.').unwrap();
            let meant = |list: &[String], one: &str| list.iter().any(|entry| entry == "*" || entry == one);
            if !meant(&groups, group) || !meant(&resources, name) {
                continue;
            }
            // `bind` and the like are in no discovery: a rule's own words count too.
            let own = verbs.iter().filter(|verb| *verb != "*").cloned();
            let all: BTreeSet<String> = its
                .iter()
                .filter(|verb| meant(&verbs, verb))
                .cloned()
                .chain(own)
                .collect();
            for verb in all {
                if names.is_empty() {
                    deeds.insert(format!("{verb} {resource}"));
                } else {
                    deeds.extend(names.iter().map(|name| format!("{verb} {resource} [{name}]")));
                }
            }
        }
    }
    let everybody = [
        "selfsubjectaccessreviews",
        "selfsubjectrulesreviews",
        "selfsubjectreviews",
    ];
    deeds.retain(|deed| !everybody.iter().any(|what| deed.contains(what)));
    deeds
}

fn deeds(table: &[(&str, &str)]) -> Deeds {
    let mut all = Deeds::new();
    for (verbs, resources) in table {
        for verb in verbs.split(' ') {
            all.extend(
                resources
                    .split_whitespace()
                    .map(|resource| format!("{verb} {resource}")),
            );
        }
    }
    all
}

const SEEN: &str = "configmaps. events. limitranges. persistentvolumeclaims. pods. resourcequotas. services. \
    deployments.apps replicasets.apps jobs.batch events.events.k8s.io \
    backendtlspolicies.gateway.networking.k8s.io gateways.gateway.networking.k8s.io httproutes.gateway.networking.k8s.io networkpolicies.networking.k8s.io poddisruptionbudgets.policy \
    certificates.cert-manager.io clusters.postgresql.cnpg.io";

fn assert_same(who: &str, namespace: &str, found: &Deeds, expected: &Deeds) {
    let more: Vec<&String> = found.difference(expected).collect();
    let less: Vec<&String> = expected.difference(found).collect();
    assert!(more.is_empty(), "{who} in {namespace}: unexpected yes: {more:#?}");
    assert!(less.is_empty(), "{who} in {namespace}: unexpected no: {less:#?}");
}

#[test]
fn everybody_may_do_what_the_table_says_and_nothing_else() {
    for tenant in ["acme", "globex"] {
        wait_ready(tenant, MINUTE);
    }
    let known = discovered();
    let namespaces = [
        "tenant-acme",
        "tenant-globex",
        "freehold-system",
        "freehold-keys",
        "freehold-probes",
        "kube-system",
        "default",
        "cnpg-system",
    ];
    let as_group = |group: &'static str| vec!["--as=somebody", "--as-group=system:authenticated", group];
    let see = ("get list watch", SEEN);
    let customers: [(&str, Vec<&str>, &str, Deeds); 4] = [
        (
            "acme's administrator",
            as_group("--as-group=acme-admins"),
            "tenant-acme",
            deeds(&[see, ("get", "pods/log.")]),
        ),
        (
            "acme's viewer",
            as_group("--as-group=acme-auditors"),
            "tenant-acme",
            deeds(&[see]),
        ),
        (
            "globex's administrator",
            as_group("--as-group=globex-admins"),
            "tenant-globex",
            deeds(&[see, ("get", "pods/log.")]),
        ),
        (
            "somebody of neither",
            as_group("--as-group=nobodies"),
            "",
            Deeds::new(),
        ),
    ];
    let mut asked = 0;
    for (who, flags, home, at_home) in &customers {
        for namespace in namespaces {
            let found = allowed(flags, namespace, &known);
            let expected = if namespace == *home {
                at_home.clone()
            } else {
                Deeds::new()
            };
            assert_same(who, namespace, &found, &expected);
            asked += 1;
        }
    }
    for account in ["web", "api", "hooks", "default"] {
        let user = format!("--as=system:serviceaccount:tenant-acme:{account}");
        for namespace in namespaces {
            let found = allowed(&[&user], namespace, &known);
            assert_same(
                &format!("acme's workload {account}"),
                namespace,
                &found,
                &Deeds::new(),
            );
            asked += 1;
        }
    }
    // CloudNativePG's instance manager: what its operator gives it, in its own namespace.
    for namespace in namespaces {
        let found = allowed(&["--as=system:serviceaccount:tenant-acme:db"], namespace, &known);
        asked += 1;
        if namespace != "tenant-acme" {
            assert_same("acme's database", namespace, &found, &Deeds::new());
            continue;
        }
        assert!(!found.is_empty());
        for deed in &found {
            // Its own account and its own certificates.
            let own_secret = ["[db-", "[database-tls]", "[replication-tls]"];
            let secret = deed.contains("secrets.") && !own_secret.iter().any(|own| deed.contains(own));
            let (verb, resource) = deed.split_once(' ').unwrap();
            let writes = !["get", "list", "watch"].contains(&verb);
            let own = [
                "postgresql.cnpg.io",
                "events.",
                "objectstores.barmancloud",
                "leases.coordination.k8s.io [db]",
            ]
            .iter()
            .any(|of| resource.contains(of));
            assert!(
                !secret && (!writes || own),
                "acme's database: unexpected yes: {deed}"
            );
        }
    }
    let operator = "--as=system:serviceaccount:freehold-system:freehold";
    let wide = allowed(&[operator], "kube-system", &known);
    for deed in &wide {
        assert!(!deed.contains("secrets"), "the operator anywhere: {deed}");
        let writes = !["get", "list", "watch"].contains(&deed.split(' ').next().unwrap());
        let known = [
            "tenants",
            "releasechannels/status.",
            "namespaces.",
            "rolebindings.",
            "clusterroles.",
            "events.events.k8s.io",
            "destructionrecords",
        ];
        assert!(
            !writes || known.iter().any(|of| deed.contains(of)),
            "the operator anywhere: {deed}"
        );
    }
    for namespace in ["default", "cnpg-system"] {
        let found = allowed(&[operator], namespace, &known);
        let more: Vec<&String> = found
            .difference(&wide)
            .filter(|deed| !deed.contains("[kubernetes]"))
            .collect();
        assert!(more.is_empty(), "the operator in {namespace}: {more:#?}");
        asked += 2;
    }
    let keys: Deeds = allowed(&[operator], "freehold-keys", &known)
        .difference(&wide)
        .cloned()
        .collect();
    let mut expected = deeds(&[("get list create patch delete", "secrets.")]);
    expected.insert("get configmaps. [freehold-keys-ca]".to_owned());
    assert_eq!(keys, expected);
    let at_tenants: Deeds = allowed(&[operator], "tenant-acme", &known)
        .difference(&wide)
        .cloned()
        .collect();
    for deed in &at_tenants {
        let never = [
            "escalate",
            "impersonate",
            "pods/exec",
            "pods/portforward",
            "list secrets",
            "watch secrets",
        ];
        assert!(
            !never.iter().any(|word| deed.contains(word)),
            "the operator in tenant-acme: {deed}"
        );
    }
    let verbs: usize = known.values().map(Vec::len).sum();
    println!(
        "{asked} reviews, each over {verbs} verbs of {} resources: no unexpected yes",
        known.len()
    );
}

/// The chart's roles for people of the platform, each bound to a group for as long as this takes.
#[test]
fn who_approves_and_who_releases_may_do_that_and_nothing_else() {
    wait_ready("acme", MINUTE);
    let known = discovered();
    let see = (
        "get list watch",
        "releases.freehold.dev releasechannels.freehold.dev releaseapprovals.freehold.dev",
    );
    let write = (
        "create update patch delete",
        "releases.freehold.dev releasechannels.freehold.dev",
    );
    let roles: [(&str, Deeds); 3] = [
        (
            "freehold-approver",
            deeds(&[see, ("create", "releaseapprovals.freehold.dev")]),
        ),
        ("freehold-release-engineer", deeds(&[see, write])),
        ("freehold-release-viewer", deeds(&[see])),
    ];
    for (role, expected) in &roles {
        let group = format!("story-{role}");
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": group}, "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}});
        kube::apply(lab(), &[binding]).unwrap();
        let as_group = format!("--as-group={group}");
        let flags = ["--as=somebody", "--as-group=system:authenticated", &as_group];
        kube::until("the role to count", MINUTE, || {
            Ok((!allowed(&flags, "default", &known).is_empty()).then_some(()))
        })
        .unwrap();
        for namespace in ["default", "tenant-acme", "freehold-system", "freehold-keys"] {
            assert_same(role, namespace, &allowed(&flags, namespace, &known), expected);
        }
        kube::kubectl(lab(), &["delete", "clusterrolebinding", &group]).unwrap();
    }
}

/// What a hostile administrator of one customer tries.
#[test]
fn a_customers_administrator_changes_nothing_and_gets_into_nothing() {
    wait_ready("acme", MINUTE);
    wait_ready("globex", MINUTE);
    let tries: [&[&str]; 20] = [
        &["-n", "tenant-acme", "get", "secrets"],
        &["-n", "tenant-acme", "exec", "deploy/web", "--", "true"],
        &["-n", "tenant-acme", "attach", "deploy/web"],
        &["-n", "tenant-acme", "port-forward", "deploy/web", "18080:8080"],
        &["-n", "tenant-acme", "create", "token", "default"],
        &["-n", "tenant-acme", "delete", "networkpolicies", "--all"],
        &["-n", "tenant-acme", "delete", "resourcequota", "tenant"],
        &["-n", "tenant-acme", "delete", "rolebinding", "freehold"],
        &["-n", "tenant-acme", "scale", "deploy/web", "--replicas=9"],
        &["-n", "tenant-acme", "create", "job", "mine", "--image=x"],
        &["-n", "tenant-acme", "label", "pod", "--all", "a=b"],
        &[
            "label",
            "namespace",
            "tenant-acme",
            "pod-security.kubernetes.io/enforce=privileged",
            "--overwrite",
        ],
        &["-n", "tenant-globex", "get", "pods"],
        &["-n", "freehold-keys", "get", "secrets"],
        &["get", "tenants"],
        &["get", "namespaces"],
        &["get", "releasechannels"],
        &["delete", "releaseapprovals", "--all"],
        &[
            "patch",
            "releasechannel",
            "board",
            "--type=merge",
            "-p",
            "{\"spec\":{\"emergency\":{\"release\":\"board-6.6.6\",\"reason\":\"mine\"}}}",
        ],
        &[
            "patch",
            "tenant",
            "acme",
            "--type=merge",
            "-p",
            "{\"spec\":{\"seats\":1000}}",
        ],
    ];
    for arguments in tries {
        let who = [
            "--as=mallory",
            "--as-group=acme-admins",
            "--as-group=system:authenticated",
        ];
        let args = [&who, arguments].concat();
        let told = kube::kubectl(lab(), &args)
            .map(|text| format!("it was done: {text}"))
            .unwrap_or_else(|e| format!("{e:#}"));
        assert!(
            told.contains("cannot") || told.contains("forbidden"),
            "{arguments:?}: {told}"
        );
    }
    let who = [
        "--as=ada",
        "--as-group=acme-admins",
        "--as-group=system:authenticated",
    ];
    kube::kubectl(
        lab(),
        &[
            &who[..],
            &["-n", "tenant-acme", "get", "pods,clusters,networkpolicies"],
        ]
        .concat(),
    )
    .unwrap();
    kube::kubectl(
        lab(),
        &[&who[..], &["-n", "tenant-acme", "logs", "deploy/web", "--tail=1"]].concat(),
    )
    .unwrap();
}
