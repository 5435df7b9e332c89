//! Kinds of others, in just the fields that Freehold sets. An allow-list: nothing is passed through.

pub mod cert_manager;
pub mod cloudnative_pg;
pub mod gateway_api;
