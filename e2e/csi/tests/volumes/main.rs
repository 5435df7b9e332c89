//! The driver on this machine: real loop devices, mounts and keys in the kernel. Needs root; `cargo xtask test` runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bench;
mod crashes;
mod driver;
mod nodes;
mod secrecy;
mod use_of_volumes;
