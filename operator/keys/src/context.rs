//! What a data key is for. In: incarnation, purpose and id. Out: the authenticated data, built here and nowhere else.
//!
//! Invariant: two different contexts never give the same bytes: each part stands behind its length.

use std::fmt;
use std::str::FromStr;

use crate::KeyError;
use crate::error::quoted;

/// Tells these ciphertexts from those of any other program or format.
const DOMAIN: &str = "freehold/v1";
/// Bytes of a part, at most: a Kubernetes name fits.
const PART_MAX: usize = 253;

/// What the data key encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    Volume,
}

impl Purpose {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Volume => "volume",
        }
    }
}

impl FromStr for Purpose {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        match text {
            "volume" => Ok(Self::Volume),
            other => Err(KeyError::Invalid(format!("{} is not a purpose", quoted(other)))),
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a data key is for; a wrapped key opens with the same one only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Context {
    incarnation: String,
    purpose: Purpose,
    id: String,
}

impl Context {
    /// `id` is the data key's own: for a volume its name, which is the CSI volume id too.
    pub fn new(incarnation: &str, purpose: Purpose, id: &str) -> Result<Self, KeyError> {
        for (what, text) in [("incarnation", incarnation), ("id", id)] {
            let graphic = text.bytes().all(|byte| byte.is_ascii_graphic());
            if text.is_empty() || text.len() > PART_MAX || !graphic {
                return Err(KeyError::Invalid(format!(
                    "{} is not the {what} of a data key: 1 to {PART_MAX} visible ASCII characters",
                    quoted(text)
                )));
            }
        }
        Ok(Self {
            incarnation: incarnation.to_owned(),
            purpose,
            id: id.to_owned(),
        })
    }

    pub fn incarnation(&self) -> &str {
        &self.incarnation
    }

    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The authenticated data of the ciphertext.
    pub fn authenticated_data(&self) -> Vec<u8> {
        framed(&[DOMAIN, &self.incarnation, self.purpose.as_str(), &self.id])
    }
}

/// The parts, each behind its length in four bytes, most significant first.
pub(crate) fn framed(parts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authenticated_data_is_what_it_was() {
        // What is wrapped today must open in ten years: these bytes never change.
        let context = Context::new("5f0c", Purpose::Volume, "pvc-1").unwrap();
        let expected = b"\0\0\0\x0bfreehold/v1\0\0\0\x045f0c\0\0\0\x06volume\0\0\0\x05pvc-1";
        assert_eq!(context.authenticated_data(), expected);
    }

    #[test]
    fn a_byte_that_moves_from_one_part_to_the_next_gives_other_data() {
        let of = |incarnation, id| {
            Context::new(incarnation, Purpose::Volume, id)
                .unwrap()
                .authenticated_data()
        };
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_ne!(framed(&["a", "b"]), framed(&["ab"]));
    }

    #[test]
    fn parts_are_visible_and_not_too_long() {
        let long = "a".repeat(254);
        for bad in ["", " ", "a b", "a\0", "ü", long.as_str()] {
            assert!(Context::new(bad, Purpose::Volume, "x").is_err(), "{bad:?}");
            assert!(Context::new("x", Purpose::Volume, bad).is_err(), "{bad:?}");
        }
    }
}
