//! Whole passes against an API server in memory. Here is what the tests share: a shell with the samples' tenants, and
//! what the watches, the other controllers and people would do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this is a test")]

mod adoption;
mod claims;
mod destruction;
mod drift;
mod endings;
mod failures;
mod first;
mod keys;
mod orphans;
mod records;
mod reencryption;
mod rights;
mod secrets;
mod strangers;
mod verification;

use std::path::Path;

use freehold_crds::{IssuerRef, TenantOperation};
use freehold_plan::{Kind, Verification};
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::*;
use crate::api_double::{ApiDouble, Asked};
use crate::offline;
use crate::store::operations::read;

const TENANT: &str = "/apis/freehold.dev/v1alpha1/tenants/acme";
const NAMESPACE: &str = "/api/v1/namespaces/tenant-acme";
const EDGE: &str = "/api/v1/namespaces/tenant-acme/secrets/edge-tls";
const OWNER: &str = "/api/v1/namespaces/tenant-acme/secrets/owner";
const DATABASE: &str = "/apis/postgresql.cnpg.io/v1/namespaces/tenant-acme/clusters/db";
const AUTHORITY: &str = "/api/v1/namespaces/freehold-keys/secrets/tenant-acme-ca";
/// The uids of the samples' tenants: an incarnation has this form.
const UIDS: [(&str, &str); 2] = [
    ("acme", "00000000-0000-4000-8000-00000000acce"),
    ("globex", "00000000-0000-4000-8000-0000000910be"),
];

struct Shell {
    double: ApiDouble,
    context: Arc<Context>,
}

impl Shell {
    /// The samples' tenant acme, and nothing of it yet.
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let shell = Self::over(ApiDouble::default(), config);
        shell.arrives("acme", |_| {});
        shell
    }

    /// One with pods that verify the isolation.
    fn verifying() -> Self {
        Self::with(verifying())
    }

    fn over(double: ApiDouble, config: Config) -> Self {
        let documents = samples();
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
        let context = Arc::new(Context {
            client: double.client(),
            store: Arc::new(Store::default()),
            classes,
            releases,
            channels: reflector::store().0,
            members: Arc::default(),
            config: RwLock::new(config),
            keys: None,
            identity: "test".to_owned(),
            metrics: Metrics::default(),
        });
        Self { double, context }
    }

    /// The same, with a key service to ask.
    fn asking(self, keys: freehold_keys::client::Client) -> Self {
        let Self { double, context } = self;
        let context = Arc::into_inner(context).unwrap();
        let context = Arc::new(Context {
            keys: Some(keys),
            ..context
        });
        Self { double, context }
    }

    /// The same, where the class names an issuer for the gateway's certificate.
    fn issuing(self) -> Self {
        let Self { double, context } = self;
        let context = Arc::into_inner(context).unwrap();
        let (classes, mut writer) = reflector::store();
        for mut class in samples().classes {
            class.spec.certificates.issuer = Some(IssuerRef {
                name: "public".to_owned(),
                kind: "ClusterIssuer".to_owned(),
                group: "cert-manager.io".to_owned(),
            });
            writer.apply_watcher_event(&Event::Apply(class));
        }
        let context = Arc::new(Context { classes, ..context });
        Self { double, context }
    }

    /// Another process over the same cluster that has seen nothing yet.
    fn another(&self) -> Self {
        let config = self.context.config.read().unwrap().clone();
        Self::over(self.double.clone(), config)
    }

    /// One of the samples' tenants is applied.
    fn arrives(&self, name: &str, change: impl Fn(&mut Value)) {
        let tenants = samples().tenants;
        let tenant = tenants.iter().find(|tenant| tenant.name_any() == name).unwrap();
        let mut tenant = serde_json::to_value(tenant).unwrap();
        let (_, uid) = UIDS.into_iter().find(|(found, _)| *found == name).unwrap();
        tenant["metadata"]["uid"] = uid.into();
        tenant["metadata"]["generation"] = 1.into();
        change(&mut tenant);
        self.double.plant(&tenant_path(name), tenant);
    }

    fn tenant(&self) -> Arc<Tenant> {
        self.tenant_of("acme")
    }

    fn tenant_of(&self, name: &str) -> Arc<Tenant> {
        Arc::new(serde_json::from_value(self.double.object(&tenant_path(name)).unwrap()).unwrap())
    }

    async fn pass(&self) -> Vec<Asked> {
        self.pass_of("acme").await
    }

    async fn pass_of(&self, name: &str) -> Vec<Asked> {
        reconcile(self.tenant_of(name), self.context.clone())
            .await
            .unwrap();
        self.double.take_asked()
    }

    /// Enough passes for everything to be there.
    async fn settle(&self, name: &str) {
        for _ in 0..4 {
            self.pass_of(name).await;
            self.controllers();
        }
        for _ in 0..4 {
            self.pass_of(name).await;
        }
    }

    /// Somebody changes a tenant's spec.
    fn asks(&self, name: &str, change: impl Fn(&mut Value)) {
        let mut tenant = self.double.object(&tenant_path(name)).unwrap();
        change(&mut tenant["spec"]);
        self.double.plant(&tenant_path(name), tenant);
    }

    /// Changes an object as a person would, and tells the store what the watch would tell: an end, when it has lost
    /// the labels by which it is watched.
    fn by_hand(&self, kind: Kind, path: &str, change: impl Fn(&mut Value)) {
        let mut object = self.double.object(path).unwrap();
        change(&mut object);
        self.double.plant(path, object);
        self.watched(kind, path);
    }

    /// What the watch tells of an object.
    fn watched(&self, kind: Kind, path: &str) {
        let object = self.double.object(path).unwrap();
        let managed = object["metadata"]["labels"][freehold_plan::names::MANAGED_BY] == "freehold";
        let watched = (managed || kind == Kind::Volume)
            && object["metadata"]["labels"]
                .get(freehold_plan::names::TENANT_LABEL)
                .is_some();
        let object: kube::api::DynamicObject = serde_json::from_value(object).unwrap();
        let Some((tenant, id, seen)) = crate::watch::reduce(kind, object) else {
            return;
        };
        if watched {
            self.context.store.put_watched(&tenant, id, seen);
        } else {
            self.context.store.remove(&tenant, &id, &seen.resource_version);
        }
    }

    fn blockers(&self) -> Vec<String> {
        self.blockers_of("acme")
    }

    fn blockers_of(&self, name: &str) -> Vec<String> {
        let status = self.tenant_of(name).status.clone().unwrap();
        status
            .blockers
            .into_iter()
            .map(|blocker| format!("{}: {}", blocker.reason, blocker.message))
            .collect()
    }

    /// Protection is switched off, that stands on the record, and the delay is over.
    async fn let_go(&self, policy: &str) {
        self.asks("acme", |spec| {
            spec["deletionProtection"] = false.into();
            spec["deletionPolicy"] = policy.into();
        });
        self.pass().await;
        for path in self.double.paths() {
            if path.contains("/tenantoperations/") {
                let mut operation = self.double.object(&path).unwrap();
                operation["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z".into();
                self.double.plant(&path, operation);
                self.operation_watched(&path);
            }
        }
        self.pass().await;
    }

    /// What the watch tells of a record.
    fn operation_watched(&self, path: &str) {
        let operation: TenantOperation = serde_json::from_value(self.double.object(path).unwrap()).unwrap();
        self.context
            .store
            .put_operation(&operation.name_any(), read(&operation).unwrap());
    }

    fn operation(&self) -> Value {
        let paths = self.double.paths();
        let path = paths.iter().find(|path| path.contains("/tenantoperations/"));
        self.double.object(path.unwrap()).unwrap()
    }

    fn mark_deleted(&self) {
        let mut tenant = self.double.object(TENANT).unwrap();
        tenant["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z".into();
        self.double.plant(TENANT, tenant);
    }

    fn is_held(&self) -> bool {
        self.tenant()
            .finalizers()
            .iter()
            .any(|name| name == freehold_plan::names::FINALIZER)
    }

    /// The double deletes at once: the watch tells so. With a namespace goes what is in it.
    fn ends(&self) {
        if self.double.object(NAMESPACE).is_none() {
            for path in self.double.paths() {
                if path.contains("/namespaces/tenant-acme/") {
                    self.double.raze(&path);
                }
            }
        }
        for (id, seen) in self.context.store.observed("acme", Timestamp::now()).objects {
            let in_ended = id.namespace == "tenant-acme" && self.double.object(NAMESPACE).is_none();
            if seen.ending || in_ended {
                self.context.store.remove("acme", &id, &seen.resource_version);
            }
        }
    }

    /// The other controllers do their work.
    fn controllers(&self) {
        for path in self.double.paths() {
            let mut parts = path.rsplit('/');
            let (_, plural) = (parts.next(), parts.next().unwrap_or_default());
            let object = self.double.object(&path).unwrap();
            let holds = |kind: &str| json!({ "type": kind, "status": "True" });
            let (kind, status) = match plural {
                "deployments" => {
                    let wanted = object["spec"]["replicas"].clone();
                    let status = json!({
                        "observedGeneration": 1, "replicas": wanted, "updatedReplicas": wanted,
                        "availableReplicas": wanted,
                    });
                    (Kind::Deployment, status)
                }
                "clusters" => {
                    let asleep = object["metadata"]["annotations"]["cnpg.io/hibernation"] == "on";
                    let condition = holds(if asleep { "cnpg.io/hibernation" } else { "Ready" });
                    let ready = if asleep {
                        json!(0)
                    } else {
                        object["spec"]["instances"].clone()
                    };
                    let status = json!({ "readyInstances": ready, "conditions": [condition] });
                    (Kind::Cluster, status)
                }
                "certificates" => {
                    let status =
                        json!({ "conditions": [holds("Ready")], "notAfter": "2099-01-01T00:00:00Z" });
                    (Kind::Certificate, status)
                }
                "gateways" => (Kind::Gateway, json!({ "conditions": [holds("Programmed")] })),
                "httproutes" => {
                    let conditions = [holds("Accepted"), holds("ResolvedRefs")];
                    (
                        Kind::HttpRoute,
                        json!({ "parents": [{ "conditions": conditions }] }),
                    )
                }
                "jobs" => (Kind::Job, json!({ "conditions": [holds("Complete")] })),
                _ => continue,
            };
            if object["status"] != status {
                self.by_hand(kind, &path, |object| object["status"] = status.clone());
            }
        }
    }

    fn corrupt(&self, path: &str) {
        let mut secret = self.double.object(path).unwrap();
        secret["data"]["tls.crt"] = "Z2FyYmFnZQ==".into();
        self.double.plant(path, secret);
        self.context.store.distrust("acme");
    }

    /// The watches tell everything.
    fn watches(&self) {
        for path in self.double.paths() {
            let plural = path.rsplit('/').nth(1).unwrap_or_default();
            if plural == "tenantoperations" {
                self.operation_watched(&path);
            }
            if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.row().plural == plural) {
                self.watched(kind, &path);
            }
        }
        self.ends();
        let paths = self.double.paths();
        for (id, seen) in self.context.store.observed("acme", Timestamp::now()).objects {
            let end = format!("/{}/{}", id.kind.row().plural, id.name);
            if !paths.iter().any(|path| path.ends_with(&end)) {
                self.context.store.remove("acme", &id, &seen.resource_version);
            }
        }
    }

    /// Paths of a kind that are there.
    fn paths_of(&self, plural: &str) -> Vec<String> {
        let infix = format!("/{plural}/");
        let paths = self.double.paths().into_iter();
        paths.filter(|path| path.contains(&infix)).collect()
    }
}

/// What plans are told where the isolation is verified.
fn verifying() -> Config {
    Config {
        verification: Some(Verification {
            image: "freehold".into(),
            namespace: "freehold-probes".into(),
            every: jiff::SignedDuration::from_hours(6),
            metadata: Some("169.254.169.254:80".into()),
            internet: Some("1.1.1.1:443".into()),
        }),
        ..Config::default()
    }
}

fn samples() -> offline::Documents {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/samples");
    offline::read(&[samples]).unwrap()
}

fn tenant_path(name: &str) -> String {
    format!("/apis/freehold.dev/v1alpha1/tenants/{name}")
}

/// Writes of some requests.
fn writes(asked: &[Asked]) -> Vec<String> {
    let writes = asked
        .iter()
        .filter(|asked| asked.verb != "get" && asked.resource != "events");
    writes
        .map(|asked| format!("{} {}", asked.verb, asked.resource))
        .collect()
}
