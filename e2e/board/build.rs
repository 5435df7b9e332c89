//! In: `BOARD_VERSION` (default 1.0.0) and the files under `ui/`. Out: `BOARD_VERSION` and `BOARD_ASSETS` (a digest of the
//! page) for `env!`, and the flags `has_due_date` and `broken`, so that three releases come from one source.

use sha2::{Digest, Sha256};
use std::{env, error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=BOARD_VERSION");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=ui");
    println!("cargo:rustc-check-cfg=cfg(has_due_date)");
    println!("cargo:rustc-check-cfg=cfg(broken)");

    let version = env::var("BOARD_VERSION").unwrap_or_else(|_| "1.0.0".to_owned());
    let minor = minor(&version).ok_or("BOARD_VERSION must look like 1.0.0")?;
    if minor >= 1 {
        println!("cargo:rustc-cfg=has_due_date");
    }
    if minor == 2 {
        println!("cargo:rustc-cfg=broken");
    }
    println!("cargo:rustc-env=BOARD_VERSION={version}");

    let mut files: Vec<_> = fs::read_dir("ui")?.collect::<Result<_, _>>()?;
    files.sort_by_key(|file| file.file_name());
    let mut digest = Sha256::new_with_prefix(&version);
    for file in files {
        digest.update(fs::read(file.path())?);
    }
    let hex: String = digest
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    println!("cargo:rustc-env=BOARD_ASSETS={hex}");
    Ok(())
}

/// The minor number of a version with the major number 1; a pre-release or build suffix is allowed.
fn minor(version: &str) -> Option<u32> {
    let mut numbers = version.split(['-', '+']).next()?.split('.');
    let major: u32 = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    let _patch: u32 = numbers.next()?.parse().ok()?;
    (major == 1 && numbers.next().is_none()).then_some(minor)
}
