//! `HostnameClaim`: who holds a hostname. One object for each name, cluster-wide, in the operator's namespace; the
//! object's own name is a hash of the hostname, so that the API server itself refuses a second one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which tenant holds a hostname, or held it last.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "freehold.dev",
    version = "v1alpha1",
    kind = "HostnameClaim",
    plural = "hostnameclaims",
    singular = "hostnameclaim",
    namespaced,
    doc = "Which tenant holds a hostname, or held it last. Made by the operator in its own namespace. Deleting one that was given up sets the hostname free at once.",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Hostname","type":"string","jsonPath":".spec.hostname"}"#,
    printcolumn = r#"{"name":"Tenant","type":"string","jsonPath":".spec.tenant"}"#,
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".spec.state"}"#,
    printcolumn = r#"{"name":"Given up","type":"date","jsonPath":".spec.givenUpAt"}"#
)]
#[x_kube(
    validation = Rule::new("self.hostname == oldSelf.hostname")
        .message("a claim is about one hostname for ever: another hostname is another claim"),
    validation = Rule::new("(self.state == 'GivenUp') == has(self.givenUpAt)")
        .message("givenUpAt belongs to the state GivenUp, and to no other")
)]
#[serde(rename_all = "camelCase")]
pub struct HostnameClaimSpec {
    /// The hostname.
    #[schemars(length(min = 1, max = 253))]
    pub hostname: String,
    /// The tenant that holds it, or held it last.
    #[schemars(length(min = 1, max = 63))]
    pub tenant: String,
    /// Which life of that tenant.
    #[schemars(length(min = 1, max = 63))]
    pub incarnation: String,
    /// Whether the tenant still holds it.
    pub state: ClaimState,
    /// When it was given up. For a time nobody but a tenant of the same name gets it, so that links and cookies of the
    /// one customer don't reach the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up_at: Option<Time>,
}

/// Whether a hostname is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClaimState {
    Held,
    GivenUp,
}
