//! `TenantClass`: what is the platform's. Like a `StorageClass`: tenants name it, they don't copy it.

mod certificates;
mod database;
mod deletion;
mod egress;
mod gateway;
mod keys;
mod maintenance;
mod placement;
mod quota;
mod upgrades;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::Edition;
pub use certificates::{AUTHORITY_LIFETIME, Certificates, IssuerRef, LIFETIME, OVERLAP};
pub use database::ClassDatabase;
pub use deletion::{ClassDeletion, DELAY, GRACE};
pub use egress::ClassEgress;
pub use gateway::Gateway;
pub use keys::{CRYPTOPERIOD, ClassKeys};
pub use maintenance::{ClassMaintenance, Freeze, OPEN, Window};
pub use placement::{Effect, Operator, Placement, Toleration};
pub use quota::{LimitDefaults, Quota};
pub use upgrades::{BAKE, ROLL, Upgrades};

/// What the platform gives to one kind of customer: database, gateway, limits, certificates.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "freehold.dev",
    version = "v1alpha1",
    kind = "TenantClass",
    plural = "tenantclasses",
    singular = "tenantclass",
    shortname = "tnc",
    doc = "What the platform gives to one kind of customer: database, gateway, limits, certificates. A change of it reaches each tenant in that tenant's maintenance window.",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Instances","type":"integer","jsonPath":".spec.database.instances"}"#,
    printcolumn = r#"{"name":"Storage","type":"string","jsonPath":".spec.database.storageSize"}"#,
    printcolumn = r#"{"name":"Gateway","type":"string","jsonPath":".spec.gateway.className"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct TenantClassSpec {
    /// The database of a tenant; a tenant may override its size within the bounds given here.
    pub database: ClassDatabase,

    /// The gateway through which tenants are reached.
    pub gateway: Gateway,

    /// The editions that tenants of this class may have; all when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub editions: Vec<Edition>,

    /// The regions in which tenants of this class may be; any when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 40), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub regions: Vec<String>,

    /// What a tenant may use in sum all the time: its components and its database. What is needed for a while has room of its own
    /// beside it, so the namespace's ResourceQuota is larger: one more pod of each component while a release is rolled out, its
    /// jobs, the pods that verify the isolation, and a database's new instances while it moves to other volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,

    /// The most that a tenant may ask for in spec.quota. What is left out here can't be overridden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_quota: Option<Quota>,

    /// What a container gets that states no resources of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitDefaults>,

    /// The certificates of a tenant: from its own authority, but for the gateway's where an issuer is named.
    #[serde(default)]
    pub certificates: Certificates,

    /// The keys that tenants' data is encrypted with.
    #[serde(default)]
    pub keys: ClassKeys,

    /// Which connections out of their namespace tenants may declare.
    #[serde(default)]
    pub egress: ClassEgress,

    /// On which nodes tenants' pods run.
    #[serde(default)]
    pub placement: Placement,

    /// When what restarts pods may be done, for tenants that name no window of their own.
    #[serde(default)]
    pub maintenance: ClassMaintenance,

    /// How a tenant comes from one release to the next.
    #[serde(default)]
    pub upgrades: Upgrades,

    /// How tenants end.
    #[serde(default)]
    pub deletion: ClassDeletion,
}
