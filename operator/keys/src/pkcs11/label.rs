//! What is written on the objects of a key: `freehold/v1 version=2 created=1700000000 id=…`. In: bytes. Out: what they
//! say, or nothing. No token.

use std::fmt;

use jiff::Timestamp;

/// The first word, with the format's number.
const FORMAT: &str = "freehold/v1";

/// Sorted by version, then by date, then by id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Label {
    pub number: u32,
    pub created_at: Timestamp,
    /// Tells keys of one version apart; empty on tombstones.
    pub id: String,
    /// On tombstones.
    pub destroyed_at: Option<Timestamp>,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{FORMAT} version={} created={} id={}",
            self.number,
            self.created_at.as_second(),
            self.id
        )?;
        match self.destroyed_at {
            None => Ok(()),
            Some(at) => write!(f, " destroyed={}", at.as_second()),
        }
    }
}

impl Label {
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(bytes).ok()?.split(' ');
        if words.next()? != FORMAT {
            return None;
        }
        let mut value = |name: &str| {
            words
                .next()?
                .strip_prefix(name)?
                .strip_prefix('=')
                .map(str::to_owned)
        };
        let label = Self {
            number: value("version")?.parse().ok().filter(|number| *number > 0)?,
            created_at: time(&value("created")?)?,
            id: value("id")?,
            destroyed_at: value("destroyed")
                .map(|text| time(&text).ok_or(()))
                .transpose()
                .ok()?,
        };
        // What is not understood whole is not understood.
        (label.to_string().as_bytes() == bytes).then_some(label)
    }
}

fn time(text: &str) -> Option<Timestamp> {
    Timestamp::from_second(text.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nothing_else_is() {
        let label = Label {
            number: 2,
            created_at: Timestamp::from_second(1_700_000_000).unwrap(),
            id: "00ff".into(),
            destroyed_at: None,
        };
        let tombstone = Label {
            destroyed_at: Timestamp::from_second(1_700_000_001).ok(),
            ..label.clone()
        };
        let text = tombstone.to_string();
        assert_eq!(
            text,
            "freehold/v1 version=2 created=1700000000 id=00ff destroyed=1700000001"
        );
        assert_eq!(Label::parse(text.as_bytes()), Some(tombstone));
        assert_eq!(Label::parse(label.to_string().as_bytes()), Some(label));
        for bad in [
            "",
            "freehold/v2 version=2 created=1 id=a",
            "freehold/v1 version=0 created=1 id=a",
            "freehold/v1 version=-1 created=1 id=a",
            "freehold/v1 version=02 created=1 id=a",
            "freehold/v1 version=2 created=x id=a",
            "freehold/v1 version=2 created=1",
            "freehold/v1 version=2 created=1 id=a more",
            "freehold/v1 version=2 created=1 id=a destroyed=",
        ] {
            assert_eq!(Label::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
