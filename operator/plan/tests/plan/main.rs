//! The plan, tested without a cluster: cases with snapshots, properties, and a simulation.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is a test"
)]

mod cases;
mod channel;
mod class;
mod cluster;
mod edges;
mod gitops;
mod given;
mod hostnames;
mod isolation;
mod issuer;
mod keys;
mod lifecycle;
mod moved;
mod postgres;
mod properties;
mod purity;
mod reencryption;
mod show;
mod simulation;
mod succession;
mod termination;
mod upgrade;
mod windows;
mod workload;
