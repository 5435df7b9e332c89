//! What lies on the lab's disks, byte by byte: whether words that went through the product are to be found there.
//! In: a folder, and how the words begin. Out: which were found, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// At a time.
const CHUNK: usize = 4 << 20;

/// Words with a number behind a beginning that nothing else has: `PREFIX0000` and so on.
#[derive(Debug)]
pub struct Canaries {
    prefix: String,
    digits: usize,
}

impl Canaries {
    /// `run` tells those of one run from another's.
    pub fn new(run: &str) -> Canaries {
        Canaries {
            prefix: format!("canary{run}x"),
            digits: 4,
        }
    }

    pub fn word(&self, number: usize) -> String {
        format!("{}{number:0digits$}", self.prefix, digits = self.digits)
    }

    /// The numbers of those that stand in some bytes.
    fn found(&self, bytes: &[u8], into: &mut BTreeSet<usize>) {
        let prefix = self.prefix.as_bytes();
        for at in memchr::memmem::find_iter(bytes, prefix) {
            let from = at + prefix.len();
            let number = bytes.get(from..from + self.digits);
            let number = number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
            into.extend(number);
        }
    }

    /// The numbers of those that stand in a file. Its holes are skipped.
    pub fn in_file(&self, path: &Path) -> Result<BTreeSet<usize>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let overlap = self.prefix.len() + self.digits;
        let (mut found, mut buffer, mut at) = (BTreeSet::new(), vec![0; CHUNK], 0_u64);
        while at < length {
            at = data_from(&file, at, length);
            file.seek(SeekFrom::Start(at))?;
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            self.found(&buffer[..read], &mut found);
            // A word may lie across the end of what was read.
            at += if read > overlap { read - overlap } else { read } as u64;
        }
        Ok(found)
    }

    /// The files below a folder in which some stand, with how many. What is being written or taken away meanwhile doesn't
    /// stop it; links are not followed.
    pub fn below(&self, folder: &Path) -> Result<BTreeMap<PathBuf, usize>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file()
                    && let Ok(numbers) = self.in_file(&entry.path())
                    && !numbers.is_empty()
                {
                    found.insert(entry.path(), numbers.len());
                }
            }
        }
        Ok(found)
    }
}

/// The next byte that is not in a hole.
fn data_from(file: &File, at: u64, length: u64) -> u64 {
    let offset = i64::try_from(at).unwrap_or(i64::MAX);
    match nix::unistd::lseek(file, offset, nix::unistd::Whence::SeekData) {
        Ok(data) => u64::try_from(data).unwrap_or(at),
        // Nothing but a hole up to the end.
        Err(nix::errno::Errno::ENXIO) => length,
        Err(_) => at,
    }
}

/// How much of a file is on the disk, in bytes.
pub fn allocated(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path)?.blocks() * 512)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn words_are_found_behind_holes_and_across_the_ends_of_reads() {
        let folder = std::env::temp_dir().join(format!("raw-{}", std::process::id()));
        fs::create_dir_all(folder.join("deeper")).unwrap();
        let canaries = Canaries::new("test");
        let path = folder.join("deeper/disk");
        let mut file = File::create(&path).unwrap();
        // Ends three bytes into the second read.
        file.seek(SeekFrom::Start(CHUNK as u64 - 12)).unwrap();
        file.write_all(canaries.word(7).as_bytes()).unwrap();
        file.seek(SeekFrom::Start(64 << 20)).unwrap();
        file.write_all(format!("..{}..canarytestxABCD", canaries.word(123)).as_bytes())
            .unwrap();
        drop(file);
        assert_eq!(canaries.in_file(&path).unwrap(), [7, 123].into());
        assert_eq!(canaries.below(&folder).unwrap(), [(path.clone(), 2)].into());
        assert!(Canaries::new("other").below(&folder).unwrap().is_empty());
        assert!(allocated(&path).unwrap() < 1 << 20, "the hole takes no room");
        fs::remove_dir_all(&folder).unwrap();
    }
}
