//! The prober's own process. In: a [`Plan`] as the first line of standard input. Out, once standard input ends or SIGTERM comes:
//! a [`Report`] as JSON on standard output. Invariant: attempts begin on a fixed grid, whatever became of those before.

use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::attempt::{Kind, attempt};
use super::lane::{Followed, Lane};
use super::report::{Report, Seen, since};

/// What a process is told: no secret, those are in the files that the lanes name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub lanes: Vec<Lane>,
    /// The time between two attempts of a lane.
    pub every: Duration,
    /// The time that one attempt may take.
    pub limit: Duration,
}

/// The hidden subcommand.
pub fn process() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let report = runtime.block_on(async {
        let mut input = BufReader::new(tokio::io::stdin());
        let mut line = String::new();
        input.read_line(&mut line).await?;
        let plan: Plan = serde_json::from_str(&line).context("the first line is no plan")?;
        let mut term = signal(SignalKind::terminate())?;
        let end = async move {
            let mut rest = Vec::new();
            tokio::select! {
                _ = input.read_to_end(&mut rest) => (),
                _ = term.recv() => (),
            }
        };
        run(&plan, end).await
    })?;
    // The thread that reads standard input may never end.
    runtime.shutdown_background();
    let mut output = std::io::stdout();
    serde_json::to_writer(&mut output, &report)?;
    Ok(output.flush()?)
}

/// Probes every lane until `end`, and waits for the answers that are still to come.
pub async fn run(plan: &Plan, end: impl Future<Output = ()>) -> Result<Report> {
    let start = Instant::now();
    let (stop, stopped) = watch::channel(false);
    let mut lanes = Vec::new();
    for lane in &plan.lanes {
        let followed = Followed::of(lane)?;
        let seen = Arc::new(Mutex::new(Seen::of(&lane.name)));
        let prober = probe(followed, plan.clone(), start, seen.clone(), stopped.clone());
        lanes.push((tokio::spawn(prober), seen));
    }
    end.await;
    let seconds = since(start);
    stop.send_replace(true);
    let mut report = Report {
        seconds,
        every_seconds: plan.every.as_secs_f64(),
        lanes: Vec::new(),
    };
    for (prober, seen) in lanes {
        prober.await?;
        let mut seen = held(&seen).clone();
        seen.gap_until(seconds);
        report.lanes.push(seen);
    }
    Ok(report)
}

async fn probe(
    mut lane: Followed,
    plan: Plan,
    start: Instant,
    seen: Arc<Mutex<Seen>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut grid = interval_at(start, plan.every);
    // What the machine was too busy for is made up, not left out.
    grid.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut attempts = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => break,
            _ = grid.tick() => (),
        }
        let began = since(start);
        held(&seen).begin();
        if let Err(error) = lane.refresh() {
            held(&seen).fail(began, Kind::Credentials, format!("{error:#}"));
        }
        let (target, seen) = (lane.target.clone(), seen.clone());
        attempts.spawn(async move {
            let ended = attempt(&target, plan.limit).await;
            held(&seen).end(began, since(start), ended);
        });
        while attempts.try_join_next().is_some() {}
    }
    while attempts.join_next().await.is_some() {}
}

fn held(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
