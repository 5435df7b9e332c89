//! The service: the provider behind TLS. In: calls with a ServiceAccount's token. Out: answers, and a line in the log for
//! each act.
//!
//! Invariants: every call is of a known caller and stands in the table of what it may; a data key is made in here, and
//! its plain form leaves only in answers to unwrap; each act is logged, refused ones too, without material.

mod acts;
mod callers;
mod review;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::io;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tracing::debug;

use crate::tls::Identity;
use crate::wire::proto::keys_server::KeysServer;
use crate::{KeyError, Provider};
pub use callers::{Act, Callers};
pub use review::Reviewer;

/// For one call, the caller's review included. A bit less than callers wait, so that they hear why.
const DEADLINE: Duration = Duration::from_millis(4500);
/// For a handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes at a time: they are what a stranger can make it do.
const HANDSHAKES: usize = 64;
/// Calls at a time on one connection.
const STREAMS: u32 = 64;
/// Connections end after this, so that callers spread over the replicas again, and none outlives its certificate long.
const CONNECTION_AGE: Duration = Duration::from_secs(3600);
/// Bytes of a call's headers: a token has a few thousand.
const HEADERS: u32 = 16 * 1024;

/// What answers the calls.
#[derive(Clone)]
pub struct Service {
    provider: Arc<dyn Provider>,
    callers: Arc<Callers>,
    reviewer: Arc<Reviewer>,
    deadline: Duration,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("provider", &self.provider)
            .field("callers", &self.callers)
            .finish_non_exhaustive()
    }
}

impl Service {
    pub fn new(provider: Arc<dyn Provider>, callers: Callers, reviewer: Reviewer) -> Self {
        Self {
            provider,
            callers: Arc::new(callers),
            reviewer: Arc::new(reviewer),
            deadline: DEADLINE,
        }
    }

    /// Serves until `end` is done, and lets calls that run come to theirs.
    pub async fn serve(
        self,
        listener: TcpListener,
        identity: Arc<Identity>,
        end: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let (sender, connections) = mpsc::channel(HANDSHAKES);
        let accepting = tokio::spawn(accept(listener, identity, sender));
        let keys = KeysServer::new(self)
            .max_decoding_message_size(crate::MESSAGE_MAX)
            .max_encoding_message_size(crate::MESSAGE_MAX);
        let served = Server::builder()
            .max_concurrent_streams(STREAMS)
            .max_connection_age(CONNECTION_AGE)
            .http2_max_header_list_size(HEADERS)
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .add_service(keys)
            .serve_with_incoming_shutdown(ReceiverStream::new(connections), async {
                end.await;
                accepting.abort();
            })
            .await;
        accepting.abort();
        served
    }
}

type Connections = mpsc::Sender<io::Result<TlsStream<TcpStream>>>;

/// Shakes hands. One that hangs holds nobody else up.
async fn accept(listener: TcpListener, identity: Arc<Identity>, connections: Connections) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(permit) = handshakes.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: it gets better when connections end.
                debug!(%error, "no connection was accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let acceptor = TlsAcceptor::from(identity.current());
        let connections = connections.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let _ = connections.send(Ok(stream)).await;
                }
                Ok(Err(error)) => debug!(%error, "a handshake failed"),
                Err(_) => debug!("a handshake took too long"),
            }
            drop(permit);
        });
    }
}

/// An answer in time, or Unavailable.
async fn in_time<T>(
    deadline: Duration,
    answer: impl Future<Output = Result<T, KeyError>>,
) -> Result<T, KeyError> {
    match timeout(deadline, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(KeyError::Unavailable(format!(
            "the provider did not answer within {deadline:?}"
        ))),
    }
}
