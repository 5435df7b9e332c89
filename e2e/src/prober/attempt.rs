//! One attempt: a new connection, a full handshake, one request. In: a lane with its credentials. Out: how far it got, how long
//! each step took, and whom the server showed. Nothing is tried twice.

use std::future::Future;
use std::io;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::NoTls;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use super::lane::{Ask, Target};

/// Where an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// The file with the credentials couldn't be read; the attempt was made with the ones before.
    Credentials,
    Connect,
    Handshake,
    Request,
}

/// What the server showed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leaf {
    /// SHA-256 of the DER, in hex.
    pub fingerprint: String,
    /// The identifier of the issuer's key, in hex.
    pub issuer: String,
}

/// How one attempt ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub leaf: Option<Leaf>,
    pub handshake: Option<Duration>,
    pub request: Option<Duration>,
    pub failure: Option<(Kind, String)>,
}

pub(crate) async fn attempt(target: &Target, limit: Duration) -> Ended {
    let deadline = Instant::now() + limit;
    let mut ended = Ended::default();
    if let Err((kind, error)) = steps(target, deadline, &mut ended).await {
        // An alert about our certificate comes with the first answer in TLS 1.3: no handshake for the server.
        let refused = kind == Kind::Request && is_alert(&error);
        if refused {
            ended.handshake = None;
        }
        let kind = if refused { Kind::Handshake } else { kind };
        ended.failure = Some((kind, format!("{error:#}")));
    }
    ended
}

async fn steps(
    target: &Target,
    deadline: Instant,
    ended: &mut Ended,
) -> std::result::Result<(), (Kind, anyhow::Error)> {
    let connect = async { Ok(TcpStream::connect(target.address).await?) };
    let connection = within(deadline, connect).await.map_err(|e| (Kind::Connect, e))?;

    let begin = Instant::now();
    let stream = within(deadline, handshake(target, connection))
        .await
        .map_err(|e| (Kind::Handshake, e))?;
    ended.handshake = Some(begin.elapsed());
    let shown = stream.get_ref().1.peer_certificates();
    ended.leaf = shown.and_then(|chain| chain.first()).map(leaf);

    let begin = Instant::now();
    within(deadline, request(target, stream))
        .await
        .map_err(|e| (Kind::Request, e))?;
    ended.request = Some(begin.elapsed());
    Ok(())
}

async fn within<T>(deadline: Instant, step: impl Future<Output = Result<T>>) -> Result<T> {
    timeout_at(deadline, step).await.context("no answer in time")?
}

async fn handshake(target: &Target, mut connection: TcpStream) -> Result<TlsStream<TcpStream>> {
    connection.set_nodelay(true)?;
    if let Ask::Postgres { .. } = *target.ask {
        // SSLRequest: its length, and a number in the place of a version.
        connection
            .write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])
            .await?;
        let word = connection.read_u8().await?;
        if word != b'S' {
            bail!("the server offers no TLS: {:?}", char::from(word));
        }
    }
    let connector = TlsConnector::from(target.client.clone());
    Ok(connector.connect(target.server_name.clone(), connection).await?)
}

async fn request(target: &Target, stream: TlsStream<TcpStream>) -> Result<()> {
    match &*target.ask {
        Ask::Http {
            method,
            path,
            headers,
            body,
            expected,
        } => {
            let mut request = Request::builder()
                .method(method.as_str())
                .uri(path)
                .header("host", &target.host)
                .header("connection", "close");
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if let Some(cookie) = &target.cookie {
                request = request.header("cookie", cookie);
            }
            http(stream, request.body(Full::from(body.clone()))?, *expected).await
        }
        Ask::Postgres { database } => {
            let login = target.login.as_ref().context("no login for the database")?;
            query(stream, database, login).await
        }
    }
}

/// The whole answer is read: one that breaks off is none.
async fn http(stream: TlsStream<TcpStream>, request: Request<Full<Bytes>>, expected: u16) -> Result<()> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let talk = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status.as_u16() != expected {
            let told: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            bail!("{status}: {told}");
        }
        Ok(())
    };
    drive(talk, async { Ok(connection.await?) }).await
}

async fn query(
    stream: TlsStream<TcpStream>,
    database: &str,
    (user, password): &(String, String),
) -> Result<()> {
    let mut config = tokio_postgres::Config::new();
    config.user(user).password(password).dbname(database);
    // It is encrypted already.
    config.ssl_mode(tokio_postgres::config::SslMode::Disable);
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    let talk = async {
        let row = client.query_one("select 1", &[]).await?;
        let one: i32 = row.try_get(0)?;
        if one != 1 {
            bail!("select 1 gave {one}");
        }
        Ok(())
    };
    drive(talk, async { Ok(connection.await?) }).await
}

/// Talks while the connection's own work goes on, which may end first: what it brought until then counts, however it ended.
async fn drive(
    talk: impl Future<Output = Result<()>>,
    connection: impl Future<Output = Result<()>>,
) -> Result<()> {
    tokio::pin!(talk);
    let mut connection = Box::pin(connection);
    let gone = tokio::select! {
        biased;
        told = &mut talk => return told,
        gone = &mut connection => gone,
    };
    // Else what waits for more of it would wait for ever.
    drop(connection);
    match (talk.await, gone) {
        (Err(told), Err(error)) => Err(error.context(format!("{told:#}"))),
        (told, _) => told,
    }
}

/// Whether the server ended the connection by an alert.
fn is_alert(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let of_io = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let of_tls = of_io.or_else(|| cause.downcast_ref::<rustls::Error>());
        matches!(of_tls, Some(rustls::Error::AlertReceived(_)))
    })
}

fn leaf(certificate: &CertificateDer<'_>) -> Leaf {
    Leaf {
        fingerprint: hex(&Sha256::digest(certificate)),
        issuer: issuer(certificate).unwrap_or_default(),
    }
}

fn issuer(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut known = parsed
        .iter_extensions()
        .map(|extension| extension.parsed_extension());
    known.find_map(|extension| match extension {
        ParsedExtension::AuthorityKeyIdentifier(of) => of.key_identifier.as_ref().map(|id| hex(id.0)),
        _ => None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
