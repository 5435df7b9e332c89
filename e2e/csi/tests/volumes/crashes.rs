//! The driver is killed in the middle of calls; the next process finishes, and nothing is lost or left.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use freehold_csi::loops::Device;
use freehold_csi::proto::csi::controller_client::ControllerClient;
use freehold_csi::proto::csi::node_client::NodeClient;
use freehold_csi::proto::csi::volume_capability::access_mode::Mode;
use freehold_csi::proto::csi::*;
use freehold_csi::{mounts, staging};

use crate::bench::{Bench, MIB, OneNode, capability, text};
use crate::driver::Driver;

fn create() -> CreateVolumeRequest {
    CreateVolumeRequest {
        name: "v".into(),
        capacity_range: Some(CapacityRange {
            required_bytes: 64 * MIB,
            limit_bytes: 0,
        }),
        volume_capabilities: vec![capability(Mode::SingleNodeMultiWriter)],
        ..Default::default()
    }
}

fn unstage(node: &OneNode<'_>) -> NodeUnstageVolumeRequest {
    NodeUnstageVolumeRequest {
        volume_id: "v".into(),
        staging_target_path: text(&node.staging_path("v")),
    }
}

fn unpublish(node: &OneNode<'_>) -> NodeUnpublishVolumeRequest {
    NodeUnpublishVolumeRequest {
        volume_id: "v".into(),
        target_path: text(&node.target("v", "a")),
    }
}

/// One call to a process that is killed after `delay`; then the same call to the next one must work.
macro_rules! survives {
    ($bench:expr, $delay:expr, $client:ident, $call:ident, $request:expr, $interrupted:expr) => {{
        let driver = Driver::start($bench);
        let mut client = $client::new(driver.channel().await);
        let request = $request;
        let first = request.clone();
        let call = tokio::spawn(async move { client.$call(first).await.is_err() });
        tokio::time::sleep($delay).await;
        driver.kill();
        $interrupted += usize::from(call.await.unwrap());
        let driver = Driver::start($bench);
        let mut client = $client::new(driver.channel().await);
        client.$call(request).await.unwrap();
        driver.kill();
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_is_killed_at_any_time_is_finished_by_the_next() {
    let bench = Bench::new();
    let node = bench.node("n1");
    let (mut made, mut staged, mut published, mut unstaged) = (0, 0, 0, 0);
    for round in 0..24_u64 {
        let delay = Duration::from_micros(round * 300);
        survives!(&bench, delay, ControllerClient, create_volume, create(), made);
        let volume = bench.store().get("v").unwrap();
        let stage = node.stage_request("v", bench.secret("v", 1));
        let again = stage.clone();
        survives!(
            &bench,
            delay,
            NodeClient,
            node_stage_volume,
            again.clone(),
            staged
        );
        let publish = node.publish_request("v", "a");
        let again = publish.clone();
        survives!(
            &bench,
            delay / 2,
            NodeClient,
            node_publish_volume,
            again.clone(),
            published
        );
        let file = node.target("v", "a").join("file");
        fs::write(&file, round.to_string()).unwrap();

        let driver = Driver::start(&bench);
        let mut client = NodeClient::new(driver.channel().await);
        client.node_unpublish_volume(unpublish(&node)).await.unwrap();
        driver.kill();
        survives!(
            &bench,
            delay,
            NodeClient,
            node_unstage_volume,
            unstage(&node),
            unstaged
        );
        assert!(volume.holder().unwrap().is_none(), "round {round}");
        assert!(Device::find(&volume.disk()).unwrap().is_none(), "round {round}");

        let driver = Driver::start(&bench);
        let mut client = NodeClient::new(driver.channel().await);
        client.node_stage_volume(stage).await.unwrap();
        client.node_publish_volume(publish).await.unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), round.to_string());
        client.node_unpublish_volume(unpublish(&node)).await.unwrap();
        client.node_unstage_volume(unstage(&node)).await.unwrap();
        let mut controller = ControllerClient::new(driver.channel().await);
        let delete = DeleteVolumeRequest {
            volume_id: "v".into(),
        };
        controller.delete_volume(delete).await.unwrap();
        driver.kill();
    }
    println!(
        "interrupted: create {made}, stage {staged}, publish {published}, unstage {unstaged} of 24 each"
    );
    assert!(
        made > 2 && staged > 2 && unstaged > 2,
        "too few kills hit their call"
    );
    let left = mounts::all()
        .unwrap()
        .into_iter()
        .filter(|mount| mount.at.starts_with(&bench.root));
    assert_eq!(left.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_driver_has_started_formats_no_disk_but_its_own() {
    let bench = Bench::new();
    let programs = bench.root.join("programs");
    fs::create_dir_all(&programs).unwrap();
    let (slow, begun, over) = (
        programs.join("mke2fs"),
        programs.join("begun"),
        programs.join("over"),
    );
    let script = format!(
        "#!/bin/sh\ntouch {begun}\nsleep 1\n/sbin/mke2fs \"$@\"\ntouch {over}\n",
        begun = begun.display(),
        over = over.display()
    );
    fs::write(&slow, script).unwrap();
    fs::set_permissions(&slow, fs::Permissions::from_mode(0o755)).unwrap();

    let driver = Driver::with_programs(&bench, &programs);
    let mut client = ControllerClient::new(driver.channel().await);
    let call = tokio::spawn(async move { client.create_volume(create()).await });
    until(&begun).await;
    driver.kill();
    assert!(call.await.unwrap().is_err());
    // As the next driver does it, with a program that is so slow that the first one's comes in between.
    let making = bench.root.join("store/making/v");
    fs::remove_dir_all(&making).unwrap();
    fs::create_dir(&making).unwrap();
    let disk = fs::File::create_new(making.join("disk")).unwrap();
    disk.set_len(64 << 20).unwrap();
    until(&over).await;
    assert_eq!(
        disk.metadata().unwrap().blocks(),
        0,
        "another one's disk was written to"
    );
}

async fn until(there: &Path) {
    for _ in 0..1000 {
        if there.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} isn't there", there.display());
}

#[tokio::test]
async fn a_volume_that_is_in_use_for_a_moment_is_unmounted_all_the_same_and_one_that_stays_so_is_not() {
    let bench = Bench::new();
    let node = bench.node("n1");
    node.create("v", "fscrypt").await;
    node.stage("v", bench.secret("v", 1)).await.unwrap();
    let folder = node.publish("v", "a").await.unwrap();
    let file = fs::File::create(folder.join("x")).unwrap();
    let error = node.unpublish("v", "a").await.unwrap_err();
    assert!(error.message().contains("busy"), "{error}");
    let holder = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        drop(file);
    });
    node.unpublish("v", "a").await.unwrap();
    holder.join().unwrap();
    node.unstage("v").await.unwrap();
}

#[tokio::test]
async fn states_that_a_kill_can_leave_are_finished() {
    let bench = Bench::new();
    let node = bench.node("n1");
    // Half-made.
    let store = bench.store();
    let making = bench.root.join("store/making/v");
    fs::create_dir_all(&making).unwrap();
    fs::write(making.join("disk"), "half").unwrap();
    assert!(store.find("v").unwrap().is_none());
    node.create("v", "fscrypt").await;
    let volume = store.get("v").unwrap();
    // Held, and nothing mounted.
    volume.take("n1").unwrap();
    node.stage("v", bench.secret("v", 1)).await.unwrap();
    node.unstage("v").await.unwrap();
    assert!(volume.holder().unwrap().is_none());
    // Mounted without a key, which is also how a folder without a policy starts.
    volume.take("n1").unwrap();
    let at = node.staging_path("v");
    mounts::mount(&Device::attach(&volume.disk()).unwrap(), &at).unwrap();
    let staging = staging::Staging { node: "n1".into() };
    assert!(!staging.is_staged(&volume, &at).unwrap());
    node.stage("v", bench.secret("v", 1)).await.unwrap();
    let folder = node.publish("v", "a").await.unwrap();
    fs::write(folder.join("x"), "x").unwrap();
    node.unpublish("v", "a").await.unwrap();
    // Unstaged but for the hold.
    node.unstage("v").await.unwrap();
    volume.take("n1").unwrap();
    node.unstage("v").await.unwrap();
    assert!(volume.holder().unwrap().is_none());
    // Half-deleted: it can't be used any more, and the next try ends it.
    volume.take("its deletion").unwrap();
    assert!(node.stage("v", bench.secret("v", 1)).await.is_err());
    node.delete("v").await.unwrap();
    assert!(store.find("v").unwrap().is_none());
}
