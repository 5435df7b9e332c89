//! The lab's CSI driver, `csi.freehold.dev`: volumes whose files are encrypted by the kernel.
//!
//! A **volume** is a sparse file with an ext4 in it, in a folder that may be shared by several nodes ([`store`]). A
//! node stages it through a loop device ([`staging`]): it unwraps the volume's key ([`key`]), gives it to the kernel,
//! and shows pods the encrypted folder ([`data`]). Invariants: a plain key is in this process's memory only while a
//! call needs it, and in the kernel's only while the volume is staged; each call may be repeated, and a process that
//! was killed leaves nothing that the next one doesn't finish.

pub mod busy;
pub mod capability;
pub mod controller;
pub mod data;
pub mod failure;
pub mod growth;
pub mod identity;
pub mod kernel;
pub mod key;
pub mod loops;
pub mod mounts;
pub mod node;
pub mod proto;
pub mod registration;
pub mod serve;
pub mod staging;
pub mod store;
mod tool;

/// The driver's name, which StorageClasses call it by.
pub const NAME: &str = "csi.freehold.dev";
