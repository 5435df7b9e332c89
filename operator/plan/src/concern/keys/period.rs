//! How long a key is used: its cryptoperiod.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::jitter;

pub struct Period(SignedDuration);

impl Period {
    pub fn of(period: Duration) -> Self {
        Self(SignedDuration::try_from(period).unwrap_or(SignedDuration::MAX))
    }

    /// When a key that was made then is to be replaced: up to a tenth before its end.
    pub fn due(&self, made: Timestamp, topic: &[&str]) -> Timestamp {
        let early = jitter(topic, self.0.as_secs() / 10);
        made.checked_add(self.0 - early).unwrap_or(Timestamp::MAX)
    }

    /// Whether such a key is older than it may be.
    pub fn is_over(&self, made: Timestamp, now: Timestamp) -> bool {
        made.checked_add(self.0).is_ok_and(|end| end <= now)
    }
}
