//! Tenants, classes and releases to plan for.

use std::collections::BTreeMap;
use std::sync::Arc;

use freehold_crds::{Maintenance, Release, ReleaseChannel, Tenant, TenantClass};
use freehold_plan::{Config, Endpoint, Input, KeyService, Observed, StorageClass, Verification};
use jiff::SignedDuration;
use jiff::Timestamp;
use serde_json::{Value, json};

/// An instant of no meaning.
pub const NOON: i64 = 1_800_000_000;

/// The uid of every tenant here.
pub const UID: &str = "aaaaaaaa-0000-4000-8000-000000000001";

/// Everything that a plan is asked about, as values.
#[derive(Clone, Debug)]
pub struct Given {
    pub tenant: Tenant,
    pub class: Option<TenantClass>,
    pub channel: Option<ReleaseChannel>,
    pub releases: BTreeMap<String, Arc<Release>>,
    pub observed: Observed,
    pub now: Timestamp,
    pub config: Config,
}

impl Given {
    pub fn input(&self) -> Input<'_> {
        Input {
            tenant: &self.tenant,
            class: self.class.as_ref(),
            channel: self.channel.as_ref(),
            releases: &self.releases,
            observed: &self.observed,
            now: self.now,
            config: &self.config,
        }
    }
}

impl Given {
    /// A release is published, and the tenant asks for it.
    pub fn ask_for(&mut self, release: Release) {
        let (name, release) = published(release);
        self.tenant.spec.release.name = Some(name.clone());
        self.releases.insert(name, release);
    }

    /// The same in a window that is always open.
    pub fn upgrade_to(&mut self, release: Release) {
        self.tenant.spec.maintenance = Some(always_open());
        self.ask_for(release);
    }
}

fn published(release: Release) -> (String, Arc<Release>) {
    (release.metadata.name.clone().unwrap(), Arc::new(release))
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn image(name: &str) -> String {
    format!("registry.example/{name}@sha256:{}", "0".repeat(64))
}

pub fn class() -> TenantClass {
    typed(json!({
        "apiVersion": "freehold.dev/v1alpha1", "kind": "TenantClass", "metadata": {"name": "standard"},
        "spec": {
            "database": {
                "image": format!("registry.example/postgresql:17@sha256:{}", "0".repeat(64)),
                "storageSize": "1Gi",
            },
            "gateway": {"className": "traefik", "namespace": "traefik", "podLabels": {"app": "traefik"}},
            "quota": {"cpu": "2", "memory": "1024Mi", "pods": 20},
        },
    }))
}

pub fn release(version: &str) -> Release {
    typed(json!({
        "apiVersion": "freehold.dev/v1alpha1", "kind": "Release",
        "metadata": {"name": format!("board-{version}")},
        "spec": {
            "product": "board", "version": version,
            "components": [
                {"name": "web", "tier": "Web", "image": image("web"), "args": ["web"], "port": 8080, "replicas": 2},
                {"name": "api", "tier": "Application", "image": image("api"), "args": ["api"], "port": 8081},
            ],
            "hooks": {"migrate": {"component": "api", "args": ["migrate"]}},
        },
    }))
}

pub fn tenant(name: &str) -> Tenant {
    typed(json!({
        "apiVersion": "freehold.dev/v1alpha1", "kind": "Tenant",
        "metadata": {
            "name": name, "uid": UID, "generation": 1, "resourceVersion": "1",
        },
        "spec": {
            "displayName": "Acme", "owner": {"email": "owner@acme.example"}, "seats": 5,
            "region": "eu-central", "className": "standard", "release": {"name": "board-1.0.0"},
            "hostnames": [format!("{name}.example")],
        },
    }))
}

/// A tenant of which nothing exists yet.
pub fn new(name: &str) -> Given {
    let api_server = vec![Endpoint {
        cidr: "10.0.0.1/32".into(),
        port: 6443,
    }];
    Given {
        tenant: tenant(name),
        class: Some(class()),
        channel: None,
        releases: [published(release("1.0.0"))].into(),
        observed: Observed::default(),
        now: at(NOON),
        config: Config {
            api_server,
            verification: Some(Verification {
                image: image("freehold"),
                namespace: "freehold-probes".into(),
                every: SignedDuration::from_hours(6),
                metadata: Some("169.254.169.254:80".into()),
                internet: Some("203.0.113.10:443".into()),
            }),
            ..Config::default()
        },
    }
}

/// A tenant whose volumes are encrypted with keys of its own.
pub fn with_keys(name: &str) -> Given {
    let mut given = new(name);
    given.config.key_service = Some(KeyService {
        provider: Some("local".into()),
        separated: false,
        failure: None,
    });
    let parameters = [
        ("csi.storage.k8s.io/node-stage-secret-name", "${pv.name}"),
        ("csi.storage.k8s.io/node-stage-secret-namespace", "freehold-keys"),
    ];
    let class = StorageClass {
        provisioner: "csi.freehold.dev".into(),
        parameters: parameters.map(|(key, value)| (key.into(), value.into())).into(),
        is_default: true,
    };
    given.config.storage_classes = Some([("encrypted".into(), class)].into());
    given
}

pub fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A window that never shuts: a change of the class reaches the tenant at once.
pub fn always_open() -> Maintenance {
    typed(json!({"windows": [{"rule": "FREQ=DAILY;BYHOUR=0;BYMINUTE=0;BYSECOND=0", "duration": "24h"}]}))
}
