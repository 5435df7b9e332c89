//! The parts of a node: which program with which flags, and what must answer before it is started.
//! All paths are the nodes' (`/mnt`). Configuration files are JSON, which is YAML.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::net::{API_PORT, DNS_SERVICE, NodeId, POD_NET, SERVICE_NET};
use super::{Lab, cgroup, layout::INSIDE, pki};

/// One process of a node.
#[derive(Debug, Clone)]
pub struct Part {
    pub name: &'static str,
    pub program: String,
    pub args: Vec<String>,
    pub env: &'static [(&'static str, &'static str)],
    /// It is started once this address accepts connections.
    pub after: Option<SocketAddr>,
}

/// The parts of a node in the order in which they start.
pub fn of(node: NodeId) -> Vec<Part> {
    let mut parts = Vec::new();
    if node.0 == 1 {
        parts.extend([etcd(), apiserver(), controller_manager(), scheduler()]);
    }
    parts.extend([containerd(node), kubelet(node), cilium(node), proxy(node)]);
    parts
}

fn api() -> Option<SocketAddr> {
    format!("{}:{API_PORT}", NodeId(1).address()).parse().ok()
}

fn part(name: &'static str, program: &str, args: impl IntoIterator<Item = String>) -> Part {
    Part {
        name,
        program: format!("{INSIDE}/bin/{program}"),
        args: args.into_iter().collect(),
        env: &[],
        after: None,
    }
}

/// A part of Kubernetes: a command of the one binary.
fn kube(name: &'static str, flags: &[String]) -> Part {
    part(
        name,
        "kube",
        [name.to_string()].into_iter().chain(flags.iter().cloned()),
    )
}

fn kubeconfig(name: &str) -> String {
    pki::inside(&format!("{name}.kubeconfig"))
}

fn etcd() -> Part {
    // No fsync: the lab's cluster doesn't outlive the machine.
    let flags = [
        format!("--data-dir={INSIDE}/cluster/etcd"),
        "--listen-client-urls=http://127.0.0.1:2379".into(),
        "--advertise-client-urls=http://127.0.0.1:2379".into(),
        "--listen-peer-urls=http://127.0.0.1:2380".into(),
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ];
    kube("etcd", &flags)
}

fn apiserver() -> Part {
    let file = pki::inside;
    let flags = [
        "--etcd-servers=http://127.0.0.1:2379".into(),
        format!("--advertise-address={}", NodeId(1).address()),
        format!("--secure-port={API_PORT}"),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--kubelet-certificate-authority={}", file("ca.crt")),
        format!("--kubelet-client-certificate={}", file("admin.crt")),
        format!("--kubelet-client-key={}", file("admin.key")),
        "--kubelet-preferred-address-types=InternalIP".into(),
        format!("--service-account-key-file={}", file("service-accounts.pub")),
        format!(
            "--service-account-signing-key-file={}",
            file("service-accounts.key")
        ),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        format!("--service-cluster-ip-range={SERVICE_NET}"),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        "--profiling=false".into(),
        format!("--encryption-provider-config={}", file("encryption.json")),
        format!("--audit-policy-file={INSIDE}/cluster/etc/audit.json"),
        format!("--audit-log-path={INSIDE}/logs/audit.log"),
        "--audit-log-maxsize=100".into(),
        "--audit-log-maxbackup=2".into(),
        format!("--cert-dir={INSIDE}/cluster/pki"),
    ];
    Part {
        after: "127.0.0.1:2379".parse().ok(),
        ..kube("kube-apiserver", &flags)
    }
}

fn controller_manager() -> Part {
    let config = kubeconfig("controller-manager");
    let flags = [
        format!("--kubeconfig={config}"),
        format!("--authentication-kubeconfig={config}"),
        format!("--authorization-kubeconfig={config}"),
        format!(
            "--service-account-private-key-file={}",
            pki::inside("service-accounts.key")
        ),
        format!("--root-ca-file={}", pki::inside("ca.crt")),
        format!("--cluster-signing-cert-file={}", pki::inside("ca.crt")),
        format!("--cluster-signing-key-file={}", pki::inside("ca.key")),
        "--use-service-account-credentials".into(),
        format!("--cluster-cidr={POD_NET}"),
        "--allocate-node-cidrs=false".into(),
        // The default of 20 requests a second is what 200 tenants at once would wait for.
        "--kube-api-qps=100".into(),
        "--kube-api-burst=200".into(),
        "--leader-elect=false".into(),
        format!("--cert-dir={INSIDE}/cluster/pki"),
    ];
    Part {
        after: api(),
        ..kube("kube-controller-manager", &flags)
    }
}

fn scheduler() -> Part {
    let config = kubeconfig("scheduler");
    let flags = [
        format!("--kubeconfig={config}"),
        format!("--authentication-kubeconfig={config}"),
        format!("--authorization-kubeconfig={config}"),
        "--leader-elect=false".into(),
        format!("--cert-dir={INSIDE}/cluster/pki"),
    ];
    Part {
        after: api(),
        ..kube("kube-scheduler", &flags)
    }
}

fn containerd(node: NodeId) -> Part {
    part(
        "containerd",
        "containerd",
        ["-c".into(), etc(node, "containerd.toml")],
    )
}

fn kubelet(node: NodeId) -> Part {
    let flags = [
        format!("--kubeconfig={}", kubeconfig(&node.name())),
        format!("--config={}", etc(node, "kubelet.json")),
        format!("--hostname-override={}", node.name()),
        format!("--node-ip={}", node.address()),
        format!("--root-dir={INSIDE}/cluster/{}/kubelet", node.name()),
    ];
    Part {
        after: api(),
        ..kube("kubelet", &flags)
    }
}

fn proxy(node: NodeId) -> Part {
    let flags = [
        format!("--kubeconfig={}", kubeconfig("proxy")),
        format!("--hostname-override={}", node.name()),
        format!("--cluster-cidr={POD_NET}"),
        "--proxy-mode=iptables".into(),
        "--conntrack-max-per-core=0".into(),
    ];
    Part {
        after: api(),
        ..kube("kube-proxy", &flags)
    }
}

/// The agent compiles its datapath when it starts; which flags work here was found by trying.
fn cilium(node: NodeId) -> Part {
    let flags = [
        format!("--k8s-kubeconfig-path={}", kubeconfig("cilium")),
        format!("--lib-dir={INSIDE}/build/cilium"),
        "--state-dir=/run/cilium/state".into(),
        "--socket-path=/run/cilium/cilium.sock".into(),
        "--bpf-root=/run/cilium/bpffs".into(),
        "--cgroup-root=/run/cilium/cgroupv2".into(),
        "--enable-ipv4=true".into(),
        "--enable-ipv6=false".into(),
        "--ipam=kubernetes".into(),
        "--routing-mode=native".into(),
        format!("--ipv4-native-routing-cidr={POD_NET}"),
        "--auto-direct-node-routes=false".into(),
        "--kube-proxy-replacement=false".into(),
        "--bpf-lb-sock=false".into(),
        "--enable-l7-proxy=false".into(),
        "--enable-hubble=false".into(),
        "--enable-health-checking=false".into(),
        "--enable-endpoint-health-checking=false".into(),
        "--enable-ipv4-masquerade=false".into(),
        "--identity-allocation-mode=crd".into(),
        "--devices=eth0".into(),
        "--enable-l2-neigh-discovery=false".into(),
        "--cni-exclusive=false".into(),
        "--bpf-map-dynamic-size-ratio=0.0025".into(),
        "--enable-bandwidth-manager=false".into(),
        // Policies that name the API server by address: it runs on a node.
        "--policy-cidr-match-mode=nodes".into(),
    ];
    let name = match node.0 {
        1 => &[("K8S_NODE_NAME", "node1")],
        _ => &[("K8S_NODE_NAME", "node2")],
    };
    Part {
        env: name,
        after: api(),
        ..part("cilium-agent", "cilium-agent", flags)
    }
}

fn etc(node: NodeId, file: &str) -> String {
    format!("{INSIDE}/cluster/{}/etc/{file}", node.name())
}

/// Writes the configuration files of the control plane and of one node.
pub fn configure(lab: &Lab, node: NodeId, pause: &str) -> Result<()> {
    let folder = lab.cluster().join(node.name());
    for part in ["etc", "containerd", "kubelet", "volumes", "cni"] {
        fs::create_dir_all(folder.join(part)).with_context(|| format!("create {}", folder.display()))?;
    }
    let write = |name: &str, value: &Value| -> Result<()> {
        Ok(fs::write(
            folder.join("etc").join(name),
            serde_json::to_vec_pretty(value)?,
        )?)
    };
    write("kubelet.json", &kubelet_config(node))?;
    fs::write(folder.join("etc/containerd.toml"), containerd_config(node, pause))?;
    fs::write(
        folder.join("etc/resolv.conf"),
        "# nothing outside of the cluster is resolved\n",
    )?;
    let cni = json!({"cniVersion": "0.3.1", "name": "cilium", "plugins": [{"type": "cilium-cni"}]});
    fs::write(folder.join("cni/05-cilium.conflist"), serde_json::to_vec(&cni)?)?;
    let etc = lab.cluster().join("etc");
    fs::create_dir_all(&etc)?;
    fs::write(
        etc.join("audit.json"),
        serde_json::to_vec_pretty(&audit_policy())?,
    )?;
    Ok(())
}

/// Who did what, without bodies: requests that write and every access to Secrets; not the parts' own reads. Of Freehold it is
/// everything, leases too: what it asks for is a promise ([`super::audit`]).
fn audit_policy() -> Value {
    let freehold = format!("system:serviceaccount:{}:freehold", crate::install::NAMESPACE);
    json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Metadata", "users": [freehold]},
            {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
            {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets"]}]},
            {"level": "None", "verbs": ["get", "list", "watch"], "users": [
                "system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy"]},
            {"level": "None", "verbs": ["get", "list", "watch"], "userGroups": ["system:nodes"]},
            {"level": "Metadata"}
        ]
    })
}

fn kubelet_config(node: NodeId) -> Value {
    let file = pki::inside;
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true},
            "x509": {"clientCAFile": file("ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "address": node.address(),
        "healthzBindAddress": "127.0.0.1",
        "tlsCertFile": file(&format!("{}.crt", node.name())),
        "tlsPrivateKeyFile": file(&format!("{}.key", node.name())),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", cgroup::root(node)),
        "failCgroupV1": false,
        "failSwapOn": false,
        "containerRuntimeEndpoint": "unix:///run/containerd.sock",
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": etc(node, "resolv.conf"),
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "serializeImagePulls": false,
        "volumePluginDir": format!("{INSIDE}/cluster/{}/kubelet/volume-plugins", node.name()),
        "podLogsDir": format!("{INSIDE}/cluster/{}/pods", node.name()),
        // Seconds instead of a minute until a changed Secret is in its pod.
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "syncFrequency": "10s",
        // What is killed again and again in tests is not kept waiting for up to five minutes.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        "shutdownGracePeriod": "0s",
    })
}

fn containerd_config(node: NodeId, pause: &str) -> String {
    // Without CAP_SYS_RESOURCE, which sandboxes lack, no container could have its score set below its parent's.
    format!(
        r#"version = 3
root = "{INSIDE}/cluster/{node}/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd.sock"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause}"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{INSIDE}/bin"]
conf_dir = "{INSIDE}/cluster/{node}/cni"
"#,
        node = node.name()
    )
}
