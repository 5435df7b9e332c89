//! A proxy before the lab's API server that injures the requests of one client: the operator on the host
//! ([`crate::operator`]). In: plain HTTP/1.1 on loopback. Out: TLS to the API server, with the token of the
//! client's own ServiceAccount, so that it has its own rights and no others. Reads and watches stream through.
//!
//! Invariant: writes pass one at a time and are numbered, so that "after write k" is a point in time. From the
//! moment at which the client is to be killed until it is dead, none of its requests reaches the API server.
//!
//! Not passed: upgrades (exec, port-forward), which an operator has no use for.

mod write;

use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base64::Engine;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri, server};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

pub use self::write::{Fault, Victim, Write};
use crate::lab::net::HOST_ADDRESS;
use crate::lab::{Lab, shell};

/// How long the client has an answer before it is killed for it: it has read it, and got no further, because
/// nothing that it asks for meanwhile is answered.
const READ: Duration = Duration::from_millis(25);

/// Says which writes are injured, and how.
type Rule = dyn Fn(&Write) -> Option<Fault> + Send + Sync;
type Body = BoxBody<Bytes, hyper::Error>;

/// The proxy; it ends when this is dropped.
pub struct FaultProxy {
    shared: Arc<Shared>,
    address: std::net::SocketAddr,
    _runtime: Runtime,
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultProxy({})", self.address)
    }
}

struct Shared {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    streaming: Client<HttpsConnector<HttpConnector>, Incoming>,
    server: Uri,
    token: HeaderValue,
    /// Held by the write that is under way.
    turn: tokio::sync::Mutex<()>,
    /// The client's lives are numbered from 1; connections belong to the life in which they were made.
    life: AtomicU64,
    /// The last life that is over, or about to be.
    condemned: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    writes: Vec<Write>,
    kills: usize,
    injury: Option<(Arc<dyn Victim>, Arc<Rule>)>,
    log: Option<File>,
}

/// What becomes of one request.
enum Answer {
    Given(Response<Body>),
    Reset,
    /// The client doesn't live to see it.
    Never,
}

impl FaultProxy {
    /// A proxy before the lab's API server for a ServiceAccount, logging its writes to `.lab/logs/fault-proxy.log`.
    pub fn start(lab: &Lab, namespace: &str, account: &str) -> Result<FaultProxy> {
        let duration = "--duration=2h";
        let token = crate::kube::kubectl(lab, &["-n", namespace, "create", "token", account, duration])?;
        let text = std::fs::read(lab.kubeconfig())?;
        let config: Value = serde_json::from_slice(&text).context("the kubeconfig is not the lab's")?;
        let cluster = &config["clusters"][0]["cluster"];
        let field = |name: &str| cluster[name].as_str().context("the kubeconfig is not the lab's");
        let authority =
            base64::engine::general_purpose::STANDARD.decode(field("certificate-authority-data")?)?;
        let log = shell::append(&lab.log("fault-proxy"))?;
        FaultProxy::before(
            field("server")?,
            &authority,
            token.trim(),
            Some(log),
            HOST_ADDRESS,
        )
    }

    fn before(
        server: &str,
        authority: &[u8],
        token: &str,
        log: Option<File>,
        listen: &str,
    ) -> Result<FaultProxy> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let connector = connector(authority)?;
        let mut token = HeaderValue::try_from(format!("Bearer {token}"))?;
        token.set_sensitive(true);
        let shared = Arc::new(Shared {
            client: Client::builder(TokioExecutor::new()).build(connector.clone()),
            streaming: Client::builder(TokioExecutor::new()).build(connector),
            server: server.parse()?,
            token,
            turn: tokio::sync::Mutex::default(),
            life: AtomicU64::new(1),
            condemned: AtomicU64::new(0),
            state: Mutex::new(State {
                log,
                ..State::default()
            }),
        });
        let listener = runtime.block_on(TcpListener::bind((listen, 0)))?;
        let address = listener.local_addr()?;
        runtime.spawn(accept(listener, shared.clone()));
        Ok(FaultProxy {
            shared,
            address,
            _runtime: runtime,
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, does to each write what `rule` says.
    pub fn injure(
        &self,
        victim: Arc<dyn Victim>,
        rule: impl Fn(&Write) -> Option<Fault> + Send + Sync + 'static,
    ) {
        self.shared.state().injury = Some((victim, Arc::new(rule)));
    }

    /// From now on, passes everything. A kill that is under way still ends with a start.
    pub fn heal(&self) {
        self.shared.state().injury = None;
    }

    /// All writes until now.
    pub fn writes(&self) -> Vec<Write> {
        self.shared.state().writes.clone()
    }

    /// How often the client was killed.
    pub fn kills(&self) -> usize {
        self.shared.state().kills
    }
}

/// TLS with the cluster's authority alone.
fn connector(authority: &[u8]) -> Result<HttpsConnector<HttpConnector>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build())
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let life = shared.life.load(Ordering::SeqCst);
        tokio::spawn(connection(stream, shared.clone(), life));
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, life: u64) {
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(Notify::new());
    let service = {
        let reset = reset.clone();
        service_fn(move |request| {
            let (shared, reset) = (shared.clone(), reset.clone());
            async move {
                match shared.answer(request, life).await {
                    Answer::Given(response) => return Ok::<_, Infallible>(response),
                    Answer::Reset => reset.notify_one(),
                    Answer::Never => {}
                }
                std::future::pending().await
            }
        })
    };
    let mut connection = server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = &mut connection => {}
        () = reset.notified() => {
            let stream = connection.into_parts().io.into_inner();
            // Closed like this, it is a reset and no orderly end.
            let _ = stream.set_zero_linger();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self, life: u64) -> bool {
        life <= self.condemned.load(Ordering::SeqCst)
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>, life: u64) -> Answer {
        if self.is_over(life) {
            return Answer::Never;
        }
        let (mut parts, body) = request.into_parts();
        let counted = write::is_counted(&parts);
        if let Err(error) = self.redirect(&mut parts) {
            return Answer::Given(failure(StatusCode::BAD_GATEWAY, None, &format!("{error:#}")));
        }
        if !counted {
            return Answer::Given(
                match self.streaming.request(Request::from_parts(parts, body)).await {
                    Ok(response) => response.map(BodyExt::boxed),
                    Err(error) => failure(StatusCode::BAD_GATEWAY, None, &error.to_string()),
                },
            );
        }
        let Ok(body) = body.collect().await else {
            return Answer::Never;
        };
        let request = Request::from_parts(parts, Full::new(body.to_bytes()));
        // In a task of its own: a client that goes away doesn't take back what it has sent.
        let done = tokio::spawn(self.write(request, life)).await;
        done.unwrap_or(Answer::Reset)
    }

    /// From the client's address for the API server to the real one, from no user to the ServiceAccount.
    fn redirect(&self, parts: &mut Parts) -> Result<()> {
        let mut uri = self.server.clone().into_parts();
        uri.path_and_query = parts.uri.path_and_query().cloned();
        parts.uri = Uri::from_parts(uri)?;
        parts.headers.remove(HOST);
        parts.headers.remove(CONNECTION);
        parts.headers.insert(AUTHORIZATION, self.token.clone());
        Ok(())
    }

    async fn write(self: Arc<Self>, request: Request<Full<Bytes>>, life: u64) -> Answer {
        let _turn = self.turn.lock().await;
        if self.is_over(life) {
            return Answer::Never;
        }
        let (number, fault, victim) = self.begin(&request);
        match fault {
            Some(Fault::Refuse { status, retry_after }) => {
                self.end(number, Some(status));
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return Answer::Given(failure(status, retry_after, "refused by the test"));
            }
            Some(Fault::Reset) => {
                self.end(number, None);
                return Answer::Reset;
            }
            Some(Fault::KillAfterAnswer | Fault::LoseAnswer) | None => {}
        }
        let answer = self.forward(request).await;
        self.end(
            number,
            answer.as_ref().ok().map(|answer| answer.status().as_u16()),
        );
        let answer =
            answer.unwrap_or_else(|error| failure(StatusCode::BAD_GATEWAY, None, &format!("{error:#}")));
        match (fault, victim) {
            (Some(Fault::KillAfterAnswer), Some(victim)) => {
                self.condemn(victim, life, READ);
                Answer::Given(answer)
            }
            (Some(Fault::LoseAnswer), Some(victim)) => {
                self.condemn(victim, life, Duration::ZERO);
                Answer::Never
            }
            _ => Answer::Given(answer),
        }
    }

    /// The whole answer of the API server.
    async fn forward(&self, request: Request<Full<Bytes>>) -> Result<Response<Body>> {
        let (parts, body) = self.client.request(request).await?.into_parts();
        let body = Full::new(body.collect().await?.to_bytes());
        Ok(Response::from_parts(
            parts,
            body.map_err(|never| match never {}).boxed(),
        ))
    }

    fn begin(&self, request: &Request<Full<Bytes>>) -> (usize, Option<Fault>, Option<Arc<dyn Victim>>) {
        let mut state = self.state();
        let mut write = Write {
            number: state.writes.len() + 1,
            verb: request.method().clone(),
            path: request.uri().path().to_owned(),
            at: Instant::now(),
            fault: None,
            status: None,
        };
        write.fault = state.injury.as_ref().and_then(|(_, rule)| rule(&write));
        let victim = state.injury.as_ref().map(|(victim, _)| victim.clone());
        let begun = (write.number, write.fault, victim);
        state.writes.push(write);
        begun
    }

    fn end(&self, number: usize, status: Option<u16>) {
        let mut state = self.state();
        let Some(write) = state.writes.get_mut(number - 1) else {
            return;
        };
        write.status = status;
        let line = write.to_string();
        if let Some(log) = &mut state.log {
            let _ = writeln!(log, "{line}");
        }
    }

    /// Ends this life of the client, once, and begins the next.
    fn condemn(self: &Arc<Self>, victim: Arc<dyn Victim>, life: u64, after: Duration) {
        if self.condemned.fetch_max(life, Ordering::SeqCst) >= life {
            return;
        }
        let shared = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let next = move || {
                victim.kill();
                shared.state().kills += 1;
                shared.life.store(life + 1, Ordering::SeqCst);
                if let Err(error) = victim.start() {
                    eprintln!("the operator could not be started again: {error:#}");
                }
            };
            let _ = tokio::task::spawn_blocking(next).await;
        });
    }
}

/// A refusal in the API server's form.
fn failure(status: StatusCode, retry_after: Option<u32>, message: &str) -> Response<Body> {
    let reason = match status.as_u16() {
        409 => "Conflict",
        429 => "TooManyRequests",
        500 => "InternalError",
        _ => "",
    };
    let told = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": status.as_u16(), "details": {"retryAfterSeconds": retry_after.unwrap_or(0)},
    });
    let body = Full::new(Bytes::from(told.to_string()));
    let mut response = Response::new(body.map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

#[cfg(test)]
mod tests;
