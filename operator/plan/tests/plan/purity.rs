//! The plan's crate can't reach a cluster, a clock of a runtime, or randomness: they are not in its tree.

use std::process::Command;

#[test]
fn no_client_no_runtime_no_randomness_is_in_the_dependency_tree() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "--offline",
            "-p",
            "freehold-plan",
            "-e",
            "normal",
            "--prefix",
            "none",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8(output.stdout).unwrap();
    for forbidden in [
        "kube-client ",
        "kube-runtime ",
        "tokio ",
        "rand ",
        "getrandom ",
        "rcgen ",
    ] {
        assert!(
            !tree.lines().any(|line| line.starts_with(forbidden)),
            "{forbidden}is in the tree"
        );
    }
}
