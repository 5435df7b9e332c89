//! No client, no runtime and no second crypto provider is in the crate's tree.
#![allow(clippy::unwrap_used)]

use std::process::Command;

#[test]
fn no_client_no_runtime_and_one_crypto_provider_are_in_the_dependency_tree() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "--offline",
            "-p",
            "freehold-pki",
            "-e",
            "normal",
            "--prefix",
            "none",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let tree = String::from_utf8(output.stdout).unwrap();
    for forbidden in [
        "kube ",
        "kube-client ",
        "k8s-openapi ",
        "tokio ",
        "ring ",
        "openssl ",
    ] {
        assert!(
            !tree.lines().any(|line| line.starts_with(forbidden)),
            "{forbidden}is in the tree"
        );
    }
}
