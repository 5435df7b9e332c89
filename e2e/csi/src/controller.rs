//! CSI's Controller service: volumes are made, found, grown and deleted. It needs the folder of the volumes, and no key.

use std::collections::HashMap;

use tonic::{Request, Response, Status};

use crate::busy::Busy;
use crate::capability;
use crate::failure::Failure;
use crate::proto::csi::controller_server::Controller;
use crate::proto::csi::controller_service_capability::{Rpc, Type, rpc};
use crate::proto::csi::list_volumes_response::Entry;
use crate::proto::csi::validate_volume_capabilities_response::Confirmed;
use crate::proto::csi::*;
use crate::store::{Encryption, Store, Volume};

/// The parameter of a StorageClass, and the fact of a volume, that says how it is encrypted.
pub const ENCRYPTION: &str = "encryption";
/// What external-provisioner adds: the names of the claim and of the volume.
const METADATA: &str = "csi.storage.k8s.io/";

const MIB: i64 = 1 << 20;
/// When nobody says a size.
const DEFAULT: i64 = 1 << 30;
/// ext4's journal and tables leave little of a smaller one.
const SMALLEST: i64 = 16 * MIB;
/// With blocks of 4 KiB, ext4 made without further options ends here.
const LARGEST: i64 = 16 << 40;
/// A page of a listing starts with this and the name of its first volume.
const PAGE: &str = "from:";

#[derive(Debug, Clone)]
pub struct Service {
    pub store: Store,
    pub busy: Busy,
}

impl Service {
    /// Runs what waits for the disk apart from what answers calls.
    async fn blocking<T: Send + 'static>(
        &self,
        volume: &str,
        work: impl FnOnce(&Store, &str) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Status> {
        let turn = self.busy.turn(volume)?;
        let (store, volume) = (self.store.clone(), volume.to_owned());
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&store, &volume)
        });
        let done = task.await.map_err(|_| Status::internal("the call was ended"))?;
        Ok(done?)
    }
}

#[tonic::async_trait]
impl Controller for Service {
    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        let request = request.into_inner();
        required(&request.name, "name")?;
        capability::all(&request.volume_capabilities)?;
        let encryption = encryption(&request.parameters)?;
        if request.volume_content_source.is_some() {
            return Err(
                Failure::Invalid("volumes are made empty: there are no snapshots or clones".into()).into(),
            );
        }
        let range = request.capacity_range.unwrap_or_default();
        let bytes = size(range)?;
        let work = move |store: &Store, name: &str| match store.find(name)? {
            None => store.create(name, bytes, encryption),
            Some(volume) if volume.encryption == encryption && fits(&volume, range) => Ok(volume),
            Some(volume) => Err(Failure::Different {
                found: format!(
                    "{} bytes, encryption {}",
                    volume.bytes,
                    volume.encryption.as_str()
                ),
                volume: volume.id,
            }),
        };
        let volume = self.blocking(&request.name, work).await?;
        Ok(Response::new(CreateVolumeResponse {
            volume: Some(described(&volume)),
        }))
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        let id = request.into_inner().volume_id;
        required(&id, "volume_id")?;
        self.blocking(&id, |store, id| store.delete(id)).await?;
        Ok(Response::new(DeleteVolumeResponse {}))
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<ValidateVolumeCapabilitiesResponse>, Status> {
        let request = request.into_inner();
        required(&request.volume_id, "volume_id")?;
        if request.volume_capabilities.is_empty() {
            return Err(Failure::Invalid("no volume capability is given".into()).into());
        }
        self.store.get(&request.volume_id)?;
        let answer = match capability::all(&request.volume_capabilities) {
            Ok(()) => ValidateVolumeCapabilitiesResponse {
                confirmed: Some(Confirmed {
                    volume_context: request.volume_context,
                    volume_capabilities: request.volume_capabilities,
                    parameters: request.parameters,
                }),
                message: String::new(),
            },
            Err(failure) => ValidateVolumeCapabilitiesResponse {
                confirmed: None,
                message: failure.to_string(),
            },
        };
        Ok(Response::new(answer))
    }

    async fn list_volumes(
        &self,
        request: Request<ListVolumesRequest>,
    ) -> Result<Response<ListVolumesResponse>, Status> {
        let request = request.into_inner();
        let limit = match usize::try_from(request.max_entries) {
            Ok(0) => usize::MAX,
            Ok(limit) => limit,
            Err(_) => return Err(Failure::Invalid("max_entries is negative".into()).into()),
        };
        let from = match request.starting_token.as_str() {
            "" => "",
            token => token
                .strip_prefix(PAGE)
                .ok_or_else(|| Failure::Token(token.to_owned()))?,
        };
        let mut rest = self.store.list()?;
        rest.retain(|volume| volume.id.as_str() >= from);
        let next = rest.get(limit).map(|volume| format!("{PAGE}{}", volume.id));
        rest.truncate(limit);
        let entries = rest.iter().map(|volume| Entry {
            volume: Some(described(volume)),
        });
        Ok(Response::new(ListVolumesResponse {
            entries: entries.collect(),
            next_token: next.unwrap_or_default(),
        }))
    }

    async fn get_capacity(
        &self,
        request: Request<GetCapacityRequest>,
    ) -> Result<Response<GetCapacityResponse>, Status> {
        let request = request.into_inner();
        encryption(&request.parameters)?;
        let served =
            request.volume_capabilities.is_empty() || capability::all(&request.volume_capabilities).is_ok();
        let free = if served { self.store.free()? } else { 0 };
        Ok(Response::new(GetCapacityResponse {
            available_capacity: i64::try_from(free).unwrap_or(i64::MAX),
        }))
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        let all = [
            rpc::Type::CreateDeleteVolume,
            rpc::Type::ListVolumes,
            rpc::Type::GetCapacity,
            rpc::Type::ExpandVolume,
            rpc::Type::SingleNodeMultiWriter,
        ];
        let capabilities = all.map(|kind| ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: kind.into() })),
        });
        Ok(Response::new(ControllerGetCapabilitiesResponse {
            capabilities: capabilities.into(),
        }))
    }

    async fn controller_expand_volume(
        &self,
        request: Request<ControllerExpandVolumeRequest>,
    ) -> Result<Response<ControllerExpandVolumeResponse>, Status> {
        let request = request.into_inner();
        required(&request.volume_id, "volume_id")?;
        if request.volume_capability.is_some() {
            capability::of(request.volume_capability.as_ref())?;
        }
        let Some(range) = request.capacity_range else {
            return Err(Failure::Invalid("capacity_range is missing".into()).into());
        };
        let bytes = size(range)?;
        let work = move |store: &Store, id: &str| {
            let mut volume = store.get(id)?;
            volume.grow(bytes)?;
            Ok(volume.bytes)
        };
        let bytes = self.blocking(&request.volume_id, work).await?;
        Ok(Response::new(ControllerExpandVolumeResponse {
            capacity_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            node_expansion_required: true,
        }))
    }
}

fn described(volume: &Volume) -> crate::proto::csi::Volume {
    crate::proto::csi::Volume {
        capacity_bytes: i64::try_from(volume.bytes).unwrap_or(i64::MAX),
        volume_id: volume.id.clone(),
        volume_context: HashMap::from([(ENCRYPTION.into(), volume.encryption.as_str().into())]),
    }
}

/// Volumes are encrypted unless `none` is spelled out. What isn't known is refused: a typing error must not make a
/// volume that is clear.
fn encryption(parameters: &HashMap<String, String>) -> Result<Encryption, Failure> {
    let known = |key: &str| key == ENCRYPTION || key.starts_with(METADATA);
    if let Some(other) = parameters.keys().find(|key| !known(key)) {
        return Err(Failure::Invalid(format!(
            "{other:?} is not a parameter of this driver: there is {ENCRYPTION}"
        )));
    }
    match parameters.get(ENCRYPTION).map(String::as_str) {
        None | Some("fscrypt") => Ok(Encryption::Fscrypt),
        Some("none") => Ok(Encryption::None),
        Some(other) => Err(Failure::Invalid(format!(
            "{ENCRYPTION} is fscrypt or none, not {other:?}"
        ))),
    }
}

/// Whole MiB, within the range and what ext4 can be.
fn size(range: CapacityRange) -> Result<u64, Failure> {
    let CapacityRange {
        required_bytes,
        limit_bytes,
    } = range;
    let limit = if limit_bytes == 0 { LARGEST } else { limit_bytes };
    let wanted = if required_bytes == 0 {
        DEFAULT.min(limit)
    } else {
        required_bytes
    };
    if !(0..=LARGEST).contains(&wanted) || limit < 0 {
        return Err(Failure::Size(wanted));
    }
    let mut bytes = (wanted.max(SMALLEST) + MIB - 1) / MIB * MIB;
    if required_bytes == 0 && bytes > limit {
        bytes -= MIB;
    }
    if bytes > limit || bytes < SMALLEST {
        return Err(Failure::Size(wanted));
    }
    Ok(bytes.cast_unsigned())
}

fn fits(volume: &Volume, range: CapacityRange) -> bool {
    let bytes = i64::try_from(volume.bytes).unwrap_or(i64::MAX);
    bytes >= range.required_bytes && (range.limit_bytes == 0 || bytes <= range.limit_bytes)
}

pub(crate) fn required(text: &str, what: &str) -> Result<(), Failure> {
    if text.is_empty() {
        return Err(Failure::Invalid(format!("{what} is missing")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(required_bytes: i64, limit_bytes: i64) -> CapacityRange {
        CapacityRange {
            required_bytes,
            limit_bytes,
        }
    }

    #[test]
    fn sizes_are_whole_and_within_the_range() {
        let found = |required, limit| size(range(required, limit)).ok().map(|bytes| bytes >> 20);
        assert_eq!(found(0, 0), Some(1024));
        assert_eq!(found(0, 100 * MIB + 1), Some(100));
        assert_eq!(found(1, 0), Some(16));
        assert_eq!(found(32 * MIB + 1, 0), Some(33));
        assert_eq!(found(32 * MIB + 1, 32 * MIB + 2), None);
        assert_eq!(found(64 * MIB, 32 * MIB), None);
        assert_eq!(found(-1, 0), None);
        assert_eq!(found(i64::MAX, 0), None);
        assert_eq!(found(0, -1), None);
    }

    #[test]
    fn a_volume_is_encrypted_unless_none_is_spelled_out() {
        let found = |pairs: &[(&str, &str)]| {
            let all = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
            encryption(&all.collect()).ok()
        };
        assert_eq!(found(&[]), Some(Encryption::Fscrypt));
        assert_eq!(
            found(&[("csi.storage.k8s.io/pv/name", "x")]),
            Some(Encryption::Fscrypt)
        );
        assert_eq!(found(&[("encryption", "none")]), Some(Encryption::None));
        assert_eq!(found(&[("encryption", "None")]), None);
        assert_eq!(found(&[("encrypted", "none")]), None);
    }
}
