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
    pub hostname: String,
    pub port: u16,
    pub protocol: &'static str,
    pub tls: Tls,
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
    pub parent_refs: Vec<Named>,
    pub hostnames: Vec<String>,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    pub backend_refs: Vec<Backend>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Backend {
    pub name: String,
    pub port: u16,
}
