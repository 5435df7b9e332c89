//! Tools that are installed from their crates into `.lab/tools`, at pinned versions.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::lab::{Lab, shell};

/// A program that comes as a crate of the same name.
#[derive(Debug)]
pub struct Tool {
    pub name: &'static str,
    pub version: &'static str,
    /// What makes it print its version.
    pub says: &'static [&'static str],
    /// How long it takes to build, in words.
    pub takes: &'static str,
}

impl Tool {
    /// Installs it unless that version is there; gives its path.
    pub fn install(&self, lab: &Lab) -> Result<PathBuf> {
        let Tool {
            name,
            version,
            says,
            takes,
        } = self;
        let root = lab.dir.join("tools");
        let program = root.join("bin").join(name);
        let fits =
            shell::capture(Command::new(&program).args(*says)).is_ok_and(|said| said.contains(version));
        if !fits {
            println!("== installing {name} {version} ({takes}, once)");
            let mut install = Command::new("cargo");
            install
                // Compiled in half of the time, and quick enough.
                .args([
                    "install",
                    "--debug",
                    name,
                    "--version",
                    version,
                    "--locked",
                    "--root",
                ])
                .arg(root);
            shell::run(&mut install, &lab.log(name))?;
        }
        Ok(program)
    }
}
