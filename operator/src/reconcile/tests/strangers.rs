//! What somebody planted under our names is left alone and named.

use super::*;

#[tokio::test]
async fn nothing_is_read_or_written_in_a_namespace_that_is_not_ours() {
    let shell = Shell::new();
    shell.double.plant(
        NAMESPACE,
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "tenant-acme", "labels": {"kubernetes.io/metadata.name": "tenant-acme"}},
        }),
    );
    let before = shell.double.object(NAMESPACE);
    let mut asked = shell.pass().await;
    asked.extend(shell.pass().await);
    assert!(
        asked.iter().all(|asked| asked.namespace != "tenant-acme"),
        "{asked:#?}"
    );
    assert_eq!(shell.double.object(NAMESPACE), before);
    let status = shell.tenant().status.clone().unwrap();
    assert_eq!(status.blockers[0].reason, "NamespaceNotOurs");
}

#[tokio::test]
async fn a_planted_object_is_left_alone_and_named() {
    let shell = Shell::new();
    let path = "/apis/networking.k8s.io/v1/namespaces/tenant-acme/networkpolicies/default-deny";
    shell.double.plant(path, json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "default-deny", "namespace": "tenant-acme"}, "spec": {"podSelector": {"no": "pod"}},
    }));
    let before = shell.double.object(path);
    shell.pass().await;
    shell.pass().await;
    assert_eq!(shell.double.object(path), before);
    let blockers = shell.tenant().status.clone().unwrap().blockers;
    assert!(
        blockers
            .iter()
            .any(|blocker| blocker.message.contains("default-deny")),
        "{blockers:?}"
    );
}

#[tokio::test]
async fn an_object_planted_with_our_labels_is_left_alone_too() {
    let shell = Shell::new();
    shell.pass().await;
    let path = format!("{NAMESPACE}/services/web");
    let labels = json!({"app.kubernetes.io/managed-by": "freehold", "freehold.dev/tenant": "acme"});
    shell.double.raze(&path);
    for (id, seen) in shell.context.store.observed("acme", Timestamp::now()).objects {
        if id.kind == Kind::Service && id.name == "web" {
            shell.context.store.remove("acme", &id, &seen.resource_version);
        }
    }
    shell.double.plant(
        &path,
        json!({
            "apiVersion": "v1", "kind": "Service", "spec": {},
            "metadata": {"name": "web", "namespace": "tenant-acme", "labels": labels},
        }),
    );
    shell.by_hand(Kind::Service, &path, |_| {});
    let before = shell.double.object(&path);
    shell.pass().await;
    shell.pass().await;
    assert_eq!(shell.double.object(&path), before);
    let told = shell.blockers();
    assert!(told.iter().any(|told| told.contains("web")), "{told:?}");
}

#[tokio::test]
async fn a_stranger_that_is_looked_at_again_does_not_make_the_status_flap() {
    let shell = Shell::new();
    let path = "/apis/networking.k8s.io/v1/namespaces/tenant-acme/networkpolicies/default-deny";
    shell.double.plant(
        path,
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "default-deny", "namespace": "tenant-acme"}, "spec": {},
        }),
    );
    for _ in 0..4 {
        shell.pass().await;
    }
    let now = Timestamp::now();
    let strangers = shell.context.store.observed("acme", now).strangers;
    let (id, _) = strangers.into_iter().next().unwrap();
    shell.context.store.stranger("acme", id, now);
    let mut asked = shell.pass().await;
    asked.extend(shell.pass().await);
    assert!(
        asked.iter().any(|asked| asked.verb == "create"),
        "it was looked at"
    );
    assert!(
        asked
            .iter()
            .all(|asked| asked.resource != "tenants/status" && asked.resource != "events"),
        "{asked:#?}"
    );
}
