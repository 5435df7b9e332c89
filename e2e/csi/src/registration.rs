//! How kubelet gets to know the driver: it finds a socket in its folder for that, and asks who is there.
//!
//! Usually a sidecar does this (node-driver-registrar); it is two calls.

use tonic::{Request, Response, Status};

use crate::proto::registration::registration_server::Registration;
use crate::proto::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};

/// The name of the socket. kubelet's gRPC library makes the whole path, percent-encoded, the `:authority` of its calls;
/// this side's HTTP library refuses percent signs in a host's name (hyperium/h2#487), and takes them before an `@`.
pub const SOCKET: &str = "registration@csi.freehold.dev.sock";

#[derive(Debug)]
pub struct Registrar {
    /// The socket of the CSI services.
    pub endpoint: String,
    /// Gets what kubelet says when it doesn't take the driver.
    pub refused: tokio::sync::mpsc::Sender<String>,
}

#[tonic::async_trait]
impl Registration for Registrar {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".into(),
            name: crate::NAME.into(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec!["1.0.0".into()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let RegistrationStatus {
            plugin_registered,
            error,
        } = request.into_inner();
        if plugin_registered {
            tracing::info!("kubelet knows the driver");
        } else {
            let _ = self.refused.try_send(error);
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
