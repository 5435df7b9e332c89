//! The client's connection: TLS 1.3 to a server that the given authorities vouch for.

use std::io;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::{Settings, Source};
use crate::KeyError;
use crate::suites;

/// A channel that connects when it is first used.
pub(super) fn lazy(settings: &Settings) -> Result<Channel, KeyError> {
    let wrong = || KeyError::Invalid(format!("{} is not https://HOST:PORT", settings.endpoint));
    let place = settings.endpoint.strip_prefix("https://").ok_or_else(wrong)?;
    let uri: Uri = format!("http://{place}").parse().map_err(|_| wrong())?;
    let host = uri.host().ok_or_else(wrong)?.to_owned();
    let port = uri.port_u16().ok_or_else(wrong)?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|_| wrong())?;
    let address = settings.address.clone().unwrap_or(format!("{host}:{port}"));
    let authority = settings.authority.clone();
    let connector = service_fn(move |_: Uri| {
        let (address, name, authority) = (address.clone(), name.clone(), authority.clone());
        async move { connect(&address, name, &authority).await.map(TokioIo::new) }
    });
    // To tonic the connection looks plain: the connector above is what makes it TLS, and knows nothing else.
    let endpoint = Endpoint::from(uri)
        .connect_timeout(settings.patience)
        .http2_keep_alive_interval(settings.patience * 4)
        .keep_alive_timeout(settings.patience);
    Ok(endpoint.connect_with_connector_lazy(connector))
}

async fn connect(
    address: &str,
    name: ServerName<'static>,
    authority: &Source,
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.read()?.as_bytes()) {
        let certificate = certificate.map_err(|_| io::Error::other("the authority is not PEM"))?;
        roots
            .add(certificate)
            .map_err(|error| io::Error::other(format!("the authority is no certificate: {error}")))?;
    }
    let mut config = ClientConfig::builder_with_provider(suites::provider())
        .with_protocol_versions(suites::VERSIONS)
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![suites::ALPN.to_vec()];
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
