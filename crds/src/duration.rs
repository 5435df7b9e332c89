//! Lengths of time as people write them in a manifest: `30s`, `90m`, `168h`.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A length of time in seconds (`s`), minutes (`m`) or hours (`h`): whole numbers, one unit. CEL's `duration()` reads the
/// same form, so that a rule in the schema can bound it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub String);

impl Span {
    /// What is written, if it is a length of time and lies within these bounds.
    pub fn within(&self, least: Duration, most: Duration) -> Option<Duration> {
        let text = &self.0;
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let number: u64 = number.parse().ok()?;
        let seconds = match unit {
            "s" => number,
            "m" => number.checked_mul(60)?,
            "h" => number.checked_mul(3600)?,
            _ => return None,
        };
        let span = Duration::from_secs(seconds);
        (least..=most).contains(&span).then_some(span)
    }
}

impl From<&str> for Span {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 8,
            "pattern": "^[1-9][0-9]{0,6}(s|m|h)$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_within_its_bounds() {
        let hour = Duration::from_secs(3600);
        let within = |text: &str| Span::from(text).within(Duration::from_secs(600), 2160 * hour);
        assert_eq!(within("168h"), Some(168 * hour));
        assert_eq!(within("600s"), Some(Duration::from_secs(600)));
        assert_eq!(within("10m"), Some(Duration::from_secs(600)));
        for bad in [
            "",
            "h",
            "9m",
            "2161h",
            "7d",
            "1x",
            "ü",
            "-1h",
            "99999999999999999999h",
        ] {
            assert_eq!(within(bad), None, "{bad}");
        }
    }
}
