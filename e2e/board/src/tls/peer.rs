//! In: a connection whose handshake is done. Out: whether its client has shown who it is, for each of its requests.

use super::Listener;
use axum::{
    extract::{
        Request,
        connect_info::{ConnectInfo, Connected},
    },
    serve::IncomingStream,
};

/// Only requests over TLS have one.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The handshake ends unless the certificate chains to the bundle, so that having shown one is proof.
    certified: bool,
}

impl Connected<IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        let (_, session) = stream.io().get_ref();
        Self {
            certified: session.peer_certificates().is_some(),
        }
    }
}

impl Peer {
    pub fn is_certified(request: &Request) -> bool {
        Self::of(request).is_some_and(|peer| peer.certified)
    }

    pub fn is_encrypted(request: &Request) -> bool {
        Self::of(request).is_some()
    }

    fn of(request: &Request) -> Option<Self> {
        request.extensions().get::<ConnectInfo<Self>>().map(|info| info.0)
    }
}
