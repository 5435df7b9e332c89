//! `Tenant`: what is the customer's.
//!
//! The spec is written by the platform's people or their GitOps, never by the operator; resolved values go to the
//! status.

mod access;
mod account;
mod certificates;
mod database;
mod egress;
mod keys;
mod lifecycle;
mod maintenance;
mod security;
mod sso;
mod status;
mod support;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{INSTANT, Quota};
pub use access::Groups;
pub use account::{Edition, Environment, Owner};
pub use certificates::TenantCertificates;
pub use database::TenantDatabase;
pub use egress::{EgressPort, EgressRule, Protocol};
pub use keys::TenantKeys;
pub use lifecycle::{Adoption, DeletionPolicy, DesiredState, Termination};
pub use maintenance::Maintenance;
pub use security::{PasswordPolicy, SessionPolicy};
pub use sso::{Saml, Sso};
pub use status::{
    AuthorityStatus, Blocker, CERTIFICATES_MAX, CertificateStatus, ComponentStatus, DataKeyStatus, KeyScope,
    KeyVersionStatus, KeysStatus, OperationStatus, TenantKeyStatus, TenantStatus,
};
pub use support::{Support, SupportConsent};

/// How many hostnames a tenant may have.
pub const HOSTNAMES_MAX: usize = 8;

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
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".spec.desiredState"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason","description":"Why it is ready, or what it waits for."}"#,
    printcolumn = r#"{"name":"Isolated","type":"string","jsonPath":".status.conditions[?(@.type==\"IsolationVerified\")].status","description":"Whether the isolation was verified by packets."}"#,
    printcolumn = r#"{"name":"URL","type":"string","jsonPath":".status.url"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Edition","type":"string","priority":1,"jsonPath":".spec.edition"}"#,
    printcolumn = r#"{"name":"Region","type":"string","priority":1,"jsonPath":".spec.region"}"#,
    printcolumn = r#"{"name":"Namespace","type":"string","priority":1,"jsonPath":".status.namespace"}"#,
    printcolumn = r#"{"name":"Message","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#,
    validation = Rule::new("self.metadata.name.size() <= 40 && !self.metadata.name.contains('.')")
        .message("a tenant's name has at most 40 characters and no dot: it becomes part of its namespace's name; take a shorter one")
)]
#[x_kube(
    // Written out, for the API server estimates the cost of a list's indexOf as unbounded and refuses the definition.
    validation = Rule::new("self.edition == oldSelf.edition || self.edition == 'Enterprise' || oldSelf.edition == 'Standard' || self.allowEditionDowngrade")
        .message("a lower edition takes features away from the customer: set allowEditionDowngrade to true together with it"),
    validation = Rule::new("!has(oldSelf.database) || !has(oldSelf.database.storageSize) || (has(self.database) && has(self.database.storageSize))")
        .message("database.storageSize can't be removed once it was set: a volume keeps its size; keep the value"),
    validation = Rule::new("!has(oldSelf.database) || !has(oldSelf.database.walStorageSize) || (has(self.database) && has(self.database.walStorageSize))")
        .message("database.walStorageSize can't be removed once it was set: a volume keeps its size; keep the value"),
    validation = Rule::new("!has(oldSelf.adopt) || !has(self.adopt) || self.adopt == oldSelf.adopt")
        .message("adopt.incarnation can't be changed: remove it first, if it was never taken over"),
    validation = Rule::new("!has(self.termination) || !self.termination.destroyKeys || self.desiredState == 'Terminated'")
        .message("termination.destroyKeys makes all data of this tenant unreadable for ever, and needs desiredState Terminated: set both, or take termination out to keep the data")
)]
#[serde(rename_all = "camelCase")]
pub struct TenantSpec {
    /// The customer's name as people read it, in the product too.
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = Rule::new(r"!self.matches('[\\p{Cc}\\p{Zl}\\p{Zp}\\x{202a}-\\x{202e}\\x{2066}-\\x{2069}]')")
        .message("displayName is one line of text: leave out control characters, line breaks, and what turns the direction of writing"))]
    pub display_name: String,

    /// The one person who answers for this account; gets the first, one-time login.
    pub owner: Owner,

    /// Who of the customer may look into the instance's namespace, pods' logs included. They change nothing there.
    #[serde(default)]
    pub administrators: Groups,

    /// Who of the customer may look into the instance's namespace.
    #[serde(default)]
    pub viewers: Groups,

    /// Which edition of the product was bought.
    #[serde(default)]
    pub edition: Edition,

    /// Must be true in the change that lowers the edition; has no effect otherwise.
    #[serde(default)]
    pub allow_edition_downgrade: bool,

    /// How many people may use the product: the licence's seats.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub seats: i32,

    /// Where the data is kept, by the platform's name for it, for example `eu-central`. It can't be changed.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("region can't be changed: data stays where it is; create a new tenant there and move the data"))]
    pub region: String,

    /// What the instance is for. Rings of releases select by it.
    #[serde(default)]
    pub environment: Environment,

    /// The TenantClass with the platform's settings for this kind of customer. It can't be changed.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("className can't be changed: change the TenantClass itself, or create a new tenant and move the data"))]
    pub class_name: String,

    /// What is installed.
    pub release: ReleaseReference,

    /// The names under which the instance is reached. The first is the one in status.url. Names of the domain name
    /// system: an address is none, so the last part begins with a letter. One name belongs to one tenant of the cluster.
    #[schemars(
        length(min = 1, max = HOSTNAMES_MAX),
        inner(
            length(min = 1, max = 253),
            regex(pattern = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+$")
        ),
        extend("x-kubernetes-list-type" = "set")
    )]
    #[x_kube(
        validation = Rule::new(r"self.all(name, name.matches('\\.[a-z][^.]*$'))")
            .message("a hostname is a name, not an address: its last part must begin with a letter, as in acme.example.com"),
        validation = Rule::new("self.all(name, !name.endsWith('.svc') && !name.endsWith('.cluster.local'))")
            .message("a hostname ending in .svc or .cluster.local is the cluster's own: take one of a public domain")
    )]
    pub hostnames: Vec<String>,

    /// Overrides of the class's database, where this customer needs more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<TenantDatabase>,

    /// Overrides of the class's quota, up to the class's maxQuota. What is left out is as the class says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,

    /// Connections that the application and worker tiers may open to addresses outside of the cluster. Everything else
    /// is denied; link-local addresses (cloud metadata) and the cluster's own ranges always are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub egress: Vec<EgressRule>,

    /// Whether the instance runs. `Suspended` scales it to zero and hibernates its database; all data is kept.
    /// `Terminated` does the same, and is what `termination` needs.
    #[serde(default)]
    pub desired_state: DesiredState,

    /// What else is to become of a terminated tenant: the destruction of its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination: Option<Termination>,

    /// Rotations of keys on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<TenantKeys>,

    /// Rotations of the certificate authority on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<TenantCertificates>,

    /// Single sign-on. Once set it is the only way in, for all users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sso: Option<Sso>,

    /// Rules for passwords, where users have one.
    #[serde(default)]
    pub password: PasswordPolicy,

    /// Rules for sessions.
    #[serde(default)]
    pub session: SessionPolicy,

    /// When what restarts pods may be done; as the class says when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,

    /// Whether the vendor's support may ask for access.
    #[serde(default)]
    pub support: Support,

    /// While true, the tenant can't be deleted. It can be a while after this was switched off: see the condition
    /// Deletable, and deletion.delay of the class.
    #[serde(default = "yes")]
    pub deletion_protection: bool,

    /// What becomes of the data when the tenant is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// Takes over what an earlier tenant of this name left behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adoption>,
}

fn yes() -> bool {
    true
}

/// The release that a tenant runs: one that is named, or what a channel brings.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.name) != has(self.channel)")
        .message("give either name, for one release, or channel, for those that a ReleaseChannel brings"),
    validation = Rule::new("!has(self.pin) || has(self.channel)")
        .message("a pin is for tenants of a channel: one that names its release has it until another one is named")
)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseReference {
    /// Name of a Release object, for example `board-1.0.0`. Naming another one upgrades the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 120),
        regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: Option<String>,

    /// Name of a ReleaseChannel: the tenant gets what comes into its ring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub channel: Option<String>,

    /// Keeps the tenant at one release of its channel for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,

    /// A new word here tries a release again whose upgrade has failed. Without one a release that failed is not tried again until
    /// another one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[A-Za-z0-9]([-A-Za-z0-9._:]*[A-Za-z0-9])?$")
    )]
    pub retry: Option<String>,
}

/// One release that a tenant of a channel keeps for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pin {
    /// Name of a Release object.
    #[schemars(
        length(min = 1, max = 120),
        regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
    /// When it ends: from then on the channel decides again.
    #[schemars(regex(pattern = INSTANT))]
    pub until: Time,
    /// Why.
    #[schemars(length(min = 1, max = 500))]
    pub reason: String,
}
