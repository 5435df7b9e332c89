//! The gateway, asked from outside for what only a server answers that the next authority vouches for. Network required.
//!
//! Invariant: what the gateway shows itself is not judged, for an issuer of the platform may have made it whom the operator doesn't
//! know. So nothing is sent but a path, and only an answer counts that proves itself: a certificate which the next authority has issued.

use std::io::Error as IoError;
use std::sync::Arc;

use freehold_plan::{End, EndGateway};
use hyper::StatusCode;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Looker, PATIENCE, get, troubled};

/// A gateway may have several pods, and each connection may come to another.
const TIMES: usize = 8;

impl Looker {
    /// Nothing where the gateway can't be reached from here: then it can't be asked.
    pub async fn gateway(&self, gateway: &EndGateway) -> Option<End> {
        let builder = ClientConfig::builder();
        let anybody = Anybody(builder.crypto_provider().clone());
        let config = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(anybody))
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        for _ in 0..TIMES {
            let stream = timeout(PATIENCE, connect(&connector, gateway)).await.ok()?.ok()?;
            let path = &gateway.path;
            let trouble = match timeout(PATIENCE, get(stream, &gateway.hostname, path)).await {
                Ok(Ok((StatusCode::OK, body))) if self.is_vouched_for(&body) => continue,
                Ok(Ok((StatusCode::OK, _))) => {
                    format!("does not send {path} to the server that proves it yet")
                }
                Ok(Ok((status, _))) => format!("answers {status} for a server that the new root vouches for"),
                Ok(Err(error)) => format!("can't be asked: {error}"),
                Err(_) => format!("does not answer within {} s", PATIENCE.as_secs()),
            };
            return Some(troubled(trouble));
        }
        Some(End {
            trusts: Some([self.root.clone()].into()),
            ..End::default()
        })
    }

    /// Whether it is a certificate that the next authority has issued.
    fn is_vouched_for(&self, body: &[u8]) -> bool {
        let certificate = String::from_utf8_lossy(body);
        let facts = freehold_pki::facts(&certificate, &self.bundle);
        facts.is_ok_and(|facts| facts.issuer.as_ref() == Some(&self.root))
    }
}

async fn connect(connector: &TlsConnector, gateway: &EndGateway) -> Result<TlsStream<TcpStream>, IoError> {
    let stream = TcpStream::connect((gateway.address.as_str(), gateway.port)).await?;
    let name = ServerName::try_from(gateway.hostname.clone()).map_err(IoError::other)?;
    connector.connect(name, stream).await
}

/// Takes whatever is shown, as long as its key is there.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
