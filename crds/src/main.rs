//! Prints the definitions, compares the generated files with what the types say (`--check`), or writes them
//! (`--write`). The command is `cargo run -p freehold-crds -- --write`.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use freehold_crds::{GeneratedFile, generated_files};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files = generated_files()?;
    match env::args().nth(1).as_deref() {
        None => {
            for file in files.iter().filter(|file| file.path.starts_with("crds/")) {
                println!("---\n{}", file.text);
            }
            Ok(ExitCode::SUCCESS)
        }
        Some("--check") => Ok(check(&root, &files)),
        Some("--write") => {
            write(&root, &files)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => {
            eprintln!("unknown argument {other}: --check, --write, or none to print");
            Ok(ExitCode::from(2))
        }
    }
}

fn check(root: &Path, files: &[GeneratedFile]) -> ExitCode {
    let stale: Vec<_> = files
        .iter()
        .filter(|file| fs::read_to_string(root.join(&file.path)).ok().as_ref() != Some(&file.text))
        .collect();
    for file in &stale {
        eprintln!(
            "{} is stale: run `cargo run -p freehold-crds -- --write`",
            file.path
        );
    }
    if stale.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn write(root: &Path, files: &[GeneratedFile]) -> Result<(), Box<dyn Error>> {
    for file in files {
        let path = root.join(&file.path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, &file.text)?;
    }
    Ok(())
}
