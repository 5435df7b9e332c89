//! `/healthz`, `/readyz` and `/metrics`. No client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Numbers that the operator counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    passes: Counter,
    failures: Counter,
    writes: Counter,
    seconds: Histogram,
    leader: Gauge<i64, std::sync::atomic::AtomicI64>,
    orphans: Gauge<i64, std::sync::atomic::AtomicI64>,
    registry: Arc<Registry>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("freehold");
        let (passes, failures, writes) = (
            Counter::<u64, AtomicU64>::default(),
            Counter::default(),
            Counter::default(),
        );
        let seconds = Histogram::new([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]);
        let (leader, orphans) = (Gauge::default(), Gauge::default());
        registry.register("passes", "Passes that went through", passes.clone());
        registry.register("pass_failures", "Passes that failed", failures.clone());
        registry.register("writes", "Writes to the API server", writes.clone());
        registry.register("pass_seconds", "How long a pass took", seconds.clone());
        registry.register("leader", "Whether this process leads", leader.clone());
        registry.register(
            "orphaned_namespaces",
            "Namespaces whose tenant is gone, and that nobody kept on purpose or is taking down",
            orphans.clone(),
        );
        Self {
            passes,
            failures,
            writes,
            seconds,
            leader,
            orphans,
            registry: Arc::new(registry),
        }
    }
}

impl Metrics {
    pub fn pass(&self, took: Duration, writes: usize) {
        self.passes.inc();
        self.writes.inc_by(u64::try_from(writes).unwrap_or(u64::MAX));
        self.seconds.observe(took.as_secs_f64());
    }

    pub fn failure(&self) {
        self.failures.inc();
    }

    /// Gives how many there were before.
    pub fn orphans(&self, count: usize) -> usize {
        let before = self.orphans.set(i64::try_from(count).unwrap_or(i64::MAX));
        usize::try_from(before).unwrap_or_default()
    }

    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }
}

/// What the probes ask about.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// The API server has answered: a standby is ready too, or a roll-out of the operator would never end.
    ready: Arc<AtomicBool>,
    pub metrics: Metrics,
}

impl Health {
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }
}

/// Serves until the process ends.
pub async fn serve(address: SocketAddr, health: Health) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health);
    axum::serve(listener, router).await
}

async fn readyz(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the API server has not answered yet\n",
        )
    }
}

async fn metrics(State(health): State<Health>) -> Result<String, StatusCode> {
    let mut text = String::new();
    encode(&mut text, &health.metrics.registry).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(text)
}
