//! Records stand before their effects, and a leader that slept is refused.

use super::*;

#[tokio::test]
async fn a_tenant_without_protection_is_announced_before_anything_of_it_is_made() {
    let shell = Shell::new();
    shell.asks("acme", |spec| spec["deletionProtection"] = false.into());
    let first = shell.pass().await;
    assert_eq!(writes(&first), ["patch tenants", "create tenantoperations"]);
    let operation = shell.operation();
    assert_eq!(operation["metadata"]["labels"]["freehold.dev/tenant"], "acme");
    assert_eq!(operation["spec"]["tenantUid"], UIDS[0].1);
    let second = shell.pass().await;
    assert_eq!(writes(&second).first().unwrap(), "create namespaces");
}

#[tokio::test]
async fn every_step_of_a_deletion_is_on_record_before_it_begins_and_nothing_else_happens_then() {
    let shell = Shell::new();
    shell.settle("acme").await;
    shell.let_go("Delete").await;
    shell.mark_deleted();
    let mut step = None;
    for _ in 0..40 {
        let asked = shell.pass().await;
        let writes = writes(&asked);
        if writes
            .iter()
            .any(|write| write == "patch tenantoperations/status")
        {
            assert_eq!(writes, ["patch tenantoperations/status"]);
        } else if writes.iter().any(|write| write.starts_with("delete")) {
            let now = shell.operation()["status"]["step"].clone();
            assert!(now.is_string());
            step = Some(now);
        }
        shell.ends();
        if !shell.is_held() {
            break;
        }
    }
    assert!(step.is_some() && !shell.is_held());
    let status = shell.operation()["status"].clone();
    assert_eq!(status["phase"], "Succeeded");
    assert_eq!(status["step"], Value::Null, "what is over is taken away");
    assert_eq!(status["evidence"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn a_leader_that_slept_is_refused_and_does_nothing_of_what_it_had_planned() {
    let shell = Shell::new();
    shell.settle("acme").await;
    shell.let_go("Delete").await;
    shell.mark_deleted();
    // Its successor has written meanwhile.
    let paths = shell.paths_of("tenantoperations");
    let mut operation = shell.double.object(&paths[0]).unwrap();
    operation["status"] = json!({ "phase": "Cancelled" });
    shell.double.plant(&paths[0], operation);
    shell.double.take_asked();
    let before = shell.double.paths();
    for _ in 0..3 {
        let action = reconcile(shell.tenant(), shell.context.clone()).await.unwrap();
        assert_ne!(action, Action::requeue(Duration::ZERO), "not in a hot loop");
        let asked = shell.double.take_asked();
        assert_eq!(writes(&asked), ["patch tenantoperations/status"]);
    }
    assert_eq!(shell.double.paths(), before);
    assert_eq!(shell.operation()["status"]["phase"], "Cancelled");
    // The watch tells it, and the tenant is held.
    shell.operation_watched(&paths[0]);
    shell.asks("acme", |spec| spec["deletionProtection"] = true.into());
    shell.pass().await;
    assert!(
        shell
            .blockers()
            .iter()
            .any(|told| told.starts_with("DeletionHeld"))
    );
}

#[tokio::test]
async fn an_announced_deletion_is_at_rest_too() {
    let shell = Shell::new();
    shell.settle("acme").await;
    shell.let_go("Retain").await;
    shell.pass().await;
    for _ in 0..3 {
        assert_eq!(shell.pass().await, []);
    }
    let status = shell.tenant().status.clone().unwrap();
    let deletable = status.conditions.iter().find(|c| c.type_ == "Deletable").unwrap();
    assert_eq!(deletable.status, "True");
}

#[tokio::test]
async fn a_tenant_is_repaired_even_when_nothing_can_be_put_on_record() {
    let shell = Shell::new();
    shell.settle("acme").await;
    shell.asks("acme", |spec| spec["deletionProtection"] = false.into());
    for code in [403, 404] {
        shell
            .double
            .refuse(http::Method::POST, "/apis/freehold.dev/v1alpha1/namespaces", code);
        let web = format!("{NAMESPACE}/services/web");
        shell.by_hand(Kind::Service, &web, |service| {
            service["spec"]["ports"][0]["port"] = 1.into();
        });
        let failed = reconcile(shell.tenant(), shell.context.clone())
            .await
            .unwrap_err();
        assert!(failed.to_string().contains("create TenantOperation"), "{failed}");
        assert_eq!(
            shell.double.object(&web).unwrap()["spec"]["ports"][0]["port"],
            8080
        );
        shell.double.relent();
    }
}

#[tokio::test]
async fn a_record_that_is_there_already_is_fine_and_holds_nothing_up() {
    let shell = Shell::new();
    shell.asks("acme", |spec| spec["deletionProtection"] = false.into());
    shell.pass().await;
    // A process that has not heard of it yet.
    let other = shell.another();
    let asked = other.pass().await;
    assert_eq!(
        writes(&asked)[..2],
        ["create tenantoperations", "create namespaces"]
    );
    let action = reconcile(other.tenant(), other.context.clone()).await.unwrap();
    assert_ne!(action, Action::await_change());
    assert_eq!(shell.paths_of("tenantoperations").len(), 1);
}

const RECORDS: &str = "/apis/freehold.dev/v1alpha1/namespaces/freehold-system/tenantoperations";

/// A tenant with three rotations behind it, of which one is to be kept.
pub async fn with_history() -> Shell {
    let config = Config {
        operation_history: 1,
        ..Config::default()
    };
    let shell = Shell::with(config);
    shell.settle("acme").await;
    for hour in 1..=3 {
        let at = format!("2027-01-15T0{hour}:00:00Z");
        let path = format!("{RECORDS}/rotation-{hour}");
        let record = json!({
            "apiVersion": "freehold.dev/v1alpha1", "kind": "TenantOperation",
            "metadata": {"name": format!("rotation-{hour}"), "namespace": "freehold-system", "creationTimestamp": at},
            "spec": {"tenant": "acme", "tenantUid": UIDS[0].1, "incarnation": UIDS[0].1, "type": "TenantKeyRotation",
                "rotation": {"fromVersion": hour, "reason": "Cryptoperiod"}},
            "status": {"phase": "Succeeded", "finishedAt": at},
        });
        shell.double.plant(&path, record);
        shell.operation_watched(&path);
    }
    shell
}

#[tokio::test]
async fn records_of_long_ago_are_deleted_last_and_what_is_forbidden_there_holds_up_nobody() {
    let shell = with_history().await;
    let count = || shell.paths_of("tenantoperations").len();
    let kept = count() - 2;
    shell.double.refuse(http::Method::DELETE, RECORDS, 403);
    shell.asks("acme", |spec| spec["seats"] = 7.into());
    let asked = writes(&shell.pass().await);
    assert_eq!(count(), kept + 2);
    let deletes = |asked: &[String]| {
        asked
            .iter()
            .filter(|asked| *asked == "delete tenantoperations")
            .count()
    };
    assert_eq!(deletes(&asked), 1, "{asked:?}");
    assert!(
        asked.iter().any(|asked| asked == "patch tenants/status"),
        "what else is to be done is done: {asked:?}"
    );
    shell.double.relent();
    let asked = writes(&shell.pass().await);
    assert_eq!(deletes(&asked), 2, "{asked:?}");
    assert_eq!(count(), kept);
    assert!(shell.double.object(&format!("{RECORDS}/rotation-3")).is_some());
    assert_eq!(deletes(&writes(&shell.pass().await)), 0);
}
