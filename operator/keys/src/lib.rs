//! The key service: who holds tenants' keys, how it is asked, and what its answers mean.
//!
//! A **tenant key** lives in a [`Provider`] and never leaves it. A **data key** belongs to one volume; it is kept in
//! its wrapped form, and opens only under its tenant key and with the [`Context`] that it was made for. In: requests
//! of known callers. Out: wrapped keys for the operator, plain ones for CSI drivers. Invariants: no call gives the
//! operator a plain key, none gives a driver anything else; what can't be read is an error, never a new key; key
//! material is in no log, no error and no `Debug`.

pub mod client;
mod context;
mod envelope;
mod error;
mod lifecycle;
pub mod local;
pub mod memory;
mod name;
pub mod pkcs11;
mod provider;
mod refusal;
mod sealed;
pub mod server;
mod suites;
pub mod tls;
mod wire;

pub use context::{Context, Purpose};
pub use envelope::Envelope;
pub use error::KeyError;
pub use name::KeyName;
pub use provider::{DataKey, Destroyed, Destroying, Health, Provider, State, Version, Wrapped};

/// The audience of the tokens that callers show.
pub const AUDIENCE: &str = "freehold-keys";
/// Bytes of a data key, at least.
pub const DATA_KEY_MIN: usize = 32;
/// Bytes of a data key, at most: fscrypt's master keys have 64.
pub const DATA_KEY_MAX: usize = 64;
/// Bytes of a message, at most: the largest one is a wrapped key with its context.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// Who writes what the service keeps in the cluster.
pub(crate) const FIELD_MANAGER: &str = "freehold-keys";

/// Whether a data key may have so many bytes.
pub(crate) fn is_data_key_length(bytes: usize) -> bool {
    (DATA_KEY_MIN..=DATA_KEY_MAX).contains(&bytes)
}

/// Of everything that the service keeps in the cluster.
pub(crate) fn labels() -> std::collections::BTreeMap<String, String> {
    let label = |key: &str, value: &str| (format!("app.kubernetes.io/{key}"), value.to_owned());
    [label("managed-by", "freehold"), label("part-of", "freehold")].into()
}
