//! Where the lab keeps what: everything lies under `.lab/` of the checkout, which the nodes see as `/mnt`.

use std::path::{Path, PathBuf};

/// Where `.lab/` is mounted inside the nodes' mount namespaces. Every Debian has this folder, and the
/// fixed path keeps Unix sockets under the kernel's limit of 108 bytes however deep the checkout lies.
pub const INSIDE: &str = "/mnt";

/// The paths of one checkout's lab.
#[derive(Debug, Clone)]
pub struct Lab {
    /// The checkout.
    pub repo: PathBuf,
    /// `.lab/`: binaries, images and logs, which stay, and `cluster/`, which `down` deletes.
    pub dir: PathBuf,
}

impl Lab {
    /// The lab of the checkout that this program was built from.
    pub fn of_this_checkout() -> Lab {
        let repo = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .unwrap_or(Path::new("/"))
            .to_path_buf();
        Lab {
            dir: repo.join(".lab"),
            repo,
        }
    }

    /// The lab whose folder is `dir`, as the supervisor gets it.
    pub fn at(dir: &Path) -> Lab {
        Lab {
            repo: dir.parent().unwrap_or(Path::new("/")).to_path_buf(),
            dir: dir.to_path_buf(),
        }
    }

    pub fn bin(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// State of the cluster that runs: keys, configuration, etcd, containerd, volumes.
    pub fn cluster(&self) -> PathBuf {
        self.dir.join("cluster")
    }

    /// What builds leave for the cluster beside binaries: root file systems, manifests, stamps.
    pub fn build(&self) -> PathBuf {
        self.dir.join("build")
    }

    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// The administrator's kubeconfig, for the host.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// Held (flock) by the supervisor for as long as the lab runs; its content is the supervisor's PID.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// The path under which the bytes of the volumes of a node lie on the host's disk.
    pub fn volumes(&self, node: &str) -> PathBuf {
        self.cluster().join(node).join("volumes")
    }

    /// The workspace of the Go modules.
    pub fn go_modules(&self) -> PathBuf {
        self.repo.join("e2e/lab")
    }

    pub fn go_module(&self, name: &str) -> PathBuf {
        self.go_modules().join(name)
    }
}
