//! Maintenance windows: whether what restarts pods may be done now, and when that changes.
//!
//! In: recurrence rules of RFC 5545 with an IANA zone, freezes, and an instant. Out: open until, or shut until. A rule that can't be
//! read is an error in words, never a panic and never "open".

mod freeze;

use std::time::Duration;

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone as _};
use freehold_crds::{OPEN, Tenant, TenantClassSpec, Window};
use jiff::Timestamp;
use rrule::{RRule, RRuleError, RRuleSet, Tz, Unvalidated};

use super::Scene;
use crate::outcome::{Outcome, Wait};
use freeze::{Frozen, frozen};

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

/// Whether what restarts the pods of a tenant may be done at an instant: by its own windows, or else by those of this class, and by its
/// freezes.
pub fn of(tenant: &Tenant, class: &TenantClassSpec, now: Timestamp) -> Result<Hours, String> {
    let own = tenant.spec.maintenance.as_ref();
    let windows = own.map(|own| &own.windows).filter(|own| !own.is_empty());
    let freezes = own.map_or(&[][..], |own| &own.freezes);
    freeze::with_freezes(windows.unwrap_or(&class.maintenance.windows), freezes, now)
}

/// What of the tenant's own freezes holds at an instant.
pub fn frozen_now(tenant: &Tenant, now: Timestamp) -> Option<Frozen<'_>> {
    frozen(&tenant.spec.maintenance.as_ref()?.freezes, now)
}

/// How far a rule is looked through: until a leap day has come.
const AHEAD_DAYS: i64 = 4 * 366 + 1;
/// More occurrences than these in that time are none of a window: four a day.
const MANY: usize = 6000;

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
    // From the past to the future, which the rule's own end bounds: only the first few are of interest.
    let mut open = None;
    // A rule that never comes would otherwise be gone through until the year 9999.
    for (count, begin) in set.limit().into_iter().enumerate() {
        if count >= MANY {
            return Err(wrong("it comes too often".to_owned()));
        }
        let Ok(begin) = Timestamp::from_second(begin.timestamp()) else {
            continue;
        };
        if begin > now {
            return Ok((open, Some(begin)));
        }
        open = open.max(end(begin, long).filter(|end| *end > now));
    }
    if open.is_none() {
        return Err(wrong("it does not come within the next four years".to_owned()));
    }
    Ok((open, None))
}

fn end(begin: Timestamp, long: Duration) -> Option<Timestamp> {
    begin.checked_add(long).ok()
}

/// The rule from a little before now to some years after, so that it is quickly gone through whatever it says.
fn rule(window: &Window, now: Timestamp) -> Result<RRuleSet, String> {
    let text = window.rule.trim();
    let text = text.strip_prefix("RRULE:").unwrap_or(text).to_ascii_uppercase();
    if text.contains(['\n', '\r', ':']) {
        return Err("it is one rule, without DTSTART: give spec.start and timeZone instead".to_owned());
    }
    let part = |key: &str| {
        text.split(';')
            .find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
    };
    let says = |keys: &[&str]| keys.iter().any(|key| part(key).is_some());
    let frequency = part("FREQ").unwrap_or_default();
    let anchored = match frequency {
        "DAILY" => true,
        "WEEKLY" => says(&["BYDAY"]),
        "MONTHLY" => says(&["BYDAY", "BYMONTHDAY"]),
        "YEARLY" => {
            says(&["BYYEARDAY"]) || (says(&["BYMONTH", "BYWEEKNO"]) && says(&["BYDAY", "BYMONTHDAY"]))
        }
        _ => return Err("FREQ must be DAILY, WEEKLY, MONTHLY or YEARLY".to_owned()),
    };
    if says(&["COUNT"]) {
        return Err("a window has no COUNT: end it with UNTIL".to_owned());
    }
    let times = |key: &str| part(key).map_or(1, |list| list.split(',').count());
    if times("BYHOUR") * times("BYMINUTE") * times("BYSECOND") > 4 {
        return Err("it opens more than four times a day".to_owned());
    }
    let every: i64 = part("INTERVAL")
        .map_or(Ok(1), str::parse)
        .map_err(|_| "INTERVAL is no number".to_owned())?;
    let zone: chrono_tz::Tz = window
        .time_zone
        .parse()
        .map_err(|_| format!("{} is no IANA time zone", window.time_zone))?;
    let zone = Tz::Tz(zone);
    let utc = |moved: i64| DateTime::from_timestamp(now.as_second().saturating_add(moved * 86_400), 0);
    let (Some(today), Some(ahead)) = (utc(0), utc(AHEAD_DAYS)) else {
        return Err("the clock is beyond what can be reckoned".to_owned());
    };
    let today = today.with_timezone(&zone).date_naive();
    let start = match &window.start {
        Some(start) => {
            let start = NaiveDateTime::parse_from_str(start, "%Y-%m-%dT%H:%M:%S")
                .map_err(|_| format!("{start} is no local time like 2026-01-04T03:00:00"))?;
            forward(start, today, frequency, every.max(1))
        }
        None if every != 1 => return Err("with INTERVAL it needs a start".to_owned()),
        None if !anchored => {
            return Err("it needs a start, or must say on which days it comes (BYDAY)".to_owned());
        }
        None => beginning(today, frequency).and_time(NaiveTime::MIN),
    };
    // A start that a change of the clocks leaves out or doubles: the first instant after it, or the earlier one.
    let start = zone
        .from_local_datetime(&start)
        .earliest()
        .or_else(|| {
            zone.from_local_datetime(&(start + TimeDelta::hours(1)))
                .earliest()
        })
        .ok_or("its start is no time of that zone")?;
    let read: RRule<Unvalidated> = text.parse().map_err(|error: RRuleError| error.to_string())?;
    let ahead = ahead.with_timezone(&Tz::UTC).max(start.with_timezone(&Tz::UTC));
    let until = read
        .get_until()
        .map_or(ahead, |own| ahead.min(own.with_timezone(&Tz::UTC)));
    // The end of a rule is given in the zone of its start.
    read.until(until.with_timezone(&Tz::UTC))
        .build(start)
        .map_err(|error| error.to_string())
}

/// The beginning of the period before the present one: of a rule that says by itself on which days it comes, every
/// period from there on is whole.
fn beginning(today: NaiveDate, frequency: &str) -> NaiveDate {
    let back = |days: i64| today.checked_sub_signed(TimeDelta::days(days)).unwrap_or(today);
    match frequency {
        "DAILY" => back(3),
        // A Monday: weeks begin there unless a rule says otherwise, and then two weeks are enough all the same.
        "WEEKLY" => back(21 + i64::from(today.weekday().num_days_from_monday())),
        "MONTHLY" => back(62).with_day(1).unwrap_or(today),
        _ => back(366).with_ordinal(1).unwrap_or(today),
    }
}

/// A start that lies far back, moved by whole periods to shortly before today: the rule is the same from there on.
fn forward(start: NaiveDateTime, today: NaiveDate, frequency: &str, every: i64) -> NaiveDateTime {
    let period = match frequency {
        "DAILY" => every,
        "WEEKLY" => 7 * every,
        // Days of a month, and leap days, don't repeat so simply, and there are few of them.
        _ => return start,
    };
    let past = today.signed_duration_since(start.date()).num_days() - 8;
    let moved = past.div_euclid(period).max(0) * period;
    start.checked_add_signed(TimeDelta::days(moved)).unwrap_or(start)
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
        // By the offset of before (RFC 5545, 3.3.5): half past three by the clock.
        assert_eq!(
            told(&missing, "2026-03-29T00:00:00Z"),
            "shut until 2026-03-29T01:30:00Z"
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
        let found = told(&over, "2026-03-01T00:00:00Z");
        assert!(found.starts_with("wrong"), "{found}");
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
    fn a_start_long_ago_is_as_good_as_one_of_today() {
        for (rule, now, expected) in [
            (
                "FREQ=DAILY",
                "2031-06-01T02:59:00Z",
                "shut until 2031-06-01T03:00:00Z",
            ),
            (
                "FREQ=DAILY;INTERVAL=2",
                "2031-06-01T04:00:00Z",
                "open until 2031-06-01T05:00:00Z",
            ),
            (
                "FREQ=WEEKLY;INTERVAL=3",
                "2031-06-01T00:00:00Z",
                "shut until 2031-06-14T03:00:00Z",
            ),
            (
                "FREQ=MONTHLY",
                "2031-06-02T00:00:00Z",
                "shut until 2031-07-01T03:00:00Z",
            ),
            (
                "FREQ=DAILY;BYHOUR=0,6,12,18",
                "2031-06-01T13:00:00Z",
                "open until 2031-06-01T14:00:00Z",
            ),
        ] {
            let mut window = window(rule, "Etc/UTC", "2h");
            window.start = Some("2000-01-01T03:00:00".to_owned());
            assert_eq!(told(&[window], now), expected, "{rule}");
        }
    }

    #[test]
    fn positions_are_counted_in_whole_periods() {
        let mondays = [window(
            "FREQ=WEEKLY;BYDAY=MO,FR;BYSETPOS=1;BYHOUR=0;BYMINUTE=0;BYSECOND=0",
            "Etc/UTC",
            "24h",
        )];
        assert_eq!(
            told(&mondays, "2027-01-01T12:00:00Z"),
            "shut until 2027-01-04T00:00:00Z"
        );
        let last = [window(
            "FREQ=MONTHLY;BYDAY=SU;BYSETPOS=-1;BYHOUR=3;BYMINUTE=0;BYSECOND=0",
            "Etc/UTC",
            "1h",
        )];
        assert_eq!(
            told(&last, "2027-01-01T12:00:00Z"),
            "shut until 2027-01-31T03:00:00Z"
        );
    }

    #[test]
    fn a_rule_that_never_comes_is_found_out_quickly() {
        let begin = std::time::Instant::now();
        for rule in [
            "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
            "FREQ=DAILY;BYSETPOS=2",
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
            "FREQ=MONTHLY;BYMONTHDAY=31;BYMONTH=2",
        ] {
            let found = told(&[window(rule, "Europe/Berlin", "1h")], "2026-03-01T00:00:00Z");
            assert!(found.starts_with("wrong"), "{rule}: {found}");
        }
        println!("four rules that never come: {:?}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }

    #[test]
    fn nonsense_is_told_in_words() {
        for (rule, zone) in [
            ("FREQ=SECONDLY", "Etc/UTC"),
            ("FREQ=HOURLY", "Etc/UTC"),
            ("every sunday", "Etc/UTC"),
            ("FREQ=DAILY;BYHOUR=25", "Etc/UTC"),
            ("FREQ=DAILY;INTERVAL=3", "Etc/UTC"),
            ("FREQ=DAILY;COUNT=3", "Etc/UTC"),
            ("FREQ=DAILY;BYHOUR=0,1,2,3,4", "Etc/UTC"),
            ("FREQ=DAILY;BYSECOND=0,1,2,3,4", "Etc/UTC"),
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
