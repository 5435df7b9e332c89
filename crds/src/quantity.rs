//! Kubernetes quantities (`500m`, `1Gi`) as strings whose pattern is in the schema.
//!
//! `Amount` is the value in thousandths, for comparing: the API server rewrites `1024Mi` to `1Gi`, and the two must
//! count as equal.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A quantity as it was written, for example `500m`, `2`, `128Mi`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

impl Quantity {
    /// The value in thousandths of the unit; `None` when it isn't a quantity.
    pub fn amount(&self) -> Option<Amount> {
        Amount::parse(&self.0)
    }

    /// Both together; itself when nothing is added, or when one of them can't be read.
    pub fn plus(&self, other: &Quantity) -> Quantity {
        const MEBI: i128 = 1_000 << 20;
        match (self.amount(), other.amount()) {
            (Some(Amount(one)), Some(Amount(other))) if other != 0 => match one.saturating_add(other) {
                sum if sum % MEBI == 0 => Quantity(format!("{}Mi", sum / MEBI)),
                sum if sum % 1000 == 0 => Quantity((sum / 1000).to_string()),
                sum => Quantity(format!("{sum}m")),
            },
            _ => self.clone(),
        }
    }
}

impl From<&str> for Quantity {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 20,
            // No fraction of a thousandth: the API server would spell it with units that nobody expects.
            "pattern": "^([0-9]{1,15}m|[0-9]{1,15}(\\.[0-9]{1,3})?(k|M|G|T|Ki|Mi|Gi|Ti)?)$",
        })
    }
}

/// What a quantity is worth, in thousandths of its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i128);

impl Amount {
    /// Reads the forms that the schema admits, and those that the API server makes of them. `u` and `n` are of neither:
    /// no quantity with them is known, and it is never the same as another.
    pub fn parse(text: &str) -> Option<Self> {
        let split = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(split);
        let factor: i128 = match suffix {
            "m" => 1,
            "" => 1_000,
            "k" => 1_000_000,
            "M" => 1_000_000_000,
            "G" => 1_000_000_000_000,
            "T" => 1_000_000_000_000_000,
            "P" => 1_000_000_000_000_000_000,
            "E" => 1_000_000_000_000_000_000_000,
            "Ki" => 1_000 << 10,
            "Mi" => 1_000 << 20,
            "Gi" => 1_000 << 30,
            "Ti" => 1_000 << 40,
            "Pi" => 1_000 << 50,
            "Ei" => 1_000 << 60,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if fraction.is_empty() || fraction.len() > 9 || whole.len() > 18 {
            return None;
        }
        let whole: i128 = whole.parse().ok()?;
        let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
        let fraction: i128 = fraction.parse().ok()?;
        let whole = whole.checked_mul(factor)?;
        Some(Self(whole.checked_add(fraction * factor / scale)?))
    }
}

/// What containers ask for and may use at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// CPU that is reserved, for example `100m` (a tenth of a core).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_request: Option<Quantity>,
    /// Memory that is reserved, for example `128Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_request: Option<Quantity>,
    /// CPU beyond which the container is throttled; none means no limit of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<Quantity>,
    /// Memory beyond which the container is ended by the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<Quantity>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_quantities_together_are_worth_their_sum() {
        let sum = |one: &str, other: &str| Quantity::from(one).plus(&Quantity::from(other)).0;
        assert_eq!(sum("2", "100m"), "2100m");
        assert_eq!(sum("1.5", "500m"), "2");
        assert_eq!(sum("1Gi", "512Mi"), "1536Mi");
        assert_eq!(sum("1Gi", "1"), "1073741825");
        assert_eq!(sum("1024Mi", "0"), "1024Mi");
        assert_eq!(sum("1Gi", "nonsense"), "1Gi");
    }

    #[test]
    fn the_api_servers_spelling_is_worth_the_same() {
        for (written, rewritten) in [
            ("1024Mi", "1Gi"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1.5Gi", "1536Mi"),
            ("2048Ti", "2Pi"),
            ("1024Pi", "1Ei"),
            ("1000T", "1P"),
            ("1000P", "1E"),
        ] {
            assert!(Amount::parse(written).is_some(), "{written}");
            assert_eq!(Amount::parse(written), Amount::parse(rewritten), "{written}");
        }
        assert!(Amount::parse("2Gi") > Amount::parse("1Gi"));
        assert_eq!(Amount::parse("Gi"), None);
        assert_eq!(Amount::parse("x"), None);
        assert_eq!(Amount::parse("5u"), None);
        assert_eq!(Amount::parse(&format!("{}E", "9".repeat(18))), None);
    }
}
