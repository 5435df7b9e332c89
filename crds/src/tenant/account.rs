//! Who the customer is, and what was bought.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The person who answers for an account.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Where the person is reached; also the login name of the first account.
    #[schemars(
        length(min = 3, max = 254),
        regex(pattern = "^[^@\\p{Cc}\\p{Z}]+@[^@\\p{Cc}\\p{Z}]+$")
    )]
    pub email: String,

    /// The person's name as people read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = Rule::new(r"!self.matches('[\\p{Cc}\\p{Zl}\\p{Zp}\\x{202a}-\\x{202e}\\x{2066}-\\x{2069}]')")
        .message("owner.name is one line of text: leave out control characters, line breaks, and what turns the direction of writing"))]
    pub name: Option<String>,
}

/// The editions of the product, from the least to the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Edition {
    #[default]
    Standard,
    Premium,
    Enterprise,
}

/// What an instance is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Environment {
    Development,
    Testing,
    Staging,
    #[default]
    Production,
}
