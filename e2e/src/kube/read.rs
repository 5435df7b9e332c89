//! `kubectl get … -o json` without a process for each: stories ask ten times a second, and a process costs a seventh of a
//! processor's second. In: its arguments. Out: what it prints. Arguments that this doesn't know are left to kubectl.
//!
//! Invariant: what comes out is what kubectl would have printed, errors of the API server with its words.

use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use ::kube::Client;
use ::kube::api::{GetParams, ListParams};
use ::kube::config::{Config, KubeConfigOptions, Kubeconfig};
use ::kube::core::{ApiResource, DynamicObject, Request, Resource};
use ::kube::discovery::{Discovery, Scope};
use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::lab::Lab;

/// What `kubectl get` is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    kinds: Vec<String>,
    name: Option<String>,
    /// Of all of them when there is none.
    namespace: Option<String>,
    labels: Option<String>,
    fields: Option<String>,
}

impl Question {
    pub fn of(args: &[&str]) -> Option<Question> {
        let mut words = Vec::new();
        let (mut namespace, mut labels, mut fields) = (Some("default".to_owned()), None, None);
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match *arg {
                "-n" => namespace = Some((*args.next()?).to_owned()),
                "-A" => namespace = None,
                "-l" => labels = Some((*args.next()?).to_owned()),
                other => match other.strip_prefix("--field-selector=") {
                    Some(selector) => fields = Some(selector.to_owned()),
                    None if other.starts_with('-') || other.contains('/') => return None,
                    None => words.push(other),
                },
            }
        }
        let (kinds, name) = match words.as_slice() {
            [kinds] => (kinds, None),
            [kind, name] => (kind, Some((*name).to_owned())),
            _ => return None,
        };
        Some(Question {
            kinds: kinds.split(',').map(String::from).collect(),
            name,
            namespace,
            labels,
            fields,
        })
    }
}

/// The API server, and the kinds that it serves.
struct Server {
    client: Client,
    kinds: Vec<(ApiResource, Scope)>,
}

/// The server that a kubeconfig leads to. Another lab has another one.
static SERVER: Mutex<Option<(String, Arc<Server>)>> = Mutex::new(None);

/// How long the API server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where questions wait for their answers; made with the first.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(made) = RUNTIME.get() {
        return Ok(made);
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let made = builder.worker_threads(1).enable_all().build()?;
    // Somebody else's, when they were first.
    Ok(RUNTIME.get_or_init(|| made))
}

/// From any thread, one of another runtime too.
fn wait<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let (told, heard) = mpsc::channel();
    runtime()?.spawn(async move {
        let _ = told.send(work.await);
    });
    heard.recv().context("the question was dropped")?
}

/// Asks once more after a connection that broke, and for kinds that came since.
pub fn get(lab: &Lab, question: Question) -> Result<Value> {
    let text = std::fs::read_to_string(lab.kubeconfig()).context("read the kubeconfig; is the lab up?")?;
    let question = Arc::new(question);
    let known = || SERVER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let cached = known().clone().filter(|(of, _)| *of == text);
    if let Some((_, server)) = cached {
        let question = question.clone();
        match wait(async move { server.answer(&question).await }) {
            Err(error) if error.is::<FromServer>() => return Err(error),
            Err(_) => {}
            answer => return answer,
        }
    }
    let config = text.clone();
    let server = Arc::new(wait(async move { Server::find(&config).await })?);
    *known() = Some((text, server.clone()));
    wait(async move { server.answer(&question).await })
}

/// What the API server itself says to a question.
#[derive(Debug)]
struct FromServer(String);

impl std::fmt::Display for FromServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FromServer {}

impl Server {
    async fn find(kubeconfig: &str) -> Result<Server> {
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(Kubeconfig::from_yaml(kubeconfig)?, &options).await?;
        config.connect_timeout = Some(PATIENCE);
        config.read_timeout = Some(PATIENCE);
        let client = Client::try_from(config)?;
        let found = Discovery::new(client.clone()).run_aggregated().await?;
        // The core first, as kubectl has it.
        let groups = found.groups_alphabetical().into_iter();
        let kinds = groups.flat_map(|group| group.recommended_resources());
        let kinds = kinds.map(|(kind, can)| (kind, can.scope)).collect();
        Ok(Server { client, kinds })
    }

    /// By plural, singular or short name, with or without its group.
    fn kind(&self, word: &str) -> Result<&(ApiResource, Scope)> {
        let (name, group) = word.split_once('.').unwrap_or((word, ""));
        let name = match name {
            "pvc" => "persistentvolumeclaims",
            "pv" => "persistentvolumes",
            name => name,
        };
        let is = |kind: &ApiResource| {
            (kind.plural == name || kind.kind.eq_ignore_ascii_case(name))
                && (group.is_empty() || kind.group == group)
        };
        let found = self.kinds.iter().find(|(kind, _)| is(kind));
        found.ok_or_else(|| anyhow!("error: the server doesn't have a resource type {word:?}"))
    }

    async fn answer(&self, question: &Question) -> Result<Value> {
        let mut all = Vec::new();
        for word in &question.kinds {
            let (kind, scope) = self.kind(word)?;
            let namespace = question.namespace.as_deref();
            let namespace = namespace.filter(|_| *scope == Scope::Namespaced);
            let request = Request::new(DynamicObject::url_path(kind, namespace));
            if let Some(name) = &question.name {
                return self.ask(request.get(name, &GetParams::default())).await.map(bare);
            }
            let mut which = ListParams::default();
            which.label_selector.clone_from(&question.labels);
            which.field_selector.clone_from(&question.fields);
            let mut list = self.ask(request.list(&which)).await?;
            for item in list["items"].as_array_mut().into_iter().flatten() {
                let mut item = bare(item.take());
                // Items of a list don't say what they are.
                item["apiVersion"] = json!(kind.api_version);
                item["kind"] = json!(kind.kind);
                all.push(item);
            }
        }
        Ok(json!({"apiVersion": "v1", "kind": "List", "items": all}))
    }

    async fn ask<E>(&self, request: Result<http::Request<Vec<u8>>, E>) -> Result<Value>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        match self.client.request(request?).await {
            Err(::kube::Error::Api(status)) => Err(FromServer(format!(
                "Error from server ({}): {}",
                status.reason, status.message
            ))
            .into()),
            answer => Ok(answer?),
        }
    }
}

/// Without what kubectl doesn't show unless it is asked to.
fn bare(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_understood_or_left_to_kubectl() {
        let question = Question::of(&["-n", "shop", "pods,jobs", "-l", "a=b"]).unwrap();
        assert_eq!(question.kinds, ["pods", "jobs"]);
        assert_eq!(question.namespace.as_deref(), Some("shop"));
        assert_eq!(question.labels.as_deref(), Some("a=b"));
        let question = Question::of(&["tenant", "acme"]).unwrap();
        assert_eq!(question.name.as_deref(), Some("acme"));
        assert_eq!(Question::of(&["-A", "events"]).unwrap().namespace, None);
        for other in [
            &["tenant", "acme", "--ignore-not-found"][..],
            &["tenant/acme"],
            &["tenant", "acme", "globex"],
            &["-n"],
        ] {
            assert_eq!(Question::of(other), None, "{other:?}");
        }
    }
}
