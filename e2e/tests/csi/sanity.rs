//! csi-sanity, the tests of the Kubernetes CSI project, against the driver's own binary.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use freehold_csi::key::TestKey;
use freehold_e2e::kube;
use freehold_e2e::lab::{Lab, builds, images, shell};
use freehold_keys::DataKey;
use serde_json::{Value, json};

/// What it skips, by a word of its reason, and why this driver leaves that out.
const SKIPS: &[(&str, &str)] = &[
    ("ublish", "volumes need no attaching: attachRequired is false"),
    ("GroupController", "no snapshots, so none of groups"),
    ("Snapshot", "backups are the database's"),
    ("Cloning", "a copy would be a second volume under one key"),
    ("odify", "nothing of a volume can be modified but its size"),
    ("Health", "an alpha of the specification"),
];

struct Driver {
    process: Child,
    root: PathBuf,
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn start(lab: &Lab, name: &str) -> Driver {
    let root = std::env::temp_dir().join(format!("freehold-sanity-{name}-{}", std::process::id()));
    fs::create_dir_all(root.join("mounts")).unwrap();
    let key = json!({"key": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", "dataKeyId": "sanity"});
    fs::write(root.join("key.json"), key.to_string()).unwrap();
    let program = images::program(lab, "freehold-csi");
    let process = Command::new(&program)
        .arg(format!("--endpoint=unix:{}", root.join("csi.sock").display()))
        .arg(format!("--state-dir={}", root.join("state").display()))
        .arg(format!("--test-key-file={}", root.join("key.json").display()))
        .args(["--node-id", "n1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let driver = Driver { process, root };
    kube::until("the driver's socket", Duration::from_secs(10), || {
        Ok(driver.root.join("csi.sock").exists().then_some(()))
    })
    .unwrap();
    driver
}

/// YAML takes JSON.
fn secrets(root: &Path) -> PathBuf {
    let key = TestKey::new(&[7; 32]).unwrap();
    let envelope = key
        .wrap("5f0c", "sanity", &DataKey::new((0..64).collect()))
        .unwrap();
    let path = root.join("secrets.yaml");
    fs::write(
        &path,
        json!({"NodeStageVolumeSecret": envelope.to_texts()}).to_string(),
    )
    .unwrap();
    path
}

/// Runs it; gives the number of passed tests, and the reasons of the skipped ones with their numbers.
fn sanity(encryption: &str) -> (usize, BTreeMap<String, usize>) {
    let lab = Lab::of_this_checkout();
    let program = builds::on_demand(&lab, "csi-sanity").unwrap();
    let driver = start(&lab, encryption);
    let root = &driver.root;
    fs::write(
        root.join("parameters.yaml"),
        json!({"encryption": encryption}).to_string(),
    )
    .unwrap();
    let (report, flag) = (root.join("report.json"), |name: &str, path: PathBuf| {
        format!("--{name}={}", path.display())
    });
    let mut command = Command::new(program);
    command
        .arg(format!("--csi.endpoint=unix:{}", root.join("csi.sock").display()))
        .arg(flag("csi.mountdir", root.join("mounts/target")))
        .arg(flag("csi.stagingdir", root.join("mounts/staging")))
        .arg(flag("csi.testvolumeparameters", root.join("parameters.yaml")))
        .arg(flag("csi.secrets", secrets(root)))
        .args([
            "--csi.testvolumesize=67108864",
            "--csi.testvolumeexpandsize=134217728",
        ])
        .arg(flag("ginkgo.json-report", report.clone()));
    shell::run(&mut command, &lab.log("csi-sanity")).unwrap();
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let (mut passed, mut skipped) = (0, BTreeMap::new());
    for spec in report[0]["SpecReports"].as_array().unwrap() {
        match spec["State"].as_str().unwrap() {
            "passed" if spec["LeafNodeType"] == "It" => passed += 1,
            "skipped" => {
                let why = spec["Failure"]["Message"].as_str().unwrap_or_default();
                *skipped.entry(why.to_owned()).or_default() += 1;
            }
            _ => {}
        }
    }
    (passed, skipped)
}

#[test]
fn csi_sanity_passes_for_encrypted_volumes_and_for_the_control() {
    for encryption in ["fscrypt", "none"] {
        let (passed, skipped) = sanity(encryption);
        println!("csi-sanity, encryption {encryption}: {passed} passed");
        for (why, count) in &skipped {
            let known = SKIPS.iter().find(|(word, _)| why.contains(word));
            println!(
                "  skipped {count:>2}: {why} ({})",
                known.map_or("?", |(_, reason)| reason)
            );
            assert!(known.is_some(), "skipped for no reason that is known: {why:?}");
        }
        assert!(passed >= 49, "{passed}");
    }
    assert!(
        !shell::capture(Command::new("losetup").arg("--list"))
            .unwrap()
            .contains("freehold-sanity")
    );
}
