//! What is left of a tenant that was taken off past its finalizer is finished, or counted.

use super::*;
use crate::orphans::{count, finish};

impl Shell {
    /// The Tenants that are there, as the reflector shows them.
    fn tenants(&self) -> Reflector<Tenant> {
        let (reader, mut writer) = reflector::store();
        for path in self.paths_of("tenants") {
            let tenant = serde_json::from_value(self.double.object(&path).unwrap()).unwrap();
            writer.apply_watcher_event(&Event::<Tenant>::Apply(tenant));
        }
        reader
    }

    /// A deletion that has begun, and then its Tenant is gone.
    async fn cut_off(policy: &str) -> Self {
        let shell = Self::new();
        shell.settle("acme").await;
        shell.let_go(policy).await;
        shell.mark_deleted();
        shell.pass().await;
        assert_eq!(shell.operation()["status"]["phase"], "Running");
        shell.double.raze(TENANT);
        shell.context.store.forget("acme");
        shell.double.take_asked();
        shell
    }

    async fn finish(&self) -> Vec<Asked> {
        for _ in 0..20 {
            finish(&self.context, &self.tenants()).await;
            self.ends();
            self.controllers();
        }
        self.double.take_asked()
    }

    fn orphaned(&self) -> usize {
        count(&self.context, &self.tenants());
        let seen = self.context.metrics.orphans(0);
        self.context.metrics.orphans(seen);
        seen
    }
}

#[tokio::test]
async fn a_deletion_whose_tenant_is_gone_is_finished_from_its_record() {
    for policy in ["Delete", "Retain"] {
        let shell = Shell::cut_off(policy).await;
        assert_eq!(shell.orphaned(), 0, "it is under way");
        let asked = shell.finish().await;
        assert_eq!(shell.operation()["status"]["phase"], "Succeeded", "{policy}");
        assert!(
            asked.iter().all(|asked| !asked.resource.starts_with("tenants")),
            "{asked:#?}"
        );
        assert_eq!(shell.double.object(NAMESPACE).is_none(), policy == "Delete");
        assert_eq!(shell.double.object(AUTHORITY).is_none(), policy == "Delete");
        assert_eq!(shell.orphaned(), 0);
        assert_eq!(shell.finish().await, [], "and then nothing is asked any more");
    }
}

#[tokio::test]
async fn a_tenant_that_is_there_is_left_to_its_own_passes() {
    let shell = Shell::new();
    shell.settle("acme").await;
    shell.let_go("Delete").await;
    shell.mark_deleted();
    shell.pass().await;
    assert_eq!(shell.finish().await, []);
}

#[tokio::test]
async fn nothing_that_a_new_tenant_of_the_name_holds_is_touched() {
    let shell = Shell::cut_off("Delete").await;
    // The old namespace is gone, and a new tenant came before the record was finished.
    shell.double.raze(NAMESPACE);
    for path in shell.double.paths() {
        if path.contains("/namespaces/tenant-acme/") || path == AUTHORITY {
            shell.double.raze(&path);
        }
    }
    for (id, seen) in shell.context.store.observed("acme", Timestamp::now()).objects {
        if id.namespace == "tenant-acme" || id.kind == Kind::Namespace {
            shell.context.store.remove("acme", &id, &seen.resource_version);
        }
    }
    shell.arrives("acme", |tenant| {
        tenant["metadata"]["uid"] = "00000000-0000-4000-8000-000000000002".into();
    });
    shell.pass().await;
    shell.pass().await;
    let before = shell.double.paths();
    shell.double.take_asked();
    let asked = shell.finish().await;
    assert_eq!(shell.operation()["status"]["phase"], "Succeeded");
    assert!(asked.iter().all(|asked| asked.verb != "delete"), "{asked:#?}");
    assert_eq!(shell.double.paths(), before);
    assert!(
        shell.double.object(AUTHORITY).is_some(),
        "the new tenant's authority"
    );
    // The old one's name passes to the new one.
    shell.settle("acme").await;
    let claim = shell.double.object(&shell.paths_of("hostnameclaims")[0]).unwrap();
    assert_eq!(claim["spec"]["state"], "Held");
    assert_eq!(
        claim["spec"]["incarnation"],
        "00000000-0000-4000-8000-000000000002"
    );
}

#[tokio::test]
async fn a_life_that_another_tenant_goes_on_with_does_not_end() {
    let shell = Shell::cut_off("Delete").await;
    shell.arrives("acme", |tenant| {
        tenant["metadata"]["uid"] = "00000000-0000-4000-8000-000000000002".into();
        tenant["spec"]["adopt"] = json!({ "incarnation": UIDS[0].1 });
    });
    assert_eq!(shell.finish().await, []);
    shell.settle("acme").await;
    assert_eq!(shell.finish().await, []);
    assert!(shell.double.object(DATABASE).is_some());
    assert!(shell.double.object(AUTHORITY).is_some());
}

#[tokio::test]
async fn a_namespace_that_nobody_holds_is_counted() {
    let shell = Shell::new();
    shell.settle("acme").await;
    assert_eq!(shell.orphaned(), 0);
    shell.double.raze(TENANT);
    shell.context.store.forget("acme");
    assert_eq!(shell.orphaned(), 1);
    assert_eq!(
        shell.finish().await,
        [],
        "it is for people to say what becomes of it"
    );
}

#[tokio::test]
async fn a_new_tenant_of_the_name_waits_until_the_old_one_s_end_is_finished() {
    let shell = Shell::cut_off("Delete").await;
    let next = "00000000-0000-4000-8000-000000000002";
    shell.arrives("acme", |tenant| tenant["metadata"]["uid"] = next.into());
    shell.pass().await;
    assert!(
        shell
            .blockers()
            .iter()
            .any(|told| told.starts_with("NamespaceOfEarlierTenant"))
    );
    shell.finish().await;
    assert_eq!(shell.operation()["status"]["phase"], "Succeeded");
    shell.settle("acme").await;
    let namespace = shell.double.object(NAMESPACE).unwrap();
    let annotations = &namespace["metadata"]["annotations"];
    assert_eq!(annotations["freehold.dev/tenant-uid"], next);
    assert_eq!(annotations["freehold.dev/incarnation"], next);
    let authority = shell.double.object(AUTHORITY).unwrap();
    assert_eq!(
        authority["metadata"]["annotations"]["freehold.dev/incarnation"],
        next
    );
    assert_eq!(shell.blockers(), Vec::<String>::new());
    assert_eq!(shell.pass().await, []);
}
