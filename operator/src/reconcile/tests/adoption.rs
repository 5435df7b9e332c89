//! A tenant that goes on with what an earlier one of its name left.

use super::*;

const NEXT: &str = "00000000-0000-4000-8000-000000000002";

/// acme is gone, its data is kept, and there is another Tenant of its name.
async fn after_retention(adopt: Option<&str>) -> Shell {
    let shell = Shell::new();
    shell.settle("acme").await;
    shell.let_go("Retain").await;
    shell.mark_deleted();
    for _ in 0..40 {
        shell.pass().await;
        shell.ends();
        shell.controllers();
        if !shell.is_held() {
            break;
        }
    }
    assert!(!shell.is_held());
    shell.context.store.forget("acme");
    shell.arrives("acme", |tenant| {
        tenant["metadata"]["uid"] = NEXT.into();
        if let Some(adopt) = adopt {
            tenant["spec"]["adopt"] = json!({ "incarnation": adopt });
        }
    });
    shell.double.take_asked();
    shell
}

#[tokio::test]
async fn another_tenant_of_the_name_touches_nothing_unless_it_is_told_to_go_on_with_it() {
    for adopt in [None, Some(UIDS[1].1)] {
        let shell = after_retention(adopt).await;
        let before: Vec<_> = in_namespace(&shell);
        for _ in 0..3 {
            let asked = shell.pass().await;
            assert!(
                asked.iter().all(|asked| asked.namespace != "tenant-acme"),
                "{asked:#?}"
            );
        }
        assert_eq!(in_namespace(&shell), before);
        assert!(
            shell
                .blockers()
                .iter()
                .any(|told| told.starts_with("NamespaceOfEarlierTenant")),
            "{:?}",
            shell.blockers()
        );
    }
}

#[tokio::test]
async fn a_tenant_that_adopts_takes_over_namespace_keys_and_names() {
    let shell = after_retention(Some(UIDS[0].1)).await;
    let secret = |path: &str| shell.double.object(path).unwrap()["data"].clone();
    let kept = [secret(AUTHORITY), secret(EDGE), secret(OWNER)];
    shell.settle("acme").await;
    let namespace = shell.double.object(NAMESPACE).unwrap();
    let annotations = &namespace["metadata"]["annotations"];
    assert_eq!(annotations["freehold.dev/tenant-uid"], NEXT);
    assert_eq!(annotations["freehold.dev/incarnation"], UIDS[0].1);
    assert_eq!([secret(AUTHORITY), secret(EDGE), secret(OWNER)], kept);
    let claim = shell.double.object(&shell.paths_of("hostnameclaims")[0]).unwrap();
    assert_eq!(claim["spec"]["state"], "Held");
    assert_eq!(claim["spec"]["incarnation"], UIDS[0].1);
    assert_eq!(shell.blockers(), Vec::<String>::new());
    for _ in 0..3 {
        assert_eq!(shell.pass().await, []);
    }
}

#[tokio::test]
async fn a_namespace_to_be_adopted_that_has_lost_its_labels_is_found_when_the_watch_is_told() {
    let shell = after_retention(Some(UIDS[0].1)).await;
    shell.by_hand(Kind::Namespace, NAMESPACE, |object| {
        object["metadata"]["labels"] = json!({});
    });
    shell.pass().await;
    assert!(
        shell
            .blockers()
            .iter()
            .any(|told| told.starts_with("NothingToAdopt"))
    );
    shell.by_hand(Kind::Namespace, NAMESPACE, |object| {
        object["metadata"]["labels"] =
            json!({"app.kubernetes.io/managed-by": "freehold", "freehold.dev/tenant": "acme"});
    });
    shell.settle("acme").await;
    assert_eq!(shell.blockers(), Vec::<String>::new());
}

fn in_namespace(shell: &Shell) -> Vec<(String, Value)> {
    let paths = shell.double.paths().into_iter();
    paths
        .filter(|path| path.contains("tenant-acme"))
        .map(|path| {
            let object = shell.double.object(&path).unwrap();
            (path, object)
        })
        .collect()
}
