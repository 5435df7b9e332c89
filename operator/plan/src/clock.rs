//! Instants for writing down: on a grid, so that a plan which writes "now" is the same plan until the next point of it. And
//! how much earlier than others something is due: by a hash, never at random.

use jiff::{SignedDuration, Timestamp};

use crate::names::digest;

/// Seconds. The API server keeps whole ones.
const GRID: i64 = 5;

/// The point of the grid at or before an instant: what is written down as "now".
pub fn stamp(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second().div_euclid(GRID) * GRID).unwrap_or(now)
}

/// The next point of the grid. A plan that writes a stamp changes its mind then, if it was not carried out.
pub fn soon(now: Timestamp) -> Option<Timestamp> {
    Timestamp::from_second((now.as_second().div_euclid(GRID) + 1) * GRID).ok()
}

/// The last instant up to `latest` of those that come round every `period` seconds. Where they lie is a hash of what they are for:
/// what began at one time is spread over the whole period when it comes round.
pub fn slot(of: &[&str], latest: Timestamp, period: i64) -> Timestamp {
    let hash = i64::from_str_radix(&digest(of)[..15], 16).unwrap_or_default();
    let since = (latest.as_second() - hash).rem_euclid(period.max(1));
    Timestamp::from_second(latest.as_second() - since).unwrap_or(latest)
}

/// Up to so many seconds, by a hash of what it is for: not all tenants at the same time.
pub fn jitter(of: &[&str], most: i64) -> SignedDuration {
    let hash = u16::from_str_radix(&digest(of)[..4], 16).unwrap_or_default();
    SignedDuration::from_secs(most * i64::from(hash) / i64::from(u16::MAX))
}
