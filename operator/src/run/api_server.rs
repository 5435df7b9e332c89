//! Where the API server is, for the one policy that lets database pods reach it: the address of the Service
//! `kubernetes`, and the addresses behind it, since plug-ins differ in which of the two a policy sees.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use freehold_crds::Tenant;
use freehold_plan::Endpoint;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::Api;
use kube::runtime::reflector::Store as Reflector;
use tracing::{info, warn};

use super::queue::wake_those;
use crate::reconcile::Context;
use crate::watch::Wakes;

const NAMESPACE: &str = "default";
const NAME: &str = "kubernetes";
/// Control planes move rarely; a cluster whose addresses change often names a range with --api-server-cidr.
const EVERY: Duration = Duration::from_secs(300);

/// Looks where the API server is.
pub async fn discover(client: &Client) -> anyhow::Result<Vec<Endpoint>> {
    let service: Service = Api::namespaced(client.clone(), NAMESPACE)
        .get(NAME)
        .await
        .context("can't read the Service default/kubernetes; name the API server with --api-server-cidr")?;
    let slice: EndpointSlice = Api::namespaced(client.clone(), NAMESPACE)
        .get(NAME)
        .await
        .context(
            "can't read the EndpointSlice default/kubernetes; name the API server with --api-server-cidr",
        )?;
    let mut endpoints = of_service(&service);
    endpoints.extend(of_slice(&slice));
    endpoints.sort();
    endpoints.dedup();
    Ok(endpoints)
}

/// Looks again from time to time; every tenant gets a pass when something changed.
pub async fn follow(context: Arc<Context>, tenants: Reflector<Tenant>, wakes: Wakes) {
    loop {
        tokio::time::sleep(EVERY).await;
        match discover(&context.client).await {
            Ok(found) => {
                let mut config = context.config.write().unwrap_or_else(PoisonError::into_inner);
                if config.api_server != found {
                    info!(?found, "the API server moved");
                    config.api_server = found;
                    drop(config);
                    wake_those(&tenants, &wakes, |_| true);
                }
            }
            Err(error) => warn!(
                error = format!("{error:#}"),
                "the API server's addresses are not known"
            ),
        }
    }
}

fn of_service(service: &Service) -> Vec<Endpoint> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let addresses = spec.cluster_ips.iter().flatten();
    let ports: Vec<i32> = spec.ports.iter().flatten().map(|port| port.port).collect();
    addresses
        .flat_map(|address| ports.iter().filter_map(|port| endpoint(address, *port)))
        .collect()
}

fn of_slice(slice: &EndpointSlice) -> Vec<Endpoint> {
    let ports: Vec<i32> = slice
        .ports
        .iter()
        .flatten()
        .filter_map(|port| port.port)
        .collect();
    let addresses = slice
        .endpoints
        .iter()
        .flatten()
        .flat_map(|endpoint| &endpoint.addresses);
    addresses
        .flat_map(|address| ports.iter().filter_map(|port| endpoint(address, *port)))
        .collect()
}

fn endpoint(address: &str, port: i32) -> Option<Endpoint> {
    let address: std::net::IpAddr = address.parse().ok()?;
    let length = if address.is_ipv4() { 32 } else { 128 };
    Some(Endpoint {
        cidr: format!("{address}/{length}"),
        port: u16::try_from(port).ok()?,
    })
}
