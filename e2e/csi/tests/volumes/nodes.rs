//! Two nodes share the folder of the volumes: one of them at a time has a volume.

use std::fs;

use freehold_csi::loops::Device;
use freehold_csi::proto::csi::node_client::NodeClient;
use freehold_csi::proto::csi::{NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest};
use tonic::Code;

use crate::bench::{Bench, OneNode, refused, text};
use crate::driver::Driver;

#[tokio::test]
async fn a_volume_moves_from_node_to_node_and_is_never_on_both() {
    let bench = Bench::new();
    let (first, second) = (bench.node("n1"), bench.node("n2"));
    first.create("v", "fscrypt").await;
    first.stage("v", bench.secret("v", 1)).await.unwrap();
    let folder = first.publish("v", "a").await.unwrap();
    fs::write(folder.join("x"), "moved").unwrap();

    let (code, told) = refused(second.stage("v", bench.secret("v", 1)).await);
    assert!(code == Code::FailedPrecondition && told.contains("n1"), "{told}");
    // What the second node does about it changes nothing for the first.
    second.unstage("v").await.unwrap();
    assert_eq!(fs::read(folder.join("x")).unwrap(), b"moved");

    first.unpublish("v", "a").await.unwrap();
    first.unstage("v").await.unwrap();
    second.stage("v", bench.secret("v", 1)).await.unwrap();
    let folder = second.publish("v", "a").await.unwrap();
    assert_eq!(fs::read(folder.join("x")).unwrap(), b"moved");
    first.unstage("v").await.unwrap();
    assert_eq!(
        bench.store().get("v").unwrap().holder().unwrap().as_deref(),
        Some("n2")
    );
}

#[tokio::test]
async fn of_two_that_take_a_volume_at_once_one_gets_it() {
    let bench = Bench::new();
    bench.node("n1").create("v", "none").await;
    for round in 0..50 {
        let volume = bench.store().get("v").unwrap();
        let won = std::thread::scope(|scope| {
            let tries: Vec<_> = ["a", "b", "c"]
                .map(|who| {
                    scope.spawn({
                        let volume = volume.clone();
                        move || volume.take(who).is_ok().then_some(who)
                    })
                })
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect();
            tries.into_iter().flatten().collect::<Vec<_>>()
        });
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
        volume.release(won[0]).unwrap();
    }
}

#[tokio::test]
async fn a_disk_that_somebody_else_attached_is_not_mounted_a_second_time() {
    let bench = Bench::new();
    let node = bench.node("n1");
    node.create("v", "none").await;
    let device = Device::attach(&bench.disk("v")).unwrap();
    let (code, told) = refused(node.stage("v", Default::default()).await);
    assert!(
        code == Code::FailedPrecondition && told.contains("/dev/loop"),
        "{told}"
    );
    drop(device);
    // What was left of the attempt goes by itself.
    node.unstage("v").await.unwrap();
    node.stage("v", Default::default()).await.unwrap();
}

fn unpublish(node: &OneNode<'_>) -> NodeUnpublishVolumeRequest {
    NodeUnpublishVolumeRequest {
        volume_id: "v".into(),
        target_path: text(&node.target("v", "a")),
    }
}

fn unstage(node: &OneNode<'_>) -> NodeUnstageVolumeRequest {
    NodeUnstageVolumeRequest {
        volume_id: "v".into(),
        staging_target_path: text(&node.staging_path("v")),
    }
}

/// As on two machines that share the folder of the disks: neither sees what the other has mounted.
#[tokio::test]
async fn nodes_with_mounts_of_their_own_hand_a_volume_over_and_leave_no_key_behind() {
    let bench = Bench::new();
    let (one, two) = (bench.node("n1"), bench.node("n2"));
    one.create("v", "fscrypt").await;
    let disk = bench.disk("v");
    let (first, second) = (Driver::apart(&bench, "n1"), Driver::apart(&bench, "n2"));
    let mut on_first = NodeClient::new(first.channel().await);
    let mut on_second = NodeClient::new(second.channel().await);
    let stage = |node: &OneNode<'_>| node.stage_request("v", bench.secret("v", 1));
    on_first.node_stage_volume(stage(&one)).await.unwrap();
    on_first
        .node_publish_volume(one.publish_request("v", "a"))
        .await
        .unwrap();
    let seen = one.target("v", "a").join("x");
    fs::write(first.sees(&seen), "handed over").unwrap();
    assert!(!seen.exists() && !second.sees(&seen).exists());
    let number = |disk| Device::find(disk).unwrap().map(|device| device.number);
    let device = number(&disk).unwrap();
    assert!(first.has_mounted(&device) && !second.has_mounted(&device));
    let (code, told) = refused(on_second.node_stage_volume(stage(&two)).await);
    assert!(code == Code::FailedPrecondition && told.contains("n1"), "{told}");

    on_first.node_unpublish_volume(unpublish(&one)).await.unwrap();
    on_first.node_unstage_volume(unstage(&one)).await.unwrap();
    // The key goes with the file system that the kernel keeps it with, and nobody has that any more.
    assert!(number(&disk).is_none());
    on_second.node_stage_volume(stage(&two)).await.unwrap();
    on_second
        .node_publish_volume(two.publish_request("v", "a"))
        .await
        .unwrap();
    let there = second.sees(&two.target("v", "a").join("x"));
    assert_eq!(fs::read(&there).unwrap(), b"handed over");
    let device = number(&disk).unwrap();
    assert!(second.has_mounted(&device) && !first.has_mounted(&device));

    // A node that ends with a volume keeps it, until its driver is there again to let go.
    second.kill();
    let held = refused(on_first.node_stage_volume(stage(&one)).await);
    assert!(held.1.contains("n2"), "{held:?}");
    let again = Driver::apart(&bench, "n2");
    let mut on_second = NodeClient::new(again.channel().await);
    on_second.node_unstage_volume(unstage(&two)).await.unwrap();
    on_first.node_stage_volume(stage(&one)).await.unwrap();
    on_first
        .node_publish_volume(one.publish_request("v", "a"))
        .await
        .unwrap();
    assert_eq!(fs::read(first.sees(&seen)).unwrap(), b"handed over");
}
