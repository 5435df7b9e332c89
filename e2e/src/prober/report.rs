//! What a prober saw. In: how each attempt ended. Out: numbers for each lane, as JSON between two processes and as a table for
//! people. Invariant: every attempt is counted once, as answered or as a failure.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::attempt::{Ended, Kind, Leaf};

/// So many failures of a lane are told in full.
const TOLD: usize = 20;
/// The share of the attempts that the clock asks for, below which a prober wasn't at work.
const LEAST: f64 = 0.95;
/// By so many seconds it may be behind the clock when it is stopped: what a busy machine was too late for is made up.
const BEHIND: f64 = 1.0;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub seconds: f64,
    /// The time between two attempts of a lane.
    pub every_seconds: f64,
    pub lanes: Vec<Seen>,
}

/// What one lane saw; times are seconds since the prober's start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    pub name: String,
    pub attempts: u64,
    pub handshakes: u64,
    pub answered: u64,
    pub failures: BTreeMap<Kind, u64>,
    pub first_failures: Vec<Failure>,
    pub slowest_handshake_ms: f64,
    pub slowest_request_ms: f64,
    /// The longest time without a good answer.
    pub longest_gap_ms: f64,
    pub most_outstanding: u64,
    /// In the order in which they were first seen.
    pub leaves: Vec<LeafSeen>,
    #[serde(skip)]
    last_good: f64,
    #[serde(skip)]
    outstanding: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// When the attempt began.
    pub at: f64,
    pub kind: Kind,
    pub error: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeafSeen {
    #[serde(flatten)]
    pub leaf: Leaf,
    pub first: f64,
    pub last: f64,
    pub count: u64,
}

impl Seen {
    pub(super) fn of(name: &str) -> Seen {
        Seen {
            name: name.to_owned(),
            ..Seen::default()
        }
    }

    pub(super) fn begin(&mut self) {
        self.attempts += 1;
        self.outstanding += 1;
        self.most_outstanding = self.most_outstanding.max(self.outstanding);
    }

    /// `began` and `now` in seconds since the start.
    pub(super) fn end(&mut self, began: f64, now: f64, ended: Ended) {
        self.outstanding = self.outstanding.saturating_sub(1);
        if let Some(took) = ended.handshake {
            self.handshakes += 1;
            self.slowest_handshake_ms = self.slowest_handshake_ms.max(took.as_secs_f64() * 1e3);
        }
        if let Some(leaf) = ended.leaf {
            self.shown(leaf, now);
        }
        if let Some(took) = ended.request {
            self.answered += 1;
            self.slowest_request_ms = self.slowest_request_ms.max(took.as_secs_f64() * 1e3);
            self.gap_until(now);
        }
        if let Some((kind, error)) = ended.failure {
            self.fail(began, kind, error);
        }
    }

    pub(super) fn fail(&mut self, at: f64, kind: Kind, error: String) {
        *self.failures.entry(kind).or_default() += 1;
        if self.first_failures.len() < TOLD {
            self.first_failures.push(Failure { at, kind, error });
        }
    }

    /// At a good answer, and at the end.
    pub(super) fn gap_until(&mut self, now: f64) {
        self.longest_gap_ms = self.longest_gap_ms.max((now - self.last_good) * 1e3);
        self.last_good = now;
    }

    fn shown(&mut self, leaf: Leaf, now: f64) {
        if let Some(known) = self.leaves.iter_mut().find(|known| known.leaf == leaf) {
            known.last = now;
            known.count += 1;
            return;
        }
        self.leaves.push(LeafSeen {
            leaf,
            first: now,
            last: now,
            count: 1,
        });
    }

    /// How many keys issued what the server showed.
    pub fn issuers(&self) -> usize {
        let mut issuers: Vec<&str> = self.leaves.iter().map(|seen| seen.leaf.issuer.as_str()).collect();
        issuers.sort_unstable();
        issuers.dedup();
        issuers.len()
    }

    fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

impl Report {
    pub fn lane(&self, name: &str) -> Option<&Seen> {
        self.lanes.iter().find(|lane| lane.name == name)
    }

    pub fn handshakes(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.handshakes).sum()
    }

    /// Every attempt of every lane was answered well, and there were as many as the clock asked for.
    pub fn flawless(&self) -> Result<()> {
        let seconds = (self.seconds - BEHIND).max(0.0);
        let least = (seconds / self.every_seconds * LEAST).floor().max(1.0) as u64;
        let mut wrong = Vec::new();
        for lane in &self.lanes {
            let Seen { name, attempts, .. } = lane;
            if *attempts < least {
                wrong.push(format!("{name}: only {attempts} attempts, not {least}"));
            }
            if lane.answered != *attempts || lane.handshakes != *attempts || lane.failed() > 0 {
                wrong.push(format!(
                    "{name}: {attempts} attempts, {} handshakes, {} answers, {} failures",
                    lane.handshakes,
                    lane.answered,
                    lane.failed()
                ));
            }
            for Failure { at, kind, error } in &lane.first_failures {
                wrong.push(format!("  after {at:.2} s: {kind:?}: {error}"));
            }
        }
        if self.lanes.is_empty() {
            wrong.push("no lane".to_owned());
        }
        if !wrong.is_empty() {
            bail!("{}", wrong.join("\n"));
        }
        Ok(())
    }
}

/// Seconds since an instant.
pub(super) fn since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<12} {:>10} {:>8} {:>9} {:>12} {:>10} {:>8} {:>7} {:>6}",
            "LANE",
            "HANDSHAKES",
            "ANSWERS",
            "FAILURES",
            "HANDSHAKE ms",
            "REQUEST ms",
            "GAP ms",
            "LEAVES",
            "ROOTS"
        )?;
        for lane in &self.lanes {
            writeln!(
                f,
                "{:<12} {:>10} {:>8} {:>9} {:>12.0} {:>10.0} {:>8.0} {:>7} {:>6}",
                lane.name,
                lane.handshakes,
                lane.answered,
                lane.failed(),
                lane.slowest_handshake_ms,
                lane.slowest_request_ms,
                lane.longest_gap_ms,
                lane.leaves.len(),
                lane.issuers()
            )?;
        }
        write!(f, "in {:.0} s; the slowest of each, in ms", self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn answered(fingerprint: &str, issuer: &str) -> Ended {
        Ended {
            leaf: Some(Leaf {
                fingerprint: fingerprint.to_owned(),
                issuer: issuer.to_owned(),
            }),
            handshake: Some(Duration::from_millis(3)),
            request: Some(Duration::from_millis(5)),
            failure: None,
        }
    }

    /// Ten seconds with an attempt each tenth of a second, but for `left_out` at the end.
    fn report(left_out: u32) -> Report {
        let mut seen = Seen::of("edge");
        for at in 0..100 - left_out {
            let at = f64::from(at) / 10.0;
            seen.begin();
            seen.end(at, at + 0.01, answered(if at < 5.0 { "a" } else { "b" }, "root"));
        }
        seen.gap_until(10.0);
        Report {
            seconds: 10.0,
            every_seconds: 0.1,
            lanes: vec![seen],
        }
    }

    #[test]
    fn a_report_is_flawless_only_if_it_probed_all_the_time_and_all_was_answered() {
        report(0).flawless().unwrap();
        let told = report(20).flawless().unwrap_err().to_string();
        assert_eq!(told, "edge: only 80 attempts, not 85");
        let mut failed = report(0);
        failed.lanes[0].begin();
        failed.lanes[0].end(
            9.0,
            9.5,
            Ended {
                failure: Some((Kind::Connect, "refused".to_owned())),
                ..Ended::default()
            },
        );
        let told = failed.flawless().unwrap_err().to_string();
        assert!(
            told.contains("101 attempts, 100 handshakes, 100 answers, 1 failures"),
            "{told}"
        );
        assert!(told.contains("after 9.00 s: Connect: refused"), "{told}");
        // An attempt that never ended is none that was answered.
        let mut lost = report(0);
        lost.lanes[0].begin();
        assert!(lost.flawless().is_err());
        assert!(Report::default().flawless().is_err());
    }

    #[test]
    fn a_report_tells_gaps_and_certificates_and_is_the_same_after_it_was_json() {
        let report = report(20);
        let json = serde_json::to_string(&report).unwrap();
        let read: Report = serde_json::from_str(&json).unwrap();
        let lane = read.lane("edge").unwrap();
        assert!(
            (lane.longest_gap_ms - 2090.0).abs() < 1.0,
            "{}",
            lane.longest_gap_ms
        );
        let counts: Vec<u64> = lane.leaves.iter().map(|leaf| leaf.count).collect();
        assert_eq!((counts, lane.issuers()), (vec![50, 30], 1));
        assert_eq!(read.to_string(), report.to_string());
        assert_eq!(read.handshakes(), 80);
    }
}
