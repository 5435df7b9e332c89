//! What the tests work with: a folder of volumes, a node's services, and the calls that kubelet would make.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use freehold_csi::busy::Busy;
use freehold_csi::key::TestKey;
use freehold_csi::proto::csi::controller_server::Controller;
use freehold_csi::proto::csi::node_server::Node;
use freehold_csi::proto::csi::volume_capability::access_mode::Mode;
use freehold_csi::proto::csi::volume_capability::{AccessMode, AccessType, MountVolume};
use freehold_csi::proto::csi::*;
use freehold_csi::staging::Staging;
use freehold_csi::store::Store;
use freehold_csi::{controller, mounts, node};
use freehold_keys::DataKey;
use tonic::{Code, Request, Status};

pub const MIB: i64 = 1 << 20;
const INCARNATION: &str = "5f0c9d8e-1111-4222-8333-444455556666";
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A folder of this test alone; what is mounted below it goes with it.
pub struct Bench {
    pub root: PathBuf,
    pub test_key: Arc<TestKey>,
}

impl Bench {
    pub fn new() -> Bench {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("freehold-csi-{}-{number}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        Bench {
            root: root.canonicalize().unwrap(),
            test_key: Arc::new(TestKey::new(&[7; 32]).unwrap()),
        }
    }

    pub fn store(&self) -> Store {
        Store::open(&self.root.join("store")).unwrap()
    }

    pub fn node(&self, name: &str) -> OneNode<'_> {
        let (store, busy) = (self.store(), Busy::default());
        OneNode {
            bench: self,
            name: name.into(),
            node: node::Service {
                store: store.clone(),
                staging: Staging { node: name.into() },
                keys: self.test_key.clone(),
                busy: busy.clone(),
            },
            controller: controller::Service { store, busy },
        }
    }

    /// The Secret of a volume whose key consists of that byte.
    pub fn secret(&self, volume: &str, byte: u8) -> HashMap<String, String> {
        let plain = DataKey::new((0..64).map(|i| byte.wrapping_add(i)).collect());
        let envelope = self.test_key.wrap(INCARNATION, volume, &plain).unwrap();
        envelope.to_texts().into_iter().collect()
    }

    pub fn disk(&self, volume: &str) -> PathBuf {
        self.store().get(volume).unwrap().disk()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let mut below: Vec<PathBuf> = mounts::all().unwrap().into_iter().map(|mount| mount.at).collect();
        below.retain(|at| at.starts_with(&self.root));
        for at in below.iter().rev() {
            let _ = mounts::unmount(at);
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// A node with its driver.
pub struct OneNode<'a> {
    bench: &'a Bench,
    name: String,
    pub node: node::Service,
    controller: controller::Service,
}

pub fn capability(mode: Mode) -> VolumeCapability {
    VolumeCapability {
        access_type: Some(AccessType::Mount(MountVolume::default())),
        access_mode: Some(AccessMode { mode: mode.into() }),
    }
}

impl OneNode<'_> {
    pub fn staging_path(&self, volume: &str) -> PathBuf {
        self.bench.root.join(&self.name).join("staging").join(volume)
    }

    pub fn target(&self, volume: &str, pod: &str) -> PathBuf {
        self.bench.root.join(&self.name).join(pod).join(volume)
    }

    pub async fn create(&self, volume: &str, encryption: &str) {
        let request = CreateVolumeRequest {
            name: volume.into(),
            capacity_range: Some(CapacityRange {
                required_bytes: 64 * MIB,
                limit_bytes: 0,
            }),
            volume_capabilities: vec![capability(Mode::SingleNodeMultiWriter)],
            parameters: HashMap::from([("encryption".into(), encryption.into())]),
            volume_content_source: None,
        };
        self.controller
            .create_volume(Request::new(request))
            .await
            .unwrap();
    }

    pub async fn delete(&self, volume: &str) -> Result<(), Status> {
        let request = DeleteVolumeRequest {
            volume_id: volume.into(),
        };
        self.controller
            .delete_volume(Request::new(request))
            .await
            .map(drop)
    }

    pub fn stage_request(&self, volume: &str, secrets: HashMap<String, String>) -> NodeStageVolumeRequest {
        NodeStageVolumeRequest {
            volume_id: volume.into(),
            staging_target_path: text(&self.staging_path(volume)),
            volume_capability: Some(capability(Mode::SingleNodeMultiWriter)),
            secrets,
            volume_context: HashMap::new(),
        }
    }

    pub async fn stage(&self, volume: &str, secrets: HashMap<String, String>) -> Result<(), Status> {
        let request = self.stage_request(volume, secrets);
        self.node.node_stage_volume(Request::new(request)).await.map(drop)
    }

    pub async fn unstage(&self, volume: &str) -> Result<(), Status> {
        let request = NodeUnstageVolumeRequest {
            volume_id: volume.into(),
            staging_target_path: text(&self.staging_path(volume)),
        };
        self.node
            .node_unstage_volume(Request::new(request))
            .await
            .map(drop)
    }

    pub fn publish_request(&self, volume: &str, pod: &str) -> NodePublishVolumeRequest {
        NodePublishVolumeRequest {
            volume_id: volume.into(),
            staging_target_path: text(&self.staging_path(volume)),
            target_path: text(&self.target(volume, pod)),
            volume_capability: Some(capability(Mode::SingleNodeMultiWriter)),
            readonly: false,
        }
    }

    /// The folder that the pod sees.
    pub async fn publish(&self, volume: &str, pod: &str) -> Result<PathBuf, Status> {
        let request = self.publish_request(volume, pod);
        self.node.node_publish_volume(Request::new(request)).await?;
        Ok(self.target(volume, pod))
    }

    pub async fn unpublish(&self, volume: &str, pod: &str) -> Result<(), Status> {
        let request = NodeUnpublishVolumeRequest {
            volume_id: volume.into(),
            target_path: text(&self.target(volume, pod)),
        };
        self.node
            .node_unpublish_volume(Request::new(request))
            .await
            .map(drop)
    }

    pub async fn controller_expand(&self, volume: &str, bytes: i64) -> i64 {
        let request = ControllerExpandVolumeRequest {
            volume_id: volume.into(),
            capacity_range: Some(CapacityRange {
                required_bytes: bytes,
                limit_bytes: 0,
            }),
            volume_capability: None,
        };
        let answer = self
            .controller
            .controller_expand_volume(Request::new(request))
            .await;
        answer.unwrap().into_inner().capacity_bytes
    }

    pub async fn node_expand(&self, volume: &str, pod: &str) -> Result<i64, Status> {
        let request = NodeExpandVolumeRequest {
            volume_id: volume.into(),
            volume_path: text(&self.target(volume, pod)),
            ..Default::default()
        };
        let answer = self.node.node_expand_volume(Request::new(request)).await?;
        Ok(answer.into_inner().capacity_bytes)
    }

    pub async fn total_bytes(&self, volume: &str, pod: &str) -> Result<i64, Status> {
        let request = NodeGetVolumeStatsRequest {
            volume_id: volume.into(),
            volume_path: text(&self.target(volume, pod)),
        };
        let answer = self.node.node_get_volume_stats(Request::new(request)).await?;
        Ok(answer.into_inner().usage[0].total)
    }
}

pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// The code of what must fail, and what it said.
pub fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.unwrap_err();
    (status.code(), status.message().to_owned())
}

/// Every file below a folder, with its content.
pub fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(
                    path.strip_prefix(folder).unwrap().into(),
                    fs::read(&path).unwrap(),
                );
            }
        }
    }
    found
}
