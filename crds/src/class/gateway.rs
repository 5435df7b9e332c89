//! The gateway in front of the tenants.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

    /// The port on which the gateway listens for plain HTTP: requests there are sent to HTTPS, and nothing else is done with
    /// them. Without it there is no such listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub http_port: Option<i32>,
}

fn https() -> i32 {
    443
}
