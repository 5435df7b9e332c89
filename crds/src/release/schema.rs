//! What a release does to the database's schema, and with that how far back a tenant can go.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LEADING_ZERO, NO_LEADING_ZERO, STRICT};

/// What a release's migration does to the database's schema: how far back a tenant can go afterwards.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!has(self.oldestVersion) || self.change != 'Irreversible'")
    .message("no older version works after an irreversible change: take oldestVersion out, or declare the change as Contract"))]
#[serde(rename_all = "camelCase")]
pub struct Schema {
    /// What the migration does. `Expand` adds, or does nothing: a rollback puts the images of the version before back, and the
    /// schema stays as it is. `Contract` takes away what older versions needed: a rollback goes back to oldestVersion at most, and
    /// without one needs a backup. `Irreversible` changes data so that no older version understands it: a rollback needs a backup.
    #[serde(default)]
    pub change: SchemaChange,

    /// The oldest version of the product that still works on the schema that this release leaves behind: a tenant can be
    /// rolled back to it and to those in between. Left out: with `Expand` the version that the tenant had before works, with
    /// `Contract` none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 5, max = 63), regex(pattern = STRICT))]
    #[x_kube(validation = Rule::new(NO_LEADING_ZERO).message(LEADING_ZERO))]
    pub oldest_version: Option<String>,
}

/// What a migration does to the database's schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SchemaChange {
    /// It adds, or does nothing. The version before works on it: a rollback puts the old images back, and the schema stays as
    /// it is.
    #[default]
    Expand,
    /// It takes away what older versions needed. A rollback goes back to `oldestVersion` at most, by images alone; without
    /// one it needs a backup.
    Contract,
    /// It changes data in a way that can't be undone, and that no older version understands: a rollback needs a backup.
    Irreversible,
}
