//! `settings.json`: what the product is told, as one file in each of its pods. Its schema is generated into
//! `docs/reference/settings.schema.json`. No secret is in it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Edition, Environment, PasswordPolicy, SessionPolicy, SupportConsent};

/// What the product must know of its instance. Fields may be added; a reader passes over those that it doesn't know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The customer.
    pub tenant: TenantSettings,
    /// Where the instance is reached.
    pub url: String,
    /// What is installed.
    pub release: ReleaseSettings,
    /// Where each component is found inside of the namespace: its name, and its base URL.
    pub services: BTreeMap<String, String>,
    /// The database.
    pub database: DatabaseSettings,
    /// Rules for sessions.
    pub session: SessionPolicy,
    /// Rules for passwords.
    pub password: PasswordPolicy,
    /// Single sign-on: when it is there it is the only way in, for all users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sso: Option<SsoSettings>,
    /// Whether the vendor's support may ask for access.
    pub support: SupportSettings,
    /// How open pages notice a new version.
    pub refresh: RefreshSettings,
}

/// The customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantSettings {
    /// The tenant's name in the cluster.
    pub name: String,
    /// The customer's name as people read it.
    pub display_name: String,
    /// The account owner's e-mail address.
    pub owner: String,
    /// The account owner's name, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_name: Option<String>,
    /// The edition that was bought.
    pub edition: Edition,
    /// How many people may use the product.
    pub seats: i32,
    /// Where the data is kept.
    pub region: String,
    /// What the instance is for.
    pub environment: Environment,
}

/// What is installed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSettings {
    /// The product's name.
    pub product: String,
    /// Its version.
    pub version: String,
}

/// The database, beside the account in `/etc/freehold/database`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseSettings {
    /// The fully qualified name under which the primary is reached, and which its certificate has: connect with it and
    /// verify it (`sslmode=verify-full`).
    pub host: String,
}

/// The account's one SAML 2.0 configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SsoSettings {
    /// The identity provider's entity id.
    pub entity_id: String,
    /// Where browsers are sent to sign in.
    pub endpoint: String,
    /// The certificate with which the provider signs, in PEM form.
    pub signing_certificate: String,
    /// The attribute by which users are matched, where it isn't the NameID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternate_id: Option<String>,
}

/// The customer's word about support access.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SupportSettings {
    /// Whether support may ask for access.
    pub consent: SupportConsent,
}

/// How open pages notice a new version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefreshSettings {
    /// A page that nobody has used for so many minutes loads a new version by itself.
    pub idle_minutes: i32,
}
