//! As much of an API server as the key service asks for: Secrets and ConfigMaps with resource versions, and reviews of
//! tokens. It answers as the real one does, which the lab's stories hold it to.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// A token that is known.
#[derive(Clone, Debug)]
pub struct Token {
    pub username: String,
    pub audience: String,
    pub expired: bool,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    tokens: BTreeMap<String, Token>,
    reviews: usize,
    is_down: bool,
    ignores_audiences: bool,
}

/// Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Api(Arc<Mutex<State>>);

#[allow(dead_code, reason = "each test binary uses what it needs")]
impl Api {
    pub fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let (code, answer) = api.answer(&parts.method, &parts.uri, body);
                let answer = Full::new(Bytes::from(answer.to_string()));
                Ok::<_, Infallible>(
                    Response::builder()
                        .status(code)
                        .header("content-type", "application/json")
                        .body(answer)
                        .unwrap(),
                )
            }
        });
        Client::new(service, "default")
    }

    pub fn know(&self, token: &str, known: Token) {
        self.0.lock().unwrap().tokens.insert(token.to_owned(), known);
    }

    pub fn forget(&self, token: &str) {
        self.0.lock().unwrap().tokens.remove(token);
    }

    /// How many tokens were reviewed.
    pub fn reviews(&self) -> usize {
        self.0.lock().unwrap().reviews
    }

    pub fn set_down(&self, is_down: bool) {
        self.0.lock().unwrap().is_down = is_down;
    }

    /// As API servers do whose authenticator knows no audiences: they vouch for the token, and name none.
    pub fn ignore_audiences(&self) {
        self.0.lock().unwrap().ignores_audiences = true;
    }

    pub fn object(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// Changes an object as somebody else would.
    pub fn tamper(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.0.lock().unwrap();
        state.version += 1;
        let version = state.version.to_string();
        let object = state.objects.get_mut(path).unwrap();
        change(object);
        object["metadata"]["resourceVersion"] = json!(version);
    }

    pub fn remove(&self, path: &str) {
        self.0.lock().unwrap().objects.remove(path);
    }

    fn answer(&self, method: &Method, uri: &http::Uri, body: Value) -> (StatusCode, Value) {
        let mut state = self.0.lock().unwrap();
        if state.is_down {
            return refused(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
        }
        let path = uri.path();
        if path == "/apis/authentication.k8s.io/v1/tokenreviews" {
            state.reviews += 1;
            return (StatusCode::CREATED, state.review(body));
        }
        match *method {
            Method::POST => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
                match state.objects.contains_key(&path) {
                    true => refused(StatusCode::CONFLICT, "AlreadyExists"),
                    false => (StatusCode::CREATED, state.store(&path, body)),
                }
            }
            Method::PUT => match state.objects.get(path) {
                None => refused(StatusCode::NOT_FOUND, "NotFound"),
                Some(there)
                    if there["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] =>
                {
                    refused(StatusCode::CONFLICT, "Conflict")
                }
                Some(_) => (StatusCode::OK, state.store(path, body)),
            },
            Method::GET if path.ends_with("/secrets") => (StatusCode::OK, state.list(path, uri.query())),
            Method::GET => match state.objects.get(path) {
                None => refused(StatusCode::NOT_FOUND, "NotFound"),
                Some(object) => (StatusCode::OK, object.clone()),
            },
            _ => refused(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }
}

impl State {
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn list(&self, path: &str, query: Option<&str>) -> Value {
        let wanted = query.unwrap_or_default().split('&').find_map(|part| {
            part.strip_prefix("fieldSelector=type%3D")
                .map(|kind| kind.replace("%2F", "/"))
        });
        let listed = |(at, object): (&String, &Value)| {
            let is_there = at.starts_with(&format!("{path}/"));
            let is_wanted = wanted.as_ref().is_none_or(|kind| object["type"] == kind.as_str());
            (is_there && is_wanted).then(|| json!({ "metadata": object["metadata"] }))
        };
        let items: Vec<Value> = self.objects.iter().filter_map(listed).collect();
        json!({ "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items })
    }

    fn review(&self, mut review: Value) -> Value {
        let token = review["spec"]["token"].as_str().unwrap_or_default();
        let asked = &review["spec"]["audiences"];
        review["status"] = match self.tokens.get(token) {
            Some(known) if known.expired => {
                json!({ "user": {}, "error": "[invalid bearer token, service account token has expired]" })
            }
            Some(known) if self.ignores_audiences => json!({
                "authenticated": true,
                "user": { "username": known.username },
            }),
            Some(known) if asked.as_array().unwrap().contains(&json!(known.audience)) => json!({
                "authenticated": true,
                "user": { "username": known.username, "groups": ["system:serviceaccounts"] },
                "audiences": [known.audience],
            }),
            _ => json!({ "user": {}, "error": "[invalid bearer token, token audiences are not fit]" }),
        };
        review
    }
}

fn refused(code: StatusCode, reason: &str) -> (StatusCode, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code.as_u16(),
    });
    (code, status)
}
