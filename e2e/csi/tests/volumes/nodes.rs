//! Two nodes share the folder of the volumes: one of them at a time has a volume.

use std::fs;

use freehold_csi::loops::Device;
use tonic::Code;

use crate::bench::{Bench, refused};

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
