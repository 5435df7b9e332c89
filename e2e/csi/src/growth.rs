//! A file system follows its disk. Online where the kernel lets this process; it asks for CAP_SYS_RESOURCE, which
//! sandboxes lack, and then the next staging does it, before it mounts.
//!
//! Invariant: a process that is killed here leaves a whole disk. `resize2fs` on a disk that isn't mounted has no
//! journal, so it works on a copy, which then takes the disk's place by one rename.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::io::Errno;

use crate::failure::Failure;
use crate::kernel;
use crate::loops::Device;
use crate::store::Volume;
use crate::tool;

/// The block size that the disks are made with.
const BLOCK: u64 = 4096;
/// Where ext4's superblock lies, and in it the two halves of the number of blocks (`fs/ext4/ext4.h`).
const SUPERBLOCK: u64 = 1024;
const BLOCKS_LOW: usize = 0x4;
const BLOCKS_HIGH: usize = 0x150;

/// Grows the file system that is mounted at `whole`.
pub fn online(volume: &Volume, device: &Device, whole: &Path) -> Result<(), Failure> {
    device.grow()?;
    let wanted = volume.bytes / BLOCK;
    if blocks(&device.path).map_err(Failure::io("read the superblock"))? >= wanted {
        return Ok(());
    }
    let folder = File::open(whole).map_err(Failure::io(format!("open {}", whole.display())))?;
    kernel::ext4_grow(&folder, wanted).map_err(|error| match error {
        Errno::PERM => Failure::state(
            &volume.id,
            "it grows when it is next staged, for this machine has no CAP_SYS_RESOURCE: stop its pods until it is unstaged, and start them again",
        ),
        other => Failure::io(format!("grow the file system of {}", volume.id))(other),
    })
}

/// Grows the file system of a disk that nobody has attached, if the disk is larger than it.
pub fn offline(volume: &Volume) -> Result<(), Failure> {
    let disk = volume.disk();
    let fresh = disk.with_file_name("disk.new");
    let act = || Failure::io::<io::Error>(format!("grow the disk of {}", volume.id));
    if blocks(&disk).map_err(act())? >= volume.bytes / BLOCK {
        return Ok(());
    }
    // A controller, which is another process, waits meanwhile: its growth must not be lost with the old file.
    let _alone = volume.exclusively()?;
    grown(&disk, &fresh)
        .and_then(|()| fs::rename(&fresh, &disk))
        .and_then(|()| File::open(disk.parent().unwrap_or(Path::new("/")))?.sync_all())
        .map_err(act())
}

/// How many blocks the ext4 of a disk has.
fn blocks(disk: &Path) -> io::Result<u64> {
    let mut block = [0; 1024];
    let mut file = File::open(disk)?;
    file.seek(SeekFrom::Start(SUPERBLOCK))?;
    file.read_exact(&mut block)?;
    let half = |at: usize| {
        block[at..at + 4]
            .iter()
            .rev()
            .fold(0, |sum: u64, byte| (sum << 8) | u64::from(*byte))
    };
    Ok(half(BLOCKS_HIGH) << 32 | half(BLOCKS_LOW))
}

/// A copy whose file system has the whole of it.
fn grown(disk: &Path, fresh: &Path) -> io::Result<()> {
    // A program that a killed driver has left works on its own file, not on this one.
    match fs::remove_file(fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let copy = copy(disk, fresh)?;
    tool::run("e2fsck", &["-f", "-p"], &copy, &[0, 1])?;
    tool::run("resize2fs", &[], &copy, &[0])?;
    copy.sync_all()
}

/// Holes stay holes.
fn copy(from: &Path, to: &Path) -> io::Result<File> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new()
        .create_new(true)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(to)?;
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut at = 0;
    while at < length {
        let begin = match rustix::fs::seek(&source, rustix::fs::SeekFrom::Data(at)) {
            Ok(begin) => begin,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(&source, rustix::fs::SeekFrom::Hole(begin))?;
        source.seek(SeekFrom::Start(begin))?;
        target.seek(SeekFrom::Start(begin))?;
        io::copy(&mut Read::by_ref(&mut source).take(end - begin), &mut target)?;
        at = end;
    }
    target.flush()?;
    target.sync_all()?;
    Ok(target)
}
