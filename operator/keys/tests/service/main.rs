//! The service over real connections on this machine: who may do what, what crosses the wire, and what happens when
//! either end fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is a test"
)]

#[path = "../api/mod.rs"]
mod api;
mod audit;
mod certificates;
mod failures;
mod permissions;
mod raw;
mod running;
mod tokens;
