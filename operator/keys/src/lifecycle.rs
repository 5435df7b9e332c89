//! What holds for the versions of any provider's key. No client.

use jiff::Timestamp;

use crate::{Destroying, KeyError, KeyName, State, Version};

/// The numbers of the versions that are to be destroyed, the current one last.
pub(crate) fn doomed(key: &KeyName, versions: &[Version], what: Destroying) -> Result<Vec<u32>, KeyError> {
    let number = match what {
        Destroying::All => return Ok(versions.iter().map(|version| version.number).collect()),
        Destroying::Version(number) => number,
    };
    let version = versions
        .iter()
        .find(|version| version.number == number)
        .ok_or_else(|| KeyError::NotFound(format!("{key}, version {number}")))?;
    let is_current = versions.last().is_some_and(|last| last.number == number);
    if is_current && version.state == State::Enabled {
        return Err(KeyError::Conflict(format!(
            "version {number} of {key} is the current one: rotate first, or destroy the whole key"
        )));
    }
    Ok(vec![number])
}

/// The version, unless it was destroyed.
pub(crate) fn enabled(key: &KeyName, version: Version) -> Result<Version, KeyError> {
    match version.state {
        State::Enabled => Ok(version),
        State::Destroyed { at } => Err(KeyError::Destroyed(format!(
            "{key}, version {}, since {at}",
            version.number
        ))),
    }
}

/// Whole seconds, as they cross the wire.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

pub(crate) fn never(key: &KeyName, from: u32) -> KeyError {
    KeyError::Conflict(format!("{key} never had a version {from}"))
}

pub(crate) fn contended(key: &KeyName) -> KeyError {
    KeyError::Unavailable(format!("others keep changing {key}"))
}
