//! The folder of a volume that pods see, and its key. Needs root.
//!
//! In: where the volume's file system is mounted, and the plain key. Out: a folder that can be used, or a refusal.
//! Invariants: an encrypted volume's folder is encrypted before the first file is in it, which the kernel holds too
//! (it encrypts empty folders only); a key that isn't the folder's is taken back at once. The kernel itself takes
//! any key and just shows names that stay enciphered, so the comparison here is what tells that it is the wrong one.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use freehold_keys::DataKey;
use rustix::io::Errno;

use crate::failure::Failure;
use crate::kernel::{self, Identifier};
use crate::store::{Encryption, Volume};

/// Below the root of the file system, which can't be encrypted itself.
pub fn folder(mounted: &Path) -> PathBuf {
    mounted.join("data")
}

/// Whether pods could use it as it is: encrypted volumes have their key.
pub fn is_open(volume: &Volume, mounted: &Path) -> Result<bool, Failure> {
    let Some(data) = existing(mounted)? else {
        return Ok(false);
    };
    let policy = policy(&data)?;
    Ok(match (volume.encryption, policy) {
        (Encryption::None, found) => found.is_none(),
        (Encryption::Fscrypt, None) => false,
        (Encryption::Fscrypt, Some(identifier)) => {
            kernel::key_present(&data, identifier).map_err(Failure::io("ask for the key"))?
        }
    })
}

/// Opens an encrypted volume with its key.
pub fn open(volume: &Volume, mounted: &Path, key: &DataKey) -> Result<(), Failure> {
    let data = made(mounted)?;
    let found = policy(&data)?;
    let given = kernel::key_add(&data, key).map_err(Failure::io("give the key to the kernel"))?;
    let outcome = match found {
        Some(wanted) if wanted == given => Ok(()),
        Some(_) => Err(Failure::state(
            &volume.id,
            "the key is not the one that it is encrypted with",
        )),
        None => encrypt(volume, &data, given),
    };
    if outcome.is_err() {
        remove(&data, given)?;
    }
    outcome
}

/// Makes the folder of a volume that is not encrypted.
pub fn open_plain(volume: &Volume, mounted: &Path) -> Result<(), Failure> {
    match policy(&made(mounted)?)? {
        None => Ok(()),
        Some(_) => Err(Failure::state(
            &volume.id,
            "it is encrypted, and was made to be none",
        )),
    }
}

/// Takes the key away, with everything that was deciphered by it. What is open stays readable for whoever has it
/// open, so whatever is mounted goes next.
pub fn close(mounted: &Path) -> Result<(), Failure> {
    let found = match existing(mounted)? {
        Some(data) => policy(&data)?,
        None => None,
    };
    // Not by the encrypted folder: while that is open, it is in use, and stays readable.
    let root = File::open(mounted).map_err(Failure::io(format!("open {}", mounted.display())))?;
    rustix::fs::syncfs(&root).map_err(Failure::io("write what is in memory"))?;
    match found {
        Some(identifier) => remove(&root, identifier),
        None => Ok(()),
    }
}

fn encrypt(volume: &Volume, data: &File, identifier: Identifier) -> Result<(), Failure> {
    kernel::policy_set(data, identifier).map_err(|error| match error {
        Errno::NOTEMPTY => Failure::state(&volume.id, "it has files that are not encrypted"),
        other => Failure::io("encrypt the folder")(other),
    })?;
    rustix::fs::syncfs(data).map_err(Failure::io("write the folder"))
}

fn remove(data: &File, identifier: Identifier) -> Result<(), Failure> {
    match kernel::key_remove(data, identifier) {
        Ok(false) | Err(Errno::NOKEY) => Ok(()),
        Ok(true) => {
            tracing::warn!("the key is removed while files are open; what they have read stays in memory");
            Ok(())
        }
        Err(error) => Err(Failure::io("remove the key")(error)),
    }
}

fn policy(data: &File) -> Result<Option<Identifier>, Failure> {
    kernel::policy_get(data).map_err(Failure::io("read how the folder is encrypted"))
}

fn existing(mounted: &Path) -> Result<Option<File>, Failure> {
    match File::open(folder(mounted)) {
        Ok(data) => Ok(Some(data)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io("open the volume's folder")(error)),
    }
}

fn made(mounted: &Path) -> Result<File, Failure> {
    if let Some(data) = existing(mounted)? {
        return Ok(data);
    }
    fs::DirBuilder::new()
        .mode(0o755)
        .create(folder(mounted))
        .and_then(|()| File::open(folder(mounted)))
        .map_err(Failure::io("make the volume's folder"))
}
