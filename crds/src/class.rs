//! `TenantClass`: what is the platform's. Like a `StorageClass`: tenants name it, they don't copy it.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Quantity, Resources};

/// What the platform gives to one kind of customer: database, gateway, limits, certificates.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "freehold.dev",
    version = "v1alpha1",
    kind = "TenantClass",
    plural = "tenantclasses",
    singular = "tenantclass",
    shortname = "tnc",
    doc = "What the platform gives to one kind of customer: database, gateway, limits, certificates.",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Instances","type":"integer","jsonPath":".spec.database.instances"}"#,
    printcolumn = r#"{"name":"Storage","type":"string","jsonPath":".spec.database.storageSize"}"#,
    printcolumn = r#"{"name":"Gateway","type":"string","jsonPath":".spec.gateway.className"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct TenantClassSpec {
    /// The database of a tenant; a tenant may override its size.
    pub database: ClassDatabase,

    /// The gateway through which tenants are reached.
    pub gateway: Gateway,

    /// What a tenant's namespace may use in sum. Leave room for a rolling update: each component runs one more pod
    /// during it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,

    /// What a container gets that states no resources of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitDefaults>,

    /// The certificates that are issued from the tenant's own authority.
    #[serde(default)]
    pub certificates: Certificates,
}

/// The database that tenants of a class get.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassDatabase {
    /// The PostgreSQL image with tag and digest, `name:17@sha256:…`: the tag begins with the major version, which
    /// CloudNativePG reads there.
    #[schemars(
        length(max = 300),
        regex(pattern = "^[a-z0-9]([-a-z0-9._/:]*[a-z0-9])?:[0-9]+[-A-Za-z0-9._]*@sha256:[0-9a-f]{64}$")
    )]
    pub image: String,

    /// How many instances: one primary, the others synchronous replicas.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 3))]
    pub instances: i32,

    /// Size of each instance's volume. Volumes can grow, never shrink.
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity(oldSelf)) >= 0")
        .message("storageSize can't shrink: volumes keep their size; keep the old value or create another class"))]
    pub storage_size: Quantity,

    /// The StorageClass of the volumes; the cluster's default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,

    /// What each instance asks for and may use.
    #[serde(default)]
    pub resources: Resources,
}

fn one() -> i32 {
    1
}

/// The gateway in front of the tenants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// The GatewayClass of each tenant's Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub class_name: String,

    /// The namespace in which the gateway's pods run: traffic to a tenant's web tier is allowed from there only.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: String,

    /// Labels by which the gateway's pods are told from others in that namespace.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 8, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    pub pod_labels: BTreeMap<String, String>,

    /// The port on which the gateway listens for HTTPS.
    #[serde(default = "https")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

fn https() -> i32 {
    443
}

/// Sums over a tenant's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// Sum of all CPU requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// Sum of all memory requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// Sum of all claimed storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Quantity>,
    /// How many pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub pods: Option<i32>,
}

/// Defaults for containers that state nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitDefaults {
    /// CPU request.
    pub cpu_request: Quantity,
    /// Memory request.
    pub memory_request: Quantity,
    /// Memory limit.
    pub memory_limit: Quantity,
}

/// Certificates from the tenant's own authority.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificates {
    /// How long a certificate is valid, in minutes (`m`) or hours (`h`), from `10m` to `2160h`. It is renewed after two
    /// thirds of that.
    #[serde(default = "seven_days")]
    #[schemars(length(max = 8), regex(pattern = "^[1-9][0-9]*(m|h)$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10m') && duration(self) <= duration('2160h')")
        .message("lifetime must be between 10m and 2160h (90 days)"))]
    pub lifetime: String,
}

impl Default for Certificates {
    fn default() -> Self {
        Self {
            lifetime: seven_days(),
        }
    }
}

fn seven_days() -> String {
    "168h".to_owned()
}

/// Reads a lifetime as the schema admits it: `90m`, `168h`. `None` when it is neither.
pub fn parse_lifetime(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "m" => number.checked_mul(60)?,
        "h" => number.checked_mul(3600)?,
        _ => return None,
    };
    (600..=2160 * 3600)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read_within_their_bounds() {
        assert_eq!(parse_lifetime("168h"), Some(Duration::from_secs(7 * 24 * 3600)));
        assert_eq!(parse_lifetime("10m"), Some(Duration::from_secs(600)));
        for bad in ["", "h", "9m", "2161h", "7d", "1x", "ü"] {
            assert_eq!(parse_lifetime(bad), None, "{bad}");
        }
    }
}
