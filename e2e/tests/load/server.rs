//! A real HTTPS server on a free port of 127.0.0.1 that fails when it is told to.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener as Bound};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use freehold_pki::{AuthorityRequest, LeafRequest, Usage};
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub const HOST: &str = "acme.example";

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Something else than TLS.
    NoTls,
    /// The connection is reset once the request has come.
    Reset,
    /// Another status line.
    Answer(&'static str),
    /// A part of the answer.
    BreakOff,
    Late(Duration),
}

#[derive(Clone)]
pub struct Server {
    pub address: SocketAddr,
    /// PEM.
    pub roots: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    connections: Mutex<usize>,
    requests: Mutex<Vec<String>>,
    stored: Mutex<Vec<String>>,
    faults: Mutex<BTreeMap<String, Fault>>,
}

impl Server {
    /// `fault` says what becomes of a connection, counted from 1.
    pub async fn start(fault: impl Fn(usize) -> Option<Fault> + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (roots, config) = config();
        let server = Server {
            address: listener.local_addr().unwrap(),
            roots,
            shared: Arc::default(),
        };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let number = {
                    let mut connections = serving.shared.connections.lock().unwrap();
                    *connections += 1;
                    *connections
                };
                let (fault, acceptor) = (fault(number), TlsAcceptor::from(config.clone()));
                let serving = serving.clone();
                tokio::spawn(async move {
                    let _ = serving.serve(connection, acceptor, fault).await;
                });
            }
        });
        server
    }

    async fn serve(
        &self,
        mut connection: TcpStream,
        acceptor: TlsAcceptor,
        fault: Option<Fault>,
    ) -> std::io::Result<()> {
        if let Some(Fault::NoTls) = fault {
            return connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
        let mut stream = acceptor.accept(connection).await?;
        let request = read(&mut stream).await?;
        let title = title(&request);
        let fault = fault.or_else(|| {
            let faults = self.shared.faults.lock().unwrap();
            faults.get(title.as_ref()?).copied()
        });
        let is_card = title.is_some();
        if !matches!(fault, Some(Fault::Answer(_))) {
            self.shared.stored.lock().unwrap().extend(title);
        }
        self.shared.requests.lock().unwrap().push(request);
        let status = match fault {
            Some(Fault::Answer(status)) => status,
            _ if is_card => "201 Created",
            _ => "200 OK",
        };
        match fault {
            // Closed at once, and what was sent before is thrown away.
            Some(Fault::Reset) => return stream.get_ref().0.set_zero_linger(),
            Some(Fault::Late(by)) => tokio::time::sleep(by).await,
            _ => (),
        }
        let length = if matches!(fault, Some(Fault::BreakOff)) {
            9
        } else {
            4
        };
        let answer =
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\ntold");
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    }

    /// What becomes of the request that makes a card of this title.
    pub fn fault_of(&self, title: &str, fault: Fault) {
        let mut faults = self.shared.faults.lock().unwrap();
        faults.insert(title.to_owned(), fault);
    }

    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }

    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The cards' titles, sorted.
    pub fn stored(&self) -> Vec<String> {
        let mut stored = self.shared.stored.lock().unwrap().clone();
        stored.sort();
        stored
    }
}

/// A whole request: a head, and as much as it says.
async fn read(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(request).unwrap();
    let mut lines = head.lines();
    let length = lines.find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await?;
    Ok(head + &String::from_utf8(body).unwrap())
}

fn title(request: &str) -> Option<String> {
    let (_, body) = request.split_once("\r\n\r\n")?;
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    Some(body["title"].as_str()?.to_owned())
}

/// The root, and what shows a leaf of it.
fn config() -> (String, Arc<ServerConfig>) {
    let request = AuthorityRequest {
        common_name: "acme",
        permitted: &[HOST.to_owned()],
        lifetime_seconds: 24 * 3600,
    };
    let authority = freehold_pki::authority(&request, Timestamp::now()).unwrap();
    let request = LeafRequest {
        common_name: "edge",
        dns_names: &[HOST.to_owned()],
        usage: Usage::Server,
        lifetime_seconds: 3600,
    };
    let leaf = freehold_pki::leaf(&authority, &request, Timestamp::now()).unwrap();
    let certificate = CertificateDer::from_pem_slice(leaf.certificate_pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    (authority.certificate_pem, Arc::new(config))
}

/// Where nobody listens.
pub fn nobody() -> SocketAddr {
    Bound::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
