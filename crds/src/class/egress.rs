//! Which connections out of their namespace tenants may declare.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Which connections out of their namespace tenants may declare.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassEgress {
    /// Address ranges within which a tenant's spec.egress must lie, for example `0.0.0.0/0`. None means that tenants
    /// may declare none. Link-local addresses (cloud metadata) and the cluster's own ranges are never reachable,
    /// whatever stands here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 43)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(range, isCIDR(range) && cidr(range) == cidr(range).masked())")
        .message("each of egress.allowed is an address range without host bits, as in 203.0.113.0/24"))]
    pub allowed: Vec<String>,
}
