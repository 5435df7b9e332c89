//! An API server in memory, for tests of the shell: it keeps objects, gives uids and versions, refuses what exists, and
//! records every request. It knows no schema and no defaults.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// One request, as rights see it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    pub verb: &'static str,
    pub group: String,
    /// With the subresource: `tenants/status`.
    pub resource: String,
    pub namespace: String,
    pub name: String,
}

/// Writes to paths that begin so, and what becomes of them.
type Webhook = (String, fn(&mut Value));

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    /// Requests of a method to paths that begin so are refused.
    refusals: Vec<(Method, String, u16)>,
    asked: Vec<Asked>,
    /// After so many more writes one is done, and its answer is lost.
    loses: Option<usize>,
    /// What somebody's webhook does to writes of paths that begin so.
    webhook: Option<Webhook>,
}

/// The server; clones share their state.
#[derive(Clone, Debug, Default)]
pub struct ApiDouble(Arc<Mutex<State>>);

impl ApiDouble {
    pub fn client(&self) -> Client {
        let double = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let double = double.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let merges = parts
                    .headers
                    .get("content-type")
                    .is_some_and(|kind| kind == "application/merge-patch+json");
                let query = parts.uri.query().unwrap_or_default();
                Ok::<_, Infallible>(double.answer(&parts.method, parts.uri.path(), query, &body, merges))
            }
        });
        Client::new(service, "default")
    }

    /// Takes what was asked since the last time.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    /// Puts an object there as somebody else would.
    pub fn plant(&self, path: &str, object: Value) {
        let mut state = self.0.lock().unwrap();
        let stored = state.stamp(object, None);
        state.objects.insert(path.to_owned(), stored);
    }

    /// From now on refuses requests of a method to paths that begin so.
    pub fn refuse(&self, method: Method, prefix: &str, code: u16) {
        let refusal = (method, prefix.to_owned(), code);
        self.0.lock().unwrap().refusals.push(refusal);
    }

    /// After so many more writes one is done, and its answer is lost.
    pub fn lose_answer(&self, after: usize) {
        self.0.lock().unwrap().loses = Some(after);
    }

    /// Whether the answer that was to be lost is.
    pub fn has_lost_answer(&self) -> bool {
        self.0.lock().unwrap().loses.is_none()
    }

    /// From now on somebody's webhook changes what is written to paths that begin so.
    pub fn rewrite(&self, prefix: &str, change: fn(&mut Value)) {
        self.0.lock().unwrap().webhook = Some((prefix.to_owned(), change));
    }

    /// That webhook is gone.
    pub fn rewrite_nothing(&self) {
        self.0.lock().unwrap().webhook = None;
    }

    /// Refuses nothing any more.
    pub fn relent(&self) {
        self.0.lock().unwrap().refusals.clear();
    }

    /// Takes away everything whose path begins so, as somebody else would.
    pub fn raze(&self, prefix: &str) {
        self.0
            .lock()
            .unwrap()
            .objects
            .retain(|path, _| !path.starts_with(prefix));
    }

    pub fn object(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// Paths of everything that is there.
    pub fn paths(&self) -> Vec<String> {
        self.0.lock().unwrap().objects.keys().cloned().collect()
    }

    fn answer(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        body: &Bytes,
        merges: bool,
    ) -> Response<Full<Bytes>> {
        let mut state = self.0.lock().unwrap();
        let mut asked = read(method, path);
        let lists = *method == Method::GET && asked.name.is_empty();
        if lists {
            asked.verb = "list";
        }
        state.asked.push(asked);
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let refusal = state
            .refusals
            .iter()
            .find(|(refused, prefix, _)| refused == method && path.starts_with(prefix));
        let (code, answer) = match *method {
            _ if refusal.is_some() => refuse(refusal.map_or(500, |(_, _, code)| *code), "Refused"),
            Method::GET if lists => state.list(path, query),
            Method::GET => state.get(path),
            Method::POST if path.ends_with("/tokenreviews") => review(&body),
            Method::POST => state.create(path, body),
            Method::PATCH => state.patch(path.trim_end_matches("/status"), &body, merges),
            Method::PUT => state.patch(path, &body, true),
            Method::DELETE => state.delete(path),
            _ => (StatusCode::METHOD_NOT_ALLOWED, json!({})),
        };
        let (code, answer) = match (state.loses, method) {
            (Some(_), &Method::GET) | (None, _) => (code, answer),
            (Some(0), _) => {
                state.loses = None;
                refuse(500, "InternalError")
            }
            (Some(after), _) => {
                state.loses = Some(after - 1);
                (code, answer)
            }
        };
        let body = Full::new(Bytes::from(answer.to_string()));
        Response::builder().status(code).body(body).unwrap()
    }
}

impl State {
    fn stamp(&mut self, mut object: Value, before: Option<&Value>) -> Value {
        self.version += 1;
        let uid = before.map_or_else(
            || format!("uid-{}", self.version).into(),
            |b| b["metadata"]["uid"].clone(),
        );
        if object["metadata"]["uid"].is_null() || before.is_some() {
            object["metadata"]["uid"] = uid;
        }
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        object
    }

    fn get(&self, path: &str) -> (StatusCode, Value) {
        self.objects.get(path).map_or_else(
            || refuse(404, "NotFound"),
            |object| (StatusCode::OK, object.clone()),
        )
    }

    /// Those of a collection that bear the labels which `labelSelector` names.
    fn list(&self, collection: &str, query: &str) -> (StatusCode, Value) {
        let query = query.replace("%2F", "/").replace("%2C", ",").replace("%3D", "=");
        let selector = query
            .split('&')
            .find_map(|part| part.strip_prefix("labelSelector="));
        let bears = |object: &Value| {
            let mut terms = selector.into_iter().flat_map(|text| text.split(','));
            terms.all(|term| {
                let (key, value) = term.split_once('=').map_or((term, None), |(k, v)| (k, Some(v)));
                let label = &object["metadata"]["labels"][key];
                value.map_or(label.is_string(), |value| label == value)
            })
        };
        let below = format!("{collection}/");
        let items = self.objects.iter().filter(|(path, object)| {
            let name = path.strip_prefix(&below);
            name.is_some_and(|name| !name.contains('/')) && bears(object)
        });
        let items: Vec<&Value> = items.map(|(_, object)| object).collect();
        let list =
            json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items});
        (StatusCode::OK, list)
    }

    fn create(&mut self, collection: &str, mut object: Value) -> (StatusCode, Value) {
        if let Some(prefix) = object["metadata"]["generateName"].as_str() {
            object["metadata"]["name"] = format!("{prefix}{}", self.version).into();
        }
        let path = format!("{collection}/{}", object["metadata"]["name"].as_str().unwrap());
        if self.objects.contains_key(&path) {
            return refuse(409, "AlreadyExists");
        }
        object["metadata"]["creationTimestamp"] = jiff::Timestamp::now().to_string().into();
        object["metadata"]["managedFields"] = json!([{"manager": "freehold", "operation": "Update"}]);
        self.changed_by_webhook(&path, &mut object);
        let stored = self.stamp(object, None);
        self.objects.insert(path, stored.clone());
        (StatusCode::CREATED, stored)
    }

    fn patch(&mut self, path: &str, patch: &Value, merges: bool) -> (StatusCode, Value) {
        let Some(before) = self.objects.get(path).cloned() else {
            return refuse(404, "NotFound");
        };
        let guarded = ["uid", "resourceVersion"];
        let differs = |key: &&str| {
            let asked = &patch["metadata"][*key];
            !asked.is_null() && *asked != before["metadata"][*key]
        };
        if guarded.iter().any(differs) {
            return refuse(409, "Conflict");
        }
        let mut object = before.clone();
        if patch.get("status").is_some() && !merges {
            // Only a whole status is ever applied: what is no longer in it goes.
            object["status"] = Value::Null;
        }
        if !merges {
            // Nobody but us applies anything here: what we no longer apply goes.
            for (key, value) in patch.as_object().into_iter().flatten() {
                match key.as_str() {
                    "metadata" => {
                        for marks in ["labels", "annotations"] {
                            object["metadata"][marks] = value[marks].clone();
                        }
                    }
                    "status" => {}
                    _ => object[key] = value.clone(),
                }
            }
        }
        merge(&mut object, patch);
        self.changed_by_webhook(path, &mut object);
        let stored = self.stamp(object, Some(&before));
        self.objects.insert(path.to_owned(), stored.clone());
        (StatusCode::OK, stored)
    }

    fn changed_by_webhook(&self, path: &str, object: &mut Value) {
        if let Some((prefix, change)) = &self.webhook
            && path.starts_with(prefix)
        {
            change(object);
        }
    }

    fn delete(&mut self, path: &str) -> (StatusCode, Value) {
        match self.objects.remove(path) {
            None => refuse(404, "NotFound"),
            Some(object) => {
                let mut object = self.stamp(object.clone(), Some(&object));
                object["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z".into();
                (StatusCode::OK, object)
            }
        }
    }
}

/// A token is its holder's name.
fn review(body: &Value) -> (StatusCode, Value) {
    let who = &body["spec"]["token"];
    let status = json!({"authenticated": true, "user": {"username": who}, "audiences": ["freehold-keys"]});
    let review = json!({
        "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "spec": {}, "status": status,
    });
    (StatusCode::CREATED, review)
}

/// RFC 7396.
fn merge(object: &mut Value, patch: &Value) {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    object.remove(key);
                } else {
                    merge(object.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (object, patch) => *object = patch.clone(),
    }
}

fn refuse(code: u16, reason: &str) -> (StatusCode, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason,
    });
    (StatusCode::from_u16(code).unwrap(), status)
}

/// `/api/v1/namespaces/NS/RESOURCE/NAME`, `/apis/GROUP/VERSION/…`, and both without a namespace.
fn read(method: &Method, path: &str) -> Asked {
    let verb = match *method {
        Method::GET => "get",
        Method::POST => "create",
        Method::PATCH => "patch",
        Method::PUT => "update",
        _ => "delete",
    };
    let mut parts = path.trim_start_matches('/').split('/');
    let group = if parts.next() == Some("api") {
        ""
    } else {
        parts.next().unwrap()
    };
    parts.next();
    let rest: Vec<&str> = parts.collect();
    let (namespace, rest) = match rest.as_slice() {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest.to_vec()),
        rest => ("", rest.to_vec()),
    };
    let resource = match rest.get(2) {
        Some(subresource) => format!("{}/{subresource}", rest[0]),
        None => rest[0].to_owned(),
    };
    let name = rest.get(1).unwrap_or(&"").to_string();
    Asked {
        verb,
        group: group.to_owned(),
        resource,
        namespace: namespace.to_owned(),
        name,
    }
}
