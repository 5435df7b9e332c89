//! The API `freehold.dev/v1alpha1`: what people write, and what they read back.
//!
//! In: nothing. Out: Rust types, and from them the YAML in `crds/*.yaml` and in the chart `freehold-crds`.
//! No client is needed, and none is in the dependency tree.
//!
//! Invariants:
//! - Every limit stands in the schema, with a message that says what to do; the operator never has to refuse what the
//!   API server could have refused.
//! - `spec` belongs to the user, `status` to the operator.
//! - Every field has a description: it is what `kubectl explain` prints.

mod class;
mod generated;
mod quantity;
mod release;
mod tenant;
pub mod yaml;

pub use class::{
    Certificates, ClassDatabase, Gateway, LimitDefaults, Quota, TenantClass, TenantClassSpec, parse_lifetime,
};
pub use generated::{GeneratedFile, generated_files};
pub use quantity::{Amount, Quantity, Resources};
pub use release::{Component, Hook, Hooks, Release, ReleaseSpec, Tier};
pub use tenant::{
    Blocker, CertificateStatus, ComponentStatus, DesiredState, Edition, Owner, ReleaseReference, Tenant,
    TenantDatabase, TenantSpec, TenantStatus,
};

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The API group of every kind of this crate.
pub const GROUP: &str = "freehold.dev";
/// The one version that is served and stored.
pub const VERSION: &str = "v1alpha1";
