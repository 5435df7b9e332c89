//! Addresses of the lab, and the veth pairs. `up` on the host creates one link there ([`HOST_LINK`]); the
//! other links live and die with the nodes' network namespaces.

use std::process::Command;

use anyhow::Result;

use super::shell;

/// The host's end of the veth pair to the first node.
pub const HOST_LINK: &str = "freehold0";
pub const HOST_ADDRESS: &str = "10.77.0.1";
/// All addresses of links between host and nodes.
pub const NODE_NET: &str = "10.77.0.0/24";
pub const POD_NET: &str = "10.88.0.0/16";
pub const SERVICE_NET: &str = "10.96.0.0/16";
pub const API_SERVICE: &str = "10.96.0.1";
pub const DNS_SERVICE: &str = "10.96.0.10";
pub const API_PORT: u16 = 6443;
/// Where cloud providers have their metadata service; the lab has a listener there that no tenant may reach.
pub const METADATA: &str = "169.254.169.254";
/// Two hosts of the internet, as [`super::internet`] plays it (TEST-NET-3, RFC 5737). Pods that no policy holds back
/// reach both, so a policy that lets one through can be told from one that lets everything through.
pub const INTERNET: &str = "203.0.113.10";
pub const INTERNET_OTHER: &str = "203.0.113.20";
/// What the node routes there.
pub const INTERNET_NET: &str = "203.0.113.0/24";
/// The forwarder's port on the host's loopback, and the node port of the gateway that it forwards to.
pub const HTTPS_PORT: u16 = 8443;
pub const GATEWAY_NODE_PORT: u16 = 30443;

/// One node: the first holds the control plane too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeId(pub u8);

impl NodeId {
    /// Not a node, but started and linked like one: the internet.
    pub const OUTSIDE: NodeId = NodeId(0);

    pub fn name(self) -> String {
        if self == Self::OUTSIDE {
            "internet".into()
        } else {
            format!("node{}", self.0)
        }
    }

    /// The node's address: 10.77.0.2 for the first, 10.77.0.6 for the second (each link is a /30).
    pub fn address(self) -> &'static str {
        match self.0 {
            0 => "10.77.0.10",
            1 => "10.77.0.2",
            _ => "10.77.0.6",
        }
    }

    /// The other end of the node's link: the host for the first node, the first node for all others.
    pub fn peer(self) -> &'static str {
        match self.0 {
            0 => "10.77.0.9",
            1 => HOST_ADDRESS,
            _ => "10.77.0.5",
        }
    }

    /// The pods' addresses on this node; fixed by `spec.podCIDR` when the node is registered.
    pub fn pods(self) -> String {
        format!("10.88.{}.0/24", self.0)
    }
}

pub fn ip(args: &str) -> Result<String> {
    shell::capture(Command::new("ip").args(args.split_whitespace()))
}

/// Links the host with the first node, whose first process is `pid`.
pub fn link_host(pid: u32) -> Result<()> {
    let node = NodeId(1);
    ip(&format!(
        "link add {HOST_LINK} type veth peer name eth0 netns {pid}"
    ))?;
    ip(&format!("address add {}/30 dev {HOST_LINK}", node.peer()))?;
    ip(&format!("link set {HOST_LINK} up"))?;
    in_node(pid, &format!("address add {}/30 dev eth0", node.address()))?;
    in_node(pid, "link set eth0 up")?;
    in_node(pid, &format!("route add default via {}", node.peer()))
}

/// Takes the host's link away. The kernel keeps a network namespace without processes, and its links, for
/// as long as it retransmits the last bytes of connections that were open (minutes), so nobody waits for that.
pub fn unlink_host() {
    let _ = ip(&format!("link delete {HOST_LINK}"));
}

/// Links the first node with the second: a veth pair between the two, and a route on each to the other's pods.
pub fn link_nodes(first: u32, second: u32) -> Result<()> {
    let node = NodeId(2);
    in_node(
        first,
        &format!("link add eth1 type veth peer name eth0 netns {second}"),
    )?;
    in_node(first, &format!("address add {}/30 dev eth1", node.peer()))?;
    in_node(first, "link set eth1 up")?;
    in_node(
        first,
        &format!("route add {} via {}", node.pods(), node.address()),
    )?;
    in_node(second, &format!("address add {}/30 dev eth0", node.address()))?;
    in_node(second, "link set eth0 up")?;
    in_node(second, &format!("route add default via {}", node.peer()))
}

/// Links the first node with the internet, whose process is `outside`: every node's packets take this way.
pub fn link_internet(first: u32, outside: u32) -> Result<()> {
    let there = NodeId::OUTSIDE;
    in_node(
        first,
        &format!("link add internet0 type veth peer name eth0 netns {outside}"),
    )?;
    in_node(first, &format!("address add {}/30 dev internet0", there.peer()))?;
    in_node(first, "link set internet0 up")?;
    in_node(
        first,
        &format!("route add {INTERNET_NET} via {}", there.address()),
    )?;
    in_node(outside, &format!("address add {}/30 dev eth0", there.address()))?;
    in_node(outside, "link set eth0 up")
}

fn in_node(pid: u32, args: &str) -> Result<()> {
    let mut command = Command::new("nsenter");
    command
        .args(["-t", &pid.to_string(), "-n", "ip"])
        .args(args.split_whitespace());
    shell::capture(&mut command).map(drop)
}
