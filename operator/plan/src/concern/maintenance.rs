//! Maintenance windows: whether what restarts pods may be done now, and when that changes.
//!
//! In: recurrence rules of RFC 5545 with an IANA zone, and an instant. Out: open until, or shut until. A rule that can't be
//! read is an error in words, never a panic and never "open".

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeZone as _};
use freehold_crds::{OPEN, Window};
use jiff::Timestamp;
use rrule::{RRuleSet, Tz};

use super::Scene;
use crate::outcome::{Outcome, Wait};

/// Whether a window is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hours {
    Open {
        until: Timestamp,
    },
    /// None opens within a year when there is no instant.
    Shut {
        until: Option<Timestamp>,
    },
}

impl Hours {
    /// When it changes.
    pub fn until(self) -> Option<Timestamp> {
        match self {
            Self::Open { until } => Some(until),
            Self::Shut { until } => until,
        }
    }

    pub fn is_open(self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

/// A window that can't be read stops what restarts pods, and nothing else.
pub fn plan(scene: Scene<'_>) -> Outcome {
    let wait = |why: &String| Wait {
        reason: "InvalidWindow",
        message: format!("{why}; upgrades wait, the rest goes on"),
        unblocked_by: "correct the rule in spec.maintenance.windows of the tenant, or of its class"
            .to_owned(),
        stalls: true,
    };
    Outcome {
        waits: scene.model.hours.as_ref().err().map(wait).into_iter().collect(),
        ..Outcome::default()
    }
}

/// How far a rule is looked through: the next time a yearly one comes, and a leap day.
const AHEAD_DAYS: i64 = 4 * 366 + 1;
/// From when a rule without a start of its own counts, before the instant that is asked about: longer than any window is
/// open. Such a rule says by itself on which days it comes, so nothing hangs on this.
const BEHIND_DAYS: i64 = 3;
/// More occurrences than a daily rule has in that time.
const MANY: u16 = 4000;

/// Whether one of the windows is open at an instant.
pub fn hours(windows: &[Window], now: Timestamp) -> Result<Hours, String> {
    let mut open: Option<Timestamp> = None;
    let mut next: Option<Timestamp> = None;
    for window in windows {
        let (ends, begins) = at(window, now)?;
        open = open.max(ends);
        next = [next, begins].into_iter().flatten().min();
    }
    Ok(match open {
        Some(until) => Hours::Open { until },
        None => Hours::Shut { until: next },
    })
}

/// When the window that is open ends, and when the next one begins.
fn at(window: &Window, now: Timestamp) -> Result<(Option<Timestamp>, Option<Timestamp>), String> {
    let wrong = |what: String| format!("the window {}: {what}", window.rule);
    let long = window
        .duration
        .within(*OPEN.start(), *OPEN.end())
        .ok_or_else(|| wrong("its duration is not between 15m and 24h".to_owned()))?;
    let set = rule(window, now).map_err(wrong)?;
    let second = |moved: i64| {
        let moved = now.as_second().saturating_add(moved);
        DateTime::from_timestamp(moved, 0).map(|utc| utc.with_timezone(&Tz::UTC))
    };
    let long_seconds = i64::try_from(long.as_secs()).unwrap_or(i64::MAX);
    let (Some(behind), Some(ahead)) = (second(-long_seconds), second(AHEAD_DAYS * 86_400)) else {
        return Err(wrong("the clock is beyond what can be reckoned".to_owned()));
    };
    // One after the other from the past to the future: only the first few are of interest.
    let mut open = None;
    let mut next = None;
    for begin in set.after(behind).before(ahead).into_iter().take(MANY.into()) {
        let Ok(begin) = Timestamp::from_second(begin.timestamp()) else {
            continue;
        };
        if begin > now {
            next = Some(begin);
            break;
        }
        open = open.max(end(begin, long).filter(|end| *end > now));
    }
    Ok((open, next))
}

fn end(begin: Timestamp, long: Duration) -> Option<Timestamp> {
    begin.checked_add(long).ok()
}

fn rule(window: &Window, now: Timestamp) -> Result<RRuleSet, String> {
    let rule = window.rule.trim();
    let rule = rule.strip_prefix("RRULE:").unwrap_or(rule).to_ascii_uppercase();
    if rule.contains(['\n', '\r', ':']) {
        return Err("it is one rule, without DTSTART: give spec.start and timeZone instead".to_owned());
    }
    let part = |key: &str| {
        rule.split(';')
            .find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
    };
    match part("FREQ") {
        Some("DAILY" | "WEEKLY" | "MONTHLY" | "YEARLY") => {}
        _ => return Err("FREQ must be DAILY, WEEKLY, MONTHLY or YEARLY".to_owned()),
    }
    let counts = part("COUNT").is_some() || part("INTERVAL").is_some_and(|every| every != "1");
    let says = |keys: &[&str]| keys.iter().any(|key| part(key).is_some());
    let anchored = match part("FREQ") {
        Some("DAILY") => true,
        Some("WEEKLY") => says(&["BYDAY"]),
        Some("MONTHLY") => says(&["BYDAY", "BYMONTHDAY"]),
        _ => says(&["BYYEARDAY"]) || (says(&["BYMONTH", "BYWEEKNO"]) && says(&["BYDAY", "BYMONTHDAY"])),
    };
    let zone: chrono_tz::Tz = window
        .time_zone
        .parse()
        .map_err(|_| format!("{} is no IANA time zone", window.time_zone))?;
    let zone = Tz::Tz(zone);
    let start = match &window.start {
        Some(start) => NaiveDateTime::parse_from_str(start, "%Y-%m-%dT%H:%M:%S")
            .map_err(|_| format!("{start} is no local time like 2026-01-04T03:00:00"))?,
        None if counts => return Err("with INTERVAL or COUNT it needs a start".to_owned()),
        None if !anchored => {
            return Err("it needs a start, or must say on which days it comes (BYDAY)".to_owned());
        }
        None => {
            let then = DateTime::from_timestamp(now.as_second() - BEHIND_DAYS * 86_400, 0);
            let day = then.map(|then| then.with_timezone(&zone).date_naive());
            day.and_then(|day| day.and_hms_opt(0, 0, 0))
                .ok_or("the clock is beyond what can be reckoned")?
        }
    };
    // A start that a change of the clocks leaves out or doubles: the first instant after it, or the earlier one.
    let start = zone
        .from_local_datetime(&start)
        .earliest()
        .or_else(|| {
            zone.from_local_datetime(&(start + chrono::Duration::hours(1)))
                .earliest()
        })
        .ok_or("its start is no time of that zone")?;
    let rule: rrule::RRule<rrule::Unvalidated> = rule
        .parse()
        .map_err(|error: rrule::RRuleError| error.to_string())?;
    rule.build(start).map_err(|error| error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "all of this is a test")]
mod tests {
    use super::*;

    fn window(rule: &str, zone: &str, duration: &str) -> Window {
        Window {
            rule: rule.to_owned(),
            time_zone: zone.to_owned(),
            start: None,
            duration: duration.into(),
        }
    }

    fn told(windows: &[Window], now: &str) -> String {
        match hours(windows, now.parse().unwrap()) {
            Ok(Hours::Open { until }) => format!("open until {until}"),
            Ok(Hours::Shut { until: Some(until) }) => format!("shut until {until}"),
            Ok(Hours::Shut { until: None }) => "shut".to_owned(),
            Err(why) => format!("wrong: {why}"),
        }
    }

    #[test]
    fn a_nightly_window_opens_and_shuts() {
        let nightly = [window(
            "FREQ=DAILY;BYHOUR=2;BYMINUTE=0;BYSECOND=0",
            "Etc/UTC",
            "4h",
        )];
        assert_eq!(
            told(&nightly, "2026-03-01T01:59:59Z"),
            "shut until 2026-03-01T02:00:00Z"
        );
        assert_eq!(
            told(&nightly, "2026-03-01T02:00:00Z"),
            "open until 2026-03-01T06:00:00Z"
        );
        assert_eq!(
            told(&nightly, "2026-03-01T05:59:59Z"),
            "open until 2026-03-01T06:00:00Z"
        );
        assert_eq!(
            told(&nightly, "2026-03-01T06:00:00Z"),
            "shut until 2026-03-02T02:00:00Z"
        );
    }

    #[test]
    fn local_time_is_kept_when_the_clocks_change() {
        let sundays = [window(
            "FREQ=WEEKLY;BYDAY=SU;BYHOUR=4;BYMINUTE=30;BYSECOND=0",
            "Europe/Berlin",
            "1h",
        )];
        // The last Sunday of winter time, and the first of summer time, which begins that morning.
        assert_eq!(
            told(&sundays, "2026-03-21T12:00:00Z"),
            "shut until 2026-03-22T03:30:00Z"
        );
        assert_eq!(
            told(&sundays, "2026-03-28T12:00:00Z"),
            "shut until 2026-03-29T02:30:00Z"
        );
        // And back.
        assert_eq!(
            told(&sundays, "2026-10-24T12:00:00Z"),
            "shut until 2026-10-25T03:30:00Z"
        );
    }

    #[test]
    fn a_time_that_the_clocks_leave_out_stops_no_later_window() {
        let missing = [window(
            "FREQ=DAILY;BYHOUR=2;BYMINUTE=30;BYSECOND=0",
            "Europe/Berlin",
            "15m",
        )];
        let found = told(&missing, "2026-03-29T00:00:00Z");
        assert!(
            found.starts_with("shut until 2026-03-29") || found.starts_with("shut until 2026-03-30"),
            "{found}"
        );
        assert_eq!(
            told(&missing, "2026-03-29T12:00:00Z"),
            "shut until 2026-03-30T00:30:00Z"
        );
    }

    #[test]
    fn the_longest_of_the_open_windows_counts_and_a_day_long_one_never_shuts() {
        let both = [
            window("FREQ=DAILY;BYHOUR=1;BYMINUTE=0;BYSECOND=0", "Etc/UTC", "2h"),
            window("FREQ=DAILY;BYHOUR=2;BYMINUTE=0;BYSECOND=0", "Etc/UTC", "4h"),
        ];
        assert_eq!(
            told(&both, "2026-03-01T02:30:00Z"),
            "open until 2026-03-01T06:00:00Z"
        );
        let always = [window("FREQ=DAILY", "Etc/UTC", "24h")];
        for now in [
            "2026-03-01T00:00:00Z",
            "2026-03-01T23:59:59Z",
            "2026-12-31T23:59:59Z",
        ] {
            assert!(told(&always, now).starts_with("open until"), "{now}");
        }
    }

    #[test]
    fn rare_and_past_windows() {
        let leap = [window(
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYHOUR=0;BYMINUTE=0;BYSECOND=0",
            "Etc/UTC",
            "24h",
        )];
        assert_eq!(
            told(&leap, "2026-03-01T00:00:00Z"),
            "shut until 2028-02-29T00:00:00Z"
        );
        let over = [window("FREQ=DAILY;UNTIL=20250101T000000Z", "Etc/UTC", "1h")];
        assert!(
            told(&over, "2026-03-01T00:00:00Z").starts_with("shut")
                || told(&over, "2026-03-01T00:00:00Z").starts_with("wrong")
        );
    }

    #[test]
    fn a_start_gives_the_time_of_day_and_the_phase() {
        let mut other_week = window("FREQ=WEEKLY;INTERVAL=2", "Europe/Berlin", "1h");
        other_week.start = Some("2026-01-04T03:00:00".to_owned());
        let other_week = [other_week];
        assert_eq!(
            told(&other_week, "2026-01-05T00:00:00Z"),
            "shut until 2026-01-18T02:00:00Z"
        );
        assert_eq!(
            told(&other_week, "2026-01-18T02:30:00Z"),
            "open until 2026-01-18T03:00:00Z"
        );
    }

    #[test]
    fn nonsense_is_told_in_words() {
        for (rule, zone) in [
            ("FREQ=SECONDLY", "Etc/UTC"),
            ("FREQ=HOURLY", "Etc/UTC"),
            ("every sunday", "Etc/UTC"),
            ("FREQ=DAILY;BYHOUR=25", "Etc/UTC"),
            ("FREQ=DAILY;INTERVAL=3", "Etc/UTC"),
            ("FREQ=WEEKLY;BYDAY=XX", "Etc/UTC"),
            ("FREQ=WEEKLY", "Etc/UTC"),
            ("FREQ=MONTHLY", "Etc/UTC"),
            ("FREQ=YEARLY;BYMONTH=1", "Etc/UTC"),
            ("DTSTART:20260101T000000Z\nRRULE:FREQ=DAILY", "Etc/UTC"),
            ("FREQ=DAILY", "Mars/Olympus"),
            ("FREQ=DAILY;FREQ=DAILY;;;=", "Etc/UTC"),
        ] {
            let found = told(&[window(rule, zone, "1h")], "2026-03-01T00:00:00Z");
            assert!(found.starts_with("wrong: "), "{rule} {zone}: {found}");
        }
        assert!(told(&[window("FREQ=DAILY", "Etc/UTC", "25h")], "2026-03-01T00:00:00Z").starts_with("wrong"));
    }

    #[test]
    fn many_evaluations_take_no_time() {
        let windows = [window(
            "FREQ=WEEKLY;BYDAY=SU;BYHOUR=4;BYMINUTE=30;BYSECOND=0",
            "Europe/Berlin",
            "1h",
        )];
        let begin = std::time::Instant::now();
        for second in 0..50 {
            let now = Timestamp::from_second(1_800_000_000 + second).unwrap();
            hours(&windows, now).unwrap();
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
}
