//! `up` and `down`: the graph of everything between a fresh machine and a cluster that is ready.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::builds::{self, Call, PROGRAMS};
use super::image::Image;
use super::images::{self, EXT4, GLIBC, POSTGRESQL};
use super::net::NodeId;
use super::steps::{Outcome, Step};
use super::{Lab, addons, host, packages, parts, pki, preflight, shell};

/// What makes the programs that the node itself runs.
const NODE_PROGRAMS: &[&str] = &[
    builds::TOGETHER,
    "build containerd",
    "build ctr",
    "build containerd-shim-runc-v2",
    "build loopback",
    "build runc",
    "build cilium-agent",
    "build cilium-cni",
];

/// The images of the cluster's own parts, with the programs in them.
const IMAGES: &[(&str, &str)] = &[
    ("coredns", builds::TOGETHER),
    ("local-path-provisioner", "build local-path-provisioner"),
    ("cloudnative-pg", builds::TOGETHER),
    ("traefik", builds::TOGETHER),
    ("cert-manager", builds::TOGETHER),
    ("csi-provisioner", builds::TOGETHER),
    ("csi-resizer", builds::TOGETHER),
    ("freehold-csi", "root file system ext4"),
    ("postgresql", "root file system postgresql"),
];

/// Images by name, as steps make them.
pub type Made = Mutex<std::collections::BTreeMap<String, Image>>;

/// The image that an earlier step made.
pub fn made(images: &Made, name: &str) -> Result<Image> {
    let all = images.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    all.get(name)
        .cloned()
        .with_context(|| format!("the image {name} is not made yet"))
}

/// The steps from nothing to a cluster whose parts are all ready. The last one is called `ready`.
pub fn steps<'a>(lab: &'a Lab, nodes: u8, images: &'a Made) -> Vec<Step<'a>> {
    let mut steps =
        vec![Step::new("Debian packages", &[], || packages::install(lab)).log(lab.log("packages"))];
    build_steps(lab, &mut steps);
    image_steps(lab, images, &mut steps);
    node_steps(lab, nodes, images, &mut steps);
    addon_steps(lab, images, &mut steps);
    steps
}

fn build_steps<'a>(lab: &'a Lab, steps: &mut Vec<Step<'a>>) {
    let together = Step::new(builds::TOGETHER, &["Debian packages"], || {
        builds::build_together(lab)
    });
    steps.push(together.log(lab.log(&builds::TOGETHER.replace(' ', "-"))));
    for program in PROGRAMS.iter().filter(|p| p.call != Call::Together) {
        // After the others: the compiler keeps every processor busy.
        let step = Step::new(builds::step(program), &[builds::TOGETHER], move || {
            builds::build(lab, program)
        });
        steps.push(step.log(lab.log(&builds::log_of(program))));
    }
    steps.push(Step::new("manifests of modules", &[builds::TOGETHER], || {
        addons::collect(lab)
    }));
    for rootfs in [&GLIBC, &EXT4, &POSTGRESQL] {
        let name = format!("root file system {}", rootfs.name);
        let step = Step::new(name, &["Debian packages"], move || rootfs.make(lab));
        steps.push(step.log(lab.log(&format!("rootfs-{}", rootfs.name))));
    }
}

fn image_steps<'a>(lab: &'a Lab, images: &'a Made, steps: &mut Vec<Step<'a>>) {
    for (image, source) in [("pause", builds::TOGETHER)].iter().chain(IMAGES) {
        steps.push(make_step(lab, images, image, &[source]));
    }
}

/// A step `image NAME` that makes an image and notes its reference.
pub fn make_step<'a>(lab: &'a Lab, images: &'a Made, name: &'a str, needs: &[&str]) -> Step<'a> {
    let log = lab.log(&format!("cargo-{name}"));
    Step::new(format!("image {name}"), needs, move || {
        let image = images::make(lab, name)?;
        images
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .insert(name.into(), image);
        Ok(Outcome::Done)
    })
    .log(log)
}

/// A step `import NAME` that brings the image into the nodes' containerd.
pub fn import_step<'a>(lab: &'a Lab, images: &'a Made, name: &'a str) -> Step<'a> {
    let step = Step::new(
        format!("import {name}"),
        &["containerd", &format!("image {name}")],
        move || images::import(lab, &made(images, name)?),
    );
    step.log(lab.log("import"))
}

fn node_steps<'a>(lab: &'a Lab, nodes: u8, images: &'a Made, steps: &mut Vec<Step<'a>>) {
    let needs: Vec<&str> = NODE_PROGRAMS.iter().copied().chain(["image pause"]).collect();
    steps.push(Step::new("node", &needs, move || start(lab, nodes, images)).log(lab.log("host")));
    steps
        .push(Step::new("containerd", &["node"], move || containerd(lab, images)).log(lab.log("containerd")));
    steps.push(
        Step::new("API server", &["node"], move || api_server(lab, nodes)).log(lab.log("kube-apiserver")),
    );
    for (image, _) in IMAGES {
        steps.push(import_step(lab, images, image));
    }
    let crds = Step::new("CRDs", &["API server", "manifests of modules"], || {
        addons::apply_crds(lab)
    });
    steps.push(crds.log(lab.log("addons")));
}

fn addon_steps<'a>(lab: &'a Lab, images: &'a Made, steps: &mut Vec<Step<'a>>) {
    let image = |name: &str| made(images, name);
    let log = lab.log("addons");
    let addon = |name: &str, needs: &[&str], work: Box<dyn FnOnce() -> Result<Outcome> + Send + 'a>| {
        Step::new(name, needs, work).log(log.clone())
    };
    let dns = move || addons::apply_dns(lab, &image("coredns")?);
    steps.push(addon("DNS", &["CRDs", "import coredns"], Box::new(dns)));
    let storage =
        move || addons::apply_storage(lab, &image("local-path-provisioner")?, &image("postgresql")?);
    steps.push(addon(
        "storage class",
        &["CRDs", "import local-path-provisioner", "import postgresql"],
        Box::new(storage),
    ));
    let database = move || addons::apply_database(lab, &image("cloudnative-pg")?);
    steps.push(addon(
        "CloudNativePG",
        &["CRDs", "import cloudnative-pg"],
        Box::new(database),
    ));
    let gateway = move || addons::apply_gateway(lab, &image("traefik")?);
    steps.push(addon("gateway", &["CRDs", "import traefik"], Box::new(gateway)));
    let issuer = move || addons::apply_certificates(lab, &image("cert-manager")?);
    steps.push(addon(
        "cert-manager",
        &["CRDs", "import cert-manager"],
        Box::new(issuer),
    ));
    let volumes = move || {
        let all = ["freehold-csi", "csi-provisioner", "csi-resizer"];
        let made: Result<Vec<Image>> = all.into_iter().map(image).collect();
        addons::apply_volumes(lab, &all.into_iter().zip(&made?).collect::<Vec<_>>())
    };
    let needs = [
        "CRDs",
        "import freehold-csi",
        "import csi-provisioner",
        "import csi-resizer",
    ];
    steps.push(addon("encrypted volumes", &needs, Box::new(volumes)));
    let needs = [
        "DNS",
        "storage class",
        "encrypted volumes",
        "CloudNativePG",
        "gateway",
        "cert-manager",
        "import postgresql",
    ];
    steps.push(Step::new("ready", &needs, move || ready(lab)).log(lab.log("kubelet")));
}

fn start(lab: &Lab, nodes: u8, images: &Made) -> Result<Outcome> {
    if host::running(lab).is_some() {
        let found = super::status::nodes(lab).len();
        if found != usize::from(nodes) {
            bail!("the lab runs with {found} node(s); run `cargo xtask down` first to have {nodes}");
        }
        return Ok(Outcome::Fresh);
    }
    wipe(lab)?;
    let ids: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
    pki::create(lab, &ids)?;
    let pause = made(images, "pause")?;
    for node in &ids {
        parts::configure(lab, *node, &pause.reference)?;
    }
    // The supervisor runs from a copy: a build must be able to replace this program.
    copy_this_program(&lab.bin("lab"))?;
    host::spawn(lab, nodes)?;
    Ok(Outcome::Done)
}

/// By the kernel's link and not by its path, for a build may have replaced this program since it started.
fn copy_this_program(to: &Path) -> Result<()> {
    let _ = fs::remove_file(to);
    fs::copy("/proc/self/exe", to).with_context(|| format!("copy this program to {}", to.display()))?;
    Ok(())
}

/// Deletes the state of the last cluster; builds and images stay.
fn wipe(lab: &Lab) -> Result<()> {
    for path in [lab.cluster(), lab.logs().join("audit.log")] {
        if path.is_dir() {
            fs::remove_dir_all(&path).with_context(|| format!("delete {}", path.display()))?;
        } else if path.exists() {
            fs::remove_file(&path)?;
        }
    }
    if lab.kubeconfig().exists() {
        fs::remove_file(lab.kubeconfig())?;
    }
    fs::create_dir_all(lab.cluster())?;
    Ok(())
}

fn containerd(lab: &Lab, images: &Made) -> Result<Outcome> {
    let pause = made(images, "pause")?;
    wait("containerd", 30, || images::import(lab, &pause))
}

/// Ready to serve; then the nodes are registered with the addresses of their pods, which the CNI reads.
fn api_server(lab: &Lab, nodes: u8) -> Result<Outcome> {
    wait("the API server", 60, || {
        shell::capture(addons::kubectl(lab).args(["get", "--raw=/readyz"])).map(drop)
    })?;
    for node in (1..=nodes).map(NodeId) {
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name()},
            "spec": {"podCIDR": node.pods(), "podCIDRs": [node.pods()]}});
        // Server-side apply would fight the kubelet, which may have registered the node by itself.
        let mut create = addons::kubectl(lab);
        let _ = shell::feed(create.args(["create", "-f", "-"]), object.to_string().as_bytes());
        let patch = json!({"spec": {"podCIDR": node.pods(), "podCIDRs": [node.pods()]}}).to_string();
        shell::capture(addons::kubectl(lab).args(["patch", "node", &node.name(), "-p", &patch]))?;
    }
    Ok(Outcome::Done)
}

fn ready(lab: &Lab) -> Result<Outcome> {
    shell::capture(addons::kubectl(lab).args([
        "wait",
        "--for=condition=Ready",
        "nodes",
        "--all",
        "--timeout=120s",
    ]))?;
    for (namespace, name) in [
        ("kube-system", "deployment/coredns"),
        ("local-path-storage", "deployment/local-path-provisioner"),
        ("freehold-csi", "deployment/controller"),
        ("freehold-csi", "daemonset/node"),
        ("cnpg-system", "deployment/cnpg-controller-manager"),
        ("traefik", "deployment/traefik"),
        ("cert-manager", "deployment/cert-manager"),
    ] {
        addons::rollout(lab, namespace, name, 120)?;
    }
    Ok(Outcome::Done)
}

/// How many nodes run now.
pub fn nodes_running(lab: &Lab) -> u8 {
    super::status::nodes(lab).len() as u8
}

/// Tries until it works or the time is over; the last error is what is told.
pub fn wait<T>(what: &str, seconds: u64, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        match attempt() {
            Ok(found) => return Ok(found),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("{what} was not there within {seconds} s")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// From nothing to a cluster that is ready.
pub fn up(lab: &Lab, nodes: u8) -> Result<()> {
    preflight::check(lab)?;
    fs::create_dir_all(lab.dir.join("bin"))?;
    let begin = Instant::now();
    let images = Made::default();
    super::steps::run(steps(lab, nodes, &images))?;
    println!(
        "\nThe lab is ready after {}.",
        super::steps::shown(begin.elapsed())
    );
    println!("  cargo xtask kubectl get pods -A");
    println!("  export KUBECONFIG={}", lab.kubeconfig().display());
    Ok(())
}

/// Ends the lab and deletes the cluster's state.
pub fn down(lab: &Lab) -> Result<()> {
    let ran = host::stop(lab)?;
    if lab.dir.exists() {
        wipe(lab)?;
    }
    let groups = super::cgroup::left();
    if !groups.is_empty() {
        bail!(
            "control groups are left: {groups:?}; `cargo xtask down` again removes them once their processes are gone"
        );
    }
    println!(
        "{}",
        if ran {
            "The lab is down."
        } else {
            "The lab did not run."
        }
    );
    Ok(())
}

/// Builds one image, and imports it when the lab runs; prints its reference.
pub fn image(lab: &Lab, name: &str) -> Result<()> {
    let image = images::make(lab, name)?;
    if host::running(lab).is_some() {
        images::import(lab, &image)?;
    }
    println!("{}", image.tagged);
    Ok(())
}

/// Runs kubectl with the lab's kubeconfig in the place of this process.
pub fn exec_kubectl(lab: &Lab, args: &[String]) -> Result<()> {
    use std::os::unix::process::CommandExt;
    if !lab.kubeconfig().exists() {
        bail!("the lab does not run; start it with `cargo xtask up`");
    }
    let mut command = Command::new(lab.bin("kube"));
    Err(command
        .arg("kubectl")
        .arg("--kubeconfig")
        .arg(lab.kubeconfig())
        .args(args)
        .exec()
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set in the process that the test starts: its program is deleted by then.
    const TO: &str = "FREEHOLD_TEST_COPY_TO";

    #[test]
    fn a_program_that_was_replaced_while_it_ran_is_copied_all_the_same() {
        let this = std::env::current_exe().unwrap();
        if let Some(to) = std::env::var_os(TO) {
            fs::remove_file(&this).unwrap();
            return copy_this_program(Path::new(&to)).unwrap();
        }
        let folder = std::env::temp_dir().join(format!("copy-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (running, copy) = (folder.join("running"), folder.join("copy"));
        fs::copy(&this, &running).unwrap();
        let test = "lab::up::tests::a_program_that_was_replaced_while_it_ran_is_copied_all_the_same";
        let status = Command::new(&running)
            .args(["--exact", test])
            .env(TO, &copy)
            .status()
            .unwrap();
        assert!(status.success());
        assert!(!running.exists());
        assert_eq!(
            fs::metadata(copy).unwrap().len(),
            fs::metadata(&this).unwrap().len()
        );
        fs::remove_dir_all(folder).unwrap();
    }
}
