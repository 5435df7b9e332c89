//! What a load saw. In: how each request ended. Out: numbers, the first failures with their instants, and the acknowledged titles.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};
use time::OffsetDateTime;

/// So many failures are told in full.
const TOLD: usize = 20;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The page of a board.
    Page,
    /// The cards of a board.
    List,
    /// A new card.
    Card,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// When the request began.
    pub at: OffsetDateTime,
    pub what: What,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub began: OffsetDateTime,
    /// From the first request until now, or the end.
    pub seconds: f64,
    /// How many requests a second there had to be.
    pub asked: u32,
    pub requests: u64,
    /// Those that were answered well, and in time.
    pub answered: u64,
    pub failed: BTreeMap<What, u64>,
    pub first_failures: Vec<Failure>,
    /// Of the cards that were answered by 201, however late.
    pub acknowledged: Vec<String>,
    /// From the first packet to the end of the answer, or of the waiting.
    pub longest: Duration,
}

impl Report {
    pub(super) fn of(rate: u32) -> Report {
        Report {
            began: OffsetDateTime::now_utc(),
            seconds: 0.0,
            asked: rate,
            requests: 0,
            answered: 0,
            failed: BTreeMap::new(),
            first_failures: Vec::new(),
            acknowledged: Vec::new(),
            longest: Duration::ZERO,
        }
    }

    pub(super) fn begin(&mut self, at: Duration) {
        self.requests += 1;
        self.seconds = at.as_secs_f64();
    }

    pub(super) fn end(&mut self, what: What, at: Duration, took: Duration, failure: Option<String>) {
        self.longest = self.longest.max(took);
        let Some(reason) = failure else {
            self.answered += 1;
            return;
        };
        *self.failed.entry(what).or_default() += 1;
        if self.first_failures.len() < TOLD {
            let at = self.began + at;
            self.first_failures.push(Failure { at, what, reason });
        }
    }

    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Requests in a second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds.max(f64::EPSILON)
    }

    /// Every request was answered well and in time, and there were as many as were asked for.
    pub fn flawless(&self) -> Result<()> {
        let mut wrong = Vec::new();
        if self.requests == 0 || self.rate() < f64::from(self.asked) {
            wrong.push(format!(
                "{:.1} requests a second, not {}",
                self.rate(),
                self.asked
            ));
        }
        if self.answered != self.requests {
            wrong.push(format!("{} of {} answered", self.answered, self.requests));
        }
        if !wrong.is_empty() {
            bail!("{}\n{self}", wrong.join(", "));
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests in {:.0} s, {:.1} a second; {} failed; {} cards acknowledged; the longest took {:.0} ms",
            self.requests,
            self.seconds,
            self.rate(),
            self.failures(),
            self.acknowledged.len(),
            self.longest.as_secs_f64() * 1e3
        )?;
        for (what, count) in &self.failed {
            write!(f, "\n  {what:?}: {count} failed")?;
        }
        for Failure { at, what, reason } in &self.first_failures {
            write!(f, "\n  {at} {what:?}: {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten seconds of so many requests.
    fn report(requests: u32) -> Report {
        let mut report = Report::of(50);
        for number in 0..requests {
            let at = Duration::from_secs_f64(f64::from(number) * 10.0 / f64::from(requests));
            report.begin(at);
            report.end(What::Page, at, Duration::from_millis(7), None);
        }
        report.seconds = 10.0;
        report
    }

    #[test]
    fn a_report_is_flawless_only_if_all_was_answered_and_there_were_enough() {
        report(500).flawless().unwrap();
        let told = report(499).flawless().unwrap_err().to_string();
        assert!(told.starts_with("49.9 requests a second, not 50\n"), "{told}");
        assert!(Report::of(50).flawless().is_err());

        let mut failed = report(520);
        let at = Duration::from_secs(9);
        failed.begin(at);
        failed.end(
            What::Card,
            at,
            Duration::from_millis(2100),
            Some("Connect: refused".into()),
        );
        failed.seconds = 10.0;
        let told = failed.flawless().unwrap_err().to_string();
        let moment = (failed.began + at).to_string();
        assert!(told.starts_with("520 of 521 answered\n"), "{told}");
        assert!(told.contains("1 failed") && told.contains("2100 ms"), "{told}");
        assert!(
            told.contains(&format!("{moment} Card: Connect: refused")),
            "{told}"
        );

        // One that never ended is none that was answered.
        let mut lost = report(520);
        lost.begin(at);
        lost.seconds = 10.0;
        assert!(lost.flawless().is_err());
    }
}
