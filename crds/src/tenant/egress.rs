//! Connections out of the tenant's namespace.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Connections that are allowed to one range of addresses.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EgressRule {
    /// What it is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub description: Option<String>,

    /// The range of addresses, for example `203.0.113.10/32`; it must lie within egress.allowed of the class.
    #[schemars(length(min = 1, max = 43))]
    // IPv4 in IPv6's clothes (::ffff:0:0/96) is no range to isCIDR, and cidr() of it is an error that refuses every range.
    #[x_kube(
        validation = Rule::new("isCIDR(self) && cidr(self) == cidr(self).masked()")
            .message("cidr is an address range without host bits, as in 203.0.113.10/32"),
        validation = Rule::new("!isCIDR(self) || !(cidr('169.254.0.0/16').containsCIDR(self) || cidr('fe80::/10').containsCIDR(self) || cidr('127.0.0.0/8').containsCIDR(self) || cidr('::1/128').containsCIDR(self))")
            .message("link-local addresses (cloud metadata) and loopback are never reachable: name a range outside of them")
    )]
    pub cidr: String,

    /// The ports.
    #[schemars(length(min = 1, max = 8))]
    pub ports: Vec<EgressPort>,
}

/// A port of the other side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EgressPort {
    /// Its number.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Its protocol.
    #[serde(default)]
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

impl Protocol {
    /// As Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}
