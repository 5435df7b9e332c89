//! Volumes in use: several pods, one pod, read-only, growing, deleting; calls that are repeated.

use std::collections::HashMap;
use std::fs;

use freehold_csi::mounts;
use freehold_csi::proto::csi::node_server::Node;
use freehold_csi::proto::csi::volume_capability::access_mode::Mode;
use tonic::{Code, Request};

use crate::bench::{Bench, MIB, capability, refused};

#[tokio::test]
async fn every_call_may_be_repeated() {
    let bench = Bench::new();
    let node = bench.node("n1");
    for _ in 0..2 {
        node.create("v", "fscrypt").await;
    }
    for _ in 0..2 {
        node.stage("v", bench.secret("v", 1)).await.unwrap();
    }
    for _ in 0..2 {
        node.publish("v", "a").await.unwrap();
    }
    let below = |count: usize| {
        let all = mounts::all().unwrap();
        assert_eq!(
            all.iter().filter(|m| m.at.starts_with(&bench.root)).count(),
            count,
            "{all:?}"
        );
    };
    below(2);
    for _ in 0..2 {
        node.unpublish("v", "a").await.unwrap();
    }
    assert!(!node.target("v", "a").exists());
    for _ in 0..2 {
        node.unstage("v").await.unwrap();
    }
    below(0);
    for _ in 0..2 {
        node.delete("v").await.unwrap();
    }
    assert!(bench.store().list().unwrap().is_empty());
    for folder in ["volumes", "making", "gone"] {
        let left = fs::read_dir(bench.root.join("store").join(folder))
            .unwrap()
            .count();
        assert_eq!(left, 0, "{folder}");
    }
}

/// Whether the kernel lets this machine grow what is mounted (CAP_SYS_RESOURCE, bit 24).
fn grows_online() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(effective.trim(), 16).unwrap() & (1 << 24) != 0
}

#[tokio::test]
async fn a_volume_grows_while_it_is_used_or_else_when_it_is_next_staged() {
    let bench = Bench::new();
    let node = bench.node("n1");
    node.create("v", "fscrypt").await;
    node.stage("v", bench.secret("v", 1)).await.unwrap();
    let folder = node.publish("v", "a").await.unwrap();
    fs::write(folder.join("old"), vec![7; 20 << 20]).unwrap();
    let before = node.total_bytes("v", "a").await.unwrap();
    assert_eq!(
        node.node_expand("v", "a").await.unwrap(),
        64 * MIB,
        "nothing to do"
    );
    assert_eq!(node.controller_expand("v", 256 * MIB).await, 256 * MIB);
    if !grows_online() {
        let (code, told) = refused(node.node_expand("v", "a").await);
        assert!(
            code == Code::FailedPrecondition && told.contains("next staged"),
            "{told}"
        );
        node.unpublish("v", "a").await.unwrap();
        node.unstage("v").await.unwrap();
        node.stage("v", bench.secret("v", 1)).await.unwrap();
        node.publish("v", "a").await.unwrap();
    }
    for _ in 0..2 {
        assert_eq!(node.node_expand("v", "a").await.unwrap(), 256 * MIB);
    }
    let after = node.total_bytes("v", "a").await.unwrap();
    assert!(before < 64 * MIB && after > 200 * MIB, "{before} {after}");
    assert_eq!(fs::read(folder.join("old")).unwrap(), vec![7; 20 << 20]);
    fs::write(folder.join("large"), vec![1; 100 << 20]).unwrap();
    assert_eq!(
        node.controller_expand("v", MIB).await,
        256 * MIB,
        "it never becomes smaller"
    );
    use std::os::unix::fs::MetadataExt;
    let on_disk = fs::metadata(bench.disk("v")).unwrap().blocks() * 512;
    assert!(
        on_disk < 200 << 20,
        "what is not written takes no room: {on_disk}"
    );
}

#[tokio::test]
async fn a_volume_for_one_pod_is_refused_to_a_second() {
    let bench = Bench::new();
    let node = bench.node("n1");
    node.create("v", "none").await;
    node.stage("v", HashMap::new()).await.unwrap();
    let alone = |pod: &str| {
        let mut request = node.publish_request("v", pod);
        request.volume_capability = Some(capability(Mode::SingleNodeSingleWriter));
        Request::new(request)
    };
    for _ in 0..2 {
        node.node.node_publish_volume(alone("a")).await.unwrap();
    }
    let (code, told) = refused(node.node.node_publish_volume(alone("b")).await);
    assert!(
        code == Code::FailedPrecondition && told.contains("for one pod"),
        "{told}"
    );
    assert!(!node.target("v", "b").exists(), "a refusal leaves nothing");
    // Two pods of one node may share it otherwise.
    let folder = node.publish("v", "b").await.unwrap();
    fs::write(folder.join("x"), "shared").unwrap();
    assert_eq!(fs::read(node.target("v", "a").join("x")).unwrap(), b"shared");
}

#[tokio::test]
async fn a_read_only_publication_takes_no_writes_and_programs_get_no_rights_by_their_files() {
    let bench = Bench::new();
    let node = bench.node("n1");
    node.create("v", "none").await;
    node.stage("v", HashMap::new()).await.unwrap();
    let mut request = node.publish_request("v", "a");
    request.readonly = true;
    node.node
        .node_publish_volume(Request::new(request))
        .await
        .unwrap();
    let error = fs::write(node.target("v", "a").join("x"), "").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(30), "EROFS, {error}");
    let (code, _) = refused(node.publish("v", "a").await);
    assert_eq!(code, Code::AlreadyExists);
    for pod in ["a", "b"] {
        if pod == "b" {
            node.publish("v", "b").await.unwrap();
        }
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let at = node.target("v", pod);
        let line = table.lines().find(|l| l.contains(at.to_str().unwrap())).unwrap();
        assert!(line.contains("nosuid") && line.contains("nodev"), "{line}");
    }
}

#[tokio::test]
async fn what_is_in_use_is_neither_unstaged_nor_deleted() {
    let bench = Bench::new();
    let node = bench.node("n1");
    node.create("v", "fscrypt").await;
    node.stage("v", bench.secret("v", 1)).await.unwrap();
    let folder = node.publish("v", "a").await.unwrap();
    fs::write(folder.join("x"), "still there").unwrap();
    let (code, told) = refused(node.unstage("v").await);
    assert!(
        code == Code::FailedPrecondition && told.contains("published at"),
        "{told}"
    );
    let (code, told) = refused(node.delete("v").await);
    assert!(code == Code::FailedPrecondition && told.contains("n1"), "{told}");
    assert_eq!(fs::read(folder.join("x")).unwrap(), b"still there");
}

#[tokio::test]
async fn a_volume_that_is_not_staged_is_not_published() {
    let bench = Bench::new();
    let node = bench.node("n1");
    node.create("v", "none").await;
    let (code, told) = refused(node.publish("v", "a").await);
    assert!(
        code == Code::FailedPrecondition && told.contains("not staged"),
        "{told}"
    );
    assert_eq!(refused(node.total_bytes("v", "a").await).0, Code::NotFound);
    assert_eq!(refused(node.node_expand("v", "a").await).0, Code::NotFound);
}
