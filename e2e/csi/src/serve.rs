//! The sockets: CSI's services at the endpoint, and kubelet's registration where a folder for it is given.
//!
//! Out: never, but when it is told to end or kubelet refuses the driver. Invariant: the CSI socket is there before
//! kubelet is told of it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::controller;
use crate::identity;
use crate::node;
use crate::proto::csi::controller_server::ControllerServer;
use crate::proto::csi::identity_server::IdentityServer;
use crate::proto::csi::node_server::NodeServer;
use crate::proto::registration::registration_server::RegistrationServer;
use crate::registration::{self, Registrar};

/// What is served where.
#[derive(Debug)]
pub struct Driver {
    pub socket: PathBuf,
    pub controller: controller::Service,
    pub node: Option<node::Service>,
    pub registration: Option<PathBuf>,
}

pub async fn run(driver: Driver) -> Result<()> {
    let Driver {
        socket,
        controller,
        node,
        registration: folder,
    } = driver;
    let csi = Server::builder()
        .add_service(IdentityServer::new(identity::Driver))
        .add_service(ControllerServer::new(controller))
        .add_optional_service(node.map(NodeServer::new))
        .serve_with_incoming(UnixListenerStream::new(listen(&socket)?));
    let (refused, mut refusals) = tokio::sync::mpsc::channel(1);
    let registrar = Registrar {
        endpoint: socket.display().to_string(),
        refused,
    };
    let kubelet = async {
        let Some(folder) = folder else {
            return std::future::pending().await;
        };
        let listener = listen(&folder.join(registration::SOCKET))?;
        Server::builder()
            .add_service(RegistrationServer::new(registrar))
            .serve_with_incoming(UnixListenerStream::new(listener))
            .await
            .context("serve the registration")
    };
    tracing::info!(socket = %socket.display(), "serving");
    let mut ended = signal(SignalKind::terminate())?;
    tokio::select! {
        done = csi => done.context("serve CSI"),
        done = kubelet => done,
        Some(why) = refusals.recv() => bail!("kubelet refused the driver: {why}"),
        // A call that is cut off here is repeated by kubelet.
        _ = ended.recv() => Ok(()),
    }
}

/// A socket for root alone. One that an earlier process left is replaced.
fn listen(socket: &Path) -> Result<UnixListener> {
    if let Some(folder) = socket.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    match fs::remove_file(socket) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", socket.display()));
        }
        _ => {}
    }
    UnixListener::bind(socket).with_context(|| format!("listen on {}", socket.display()))
}
