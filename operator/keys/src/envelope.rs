//! A wrapped data key as the Secret that kubelet hands to a CSI driver: texts only, because kubelet passes strings.
//!
//! Invariant: the data key's id is not in it. A driver takes that from its own volume id, so that the Secret of one
//! volume, copied to another, opens nothing.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::{KeyError, KeyName, Wrapped};

const TENANT_KEY: &str = "tenantKey";
const VERSION: &str = "version";
const INCARNATION: &str = "incarnation";
const WRAPPED: &str = "wrapped";

/// What the Secret says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub key: KeyName,
    pub incarnation: String,
    pub wrapped: Wrapped,
}

impl Envelope {
    /// The content of the Secret.
    pub fn to_texts(&self) -> BTreeMap<String, String> {
        let entry = |key: &str, text: String| (key.to_owned(), text);
        BTreeMap::from([
            entry(TENANT_KEY, self.key.to_string()),
            entry(VERSION, self.wrapped.version.to_string()),
            entry(INCARNATION, self.incarnation.clone()),
            entry(WRAPPED, STANDARD.encode(&self.wrapped.bytes)),
        ])
    }

    /// Reads the content of a Secret. What is missing or broken is Corrupt.
    pub fn from_texts<'a>(texts: impl Fn(&str) -> Option<&'a str>) -> Result<Self, KeyError> {
        let text = |key| texts(key).ok_or_else(|| KeyError::Corrupt(format!("the Secret has no {key}")));
        let broken = |key| KeyError::Corrupt(format!("the Secret's {key} can't be read"));
        let version: u32 = text(VERSION)?.parse().map_err(|_| broken(VERSION))?;
        Ok(Self {
            key: text(TENANT_KEY)?.parse().map_err(|_| broken(TENANT_KEY))?,
            incarnation: text(INCARNATION)?.to_owned(),
            wrapped: Wrapped {
                version,
                bytes: STANDARD.decode(text(WRAPPED)?).map_err(|_| broken(WRAPPED))?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        Envelope {
            key: "acme".parse().unwrap(),
            incarnation: "5f0c".into(),
            wrapped: Wrapped {
                version: 7,
                bytes: vec![1, 0xff, 0],
            },
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let texts = envelope().to_texts();
        let text = line(&texts);
        assert_eq!(text, "incarnation=5f0c tenantKey=acme version=7 wrapped=Af8A");
        let read = Envelope::from_texts(|key| texts.get(key).map(String::as_str)).unwrap();
        assert_eq!(read, envelope());
    }

    fn line(texts: &BTreeMap<String, String>) -> String {
        let pairs: Vec<String> = texts.iter().map(|(key, text)| format!("{key}={text}")).collect();
        pairs.join(" ")
    }

    #[test]
    fn what_is_missing_or_broken_is_corrupt_and_named() {
        for key in [TENANT_KEY, VERSION, INCARNATION, WRAPPED] {
            let mut texts = envelope().to_texts();
            texts.remove(key);
            let error = Envelope::from_texts(|key| texts.get(key).map(String::as_str)).unwrap_err();
            assert!(
                matches!(&error, KeyError::Corrupt(text) if text.contains(key)),
                "{error}"
            );
        }
        for (key, bad) in [(TENANT_KEY, "A B"), (VERSION, "-1"), (WRAPPED, "%")] {
            let mut texts = envelope().to_texts();
            texts.insert(key.into(), bad.into());
            let error = Envelope::from_texts(|key| texts.get(key).map(String::as_str)).unwrap_err();
            assert!(
                matches!(&error, KeyError::Corrupt(text) if text.contains(key)),
                "{error}"
            );
        }
    }
}
