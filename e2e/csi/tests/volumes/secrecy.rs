//! What is encrypted can't be read without its key: not from the disk, not after unstaging, not with another key.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use freehold_csi::store::Encryption;
use freehold_csi::{data, loops, mounts};
use tonic::Code;

use crate::bench::{Bench, refused, tree};

const CANARIES: usize = 1000;

fn content(number: usize) -> String {
    format!("canary-content-{number:04}-Xq7")
}

fn name(number: usize) -> String {
    format!("canary-name-{number:04}-Zk3")
}

/// How many of the contents and of the names are found in a disk's bytes.
fn found_in(disk: &Path) -> (usize, usize) {
    let mut bytes = Vec::new();
    fs::File::open(disk).unwrap().read_to_end(&mut bytes).unwrap();
    let mut seen = std::collections::HashSet::new();
    // All start alike and have one length, so one pass finds all.
    for start in ["canary-content-", "canary-name-"] {
        let needle = start.as_bytes();
        let length = needle.len() + 8;
        for at in memchr(&bytes, needle) {
            seen.insert(bytes[at..(at + length).min(bytes.len())].to_vec());
        }
    }
    let count = |all: &dyn Fn(usize) -> String| {
        (0..CANARIES)
            .filter(|n| seen.contains(all(*n).as_bytes()))
            .count()
    };
    (count(&content), count(&name))
}

fn memchr<'a>(bytes: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    (0..bytes.len().saturating_sub(needle.len()))
        .filter(move |at| bytes[*at] == needle[0] && bytes[*at..].starts_with(needle))
}

#[tokio::test]
async fn a_disk_holds_none_of_a_thousand_contents_and_names_and_the_control_holds_all() {
    let bench = Bench::new();
    let node = bench.node("n1");
    for (volume, encryption) in [("secret", "fscrypt"), ("control", "none")] {
        node.create(volume, encryption).await;
        node.stage(volume, bench.secret(volume, 1)).await.unwrap();
        let folder = node.publish(volume, "pod").await.unwrap();
        for number in 0..CANARIES {
            fs::write(folder.join(name(number)), content(number)).unwrap();
        }
        assert_eq!(tree(&folder).len(), CANARIES);
        node.unpublish(volume, "pod").await.unwrap();
        node.unstage(volume).await.unwrap();
    }
    assert_eq!(
        found_in(&bench.disk("control")),
        (CANARIES, CANARIES),
        "the search must find what is clear"
    );
    assert_eq!(found_in(&bench.disk("secret")), (0, 0));
}

#[tokio::test]
async fn what_was_written_is_read_again_after_unstaging_and_staging() {
    let bench = Bench::new();
    let node = bench.node("n1");
    node.create("v", "fscrypt").await;
    node.stage("v", bench.secret("v", 1)).await.unwrap();
    let folder = node.publish("v", "a").await.unwrap();
    fs::create_dir(folder.join("sub")).unwrap();
    fs::write(folder.join("sub/file"), "kept").unwrap();
    node.unpublish("v", "a").await.unwrap();
    node.unstage("v").await.unwrap();
    assert!(
        loops::Device::find(&bench.disk("v")).unwrap().is_none(),
        "the disk is let go of"
    );
    node.stage("v", bench.secret("v", 1)).await.unwrap();
    let folder = node.publish("v", "b").await.unwrap();
    assert_eq!(fs::read(folder.join("sub/file")).unwrap(), b"kept");
}

#[tokio::test]
async fn another_key_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    let node = bench.node("n1");
    node.create("v", "fscrypt").await;
    node.stage("v", bench.secret("v", 1)).await.unwrap();
    node.unstage("v").await.unwrap();

    let (code, told) = refused(node.stage("v", bench.secret("v", 2)).await);
    assert_eq!(code, Code::FailedPrecondition);
    assert!(told.contains("not the one that it is encrypted with"), "{told}");
    assert!(mounts::at(&node.staging_path("v")).unwrap().is_none());
    assert!(bench.store().get("v").unwrap().holder().unwrap().is_none());
    assert!(loops::Device::find(&bench.disk("v")).unwrap().is_none());
    node.stage("v", bench.secret("v", 1)).await.unwrap();
}

#[tokio::test]
async fn a_secret_of_another_volume_opens_nothing_and_neither_does_none() {
    let bench = Bench::new();
    let node = bench.node("n1");
    node.create("v", "fscrypt").await;
    let (code, told) = refused(node.stage("v", bench.secret("w", 1)).await);
    assert_eq!(code, Code::FailedPrecondition, "{told}");
    let (code, told) = refused(node.stage("v", HashMap::new()).await);
    assert!(
        code == Code::InvalidArgument && told.contains("node-stage-secret-name"),
        "{told}"
    );
    let mut changed = bench.secret("v", 1);
    changed.insert("wrapped".into(), "AAAA".into());
    assert_eq!(
        refused(node.stage("v", changed).await).0,
        Code::FailedPrecondition
    );
    let mut partial = bench.secret("v", 1);
    partial.remove("incarnation");
    let (_, told) = refused(node.stage("v", partial).await);
    assert!(told.contains("incarnation"), "{told}");
    assert!(mounts::at(&node.staging_path("v")).unwrap().is_none());
}

#[tokio::test]
async fn without_its_key_a_mounted_volume_shows_neither_names_nor_contents() {
    let bench = Bench::new();
    let node = bench.node("n1");
    node.create("v", "fscrypt").await;
    node.stage("v", bench.secret("v", 1)).await.unwrap();
    let folder = node.publish("v", "a").await.unwrap();
    fs::write(folder.join("name-of-file"), "content").unwrap();
    node.unpublish("v", "a").await.unwrap();
    // As unstaging does, before it unmounts.
    let at = node.staging_path("v");
    data::close(&at).unwrap();
    let folder = data::folder(&at);
    let names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 1);
    assert_ne!(names[0], "name-of-file");
    let error = fs::File::open(folder.join(&names[0])).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(126), "ENOKEY, {error}");
    assert!(
        fs::write(folder.join("new"), "x").is_err(),
        "nothing is written in clear either"
    );
    // And staging again opens it.
    node.stage("v", bench.secret("v", 1)).await.unwrap();
    assert_eq!(fs::read(folder.join("name-of-file")).unwrap(), b"content");
}

#[tokio::test]
async fn a_volume_is_what_both_its_disk_and_its_persistent_volume_say() {
    let bench = Bench::new();
    let node = bench.node("n1");
    node.create("v", "none").await;
    let mut request = node.stage_request("v", bench.secret("v", 1));
    request
        .volume_context
        .insert("encryption".into(), "fscrypt".into());
    use freehold_csi::proto::csi::node_server::Node;
    let (code, told) = refused(node.node.node_stage_volume(tonic::Request::new(request)).await);
    assert!(
        code == Code::FailedPrecondition && told.contains("made with none"),
        "{told}"
    );
    // Files that are clear never become "encrypted" ones.
    node.stage("v", HashMap::new()).await.unwrap();
    let folder = node.publish("v", "a").await.unwrap();
    fs::write(folder.join("clear"), "x").unwrap();
    node.unpublish("v", "a").await.unwrap();
    node.unstage("v").await.unwrap();
    let facts = bench.disk("v").with_file_name("volume.json");
    fs::write(facts, r#"{"encryption":"fscrypt"}"#).unwrap();
    assert_eq!(bench.store().get("v").unwrap().encryption, Encryption::Fscrypt);
    let (_, told) = refused(node.stage("v", bench.secret("v", 1)).await);
    assert!(told.contains("not encrypted"), "{told}");
}
