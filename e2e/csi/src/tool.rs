//! The programs of e2fsprogs.
//!
//! Invariant: a program works on the file that it was started for. It outlives a driver that is killed, and what the next driver makes
//! at the same path is another file: so it is handed the open file, and no path.

use std::fs::File;
use std::io;
use std::process::Command;

/// The open file as a path that isn't anybody else's.
const OWN: &str = "/proc/self/fd/0";

/// Runs a program on a disk, which it takes as its last argument.
pub fn run(program: &str, args: &[&str], disk: &File, fine: &[i32]) -> io::Result<()> {
    let mut command = Command::new(program);
    let output = command
        .args(args)
        .arg(OWN)
        .stdin(disk.try_clone()?)
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("start {program}: {error}")))?;
    if output.status.code().is_some_and(|code| fine.contains(&code)) {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!(
        "{program}: {}: {}",
        output.status,
        told.trim()
    )))
}
