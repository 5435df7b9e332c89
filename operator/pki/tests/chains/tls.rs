//! rustls: a handshake in memory.

use std::sync::Arc;
use std::time::Duration;

use freehold_pki::Pair;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, RootCertStore, ServerConfig, ServerConnection,
};

use crate::{Shown, issue, tenant};

#[derive(Debug)]
struct At(u64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

/// The other end, which shows a certificate of its own authority.
struct Peer {
    root: String,
    pair: Pair,
}

impl Peer {
    const NAME: &str = "peer.test";

    fn new() -> Self {
        let ca = tenant("peer", &[]);
        Self {
            pair: issue(&ca, &[Self::NAME], freehold_pki::Usage::Server),
            root: ca.certificate_pem,
        }
    }
}

/// Shows a certificate to an end that trusts `roots`. The error is that end's, in the form for developers.
pub fn shake(shown: &Pair, roots: &str, by: Shown<'_>, now: i64) -> Result<(), String> {
    let time = || Arc::new(At(now.unsigned_abs()));
    let peer = Peer::new();
    let (server_pair, server_roots, name) = match by {
        Shown::Server(name) => (shown, roots, name),
        Shown::Client => (&peer.pair, peer.root.as_str(), Peer::NAME),
    };
    let server = ServerConfig::builder_with_details(provider(), time())
        .with_safe_default_protocol_versions()
        .unwrap();
    let server = match by {
        Shown::Server(_) => server.with_no_client_auth(),
        Shown::Client => server.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(store(roots), provider())
                .build()
                .unwrap(),
        ),
    };
    let server = server
        .with_single_cert(chain(server_pair), key(server_pair))
        .unwrap();
    let client = ClientConfig::builder_with_details(provider(), time())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store(server_roots));
    let client = match by {
        Shown::Server(_) => client.with_no_client_auth(),
        Shown::Client => client.with_client_auth_cert(chain(shown), key(shown)).unwrap(),
    };
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    talk(&mut client, &mut server)
}

fn talk(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), String> {
    while client.wants_write() || server.wants_write() {
        carry(client, server)?;
        carry(server, client)?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(())
}

fn carry<A, B>(from: &mut ConnectionCommon<A>, to: &mut ConnectionCommon<B>) -> Result<(), String> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets().map_err(|error| format!("{error:?}"))?;
    }
    Ok(())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn chain(pair: &Pair) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pair.certificate_pem.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap()
}

fn key(pair: &Pair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap()
}

fn store(roots: &str) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        store.add(root.unwrap()).unwrap();
    }
    Arc::new(store)
}
