//! In: a TCP listener. Out: connections whose handshake is done.
//!
//! Handshakes run beside each other and beside the accepting: a client that says nothing holds up nobody, and is let go
//! after [`HANDSHAKE`]. What goes wrong with one connection ends that connection only.

use super::Current;
use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

const HANDSHAKE: Duration = Duration::from_secs(10);

type Accepted = (TlsStream<TcpStream>, SocketAddr);

/// Dropping it ends the handshakes that are under way, as closing a plain listener ends what waits in its queue.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    tls: Current,
    handshakes: JoinSet<Option<Accepted>>,
}

impl Listener {
    pub fn new(tcp: TcpListener, tls: Current) -> Self {
        Self {
            tcp,
            tls,
            handshakes: JoinSet::new(),
        }
    }
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    /// Safe to cancel: what is under way is in `self`.
    async fn accept(&mut self) -> Accepted {
        loop {
            tokio::select! {
                // The trait's, which outlives errors such as a lack of file descriptors.
                (stream, address) = axum::serve::Listener::accept(&mut self.tcp) => {
                    let acceptor = TlsAcceptor::from(self.tls.get().server.clone());
                    self.handshakes.spawn(shake_hands(acceptor, stream, address));
                }
                Some(ended) = self.handshakes.join_next() => {
                    if let Ok(Some(accepted)) = ended {
                        return accepted;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

async fn shake_hands(acceptor: TlsAcceptor, stream: TcpStream, address: SocketAddr) -> Option<Accepted> {
    // A response behind the session tickets would wait for their acknowledgement, 40 ms and more.
    let _ = stream.set_nodelay(true);
    match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some((stream, address)),
        Ok(Err(error)) => {
            tracing::info!(%address, %error, "a handshake failed");
            None
        }
        Err(_) => {
            tracing::info!(%address, "a handshake was not done within {} s", HANDSHAKE.as_secs());
            None
        }
    }
}
