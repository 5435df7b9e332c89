//! Where a release was built from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a release was built from: for people, and for whoever asks later what ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The repository's address, by https and without a user or password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 9, max = 300),
        regex(
            pattern = "^https://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[-A-Za-z0-9._~%+]+)*/?$"
        )
    )]
    pub repository: Option<String>,

    /// The commit, whole: 40 hexadecimal digits, or 64 in a repository of SHA-256.
    #[schemars(length(min = 40, max = 64), regex(pattern = "^([0-9a-f]{40}|[0-9a-f]{64})$"))]
    pub commit: String,

    /// The tag from which the pipeline ran: the version, with or without a leading v.
    #[schemars(length(min = 5, max = 64))]
    pub tag: String,

    /// Whose change it is: the user's name as the API server knows it. Approvals of that person don't count, and none does where this is
    /// left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub author: Option<String>,
}
