//! Callers that don't use the client: what the server itself refuses.

use std::sync::Arc;

use freehold_keys::MESSAGE_MAX;
use hyper_util::rt::TokioIo;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedCipherSuite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::running::Running;

/// The first field of every request but Health's is the key.
#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(string, tag = "1")]
    key: String,
}

async fn connect(
    service: &Running,
    suites: Vec<SupportedCipherSuite>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(service.authority().as_bytes()).unwrap())
        .unwrap();
    let provider = CryptoProvider {
        cipher_suites: suites,
        ..aws_lc_rs::default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(service.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[tokio::test]
async fn only_tls_1_3_with_aes_256_is_spoken() {
    let service = Running::start().await;
    let all = aws_lc_rs::default_provider().cipher_suites;
    let strong = cipher_suite::TLS13_AES_256_GCM_SHA384;
    connect(&service, vec![strong], &[&rustls::version::TLS13])
        .await
        .unwrap();
    for suite in all {
        if suite.suite() == strong.suite() {
            continue;
        }
        let version = if suite.tls13().is_some() {
            &rustls::version::TLS13
        } else {
            &rustls::version::TLS12
        };
        let refused = connect(&service, vec![suite], &[version]).await;
        assert!(refused.is_err(), "{suite:?}");
    }
}

async fn call(service: &Running, path: &str, token: Option<&str>, key: String) -> Status {
    let strong = vec![cipher_suite::TLS13_AES_256_GCM_SHA384];
    let stream = connect(service, strong, &[&rustls::version::TLS13])
        .await
        .unwrap();
    let mut stream = Some(stream);
    let connector = tower::service_fn(move |_| {
        let stream = stream.take().map(TokioIo::new);
        async move {
            stream
                .ok_or(std::io::ErrorKind::NotConnected)
                .map_err(std::io::Error::from)
        }
    });
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
        .unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let mut request = Request::new(Message { key });
    if let Some(token) = token {
        request
            .metadata_mut()
            .insert("authorization", token.parse().unwrap());
    }
    let codec = ProstCodec::<Message, Message>::default();
    let path = format!("/freehold.keys.v1.Keys/{path}").parse().unwrap();
    grpc.unary(request, path, codec).await.unwrap_err()
}

const EVERY: [&str; 8] = [
    "Health", "Create", "Rotate", "Versions", "Generate", "Rewrap", "Destroy", "Unwrap",
];

#[tokio::test]
async fn no_call_is_answered_without_a_bearer_token() {
    let service = Running::start().await;
    for path in EVERY {
        for token in [
            None,
            Some("of-the-operator"),
            Some("Basic of-the-operator"),
            Some("Bearer "),
        ] {
            let status = call(&service, path, token, "acme".into()).await;
            assert_eq!(
                status.code(),
                Code::Unauthenticated,
                "{path}, {token:?}: {status}"
            );
        }
    }
    assert_eq!(service.api.reviews(), 0);
}

#[tokio::test]
async fn a_message_that_is_too_long_is_not_read() {
    let service = Running::start().await;
    let token = Some("Bearer of-the-operator");
    let status = call(&service, "Create", token, "x".repeat(MESSAGE_MAX)).await;
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    // One that is just short enough is read, and wrong.
    let status = call(&service, "Create", token, "x".repeat(MESSAGE_MAX - 16)).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().len() < 1000);
}

#[tokio::test]
async fn half_a_request_is_told_as_wrong() {
    let service = Running::start().await;
    service.operator().create(&"acme".parse().unwrap()).await.unwrap();
    let operator = Some("Bearer of-the-operator");
    for path in ["Generate", "Rewrap", "Destroy"] {
        let status = call(&service, path, operator, "acme".into()).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{path}: {status}");
    }
    let status = call(&service, "Unwrap", Some("Bearer of-the-driver"), "acme".into()).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    for key in ["", "A", "../root", "root key"] {
        let status = call(&service, "Create", operator, key.into()).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{key}: {status}");
    }
}
