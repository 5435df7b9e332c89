//! In: a PEM file with the roots that the database server's certificate may end at. Out: a TLS connector for
//! tokio-postgres with the meaning of `sslmode=verify-full`: the chain ends at one of them and the certificate names the
//! host.
//!
//! The file is read for each connection, so that a new root is taken up without a restart.

use crate::tls::{
    bundle::{self, BundleError},
    suites,
};
use rustls::pki_types::ServerName;
use std::{
    fs, io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    Socket,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_rustls::TlsConnector;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("reading the database's CA {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("the database's CA {path}: {source}")]
    Authority { path: PathBuf, source: BundleError },
    #[error("TLS set-up: {0}")]
    SetUp(#[from] rustls::Error),
}

#[derive(Clone)]
pub struct VerifyFull(TlsConnector);

impl VerifyFull {
    pub fn against(path: &Path) -> Result<Self, TlsError> {
        let text = fs::read(path).map_err(|source| TlsError::File {
            path: path.into(),
            source,
        })?;
        let bundle = bundle::parse(&text).map_err(|source| TlsError::Authority {
            path: path.into(),
            source,
        })?;
        let config = rustls::ClientConfig::builder_with_provider(suites::provider())
            .with_protocol_versions(suites::VERSIONS)?
            .with_root_certificates(bundle.roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

impl MakeTlsConnect<Socket> for VerifyFull {
    type Stream = Encrypted;
    type TlsConnect = ForHost;
    type Error = rustls::pki_types::InvalidDnsNameError;

    fn make_tls_connect(&mut self, host: &str) -> Result<ForHost, Self::Error> {
        Ok(ForHost {
            connector: self.0.clone(),
            host: ServerName::try_from(host.to_owned())?,
        })
    }
}

pub struct ForHost {
    connector: TlsConnector,
    host: ServerName<'static>,
}

impl TlsConnect<Socket> for ForHost {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            self.connector
                .connect(self.host, socket)
                .await
                .map(|s| Encrypted(Box::new(s)))
        })
    }
}

pub struct Encrypted(Box<tokio_rustls::client::TlsStream<Socket>>);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
