//! Channels: which tenants may be upgraded, and when.
#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this is a test")]

mod apart;
mod conditions;
mod curve;
mod emergency;
mod gates;
mod halts;
mod pace;
mod previews;
mod replaced;
mod rules;
mod simulation;
mod stuck;
mod tenant;
mod world;
