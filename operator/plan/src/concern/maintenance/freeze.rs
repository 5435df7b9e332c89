//! Freezes: times in which nothing that restarts pods is done, whatever the windows say.
//!
//! In: freezes, windows and an instant. Out: open until, or shut until the first instant at which a window is open and no freeze holds.
//! Invariant: the answer is the same for every instant before the one that it names.

use freehold_crds::{Freeze, Window};
use jiff::Timestamp;

use super::{Hours, hours};

/// A time without a gap in which freezes hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen<'a> {
    pub until: Timestamp,
    /// Why, as the first of them says.
    pub reason: &'a str,
}

/// What holds at an instant. Freezes that overlap or touch are one.
pub fn frozen(freezes: &[Freeze], now: Timestamp) -> Option<Frozen<'_>> {
    let mut sorted: Vec<&Freeze> = freezes
        .iter()
        .filter(|freeze| freeze.from.0 < freeze.until.0)
        .collect();
    sorted.sort_by_key(|freeze| freeze.from.0);
    let mut holds: Option<Frozen<'_>> = None;
    for freeze in sorted {
        match &mut holds {
            Some(holds) if freeze.from.0 <= holds.until => holds.until = holds.until.max(freeze.until.0),
            Some(holds) if holds.until > now => break,
            _ if freeze.from.0 > now => break,
            _ => {
                holds = Some(Frozen {
                    until: freeze.until.0,
                    reason: &freeze.reason,
                });
            }
        }
    }
    holds.filter(|holds| holds.until > now)
}

/// Whether one of the windows is open at an instant, and no freeze holds.
pub fn with_freezes(windows: &[Window], freezes: &[Freeze], now: Timestamp) -> Result<Hours, String> {
    let mut at = now;
    // Each turn is behind one more freeze.
    for _ in 0..=freezes.len() {
        if let Some(holds) = frozen(freezes, at) {
            at = holds.until;
            // A rule may have come for the last time by then: that is told when it is so.
            let Ok(then) = hours(windows, at) else {
                return Ok(Hours::Shut { until: Some(at) });
            };
            match then {
                Hours::Open { .. } => return Ok(Hours::Shut { until: Some(at) }),
                Hours::Shut { until: None } => return Ok(then),
                Hours::Shut { until: Some(until) } => at = until,
            }
        } else if at > now {
            return Ok(Hours::Shut { until: Some(at) });
        } else {
            match hours(windows, at)? {
                Hours::Open { until } => {
                    let begins = freezes
                        .iter()
                        .map(|freeze| freeze.from.0)
                        .filter(|from| *from > now);
                    let until = begins.min().map_or(until, |begins| begins.min(until));
                    return Ok(Hours::Open { until });
                }
                Hours::Shut { until: Some(until) } => at = until,
                shut => return Ok(shut),
            }
        }
    }
    Ok(Hours::Shut { until: Some(at) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "all of this is a test")]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn nightly() -> Vec<Window> {
        serde_json::from_value(
            json!([{"rule": "FREQ=DAILY;BYHOUR=2;BYMINUTE=0;BYSECOND=0", "duration": "4h"}]),
        )
        .unwrap()
    }

    fn freeze(from: &str, until: &str, reason: &str) -> Freeze {
        serde_json::from_value(json!({"from": from, "until": until, "reason": reason})).unwrap()
    }

    fn told(freezes: &[Freeze], now: &str) -> String {
        match with_freezes(&nightly(), freezes, now.parse().unwrap()) {
            Ok(Hours::Open { until }) => format!("open until {until}"),
            Ok(Hours::Shut { until: Some(until) }) => format!("shut until {until}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_freeze_wins_over_an_open_window_and_ends_in_the_middle_of_one() {
        let year_end = [freeze(
            "2026-12-20T03:00:00Z",
            "2027-01-06T03:30:00Z",
            "year's end",
        )];
        assert_eq!(
            told(&year_end, "2026-12-20T02:10:00Z"),
            "open until 2026-12-20T03:00:00Z"
        );
        assert_eq!(
            told(&year_end, "2026-12-20T03:00:00Z"),
            "shut until 2027-01-06T03:30:00Z"
        );
        assert_eq!(
            told(&year_end, "2026-12-20T12:00:00Z"),
            "shut until 2027-01-06T03:30:00Z"
        );
        assert_eq!(
            told(&year_end, "2027-01-06T03:30:00Z"),
            "open until 2027-01-06T06:00:00Z"
        );
        assert_eq!(
            told(&[], "2026-12-20T03:00:00Z"),
            "open until 2026-12-20T06:00:00Z"
        );
    }

    #[test]
    fn when_a_freeze_ends_outside_of_the_windows_the_next_one_counts() {
        let day = [freeze("2026-12-20T00:00:00Z", "2026-12-21T12:00:00Z", "audit")];
        assert_eq!(
            told(&day, "2026-12-20T02:30:00Z"),
            "shut until 2026-12-22T02:00:00Z"
        );
        // Before it too: what opens next lies in it.
        assert_eq!(
            told(&day, "2026-12-19T12:00:00Z"),
            "shut until 2026-12-22T02:00:00Z"
        );
    }

    #[test]
    fn freezes_that_overlap_or_touch_are_one() {
        let many = [
            freeze("2026-12-22T00:00:00Z", "2026-12-23T00:00:00Z", "third"),
            freeze("2026-12-20T00:00:00Z", "2026-12-21T12:00:00Z", "first"),
            freeze("2026-12-21T00:00:00Z", "2026-12-22T00:00:00Z", "second"),
        ];
        for now in [
            "2026-12-20T00:00:00Z",
            "2026-12-21T06:00:00Z",
            "2026-12-22T23:59:59Z",
        ] {
            let holds = frozen(&many, now.parse().unwrap()).unwrap();
            assert_eq!(
                (holds.until.to_string().as_str(), holds.reason),
                ("2026-12-23T00:00:00Z", "first")
            );
        }
        assert_eq!(frozen(&many, "2026-12-23T00:00:00Z".parse().unwrap()), None);
        assert_eq!(frozen(&many, "2026-12-19T23:59:59Z".parse().unwrap()), None);
    }

    #[test]
    fn a_rule_that_has_come_for_the_last_time_when_a_freeze_ends_is_told_then() {
        let mut windows = nightly();
        windows[0].rule = "FREQ=DAILY;BYHOUR=2;BYMINUTE=0;BYSECOND=0;UNTIL=20261222T000000Z".into();
        let freezes = [freeze("2026-12-20T00:00:00Z", "2026-12-24T00:00:00Z", "audit")];
        let at = |now: &str| with_freezes(&windows, &freezes, now.parse().unwrap());
        let until = Some("2026-12-24T00:00:00Z".parse().unwrap());
        assert_eq!(at("2026-12-21T00:00:00Z"), Ok(Hours::Shut { until }));
        assert_eq!(at("2026-12-23T00:00:00Z"), Ok(Hours::Shut { until }));
        assert!(at("2026-12-24T00:00:00Z").is_err());
    }

    proptest! {
        #[test]
        fn nothing_changes_before_the_instant_that_is_named(
            spans in proptest::collection::vec((0..240_i64, 1..60_i64), 0..6),
            now in 0..240_i64,
            part in 0.0..1.0_f64,
        ) {
            let start: Timestamp = "2026-12-20T00:00:00Z".parse().unwrap();
            let at = |hour: i64| start + SignedDuration::from_hours(hour);
            let freezes: Vec<Freeze> = spans
                .iter()
                .map(|(from, long)| freeze(&at(*from).to_string(), &at(from + long).to_string(), "why"))
                .collect();
            let first = with_freezes(&nightly(), &freezes, at(now)).unwrap();
            let until = first.until().unwrap();
            prop_assert!(until > at(now));
            let later = at(now) + SignedDuration::from_secs_f64((until - at(now)).total(jiff::Unit::Second).unwrap() * part * 0.999);
            prop_assert_eq!(with_freezes(&nightly(), &freezes, later).unwrap(), first);
            prop_assert!(!first.is_open() || frozen(&freezes, at(now)).is_none());
            let then = with_freezes(&nightly(), &freezes, until).unwrap();
            prop_assert!(then.is_open() != first.is_open());
        }
    }
}
