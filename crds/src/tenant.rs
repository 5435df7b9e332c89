//! `Tenant`: what is the customer's.
//!
//! The spec is written by the platform's people or their GitOps, never by the operator; resolved values go to the
//! status.

mod database;
mod status;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use database::TenantDatabase;
pub use status::{Blocker, CertificateStatus, ComponentStatus, TenantStatus};

/// One customer's dedicated instance of the product: an isolated namespace with a database, certificates, and the
/// product's workloads.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "freehold.dev",
    version = "v1alpha1",
    kind = "Tenant",
    plural = "tenants",
    singular = "tenant",
    shortname = "tn",
    status = "TenantStatus",
    doc = "One customer's dedicated instance of the product: an isolated namespace with a database, certificates, and the product's workloads.",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Class","type":"string","jsonPath":".spec.className"}"#,
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".status.version","description":"The version that serves."}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason","description":"Why it is ready, or what it waits for."}"#,
    printcolumn = r#"{"name":"URL","type":"string","jsonPath":".status.url"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Message","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#,
    validation = Rule::new("self.metadata.name.size() <= 40 && !self.metadata.name.contains('.')")
        .message("a tenant's name has at most 40 characters and no dot: it becomes part of its namespace's name; take a shorter one")
)]
#[serde(rename_all = "camelCase")]
pub struct TenantSpec {
    /// The customer's name as people read it, in the product too.
    #[schemars(length(min = 1, max = 100))]
    pub display_name: String,

    /// The one person who answers for this account; gets the first, one-time login.
    pub owner: Owner,

    /// Which edition of the product was bought.
    #[serde(default)]
    pub edition: Edition,

    /// How many people may use the product: the licence's seats.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub seats: i32,

    /// The TenantClass with the platform's settings for this kind of customer. It can't be changed.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("className can't be changed: change the TenantClass itself, or create a new tenant and move the data"))]
    pub class_name: String,

    /// What is installed.
    pub release: ReleaseReference,

    /// The names under which the instance is reached. The first is the one in status.url. Names of the domain name
    /// system: an address is none, so the last part begins with a letter.
    #[schemars(
        length(min = 1, max = 8),
        inner(
            length(min = 1, max = 253),
            regex(pattern = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+$")
        ),
        extend("x-kubernetes-list-type" = "set")
    )]
    #[x_kube(validation = Rule::new(r"self.all(name, name.matches('\\.[a-z][^.]*$'))")
        .message("a hostname is a name, not an address: its last part must begin with a letter, as in acme.example.com"))]
    pub hostnames: Vec<String>,

    /// Overrides of the class's database, where this customer needs more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<TenantDatabase>,

    /// Whether the instance runs. `Active` is the only state so far.
    #[serde(default)]
    pub desired_state: DesiredState,
}

/// A person who answers for an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Where the person is reached; also the login name of the first account.
    #[schemars(
        length(min = 3, max = 254),
        regex(pattern = "^[^@ \\t\\r\\n]+@[^@ \\t\\r\\n]+$")
    )]
    pub email: String,
}

/// The editions of the product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Edition {
    #[default]
    Standard,
    Enterprise,
}

/// The release that a tenant runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseReference {
    /// Name of a Release object, for example `board-1.0.0`. Naming another one upgrades the tenant.
    #[schemars(
        length(min = 1, max = 120),
        regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
}

/// Whether an instance runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DesiredState {
    #[default]
    Active,
}
