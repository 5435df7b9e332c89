//! Declared objects, and whether what was seen is already what is wanted.
//!
//! In: typed values from the concerns. Out: one erased object type, marked and sealed with a digest of what was asked for.

use std::collections::BTreeMap;
use std::fmt;

use freehold_crds::Amount;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::kind::Kind;
use crate::names::{DECLARED, FREEHOLD, MANAGED_BY, TENANT_LABEL, digest};

/// What an object is called. The namespace is empty for those that are in none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Id {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            namespace,
            name,
        } = self;
        let kind = kind.row().kind;
        if namespace.is_empty() {
            write!(f, "{kind} {name}")
        } else {
            write!(f, "{kind} {namespace}/{name}")
        }
    }
}

/// An object as it is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub id: Id,
    /// The whole object: `apiVersion`, `kind`, `metadata`, and the rest.
    pub body: Value,
}

/// The marks of a declared object.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

impl Marks {
    /// Those of every object of a tenant.
    pub fn of(tenant: &str) -> Self {
        Self {
            labels: tenant_labels(tenant),
            annotations: BTreeMap::new(),
        }
    }

    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }
}

/// By these the watches find the objects, and the objects their tenant.
pub fn tenant_labels(tenant: &str) -> BTreeMap<String, String> {
    [
        (MANAGED_BY, FREEHOLD),
        ("app.kubernetes.io/part-of", FREEHOLD),
        (TENANT_LABEL, tenant),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

impl Object {
    /// Erases a typed value. `content` is the object without its metadata, which comes from `id` and `marks`.
    pub fn declare<T: Serialize>(id: Id, marks: Marks, content: &T) -> Self {
        let mut body = match serde_json::to_value(content) {
            Ok(Value::Object(map)) => map,
            // Serialising a struct into memory gives a map; there is no input that reaches this.
            _ => Map::new(),
        };
        drop_empty(&mut body);
        body.insert("apiVersion".into(), id.kind.api_version().into());
        body.insert("kind".into(), id.kind.row().kind.into());
        let mut metadata =
            json!({ "name": id.name, "labels": marks.labels, "annotations": marks.annotations });
        if !id.namespace.is_empty() {
            metadata["namespace"] = id.namespace.clone().into();
        }
        body.insert("metadata".into(), metadata);
        let mut body = Value::Object(body);
        let seal = digest(&[&body.to_string()]);
        body["metadata"]["annotations"][DECLARED] = seal.into();
        Self { id, body }
    }

    /// An object as it was seen, with a few annotations more: for what must be changed without knowing what made it.
    pub fn of_live(id: Id, live: &Value, annotations: &[(&str, &str)]) -> Self {
        let metadata = &live["metadata"];
        let texts = |key: &str| -> BTreeMap<String, String> {
            let map = metadata[key].as_object().into_iter().flatten();
            map.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect()
        };
        let mut marks = Marks {
            labels: texts("labels"),
            annotations: texts("annotations"),
        };
        marks.annotations.remove(DECLARED);
        for (key, value) in annotations {
            marks = marks.annotation(key, value);
        }
        let mut content = live.as_object().cloned().unwrap_or_default();
        content.remove("metadata");
        Self::declare(id, marks, &Value::Object(content))
    }

    /// Whether what was seen has everything that is wanted.
    pub fn is_settled(&self, live: &Value) -> bool {
        let wanted = self.body.as_object().into_iter().flatten();
        wanted
            .filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata"))
            .all(|(key, value)| covers(value, live.get(key), self.id.kind == Kind::NetworkPolicy))
            && ["labels", "annotations"].iter().all(|key| {
                covers(
                    &self.body["metadata"][*key],
                    live.get("metadata").and_then(|m| m.get(*key)),
                    false,
                )
            })
    }
}

/// Typed values serialise `status: {}` and the like for what nobody set.
fn drop_empty(body: &mut Map<String, Value>) {
    body.retain(|_, value| !value.is_null());
    body.remove("status");
}

/// Whether `live` says all that `wanted` says. What the API server adds as a default is admitted, except where an
/// addition changes the meaning: in network policies and in selectors, which must match to the letter.
fn covers(wanted: &Value, live: Option<&Value>, exact: bool) -> bool {
    let live = live.unwrap_or(&Value::Null);
    match (wanted, live) {
        (wanted, live) if is_blank(wanted) => is_blank(live),
        (Value::Object(wanted), Value::Object(live)) => {
            let exact_below = |key: &str| exact || matches!(key, "selector" | "subjects" | "roleRef");
            wanted
                .iter()
                .all(|(key, value)| covers(value, live.get(key), exact_below(key)))
                && (!exact
                    || live
                        .iter()
                        .all(|(key, value)| wanted.contains_key(key) || is_blank(value)))
        }
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len() && wanted.iter().zip(live).all(|(w, l)| covers(w, Some(l), exact))
        }
        (Value::String(wanted), Value::String(live)) => {
            wanted == live || Amount::parse(wanted).is_some_and(|amount| Amount::parse(live) == Some(amount))
        }
        (wanted, live) => wanted == live,
    }
}

/// `null`, `{}` and `[]` are what the API server leaves out.
pub fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: Kind, content: &Value) -> Object {
        let id = Id {
            kind,
            namespace: "tenant-acme".into(),
            name: "x".into(),
        };
        Object::declare(id, Marks::of("acme"), content)
    }

    #[test]
    fn defaults_of_the_api_server_are_no_drift() {
        let wanted = object(
            Kind::Service,
            &json!({"spec": {"ports": [{"port": 80}], "externalIPs": []}}),
        );
        let mut live = wanted.body.clone();
        live["spec"]["ports"][0]["protocol"] = "TCP".into();
        live["spec"]["clusterIP"] = "10.0.0.1".into();
        assert!(wanted.is_settled(&live));
    }

    #[test]
    fn quantities_are_compared_by_what_they_are_worth() {
        let wanted = object(
            Kind::ResourceQuota,
            &json!({"spec": {"hard": {"limits.memory": "1024Mi"}}}),
        );
        let mut live = wanted.body.clone();
        live["spec"]["hard"]["limits.memory"] = "1Gi".into();
        assert!(wanted.is_settled(&live));
        live["spec"]["hard"]["limits.memory"] = "2Gi".into();
        assert!(!wanted.is_settled(&live));
    }

    #[test]
    fn a_widened_or_narrowed_policy_is_drift() {
        let wanted = object(
            Kind::NetworkPolicy,
            &json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": []}}),
        );
        let mut narrowed = wanted.body.clone();
        narrowed["spec"]["podSelector"] = json!({"matchLabels": {"no": "pod"}});
        let mut widened = wanted.body.clone();
        widened["spec"]["ingress"] = json!([{}]);
        assert!(wanted.is_settled(&wanted.body));
        assert!(!wanted.is_settled(&narrowed));
        assert!(!wanted.is_settled(&widened));
    }

    #[test]
    fn a_field_that_is_no_longer_wanted_changes_the_seal() {
        let before = object(Kind::ConfigMap, &json!({"data": {"a": "1", "b": "2"}}));
        let after = object(Kind::ConfigMap, &json!({"data": {"a": "1"}}));
        assert!(!after.is_settled(&before.body));
    }
}
