//! Loop devices: a disk file as a block device. Needs root.
//!
//! Invariant: a device never outlives its use. It lets go of its file when the last mount or open file of it ends,
//! and so also when this process is killed: there is nothing to clean up after a crash.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::failure::Failure;
use crate::kernel;

/// Others take free devices too.
const TRIES: usize = 16;

/// A loop device with a disk behind it, open, so that it stays.
#[derive(Debug)]
pub struct Device {
    pub path: PathBuf,
    /// `MAJOR:MINOR`, as the kernel's table of mounts names it.
    pub number: String,
    file: File,
}

impl Device {
    /// Ties a free device to a disk.
    pub fn attach(disk: &Path) -> Result<Device, Failure> {
        let attach = || format!("attach {}", disk.display());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(disk)
            .map_err(Failure::io(attach()))?;
        for _ in 0..TRIES {
            let control = File::open("/dev/loop-control").map_err(Failure::io("open /dev/loop-control"))?;
            let number = kernel::loop_free(&control).map_err(Failure::io("find a free loop device"))?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)
                .map_err(Failure::io(format!("open {}", path.display())))?;
            match kernel::loop_attach(&device, &file) {
                Ok(()) => return Device::of(path, device),
                Err(Errno::BUSY) => {}
                Err(error) => return Err(Failure::io(attach())(error)),
            }
        }
        Err(Failure::io(attach())(Errno::BUSY))
    }

    /// The device that has this disk behind it, whoever attached it.
    pub fn find(disk: &Path) -> Result<Option<Device>, Failure> {
        let find = || Failure::io::<std::io::Error>("look for loop devices");
        let wanted = fs::metadata(disk).map_err(find())?;
        for entry in fs::read_dir("/sys/block").map_err(find())? {
            let entry = entry.map_err(find())?;
            if !entry.path().join("loop").is_dir() {
                continue;
            }
            let path = Path::new("/dev").join(entry.file_name());
            // It may go away while it is looked at.
            let Ok(device) = File::open(&path) else { continue };
            if kernel::loop_file(&device) == Ok((wanted.dev(), wanted.ino())) {
                return Device::of(path, device).map(Some);
            }
        }
        Ok(None)
    }

    fn of(path: PathBuf, file: File) -> Result<Device, Failure> {
        let number = file
            .metadata()
            .map_err(Failure::io(format!("read {}", path.display())))?
            .rdev();
        Ok(Device {
            number: format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number)),
            path,
            file,
        })
    }

    /// Sees the new size of a disk that has grown.
    pub fn grow(&self) -> Result<(), Failure> {
        kernel::loop_grow(&self.file).map_err(Failure::io(format!("grow {}", self.path.display())))
    }
}
