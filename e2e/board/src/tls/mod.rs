//! TLS between the tiers. In: the folder that the operator mounts (`FREEHOLD_TLS_DIR`): `tls.crt`, `tls.key`, `ca.crt`.
//! Out: what new connections begin with, on either end, and `/.well-known/freehold/tls` that tells it. No client needed.
//!
//! Invariant: without the word `FREEHOLD_TLS=disable` nothing is ever served or asked in plain text.

pub mod bundle;
mod current;
mod files;
mod listener;
mod loaded;
mod peer;
pub mod suites;
pub mod well_known;

pub use current::Current;
pub use listener::Listener;
pub use loaded::Clients;
pub use peer::Peer;

use crate::settings::path_from_env;
use std::{env, path::PathBuf};

pub fn folder() -> PathBuf {
    path_from_env("FREEHOLD_TLS_DIR", "/etc/freehold/tls")
}

fn is_disabled() -> bool {
    env::var("FREEHOLD_TLS").is_ok_and(|value| value == "disable")
}
