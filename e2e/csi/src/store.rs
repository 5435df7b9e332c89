//! The folder that holds the volumes: `volumes/NAME/` with the disk, what it is, and who uses it.
//!
//! In: names and sizes. Out: volumes. Nothing here needs a right but to that folder, which may be shared by several
//! nodes. Invariants: a volume appears by one rename when it is whole, and vanishes by one; a disk is made into a
//! file system before that and never after, so that no later act can format data; a volume has one holder at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::tool;

/// CSI's own limit for names.
const NAME_MAX: usize = 128;
/// The holder of a volume that is being deleted. No node can be called so.
const GRAVE: &str = "its deletion";

/// How a volume is encrypted, as the StorageClass says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    Fscrypt,
    None,
}

impl Encryption {
    pub fn as_str(self) -> &'static str {
        match self {
            Encryption::Fscrypt => "fscrypt",
            Encryption::None => "none",
        }
    }
}

/// What is written down of a volume. Its size is the disk's.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Facts {
    encryption: Encryption,
}

/// A volume that is whole.
#[derive(Debug, Clone)]
pub struct Volume {
    pub id: String,
    pub encryption: Encryption,
    pub bytes: u64,
    folder: PathBuf,
}

#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Makes the folder if it isn't there.
    pub fn open(root: &Path) -> io::Result<Store> {
        for part in ["volumes", "making", "gone"] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(root.join(part))?;
        }
        Ok(Store {
            root: root.to_path_buf(),
        })
    }

    /// The volume of that id, if it is there and whole.
    pub fn find(&self, id: &str) -> Result<Option<Volume>, Failure> {
        if !is_name(id) {
            return Ok(None);
        }
        let folder = self.volumes().join(id);
        let read = || format!("read volume {id}");
        let facts = match fs::read(folder.join("volume.json")) {
            Ok(bytes) => serde_json::from_slice::<Facts>(&bytes).map_err(Failure::io(read()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::io(read())(error)),
        };
        let disk = folder.join("disk");
        let bytes = fs::metadata(&disk).map_err(Failure::io(read()))?.len();
        Ok(Some(Volume {
            id: id.to_owned(),
            encryption: facts.encryption,
            bytes,
            folder,
        }))
    }

    pub fn get(&self, id: &str) -> Result<Volume, Failure> {
        self.find(id)?.ok_or_else(|| Failure::NoVolume(id.to_owned()))
    }

    /// All volumes, by name.
    pub fn list(&self) -> Result<Vec<Volume>, Failure> {
        let list = || Failure::io::<io::Error>("list the volumes");
        let mut names = Vec::new();
        for entry in fs::read_dir(self.volumes()).map_err(list())? {
            names.push(entry.map_err(list())?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        names
            .iter()
            .filter_map(|name| self.find(name).transpose())
            .collect()
    }

    /// Makes a volume of which there is none yet. What an earlier try left half-made goes first.
    pub fn create(&self, name: &str, bytes: u64, encryption: Encryption) -> Result<Volume, Failure> {
        if !is_name(name) {
            return Err(Failure::Invalid(format!(
                "{name:?} is not the name of a volume: 1 to {NAME_MAX} of A-Z, a-z, 0-9, -, _ and ., which is not the first"
            )));
        }
        let making = self.root.join("making").join(name);
        remove(&making).map_err(Failure::io(format!("clear what was half-made of {name}")))?;
        self.fill(&making, bytes, encryption)
            .and_then(|()| fs::rename(&making, self.volumes().join(name)))
            .and_then(|()| sync(&self.volumes()))
            .map_err(Failure::io(format!("make volume {name}")))?;
        self.get(name)
    }

    fn fill(&self, folder: &Path, bytes: u64, encryption: Encryption) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(folder)?;
        let file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(folder.join("disk"))?;
        file.set_len(bytes)?;
        format(&file)?;
        file.sync_all()?;
        let facts = folder.join("volume.json");
        fs::write(&facts, serde_json::to_vec(&Facts { encryption })?)?;
        File::open(&facts)?.sync_all()?;
        sync(folder)
    }

    /// Deletes a volume that nobody holds; one that isn't there is deleted.
    pub fn delete(&self, id: &str) -> Result<(), Failure> {
        if !is_name(id) {
            return Ok(());
        }
        let gone = self.root.join("gone").join(id);
        let delete = || Failure::io::<io::Error>(format!("delete volume {id}"));
        remove(&gone).map_err(delete())?;
        if let Some(volume) = self.find(id)? {
            // Nobody can begin to use it from here on.
            volume.take(GRAVE)?;
            fs::rename(&volume.folder, &gone).map_err(delete())?;
        }
        remove(&gone).map_err(delete())?;
        remove(&self.root.join("making").join(id)).map_err(delete())
    }

    /// Bytes that are free where the volumes lie.
    pub fn free(&self) -> Result<u64, Failure> {
        let found = rustix::fs::statvfs(&self.root).map_err(Failure::io("read the free space"))?;
        Ok(found.f_bavail * found.f_frsize)
    }

    fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }
}

impl Volume {
    pub fn disk(&self) -> PathBuf {
        self.folder.join("disk")
    }

    /// Makes the disk larger; it never becomes smaller. Waits for whoever has the volume to themselves: until then it
    /// isn't known which file the disk is, nor how large.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Failure> {
        let _alone = self.exclusively()?;
        let grow = || Failure::io::<io::Error>(format!("grow volume {}", self.id));
        let file = OpenOptions::new().write(true).open(self.disk()).map_err(grow())?;
        let found = file.metadata().map_err(grow())?.len();
        if bytes > found {
            file.set_len(bytes)
                .and_then(|()| file.sync_all())
                .map_err(grow())?;
        }
        self.bytes = bytes.max(found);
        Ok(())
    }

    /// Until it is dropped, nobody else changes which file the disk is, or its size: whoever does takes this first.
    pub fn exclusively(&self) -> Result<File, Failure> {
        let act = || format!("lock volume {}", self.id);
        let file = File::open(self.folder.join("volume.json")).map_err(Failure::io(act()))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).map_err(Failure::io(act()))?;
        Ok(file)
    }

    /// Who uses it, if anybody.
    pub fn holder(&self) -> Result<Option<String>, Failure> {
        match fs::read_to_string(self.folder.join("holder")) {
            Ok(holder) => Ok(Some(holder)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::io(format!("read who holds volume {}", self.id))(error)),
        }
    }

    /// Makes `who` the holder, unless somebody else is. It is one link of a whole file: of two that try at once,
    /// on whatever node, one gets it.
    pub fn take(&self, who: &str) -> Result<(), Failure> {
        let take = || Failure::io::<io::Error>(format!("take volume {}", self.id));
        let draft = self
            .folder
            .join(format!("holder.{}.{}", who.replace(' ', "-"), std::process::id()));
        fs::write(&draft, who).map_err(take())?;
        let linked = fs::hard_link(&draft, self.folder.join("holder"));
        fs::remove_file(&draft).map_err(take())?;
        match linked {
            Ok(()) => sync(&self.folder).map_err(take()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => match self.holder()? {
                Some(holder) if holder == who => Ok(()),
                holder => Err(Failure::Held {
                    volume: self.id.clone(),
                    holder: holder.unwrap_or_else(|| "somebody who lets go of it right now".into()),
                }),
            },
            Err(error) => Err(take()(error)),
        }
    }

    /// Ends the hold of `who`, if it is theirs.
    pub fn release(&self, who: &str) -> Result<(), Failure> {
        if self.holder()?.as_deref() == Some(who) {
            fs::remove_file(self.folder.join("holder"))
                .and_then(|()| sync(&self.folder))
                .map_err(Failure::io(format!("release volume {}", self.id)))?;
        }
        Ok(())
    }
}

/// Names become file names.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=NAME_MAX).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(fits)
}

/// An ext4 whose folders can be encrypted. No block is kept for root: a volume's size is its user's.
fn format(disk: &File) -> io::Result<()> {
    let encrypted = ["-q", "-F", "-t", "ext4", "-O", "encrypt", "-m", "0"];
    let args = [&encrypted[..], &["-b", "4096", "-E", "nodiscard"]].concat();
    tool::run("mke2fs", &args, disk, &[0])
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Names in a folder outlive a power cut only when the folder was synced.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A store with one volume, whose disk is a hole.
    fn one_volume(name: &str) -> Store {
        let root = std::env::temp_dir().join(format!("store-{name}-{}", std::process::id()));
        remove(&root).unwrap();
        let store = Store::open(&root).unwrap();
        let folder = store.volumes().join("v");
        fs::create_dir(&folder).unwrap();
        File::create(folder.join("disk"))
            .unwrap()
            .set_len(16 * MIB)
            .unwrap();
        let facts = Facts {
            encryption: Encryption::None,
        };
        fs::write(folder.join("volume.json"), serde_json::to_vec(&facts).unwrap()).unwrap();
        store
    }

    #[test]
    fn a_disk_that_is_being_replaced_grows_when_that_is_over() {
        let store = one_volume("replaced");
        let node = store.get("v").unwrap();
        let mut controller = store.get("v").unwrap();
        let alone = node.exclusively().unwrap();
        let fresh = node.disk().with_file_name("disk.new");
        fs::copy(node.disk(), &fresh).unwrap();
        let (tell, told) = mpsc::channel();
        let grown = std::thread::spawn(move || {
            let grown = controller.grow(64 * MIB);
            tell.send(()).unwrap();
            grown.unwrap();
            controller.bytes
        });
        assert!(
            told.recv_timeout(Duration::from_millis(300)).is_err(),
            "it grew a file that is about to be replaced"
        );
        fs::rename(&fresh, node.disk()).unwrap();
        drop(alone);
        assert_eq!(grown.join().unwrap(), 64 * MIB);
        assert_eq!(store.get("v").unwrap().bytes, 64 * MIB);
        remove(&store.root).unwrap();
    }

    #[test]
    fn a_handle_from_before_a_growth_takes_nothing_of_it_back() {
        let store = one_volume("stale");
        let (mut first, mut second) = (store.get("v").unwrap(), store.get("v").unwrap());
        first.grow(64 * MIB).unwrap();
        second.grow(32 * MIB).unwrap();
        assert_eq!((first.bytes, second.bytes), (64 * MIB, 64 * MIB));
        assert_eq!(store.get("v").unwrap().bytes, 64 * MIB);
        remove(&store.root).unwrap();
    }
}
