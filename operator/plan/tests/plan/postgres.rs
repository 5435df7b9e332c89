//! CloudNativePG, as far as its instances and their volumes go: adds what is missing, removes what is too much (of those
//! that are not the primary the one with the highest number) or marked, and switches over.

use std::collections::{BTreeMap, BTreeSet};

use freehold_plan::{Id, Kind, Slot};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// The instances of one database.
#[derive(Clone, Debug, Default)]
pub struct Postgres {
    serial: u32,
    instances: BTreeSet<u32>,
    primary: Option<u32>,
    target: Option<u32>,
    marked: BTreeSet<u32>,
    silent: BTreeSet<u32>,
    /// No more instances find room.
    pub full: bool,
    /// Volumes stay when their claims are gone.
    pub retains: bool,
}

fn named(serial: u32) -> String {
    format!("db-{serial}")
}

fn serial(name: &str) -> u32 {
    name.rsplit_once('-').unwrap().1.parse().unwrap()
}

impl Postgres {
    /// One does not answer any more.
    pub fn silence(&mut self, instance: &str) {
        self.silent.insert(serial(instance));
    }

    /// The one with the lowest number takes over.
    pub fn fail_over_to_the_first(&mut self) {
        self.primary = self.instances.first().copied();
        self.target = self.primary;
    }

    /// The shell's patch of the status.
    pub fn switch_over(&mut self, to: &str) {
        let to = serial(to);
        if self.primary != self.target {
            // The shell looks it up, and leaves it.
            return;
        }
        assert!(self.instances.contains(&to), "db-{to} is not there");
        self.target = Some(to);
    }

    /// The shell's mark on a pod.
    pub fn mark(&mut self, instance: &str) {
        let instance = serial(instance);
        assert_ne!(self.primary, Some(instance), "the primary is marked");
        self.marked.insert(instance);
    }
}

impl Cluster {
    /// One step of CloudNativePG. A volume that is removed is ending for a step, while its pod stops.
    pub fn databases(&mut self) {
        let ending = |body: &Value| body["metadata"]["deletionTimestamp"].is_string();
        let there = self.objects.iter().find(|(id, _)| id.kind == Kind::Cluster);
        let there = there.map(|(id, body)| (id.clone(), body.clone()));
        self.objects.retain(|id, body| {
            id.kind != Kind::Volume
                || (!ending(body) && there.as_ref().is_some_and(|(db, _)| db.namespace == id.namespace))
        });
        let Some((id, body)) = there else {
            self.postgres = Postgres::default();
            return;
        };
        if body["metadata"]["annotations"]["cnpg.io/hibernation"] == "on" {
            return;
        }
        let wanted = usize::try_from(body["spec"]["instances"].as_i64().unwrap()).unwrap();
        let healthy = self.healthy();
        let postgres = &mut self.postgres;
        if postgres.target != postgres.primary {
            self.log
                .push(format!("db-{} is the primary", postgres.target.unwrap()));
            postgres.primary = postgres.target;
            return;
        }
        let surplus = postgres.instances.len().checked_sub(wanted + 1).is_some();
        let highest = || {
            let others = healthy.iter().rev();
            others.copied().find(|other| Some(*other) != postgres.primary)
        };
        let leaving = postgres
            .marked
            .pop_first()
            .or_else(|| highest().filter(|_| surplus));
        if let Some(leaving) = leaving {
            postgres.instances.remove(&leaving);
            self.log.push(format!("db-{leaving} leaves"));
            let volume = Id {
                kind: Kind::Volume,
                namespace: id.namespace,
                name: named(leaving),
            };
            if let Some(body) = self.objects.get_mut(&volume) {
                body["metadata"]["deletionTimestamp"] = "now".into();
            }
            return;
        }
        while self.postgres.instances.len() < wanted && !self.postgres.full {
            let named = body["spec"]["storage"]["storageClass"]
                .as_str()
                .map(str::to_owned);
            let classes = self.given.config.storage_classes.iter().flatten();
            let mut default = classes.filter(|(_, class)| class.is_default);
            let class = named.or_else(|| Some(default.next()?.0.clone()));
            self.add_instance(&id.namespace, class.as_deref().unwrap_or("encrypted"));
        }
    }

    fn add_instance(&mut self, namespace: &str, storage_class: &str) {
        self.postgres.serial += 1;
        let serial = self.postgres.serial;
        self.postgres.instances.insert(serial);
        if self.postgres.primary.is_none() {
            self.postgres.primary = Some(serial);
            self.postgres.target = Some(serial);
        }
        if self.given.config.storage_classes.is_none() {
            return;
        }
        self.serial += 1;
        let body = json!({
            "metadata": {
                "uid": format!("uid-{}", self.serial), "resourceVersion": "1",
                "labels": {"freehold.dev/tenant": "acme", "cnpg.io/instanceName": named(serial)},
            },
            "spec": {"storageClassName": storage_class},
        });
        let id = Id {
            kind: Kind::Volume,
            namespace: namespace.to_owned(),
            name: named(serial),
        };
        self.objects.insert(id, body);
    }

    /// Somebody else's claim on the tenant's StorageClass.
    pub fn stray_volume(&mut self) {
        let body = json!({
            "metadata": {"uid": "uid-stray", "resourceVersion": "1", "labels": {"freehold.dev/tenant": "acme"}},
            "spec": {"storageClassName": "encrypted"},
        });
        let id = Id {
            kind: Kind::Volume,
            namespace: "tenant-acme".to_owned(),
            name: "dump".to_owned(),
        };
        self.objects.insert(id, body);
    }

    /// The instances whose volumes can be staged; those that run already go on.
    fn healthy(&self) -> BTreeSet<u32> {
        let classes = self.given.config.storage_classes.as_ref();
        let plain = classes.is_none_or(|classes| !classes.contains_key("encrypted"));
        let bodies: BTreeMap<&str, &Value> = self
            .objects
            .iter()
            .filter(|(id, _)| id.kind == Kind::Volume)
            .map(|(id, body)| (id.name.as_str(), body))
            .collect();
        let keyed = |name: &str| {
            bodies.get(name).is_some_and(|body| {
                if body["spec"]["storageClassName"] != "encrypted" {
                    return true;
                }
                let volume = format!("pvc-{}", body["metadata"]["uid"].as_str().unwrap());
                let slot = self.minted.keys.data.get(&volume);
                slot.is_some_and(|slot| matches!(slot, Slot::Present(_)))
            })
        };
        let ran = |name: &str| {
            let clusters = self.objects.iter().filter(|(id, _)| id.kind == Kind::Cluster);
            let mut healthy =
                clusters.flat_map(|(_, body)| body["status"]["instancesStatus"]["healthy"].as_array());
            healthy.any(|names| names.iter().any(|there| there == name))
        };
        let instances = self.postgres.instances.iter().copied();
        instances
            .filter(|serial| !self.postgres.silent.contains(serial))
            .filter(|serial| plain || keyed(&named(*serial)) || ran(&named(*serial)))
            .collect()
    }

    /// What CloudNativePG says of a Cluster.
    pub fn database_status(&self, body: &Value) -> Value {
        if body["metadata"]["annotations"]["cnpg.io/hibernation"] == "on" {
            return json!({"readyInstances": 0, "conditions": [
                {"type": "Ready", "status": "False"}, {"type": "cnpg.io/hibernation", "status": "True"},
            ]});
        }
        let healthy: Vec<String> = self.healthy().into_iter().map(named).collect();
        if healthy.is_empty() {
            return json!({"phase": "waiting"});
        }
        let all = body["spec"]["instances"] == healthy.len();
        json!({
            "readyInstances": healthy.len(), "instancesStatus": {"healthy": healthy},
            "currentPrimary": self.postgres.primary.map(named), "targetPrimary": self.postgres.target.map(named),
            "conditions": [{"type": "Ready", "status": if all { "True" } else { "False" }}],
        })
    }
}
