//! Ends: what the pods of a tenant trust and show, seen by connecting to each. Client and network required.
//!
//! In: the Services, the authorities. Out: facts for the plan. Invariants: it shows a certificate that the next authority has
//! issued, made for this look and kept nowhere, so that who takes it trusts that one; it sends nothing but a greeting, and logs in
//! nowhere; a pod that nobody listens in is none of the ends.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error as IoError, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use freehold_pki::Pair;
use freehold_plan::{End, EndService};
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::issue::Authorities;
use super::{MintError, certificate};

mod gateway;

/// Pods that are looked at at the same time.
const PARALLEL: usize = 16;
/// For one pod.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where a pod tells which roots its connections begin with.
const TELLS: &str = "/.well-known/freehold/tls";
/// Bytes of that.
const TOLD_MAX: usize = 64 * 1024;
/// PostgreSQL's request for TLS: length and code (its protocol, "SSL Session Encryption").
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// A start-up message of version 3.0 for a user of no account.
const STARTUP: &[u8] = b"\0\0\0\x17\0\x03\0\0user\0freehold\0\0";

/// What a pod tells.
#[derive(Deserialize)]
struct Told {
    roots: BTreeSet<String>,
}

/// Of one that runs, and goes on running.
fn address(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let runs = status.phase.as_deref() == Some("Running") && pod.metadata.deletion_timestamp.is_none();
    status.pod_ip.clone().filter(|_| runs)
}

fn troubled(trouble: String) -> End {
    End {
        trouble: Some(trouble),
        ..End::default()
    }
}

pub struct Looker {
    connector: TlsConnector,
    /// Every root that is to be trusted now.
    bundle: String,
    /// The fingerprint of the one that has issued what is shown.
    root: String,
}

impl Looker {
    pub fn of(authorities: &Authorities, now: Timestamp) -> Result<Self, MintError> {
        let issuer = authorities.next.as_ref().unwrap_or(&authorities.current);
        Self::new(issuer, authorities.bundle()?, now)
    }

    fn new(issuer: &Pair, bundle: String, now: Timestamp) -> Result<Self, MintError> {
        let shown = certificate::looker(issuer, now)?;
        let root = certificate::facts_of_root(issuer.certificate_pem.clone())?.fingerprint;
        let config = config(&shown, &bundle).ok_or(MintError::Unusable("the certificate for it"))?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            bundle,
            root,
        })
    }

    /// Looks at every pod behind the Services.
    pub async fn pods(
        &self,
        client: &Client,
        namespace: &str,
        services: &[EndService],
    ) -> Result<BTreeMap<String, End>, MintError> {
        let mut looks = Vec::new();
        for service in services {
            let params = ListParams::default().labels(&service.selector);
            let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
            let pods = pods.list(&params).await.map_err(|source| MintError::LookUp {
                what: "the pods, to see which roots they trust,",
                source: Box::new(source),
            })?;
            let addresses = pods
                .items
                .into_iter()
                .filter_map(|pod| Some((address(&pod)?, pod)));
            looks.extend(addresses.map(|(address, pod)| async move {
                Some((pod.name_any(), self.end(service, &address).await?))
            }));
        }
        let looks = futures::stream::iter(looks).buffer_unordered(PARALLEL);
        Ok(looks.filter_map(std::future::ready).collect().await)
    }

    /// Nothing when nobody listens there: whoever comes reads the files as they are then.
    async fn end(&self, service: &EndService, address: &str) -> Option<End> {
        match tokio::time::timeout(PATIENCE, self.look(service, address)).await {
            Ok(Ok(end)) => Some(end),
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => None,
            Ok(Err(error)) => Some(troubled(format!("can't be spoken to: {error}"))),
            Err(_) => Some(troubled(format!(
                "does not answer within {} s",
                PATIENCE.as_secs()
            ))),
        }
    }

    async fn look(&self, service: &EndService, address: &str) -> Result<End, IoError> {
        let mut stream = TcpStream::connect((address, service.port)).await?;
        if service.is_database {
            stream.write_all(&TLS_REQUEST).await?;
            if stream.read_u8().await? != b'S' {
                return Err(IoError::other("it speaks no TLS"));
            }
        }
        let host = ServerName::try_from(service.host.clone()).map_err(IoError::other)?;
        let stream = self.connector.connect(host, stream).await?;
        let shows = self.shown(&stream);
        let trusts = if service.is_database {
            self.greet(stream).await?
        } else {
            ask(stream, &service.host).await?
        };
        Ok(End {
            trusts,
            shows,
            trouble: None,
        })
    }

    /// Who has signed the other's certificate.
    fn shown(&self, stream: &TlsStream<TcpStream>) -> Option<String> {
        let (_, connection) = stream.get_ref();
        let certificate = freehold_pki::pem(connection.peer_certificates()?.first()?);
        freehold_pki::facts(&certificate, &self.bundle).ok()?.issuer
    }

    /// Whatever PostgreSQL answers, it has taken the certificate: with TLS 1.3 a refusal comes after the handshake.
    async fn greet(&self, mut stream: TlsStream<TcpStream>) -> Result<Option<BTreeSet<String>>, IoError> {
        stream.write_all(STARTUP).await?;
        stream.flush().await?;
        stream.read_u8().await?;
        Ok(Some([self.root.clone()].into()))
    }
}

/// What the pod tells of its roots, if it tells anything.
async fn ask(stream: TlsStream<TcpStream>, host: &str) -> Result<Option<BTreeSet<String>>, IoError> {
    let (status, body) = get(stream, host, TELLS).await?;
    let told = serde_json::from_slice::<Told>(&body).ok();
    Ok(told.filter(|_| status == StatusCode::OK).map(|told| told.roots))
}

/// One request, and the answer as a whole.
async fn get(stream: TlsStream<TcpStream>, host: &str, path: &str) -> Result<(StatusCode, Bytes), IoError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(IoError::other)?;
    let request = Request::get(path)
        .header(hyper::header::HOST, host)
        .body(Empty::<Bytes>::new())
        .map_err(IoError::other)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(IoError::other)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), TOLD_MAX).collect().await;
        Ok((status, body.map_err(IoError::other)?.to_bytes()))
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => match ended {
            Err(error) => Err(IoError::other(error)),
            Ok(()) => exchange.await,
        },
    }
}

fn config(shown: &Pair, bundle: &str) -> Option<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(root.ok()?).ok()?;
    }
    let chain = CertificateDer::pem_slice_iter(shown.certificate_pem.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().ok()?;
    let key = PrivateKeyDer::from_pem_slice(shown.key_pem.as_bytes()).ok()?;
    ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .ok()
}

#[cfg(test)]
mod tests;
