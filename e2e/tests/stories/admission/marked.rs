//! A namespace with the marks of a tenant's, for stories that change it.

use freehold_e2e::kube;
use serde_json::{Value, json};

use super::api::Api;
use crate::stage::MINUTE;

pub const INCARNATION: &str = "freehold.dev/incarnation";
/// A namespace like those that the operator makes, `tenant-` and more; no Tenant belongs to it, so that the operator leaves it alone.
pub struct Marked<'a> {
    operator: &'a Api,
    pub name: &'static str,
}

pub const NAMESPACES: &str = "/api/v1/namespaces";

pub fn marked(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
        "labels": {"freehold.dev/tenant": "story", "pod-security.kubernetes.io/enforce": "restricted", "app.kubernetes.io/managed-by": "freehold"},
        "annotations": {INCARNATION: "0f8fad5b-d9cb-469f-a165-70867728950e"}}})
}

impl<'a> Marked<'a> {
    pub fn make(operator: &'a Api, name: &'static str) -> Marked<'a> {
        let made = Marked { operator, name };
        made.remove();
        let created = || {
            Ok(operator
                .create(NAMESPACES, &marked(name))
                .is_taken()
                .then_some(()))
        };
        kube::until("the namespace of the run before to be gone", MINUTE, created).unwrap();
        made
    }

    pub fn path(&self) -> String {
        format!("{NAMESPACES}/{}", self.name)
    }

    fn remove(&self) {
        self.operator.send("DELETE", &self.path(), b"");
    }
}

impl Drop for Marked<'_> {
    fn drop(&mut self) {
        self.remove();
    }
}
