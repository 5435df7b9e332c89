//! Channels: which tenants may be upgraded, and when.
#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this is a test")]

mod conditions;
mod curve;
mod emergency;
mod gates;
mod previews;
mod replaced;
mod rules;
mod simulation;
mod stuck;
mod world;
