//! What is kept of a tenant key: its versions, each wrapped by the root key. In: bytes. Out: versions and keys, or
//! Corrupt. No client.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::context::framed;
use crate::sealed::{self, KEY};
use crate::{KeyError, KeyName, State, Version};

/// Tells these ciphertexts from those of data keys.
const DOMAIN: &str = "freehold/v1/local";
/// The only format so far.
const FORMAT: u32 = 1;

/// A tenant key. Its `Debug` shows wrapped keys at most.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    format: u32,
    key: String,
    versions: Vec<Entry>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Entry {
    number: u32,
    /// Seconds since 1970.
    created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    destroyed_at: Option<i64>,
    /// In base64; gone when it is destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wrapped: Option<String>,
}

impl Record {
    /// No version yet.
    pub fn empty(key: &KeyName) -> Self {
        Self {
            format: FORMAT,
            key: key.to_string(),
            versions: Vec::new(),
        }
    }

    /// Reads what was written, and checks all of it: half a record is none.
    pub fn read(key: &KeyName, bytes: &[u8]) -> Result<Self, KeyError> {
        let broken =
            |what: &str| KeyError::Corrupt(format!("the record of {key} {what}: restore it from a backup"));
        // The error of the parser would quote what it read.
        let record: Self = serde_json::from_slice(bytes).map_err(|_| broken("is not what was written"))?;
        if record.format != FORMAT {
            return Err(broken("is of another format"));
        }
        if record.key != key.as_str() {
            return Err(broken("is another key's"));
        }
        let mut at = 0;
        for entry in &record.versions {
            at += 1;
            if entry.number != at || entry.destroyed_at.is_some() == entry.wrapped.is_some() {
                return Err(broken("has versions that don't fit each other"));
            }
            if [Some(entry.created_at), entry.destroyed_at]
                .into_iter()
                .flatten()
                .any(|seconds| Timestamp::from_second(seconds).is_err())
            {
                return Err(broken("has a time out of range"));
            }
        }
        if at == 0 {
            return Err(broken("has no version"));
        }
        Ok(record)
    }

    pub fn write(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        serde_json::to_vec(self)
            .map(Zeroizing::new)
            .map_err(|_| KeyError::Invalid(format!("the record of {} can't be written", self.key)))
    }

    pub fn versions(&self) -> Vec<Version> {
        self.versions.iter().map(Entry::version).collect()
    }

    pub fn version(&self, number: u32) -> Result<Version, KeyError> {
        self.entry(number).map(Entry::version)
    }

    pub fn current(&self) -> Result<Version, KeyError> {
        self.versions
            .last()
            .map(Entry::version)
            .ok_or_else(|| KeyError::NotFound(self.key.clone()))
    }

    /// Makes the next version.
    pub fn add(&mut self, root: &[u8], now: Timestamp) -> Result<Version, KeyError> {
        let number = u32::try_from(self.versions.len() + 1)
            .map_err(|_| KeyError::Invalid("there are too many versions".into()))?;
        let created_at = now.as_second();
        let wrapped = sealed::seal(root, &self.bound(number, created_at), &sealed::random(KEY)?)?;
        let entry = Entry {
            number,
            created_at,
            destroyed_at: None,
            wrapped: Some(STANDARD.encode(wrapped)),
        };
        let version = entry.version();
        self.versions.push(entry);
        Ok(version)
    }

    /// The key of a version.
    pub fn open(&self, root: &[u8], number: u32) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let entry = self.entry(number)?;
        let broken = || {
            KeyError::Corrupt(format!(
                "version {number} of {} does not open with this root key: restore both from one backup",
                self.key
            ))
        };
        let wrapped = entry.wrapped.as_ref().ok_or_else(broken)?;
        let wrapped = STANDARD.decode(wrapped).map_err(|_| broken())?;
        sealed::open(root, &self.bound(number, entry.created_at), &wrapped)?.ok_or_else(broken)
    }

    /// Says whether anything changed.
    pub fn destroy(&mut self, numbers: &[u32], now: Timestamp) -> bool {
        let mut changed = false;
        for entry in &mut self.versions {
            if numbers.contains(&entry.number) && entry.wrapped.take().is_some() {
                entry.destroyed_at = Some(now.as_second());
                changed = true;
            }
        }
        changed
    }

    fn entry(&self, number: u32) -> Result<&Entry, KeyError> {
        self.versions
            .iter()
            .find(|entry| entry.number == number)
            .ok_or_else(|| KeyError::NotFound(format!("{}, version {number}", self.key)))
    }

    /// A version is what its record says it is, or it doesn't open.
    fn bound(&self, number: u32, created_at: i64) -> Vec<u8> {
        framed(&[DOMAIN, &self.key, &number.to_string(), &created_at.to_string()])
    }
}

impl Entry {
    /// The times were checked when it was read.
    fn version(&self) -> Version {
        let time = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        Version {
            number: self.number,
            created_at: time(self.created_at),
            state: match self.destroyed_at {
                None => State::Enabled,
                Some(at) => State::Destroyed { at: time(at) },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &[u8; KEY] = b"0123456789abcdef0123456789abcdef";

    fn key() -> KeyName {
        "acme".parse().unwrap()
    }

    fn text(record: &Record) -> String {
        String::from_utf8(record.write().unwrap().to_vec()).unwrap()
    }

    fn two_versions() -> Record {
        let mut record = Record::empty(&key());
        record
            .add(ROOT, Timestamp::from_second(1_700_000_000).unwrap())
            .unwrap();
        record
            .add(ROOT, Timestamp::from_second(1_700_000_100).unwrap())
            .unwrap();
        record
    }

    #[test]
    fn each_version_opens_as_what_it_was_made_as_and_as_nothing_else() {
        let record = two_versions();
        let read = Record::read(&key(), text(&record).as_bytes()).unwrap();
        assert_ne!(read.open(ROOT, 1).unwrap(), read.open(ROOT, 2).unwrap());
        assert!(matches!(read.open(&[7; KEY], 1), Err(KeyError::Corrupt(_))));
        let mut older = record.clone();
        older.versions[0].created_at -= 1;
        assert!(matches!(older.open(ROOT, 1), Err(KeyError::Corrupt(_))));
        let mut swapped = record;
        let second = swapped.versions[1].wrapped.clone();
        swapped.versions[0].wrapped = second;
        assert!(matches!(swapped.open(ROOT, 1), Err(KeyError::Corrupt(_))));
    }

    #[test]
    fn a_record_that_is_not_whole_is_corrupt() {
        let good = text(&two_versions());
        assert!(Record::read(&key(), good.as_bytes()).is_ok());
        let other = good.replace("acme", "other");
        let format = good.replace("\"format\":1", "\"format\":2");
        let gap = good.replace("\"number\":2", "\"number\":3");
        let both = good.replace(
            "\"createdAt\":1700000000",
            "\"createdAt\":1700000000,\"destroyedAt\":1",
        );
        let empty = String::from("{\"format\":1,\"key\":\"acme\",\"versions\":[]}");
        for bad in [other, format, gap, both, empty, good[..good.len() - 1].to_owned()] {
            let error = Record::read(&key(), bad.as_bytes()).unwrap_err();
            assert!(matches!(error, KeyError::Corrupt(_)), "{bad}: {error}");
        }
    }

    #[test]
    fn a_destroyed_version_has_no_key_left() {
        let mut record = two_versions();
        let gone = record.versions[0].wrapped.clone().unwrap();
        let now = Timestamp::from_second(1_700_000_200).unwrap();
        assert!(record.destroy(&[1], now));
        assert!(!record.destroy(&[1], Timestamp::now()));
        assert!(!text(&record).contains(&gone));
        assert_eq!(record.version(1).unwrap().state, State::Destroyed { at: now });
        assert!(Record::read(&key(), text(&record).as_bytes()).is_ok());
    }
}
