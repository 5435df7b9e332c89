//! The program `openssl` (Debian package of the same name). Without it the tests fail.

use std::fs;
use std::process::Command;

use freehold_pki::{Pair, certificates};

use crate::Shown;

/// The error is what it printed.
pub fn verify(shown: &Pair, roots: &str, by: Shown<'_>, now: i64) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let chain = certificates(&shown.certificate_pem).unwrap();
    let mut command = Command::new("openssl");
    command
        .args(["verify", "-x509_strict", "-no-CApath", "-no-CAstore", "-attime"])
        .arg(now.to_string())
        .arg("-CAfile")
        .arg(file("roots.pem", roots));
    match by {
        Shown::Server(name) if name.parse::<std::net::IpAddr>().is_ok() => {
            command.args(["-purpose", "sslserver", "-verify_ip", name])
        }
        Shown::Server(name) => command.args(["-purpose", "sslserver", "-verify_hostname", name]),
        Shown::Client => command.args(["-purpose", "sslclient"]),
    };
    if let [_, middle @ ..] = chain.as_slice()
        && !middle.is_empty()
    {
        command
            .arg("-untrusted")
            .arg(file("middle.pem", &middle.concat()));
    }
    let output = command
        .arg(file("leaf.pem", &chain[0]))
        .output()
        .expect("openssl can't be started: install Debian's package openssl");
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(String::from_utf8_lossy(&text).into_owned())
}
