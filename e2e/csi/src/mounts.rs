//! Mounts of the namespace that this process is in, read from the kernel and made by it. Needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::failure::Failure;
use crate::loops::Device;

/// Whoever can write to a volume must not get rights on the node by it.
const SAFE: MountFlags = MountFlags::NODEV.union(MountFlags::NOSUID);

/// One line of the kernel's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub device: String,
    /// What of its file system is mounted.
    pub root: PathBuf,
    pub at: PathBuf,
    pub readonly: bool,
}

/// All mounts, in the order in which they lie on each other.
pub fn all() -> Result<Vec<Mount>, Failure> {
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(Failure::io("read the mounts"))?;
    Ok(table.lines().filter_map(parse).collect())
}

/// What is mounted at a path: the one on top.
pub fn at(path: &Path) -> Result<Option<Mount>, Failure> {
    let path = resolved(path);
    Ok(all()?.into_iter().rev().find(|mount| mount.at == path))
}

/// The mounts of a device.
pub fn of(device: &Device) -> Result<Vec<Mount>, Failure> {
    let mut all = all()?;
    all.retain(|mount| mount.device == device.number);
    Ok(all)
}

/// Mounts the ext4 of a device. The journal's trouble makes it read-only, and blocks that are freed become free on
/// the disk below.
pub fn mount(device: &Device, at: &Path) -> Result<(), Failure> {
    let options = c"errors=remount-ro,discard";
    rustix::mount::mount(&device.path, at, "ext4", SAFE, options)
        .map_err(Failure::io(format!("mount at {}", at.display())))
}

/// Shows a folder at a second path.
pub fn bind(folder: &Path, at: &Path, readonly: bool) -> Result<(), Failure> {
    let act = || format!("bind at {}", at.display());
    rustix::mount::mount_bind(folder, at).map_err(Failure::io(act()))?;
    if readonly {
        let flags = MountFlags::BIND | MountFlags::RDONLY | SAFE;
        rustix::mount::mount_remount(at, flags, c"").map_err(|error| {
            // A writable one must not stay where a read-only one was asked for.
            let _ = rustix::mount::unmount(at, UnmountFlags::empty());
            Failure::io(act())(error)
        })?;
    }
    Ok(())
}

/// How long a mount that is in use is waited for: a program that this process is just starting for another volume holds, until it
/// runs, every file that was open here.
const PATIENCE: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(20);

/// Takes away everything that is mounted at a path, which may be nothing.
pub fn unmount(at: &Path) -> Result<(), Failure> {
    let path = resolved(at);
    let begin = Instant::now();
    while self::at(&path)?.is_some() {
        match rustix::mount::unmount(&path, UnmountFlags::NOFOLLOW) {
            // Somebody else was quicker.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(Errno::BUSY) if begin.elapsed() < PATIENCE => std::thread::sleep(STEP),
            Err(error) => return Err(Failure::io(format!("unmount {}", path.display()))(error)),
        }
    }
    Ok(())
}

/// The table has no links in its paths.
fn resolved(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

fn parse(line: &str) -> Option<Mount> {
    let mut words = line.split(' ');
    let device = words.nth(2)?.to_owned();
    let (root, at) = (unescaped(words.next()?), unescaped(words.next()?));
    let readonly = words.next()?.split(',').any(|option| option == "ro");
    Some(Mount {
        device,
        root,
        at,
        readonly,
    })
}

/// The table writes blanks, tabs, line ends and backslashes as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut plain = text.to_owned();
    for (code, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(code, character);
    }
    PathBuf::from(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_read() {
        let line = "98 35 7:3 /data /a\\040b/c ro,nosuid,nodev shared:7 - ext4 /dev/loop3 rw,discard";
        let expected = Mount {
            device: "7:3".into(),
            root: "/data".into(),
            at: "/a b/c".into(),
            readonly: true,
        };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse("98 35"), None);
    }

    #[test]
    fn the_mounts_of_this_process_hold_proc() {
        assert!(at(Path::new("/proc")).unwrap().is_some());
        assert!(at(Path::new("/proc/self")).unwrap().is_none());
    }
}
