//! The name of a tenant key: it is the name of a Secret, an id in an HSM, and a path in other key services.

use std::fmt;
use std::str::FromStr;

use crate::KeyError;
use crate::error::quoted;

/// Characters, at most: with what providers put before it, it is a name everywhere.
const MAX: usize = 63;

/// A DNS label: lower-case letters, digits and `-`, neither first nor last, 1 to 63 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// The key of a tenant's life.
    pub fn of_incarnation(incarnation: &str) -> Result<Self, KeyError> {
        incarnation.parse()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=MAX).contains(&text.len()) && text.bytes().all(inner);
        if !fits || text.starts_with('-') || text.ends_with('-') {
            return Err(KeyError::Invalid(format!(
                "{} is not the name of a key: 1 to {MAX} of a-z, 0-9 and -, which is neither first nor last",
                quoted(text)
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_characters_and_their_length() {
        for good in ["a", "0", "5f0c9d8e-1111-4222-8333-444455556666", &"a".repeat(63)] {
            assert_eq!(good.parse::<KeyName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a/b",
            "a b",
            "ä",
            "a\n",
            &"a".repeat(64),
        ] {
            let error = bad.parse::<KeyName>().unwrap_err();
            assert!(matches!(error, KeyError::Invalid(_)), "{bad:?}: {error}");
        }
    }
}
