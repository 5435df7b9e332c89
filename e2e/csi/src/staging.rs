//! What a node does with volumes: stage, publish, and back. Blocking, and needs root.
//!
//! In: a volume, paths, the plain key. Out: mounts. Invariants: each act may be repeated and finishes what an
//! earlier one left when it was killed, so nothing is kept in memory; a volume is mounted by the node that holds it
//! and by no other; the key goes before the mounts do; the hold ends when nothing on this machine has the disk open.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use freehold_keys::DataKey;

use crate::data;
use crate::failure::Failure;
use crate::growth;
use crate::loops::Device;
use crate::mounts::{self, Mount};
use crate::store::{Encryption, Volume};

/// For the kernel to let go of a disk after the last mount of it went.
const LETTING_GO: Duration = Duration::from_secs(5);

/// Who this node is.
#[derive(Debug, Clone)]
pub struct Staging {
    pub node: String,
}

/// What a publication asks for beside the paths.
#[derive(Debug, Clone, Copy)]
pub struct Publication {
    pub readonly: bool,
    /// For one pod only.
    pub alone: bool,
}

impl Staging {
    /// Whether it is staged there, and could be published.
    pub fn is_staged(&self, volume: &Volume, at: &Path) -> Result<bool, Failure> {
        Ok(staged(volume, at)?.is_some()
            && volume.holder()?.as_deref() == Some(&self.node)
            && data::is_open(volume, at)?)
    }

    /// Mounts the volume, and opens it if it is encrypted: then the key must be there.
    pub fn stage(&self, volume: &Volume, at: &Path, key: Option<&DataKey>) -> Result<(), Failure> {
        volume.take(&self.node)?;
        let outcome = self
            .mount(volume, at)
            .and_then(|()| match (volume.encryption, key) {
                (Encryption::None, _) => data::open_plain(volume, at),
                (Encryption::Fscrypt, Some(key)) => data::open(volume, at, key),
                (Encryption::Fscrypt, None) => Err(Failure::state(&volume.id, "its key is missing")),
            });
        if let Err(failure) = outcome {
            // Nothing of what failed stays, and another node may try.
            if let Err(second) = self.unstage(volume, at) {
                tracing::warn!(volume = volume.id, "after a failed staging: {second}");
            }
            return Err(failure);
        }
        Ok(())
    }

    fn mount(&self, volume: &Volume, at: &Path) -> Result<(), Failure> {
        if staged(volume, at)?.is_some() {
            return Ok(());
        }
        if let Some(device) = Device::find(&volume.disk())? {
            return Err(Failure::state(
                &volume.id,
                format!("{} has its disk, and isn't mounted there", device.path.display()),
            ));
        }
        fs::create_dir_all(at).map_err(Failure::io(format!("make {}", at.display())))?;
        growth::offline(volume)?;
        mounts::mount(&Device::attach(&volume.disk())?, at)
    }

    /// The way back. A volume that isn't staged is unstaged.
    pub fn unstage(&self, volume: &Volume, at: &Path) -> Result<(), Failure> {
        if let Some(device) = staged(volume, at)? {
            if let Some(target) = published(&device, at)?.first() {
                return Err(Failure::state(
                    &volume.id,
                    format!("it is published at {}", target.at.display()),
                ));
            }
            data::close(at)?;
        }
        mounts::unmount(at)?;
        if volume.holder()?.as_deref() != Some(&self.node) {
            return Ok(());
        }
        let deadline = Instant::now() + LETTING_GO;
        while let Some(device) = Device::find(&volume.disk())? {
            if Instant::now() > deadline {
                return Err(Failure::state(
                    &volume.id,
                    format!("its disk is still held by {}", device.path.display()),
                ));
            }
            drop(device);
            std::thread::sleep(Duration::from_millis(10));
        }
        volume.release(&self.node)
    }

    /// Shows a staged volume's folder to a pod.
    pub fn publish(
        &self,
        volume: &Volume,
        staged_at: &Path,
        target: &Path,
        publication: Publication,
    ) -> Result<(), Failure> {
        if !self.is_staged(volume, staged_at)? {
            return Err(Failure::state(
                &volume.id,
                format!("it is not staged at {}", staged_at.display()),
            ));
        }
        let Some(device) = Device::find(&volume.disk())? else {
            return Err(Failure::state(&volume.id, "its disk is attached no more"));
        };
        let parent = target.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(Failure::io(format!("make {}", parent.display())))?;
        let parent = fs::canonicalize(parent).map_err(Failure::io(format!("find {}", parent.display())))?;
        let target = parent.join(target.file_name().unwrap_or_default());
        let (here, elsewhere): (Vec<Mount>, Vec<Mount>) = published(&device, staged_at)?
            .into_iter()
            .partition(|mount| mount.at == target);
        if let (true, Some(other)) = (publication.alone, elsewhere.first()) {
            return Err(Failure::state(
                &volume.id,
                format!("it is for one pod, and published at {}", other.at.display()),
            ));
        }
        fs::create_dir_all(&target).map_err(Failure::io(format!("make {}", target.display())))?;
        match here.last() {
            None => mounts::bind(&data::folder(staged_at), &target, publication.readonly),
            Some(mount) if mount.readonly == publication.readonly => Ok(()),
            Some(mount) => Err(Failure::Different {
                volume: volume.id.clone(),
                found: format!("readonly={} at {}", mount.readonly, target.display()),
            }),
        }
    }

    /// Takes a publication away, with its folder.
    pub fn unpublish(&self, target: &Path) -> Result<(), Failure> {
        mounts::unmount(target)?;
        match fs::remove_dir(target) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Failure::io(format!("remove {}", target.display()))(error))
            }
            _ => Ok(()),
        }
    }

    /// Lets the file system have the whole of a disk that has grown.
    pub fn grow(&self, volume: &Volume, path: &Path) -> Result<(), Failure> {
        let device = mounted(volume, path)?;
        let whole = mounts::of(&device)?
            .into_iter()
            .find(|mount| mount.root == Path::new("/"));
        let Some(whole) = whole else {
            return Err(Failure::state(&volume.id, "it is not staged"));
        };
        growth::online(volume, &device, &whole.at)
    }

    /// How full it is.
    pub fn stats(&self, volume: &Volume, path: &Path) -> Result<rustix::fs::StatVfs, Failure> {
        mounted(volume, path)?;
        rustix::fs::statvfs(path).map_err(Failure::io(format!("read {}", path.display())))
    }
}

/// The device of a volume, if its whole file system is mounted at that path.
fn staged(volume: &Volume, at: &Path) -> Result<Option<Device>, Failure> {
    let found = mounts::at(at)?.filter(|mount| mount.root == Path::new("/"));
    let device = Device::find(&volume.disk())?;
    Ok(device.filter(|device| found.is_some_and(|mount| mount.device == device.number)))
}

/// The device of a volume that is mounted at that path, staged or published.
fn mounted(volume: &Volume, path: &Path) -> Result<Device, Failure> {
    let found = mounts::at(path)?;
    let device = Device::find(&volume.disk())?;
    device
        .filter(|device| found.is_some_and(|mount| mount.device == device.number))
        .ok_or_else(|| Failure::NoPath {
            volume: volume.id.clone(),
            path: path.display().to_string(),
        })
}

/// Where a staged volume is mounted beside.
fn published(device: &Device, staged_at: &Path) -> Result<Vec<Mount>, Failure> {
    let staged_at: PathBuf = fs::canonicalize(staged_at).unwrap_or_else(|_| staged_at.to_path_buf());
    let mut all = mounts::of(device)?;
    all.retain(|mount| mount.at != staged_at);
    Ok(all)
}
