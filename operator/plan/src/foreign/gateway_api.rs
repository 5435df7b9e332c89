//! `gateway.networking.k8s.io/v1`, as of Gateway API 1.4. The crate `gateway-api` does not support this kube yet.

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct Gateway {
    pub spec: GatewaySpec,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    pub gateway_class_name: String,
    pub listeners: Vec<Listener>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    pub port: u16,
    pub protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    pub allowed_routes: AllowedRoutes,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    pub mode: &'static str,
    pub certificate_refs: Vec<Named>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AllowedRoutes {
    pub namespaces: From,
}

#[derive(Clone, Debug, Serialize)]
pub struct From {
    pub from: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub struct Named {
    pub name: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct HttpRoute {
    pub spec: HttpRouteSpec,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    pub parent_refs: Vec<Parent>,
    pub hostnames: Vec<String>,
    pub rules: Vec<Rule>,
}

/// A Gateway, or the listeners of it that are on one port.
#[derive(Clone, Debug, Serialize)]
pub struct Parent {
    pub name: String,
    pub port: u16,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Every request, when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<Match>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backend_refs: Vec<Backend>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Match {
    pub path: Path,
}

#[derive(Clone, Debug, Serialize)]
pub struct Path {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub value: String,
}

/// What is done with a request or with its answer.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type")]
pub enum Filter {
    #[serde(rename_all = "camelCase")]
    ResponseHeaderModifier { response_header_modifier: Headers },
    #[serde(rename_all = "camelCase")]
    RequestRedirect { request_redirect: Redirect },
}

#[derive(Clone, Debug, Serialize)]
pub struct Headers {
    pub set: Vec<Header>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Header {
    pub name: &'static str,
    pub value: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Redirect {
    pub scheme: &'static str,
    pub port: u16,
    pub status_code: u16,
}

#[derive(Clone, Debug, Serialize)]
pub struct BackendTlsPolicy {
    pub spec: BackendTlsPolicySpec,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsPolicySpec {
    pub target_refs: Vec<Target>,
    pub validation: Validation,
}

#[derive(Clone, Debug, Serialize)]
pub struct Target {
    pub group: &'static str,
    pub kind: &'static str,
    pub name: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Validation {
    pub ca_certificate_refs: Vec<Target>,
    pub hostname: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Backend {
    pub name: String,
    pub port: u16,
}
