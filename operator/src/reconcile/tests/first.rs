//! From nothing to everything, and then to rest.

use super::*;

#[tokio::test]
async fn everything_is_there_after_two_passes_and_then_nothing_is_asked_any_more() {
    let shell = Shell::new();
    shell.pass().await;
    // Not before its certificates are there: CloudNativePG would complain, and wait ever longer.
    let second = shell.pass().await;
    assert!(
        second
            .iter()
            .any(|asked| asked.resource == "clusters" && asked.verb == "create")
    );
    shell.pass().await;
    for _ in 0..5 {
        assert_eq!(shell.pass().await, []);
    }
    let paths = shell.double.paths();
    assert!(
        paths
            .iter()
            .any(|path| path.ends_with("/tenant-acme/configmaps/ca")),
        "{paths:?}"
    );
    assert!(
        paths
            .iter()
            .any(|path| path.ends_with("/freehold-keys/secrets/tenant-acme-ca")),
        "{paths:?}"
    );
}

#[tokio::test]
async fn a_first_pass_writes_each_object_once() {
    let shell = Shell::new();
    let asked = shell.pass().await;
    let creates = asked.iter().filter(|asked| asked.verb == "create").count();
    assert!(
        asked.len() * 100 <= creates * 125,
        "{} requests for {creates} objects: {asked:#?}",
        asked.len()
    );
}
