//! What is changed, taken off or deleted by hand is put right.

use super::*;

#[tokio::test]
async fn a_change_by_hand_is_undone_and_costs_one_take_over() {
    let shell = Shell::new();
    shell.pass().await;
    shell.pass().await;
    shell.pass().await;
    let path = format!("{NAMESPACE}/services/web");
    let mut service = shell.double.object(&path).unwrap();
    service["spec"]["ports"][0]["port"] = 1.into();
    service["metadata"]["resourceVersion"] = "1000".into();
    let changed: kube::api::DynamicObject = serde_json::from_value(service.clone()).unwrap();
    shell.double.plant(&path, service);
    let (tenant, id, seen) = crate::watch::reduce(Kind::Service, changed).unwrap();
    shell.context.store.put(&tenant, id, seen);
    let verbs: Vec<_> = shell.pass().await.iter().map(|asked| asked.verb).collect();
    assert_eq!(verbs, ["get", "patch", "patch"]);
    assert_eq!(
        shell.double.object(&path).unwrap()["spec"]["ports"][0]["port"],
        8080
    );
}

#[tokio::test]
async fn labels_that_were_taken_off_are_put_back_and_nobody_is_told_to_delete_anything() {
    for label in [
        freehold_plan::names::TENANT_LABEL,
        freehold_plan::names::MANAGED_BY,
    ] {
        let shell = Shell::new();
        for _ in 0..3 {
            shell.pass().await;
        }
        let uid = shell.double.object(DATABASE).unwrap()["metadata"]["uid"].clone();
        for (kind, path) in [(Kind::Cluster, DATABASE), (Kind::Namespace, NAMESPACE)] {
            shell.by_hand(kind, path, |object| {
                object["metadata"]["labels"]
                    .as_object_mut()
                    .unwrap()
                    .remove(label);
            });
        }
        for _ in 0..4 {
            shell.pass().await;
            let told = shell.blockers();
            assert!(told.iter().all(|told| !told.contains("not made")), "{told:?}");
        }
        for path in [DATABASE, NAMESPACE] {
            let labels = shell.double.object(path).unwrap()["metadata"]["labels"].clone();
            assert_eq!(labels["freehold.dev/tenant"], "acme");
            assert_eq!(labels["app.kubernetes.io/managed-by"], "freehold");
        }
        assert_eq!(shell.double.object(DATABASE).unwrap()["metadata"]["uid"], uid);
        assert_eq!(shell.pass().await, []);
    }
}

#[tokio::test]
async fn an_object_given_to_another_tenant_by_its_label_stays_with_the_one_in_whose_namespace_it_is() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    let path = "/apis/networking.k8s.io/v1/namespaces/tenant-acme/networkpolicies/default-deny";
    shell.by_hand(Kind::NetworkPolicy, path, |object| {
        object["metadata"]["labels"]["freehold.dev/tenant"] = "globex".into();
    });
    shell.pass().await;
    assert_eq!(
        shell.double.object(path).unwrap()["metadata"]["labels"]["freehold.dev/tenant"],
        "acme"
    );
}

#[tokio::test]
async fn what_is_gone_without_a_word_of_the_watch_is_made_anew() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    let path = format!("{NAMESPACE}/services/web");
    shell.by_hand(Kind::Service, &path, |service| {
        service["spec"]["ports"][0]["port"] = 1.into();
    });
    shell.double.raze(&path);
    shell.pass().await;
    shell.pass().await;
    assert_eq!(
        shell.double.object(&path).unwrap()["spec"]["ports"][0]["port"],
        8080
    );
}

/// Otherwise each of our writes would be answered by one of theirs, for ever.
#[tokio::test]
async fn a_webhook_that_rewrites_what_is_written_is_named_and_written_to_ever_more_rarely() {
    let shell = Shell::new();
    let path = format!("{NAMESPACE}/services/web");
    shell
        .double
        .rewrite(&path, |service| service["spec"]["ports"][0]["port"] = 1.into());
    let mut writes = 0;
    for _ in 0..60 {
        let asked = shell.pass().await;
        writes += asked
            .iter()
            .filter(|asked| asked.resource == "services" && asked.name == "web" && asked.verb != "get")
            .count();
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
    }
    assert!(writes <= 16, "{writes} writes in 60 passes");
    let told = shell.blockers();
    assert!(
        told.iter().any(|told| told.contains("comes back changed")),
        "{told:?}"
    );

    shell.double.rewrite_nothing();
    for _ in 0..200 {
        shell.pass().await;
        if shell.double.object(&path).unwrap()["spec"]["ports"][0]["port"] == 8080 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(
        shell.double.object(&path).unwrap()["spec"]["ports"][0]["port"],
        8080
    );
    shell.pass().await;
    let told = shell.blockers();
    assert!(
        !told.iter().any(|told| told.contains("comes back changed")),
        "{told:?}"
    );
}
