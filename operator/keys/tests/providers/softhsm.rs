//! SoftHSM 2 with a token of its own. Out: a provider on it, and ways to break it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

use freehold_keys::pkcs11::{Pkcs11, Settings};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const CONFIGURATION: &str = "SOFTHSM2_CONF";
const FOLDER: &str = "FREEHOLD_SOFTHSM_FOLDER";
pub const LABEL: &str = "freehold test";
pub const PIN: &str = "a PIN of the test";

/// Whether SoftHSM would not find its token yet.
pub fn is_outside() -> bool {
    std::env::var_os(FOLDER).is_none()
}

/// Makes a token and runs this program again, with it.
pub fn run_inside() -> ExitCode {
    assert!(
        Path::new(MODULE).exists(),
        "{MODULE} is not there: apt-get install softhsm2 (`cargo xtask test` does it)"
    );
    let folder = tempfile::tempdir().unwrap();
    let configuration = folder.path().join("softhsm2.conf");
    let tokens = folder.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
    std::fs::write(&configuration, text).unwrap();
    std::fs::write(folder.path().join("pin"), format!("{PIN}\n")).unwrap();
    let made = Command::new("softhsm2-util")
        .env(CONFIGURATION, &configuration)
        .args([
            "--init-token",
            "--free",
            "--label",
            LABEL,
            "--so-pin",
            "12345678",
            "--pin",
            PIN,
        ])
        .output()
        .expect("softhsm2-util can't be started: apt-get install softhsm2");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let status = Command::new(std::env::current_exe().unwrap())
        .args(std::env::args_os().skip(1))
        .env(CONFIGURATION, &configuration)
        .env(FOLDER, folder.path())
        .status()
        .unwrap();
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1)
        .into()
}

pub fn folder() -> PathBuf {
    std::env::var_os(FOLDER).unwrap().into()
}

pub fn settings() -> Settings {
    Settings {
        module: MODULE.into(),
        token_label: LABEL.into(),
        pin_file: folder().join("pin"),
    }
}

/// The module's state is the process's, so there is one provider.
pub fn provider() -> Pkcs11 {
    static PROVIDER: OnceLock<Pkcs11> = OnceLock::new();
    PROVIDER.get_or_init(|| Pkcs11::new(settings()).unwrap()).clone()
}

/// Access to the module past the provider.
pub fn module() -> cryptoki::context::Pkcs11 {
    cryptoki::context::Pkcs11::new(MODULE).unwrap()
}
