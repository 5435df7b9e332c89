//! Every request has a right, and every right is used.

use freehold_plan::rights::{self, Rule};

use super::*;

fn grants(rules: &[Rule], asked: &Asked) -> bool {
    rules.iter().any(|rule| {
        rule.group == asked.group
            && rule.resources.contains(&asked.resource.as_str())
            && rule.verbs.contains(&asked.verb)
            && (rule.names.is_empty() || rule.names.contains(&asked.name.as_str()))
    })
}

/// A tenant's whole life: it comes, its isolation is verified, everything loses its labels, it ends.
async fn life(policy: &str) -> Vec<Asked> {
    let (operator, _) = super::keys::service().await;
    let shell = Shell::with(super::keys::encrypting(verifying()))
        .asking(operator)
        .issuing();
    shell.asks("acme", |spec| {
        spec["administrators"]["groups"] = json!(["acme-administrators"]);
    });
    let mut asked = Vec::new();
    asked.extend(shell.pass().await);
    let volume = "/api/v1/namespaces/tenant-acme/persistentvolumeclaims/db-1";
    let replica = "/api/v1/namespaces/tenant-acme/persistentvolumeclaims/db-2";
    shell.volume(volume);
    shell.volume(replica);
    for _ in 0..4 {
        asked.extend(shell.pass().await);
    }
    shell.no_volume(replica);
    shell.asks("acme", |spec| spec["keys"]["rotateTenantKey"] = "now".into());
    // Until the pods of the verification are there.
    for _ in 0..16 {
        asked.extend(shell.pass().await);
        shell.controllers();
        if !shell.paths_of("pods").is_empty() {
            break;
        }
    }
    assert!(!shell.paths_of("pods").is_empty());
    for path in shell.double.paths() {
        // The unrestricted pod keeps its own: it is found by them, and deleted.
        if path.contains("/freehold-probes/") && policy == "Retain" {
            continue;
        }
        let mut object = shell.double.object(&path).unwrap();
        if object["metadata"]["annotations"]
            .get(freehold_plan::names::DECLARED)
            .is_some()
        {
            object["metadata"]["labels"] = json!({});
            shell.double.plant(&path, object);
        }
    }
    for (id, seen) in shell.context.store.observed("acme", Timestamp::now()).objects {
        if id.namespace == "freehold-probes" && policy == "Retain" {
            continue;
        }
        // Some version between that of the object and that which it has now.
        shell.context.store.remove("acme", &id, &seen.resource_version);
    }
    shell.corrupt(EDGE);
    for _ in 0..6 {
        asked.extend(shell.pass().await);
        shell.ends();
        shell.controllers();
    }
    shell.asks("acme", |spec| {
        spec["deletionProtection"] = false.into();
        spec["deletionPolicy"] = policy.into();
    });
    asked.extend(shell.pass().await);
    shell.let_go(policy).await;
    shell.mark_deleted();
    for _ in 0..40 {
        asked.extend(shell.pass().await);
        shell.ends();
        shell.controllers();
        if !shell.is_held() {
            return asked;
        }
    }
    panic!("still held: {:?}", shell.blockers());
}

/// Its volumes get new keys.
async fn reencryption() -> Vec<Asked> {
    let shell = Shell::on_keyed_volumes().await;
    shell.asks_for_new_data_keys("2027");
    shell
        .turns_until("the acknowledgement", |shell| shell.acknowledged().is_some())
        .await
}

#[tokio::test]
async fn every_request_is_covered_by_a_right() {
    let mut asked = life("Delete").await;
    asked.extend(life("Retain").await);
    asked.extend(reencryption().await);
    asked.extend(super::destruction::life().await);
    asked.extend(super::records::with_history().await.pass().await);
    for asked in asked {
        let rules = match asked.namespace.as_str() {
            "tenant-acme" => rights::in_tenant_namespaces(),
            "freehold-keys" => rights::in_keys_namespace(),
            "freehold-probes" => rights::in_probes_namespace(),
            "freehold-system" => rights::in_own_namespace(),
            "default" => rights::in_default_namespace(),
            _ => Vec::new(),
        };
        let rules = [rights::cluster_wide(), rules].concat();
        assert!(grants(&rules, &asked), "no right for {asked:?}");
    }
}

/// Rights that these tests don't see at work, each with its reason.
fn excuse(rule: &Rule, resource: &str, verb: &str) -> Option<&'static str> {
    match (resource, verb) {
        (_, "list" | "watch") => Some("the watches, which the double has not"),
        ("configmaps", "get") if rule.names == [rights::KEY_SERVICE_AUTHORITY] => {
            Some("who signs for the key service, asked outside of passes")
        }
        ("releasechannels/status", "patch") => {
            Some("the channels' loop, beside the passes: tests of fleet.rs")
        }
        ("clusterroles", "bind") => Some("asked by the API server when the binding is written"),
        ("leases", _) => Some("the election, which the double has not"),
        ("services" | "endpointslices", "get") if rule.names == ["kubernetes"] => {
            Some("where the API server is, asked once before the passes")
        }
        (
            "resourcequotas" | "limitranges" | "networkpolicies" | "serviceaccounts" | "configmaps",
            "delete",
        ) => Some("pruned when no longer wanted; at the end they go with the namespace"),
        _ => None,
    }
}

#[tokio::test]
async fn every_right_is_used() {
    let mut asked = life("Delete").await;
    asked.extend(life("Retain").await);
    asked.extend(reencryption().await);
    asked.extend(super::destruction::life().await);
    asked.extend(super::records::with_history().await.pass().await);
    let roles = [
        (rights::cluster_wide(), None),
        (rights::in_tenant_namespaces(), Some("tenant-acme")),
        (rights::in_keys_namespace(), Some("freehold-keys")),
        (rights::in_probes_namespace(), Some("freehold-probes")),
        (rights::in_own_namespace(), Some("freehold-system")),
        (rights::in_default_namespace(), Some("default")),
    ];
    let mut unused = Vec::new();
    for (rules, namespace) in roles {
        for rule in rules {
            for resource in &rule.resources {
                for verb in &rule.verbs {
                    let used = asked.iter().any(|asked| {
                        asked.group == rule.group
                            && asked.resource == *resource
                            && asked.verb == *verb
                            && namespace.is_none_or(|namespace| asked.namespace == namespace)
                            && (rule.names.is_empty() || rule.names.contains(&asked.name.as_str()))
                    });
                    if !used && excuse(&rule, resource, verb).is_none() {
                        unused.push(format!("{verb} {resource} in {namespace:?}: {}", rule.why));
                    }
                }
            }
        }
    }
    assert_eq!(unused, Vec::<String>::new());
}
