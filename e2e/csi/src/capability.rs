//! How a volume can be used: as a file system, by one node at a time.

use crate::failure::Failure;
use crate::proto::csi::VolumeCapability;
use crate::proto::csi::volume_capability::AccessType;
use crate::proto::csi::volume_capability::access_mode::Mode;

/// A use that this driver can serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// By one pod alone (ReadWriteOncePod).
    pub alone: bool,
    pub readonly: bool,
}

/// Reads one capability; says what can't be served.
pub fn of(capability: Option<&VolumeCapability>) -> Result<Use, Failure> {
    let invalid = |what: &str| Err(Failure::Invalid(what.to_owned()));
    let Some(capability) = capability else {
        return invalid("a volume capability is missing");
    };
    match &capability.access_type {
        Some(AccessType::Mount(mount)) => {
            if !matches!(mount.fs_type.as_str(), "" | "ext4") {
                return invalid("volumes are ext4: leave csi.storage.k8s.io/fstype out");
            }
            if !mount.mount_flags.is_empty() {
                return invalid("the driver chooses the mount options: leave mountOptions out");
            }
        }
        Some(AccessType::Block(_)) => {
            return invalid(
                "block volumes are refused: files are what is encrypted, a raw device would be clear; use volumeMode: Filesystem",
            );
        }
        None => return invalid("a volume capability has no access type"),
    }
    let mode = capability.access_mode.map(|mode| mode.mode());
    let (alone, readonly) = match mode {
        Some(Mode::SingleNodeWriter | Mode::SingleNodeMultiWriter) => (false, false),
        Some(Mode::SingleNodeSingleWriter) => (true, false),
        Some(Mode::SingleNodeReaderOnly) => (false, true),
        Some(Mode::MultiNodeReaderOnly | Mode::MultiNodeSingleWriter | Mode::MultiNodeMultiWriter) => {
            return invalid("a volume is used by one node at a time: use ReadWriteOnce or ReadWriteOncePod");
        }
        Some(Mode::Unknown) | None => return invalid("a volume capability has no access mode"),
    };
    Ok(Use { alone, readonly })
}

/// All of them must be possible, and there must be one.
pub fn all(capabilities: &[VolumeCapability]) -> Result<(), Failure> {
    if capabilities.is_empty() {
        return Err(Failure::Invalid("no volume capability is given".into()));
    }
    capabilities
        .iter()
        .try_for_each(|capability| of(Some(capability)).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::csi::volume_capability::{AccessMode, BlockVolume, MountVolume};

    fn capability(mode: Mode, access_type: AccessType) -> VolumeCapability {
        VolumeCapability {
            access_type: Some(access_type),
            access_mode: Some(AccessMode { mode: mode.into() }),
        }
    }

    fn mount() -> AccessType {
        AccessType::Mount(MountVolume::default())
    }

    #[test]
    fn one_node_at_a_time_is_served_and_the_rest_is_refused_with_what_to_do() {
        let found = |mode| of(Some(&capability(mode, mount())));
        assert_eq!(
            found(Mode::SingleNodeSingleWriter).unwrap(),
            Use {
                alone: true,
                readonly: false
            }
        );
        assert!(!found(Mode::SingleNodeMultiWriter).unwrap().alone);
        let told = found(Mode::MultiNodeMultiWriter).unwrap_err().to_string();
        assert!(told.contains("ReadWriteOnce"), "{told}");
        assert!(found(Mode::Unknown).is_err());
    }

    #[test]
    fn block_volumes_are_refused_because_they_would_be_clear() {
        let block = capability(Mode::SingleNodeWriter, AccessType::Block(BlockVolume {}));
        let told = of(Some(&block)).unwrap_err().to_string();
        assert!(told.contains("volumeMode: Filesystem"), "{told}");
        let xfs = AccessType::Mount(MountVolume {
            fs_type: "xfs".into(),
            ..Default::default()
        });
        assert!(of(Some(&capability(Mode::SingleNodeWriter, xfs))).is_err());
        let flags = AccessType::Mount(MountVolume {
            mount_flags: vec!["suid".into()],
            ..Default::default()
        });
        assert!(of(Some(&capability(Mode::SingleNodeWriter, flags))).is_err());
        assert!(all(&[]).is_err());
    }
}
