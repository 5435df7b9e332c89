//! In: a router and its listener. Out: a server that ends on SIGTERM or SIGINT without losing a request.
//!
//! Order: `/readyz` turns 503 and answers carry `Connection: close`; the listener stays open for the drain delay, so
//! that the endpoint is withdrawn everywhere first; then it closes, and requests in flight get up to [`FINISH`].

use crate::tls::{self, Peer};
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, header::CONNECTION},
    middleware::{self, Next},
    response::Response,
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// The most that a request may take after the listener has closed.
const FINISH: Duration = Duration::from_secs(30);

/// Where and how long to serve.
#[derive(Debug, Clone, clap::Args)]
pub struct Listen {
    /// Port on all addresses.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// Seconds for which connections are still accepted after SIGTERM.
    #[arg(long, env = "DRAIN_SECONDS", default_value_t = 5.0)]
    drain_seconds: f64,
}

/// Shared by the server and its probes: true from the first signal on.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Over TLS only, or, when it is disabled, without any.
pub async fn serve(
    router: Router,
    listen: &Listen,
    draining: Draining,
    tls: Option<tls::Current>,
) -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, listen.port));
    let listener = TcpListener::bind(address).await?;
    tracing::info!(%address, version = crate::version::VERSION, tls = tls.is_some(), "listening");
    let drain = Duration::try_from_secs_f64(listen.drain_seconds)?;
    let (closing, closed) = oneshot::channel();
    let stop = stop_signal()?;
    let flag = draining.clone();
    let trigger = async move {
        stop.await;
        flag.0.store(true, Ordering::Release);
        tracing::info!(?drain, "draining");
        tokio::time::sleep(drain).await;
        let _ = closing.send(());
    };
    let router = router.layer(middleware::from_fn_with_state(draining, close_when_draining));
    let server = match tls {
        Some(tls) => axum::serve(
            tls::Listener::new(listener, tls),
            router.into_make_service_with_connect_info::<Peer>(),
        )
        .with_graceful_shutdown(trigger)
        .into_future(),
        None => axum::serve(listener, router)
            .with_graceful_shutdown(trigger)
            .into_future(),
    };
    let cap = async {
        let _ = closed.await;
        tokio::time::sleep(FINISH).await;
    };
    tokio::select! {
        ended = server => ended?,
        () = cap => tracing::warn!("requests were still in flight after {} s", FINISH.as_secs()),
    }
    tracing::info!("stopped");
    Ok(())
}

fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// A client that keeps its connection open would find it closed under its next request.
async fn close_when_draining(State(draining): State<Draining>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if draining.get() {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
