//! Instants for writing down: on a grid, so that a plan which writes "now" is the same plan until the next point of it.

use jiff::Timestamp;

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
