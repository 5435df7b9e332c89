//! How tenants end: what is kept, what is not, and what holds them.

use super::*;

impl Shell {
    /// Passes until the tenant is let go.
    async fn end(&self) -> Vec<Asked> {
        let mut asked = Vec::new();
        for _ in 0..40 {
            asked.extend(self.pass().await);
            self.ends();
            self.controllers();
            if !self.is_held() {
                return asked;
            }
        }
        panic!("still held: {:?}", self.blockers());
    }
}

#[tokio::test]
async fn retain_keeps_the_namespace_the_data_and_the_keys_and_lets_go() {
    let shell = Shell::new();
    shell.settle("acme").await;
    let keys = shell.double.object(AUTHORITY);
    shell.let_go("Retain").await;
    shell.mark_deleted();
    let asked = shell.end().await;
    let deleted: Vec<&Asked> = asked.iter().filter(|asked| asked.verb == "delete").collect();
    assert!(
        deleted
            .iter()
            .all(|asked| !["namespaces", "clusters", "secrets", "networkpolicies"]
                .contains(&asked.resource.as_str())),
        "{deleted:#?}"
    );
    let namespace = shell.double.object(NAMESPACE).unwrap();
    assert!(namespace["metadata"]["annotations"]["freehold.dev/retained-at"].is_string());
    let database = shell.double.object(DATABASE).unwrap();
    assert_eq!(database["metadata"]["annotations"]["cnpg.io/hibernation"], "on");
    assert_eq!(shell.double.object(AUTHORITY), keys);
    let claim = shell.double.object(&shell.paths_of("hostnameclaims")[0]).unwrap();
    assert_eq!(claim["spec"]["state"], "GivenUp");
}

#[tokio::test]
async fn delete_takes_the_namespace_and_the_keys() {
    let shell = Shell::new();
    shell.settle("acme").await;
    shell.let_go("Delete").await;
    shell.mark_deleted();
    let asked = shell.end().await;
    let place = |resource: &str| {
        asked
            .iter()
            .position(|asked| asked.verb == "delete" && asked.resource == resource)
            .unwrap()
    };
    let order = ["httproutes", "deployments", "clusters", "namespaces", "secrets"].map(place);
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(shell.double.object(NAMESPACE), None);
    assert_eq!(shell.double.object(AUTHORITY), None);
}

#[tokio::test]
async fn protection_holds_a_tenant_that_was_deleted_past_it() {
    let shell = Shell::new();
    shell.settle("acme").await;
    shell.mark_deleted();
    let mut asked = Vec::new();
    for _ in 0..4 {
        asked.extend(shell.pass().await);
    }
    assert!(asked.iter().all(|asked| asked.verb != "delete"), "{asked:#?}");
    assert!(shell.is_held());
    assert!(
        shell
            .blockers()
            .iter()
            .any(|told| told.starts_with("DeletionHeld"))
    );
    assert_eq!(shell.pass().await, []);
    // What is changed by hand is still undone: its users are served as before.
    let web = format!("{NAMESPACE}/services/web");
    shell.by_hand(Kind::Service, &web, |service| {
        service["spec"]["ports"][0]["port"] = 1.into();
    });
    shell.pass().await;
    assert_eq!(
        shell.double.object(&web).unwrap()["spec"]["ports"][0]["port"],
        8080
    );
}

#[tokio::test]
async fn no_step_is_taken_while_the_namespace_stands_without_its_labels() {
    for policy in ["Delete", "Retain"] {
        let shell = Shell::new();
        shell.settle("acme").await;
        shell.let_go(policy).await;
        shell.by_hand(Kind::Namespace, NAMESPACE, |object| {
            object["metadata"]["labels"] = json!({});
        });
        shell.mark_deleted();
        shell.double.take_asked();
        let asked = shell.pass().await;
        assert_eq!(writes(&asked), ["patch namespaces"], "the watch sees it again");
        assert_eq!(
            shell.double.object(NAMESPACE).unwrap()["metadata"]["labels"]["freehold.dev/tenant"],
            "acme"
        );
        let asked = shell.pass().await;
        assert_eq!(writes(&asked), ["patch tenantoperations/status"]);
        let asked = shell.pass().await;
        assert!(
            asked
                .iter()
                .any(|asked| asked.verb == "delete" && asked.resource == "httproutes")
        );
    }
}

/// Whoever deletes a tenant past admission must not make its certificates change by the minute.
#[tokio::test]
async fn a_tenant_that_is_held_keeps_its_secrets_after_a_restart_of_the_operator() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    let edge = format!("{NAMESPACE}/secrets/edge-tls");
    let before = shell.double.object(&edge).unwrap();
    shell.mark_deleted();
    // An operator that has just started knows nothing from before.
    shell
        .context
        .store
        .set_minted("acme", freehold_plan::Minted::default(), None);
    shell.double.take_asked();
    for _ in 0..3 {
        shell.pass().await;
    }
    let asked = shell.double.take_asked();
    assert!(
        !asked
            .iter()
            .any(|asked| asked.resource == "secrets" && asked.verb != "get"),
        "{asked:#?}"
    );
    assert_eq!(shell.double.object(&edge).unwrap()["data"], before["data"]);
}
