//! In: the features `v1-1` and `v1-2`, and the files under `ui/`. Out: `BOARD_VERSION` and `BOARD_ASSETS` (a digest of the
//! page) for `env!`, and the flags `has_due_date` and `broken`, so that three releases come from one source.

use sha2::{Digest, Sha256};
use std::{env, error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=ui");
    println!("cargo:rustc-check-cfg=cfg(has_due_date)");
    println!("cargo:rustc-check-cfg=cfg(broken)");

    let has = |feature| env::var_os(feature).is_some();
    let broken = has("CARGO_FEATURE_V1_2");
    let has_due_date = broken || has("CARGO_FEATURE_V1_1");
    if has_due_date {
        println!("cargo:rustc-cfg=has_due_date");
    }
    if broken {
        println!("cargo:rustc-cfg=broken");
    }
    let version = match (has_due_date, broken) {
        (_, true) => "1.2.0",
        (true, false) => "1.1.0",
        (false, false) => "1.0.0",
    };
    println!("cargo:rustc-env=BOARD_VERSION={version}");

    let mut files: Vec<_> = fs::read_dir("ui")?.collect::<Result<_, _>>()?;
    files.sort_by_key(|file| file.file_name());
    let mut digest = Sha256::new_with_prefix(version);
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
