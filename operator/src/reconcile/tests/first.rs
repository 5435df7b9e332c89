//! From nothing to everything, and then to rest.

use super::*;

#[tokio::test]
async fn everything_is_there_after_two_passes_and_then_nothing_is_asked_any_more() {
    let shell = Shell::new();
    shell.pass().await;
    // Not before its certificates are there: CloudNativePG would complain, and wait ever longer.
    let second = shell.pass().await;
    assert!(
        second
            .iter()
            .any(|asked| asked.resource == "clusters" && asked.verb == "create")
    );
    shell.pass().await;
    for _ in 0..5 {
        assert_eq!(shell.pass().await, []);
    }
    let paths = shell.double.paths();
    assert!(
        paths
            .iter()
            .any(|path| path.ends_with("/tenant-acme/configmaps/ca")),
        "{paths:?}"
    );
    assert!(
        paths
            .iter()
            .any(|path| path.ends_with("/freehold-keys/secrets/tenant-acme-ca")),
        "{paths:?}"
    );
}

#[tokio::test]
async fn a_first_pass_writes_each_object_once() {
    let shell = Shell::new();
    let asked = shell.pass().await;
    let creates = asked.iter().filter(|asked| asked.verb == "create").count();
    assert!(
        asked.len() * 100 <= creates * 125,
        "{} requests for {creates} objects: {asked:#?}",
        asked.len()
    );
}

#[tokio::test]
async fn while_the_right_to_write_isn_t_known_yet_one_request_is_refused_and_not_each() {
    let shell = Shell::new();
    let groups = [
        NAMESPACE,
        "/apis/networking.k8s.io/v1/namespaces/tenant-acme",
        "/apis/apps/v1/namespaces/tenant-acme",
    ];
    for method in [http::Method::GET, http::Method::POST] {
        for group in groups {
            shell.double.refuse(method.clone(), &format!("{group}/"), 403);
        }
    }
    let in_namespace = |asked: &[Asked]| {
        let there = asked.iter().filter(|asked| asked.namespace == "tenant-acme");
        let there = there.filter(|asked| asked.resource != "rolebindings");
        there.map(|asked| asked.verb).collect::<Vec<_>>()
    };
    for _ in 0..3 {
        assert!(reconcile(shell.tenant(), shell.context.clone()).await.is_err());
        assert_eq!(in_namespace(&shell.double.take_asked()), ["create"]);
    }
    // Another process doesn't know that the namespace was empty: it asks, but no more than once.
    let shell = shell.another();
    shell.watches();
    for expected in [vec!["get", "create"], vec!["create"]] {
        assert!(reconcile(shell.tenant(), shell.context.clone()).await.is_err());
        assert_eq!(in_namespace(&shell.double.take_asked()), expected);
    }
    shell.double.relent();
    shell.pass().await;
    assert!(
        shell
            .double
            .paths()
            .iter()
            .any(|path| path.contains("/tenant-acme/networkpolicies/"))
    );
    assert_eq!(shell.blockers(), Vec::<String>::new());
}
