//! In: login attempts by e-mail address. Out: how long to wait before the next one.
//!
//! The first [`FREE`] failures cost nothing, then the wait doubles up to [`LONGEST`]; a success forgets them. Kept in
//! memory: with N replicas somebody gets N times as many attempts, which argon2 makes slow enough. The address, not the
//! sender, is what is counted; the short maximum keeps that from becoming a way to lock somebody out.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

const FREE: u32 = 5;
const LONGEST: Duration = Duration::from_secs(60);
const FORGET: Duration = Duration::from_secs(900);
const MOST: usize = 10_000;

#[derive(Default)]
pub struct Throttle(Mutex<HashMap<String, Failures>>);

struct Failures {
    count: u32,
    last: Instant,
}

impl Throttle {
    /// Counts an attempt before it is made, so that many at once gain nothing; the error is the seconds to wait.
    pub fn attempt(&self, email: &str, now: Instant) -> Result<(), u64> {
        let Ok(mut known) = self.0.lock() else {
            return Ok(());
        };
        if known.len() >= MOST {
            known.retain(|_, failures| now.duration_since(failures.last) < wait(failures.count));
        }
        let failures = known
            .entry(email.to_lowercase())
            .or_insert(Failures { count: 0, last: now });
        if now.duration_since(failures.last) > FORGET {
            failures.count = 0;
        }
        let over = failures.last + wait(failures.count);
        if over > now {
            return Err((over - now).as_secs() + 1);
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        Ok(())
    }

    pub fn succeeded(&self, email: &str) {
        if let Ok(mut known) = self.0.lock() {
            known.remove(&email.to_lowercase());
        }
    }
}

fn wait(count: u32) -> Duration {
    match count.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(over) => Duration::from_secs(1 << over.min(6)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_and_a_success_ends_it() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for _ in 0..FREE {
            assert_eq!(throttle.attempt("Ada@acme.example", start), Ok(()));
        }
        assert_eq!(throttle.attempt("ada@acme.example", start), Err(2));
        assert_eq!(throttle.attempt("bob@acme.example", start), Ok(()));
        let later = start + Duration::from_secs(1);
        assert_eq!(throttle.attempt("ada@acme.example", later), Ok(()));
        assert_eq!(
            throttle.attempt("ada@acme.example", later + Duration::from_secs(1)),
            Err(2)
        );
        throttle.succeeded("ada@acme.example");
        assert_eq!(throttle.attempt("ada@acme.example", later), Ok(()));
        assert_eq!(wait(40), LONGEST);
    }
}
