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

mod approval;
mod channel;
mod claim;
mod class;
mod destruction;
mod duration;
mod generated;
mod instant;
mod operation;
mod quantity;
mod reference;
mod release;
mod settings;
mod tenant;
pub mod yaml;

pub use approval::{Decision, ReleaseApproval, ReleaseApprovalSpec};
pub use channel::{
    Emergency, EmergencyRecord, Failure, GRANTS, Gate, GateStatus, Grant, GrantKind, Halt, ReleaseChannel,
    ReleaseChannelSpec, ReleaseChannelStatus, RequiredApproval, Ring, RingPhase, RingStatus, SOAK, Selection,
    Share, Verdict, VerifiedRelease,
};
pub use claim::{ClaimState, HostnameClaim, HostnameClaimSpec};
pub use class::{
    AUTHORITY_LIFETIME, BAKE, CRYPTOPERIOD, Certificates, ClassDatabase, ClassDeletion, ClassEgress,
    ClassKeys, ClassMaintenance, DELAY, Effect, Freeze, GRACE, Gateway, IssuerRef, LIFETIME, LimitDefaults,
    OPEN, OVERLAP, Operator, Placement, Quota, ROLL, TenantClass, TenantClassSpec, Toleration, Upgrades,
    Window,
};
pub use destruction::{
    DestroyedDataKey, DestroyedVersion, DestructionPhase, DestructionRecord, DestructionRecordSpec,
    DestructionRecordStatus, Elsewhere,
};
pub use duration::Span;
pub use generated::{GeneratedFile, generated_files};
pub use instant::INSTANT;
pub use operation::{
    AuthorityOperation, DeletionOperation, Evidence, OperationType, Phase, ReencryptionOperation,
    RotationOperation, RotationReason, TenantOperation, TenantOperationSpec, TenantOperationStatus,
    UpgradeOperation,
};
pub use quantity::{Amount, Quantity, Resources};
pub use release::{
    Component, File, Hook, Hooks, Recall, RecallAction, Release, ReleaseSpec, Schema, SchemaChange, Source,
    Strategy, Tier, Variable,
};
pub use settings::{
    DatabaseSettings, RefreshSettings, ReleaseSettings, Settings, SsoSettings, SupportSettings,
    TenantSettings,
};
pub use tenant::{
    Adoption, AuthorityStatus, Blocker, CERTIFICATES_MAX, CertificateStatus, ComponentStatus, DataKeyStatus,
    DeletionPolicy, DesiredState, Edition, EgressPort, EgressRule, Environment, Groups, HOSTNAMES_MAX,
    KeyScope, KeyVersionStatus, KeysStatus, Maintenance, OperationStatus, Owner, PasswordPolicy, Pin,
    Protocol, ReleaseReference, Saml, SessionPolicy, Sso, Support, SupportConsent, Tenant,
    TenantCertificates, TenantDatabase, TenantKeyStatus, TenantKeys, TenantSpec, TenantStatus, Termination,
};

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The API group of every kind of this crate.
pub const GROUP: &str = "freehold.dev";
/// The one version that is served and stored.
pub const VERSION: &str = "v1alpha1";
