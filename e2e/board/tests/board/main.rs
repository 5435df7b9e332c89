//! The product as it is deployed, the built binary against a real PostgreSQL.
//!
//! Needs PostgreSQL's server on the machine (Debian: the package `postgresql`); each test has a database of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what surrounds the tests is a test too"
)]

mod accounts;
mod browser;
mod cards;
mod certificates;
mod encryption;
mod failover;
mod instance;
mod postgres;
mod rotation;
mod schema;
mod shutdown;
mod sso;
mod tiers;
mod tls;
