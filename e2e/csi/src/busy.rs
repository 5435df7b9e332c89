//! One call at a time for each volume: the others are told to come again, as CSI wants it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::failure::Failure;

/// The volumes that a call works on.
#[derive(Debug, Clone, Default)]
pub struct Busy(Arc<Mutex<BTreeSet<String>>>);

/// Held for as long as the call works.
#[derive(Debug)]
pub struct Turn {
    busy: Busy,
    volume: String,
}

impl Busy {
    pub fn turn(&self, volume: &str) -> Result<Turn, Failure> {
        if !self.all().insert(volume.to_owned()) {
            return Err(Failure::Busy(volume.to_owned()));
        }
        Ok(Turn {
            busy: self.clone(),
            volume: volume.to_owned(),
        })
    }

    fn all(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.busy.all().remove(&self.volume);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_call_on_a_volume_is_turned_away_until_the_first_ends() {
        let busy = Busy::default();
        let first = busy.turn("a").unwrap();
        assert!(matches!(busy.turn("a"), Err(Failure::Busy(_))));
        assert!(busy.turn("b").is_ok());
        drop(first);
        assert!(busy.turn("a").is_ok());
    }
}
