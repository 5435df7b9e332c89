//! The lab: a real Kubernetes on one machine, in network and mount namespaces of its own.
//!
//! `up` runs one graph of steps ([`steps`]): Debian packages, Go builds, images, the node, add-ons. What is
//! there already is skipped. Outside of `.lab/` the lab leaves one thing on the host while it runs: the
//! host's end of a veth pair. Invariant: when the supervisor ([`host`]) ends, all of it ends.

pub mod addons;
pub mod audit;
pub mod builds;
pub mod cel;
pub mod cgroup;
pub mod databases;
pub mod enforcement;
pub mod forwarder;
pub mod host;
pub mod image;
pub mod images;
pub mod internet;
pub mod layout;
pub mod net;
pub mod node;
pub mod packages;
pub mod parts;
pub mod pki;
pub mod preflight;
pub mod priority;
pub mod shell;
pub mod status;
pub mod steps;
pub mod up;

pub use layout::Lab;
