//! In: requests for the api tier. Out: its responses, streamed. HTTP/1.1 with kept connections.
//!
//! With TLS the api is verified against the bundle and the name in its address, and is shown this tier's own
//! certificate; each new connection begins with what is loaded by then. Never one scheme in place of the other.

use crate::tls;
use axum::{body::Body, http::Uri};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{Client, Error, ResponseFuture, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::net::TcpStream;
use tower_service::Service;

/// For one address; there may be several behind a name.
const CONNECT: Duration = Duration::from_secs(2);
/// With the handshake. Another replica may answer in the time that is left.
const CONNECT_AND_SHAKE_HANDS: Duration = Duration::from_secs(4);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error("{address:?}: {source}")]
    Malformed {
        address: String,
        source: axum::http::uri::InvalidUri,
    },
    #[error("{address:?} must begin with {scheme}://: TLS is {}", if *.scheme == "https" { "on" } else { "off" })]
    Scheme { address: String, scheme: &'static str },
}

#[derive(Clone)]
pub struct Upstream {
    client: Client<Connector, Body>,
    scheme: &'static str,
}

impl Upstream {
    pub fn new(tls: Option<tls::Current>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut http = HttpConnector::new();
        http.set_connect_timeout(Some(CONNECT));
        http.set_keepalive(Some(Duration::from_secs(5)));
        http.set_nodelay(true);
        // The scheme is checked by what is around it.
        http.enforce_http(false);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(10))
            .build(Connector { http, tls });
        Self { client, scheme }
    }

    /// The address of `path` on the api at `base`.
    pub fn address(&self, base: &str, path: &str) -> Result<Uri, AddressError> {
        let address = format!("{}{path}", base.trim_end_matches('/'));
        let uri: Uri = match address.parse() {
            Ok(uri) => uri,
            Err(source) => return Err(AddressError::Malformed { address, source }),
        };
        if uri.scheme_str() != Some(self.scheme) {
            let (address, scheme) = (base.to_owned(), self.scheme);
            return Err(AddressError::Scheme { address, scheme });
        }
        Ok(uri)
    }

    pub fn request(&self, request: axum::http::Request<Body>) -> ResponseFuture {
        self.client.request(request)
    }
}

#[derive(Clone)]
struct Connector {
    http: HttpConnector,
    tls: Option<tls::Current>,
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let Some(tls) = &self.tls else {
            let connecting = self.http.call(address);
            return Box::pin(async move { Ok(MaybeHttpsStream::Http(connecting.await?)) });
        };
        let mut https = HttpsConnector::from((self.http.clone(), tls.get().client.clone()));
        https.enforce_https();
        let connecting = https.call(address);
        Box::pin(async move { tokio::time::timeout(CONNECT_AND_SHAKE_HANDS, connecting).await? })
    }
}

/// The whole chain of causes; hyper's own text is only the outermost.
pub fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_and_query_are_kept_and_the_scheme_is_the_only_one() {
        let plain = Upstream::new(None);
        assert_eq!(
            plain.address("http://api:8080/", "/api/events?limit=5").unwrap(),
            "http://api:8080/api/events?limit=5"
        );
        for other in ["https://api:8080", ""] {
            let refused = plain.address(other, "/api/events").unwrap_err();
            assert!(matches!(refused, AddressError::Scheme { .. }), "{refused}");
        }
    }
}
