//! Whole passes against an API server in memory.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::path::Path;

use freehold_plan::rights::{self, Rule};
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use serde_json::json;

use super::*;
use crate::api_double::{ApiDouble, Asked};
use crate::offline;

const TENANT: &str = "/apis/freehold.dev/v1alpha1/tenants/acme";
const NAMESPACE: &str = "/api/v1/namespaces/tenant-acme";

struct Shell {
    double: ApiDouble,
    context: Arc<Context>,
}

impl Shell {
    /// The samples' tenant acme, and nothing of it yet.
    fn new() -> Self {
        let double = ApiDouble::default();
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/samples");
        let documents = offline::read(&[samples]).unwrap();
        let (classes, mut writer) = reflector::store();
        documents
            .classes
            .into_iter()
            .for_each(|class| writer.apply_watcher_event(&Event::Apply(class)));
        let (releases, mut writer) = reflector::store();
        documents
            .releases
            .into_iter()
            .for_each(|release| writer.apply_watcher_event(&Event::Apply(release)));
        let mut acme = serde_json::to_value(&documents.tenants[0]).unwrap();
        acme["metadata"]["uid"] = "uid-of-acme".into();
        acme["metadata"]["generation"] = 1.into();
        double.plant(TENANT, acme);
        let context = Arc::new(Context {
            client: double.client(),
            store: Arc::new(Store::default()),
            classes,
            releases,
            config: RwLock::new(Config::default()),
            identity: "test".to_owned(),
            metrics: Metrics::default(),
        });
        Self { double, context }
    }

    fn tenant(&self) -> Arc<Tenant> {
        Arc::new(serde_json::from_value(self.double.object(TENANT).unwrap()).unwrap())
    }

    async fn pass(&self) -> Vec<Asked> {
        reconcile(self.tenant(), self.context.clone()).await.unwrap();
        self.double.take_asked()
    }
}

#[tokio::test]
async fn everything_is_there_after_two_passes_and_then_nothing_is_asked_any_more() {
    let shell = Shell::new();
    let first = shell.pass().await;
    assert!(
        first
            .iter()
            .any(|asked| asked.resource == "clusters" && asked.verb == "create")
    );
    shell.pass().await;
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
    let (tenant, id, seen) = crate::watch::reduce(freehold_plan::Kind::Service, changed).unwrap();
    shell.context.store.put(&tenant, id, seen);
    let verbs: Vec<_> = shell.pass().await.iter().map(|asked| asked.verb).collect();
    assert_eq!(verbs, ["get", "patch", "patch"]);
    assert_eq!(
        shell.double.object(&path).unwrap()["spec"]["ports"][0]["port"],
        8080
    );
}

const EDGE: &str = "/api/v1/namespaces/tenant-acme/secrets/edge-tls";
const OWNER: &str = "/api/v1/namespaces/tenant-acme/secrets/owner";

#[tokio::test]
async fn what_was_minted_is_minted_again_in_a_namespace_that_was_made_anew() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    assert!(shell.double.object(EDGE).is_some() && shell.double.object(OWNER).is_some());
    for path in shell.double.paths() {
        if path.contains("/namespaces/tenant-acme") {
            shell.double.raze(&path);
        }
    }
    for (id, seen) in shell.context.store.observed("acme", Timestamp::now()).objects {
        shell.context.store.remove("acme", &id, &seen.resource_version);
    }
    for _ in 0..3 {
        shell.pass().await;
    }
    assert!(shell.double.object(EDGE).is_some(), "no certificate");
    assert!(shell.double.object(OWNER).is_some(), "no token");
}

#[tokio::test]
async fn another_s_secret_is_looked_at_again_soon_and_what_it_was_is_not_believed_any_more() {
    let shell = Shell::new();
    shell.double.plant(
        EDGE,
        json!({"metadata": {"name": "edge-tls", "namespace": "tenant-acme"}}),
    );
    for _ in 0..3 {
        shell.pass().await;
    }
    let tenant = shell.tenant();
    let now = Timestamp::now();
    let look = |now| {
        observe(
            &shell.context.client,
            &shell.context.store,
            "freehold-keys",
            &tenant,
            now,
        )
    };
    let again = look(now).await.look_again.unwrap();
    assert!(again <= now + jiff::SignedDuration::from_secs(30));
    shell.double.raze(EDGE);
    let sight = look(again).await;
    assert_eq!(sight.observed.minted.edge, freehold_plan::Slot::Absent);
    assert_eq!(sight.look_again, None);
}

#[tokio::test]
async fn after_a_failure_to_mint_what_is_known_of_the_secrets_is_read_again() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    let mut tenant = shell.double.object(TENANT).unwrap();
    tenant["spec"]["hostnames"] = json!(["another.localhost"]);
    shell.double.plant(TENANT, tenant);
    shell.double.raze("/api/v1/namespaces/freehold-keys/secrets");
    let failed = reconcile(shell.tenant(), shell.context.clone()).await;
    assert!(failed.is_err(), "the authority is gone");
    shell.pass().await;
    shell.pass().await;
    assert!(
        shell
            .double
            .object("/api/v1/namespaces/freehold-keys/secrets/tenant-acme-ca")
            .is_some()
    );
}

const DATABASE: &str = "/apis/postgresql.cnpg.io/v1/namespaces/tenant-acme/clusters/db";

impl Shell {
    /// Changes an object as a person would, and tells the store what the watch would tell: an end, when it has lost
    /// the labels by which it is watched.
    fn by_hand(&self, kind: freehold_plan::Kind, path: &str, change: impl Fn(&mut serde_json::Value)) {
        let mut object = self.double.object(path).unwrap();
        change(&mut object);
        self.double.plant(path, object);
        let object = self.double.object(path).unwrap();
        let watched = object["metadata"]["labels"][freehold_plan::names::MANAGED_BY] == "freehold"
            && object["metadata"]["labels"]
                .get(freehold_plan::names::TENANT_LABEL)
                .is_some();
        let object: kube::api::DynamicObject = serde_json::from_value(object).unwrap();
        let (tenant, id, seen) = crate::watch::reduce(kind, object).unwrap();
        if watched {
            self.context.store.put_watched(&tenant, id, seen);
        } else {
            self.context.store.remove(&tenant, &id, &seen.resource_version);
        }
    }

    fn blockers(&self) -> Vec<String> {
        let status = self.tenant().status.clone().unwrap();
        status
            .blockers
            .into_iter()
            .map(|blocker| blocker.message)
            .collect()
    }

    fn mark_deleted(&self) {
        let mut tenant = self.double.object(TENANT).unwrap();
        tenant["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z".into();
        self.double.plant(TENANT, tenant);
    }
}

#[tokio::test]
async fn labels_that_were_taken_off_are_put_back_and_nobody_is_told_to_delete_anything() {
    use freehold_plan::Kind;
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
    shell.by_hand(freehold_plan::Kind::NetworkPolicy, path, |object| {
        object["metadata"]["labels"]["freehold.dev/tenant"] = "globex".into();
    });
    shell.pass().await;
    assert_eq!(
        shell.double.object(path).unwrap()["metadata"]["labels"]["freehold.dev/tenant"],
        "acme"
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
        if id.kind == freehold_plan::Kind::Service && id.name == "web" {
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
    shell.by_hand(freehold_plan::Kind::Service, &path, |_| {});
    let before = shell.double.object(&path);
    shell.pass().await;
    shell.pass().await;
    assert_eq!(shell.double.object(&path), before);
    let told = shell.blockers();
    assert!(told.iter().any(|told| told.contains("web")), "{told:?}");
}

#[tokio::test]
async fn a_tenant_is_not_let_go_while_its_namespace_stands_without_its_labels() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    shell.by_hand(freehold_plan::Kind::Namespace, NAMESPACE, |object| {
        object["metadata"]["labels"] = json!({});
    });
    shell.mark_deleted();
    shell.double.take_asked();
    let asked = shell.pass().await;
    assert!(asked.iter().all(|asked| asked.verb != "delete"), "{asked:#?}");
    assert!(shell.tenant().metadata.finalizers.iter().flatten().count() > 0);
    assert_eq!(
        shell.double.object(NAMESPACE).unwrap()["metadata"]["labels"]["freehold.dev/tenant"],
        "acme",
        "the watch sees it again"
    );
    let asked = shell.pass().await;
    assert!(
        asked
            .iter()
            .any(|asked| asked.verb == "delete" && asked.resource == "httproutes")
    );
}

#[tokio::test]
async fn what_is_gone_without_a_word_of_the_watch_is_made_anew() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    let path = format!("{NAMESPACE}/services/web");
    shell.by_hand(freehold_plan::Kind::Service, &path, |service| {
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

const AUTHORITY: &str = "/api/v1/namespaces/freehold-keys/secrets/tenant-acme-ca";

impl Shell {
    fn corrupt(&self, path: &str) {
        let mut secret = self.double.object(path).unwrap();
        secret["data"]["tls.crt"] = "Z2FyYmFnZQ==".into();
        self.double.plant(path, secret);
        self.context.store.distrust("acme");
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_made_anew_and_an_authority_never_is() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    let garbage = "Z2FyYmFnZQ==";
    shell.corrupt(EDGE);
    shell.pass().await;
    assert_ne!(shell.double.object(EDGE).unwrap()["data"]["tls.crt"], garbage);
    shell.corrupt(AUTHORITY);
    let before = shell.double.object(AUTHORITY);
    let web = format!("{NAMESPACE}/services/web");
    shell.by_hand(freehold_plan::Kind::Service, &web, |service| {
        service["spec"]["ports"][0]["port"] = 1.into();
    });
    shell.pass().await;
    shell.pass().await;
    assert_eq!(shell.double.object(AUTHORITY), before);
    assert_eq!(
        shell.double.object(&web).unwrap()["spec"]["ports"][0]["port"],
        8080
    );
    assert!(
        shell
            .double
            .object(&format!("{NAMESPACE}/configmaps/ca"))
            .is_some()
    );
    let status = shell.tenant().status.clone().unwrap();
    assert_eq!(status.blockers[0].reason, "AuthorityBroken");
}

#[tokio::test]
async fn secrets_that_cannot_be_read_stop_neither_repair_nor_the_report_nor_the_end_of_a_tenant() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    let web = format!("{NAMESPACE}/services/web");
    shell.double.refuse(http::Method::GET, AUTHORITY, 403);
    // An operator that has just started knows nothing from before.
    shell
        .context
        .store
        .set_minted("acme", freehold_plan::Minted::default(), None);
    shell.by_hand(freehold_plan::Kind::Service, &web, |service| {
        service["spec"]["ports"][0]["port"] = 1.into();
    });
    for _ in 0..4 {
        let error = reconcile(shell.tenant(), shell.context.clone())
            .await
            .unwrap_err();
        on_error(shell.tenant(), &error, shell.context.clone());
    }
    assert_eq!(
        shell.double.object(&web).unwrap()["spec"]["ports"][0]["port"],
        8080
    );
    assert!(
        shell
            .double
            .object(&format!("{NAMESPACE}/configmaps/ca"))
            .is_some()
    );
    let status = shell.tenant().status.clone().unwrap();
    let ready = status
        .conditions
        .iter()
        .find(|c| c.type_ == "CertificateReady")
        .unwrap();
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("False", "Unread")
    );

    shell.double.take_asked();
    shell.mark_deleted();
    assert!(reconcile(shell.tenant(), shell.context.clone()).await.is_err());
    let asked = shell.double.take_asked();
    assert!(asked.iter().any(|asked| asked.verb == "delete"), "{asked:#?}");
    assert!(
        asked
            .iter()
            .all(|asked| asked.resource != "secrets" || asked.namespace == "freehold-keys"),
        "{asked:#?}"
    );
    shell.double.relent();
    shell.pass().await;
}

#[tokio::test]
async fn what_was_minted_and_is_wanted_again_at_once_waits_ever_longer() {
    let store = Store::default();
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let pause = |times| backoff("acme", times);
    let wanted = [freehold_plan::Action::MintAuthority];
    let first = store.may_act("acme", &wanted, now, pause);
    assert_eq!(first, Ok(()));
    let second = store.may_act("acme", &wanted, now, pause).unwrap_err();
    assert_eq!(store.may_act("acme", &wanted, second, pause), Ok(()));
    let third = store.may_act("acme", &wanted, second, pause).unwrap_err();
    assert!(third.duration_since(second) > second.duration_since(now));
    let other = [freehold_plan::Action::ForgetAuthority];
    assert_eq!(store.may_act("acme", &other, second, pause), Ok(()));
}

#[tokio::test]
async fn a_secret_that_does_not_become_what_was_asked_for_is_not_minted_in_a_loop() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    let mut minted = 0;
    for _ in 0..20 {
        // Somebody undoes it each time.
        shell.corrupt(EDGE);
        let asked = shell.pass().await;
        minted += asked
            .iter()
            .filter(|a| a.verb == "patch" && a.resource == "secrets")
            .count();
    }
    assert!(minted <= 10, "minted {minted} times");
    assert!(minted >= 1);
}

#[tokio::test]
async fn a_write_that_keeps_being_forbidden_or_failing_is_named_until_it_goes_through() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    let web = format!("{NAMESPACE}/services/web");
    for code in [403, 503] {
        shell.double.refuse(http::Method::PATCH, &web, code);
        shell.by_hand(freehold_plan::Kind::Service, &web, |service| {
            service["spec"]["ports"][0]["port"] = 1.into();
        });
        let mut named = Vec::new();
        for wait in [0, 0, 2100, 0] {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            assert!(reconcile(shell.tenant(), shell.context.clone()).await.is_err());
            named.push(shell.blockers().iter().any(|told| told.contains("refuses")));
        }
        // The report of the pass after the third failure says it.
        assert_eq!(named, [false, false, false, true], "{code}");
        shell.double.relent();
        shell.pass().await;
        shell.pass().await;
        assert_eq!(shell.blockers(), Vec::<String>::new());
    }
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

#[tokio::test(start_paused = true)]
async fn a_pass_without_an_answer_ends() {
    let shell = Shell::new();
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| {
        std::future::pending::<
            Result<http::Response<http_body_util::Full<bytes::Bytes>>, std::convert::Infallible>,
        >()
    });
    let context = Context {
        client: Client::new(service, "default"),
        store: shell.context.store.clone(),
        classes: shell.context.classes.clone(),
        releases: shell.context.releases.clone(),
        config: RwLock::new(Config::default()),
        identity: "test".to_owned(),
        metrics: Metrics::default(),
    };
    let ended = reconcile(shell.tenant(), Arc::new(context)).await;
    assert!(matches!(ended, Err(PassError::TimedOut)));
}

fn grants(rules: &[Rule], asked: &Asked) -> bool {
    rules.iter().any(|rule| {
        rule.group == asked.group
            && rule.resources.contains(&asked.resource.as_str())
            && rule.verbs.contains(&asked.verb)
            && (rule.names.is_empty() || rule.names.contains(&asked.name.as_str()))
    })
}

#[tokio::test]
async fn every_request_is_covered_by_a_right() {
    let shell = Shell::new();
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.extend(shell.pass().await);
    }
    let mut tenant = shell.double.object(TENANT).unwrap();
    tenant["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z".into();
    tenant["metadata"]["resourceVersion"] = "2000".into();
    shell.double.plant(TENANT, tenant);
    for _ in 0..8 {
        asked.extend(shell.pass().await);
        // The double deletes at once: the watch would say so.
        let now = Timestamp::now();
        for (id, seen) in shell.context.store.observed("acme", now).objects {
            if seen.ending {
                shell.context.store.remove("acme", &id, "9999");
            }
        }
    }
    assert_eq!(
        shell.tenant().metadata.finalizers.as_deref().unwrap_or_default(),
        <[String; 0]>::default()
    );
    for asked in asked {
        let rules = match asked.namespace.as_str() {
            "tenant-acme" => [rights::cluster_wide(), rights::in_tenant_namespaces()].concat(),
            "freehold-keys" => [rights::cluster_wide(), rights::in_keys_namespace()].concat(),
            "default" => [rights::cluster_wide(), rights::in_default_namespace()].concat(),
            _ => rights::cluster_wide(),
        };
        assert!(grants(&rules, &asked), "no right for {asked:?}");
    }
}

#[test]
fn failures_are_retried_soon_then_later_and_not_in_step() {
    assert!(backoff("acme", 1) < Duration::from_millis(130));
    assert!(backoff("acme", 4) > backoff("acme", 1));
    assert!(backoff("acme", 1000) <= BACKOFF_MAX.mul_f64(1.25));
    assert_ne!(backoff("acme", 3), backoff("globex", 3));
}

/// Rights that these tests don't see at work, each with its reason.
fn excuse(rule: &Rule, resource: &str, verb: &str) -> Option<&'static str> {
    match (resource, verb) {
        (_, "list" | "watch") => Some("the watches, which the double has not"),
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
    let shell = Shell::new();
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.extend(shell.pass().await);
    }
    // Everything loses its labels, and the certificate breaks.
    for path in shell.double.paths() {
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
        // Some version between that of the object and that which it has now.
        shell.context.store.remove("acme", &id, &seen.resource_version);
    }
    shell.corrupt(EDGE);
    for _ in 0..4 {
        asked.extend(shell.pass().await);
    }
    shell.mark_deleted();
    for _ in 0..8 {
        asked.extend(shell.pass().await);
        for (id, seen) in shell.context.store.observed("acme", Timestamp::now()).objects {
            if seen.ending {
                shell.context.store.remove("acme", &id, "9999");
            }
        }
    }
    let roles = [
        (rights::cluster_wide(), None),
        (rights::in_tenant_namespaces(), Some("tenant-acme")),
        (rights::in_keys_namespace(), Some("freehold-keys")),
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
                        unused.push(format!("{verb} {resource}: {}", rule.why));
                    }
                }
            }
        }
    }
    assert_eq!(unused, Vec::<String>::new());
}
