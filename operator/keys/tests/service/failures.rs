//! What lies between fails: the caller hears Unavailable, and in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use freehold_keys::client::{Client, Settings, Source};
use freehold_keys::local::{Local, Memory};
use freehold_keys::tls::Identity;
use freehold_keys::{
    Context, DataKey, Destroyed, Destroying, Health, KeyError, KeyName, Provider, Version, Wrapped,
};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::api::Api;
use crate::running::{AUTHORITY, Running, context, keeper, key};

/// Long enough for a busy machine, short enough to wait for.
const PATIENCE: Duration = Duration::from_millis(700);

async fn unavailable(client: &Client) -> String {
    let started = Instant::now();
    let answer = client.versions(&key("acme")).await;
    assert!(started.elapsed() < PATIENCE * 6, "{:?}", started.elapsed());
    match answer {
        Err(KeyError::Unavailable(about)) => about,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_asked() {
    let service = Running::start().await;
    let other = Api::default();
    keeper(&other).look(Timestamp::now()).await.unwrap();
    let other = other.object(AUTHORITY).unwrap()["data"]["ca.crt"]
        .as_str()
        .unwrap()
        .to_owned();
    for authority in [other, String::new(), "nothing".into()] {
        let mut settings = service.settings("of-the-operator");
        settings.authority = Source::Text(authority);
        let about = unavailable(&Client::new(settings).unwrap()).await;
        assert!(
            about.contains("ertificate") || about.contains("UnknownIssuer"),
            "{about}"
        );
    }
    assert_eq!(service.api.reviews(), 0, "the token was sent");
}

#[tokio::test]
async fn a_server_with_another_name_is_not_asked() {
    let service = Running::start().await;
    let mut settings = service.settings("of-the-operator");
    settings.endpoint = "https://freehold-keys.freehold-keys.svc:8443".into();
    settings.address = Some(service.address.to_string());
    let about = unavailable(&Client::new(settings).unwrap()).await;
    assert!(about.contains("not valid for"), "{about}");
    assert_eq!(service.api.reviews(), 0, "the token was sent");
}

#[tokio::test]
async fn an_endpoint_that_is_none_is_invalid() {
    for endpoint in [
        "http://localhost:1",
        "localhost:1",
        "https://localhost",
        "https://:1",
        "https://a b:1",
        "",
    ] {
        let settings = Settings::new(endpoint, Source::Text(String::new()), Source::Text(String::new()));
        let error = Client::new(settings).unwrap_err();
        assert!(matches!(error, KeyError::Invalid(_)), "{endpoint}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again() {
    let provider: Arc<dyn Provider> = Arc::new(Local::new(Memory::default()));
    let service = Running::start_with(provider.clone()).await;
    let (client, address, api) = (service.operator(), service.address, service.api.clone());
    client.create(&key("acme")).await.unwrap();
    service.stop().await;
    unavailable(&client).await;
    let _service = Running::start_at(address, api, provider).await;
    assert_eq!(client.versions(&key("acme")).await.unwrap().len(), 1);
}

/// A server that shakes hands, and then does something else than answering.
async fn misbehaving<F, D>(behave: F) -> Client
where
    F: Fn(TlsStream<TcpStream>) -> D + Send + Sync + 'static,
    D: Future<Output = ()> + Send + 'static,
{
    let api = Api::default();
    let leaf = keeper(&api).look(Timestamp::now()).await.unwrap();
    let identity = Identity::new(&leaf).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = TlsAcceptor::from(identity.current())
                .accept(stream)
                .await
                .unwrap();
            tokio::spawn(behave(stream));
        }
    });
    let authority = api.object(AUTHORITY).unwrap()["data"]["ca.crt"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut settings = Settings::new(
        &format!("https://localhost:{port}"),
        Source::Text(authority),
        Source::Text("token".into()),
    );
    settings.patience = PATIENCE;
    Client::new(settings).unwrap()
}

/// HTTP/2 frames: length, type, flags, stream, payload.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const DATA: u8 = 0;

/// `:status: 200`, `content-type: application/grpc`, without Huffman coding.
fn grpc_headers() -> Vec<u8> {
    let mut block = vec![0x88, 0x0f, 0x10, 16];
    block.extend_from_slice(b"application/grpc");
    block
}

#[tokio::test]
async fn a_server_that_hangs_up_is_unavailable() {
    let at_once = misbehaving(|stream| async move { drop(stream) }).await;
    unavailable(&at_once).await;
    let after_the_request = misbehaving(|mut stream| async move {
        let mut bytes = [0; 1024];
        let _ = stream.write_all(&frame(SETTINGS, 0, 0, &[])).await;
        let _ = stream.read(&mut bytes).await;
        let _ = stream.read(&mut bytes).await;
    })
    .await;
    unavailable(&after_the_request).await;
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_unavailable() {
    let cut = misbehaving(|mut stream| async move {
        let mut bytes = [0; 4096];
        let _ = stream.write_all(&frame(SETTINGS, 0, 0, &[])).await;
        let _ = stream.write_all(&frame(SETTINGS, 1, 0, &[])).await;
        let _ = stream.read(&mut bytes).await;
        let _ = stream.write_all(&frame(HEADERS, 4, 1, &grpc_headers())).await;
        // A message of 200 bytes is announced; three come.
        let _ = stream
            .write_all(&frame(DATA, 0, 1, &[0, 0, 0, 0, 200, 10, 1, 1]))
            .await;
        let _ = stream.shutdown().await;
    })
    .await;
    unavailable(&cut).await;
    let garbage = misbehaving(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let _ = stream.read(&mut [0; 1024]).await;
    })
    .await;
    unavailable(&garbage).await;
}

#[tokio::test]
async fn a_server_that_says_nothing_is_unavailable_in_time() {
    let silent = misbehaving(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    unavailable(&silent).await;
    // One that does not even shake hands.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let mut settings = Settings::new(
        &endpoint,
        Source::Text(String::new()),
        Source::Text("token".into()),
    );
    settings.patience = PATIENCE;
    settings.authority = Source::Text(Running::start().await.authority());
    unavailable(&Client::new(settings).unwrap()).await;
}

/// An HSM that hangs.
#[derive(Debug)]
struct Hung;

#[async_trait]
impl Provider for Hung {
    async fn create(&self, _: &KeyName) -> Result<Version, KeyError> {
        std::future::pending().await
    }

    async fn wrap(&self, _: &KeyName, _: &Context, _: &DataKey) -> Result<Wrapped, KeyError> {
        std::future::pending().await
    }

    async fn unwrap(&self, _: &KeyName, _: &Context, _: &Wrapped) -> Result<DataKey, KeyError> {
        std::future::pending().await
    }

    async fn rotate(&self, _: &KeyName, _: u32) -> Result<Version, KeyError> {
        std::future::pending().await
    }

    async fn versions(&self, _: &KeyName) -> Result<Vec<Version>, KeyError> {
        std::future::pending().await
    }

    async fn destroy(&self, _: &KeyName, _: Destroying) -> Result<Destroyed, KeyError> {
        std::future::pending().await
    }

    async fn health(&self) -> Result<Health, KeyError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_provider_that_hangs_is_unavailable_in_time_for_patient_callers_too() {
    let service = Running::start_with(Arc::new(Hung)).await;
    let mut settings = service.settings("of-the-operator");
    settings.patience = PATIENCE;
    unavailable(&Client::new(settings).unwrap()).await;
    let started = Instant::now();
    let wrapped = Wrapped {
        version: 1,
        bytes: vec![1],
    };
    let mut settings = service.settings("of-the-driver");
    settings.patience = Duration::from_secs(60);
    let patient = Client::new(settings).unwrap();
    let error = patient
        .unwrap(&key("acme"), &context("x"), &wrapped)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, KeyError::Unavailable(about) if about.contains("provider")),
        "{error}"
    );
    // Before a caller of the usual patience gives up, so that it hears why; and this one with room for a busy machine.
    assert!(started.elapsed() < Duration::from_secs(30));
}
