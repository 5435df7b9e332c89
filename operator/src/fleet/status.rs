//! `freehold fleet status`: how far the channels' releases are. In: the ReleaseChannels, read with the user's own rights. Out: text or JSON.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use freehold_crds::{Halt, ReleaseChannel, ReleaseChannelStatus, RingPhase, RingStatus};
use jiff::Timestamp;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::cli::print;
use crate::run::install_crypto;
use crate::why::{Form, ago};

/// How wide the bar is that shows how many tenants of a ring have its release.
const BAR: usize = 20;

/// What is asked.
#[derive(Debug, Args)]
pub struct FleetArgs {
    #[command(subcommand)]
    command: FleetCommand,
}

#[derive(Debug, Subcommand)]
enum FleetCommand {
    /// Show each ring of the channels: its release, how many tenants have it, and what it waits for.
    Status(StatusArgs),
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// One channel; all of them when left out.
    pub channel: Option<String>,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

pub fn main(args: &FleetArgs) -> anyhow::Result<ExitCode> {
    let FleetCommand::Status(args) = &args.command;
    let channels = read(args.channel.as_deref())?;
    match args.output {
        Form::Text => {
            let now = Timestamp::now();
            let text: Vec<String> = channels.iter().map(|channel| text(channel, now)).collect();
            print(&text.join("\n"))?;
        }
        Form::Json => {
            let all: Vec<Value> = channels.iter().map(told).collect();
            print(&format!("{}\n", serde_json::to_string_pretty(&all)?))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(channel: Option<&str>) -> anyhow::Result<Vec<ReleaseChannel>> {
    install_crypto()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = Client::try_default()
            .await
            .context("no way to the API server is known: is KUBECONFIG set?")?;
        let channels: Api<ReleaseChannel> = Api::all(client);
        if let Some(name) = channel {
            let found = channels.get(name).await;
            return Ok(vec![
                found.with_context(|| format!("can't read the ReleaseChannel {name}"))?,
            ]);
        }
        let listed = channels.list(&ListParams::default()).await;
        let listed = listed.context("can't read the ReleaseChannels")?.items;
        if listed.is_empty() {
            bail!("there is no ReleaseChannel: docs/guide/channels.md shows how to write one");
        }
        Ok(listed)
    })
}

fn told(channel: &ReleaseChannel) -> Value {
    json!({ "channel": channel.name_any(), "product": channel.spec.product, "status": channel.status })
}

fn text(channel: &ReleaseChannel, now: Timestamp) -> String {
    let none = ReleaseChannelStatus::default();
    let status = channel.status.as_ref().unwrap_or(&none);
    let ready = status.conditions.iter().find(|found| found.type_ == "Ready");
    let says = ready.map_or_else(
        || "the operator has not reported about it yet: is it running?".to_owned(),
        |ready| format!("{}: {}", ready.reason, ready.message),
    );
    let mut text = String::new();
    // Writing into a String can't fail.
    let _ = writeln!(text, "{} ({})  {says}", channel.name_any(), channel.spec.product);
    let wide = |of: fn(&RingStatus) -> usize, head: &str| {
        let widths = status.rings.iter().map(of);
        widths.chain([head.len()]).max().unwrap_or_default()
    };
    let ring_width = wide(|ring| ring.name.len(), "RING");
    let release_width = wide(|ring| ring.release.as_deref().unwrap_or("-").len(), "RELEASE");
    let _ = writeln!(
        text,
        "  {:ring_width$}  {:9}  {:release_width$}  {:width$}  FLIGHT  WAIT  FAILED  APART",
        "RING",
        "PHASE",
        "RELEASE",
        "TENANTS",
        width = BAR + 12,
    );
    for ring in &status.rings {
        let RingStatus {
            name,
            phase,
            message,
            release,
            since,
            tenants,
            current,
            in_flight,
            waiting,
            failed,
            apart,
            failures,
            ..
        } = ring;
        let has = format!("{} {current}/{tenants}", bar(*current, *tenants));
        let phase = format!("{phase:?}");
        let release = release.as_deref().unwrap_or("-");
        let _ = writeln!(
            text,
            "  {name:ring_width$}  {phase:9}  {release:release_width$}  {has:width$}  {in_flight:>6}  {waiting:>4}  {failed:>6}  {apart:>5}",
            width = BAR + 12,
        );
        let since = since.as_ref().map_or_else(String::new, |since| {
            format!(", for {}", ago(now.duration_since(since.0)))
        });
        let _ = writeln!(text, "  {:ring_width$}  {message}{since}", "");
        for more in more(ring, now) {
            let _ = writeln!(text, "  {:ring_width$}  {more}", "");
        }
        for failure in failures.iter().take(5) {
            let _ = writeln!(
                text,
                "  {:ring_width$}  ! {}: {}",
                "", failure.tenant, failure.message
            );
        }
    }
    text
}

/// What else is to be known of a ring: what new tenants get, when the next window opens, the gates, and what was halted before.
fn more(ring: &RingStatus, now: Timestamp) -> Vec<String> {
    let stable = ring.stable.as_ref().filter(|_| ring.stable != ring.release);
    let stable = stable.map(|stable| format!("stable: {stable}, which new tenants get"));
    let window = ring.next_window.as_ref().map(|opens| {
        let long = ago(opens.0.duration_since(now));
        format!("next window: {}, in {long}", opens.0)
    });
    let gates = ring.gates.iter().map(|gate| {
        let message = gate.message.as_ref();
        let message = message.map_or_else(String::new, |message| format!(", {message}"));
        format!("gate {}: {:?}{message}", gate.name, gate.verdict)
    });
    // The one of now is in the ring's own message.
    let is_other =
        |halt: &&Halt| ring.phase != RingPhase::Halted || Some(&halt.release) != ring.release.as_ref();
    let halted = ring.halted.iter().filter(is_other).take(3).map(|halt| {
        let long = ago(now.duration_since(halt.at.0));
        format!("halted: {}, {long} ago: {}", halt.release, halt.message)
    });
    let all = stable.into_iter().chain(window).chain(gates);
    all.chain(halted).collect()
}

/// A picture of a share: full only when all of it is there.
fn bar(part: i32, whole: i32) -> String {
    let count = |number: i32| usize::try_from(number).unwrap_or_default();
    let full = (count(part) * BAR)
        .checked_div(count(whole))
        .unwrap_or_default()
        .min(BAR);
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "all of this is a test")]
mod tests {
    use super::*;

    #[test]
    fn each_ring_is_a_line_with_a_bar_and_a_line_in_words() {
        let channel: ReleaseChannel = serde_json::from_value(json!({
            "apiVersion": "freehold.dev/v1alpha1", "kind": "ReleaseChannel", "metadata": {"name": "board"},
            "spec": {"product": "board", "rings": [{"name": "dev"}, {"name": "production"}]},
            "status": {
                "conditions": [{
                    "type": "Ready", "status": "False", "reason": "Rolling", "message": "2 rings get 1.1.0",
                    "lastTransitionTime": "2027-01-15T06:00:00Z",
                }],
                "rings": [
                    {"name": "dev", "phase": "Verified", "message": "verified", "release": "board-1.1.0", "tenants": 2, "current": 2,
                     "since": "2027-01-15T06:00:00Z"},
                    {"name": "production", "phase": "Rolling", "message": "2 of 40 at once", "release": "board-1.1.0", "tenants": 40,
                     "current": 31, "inFlight": 2, "waiting": 6, "failed": 1,
                     "failures": [{"tenant": "acme", "message": "Smoke: it did not answer"}]},
                ],
            },
        }))
        .unwrap();
        assert_eq!(
            text(&channel, "2027-01-15T08:05:00Z".parse().unwrap()),
            "board (board)  Rolling: 2 rings get 1.1.0\n\
             \x20 RING        PHASE      RELEASE      TENANTS                           FLIGHT  WAIT  FAILED  APART\n\
             \x20 dev         Verified   board-1.1.0  ████████████████████ 2/2               0     0       0      0\n\
             \x20             verified, for 2 h 5 min\n\
             \x20 production  Rolling    board-1.1.0  ███████████████░░░░░ 31/40             2     6       1      0\n\
             \x20             2 of 40 at once\n\
             \x20             ! acme: Smoke: it did not answer\n"
        );
        assert_eq!(told(&channel)["status"]["rings"][1]["waiting"], 6);
    }

    #[test]
    fn what_new_tenants_get_the_next_window_gates_and_halts_are_told_where_there_are_any() {
        let halt = |release: &str, at: &str| json!({"release": release, "at": at, "message": "it failed for acme of the canary: Smoke"});
        let mut channel: ReleaseChannel = serde_json::from_value(json!({
            "apiVersion": "freehold.dev/v1alpha1", "kind": "ReleaseChannel", "metadata": {"name": "board"},
            "spec": {"product": "board", "rings": [{"name": "qe"}]},
            "status": {
                "rings": [{
                    "name": "qe", "phase": "Verifying", "message": "waits for the gate ui: it runs", "release": "board-1.3.0",
                    "stable": "board-1.1.0", "tenants": 4, "current": 3, "waiting": 1, "nextWindow": "2027-01-16T02:00:00Z",
                    "gates": [
                        {"name": "ui", "verdict": "Pending", "tenant": "acme", "message": "its test runs beside acme"},
                        {"name": "api", "verdict": "Passed"},
                    ],
                    "halted": [halt("board-1.2.0", "2027-01-15T06:00:00Z")],
                }],
            },
        }))
        .unwrap();
        let now = "2027-01-15T08:00:00Z".parse().unwrap();
        let told = text(&channel, now);
        let lines: Vec<&str> = told.lines().skip(3).map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "waits for the gate ui: it runs",
                "stable: board-1.1.0, which new tenants get",
                "next window: 2027-01-16T02:00:00Z, in 18 h",
                "gate ui: Pending, its test runs beside acme",
                "gate api: Passed",
                "halted: board-1.2.0, 2 h ago: it failed for acme of the canary: Smoke",
            ]
        );
        // What is halted now is said once.
        let ring = &mut channel.status.as_mut().unwrap().rings[0];
        ring.phase = RingPhase::Halted;
        ring.release = Some("board-1.2.0".into());
        assert!(!text(&channel, now).contains("halted: board-1.2.0"));
    }

    #[test]
    fn a_channel_without_a_report_says_so() {
        let channel: ReleaseChannel = serde_json::from_value(json!({
            "apiVersion": "freehold.dev/v1alpha1", "kind": "ReleaseChannel", "metadata": {"name": "board"},
            "spec": {"product": "board", "rings": [{"name": "dev"}]},
        }))
        .unwrap();
        assert!(text(&channel, Timestamp::UNIX_EPOCH).contains("has not reported about it yet"));
        assert_eq!(bar(0, 0), "░".repeat(BAR));
    }
}
