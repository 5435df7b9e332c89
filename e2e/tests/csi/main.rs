//! The lab's CSI driver against what the specification's own project checks drivers with, and in the lab's cluster.
//! `cargo xtask test` runs these; the first ones need root and no cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod claims;
mod protocol;
mod sanity;
