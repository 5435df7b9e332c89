//! A real HTTPS server on a free port of 127.0.0.1. It offers tickets, and counts how each handshake was made.

use std::net::{SocketAddr, TcpListener as Bound};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use freehold_pki::Pair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

#[derive(Clone)]
pub struct Server {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    config: Mutex<Arc<ServerConfig>>,
    status: u16,
    wait: Mutex<Duration>,
    connections: AtomicUsize,
    handshakes: Mutex<Vec<HandshakeKind>>,
}

impl Server {
    /// With `clients`, only those are let in that it vouches for.
    pub async fn start(shown: &Pair, clients: Option<&Pair>, status: u16) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::new(Shared {
            config: Mutex::new(config(shown, clients)),
            status,
            wait: Mutex::default(),
            connections: AtomicUsize::new(0),
            handshakes: Mutex::default(),
        });
        let server = Server {
            address: listener.local_addr().unwrap(),
            shared,
        };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move {
                    let _ = serving.answer(connection).await;
                    serving.shared.connections.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    async fn answer(&self, connection: TcpStream) -> std::io::Result<()> {
        let config = self.shared.config.lock().unwrap().clone();
        let mut stream = TlsAcceptor::from(config).accept(connection).await?;
        let kind = stream.get_ref().1.handshake_kind().unwrap();
        self.shared.handshakes.lock().unwrap().push(kind);
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await?);
        }
        let wait = *self.shared.wait.lock().unwrap();
        tokio::time::sleep(wait).await;
        let status = self.shared.status;
        let answer = format!("HTTP/1.1 {status} Told\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    }

    /// Shows another certificate from the next connection on.
    pub fn show(&self, shown: &Pair, clients: Option<&Pair>) {
        *self.shared.config.lock().unwrap() = config(shown, clients);
    }

    pub fn wait_before_answers(&self, wait: Duration) {
        *self.shared.wait.lock().unwrap() = wait;
    }

    /// Those that are over.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub fn handshakes(&self) -> Vec<HandshakeKind> {
        self.shared.handshakes.lock().unwrap().clone()
    }
}

fn config(shown: &Pair, clients: Option<&Pair>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(der(authority)).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::from_pem_slice(shown.key_pem.as_bytes()).unwrap();
    Arc::new(builder.with_single_cert(vec![der(shown)], key).unwrap())
}

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.certificate_pem.as_bytes()).unwrap()
}

/// SHA-256 of the DER, in hex.
pub fn fingerprint(pair: &Pair) -> String {
    let digest = Sha256::digest(der(pair));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn free_port() -> u16 {
    Bound::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
