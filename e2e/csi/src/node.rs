//! CSI's Node service: what kubelet asks for when pods come and go. It checks the request, gets the plain key where
//! one is needed, and leaves the rest to [`Staging`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::busy::Busy;
use crate::capability;
use crate::controller::{ENCRYPTION, required};
use crate::failure::Failure;
use crate::key::{self, Unwrap};
use crate::proto::csi::node_server::Node;
use crate::proto::csi::node_service_capability::{Rpc, Type, rpc};
use crate::proto::csi::volume_usage::Unit;
use crate::proto::csi::*;
use crate::staging::{Publication, Staging};
use crate::store::{Encryption, Store, Volume};

#[derive(Debug, Clone)]
pub struct Service {
    pub store: Store,
    pub staging: Staging,
    pub keys: Arc<dyn Unwrap>,
    pub busy: Busy,
}

impl Service {
    /// Runs what waits for the kernel apart from what answers calls.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Staging, &Store) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Status> {
        let (staging, store) = (self.staging.clone(), self.store.clone());
        let task = tokio::task::spawn_blocking(move || work(&staging, &store));
        let done = task.await.map_err(|_| Status::internal("the call was ended"))?;
        Ok(done?)
    }
}

#[tonic::async_trait]
impl Node for Service {
    async fn node_stage_volume(
        &self,
        request: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        let request = request.into_inner();
        required(&request.volume_id, "volume_id")?;
        let at = path(&request.staging_target_path, "staging_target_path")?;
        capability::of(request.volume_capability.as_ref())?;
        let turn = self.busy.turn(&request.volume_id)?;
        let volume = self.store.get(&request.volume_id)?;
        said_the_same(&volume, &request)?;
        let (found, place) = (volume.clone(), at.clone());
        if self
            .blocking(move |staging, _| staging.is_staged(&found, &place))
            .await?
        {
            return Ok(Response::new(NodeStageVolumeResponse {}));
        }
        let key = match volume.encryption {
            Encryption::None => None,
            Encryption::Fscrypt => {
                Some(key::of_volume(self.keys.as_ref(), &request.secrets, &volume.id).await?)
            }
        };
        self.blocking(move |staging, _| {
            let _turn = turn;
            staging.stage(&volume, &at, key.as_ref())
        })
        .await?;
        tracing::info!(volume = request.volume_id, "staged");
        Ok(Response::new(NodeStageVolumeResponse {}))
    }

    async fn node_unstage_volume(
        &self,
        request: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        let request = request.into_inner();
        required(&request.volume_id, "volume_id")?;
        let at = path(&request.staging_target_path, "staging_target_path")?;
        let turn = self.busy.turn(&request.volume_id)?;
        let id = request.volume_id.clone();
        self.blocking(move |staging, store| {
            let _turn = turn;
            match store.find(&id)? {
                Some(volume) => staging.unstage(&volume, &at),
                None => crate::mounts::unmount(&at),
            }
        })
        .await?;
        tracing::info!(volume = request.volume_id, "unstaged");
        Ok(Response::new(NodeUnstageVolumeResponse {}))
    }

    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        required(&request.volume_id, "volume_id")?;
        let at = path(&request.staging_target_path, "staging_target_path")?;
        let target = path(&request.target_path, "target_path")?;
        let usage = capability::of(request.volume_capability.as_ref())?;
        let publication = Publication {
            readonly: request.readonly || usage.readonly,
            alone: usage.alone,
        };
        let turn = self.busy.turn(&request.volume_id)?;
        self.blocking(move |staging, store| {
            let _turn = turn;
            staging.publish(&store.get(&request.volume_id)?, &at, &target, publication)
        })
        .await?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        required(&request.volume_id, "volume_id")?;
        let target = path(&request.target_path, "target_path")?;
        let turn = self.busy.turn(&request.volume_id)?;
        self.blocking(move |staging, _| {
            let _turn = turn;
            staging.unpublish(&target)
        })
        .await?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        let request = request.into_inner();
        required(&request.volume_id, "volume_id")?;
        required(&request.volume_path, "volume_path")?;
        let at = PathBuf::from(&request.volume_path);
        let found = self
            .blocking(move |staging, store| staging.stats(&store.get(&request.volume_id)?, &at))
            .await?;
        let usage = |unit: Unit, available: u64, total: u64, free: u64| {
            let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            VolumeUsage {
                available: number(available),
                total: number(total),
                used: number(total.saturating_sub(free)),
                unit: unit.into(),
            }
        };
        let size = found.f_frsize;
        Ok(Response::new(NodeGetVolumeStatsResponse {
            usage: vec![
                usage(
                    Unit::Bytes,
                    found.f_bavail * size,
                    found.f_blocks * size,
                    found.f_bfree * size,
                ),
                usage(Unit::Inodes, found.f_favail, found.f_files, found.f_ffree),
            ],
        }))
    }

    async fn node_expand_volume(
        &self,
        request: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        let request = request.into_inner();
        required(&request.volume_id, "volume_id")?;
        required(&request.volume_path, "volume_path")?;
        let at = PathBuf::from(&request.volume_path);
        if request.volume_capability.is_some() {
            capability::of(request.volume_capability.as_ref())?;
        }
        let turn = self.busy.turn(&request.volume_id)?;
        let bytes = self
            .blocking(move |staging, store| {
                let _turn = turn;
                let volume = store.get(&request.volume_id)?;
                let limit = request.capacity_range.unwrap_or_default().limit_bytes;
                let bytes = i64::try_from(volume.bytes).unwrap_or(i64::MAX);
                if limit != 0 && bytes > limit {
                    return Err(Failure::Size(bytes));
                }
                staging.grow(&volume, &at)?;
                Ok(bytes)
            })
            .await?;
        Ok(Response::new(NodeExpandVolumeResponse {
            capacity_bytes: bytes,
        }))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let all = [
            rpc::Type::StageUnstageVolume,
            rpc::Type::GetVolumeStats,
            rpc::Type::ExpandVolume,
            rpc::Type::SingleNodeMultiWriter,
        ];
        let capabilities = all.map(|kind| NodeServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: kind.into() })),
        });
        Ok(Response::new(NodeGetCapabilitiesResponse {
            capabilities: capabilities.into(),
        }))
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        // Without a topology: every node sees the folder of the volumes.
        Ok(Response::new(NodeGetInfoResponse {
            node_id: self.staging.node.clone(),
        }))
    }
}

/// What the PersistentVolume says of the encryption must be what the disk says: neither alone can make a volume clear.
fn said_the_same(volume: &Volume, request: &NodeStageVolumeRequest) -> Result<(), Failure> {
    match request.volume_context.get(ENCRYPTION) {
        Some(said) if said != volume.encryption.as_str() => Err(Failure::state(
            &volume.id,
            format!(
                "its PersistentVolume says encryption {said}, it was made with {}",
                volume.encryption.as_str()
            ),
        )),
        _ => Ok(()),
    }
}

fn path(text: &str, what: &str) -> Result<PathBuf, Failure> {
    required(text, what)?;
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(Failure::Invalid(format!("{what} is not absolute")));
    }
    Ok(path.to_path_buf())
}
