//! One file per concern. Each is a function from facts to objects, actions, findings, waits and a wake-up; none depends
//! on the order in which the others are asked.

pub mod access;
pub mod class;
pub mod database;
pub mod deletion;
pub mod files;
pub mod gates;
pub mod gateway;
pub mod hook;
pub mod hostnames;
pub mod isolation;
pub mod issuer;
pub mod keys;
pub mod maintenance;
pub mod migration;
pub mod namespace;
pub mod pod;
pub mod quota;
pub mod rollout;
pub mod settings;
pub mod storage;
pub mod teardown;
pub mod termination;
pub mod tls;
pub mod upgrade;
pub mod verification;
pub mod workload;

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::input::Input;
use crate::kind::Kind;
use crate::model::Model;
use crate::object::{Id, Marks, Object};
use crate::seen::Seen;

/// The key of a record in its ConfigMap.
const RECORD: &str = "record.json";

/// What every concern is given.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    pub model: &'a Model<'a>,
    pub input: &'a Input<'a>,
}

impl Scene<'_> {
    /// An object in the tenant's namespace.
    pub fn id(&self, kind: Kind, name: &str) -> Id {
        Id {
            kind,
            namespace: self.model.namespace.as_str().to_owned(),
            name: name.to_owned(),
        }
    }

    /// The marks of the tenant's objects.
    pub fn marks(&self) -> Marks {
        Marks::of(self.model.name)
    }

    /// What was written down in a ConfigMap of the tenant's; nothing when it can't be read.
    pub fn recorded<T: Default + DeserializeOwned>(&self, name: &str) -> T {
        let seen = self.seen(Kind::ConfigMap, name);
        let text = seen.and_then(|seen| seen.live["data"][RECORD].as_str());
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    /// The ConfigMap in which that is written down.
    pub fn record<T: Serialize>(&self, name: &str, record: &T) -> Object {
        let text = serde_json::to_string(record).unwrap_or_default();
        let map = ConfigMap {
            data: Some([(RECORD.to_owned(), text)].into()),
            ..ConfigMap::default()
        };
        Object::declare(self.id(Kind::ConfigMap, name), self.marks(), &map)
    }

    /// What was seen of an object in the tenant's namespace.
    pub fn seen(&self, kind: Kind, name: &str) -> Option<&Seen> {
        self.input.observed.get(kind, self.model.namespace.as_str(), name)
    }
}
