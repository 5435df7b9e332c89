//! The look at one pod, against real servers on this machine.

use freehold_pki::{AuthorityRequest, LeafRequest, Usage};
use freehold_plan::EndGateway;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const HOST: &str = "api.tenant-a.svc.cluster.local";

fn authority() -> Pair {
    let permitted = ["tenant-a.svc.cluster.local".to_owned()];
    let request = AuthorityRequest {
        common_name: "Freehold CA of a",
        permitted: &permitted,
        lifetime_seconds: 3600,
    };
    freehold_pki::authority(&request, Timestamp::now()).unwrap()
}

fn fingerprint(root: &Pair) -> String {
    certificate::facts_of_root(root.certificate_pem.clone())
        .unwrap()
        .fingerprint
}

fn store(roots: &[&Pair]) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store
            .add(CertificateDer::from_pem_slice(root.certificate_pem.as_bytes()).unwrap())
            .unwrap();
    }
    Arc::new(store)
}

fn leaf(issuer: &Pair, usage: Usage) -> Pair {
    let request = LeafRequest {
        common_name: "application",
        dns_names: &[HOST.to_owned()],
        usage,
        lifetime_seconds: 600,
    };
    freehold_pki::leaf(issuer, &request, Timestamp::now()).unwrap()
}

/// A certificate with its key, as a server takes them.
fn shown(issuer: &Pair, usage: Usage) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let own = leaf(issuer, usage);
    let chain = CertificateDer::pem_slice_iter(own.certificate_pem.as_bytes()).map(Result::unwrap);
    let key = PrivateKeyDer::from_pem_slice(own.key_pem.as_bytes()).unwrap();
    (chain.collect(), key)
}

async fn listen(config: ServerConfig) -> (TlsAcceptor, TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (TlsAcceptor::from(Arc::new(config)), listener, port)
}

/// Shows a certificate of `issuer`, and takes clients of some roots alone.
async fn asking(issuer: &Pair, trusts: &[&Pair]) -> (TlsAcceptor, TcpListener, u16) {
    let (chain, key) = shown(issuer, Usage::Both);
    let clients = WebPkiClientVerifier::builder(store(trusts)).build().unwrap();
    let config = ServerConfig::builder()
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .unwrap();
    listen(config).await
}

/// A pod of the application tier that takes clients of some roots and shows a certificate of `issuer`; gives its port.
async fn pod(issuer: &Pair, trusts: &[&Pair], answer: String) -> u16 {
    let (acceptor, listener, port) = asking(issuer, trusts).await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 1024];
            let count = stream.read(&mut request).await.unwrap();
            assert!(request[..count].starts_with(b"GET /.well-known/freehold/tls "));
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    port
}

/// A PostgreSQL that takes clients of some roots: it hears a request for TLS first, and answers a startup when it has taken the certificate.
async fn postgresql(issuer: &Pair, trusts: &[&Pair]) -> u16 {
    let (acceptor, listener, port) = asking(issuer, trusts).await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 8];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(request, TLS_REQUEST);
            stream.write_all(b"S").await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut startup = vec![0; STARTUP.len()];
            stream.read_exact(&mut startup).await.unwrap();
            assert_eq!(startup, STARTUP);
            stream.write_all(b"R").await.unwrap();
        }
    });
    port
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn looker(old: &Pair, next: &Pair) -> Looker {
    let both = [old, next].map(|root| root.certificate_pem.as_str());
    Looker::new(next, freehold_pki::bundle(both).unwrap(), Timestamp::now()).unwrap()
}

fn service(port: u16) -> EndService {
    EndService {
        selector: String::new(),
        host: HOST.to_owned(),
        port,
        is_database: false,
    }
}

#[tokio::test]
async fn a_pod_that_trusts_both_tells_so_and_shows_a_certificate_of_the_old_one() {
    let (old, next) = (authority(), authority());
    let told = format!(
        r#"{{"roots": ["{}", "{}"], "certificate": "x"}}"#,
        fingerprint(&old),
        fingerprint(&next)
    );
    let port = pod(&old, &[&old, &next], ok(&told)).await;
    let end = looker(&old, &next)
        .end(&service(port), "127.0.0.1")
        .await
        .unwrap();
    assert_eq!(end.trouble, None);
    assert_eq!(end.shows, Some(fingerprint(&old)));
    assert_eq!(end.trusts, Some([fingerprint(&old), fingerprint(&next)].into()));
}

#[tokio::test]
async fn a_pod_that_does_not_know_the_next_authority_refuses_its_certificate() {
    let (old, next) = (authority(), authority());
    let port = pod(&old, &[&old], ok("{}")).await;
    let end = looker(&old, &next)
        .end(&service(port), "127.0.0.1")
        .await
        .unwrap();
    assert!(end.trouble.unwrap().starts_with("can't be spoken to: "));
    assert_eq!((end.trusts, end.shows), (None, None));
}

#[tokio::test]
async fn a_pod_that_can_t_tell_its_roots_is_known_by_what_it_takes_and_shows() {
    let (old, next) = (authority(), authority());
    let port = pod(
        &next,
        &[&next],
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
    )
    .await;
    let end = looker(&old, &next)
        .end(&service(port), "127.0.0.1")
        .await
        .unwrap();
    assert_eq!(
        end,
        End {
            trusts: None,
            shows: Some(fingerprint(&next)),
            trouble: None
        }
    );
}

#[tokio::test]
async fn a_pod_of_another_authority_is_spoken_to_by_nobody_and_one_that_does_not_listen_is_none() {
    let (old, next, other) = (authority(), authority(), authority());
    let port = pod(&other, &[&old, &next], ok("{}")).await;
    let looker = looker(&old, &next);
    assert!(
        looker
            .end(&service(port), "127.0.0.1")
            .await
            .unwrap()
            .trouble
            .is_some()
    );
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    assert_eq!(looker.end(&service(free), "127.0.0.1").await, None);
}

/// What stands in front, shows a certificate of nobody's that is known here, and answers everybody so; gives where it is.
async fn front(answer: String) -> EndGateway {
    let (chain, key) = shown(&authority(), Usage::Server);
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let (acceptor, listener, port) = listen(config).await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut request = [0; 1024];
            let count = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..count]).into_owned();
            assert!(
                request.starts_with("GET /proof HTTP/1.1\r\nhost: acme.example\r\n"),
                "{request}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    EndGateway {
        address: "127.0.0.1".into(),
        port,
        hostname: "acme.example".into(),
        path: "/proof".into(),
    }
}

#[tokio::test]
async fn a_gateway_that_passes_requests_on_to_a_server_of_the_next_authority_trusts_it() {
    let (old, next) = (authority(), authority());
    let proof = leaf(&next, Usage::Server).certificate_pem;
    let end = looker(&old, &next)
        .gateway(&front(ok(&proof)).await)
        .await
        .unwrap();
    assert_eq!(end.trouble, None);
    assert_eq!(end.trusts, Some([fingerprint(&next)].into()));
}

#[tokio::test]
async fn any_other_answer_of_a_gateway_proves_nothing() {
    let (old, next) = (authority(), authority());
    let of_the_old = leaf(&old, Usage::Server).certificate_pem;
    let bad = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n".to_owned();
    for (answer, trouble) in [
        (
            ok(&of_the_old),
            "does not send /proof to the server that proves it yet",
        ),
        (
            ok("<!doctype html>"),
            "does not send /proof to the server that proves it yet",
        ),
        (
            bad,
            "answers 502 Bad Gateway for a server that the new root vouches for",
        ),
    ] {
        let end = looker(&old, &next).gateway(&front(answer).await).await.unwrap();
        assert_eq!((end.trouble.as_deref(), end.trusts), (Some(trouble), None));
    }
}

#[tokio::test]
async fn a_gateway_that_can_not_be_reached_from_here_is_not_asked() {
    let (old, next) = (authority(), authority());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = EndGateway {
        port: listener.local_addr().unwrap().port(),
        ..front(String::new()).await
    };
    drop(listener);
    assert_eq!(looker(&old, &next).gateway(&nobody).await, None);
}

#[tokio::test]
async fn a_database_is_seen_to_trust_the_next_authority_or_not_to() {
    let (old, next) = (authority(), authority());
    let look = async |trusts: &[&Pair]| {
        let service = EndService {
            is_database: true,
            ..service(postgresql(&old, trusts).await)
        };
        looker(&old, &next).end(&service, "127.0.0.1").await.unwrap()
    };
    let end = look(&[&old, &next]).await;
    assert_eq!((&end.trouble, end.shows), (&None, Some(fingerprint(&old))));
    assert_eq!(end.trusts, Some([fingerprint(&next)].into()));
    let end = look(&[&old]).await;
    assert!(end.trouble.unwrap().starts_with("can't be spoken to: "));
    assert_eq!(end.trusts, None);
}
