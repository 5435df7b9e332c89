//! `freehold show`: a server that answers every request with the certificate that it shows. No client, and nothing is written.
//!
//! It stands behind a tenant's gateway while an authority follows another: who passes a request on to it trusts the authority that
//! has issued its certificate.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite::TLS13_AES_256_GCM_SHA384, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// For a handshake, and for a request.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is shown, and where.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The port on which it answers.
    #[arg(long)]
    pub port: u16,
    /// The folder with `tls.crt` and `tls.key`. They are read once.
    #[arg(long)]
    pub tls: PathBuf,
}

/// Serves until it is ended.
pub fn main(args: &ShowArgs) -> anyhow::Result<()> {
    let read = |name: &str| {
        let path = args.tls.join(name);
        std::fs::read(&path).with_context(|| format!("read {}", path.display()))
    };
    let (certificate, key) = (read("tls.crt")?, read("tls.key")?);
    let acceptor = TlsAcceptor::from(Arc::new(config(&certificate, &key)?));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, args.port))
            .await
            .with_context(|| format!("listen on port {}", args.port))?;
        serve(listener, acceptor, certificate.into()).await;
        Ok(())
    })
}

fn config(certificate: &[u8], key: &[u8]) -> anyhow::Result<ServerConfig> {
    let provider = CryptoProvider {
        cipher_suites: vec![TLS13_AES_256_GCM_SHA384],
        ..default_provider()
    };
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>()?;
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?;
    Ok(config)
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, certificate: Bytes) {
    loop {
        // Out of file descriptors, at the worst: it gets better when connections end.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        tokio::spawn(answer(stream, acceptor.clone(), certificate.clone()));
    }
}

async fn answer(stream: TcpStream, acceptor: TlsAcceptor, certificate: Bytes) {
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await else {
        return;
    };
    let respond = service_fn(move |_: Request<hyper::body::Incoming>| {
        let body = Full::new(certificate.clone());
        async move { Ok::<_, std::convert::Infallible>(Response::new(body)) }
    });
    // Who goes away in the middle has what they wanted.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), respond)
        .await;
}
