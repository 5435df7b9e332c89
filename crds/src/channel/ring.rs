//! One ring of a channel: who is in it, how a release gets in, and how fast it comes to everybody.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{Environment, Freeze, Span};

/// How long a release must have been verified in the ring before: a second to thirty days.
pub const SOAK: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(720 * 3600);

/// One ring.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ring {
    /// Its name, for example `production-1`.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,

    /// Which tenants of the channel it is for. All that no ring before it has selected, when left out.
    #[serde(default)]
    pub tenants: Selection,

    /// Whether a release comes in by itself as soon as it may. False: only one that `release` names.
    #[serde(default = "yes")]
    pub auto_promote: bool,

    /// The release that this ring is to have, by the name of its object: promotion by Git. While it is set no other one comes in by
    /// itself, so an older one here is a rollback that holds. Soak, gates and approvals of the ring before are asked for all the same when
    /// it is newer than what the ring has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 120),
        regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub release: Option<String>,

    /// How long a release must have been verified in the ring before, from `1s` to `720h`. Of no meaning in the first ring.
    #[serde(default = "an_hour")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('720h')")
        .message("soak must be between 1s and 720h"))]
    pub soak: Span,

    /// What must be passed in this ring once all of its tenants have a release, before that counts as verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub gates: Vec<Gate>,

    /// Who must have approved a release before it comes into this ring: see ReleaseApproval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<RequiredApproval>,

    /// How many tenants get a release first: the others follow when all of these run it well.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 50))]
    pub canary: i32,

    /// The most tenants of the ring that are upgraded at one time, as a number or a share of them (`10%`), rounded up. It begins with as many
    /// as the canary has, and grows with those that run the release well. At most 250 in the whole channel.
    #[serde(default = "a_tenth")]
    pub max_concurrent: Share,

    /// From how many failures on a release is halted in this ring, as a number or a share (`5%`) of the tenants that have tried it. A failure
    /// of the canary always halts it, and so do two when they are at least this share.
    #[serde(default = "a_twentieth")]
    pub failure_threshold: Share,

    /// No tenant of this ring begins an upgrade while this is true.
    #[serde(default)]
    pub paused: bool,

    /// Times in which no tenant of this ring begins an upgrade.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub freezes: Vec<Freeze>,

    /// A new word here lets a ring go on that was halted, with the release that was halted; the failures so far are forgiven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[A-Za-z0-9]([-A-Za-z0-9._:]*[A-Za-z0-9])?$")
    )]
    pub resume: Option<String>,
}

/// Which tenants: those of one of the environments that have all of the labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    /// Any environment when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub environments: Vec<Environment>,
    /// Labels of the Tenant object with their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8, "additionalProperties" = { "type": "string", "maxLength": 63 }))]
    pub match_labels: BTreeMap<String, String>,
}

/// What a release must pass in a ring: a test, or a word of somebody.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.test) != has(self.manual)")
    .message("a gate is either a test that runs, or manual: give one of them"))]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Its name.
    #[schemars(length(min = 1, max = 30), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// A test that runs as a job beside one of the ring's tenants, for example of its API and its pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<crate::Hook>,
    /// Somebody says so, by a ReleaseApproval that names this gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<RequiredApproval>,
}

/// Whose word is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequiredApproval {
    /// Members of one of these groups may give it, as the API server knows them.
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 253)))]
    pub groups: Vec<String>,
    /// How many of them must, each another person than the release's author.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 5))]
    pub required: i32,
}

/// A number, or a share of a whole: `3` or `10%`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Share {
    Number(i32),
    Percent(String),
}

impl Share {
    /// How many of a whole, rounded up; one at least. `None` when it can't be read.
    pub fn of(&self, whole: usize) -> Option<usize> {
        match self {
            Self::Number(number) => usize::try_from(*number).ok().filter(|number| *number > 0),
            Self::Percent(text) => {
                let percent: usize = text.strip_suffix('%')?.parse().ok()?;
                ((1..=100).contains(&percent)).then(|| (whole * percent).div_ceil(100).max(1))
            }
        }
    }
}

impl JsonSchema for Share {
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            // Said expressly: kube makes what has a default nullable else, and a null that is stored is read by nobody.
            "nullable": false,
            "minimum": 1,
            "maximum": 10_000,
            "maxLength": 4,
            "pattern": "^([1-9][0-9]?|100)%$",
        })
    }
}

fn yes() -> bool {
    true
}

fn one() -> i32 {
    1
}

fn an_hour() -> Span {
    "1h".into()
}

fn a_tenth() -> Share {
    Share::Percent("10%".to_owned())
}

fn a_twentieth() -> Share {
    Share::Percent("5%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_up_and_never_none() {
        let percent = |text: &str, whole| Share::Percent(text.to_owned()).of(whole);
        assert_eq!(percent("10%", 41), Some(5));
        assert_eq!(percent("1%", 3), Some(1));
        assert_eq!(percent("100%", 0), Some(1));
        assert_eq!(Share::Number(3).of(1), Some(3));
        for bad in ["0%", "101%", "10", "x%", "-1%"] {
            assert_eq!(percent(bad, 10), None, "{bad}");
        }
        assert_eq!(Share::Number(0).of(1), None);
    }
}
